"""Sound in step with the picture: every clip has exactly the samples of its frames, at any speed.

1. n frames have round(n * 48000 / fps) samples, counted from the timeline's start, so that joints never drift
   (tests/render/test_sound.py).
2. Slow motion keeps the pitch (tempo.py) and is in step all along.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from render import tempo
from render.plan import SAMPLE_RATE, ClipPlan

Samples = NDArray[np.float32]
SPARE = SAMPLE_RATE // 5  # that a stretching may hear beyond its end


def retimed(clip: ClipPlan, recorded: Samples, start_s: float, count: int) -> Samples:
    """The clip's sound of `count` samples from what was recorded from `start_s` of the source on."""
    out = np.zeros((2, count), dtype=np.float32)
    for number, piece in enumerate(clip.pieces):
        begin, end = _at(piece.out_from), min(count, _at(piece.out_to))
        if number + 1 == len(clip.pieces):
            end = count  # a clip has whole frames: up to half of one more than was asked for
        source = max(0, _at(piece.source_from) - round(start_s * SAMPLE_RATE))
        length = round((end - begin) * piece.rate)
        if piece.rate == 1:
            taken = recorded[:, source : source + length]
        else:
            taken = tempo.stretched(recorded[:, source : source + length + SPARE], float(piece.rate), end - begin)
        taken = taken[:, : end - begin]
        out[:, begin : begin + taken.shape[1]] = taken
    return out


def faded(samples: Samples, head: int, tail: int) -> Samples:
    """Equal-power fades over the first `head` and the last `tail` samples, for a dissolve."""
    out = samples.copy()
    if head:
        out[:, :head] *= np.sin(np.linspace(0, np.pi / 2, head, dtype=np.float32))
    if tail:
        out[:, -tail:] *= np.cos(np.linspace(0, np.pi / 2, tail, dtype=np.float32))
    return out


def quantised(samples: Samples, gain_db: float) -> bytes:
    """16-bit interleaved stereo."""
    scaled = np.clip(samples * np.float32(10 ** (gain_db / 20) * 32767), -32768, 32767)
    return np.ascontiguousarray(scaled.T).astype("<i2").tobytes()


def _at(seconds: Fraction) -> int:
    return round(seconds * SAMPLE_RATE)
