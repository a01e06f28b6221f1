"""Values between keys: the one definition that rendering and the browser's preview share. Pure.

SMOOTH is the monotone piecewise cubic of Fritsch and Carlson with Brodlie's weighted harmonic mean of the slopes (as in
SIAM J. Sci. Stat. Comput. 5, 1984): it passes every key, never overshoots between two, and stands still where it turns.
Before the first key and after the last the value is that key's, so it begins and ends at rest: with pchip's one-sided
slopes there instead, a camera would start and stop with a jerk. tests/vectors/keyframes.json holds both to it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Curve:
    """One value over time: keys in strictly rising times, with the slope at each for the smooth form."""

    times: tuple[float, ...]
    values: tuple[float, ...]
    slopes: tuple[float, ...] | None  # None: straight lines

    def at(self, time: float) -> float:
        """The value at a time, in the unit of the keys' times."""
        times, values = self.times, self.values
        if time <= times[0]:
            return values[0]
        if time >= times[-1]:
            return values[-1]
        right = bisect_right(times, time)
        left = right - 1
        span = times[right] - times[left]
        u = (time - times[left]) / span
        if self.slopes is None:
            return values[left] + (values[right] - values[left]) * u
        a, b = self.slopes[left] * span, self.slopes[right] * span
        rise = values[right] - values[left]
        return values[left] + u * (a + u * ((3 * rise - 2 * a - b) + u * (a + b - 2 * rise)))


def curve(times: Sequence[float], values: Sequence[float], *, smooth: bool) -> Curve:
    """The curve through keys of strictly rising times."""
    slopes = tuple(_slopes(times, values)) if smooth and len(times) > 2 else None
    if smooth and len(times) == 2:
        slopes = (0.0, 0.0)  # ease in and out
    return Curve(tuple(times), tuple(values), slopes)


def _slopes(times: Sequence[float], values: Sequence[float]) -> list[float]:
    widths = [b - a for a, b in pairwise(times)]
    rises = [(b - a) / width for (a, b), width in zip(pairwise(values), widths, strict=True)]
    inner = []
    for (h0, h1), (d0, d1) in zip(pairwise(widths), pairwise(rises), strict=True):
        if d0 * d1 <= 0:
            inner.append(0.0)
        else:
            w0, w1 = 2 * h1 + h0, h1 + 2 * h0
            inner.append((w0 + w1) / (w0 / d0 + w1 / d1))
    return [0.0, *inner, 0.0]
