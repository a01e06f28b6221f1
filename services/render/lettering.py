"""Words on a picture: drawn once, then laid over every frame, in the face that OpenCV carries (Rubik)."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from render.footage import Picture
from render.picture import yuv

TITLE_HEIGHT = 0.045  # of the frame's height
TEXT_HEIGHT = 0.032
MARGIN = 0.03
SHADE = 0.55
WEIGHT = 550  # of the strokes: 400 is regular, 700 bold; thin ones are lost in grass


@dataclass(frozen=True)
class Lettering:
    """Coverage of letters and of the shade behind them over a box of the frame, full and half size."""

    top: int
    left: int
    ink: tuple[NDArray[np.float32], NDArray[np.float32]]
    shade: tuple[NDArray[np.float32], NDArray[np.float32]]
    color: tuple[float, float, float]


def caption(title: str, text: str, width: int, height: int) -> Lettering | None:
    """A caption at the bottom left: title, and text in lines below it; None when there are no words."""
    lines = [(line, TITLE_HEIGHT) for line in title.splitlines() if line.strip()]
    lines += [(line, TEXT_HEIGHT) for line in text.splitlines() if line.strip()]
    margin = round(MARGIN * height)
    rows: list[tuple[str, int]] = []
    for line, share in lines[:8]:
        size = max(10, round(share * height))
        rows += [(part, size) for part in _wrap(line, size, width - 4 * margin)][:4]
    if not rows:
        return None
    box_height = sum(round(size * 1.5) for _, size in rows) + margin
    box_width = min(width - 2 * margin, max(_width(line, size) for line, size in rows) + 2 * margin)
    canvas = np.zeros((_even(box_height), _even(box_width)), dtype=np.uint8)
    at = margin // 2
    for line, size in rows:
        at += round(size * 1.5)
        _put(canvas, line, margin, at - round(size * 0.4), size)
    top = max(0, _even(height - margin - canvas.shape[0]) - 2)
    shade = np.full(canvas.shape, 255 * SHADE, dtype=np.uint8)
    return _lettering(canvas, shade, top, _even(margin), "#ffffff", width, height)


def words(text: str, x: float, y: float, share: float, color: str, width: int, height: int) -> Lettering:
    """Words with their top left corner at a place of the frame."""
    size = max(8, round(share * height))
    canvas = np.zeros((_even(round(size * 1.6)), _even(_width(text, size) + size)), dtype=np.uint8)
    _put(canvas, text, size // 4, round(size * 1.2), size)
    shade = np.asarray(
        cv2.GaussianBlur(cv2.dilate(canvas, np.ones((3, 3), np.uint8)), (0, 0), size / 12 + 0.5), np.uint8
    )
    top, left = min(_even(round(y * height)), height - 2), min(_even(round(x * width)), width - 2)
    return _lettering(canvas, shade, top, left, color, width, height)


def draw(picture: Picture, lettering: Lettering, shown: float) -> Picture:
    """Letters over a picture; `shown` is their fade, 0 to 1."""
    planes = []
    for index, (plane, black, target) in enumerate(
        zip(picture.planes, (16.0, 128.0, 128.0), lettering.color, strict=True)
    ):
        half = min(index, 1)
        ink, shade = lettering.ink[half], lettering.shade[half]
        top, left = lettering.top >> half, lettering.left >> half
        box = (slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1]))
        drawn = plane.copy()
        values = drawn[box].astype(np.float32)
        values += (black - values) * (shade * shown)
        values += (target - values) * (ink * shown)
        drawn[box] = np.rint(values).astype(np.uint8)
        planes.append(drawn)
    return Picture(*planes)


def _lettering(
    ink: NDArray[np.uint8], shade: NDArray[np.uint8], top: int, left: int, color: str, width: int, height: int
) -> Lettering:
    def pair(mask: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        cut = mask[: _even(height - top), : _even(width - left)]
        small = np.asarray(cv2.resize(cut, (cut.shape[1] // 2, cut.shape[0] // 2), interpolation=cv2.INTER_AREA))
        return (cut / np.float32(255)).astype(np.float32), (small / np.float32(255)).astype(np.float32)

    return Lettering(top, left, pair(ink), pair(shade), yuv(color))


def _even(value: int) -> int:
    return value // 2 * 2


def _width(line: str, size: int) -> int:
    x, _, width, _ = cv2.getTextSize((10000, 10000), line, (0, 0), _face(), size, WEIGHT)
    return int(x + width)


def _put(canvas: NDArray[np.uint8], line: str, x: int, y: int, size: int) -> None:
    cv2.putText(canvas, line, (x, y), (255,), _face(), size, WEIGHT)


def _face() -> cv2.FontFace:
    return cv2.FontFace("sans")


def _wrap(line: str, size: int, room: int) -> list[str]:
    out, current = [], ""
    for word in line.split():
        longer = f"{current} {word}".strip()
        if current and _width(longer, size) > room:
            out.append(current)
            longer = word
        current = longer
    return [*out, current] if current else out
