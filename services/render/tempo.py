"""Sound played faster or slower at its own pitch: overlapping pieces, each taken where it continues the last one best
(WSOLA, Verhelst and Roelands, ICASSP 1993).

A piece's place is never further than SEARCH from where its time says, so the sound cannot drift from the picture, which
FFmpeg's atempo does over silence (1 s was seen) and short of the end.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.plan import SAMPLE_RATE

Samples = NDArray[np.float32]

PIECE = SAMPLE_RATE // 25  # 40 ms, half of it laid over the next
STEP = PIECE // 2
SEARCH = SAMPLE_RATE // 100
_COARSE = 6  # the search looks at every sixth sample first


def stretched(samples: Samples, rate: float, count: int) -> Samples:
    """`count` samples (channels by samples) that play `samples` at `rate`; silence beyond their end."""
    steps = count // STEP + 2
    room = PIECE + SEARCH
    first = -STEP  # the first piece begins before the output, so that its fading in is not heard
    needed = room * 2 + int((steps * STEP + PIECE) * rate) + PIECE
    padded = np.zeros((samples.shape[0], max(needed, room + samples.shape[1] + room)), dtype=np.float32)
    padded[:, room : room + samples.shape[1]] = samples
    mono = padded.sum(axis=0)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(PIECE) / PIECE)).astype(np.float32)
    out = np.zeros((samples.shape[0], (steps + 1) * STEP + PIECE), dtype=np.float32)
    follow = -1  # where the last piece would go on
    for number in range(steps):
        middle = (first + number * STEP + PIECE / 2) * rate
        ideal = room + round(middle - PIECE / 2)
        ideal = min(max(ideal, SEARCH), padded.shape[1] - PIECE - SEARCH)
        at = ideal if follow < 0 else ideal + _best(mono, ideal, min(follow, mono.size - PIECE))
        out[:, number * STEP : number * STEP + PIECE] += padded[:, at : at + PIECE] * window
        follow = at + STEP
    return out[:, STEP : STEP + count]


def _best(mono: Samples, ideal: int, follow: int) -> int:
    """How far from its ideal place the piece begins that is most like the one at `follow`."""
    wanted = mono[follow : follow + PIECE]
    if not wanted.any():
        return 0
    here = mono[ideal - SEARCH : ideal + SEARCH + PIECE]
    coarse = _scores(here[::_COARSE], wanted[::_COARSE])
    near = int(coarse.argmax()) * _COARSE
    low, high = max(0, near - _COARSE), min(2 * SEARCH, near + _COARSE)
    fine = _scores(here[low : high + PIECE], wanted)
    return low + int(fine.argmax()) - SEARCH


def _scores(here: Samples, wanted: Samples) -> NDArray[np.float64]:
    likeness = np.correlate(here, wanted, "valid").astype(np.float64)
    energy = np.concatenate(([0.0], np.cumsum(here.astype(np.float64) ** 2)))
    local = energy[wanted.size :] - energy[: -wanted.size]
    return np.asarray(likeness / np.sqrt(local + 1e-6))
