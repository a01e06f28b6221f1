"""A source whose every frame tells its number and whose dots tell where it was cut, and the reader of both.

Each cell of 80 x 72 pixels holds, left, a soft dot and, right, 15 blocks: 12 bits of the frame's number and 3 of check.
The reader takes a window that is expected, reads the number by majority over the cells in it, and finds the window that
fits the centres of the dots.
"""

from __future__ import annotations

import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

from render.footage import Picture
from render.plan import Window

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
CELL_W, CELL_H = 80, 72
DOT_X, DOT_Y, DOT_SIGMA = 20.0, 36.0, 4.0
LOW, HIGH = 60, 190
CHROMA_X, CHROMA_Y = 20.0, 36.0  # of the dot in U, in luma pixels of the cell

BT709 = "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv"

Plane = NDArray[np.uint8]


@dataclass(frozen=True)
class Seen:
    """What a frame shows: its number (-1: unreadable), and its window by the dots of luma and of chroma."""

    number: int
    window: Window
    chroma: Window | None


@cache
def _still(width: int, height: int) -> tuple[Plane, Plane, Plane]:
    y = np.full((height, width), float(LOW))
    rows, columns = np.mgrid[0:height, 0:width] + 0.5
    half_rows = (np.arange((height + 1) // 2) * 2 + 1.0)[:, None]
    half_columns = (np.arange((width + 1) // 2) * 2 + 0.5)[None, :]
    u = np.full(((height + 1) // 2, (width + 1) // 2), 128.0)
    for cell_y in range(height // CELL_H):
        for cell_x in range(width // CELL_W):
            x, top = cell_x * CELL_W + DOT_X, cell_y * CELL_H + DOT_Y
            y += (HIGH - LOW) * np.exp(-((rows - top) ** 2 + (columns - x) ** 2) / (2 * DOT_SIGMA**2))
            u += 70 * np.exp(-((half_rows - top) ** 2 + (half_columns - x) ** 2) / (2 * 36.0))
    return _round(y), _round(u), np.full(u.shape, 128, dtype=np.uint8)


def _round(values: NDArray[np.float64]) -> Plane:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _bits(number: int) -> list[int]:
    return [number >> i & 1 for i in range(12)] + [number % 7 >> i & 1 for i in range(3)]


def _blocks() -> list[tuple[float, float]]:
    """Centres of the 15 blocks of a cell."""
    return [(46.0 + 12 * (i % 3), 12.0 + 12 * (i // 3)) for i in range(15)]


def draw(number: int, width: int = 640, height: int = 360) -> Picture:
    """Frame `number` of the source."""
    still, u, v = _still(width, height)
    y = still.copy()
    for bit, (x, top) in zip(_bits(number), _blocks(), strict=True):
        for cell_y in range(height // CELL_H):
            for cell_x in range(width // CELL_W):
                left, up = cell_x * CELL_W + int(x) - 6, cell_y * CELL_H + int(top) - 6
                y[up : up + 12, left : left + 12] = HIGH if bit else LOW
    return Picture(y, u, v)


def read(picture: Picture, expected: Window) -> Seen:
    """What a picture shows, when it was cut near the expected window of the source."""
    height, width = picture.y.shape
    sx, sy = expected.width / width, expected.height / height
    votes: Counter[int] = Counter()
    dots: list[tuple[float, float, float, float]] = []
    chroma: list[tuple[float, float, float, float]] = []
    for cell_y in range(int(expected.y // CELL_H), int((expected.y + expected.height) // CELL_H) + 1):
        for cell_x in range(int(expected.x // CELL_W), int((expected.x + expected.width) // CELL_W) + 1):
            left, top = cell_x * CELL_W - expected.x, cell_y * CELL_H - expected.y
            found = _number(picture.y, left, top, sx, sy)
            if found is not None:
                votes[found] += 1
            source = cell_x * CELL_W + DOT_X, cell_y * CELL_H + DOT_Y
            place = _centre(picture.y, (left + DOT_X) / sx, (top + DOT_Y) / sy, 13 / sx, 13 / sy, LOW)
            if place is not None:
                dots.append((*source, *place))
            half = _centre(picture.u, (left + CHROMA_X + 0.5) / sx / 2, (top + CHROMA_Y) / sy / 2, 9 / sx, 9 / sy, 128)
            if half is not None:
                # A chroma sample lies over the left one of its luma columns, and between its rows.
                chroma.append((*source, half[0] * 2 - 0.5, half[1] * 2))
    fitted = _fit(chroma, width, height) if len(chroma) >= 4 else None
    return Seen(_majority(votes), _fit(dots, width, height), fitted)


def number(picture: Picture, expected: Window) -> int:
    """The number that the cells in the middle of a picture agree on; -1: they do not."""
    height, width = picture.y.shape
    sx, sy = expected.width / width, expected.height / height
    votes: Counter[int] = Counter()
    for cell_y in range(int(expected.y // CELL_H), int((expected.y + expected.height) // CELL_H) + 1):
        for cell_x in range(int(expected.x // CELL_W), int((expected.x + expected.width) // CELL_W) + 1):
            found = _number(picture.y, cell_x * CELL_W - expected.x, cell_y * CELL_H - expected.y, sx, sy)
            if found is not None:
                votes[found] += 1
    return _majority(votes)


def _majority(votes: Counter[int]) -> int:
    if not votes:
        return -1
    value, count = votes.most_common(1)[0]
    return value if count * 2 > votes.total() else -1


def _number(plane: Plane, left: float, top: float, sx: float, sy: float) -> int | None:
    value = 0
    for i, (x, y) in enumerate(_blocks()):
        column, row = (left + x) / sx, (top + y) / sy
        if not (4 / sx < column < plane.shape[1] - 4 / sx and 4 / sy < row < plane.shape[0] - 4 / sy):
            return None
        value |= int(plane[int(row), int(column)] > (LOW + HIGH) / 2) << i
    number = value & 0xFFF
    return number if value >> 12 == number % 7 else -2


def _centre(plane: Plane, x: float, y: float, rx: float, ry: float, floor: int) -> tuple[float, float] | None:
    """The centre of the dot near a place, found twice so that its box does not pull it; None near the edges."""
    for _ in range(3):
        left, right, top, bottom = round(x - rx), round(x + rx), round(y - ry), round(y + ry)
        if left < 1 or top < 1 or right > plane.shape[1] - 1 or bottom > plane.shape[0] - 1:
            return None
        box = plane[top:bottom, left:right].astype(np.float64) - floor
        rows, columns = np.arange(top, bottom) + 0.5, np.arange(left, right) + 0.5
        weight = np.exp(-(((rows[:, None] - y) / ry) ** 2) * 3 - ((columns[None, :] - x) / rx) ** 2 * 3) * box
        total = weight.sum()
        if total <= 0:
            return None
        # The weight is centred on the guess: what is found lies a known share of the way to the dot's centre.
        dx, dy = (weight * columns[None, :]).sum() / total - x, (weight * rows[:, None]).sum() / total - y
        x, y = x + 2 * dx, y + 2 * dy
    return float(x), float(y)


def _fit(dots: Sequence[tuple[float, float, float, float]], width: int, height: int) -> Window:
    table = np.array(dots)
    x_step, x_at = _line(table[:, 2], table[:, 0])
    y_step, y_at = _line(table[:, 3], table[:, 1])
    return Window(x_at, y_at, x_step * width, y_step * height)


def _line(from_: NDArray[np.float64], to: NDArray[np.float64]) -> tuple[float, float]:
    if np.ptp(from_) < 1:
        return float("nan"), float("nan")
    step, at = np.polyfit(from_, to, 1)
    return float(step), float(at)


def encode(
    path: Path,
    numbers: Sequence[int],
    *,
    rate: str = "30",
    size: tuple[int, int] = (640, 360),
    before: Sequence[str] = (),
    filters: Sequence[str] = (),
    tags: str = BT709,
    options: Sequence[str] = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-g", "30"),
) -> Path:
    """Writes frames of these numbers to a file."""
    command = [
        FFMPEG,
        "-y",
        "-loglevel",
        "error",
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-s",
        f"{size[0]}x{size[1]}",
    ]
    command += ["-framerate", rate, "-i", "pipe:0", *before, "-vf", ",".join((tags, *filters)), *options, str(path)]
    raw = b"".join(b"".join(plane.tobytes() for plane in draw(number, *size).planes) for number in numbers)
    subprocess.run(command, input=raw, check=True)
    return path


def ffmpeg(*arguments: str) -> None:
    """Runs FFmpeg."""
    subprocess.run([FFMPEG, "-y", "-loglevel", "error", *arguments], check=True)


def worst(seen: Window, expected: Window) -> float:
    """How far, in source pixels, any corner of a window is from where it should be."""
    return max(
        abs(seen.x - expected.x),
        abs(seen.y - expected.y),
        abs(seen.x + seen.width - expected.x - expected.width),
        abs(seen.y + seen.height - expected.y - expected.height),
    )
