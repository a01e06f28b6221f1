"""Spotlights as they are drawn against the vectors that the browser's preview tests too: from what a user saved, by the
gateway's specification, to the planes of a picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from gateway.clients import specs as gateway_specs
from gateway.domain import specs
from gateway.domain.exports import Output, Role
from gateway.domain.reels import Effect, EllipseKey, Overlay, Region
from render import plan
from render.draw import Clips
from render.footage import Footage, Picture
from render.rpc import messages
from render.spec import Crop, CropKey, Space, Spec

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "spotlight.json"
CASES = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
FPS = 50


class OneColor:
    """Footage of one colour."""

    def __init__(self, width: int, height: int, color: Sequence[int]) -> None:
        half = (height // 2, width // 2)
        planes = zip(((height, width), half, half), color, strict=True)
        self._picture = Picture(*(np.full(size, value, dtype=np.uint8) for size, value in planes))

    def frames(self, times_s: Sequence[Fraction], sound: object) -> Iterator[Picture]:
        """The picture, for each of the times."""
        return (self._picture for _ in times_s)


def region(saved: dict[str, Any]) -> Region:
    """A spotlight as the API takes it, with what it may leave out."""
    effects = tuple(Effect(**effect) for effect in saved["effects"])
    keys = tuple(EllipseKey(**key) for key in saved["keys"])
    fade_ms, shape = saved.get("fade_ms", 0), saved.get("shape", "body")
    return Region(saved["start_ms"], saved["end_ms"], fade_ms, shape, effects, keys)


def through(spec: Spec, crop_keys: list[dict[str, Any]]) -> Spec:
    """The same with the spotlight on the footage, seen through a crop."""
    keys = tuple(CropKey(key["time_ms"] * 1000, key["x"], key["y"], key["width"], key["height"]) for key in crop_keys)
    clip = replace(spec.clips[0], crop=Crop(keys) if keys else None)
    return replace(spec, clips=(clip,), overlays=tuple(replace(one, space=Space.SOURCE) for one in spec.overlays))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    width, height = case["frame"]
    working = Output(
        "o",
        "e",
        "w.mp4",
        Role.WORKING,
        None,
        1,
        case["reel_ms"],
        width,
        height,
        float(FPS),
        "working_videos/e/w.mp4",
        "",
    )
    told = specs.overlay("x", "Reel", working, Overlay((region(case["region"]),))).spec
    spec = messages.spec_from(gateway_specs.message(told))
    across, down = width, height
    if "seen" in case:
        across, down = case["seen"]["source"]
        spec = through(spec, case["seen"]["crop_keys"])
    info = plan.SourceInfo(across, down, case["reel_ms"] * 1000, Fraction(FPS), has_audio=False)
    made = plan.plan(spec, {spec.clips[0].source: info})
    assert (made.width, made.height, made.fps) == (width, height, Fraction(FPS))
    footage = cast(Footage, OneColor(across, down, case["color"]))
    clips = Clips(made, lambda _: footage, lambda *_: None, heard=False)
    for moment in case["moments"]:
        number = moment["time_ms"] * FPS // 1000
        (frame,) = clips.frames(number, number + 1)
        y, u, v = clips.finished(frame, number).planes
        for left, top, *expected in moment["luma"]:
            assert [y[int(top), int(left)]] == pytest.approx(expected, abs=case["within"]), (
                moment["time_ms"],
                left,
                top,
            )
        for left, top, *expected in moment["chroma"]:
            row, column = int(top) // 2, int(left) // 2
            found = [u[row, column], v[row, column]]
            assert found == pytest.approx(expected, abs=case["within"]), (moment["time_ms"], left, top)
