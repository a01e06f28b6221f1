"""NVIDIA's encoder, found out by encoding with it: that FFmpeg has it says nothing of the card, the driver, the size.

1. It is taken only where the frames that were put in came out again, of the size, rate and content that they had
   (tests/render/test_nvenc.py::test_an_encoder_that_loses_or_changes_pictures_is_not_taken).
2. A job whose first attempt fails is tried again without it (test_only_a_first_attempt_tries_it).
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from render.encode import EncodeError, Encoder
from render.footage import Picture
from render.plan import Plan
from render.products import Codec

FRAMES = 8
_LEVELS = (40, 200)  # of luma, by turns: each frame differs from the one before as a whole
_NEAR = 6


def choose(made: Plan, folder: Path) -> Codec:
    """NVENC if it encodes what this plan has, otherwise x264; why not is said on standard error, for the log."""
    why_not = fault(made, folder)
    if why_not:
        sys.stderr.write(f"x264 is used, since NVENC does not work here: {why_not}\n")
        return Codec.X264
    return Codec.NVENC


def fault(made: Plan, folder: Path) -> str:
    """What keeps it from encoding pictures of a plan's size and rate; empty when nothing does."""
    path = folder / "nvenc.mp4"
    try:
        encoder = Encoder(path, made.width, made.height, made.fps, made.spec.output.quality, codec=Codec.NVENC)
        try:
            for number in range(FRAMES):
                encoder.write(_flat(made.width, made.height, _LEVELS[number % 2]))
            encoder.finish()
        except BaseException:
            encoder.abandon()
            raise
        return _compared(path, made)
    except (av.FFmpegError, EncodeError, OSError, ValueError) as error:
        return str(error)
    finally:
        path.unlink(missing_ok=True)


def _compared(path: Path, made: Plan) -> str:
    count = 0
    with av.open(str(path)) as container:
        for number, frame in enumerate(container.decode(video=0)):
            count += 1
            if (frame.width, frame.height) != (made.width, made.height):
                return f"its pictures are {frame.width}x{frame.height}"
            if (
                frame.pts is None
                or frame.time_base is None
                or frame.pts * frame.time_base != Fraction(number) / made.fps
            ):
                return f"picture {number} is at another time"
            luma: Any = frame.to_ndarray()[: made.height]
            if abs(float(luma.mean()) - _LEVELS[number % 2]) > _NEAR:
                return f"picture {number} is another one"
    return "" if count == FRAMES else f"of {FRAMES} pictures {count} came out"


def _flat(width: int, height: int, level: int) -> Picture:
    grey = np.full((height // 2, width // 2), 128, dtype=np.uint8)
    return Picture(np.full((height, width), level, dtype=np.uint8), grey, grey)
