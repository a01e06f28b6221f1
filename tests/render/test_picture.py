"""Drawing against a plain reference in floating point."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from render import picture
from render.footage import Picture
from render.keyframes import curve
from render.plan import DrawnSpotlight, Window
from render.spec import Effect, EffectKind, EllipseKey, Overlay, Shape, Spotlight
from tests.render import golden

FLOOR = (16.0, 128.0, 128.0)


def light(effect: Effect, shape: Shape, at: tuple[float, float, float, float]) -> DrawnSpotlight:
    spot = Spotlight((EllipseKey(0, *at),), (effect,), shape)
    a, b, c, d = (curve([0.0], [value], smooth=False) for value in at)
    return DrawnSpotlight(Overlay(0, 1, spot), spot, (a, b, c, d))


def smooth(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    u = np.clip((values - low) / (high - low), 0, 1)
    return np.asarray(u * u * (3 - 2 * u))


def reference(
    source: Picture, effect: Effect, shape: Shape, at: tuple[float, float, float, float], shown: float
) -> list[NDArray[np.float64]]:
    rows, columns = source.y.shape
    edge, power = picture.EDGE[shape], effect.strength * shown
    out = []
    for index, plane in enumerate(source.planes):
        step = min(index, 1) + 1
        x = (np.arange(plane.shape[1]) + (0.5 if step == 1 else 0.25)) * step
        y = (np.arange(plane.shape[0]) + 0.5) * step
        rx, ry = at[2] * columns, at[3] * rows
        distance = np.hypot((x[None, :] - at[0] * columns) / rx, (y[:, None] - at[1] * rows) / ry)
        outside = smooth(distance, 1 - edge, 1 + edge)
        if effect.kind is EffectKind.DIM_OUTSIDE:
            target, share = FLOOR[index], power * picture.DIM_MAX * outside
        elif effect.kind is EffectKind.BRIGHTEN_INSIDE:
            target, share = (235.0, 128.0, 128.0)[index], power * picture.BRIGHTEN_MAX * (1 - outside)
        else:
            inside = []
            for grown in (picture.RING_WIDTH * rows / 2, -picture.RING_WIDTH * rows / 2):
                wide, tall = rx + grown, ry + grown
                soft = step / 2 / min(wide, tall)
                further = np.hypot((x[None, :] - at[0] * columns) / wide, (y[:, None] - at[1] * rows) / tall)
                inside.append(1 - smooth(further, 1 - soft, 1 + soft))
            target, share = picture.yuv(effect.color)[index], power * (inside[0] - inside[1])
        values = plane.astype(np.float64)
        out.append(values + (target - values) * share)
    return out


@pytest.mark.parametrize("kind", EffectKind)
@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize(
    "at", [(0.5, 0.5, 0.1, 0.3), (0.02, 0.9, 0.2, 0.25), (0.4, 0.3, 1.5, 1.1), (1.6, 0.5, 0.1, 0.1)]
)
def test_effects_are_those_of_the_formula(
    kind: EffectKind, shape: Shape, at: tuple[float, float, float, float]
) -> None:
    source = golden.draw(5)
    before = [plane.copy() for plane in source.planes]
    effect = Effect(kind, 0.9, "#ffcc00")
    for shown in (1.0, 0.35):
        drawn = picture.spotlight(source, light(effect, shape, at), 0.0, shown)
        for plane, expected in zip(drawn.planes, reference(source, effect, shape, at, shown), strict=True):
            difference = np.abs(plane - expected)
            assert difference.mean() < 0.5 and difference.max() < (10 if kind is EffectKind.RING else 2.5)
    assert all(np.array_equal(a, b) for a, b in zip(source.planes, before, strict=True))


def test_a_ring_is_as_wide_at_its_ends_as_at_its_sides() -> None:
    grey = Picture(*(np.full(shape, 100, dtype=np.uint8) for shape in ((1080, 1920), (540, 960), (540, 960))))
    drawn = picture.spotlight(
        grey, light(Effect(EffectKind.RING, 1.0, "#ffffff"), Shape.BODY, (0.5, 0.5, 0.03, 0.3)), 0.0, 1.0
    )
    side, end = ((line.astype(float) - 100).sum() / 135 for line in (drawn.y[540, :960], drawn.y[:540, 960]))
    assert abs(side - picture.RING_WIDTH * 1080) < 0.3 and abs(end - side) < 0.3


@pytest.mark.parametrize(("width", "height"), [(640, 360), (320, 180), (214, 120), (1280, 720), (636, 358)])
def test_a_whole_frame_keeps_its_light_and_its_edges(width: int, height: int) -> None:
    source = golden.draw(9)
    made = picture.crop(source, Window(0, 0, 640, 360), 640, 360, width, height)
    assert made.y.shape == (height, width) and made.u.shape == (height // 2, width // 2)
    for plane, original in zip(made.planes, source.planes, strict=True):
        assert abs(float(plane.mean()) - float(original.mean())) < 1.0
    even = Picture(*(np.full_like(plane, 77) for plane in source.planes))
    flat = picture.crop(even, Window(3.3, 1.7, 600, 337.5), 640, 360, width, height)
    assert all((plane == 77).all() for plane in flat.planes)


def test_a_smaller_picture_does_not_flicker() -> None:
    """Fine stripes, moved by parts of a pixel, stay evenly grey when they are too fine to be shown."""
    y = np.full((360, 640), 60, dtype=np.uint8)
    y[:, ::2] = 190
    source = Picture(y, *(np.full((180, 320), 128, dtype=np.uint8) for _ in range(2)))
    for scale, most in ((1.5, 65), (2.0, 25), (3.3, 50)):
        width, height = round(600 / scale / 2) * 2, round(300 / scale / 2) * 2
        for k in range(10):
            window = Window(5 + k * 0.21, 9, width * scale, height * scale)
            made = picture.crop(source, window, 640, 360, width, height)
            assert np.ptp(made.y) < most, (scale, k)
