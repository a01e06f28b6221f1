"""Drawing on planes: the window cut out with sub-pixel accuracy, dissolves, spotlights.

Chroma samples sit at the left edge of their two luma columns and between their two rows (as H.264 says without a flag),
in the source and in the output alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from render.footage import Picture, Plane
from render.plan import DrawnSpotlight, Window
from render.spec import EffectKind, Shape

cv2.setNumThreads(1)  # its own would spin for work while x264 keeps all cores busy

BLACK, WHITE, GREY = 16, 235, 128
TAPS = 3  # each way, of a shift by a fraction of a sample
SHIFTS = 1024  # a sample's fractions
ALMOST = 0.1
SOFTENED_FROM, SOFTENING = 1.02, 0.45  # against flicker when a picture gets smaller
# An ellipse's edge is soft between these distances from its centre, in radii.
EDGE = {Shape.BODY: 0.12, Shape.GROUND: 0.30}
DIM_MAX = 0.80  # how much of the light a full dimming takes
BRIGHTEN_MAX = 0.35  # how far towards white a full brightening goes
RING_WIDTH = 0.006  # of the frame's height


def crop(picture: Picture, window: Window, frame_width: int, frame_height: int, width: int, height: int) -> Picture:
    """The window of a frame, whose displayed size is given, as a picture of width x height pixels (even)."""
    rows, columns = picture.y.shape
    # From displayed to stored pixels: they differ in width when pixels are not square.
    across, down = columns / frame_width, rows / frame_height
    x, y = window.x * across, window.y * down
    sx, sy = window.width * across / width, window.height * down / height
    if picture.frame is not None and (width, height) == (columns, rows) and sx == sy == 1 and x == y == 0:
        return picture
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
        self.skip = math.ceil(4 / self.rest)
        edge = at + 0.5 - (0.5 + self.skip) * step
        first = math.floor(edge)
        self.shift = (edge - first) / self.whole
        self.first = first - TAPS * self.whole
        self.count = (math.ceil((count + 2 * self.skip) * self.rest) + 2 * TAPS + 1) * self.whole


def _resampled(plane: Plane, across: _Axis, down: _Axis) -> Plane:
    """Exact to about 1/1000 sample: OpenCV's warps round places to 1/32, its scaling and its filters do not."""
    if across.exact and down.exact:
        return _region(plane, int(across.at), int(down.at), across.length, down.length)
    region = _region(plane, across.first, down.first, across.count, down.count)
    if across.whole > 1 or down.whole > 1:
        # Averaged down first, or fine grass would flicker.
        size = (across.count // across.whole, down.count // down.whole)
        region = _u8(cv2.resize(region, size, interpolation=cv2.INTER_AREA))
    if across.rest > SOFTENED_FROM or down.rest > SOFTENED_FROM:
        x, y = (SOFTENING * math.sqrt(max(axis.rest**2 - 1, 0.01)) for axis in (across, down))
        region = _u8(cv2.GaussianBlur(region, (0, 0), sigmaX=x, sigmaY=y, borderType=cv2.BORDER_REPLICATE))
    if max(across.shift, down.shift) * SHIFTS >= 0.5:
        kernels = _shift_kernel(round(across.shift * SHIFTS)), _shift_kernel(round(down.shift * SHIFTS))
        region = _u8(cv2.sepFilter2D(region, -1, kernels[0], kernels[1], borderType=cv2.BORDER_REPLICATE))
    region = region[TAPS:-TAPS, TAPS:-TAPS]
    if across.rest != 1 or down.rest != 1:
        region = _scaled(region, across.rest, down.rest)
    return region[down.skip : down.skip + down.length, across.skip : across.skip + across.length]


def _scaled(region: Plane, across: float, down: float) -> Plane:
    """Every `across` and `down` samples of a region, from half of that on."""
    rows, columns = region.shape
    if round(columns / across) == columns and round(rows / down) == rows:
        # OpenCV's scaling would copy what keeps its size.
        places = np.array([[across, 0, across / 2 - 0.5], [0, down, down / 2 - 0.5]])
        warp = cv2.INTER_LANCZOS4 | cv2.WARP_INVERSE_MAP
        return _u8(cv2.warpAffine(region, places, (columns, rows), flags=warp, borderMode=cv2.BORDER_REPLICATE))
    # Cubic places samples up to 0.05 off, which evens out over a picture unless its scale is almost 1.
    almost = max(abs(across - 1), abs(down - 1)) < ALMOST
    form = cv2.INTER_LANCZOS4 if almost else cv2.INTER_CUBIC
    return _u8(cv2.resize(region, None, fx=1 / across, fy=1 / down, interpolation=form))


def _region(plane: Plane, left: int, top: int, width: int, height: int) -> Plane:
    """A rectangle of a plane; beyond its edges the edge goes on."""
    rows, columns = plane.shape
    before, above = max(0, -left), max(0, -top)
    after, below = max(0, left + width - columns), max(0, top + height - rows)
    inside = plane[max(0, top) : max(0, min(rows, top + height)), max(0, left) : max(0, min(columns, left + width))]
    if before or above or after or below:
        return _u8(cv2.copyMakeBorder(inside, above, below, before, after, cv2.BORDER_REPLICATE))
    return inside


@lru_cache(SHIFTS + 1)
def _shift_kernel(steps: int) -> NDArray[np.float32]:
    """Taps that move samples by a fraction: a Lanczos window of 6, mended to sum to 1 and to move by exactly that."""
    shift = steps / SHIFTS
    if not steps:
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
    planes, ours = list(picture.planes), False
    for effect in drawn.spotlight.effects:
        power = effect.strength * shown
        if power <= 0:
            continue
        if effect.kind is EffectKind.DIM_OUTSIDE:
            planes, ours = [_dim(planes[i], i, ellipse, edge, power * DIM_MAX) for i in range(3)], True
            continue
        if not ours:
            planes, ours = [plane.copy() for plane in planes], True
        for i in range(3):
            if effect.kind is EffectKind.BRIGHTEN_INSIDE:
                white = float(WHITE if i == 0 else GREY)
                _towards(planes[i], i, ellipse, white, _inside(edge, power * BRIGHTEN_MAX), edge)
            else:
                _ring(planes[i], i, ellipse, yuv(effect.color)[i], RING_WIDTH * rows, power)
    return Picture(*planes)


Ellipse = tuple[float, float, float, float]  # centre x, y and radii, in luma pixels
Weight = Callable[[NDArray[np.float64], int], NDArray[np.float64]]  # of distances in radii, for a plane's step


def _inside(edge: float, amount: float) -> Weight:
    return lambda distance, step: amount * (1 - _smooth(distance, 1 - edge, 1 + edge))


def _dim(plane: Plane, index: int, ellipse: Ellipse, edge: float, amount: float) -> Plane:
    """Darker and greyer outside: the whole plane at once, then the ellipse's box by its own weights."""
    floor = BLACK if index == 0 else GREY
    dark = _u8(cv2.convertScaleAbs(plane, alpha=1 - amount, beta=floor * amount))
    box = _box(plane, ellipse, edge, min(index, 1) + 1)
    if box is not None:
        dark[box] = plane[box]
        inside = _inside(edge, amount)
        _towards(dark, index, ellipse, float(floor), lambda distance, step: amount - inside(distance, step), edge)
    return dark


def _towards(plane: Plane, index: int, ellipse: Ellipse, target: float, weight: Weight, band: float) -> None:
    """Changes a plane in place, near the ellipse, towards a value by a weight that varies within `band` of its edge.

    Done in 8 bits by tables over the square of the distance, which is a sum of rows and columns.
    """
    step = min(index, 1) + 1
    box = _box(plane, ellipse, band, step)
    if box is None:
        return
    places, distances = _places(box, ellipse, band, step)
    share = weight(distances, step)
    kept = cv2.multiply(plane[box], cv2.LUT(places, _round(255 * (1 - share))), scale=1 / 255)
    plane[box] = cv2.add(kept, cv2.LUT(places, _round(target * share)))


def _ring(plane: Plane, index: int, ellipse: Ellipse, target: float, width: float, amount: float) -> None:
    """Between two ellipses half a width further out and in: as wide at its ends as at its sides, however long it is."""
    step = min(index, 1) + 1
    outer, inner = (_grown(ellipse, grown) for grown in (width / 2, -width / 2))
    band = 2 * step / min(outer[2:])
    box = _box(plane, outer, band, step)
    if box is None:
        return
    shares = []
    for one in (outer, inner):
        places, distances = _places(box, one, 2 * step / min(one[2:]), step)
        # An edge is soft over a sample, half of it on each side.
        soft = step / 2 / min(one[2:])
        shares.append(cv2.LUT(places, _round(255 * amount * (1 - _smooth(distances, 1 - soft, 1 + soft)))))
    share = cv2.subtract(shares[0], shares[1])
    kept = cv2.multiply(plane[box], cv2.bitwise_not(share), scale=1 / 255)
    plane[box] = cv2.add(kept, cv2.convertScaleAbs(share, alpha=target / 255))


def _grown(ellipse: Ellipse, by: float) -> Ellipse:
    cx, cy, rx, ry = ellipse
    return cx, cy, max(0.5, rx + by), max(0.5, ry + by)


def _places(box: tuple[slice, slice], ellipse: Ellipse, band: float, step: int) -> tuple[Plane, NDArray[np.float64]]:
    """For each sample of a box the number of its distance from the centre, and the distances in radii by number: 256 of
    them from `band` inside of the ellipse's edge to as much outside.
    """
    cx, cy, rx, ry = ellipse
    across = 0.5 if step == 1 else 0.25  # chroma sits over the left luma column
    x = ((np.arange(box[1].start, box[1].stop) + across) * step - cx) / rx
    y = ((np.arange(box[0].start, box[0].stop) + 0.5) * step - cy) / ry
    low, high = max(0.0, 1 - band) ** 2, (1 + band) ** 2
    scale = 255 / (high - low)
    columns = np.minimum(x**2 * scale, 16_000).astype(np.int16)
    rows = np.minimum((y**2 - low) * scale, 16_000).astype(np.int16)
    places = np.clip(rows[:, None] + columns[None, :], 0, 255).astype(np.uint8)
    return places, np.sqrt(low + np.arange(256) / scale)


def _box(plane: Plane, ellipse: Ellipse, band: float, step: int) -> tuple[slice, slice] | None:
    """The part of a plane that holds the ellipse, grown by `band`."""
    cx, cy, rx, ry = ellipse
    left, right = (cx - rx * (1 + band)) / step, (cx + rx * (1 + band)) / step
    top, bottom = (cy - ry * (1 + band)) / step, (cy + ry * (1 + band)) / step
    rows = slice(max(0, int(top) - 1), min(plane.shape[0], int(bottom) + 2))
    columns = slice(max(0, int(left) - 1), min(plane.shape[1], int(right) + 2))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    return rows, columns


def _smooth(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    u = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(u * u * (3 - 2 * u))


def _round(values: NDArray[np.float64]) -> Plane:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def yuv(color: str) -> tuple[float, float, float]:
    """A "#rrggbb" colour in limited-range BT.709."""
    r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    return BLACK + 219 * luma, GREY + 224 * (b - luma) / 1.8556, GREY + 224 * (r - luma) / 1.5748
