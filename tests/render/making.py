"""Renders in tests: sources served from a folder, an export produced from them, its files read back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from render.footage import Picture
from render.plan import Window
from render.produce import produce
from render.products import Product, Task
from render.spec import Source, Spec, validate
from tests.fakes.file_server import FileServer
from tests.render import golden

FULL = Window(0, 0, 640, 360)


@dataclass(frozen=True)
class Making:
    """A folder of sources and the server of it."""

    folder: Path
    server: FileServer

    def source(self, name: str) -> Source:
        """A source by its file's name."""
        return Source(f"games/{name}")

    def url(self, name: str) -> str:
        """Where a source is read."""
        return f"{self.server.url}/{name}"

    def make(self, spec: Spec, folder: Path) -> dict[str, Product]:
        """The finished files of an export in a folder, by name."""
        folder.mkdir(parents=True, exist_ok=True)
        urls = {clip.source: self.url(clip.source.key.rpartition("/")[2]) for clip in spec.clips}
        task = Task(validate(spec), urls, str(folder), golden.FFMPEG)
        return {one.name: one for one in produce(task, lambda phase, share: None)}


def pictures(path: Path) -> Iterator[tuple[Fraction, Picture]]:
    """The frames of a finished file with their times in s."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for frame in container.decode(stream):
            assert frame.pts is not None and frame.time_base is not None and frame.format.name == "yuv420p"
            planes = [_plane(plane) for plane in frame.planes]
            yield frame.pts * frame.time_base, Picture(*planes)


def _plane(plane: Any) -> NDArray[np.uint8]:
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width].copy()


def numbers(path: Path, window: Window = FULL, fps: Fraction = Fraction(30)) -> list[int]:
    """The source frames that a file shows, one after the other; its frames are at their exact times."""
    found = []
    for index, (time_s, picture) in enumerate(pictures(path)):
        assert abs(time_s - index / fps) < Fraction(1, 20_000), (index, time_s)
        found.append(golden.number(picture, window))
    return found


def sound(path: Path) -> NDArray[np.float32]:
    """A finished file's sound, as long as its container says: channels by samples, 48 kHz, from the first picture on.

    The encoder's priming and the rest of its last block are cut away, as players do.
    """
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        assert stream.duration is not None and stream.time_base is not None
        length = round(stream.duration * stream.time_base * 48_000)
        heard = np.zeros((stream.channels, length + 2048), dtype=np.float32)
        last = 0
        for frame in container.decode(stream):
            assert frame.sample_rate == 48_000 and frame.pts is not None and frame.time_base is not None
            at = round(frame.pts * frame.time_base * 48_000)
            assert at == last or at <= last + 1024, (at, last)  # a joint of copied packets may leave a gap
            heard[:, at : at + frame.samples] = frame.to_ndarray()
            last = at + frame.samples
    assert length <= last < length + 1024, (length, last)
    assert np.abs(heard[:, length + 256 :]).max(initial=0) < 0.05
    return heard[:, :length]


def onsets(samples: NDArray[np.float32], level: float = 0.1) -> list[float]:
    """When beeps begin, in s: where the sound rises above a level after 0.1 s of less."""
    loud = np.flatnonzero(np.abs(samples[0]) > level)
    starts = loud[np.r_[True, np.diff(loud) > 4800]] if loud.size else loud
    return [float(at) / 48_000 for at in starts]
