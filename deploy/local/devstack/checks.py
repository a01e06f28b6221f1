"""Looks at a finished video as a stranger would: every frame decoded, sound measured, the file's layout read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import av


@dataclass(frozen=True)
class Seen:
    """What a video file turned out to be."""

    frames: int
    width: int
    height: int
    fps: float
    video_s: float
    sound_s: float
    bright: tuple[int, ...]  # mean luma of every tenth frame: a black or frozen video shows
    faststart: bool


def look(path: Path) -> Seen:
    """Decodes the whole file; raises av.FFmpegError when it is no video."""
    frames, samples, bright = 0, 0, []
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        for frame in container.decode(video):
            if frames % 10 == 0:
                luma = memoryview(frame.reformat(format="gray").planes[0])
                bright.append(
                    sum(luma[:: max(1, len(luma) // 2000)]) // max(1, len(luma[:: max(1, len(luma) // 2000)]))
                )
            frames += 1
        width, height, fps = video.width, video.height, float(video.average_rate or 0)
        video_s = float((video.duration or 0) * (video.time_base or 0))
    with av.open(str(path)) as container:
        rate = 0
        if container.streams.audio:
            sound = container.streams.audio[0]
            rate = sound.rate
            samples = sum(frame.samples for frame in container.decode(sound))
    return Seen(frames, width, height, fps, video_s, samples / rate if rate else 0.0, tuple(bright), _faststart(path))


def _faststart(path: Path) -> bool:
    """Whether the index comes before the media."""
    order = []
    with path.open("rb") as file:
        while header := file.read(8):
            size, kind = int.from_bytes(header[:4], "big"), header[4:]
            order.append(kind)
            if size == 1:
                size = int.from_bytes(file.read(8), "big") - 8
            file.seek(max(0, size - 8), 1)
    return b"moov" in order and b"mdat" in order and order.index(b"moov") < order.index(b"mdat")
