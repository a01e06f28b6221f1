"""Output frame k is source frame j at window w: read from the frames themselves, for every kind of edit."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from render import draw
from render.footage import TOLERANCE_S, Footage
from render.plan import Plan, SourceInfo, Window, plan
from render.spec import Clip, Crop, CropKey, Dissolve, Interpolation, Output, Quality, Spec, SpeedSpan
from tests.render import golden
from tests.render.making import FULL, Making, numbers, pictures

INFO = SourceInfo(640, 360, 8_000_000, Fraction(30), True)
OUTPUT = Output("x", "reel.mp4", quality=Quality.DRAFT)
HIGH = replace(OUTPUT, quality=Quality.HIGH)


def shown(made: Plan, index: int, first_number: int = 0) -> list[int]:
    """The source frames that a clip's frames must show."""
    clip = made.clips[index]
    times = [clip.source_time(frame, made.fps) for frame in range(clip.frames)]
    return [first_number + math.floor((time_s + TOLERANCE_S) * clip.info.fps) for time_s in times]


@pytest.mark.parametrize(("start_ms", "end_ms"), [(0, 1000), (1237, 2519), (333, 367), (6651, 8000)])
def test_a_trim_at_any_millisecond_shows_each_of_its_frames_once(
    making: Making, tmp_path: Path, start_ms: int, end_ms: int
) -> None:
    spec = Spec((Clip(making.source("beeps.mov"), start_ms * 1000, end_ms * 1000),), OUTPUT)
    products = making.make(spec, tmp_path)
    expected = shown(plan(spec, {spec.clips[0].source: INFO}), 0)
    assert numbers(tmp_path / "reel.mp4") == expected
    assert expected == list(range(expected[0], expected[0] + round((end_ms - start_ms) * 30 / 1000)))
    assert products["reel.mp4"].frames == len(expected)
    assert products["reel.mp4"].duration_us == round(len(expected) * 1_000_000 / 30)


@pytest.mark.parametrize("rate", ["1/4", "1/2", "2", "4", "7/5"])
def test_every_speed_shows_the_frame_of_its_time(making: Making, tmp_path: Path, rate: str) -> None:
    span = SpeedSpan(1_500_000, 3_000_000, Fraction(rate))
    spec = Spec((Clip(making.source("beeps.mov"), 1_010_000, 3_510_000, (span,)),), OUTPUT)
    making.make(spec, tmp_path)
    made = plan(spec, {spec.clips[0].source: INFO})
    assert numbers(tmp_path / "reel.mp4") == shown(made, 0)
    assert abs(made.frames - float((1 + Fraction(3, 2) / Fraction(rate)) * 30)) <= 0.5


def test_clips_alone_and_joined_are_the_same_frames(making: Making, tmp_path: Path) -> None:
    beeps, other = making.source("beeps.mov"), making.source("plain.mp4")
    spec = Spec(
        (
            Clip(beeps, 500_000, 1_533_000, output_name="a.mp4"),
            Clip(other, 1_250_000, 2_000_000, output_name="b.mp4"),
            Clip(beeps, 400_000, 900_000),
            Clip(beeps, 7_000_000, 7_700_000, output_name="c.mp4"),
        ),
        OUTPUT,
    )
    products = making.make(spec, tmp_path)
    made = plan(spec, {beeps: INFO, other: replace(INFO, duration_us=4_000_000)})
    parts = [shown(made, 0), shown(made, 1, 1000), shown(made, 2), shown(made, 3)]
    assert numbers(tmp_path / "reel.mp4") == list(itertools.chain(*parts))
    whole = [picture.y.tobytes() for _, picture in pictures(tmp_path / "reel.mp4")]
    at = 0
    for index, name in ((0, "a.mp4"), (1, "b.mp4"), (2, ""), (3, "c.mp4")):
        if name:
            assert numbers(tmp_path / name) == parts[index]
            alone = [picture.y.tobytes() for _, picture in pictures(tmp_path / name)]
            assert alone == whole[at : at + len(alone)]
            assert products[name].frames == len(alone)
        at += len(parts[index])


def test_a_dissolve_blends_both_clips_frame_by_frame(making: Making, tmp_path: Path) -> None:
    beeps, other = making.source("beeps.mov"), making.source("plain.mp4")
    clips = (Clip(beeps, 1_000_000, 2_000_000), Clip(other, 0, 1_500_000), Clip(other, 2_000_000, 3_000_000))
    spec = Spec(clips, HIGH, (Dissolve(0, 400_000), Dissolve(1, 200_000)))
    making.make(spec, tmp_path)
    made = plan(spec, {beeps: INFO, other: replace(INFO, duration_us=4_000_000)})
    parts = [shown(made, 0), shown(made, 1, 1000), shown(made, 2, 1000)]
    seen = list(pictures(tmp_path / "reel.mp4"))
    assert len(seen) == made.frames == 30 + 45 + 30 - 12 - 6
    for index, (_, picture) in enumerate(seen):
        showing = [
            (part[index - clip.first], clip)
            for part, clip in zip(parts, made.clips, strict=True)
            if 0 <= index - clip.first < clip.frames
        ]
        if len(showing) == 1:
            assert golden.number(picture, FULL) == showing[0][0]
            continue
        (old, _), (new, clip) = showing
        joint = made.joints[clip.index - 1]
        share = (index - joint.first + 1) / (joint.frames + 1)
        before, after = (golden.draw(number).y.astype(float) for number in (old, new))
        differs = np.abs(after - before) > 40
        mixed = (picture.y[differs] - before[differs]) / (after - before)[differs]
        assert abs(np.median(mixed) - share) < 0.03, (index, share)


def test_a_moving_window_is_where_it_should_be(making: Making) -> None:
    """Before the encoder: the error of each frame's window, and its jitter."""
    keys = (
        CropKey(0, 0.05, 0.0, 0.5, 0.95),
        CropKey(1_000_000, 0.4, 0.02, 0.51, 0.93),
        CropKey(2_500_000, 0.45, 0.1, 0.55, 0.9),
        CropKey(4_000_000, 0.3, 0.0, 0.5, 1.0),
    )
    for width, height in ((560, 630), (320, 360)):
        for interpolation in Interpolation:
            clip = Clip(making.source("beeps.mov"), 0, 4_000_000, crop=Crop(keys, interpolation))
            made = plan(Spec((clip,), replace(OUTPUT, width=width, height=height)), {clip.source: INFO})
            with (making.folder / "beeps.mov").open("rb") as file:
                footage = Footage(file, "beeps.mov")
                clips = draw.Clips(made, lambda _, footage=footage: footage, lambda *_: None, heard=False)  # type: ignore[misc]
                errors, drift = [], []
                for index, picture in enumerate(clips.frames(0, made.frames)):
                    if index % 3:
                        continue
                    window = made.clips[0].window(index / 30, width / height)
                    seen = golden.read(picture, window)
                    assert seen.number == index
                    errors.append(golden.worst(seen.window, window) * width / window.width)
                    drift.append((seen.window.x - window.x) * width / window.width)
                footage.close()
            print(f"{width}x{height}: window error {max(errors):.4f}, jitter {np.std(drift):.4f} output pixels")
            assert max(errors) <= 0.05, (width, max(errors))
            assert np.std(drift) <= 0.01, (width, np.std(drift))


def test_a_window_through_the_encoder(making: Making, tmp_path: Path) -> None:
    keys = (CropKey(1_000_000, 0.1, 0.1, 0.5, 0.5), CropKey(3_000_000, 0.4, 0.3, 0.4, 0.4))
    clip = Clip(making.source("beeps.mov"), 1_000_000, 3_000_000, crop=Crop(keys))
    spec = Spec((clip,), replace(HIGH, width=640, height=360))
    making.make(spec, tmp_path)
    made = plan(spec, {clip.source: INFO})
    chroma: list[float] = []
    for index, (_, picture) in enumerate(pictures(tmp_path / "reel.mp4")):
        window = made.clips[0].window(1 + index / 30, 640 / 360)
        seen = golden.read(picture, window)
        assert seen.number == 30 + index
        assert golden.worst(seen.window, window) < 0.25
        if seen.chroma is not None:
            chroma.append(golden.worst(seen.chroma, window))
    assert len(chroma) > 20 and max(chroma) < 0.8


def test_the_default_window_is_the_largest_centred_one(making: Making, tmp_path: Path) -> None:
    clip = Clip(making.source("beeps.mov"), 0, 200_000)
    making.make(Spec((clip,), replace(HIGH, width=270, height=480)), tmp_path)
    expected = Window(320 - 360 * 270 / 480 / 2, 0, 360 * 270 / 480, 360)
    for index, (_, picture) in enumerate(pictures(tmp_path / "reel.mp4")):
        seen = golden.read(picture, expected)
        assert seen.number == index and golden.worst(seen.window, expected) < 0.25


def test_another_rate_is_resampled_by_time(making: Making, tmp_path: Path) -> None:
    clip = Clip(making.source("beeps.mov"), 0, 2_000_000)
    for fps in (Fraction(60), Fraction(24000, 1001), Fraction(15)):
        spec = Spec((clip,), replace(OUTPUT, fps=fps))
        making.make(spec, tmp_path)
        assert numbers(tmp_path / "reel.mp4", fps=fps) == shown(plan(spec, {clip.source: INFO}), 0)
