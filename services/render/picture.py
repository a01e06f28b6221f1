"""Drawing on planes: the window cut out with sub-pixel accuracy, dissolves, spotlights.

Chroma samples sit at the left edge of their two luma columns and between their two rows (as H.264 says without a flag),
in the source and in the output alike.
"""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from render.footage import Picture, Plane
from render.plan import DrawnSpotlight, Window
from render.spec import EffectKind, Shape

BLACK, WHITE, GREY = 16, 235, 128
TAPS = 3  # each way, of a shift by a fraction of a sample
SHIFT_MIN = 1 / 2000  # of a sample
SOFTENED_FROM, SOFTENING = 1.02, 0.45  # against flicker when a picture gets smaller
# An ellipse's edge is soft between these distances from its centre, in radii.
EDGE = {Shape.BODY: 0.12, Shape.GROUND: 0.30}
DIM_MAX = 0.80  # how much of the light a full dimming takes
BRIGHTEN_MAX = 0.35  # how far towards white a full brightening goes
RING_WIDTH = 0.006  # of the frame's height, at full strength


def crop(picture: Picture, window: Window, frame_width: int, frame_height: int, width: int, height: int) -> Picture:
    """The window of a frame, whose displayed size is given, as a picture of width x height pixels (even)."""
    rows, columns = picture.y.shape
    # From displayed to stored pixels: they differ in width when pixels are not square.
    across, down = columns / frame_width, rows / frame_height
    x, y = window.x * across, window.y * down
    sx, sy = window.width * across / width, window.height * down / height
    luma = _resampled(picture.y, _Axis(x + 0.5 * sx - 0.5, sx, width), _Axis(y + 0.5 * sy - 0.5, sy, height))
    across_axis = _Axis((x + 0.5 * sx - 0.5) / 2, sx, width // 2)
    down_axis = _Axis((y + sy - 1) / 2, sy, height // 2)
    chroma = (_resampled(plane, across_axis, down_axis) for plane in (picture.u, picture.v))
    return Picture(luma, *chroma)


class _Axis:
    """One direction of a resampling: output sample i is the source at `at + i * step`, in samples of the plane.

    It is done in whole steps of the source (`first`, `count` samples, averaged by `whole`), then a shift by a fraction,
    then a scaling by `rest`, whose first `skip` samples are cut away because they have no neighbours.
    """

    def __init__(self, at: float, step: float, count: int) -> None:
        self.exact = step == 1 and at == int(at)
        self.at, self.step, self.length = at, step, count
        self.whole = max(1, int(step))
        self.rest = step / self.whole
        self.skip = math.ceil(3 / self.rest)
        edge = at + 0.5 - (0.5 + self.skip) * step
        first = math.floor(edge)
        self.shift = (edge - first) / self.whole
        self.first = first - TAPS * self.whole
        self.count = (math.ceil((count + 2 * self.skip) * self.rest) + 2 * TAPS + 1) * self.whole


def _resampled(plane: Plane, across: _Axis, down: _Axis) -> Plane:
    """Exact to about 1/1000 sample: OpenCV's warps round places to 1/32, its scaling and its filters do not."""
    if across.exact and down.exact:
        cut = _region(plane, int(across.at), int(down.at), across.length, down.length)
        return cut
    region = _region(plane, across.first, down.first, across.count, down.count)
    if across.whole > 1 or down.whole > 1:
        # Averaged down first, or fine grass would flicker.
        size = (across.count // across.whole, down.count // down.whole)
        region = _u8(cv2.resize(region, size, interpolation=cv2.INTER_AREA))
    if across.rest > SOFTENED_FROM or down.rest > SOFTENED_FROM:
        sigmas = (SOFTENING * math.sqrt(max(axis.rest**2 - 1, 0.01)) for axis in (across, down))
        region = _u8(cv2.GaussianBlur(region, (0, 0), *sigmas, borderType=cv2.BORDER_REPLICATE))
    if across.shift > SHIFT_MIN or down.shift > SHIFT_MIN:
        kernels = (_shift_kernel(axis.shift) for axis in (across, down))
        region = _u8(cv2.sepFilter2D(region, -1, *kernels, borderType=cv2.BORDER_REPLICATE))
    region = region[TAPS:-TAPS, TAPS:-TAPS]
    if across.rest != 1 or down.rest != 1:
        scaled = cv2.resize(region, None, fx=1 / across.rest, fy=1 / down.rest, interpolation=cv2.INTER_CUBIC)
        region = _u8(scaled)
    return region[down.skip : down.skip + down.length, across.skip : across.skip + across.length]


def _region(plane: Plane, left: int, top: int, width: int, height: int) -> Plane:
    """A rectangle of a plane; beyond its edges the edge goes on."""
    rows, columns = plane.shape
    before, above = max(0, -left), max(0, -top)
    after, below = max(0, left + width - columns), max(0, top + height - rows)
    inside = plane[max(0, top) : max(0, min(rows, top + height)), max(0, left) : max(0, min(columns, left + width))]
    if before or above or after or below:
        return _u8(cv2.copyMakeBorder(inside, above, below, before, after, cv2.BORDER_REPLICATE))
    return inside


def _shift_kernel(shift: float) -> NDArray[np.float32]:
    """Taps that move samples by a fraction: a Lanczos window of 6, mended to sum to 1 and to move by exactly `shift`."""
    if shift <= SHIFT_MIN:
        return np.ones(1, dtype=np.float32)
    places = np.arange(-TAPS, TAPS + 1, dtype=np.float64)
    distance = places - shift
    taps = np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0.0)
    taps /= taps.sum()
    error = shift - float((taps * places).sum())
    taps[TAPS] -= error
    taps[TAPS + 1] += error
    return taps.astype(np.float32)


def _u8(values: Any) -> Plane:
    return np.asarray(values, dtype=np.uint8)


def dissolve(old: Picture, new: Picture, share: float) -> Picture:
    """`share` of the new picture over the old one."""
    mixed = [
        np.asarray(cv2.addWeighted(a, 1 - share, b, share, 0), dtype=np.uint8)
        for a, b in zip(old.planes, new.planes, strict=True)
    ]
    return Picture(*mixed)


def spotlight(picture: Picture, drawn: DrawnSpotlight, time_s: float, shown: float) -> Picture:
    """A spotlight over a picture at a time of its curves; `shown` is its fade, 0 to 1."""
    rows, columns = picture.y.shape
    cx, cy, rx, ry = (curve.at(time_s) for curve in drawn.curves)
    ellipse = (cx * columns, cy * rows, max(1.0, rx * columns), max(1.0, ry * rows))
    edge = EDGE[drawn.spotlight.shape]
    for effect in drawn.spotlight.effects:
        power = effect.strength * shown
        if power <= 0:
            continue
        if effect.kind is EffectKind.DIM_OUTSIDE:
            picture = _dim(picture, ellipse, edge, power * DIM_MAX)
        elif effect.kind is EffectKind.BRIGHTEN_INSIDE:
            picture = _towards(picture, ellipse, edge, power * BRIGHTEN_MAX, (WHITE, GREY, GREY), None)
        else:
            ring = RING_WIDTH * rows
            picture = _towards(picture, ellipse, edge, power, yuv(effect.color), ring)
    return picture


Ellipse = tuple[float, float, float, float]  # centre x, y and radii, in luma pixels


def _dim(picture: Picture, ellipse: Ellipse, edge: float, amount: float) -> Picture:
    """Darker and greyer outside: the whole plane by a table, then the ellipse's box by its own weights."""
    out = []
    for plane, floor, step in zip(picture.planes, (BLACK, GREY, GREY), (1, 2, 2), strict=True):
        values = np.arange(256, dtype=np.float32)
        table = np.clip(np.rint(floor + (values - floor) * (1 - amount)), 0, 255).astype(np.uint8)
        dark = np.array(cv2.LUT(plane, table), dtype=np.uint8)
        box = _box(plane, ellipse, 1 + edge, 0.0, step)
        if box is not None:
            rows, columns, distance = box[0], box[1], _distance(box[0], box[1], ellipse, step)
            inside = 1 - _smooth(distance, 1 - edge, 1 + edge)
            original = plane[rows, columns].astype(np.float32)
            dark[rows, columns] = _round(floor + (original - floor) * (1 - amount * (1 - inside)))
        out.append(dark)
    return Picture(*out)


def _towards(
    picture: Picture,
    ellipse: Ellipse,
    edge: float,
    amount: float,
    color: tuple[float, float, float],
    ring: float | None,
) -> Picture:
    """Inside the ellipse, or on its ring of `ring` luma pixels, towards a colour."""
    out = []
    for plane, target, step in zip(picture.planes, color, (1, 2, 2), strict=True):
        box = _box(plane, ellipse, 1 + edge, 2 * ring if ring else 0.0, step)
        if box is None:
            out.append(plane)
            continue
        rows, columns = box
        distance = _distance(rows, columns, ellipse, step)
        if ring is None:
            weight = amount * (1 - _smooth(distance, 1 - edge, 1 + edge))
        else:
            pixels = (np.abs(distance - 1) * min(ellipse[2], ellipse[3])).astype(np.float32)
            weight = amount * (1 - _smooth(pixels, ring * 0.5, ring * 0.5 + step))
        drawn = plane.copy()
        original = plane[rows, columns].astype(np.float32)
        drawn[rows, columns] = _round(original + (target - original) * weight)
        out.append(drawn)
    return Picture(*out)


def _box(plane: Plane, ellipse: Ellipse, grow: float, more: float, step: int) -> tuple[slice, slice] | None:
    cx, cy, rx, ry = ellipse
    left, right = (cx - rx * grow - more) / step, (cx + rx * grow + more) / step
    top, bottom = (cy - ry * grow - more) / step, (cy + ry * grow + more) / step
    rows = slice(max(0, int(top) - 1), min(plane.shape[0], int(bottom) + 2))
    columns = slice(max(0, int(left) - 1), min(plane.shape[1], int(right) + 2))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    return rows, columns


def _distance(rows: slice, columns: slice, ellipse: Ellipse, step: int) -> NDArray[np.float32]:
    """From the centre in radii, for each sample of the box."""
    cx, cy, rx, ry = ellipse
    across = 0.5 if step == 1 else 0.25  # chroma sits over the left luma column
    x = ((np.arange(columns.start, columns.stop, dtype=np.float32) + across) * step - cx) / rx
    y = ((np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * step - cy) / ry
    return np.sqrt(x[None, :] ** 2 + y[:, None] ** 2)


def _smooth(values: NDArray[np.float32], low: float, high: float) -> NDArray[np.float32]:
    u = np.clip((values - low) / (high - low), 0, 1)
    return u * u * (3 - 2 * u)  # type: ignore[no-any-return]


def _round(values: NDArray[np.float32]) -> Plane:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def yuv(color: str) -> tuple[float, float, float]:
    """A "#rrggbb" colour in limited-range BT.709."""
    r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return BLACK + 219 * luma, GREY + 224 * (b - luma) / 1.8556, GREY + 224 * (r - luma) / 1.5748
