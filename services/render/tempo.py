"""Sound played faster or slower at its own pitch: overlapping pieces, each taken where it continues the last one best
(WSOLA, Verhelst and Roelands, ICASSP 1993).

A piece's place is never further than SEARCH from where its time says, so the sound cannot drift from the picture, which
FFmpeg's atempo does over silence (1 s was seen) and short of the end. A beep is heard less than 45 ms off at any speed
(tests/render/test_sound.py), from where on viewers notice.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from render.plan import SAMPLE_RATE

Samples = NDArray[np.float32]

PIECE = SAMPLE_RATE // 25  # 40 ms, half of it laid over the next
SEARCH = SAMPLE_RATE // 100
_COARSE = 6  # the search looks at every sixth sample first


def stretched(samples: Samples, rate: float, count: int) -> Samples:
    """`count` samples (channels by samples) that play `samples` at `rate`; silence beyond their end."""
    # In slow motion each ms of the source lasts several: shorter pieces, found nearer, keep what is heard in step.
    nearness = min(1.0, rate * 2)
    piece, search = round(PIECE * nearness / 2) * 2, round(SEARCH * nearness)
    step = piece // 2
    steps = count // step + 2
    room = piece + search
    first = -step  # the first piece begins before the output, so that its fading in is not heard
    needed = room * 2 + int((steps * step + piece) * rate) + piece
    padded = np.zeros((samples.shape[0], max(needed, room + samples.shape[1] + room)), dtype=np.float32)
    padded[:, room : room + samples.shape[1]] = samples
    mono = padded.sum(axis=0)
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(piece) / piece)).astype(np.float32)
    out = np.zeros((samples.shape[0], (steps + 1) * step + piece), dtype=np.float32)
    follow = -1  # where the last piece would go on
    for number in range(steps):
        middle = (first + number * step + piece / 2) * rate
        ideal = room + round(middle - piece / 2)
        ideal = min(max(ideal, search), padded.shape[1] - piece - search)
        at = ideal
        if follow >= 0:
            follow = min(follow, mono.size - piece)
            at += _best(mono[ideal - search : ideal + search + piece], mono[follow : follow + piece]) - search
        out[:, number * step : number * step + piece] += padded[:, at : at + piece] * window
        follow = at + step
    return out[:, step : step + count]


def _best(here: Samples, wanted: Samples) -> int:
    """Where in `here` the piece begins that is most like `wanted`; in the middle when that is silent."""
    last = here.size - wanted.size
    if not wanted.any():
        return last // 2
    coarse = _scores(here[::_COARSE], wanted[::_COARSE])
    near = int(coarse.argmax()) * _COARSE
    low, high = max(0, near - _COARSE), min(last, near + _COARSE)
    return low + int(_scores(here[low : high + wanted.size], wanted).argmax())


def _scores(here: Samples, wanted: Samples) -> NDArray[np.float64]:
    likeness = np.correlate(here, wanted, "valid").astype(np.float64)
    energy = np.concatenate(([0.0], np.cumsum(here.astype(np.float64) ** 2)))
    local = energy[wanted.size :] - energy[: -wanted.size]
    return np.asarray(likeness / np.sqrt(local + 1e-6))
