"""Looks at a finished video as a stranger would: every frame decoded, sound measured, the file's layout read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np

Luma = np.ndarray[Any, np.dtype[np.float64]]
_SMALL = 160  # pixels of the longer side: enough to compare pictures by


@dataclass(frozen=True)
class Seen:
    """What a video file turned out to be. Brightness is 0 to 255, loudness an RMS of 0 to 1 per half second."""

    frames: int
    width: int
    height: int
    fps: float
    video_s: float
    sound_s: float
    bright: float  # mean of the brightest frame: a black video shows
    moved: float  # between first and last frame, as `difference`: a frozen video shows
    loudness: tuple[float, ...]
    faststart: bool


def look(path: Path) -> Seen:
    """Decodes the whole file; raises av.FFmpegError when it is no video."""
    frames, bright = 0, 0.0
    first = last = np.zeros((1, 1))
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        for frame in container.decode(video):
            if frames % 5 == 0:
                last = frame.to_ndarray(format="gray").astype(np.float64)
                first = last if frames == 0 else first
                bright = max(bright, float(last.mean()))
            frames += 1
        width, height, fps = video.width, video.height, float(video.average_rate or 0)
        video_s = float((video.duration or 0) * (video.time_base or 0))
    sound, rate = _sound(path)
    step = max(1, rate // 2)
    loudness = tuple(float(np.sqrt(np.mean(sound[at : at + step] ** 2))) for at in range(0, len(sound), step))
    sound_s = len(sound) / rate if rate else 0.0
    return Seen(
        frames, width, height, fps, video_s, sound_s, bright, difference(first, last), loudness, _faststart(path)
    )


def pictures(path: Path, times_s: Sequence[float]) -> list[Luma]:
    """The luma of the frames shown at some rising times, whole size."""
    wanted, found = list(times_s), []
    shown: Luma | None = None
    with av.open(str(path)) as container:
        for frame in container.decode(container.streams.video[0]):
            while wanted and shown is not None and frame.time > wanted[0] + 1e-6:
                found.append(shown)
                wanted.pop(0)
            if not wanted:
                break
            shown = frame.to_ndarray(format="gray").astype(np.float64)
    return found + [shown for _ in wanted if shown is not None]


def window(picture: Luma, x: float, y: float, width: float, height: float) -> Luma:
    """A part of a picture; fractions of it."""
    down, across = picture.shape
    return picture[
        round(y * down) : round((y + height) * down),
        round(x * across) : round((x + width) * across),
    ]


def difference(one: Luma, other: Luma) -> float:
    """How much two pictures of the same shape differ, as a mean of luma steps; sizes may differ."""
    return float(np.abs(_small(one) - _small(other)).mean())


def _small(picture: Luma) -> Luma:
    """Averages over a grid of _SMALL rows."""
    rows = np.linspace(0, picture.shape[0] - 1, _SMALL).astype(int)
    columns = np.linspace(0, picture.shape[1] - 1, _SMALL).astype(int)
    smooth = picture
    for axis in (0, 1):
        reach = max(1, picture.shape[axis] // _SMALL)
        summed = np.cumsum(smooth, axis=axis)
        smooth = (
            np.take(summed, range(reach, summed.shape[axis]), axis)
            - np.take(summed, range(summed.shape[axis] - reach), axis)
        ) / reach
    rows, columns = np.minimum(rows, smooth.shape[0] - 1), np.minimum(columns, smooth.shape[1] - 1)
    return smooth[np.ix_(rows, columns)]


def _sound(path: Path) -> tuple[Luma, int]:
    """The first channel of the sound as -1 to 1, and its rate; empty and 0 without any."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return np.zeros(0), 0
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout="mono", rate=stream.rate)
        blocks = [
            np.asarray(converted.to_ndarray()[0], dtype=np.float64)
            for frame in container.decode(stream)
            for converted in resampler.resample(frame)
        ]
        return np.concatenate(blocks) if blocks else np.zeros(0), int(stream.rate)


def _faststart(path: Path) -> bool:
    """Whether the index comes before the media."""
    order = []
    with path.open("rb") as file:
        while header := file.read(8):
            size, kind = int.from_bytes(header[:4], "big"), header[4:]
            order.append(kind)
            skip = size - 8
            if size == 1:
                skip = int.from_bytes(file.read(8), "big") - 16
            if size == 0:  # the box reaches to the end of the file
                break
            file.seek(max(0, skip), 1)
    return b"moov" in order and b"mdat" in order and order.index(b"moov") < order.index(b"mdat")
