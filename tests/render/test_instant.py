"""Instant exports: copied packets that begin at 0, follow one another, and stay in step."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from chassis.faults import Fault
from render.spec import Clip, Mode, Output, Spec
from tests.render import golden
from tests.render.conftest import BEEPS
from tests.render.making import FULL, Making, numbers, onsets, pictures, sound

OUTPUT = Output("x", "all.mp4")
CODED = ["-c:v", "libx264", "-preset", "medium", "-g", "45", "-bf", "3", "-c:a", "aac"]


@pytest.fixture(scope="module")
def copied(making: Making) -> Making:
    golden.encode(making.folder / "coded.mp4", range(180), before=BEEPS, options=CODED)
    return making


def test_clips_begin_at_their_key_frame_and_the_joined_file_has_no_gap(copied: Making, tmp_path: Path) -> None:
    source = copied.source("coded.mp4")
    clips = (
        Clip(source, 1_700_000, 2_500_000, output_name="c1.mp4", title="Goal"),
        Clip(source, 3_100_000, 4_000_000, output_name="c2.mp4"),
    )
    products = copied.make(Spec(clips, OUTPUT, title="All", mode=Mode.INSTANT), tmp_path)
    first, second = numbers(tmp_path / "c1.mp4"), numbers(tmp_path / "c2.mp4")
    for shown, key, end in ((first, 45, 75), (second, 90, 120)):
        assert shown == list(range(key, key + len(shown)))
        assert end <= len(shown) + key <= end + 4
    assert numbers(tmp_path / "all.mp4") == first + second
    for name, count in (("c1.mp4", len(first)), ("c2.mp4", len(second)), ("all.mp4", len(first) + len(second))):
        assert products[name].frames == count and products[name].duration_us == round(count * 1e6 / 30)
        with av.open(str(tmp_path / name)) as file:
            video = file.streams.video[0]
            assert (video.start_time, file.start_time) == (0, 0)
            assert video.duration is not None and video.time_base is not None
            assert abs(video.duration * video.time_base - Fraction(count, 30)) < Fraction(1, 5000)
            assert file.metadata["title"] == ("Goal" if name == "c1.mp4" else "All")


def test_sound_stays_in_step_over_the_joint(copied: Making, tmp_path: Path) -> None:
    source = copied.source("coded.mp4")
    clips = (Clip(source, 1_700_000, 2_500_000), Clip(source, 3_100_000, 4_500_000))
    copied.make(Spec(clips, OUTPUT, mode=Mode.INSTANT), tmp_path)
    shown = numbers(tmp_path / "all.mp4")
    flashes = [shown.index(number) / 30 for number in (60, 90, 120)]
    beeps = onsets(sound(tmp_path / "all.mp4"))
    assert np.abs(np.array(beeps) - flashes).max() < 0.025, (beeps, flashes)


def test_rotation_comes_along(copied: Making, tmp_path: Path) -> None:
    turned = copied.folder / "turned-copy.mp4"
    golden.ffmpeg("-display_rotation", "90", "-i", str(copied.folder / "coded.mp4"), "-c", "copy", str(turned))
    spec = Spec((Clip(copied.source(turned.name), 0, 500_000),), OUTPUT, mode=Mode.INSTANT)
    copied.make(spec, tmp_path)
    with av.open(str(tmp_path / "all.mp4")) as made, av.open(str(turned)) as source:
        assert next(made.decode(video=0)).rotation == next(source.decode(video=0)).rotation == 90


@pytest.mark.parametrize("kind", ["mkv", "ts"])
def test_other_containers_are_copied_too(copied: Making, tmp_path: Path, kind: str) -> None:
    other = copied.folder / f"copied.{kind}"
    golden.ffmpeg("-i", str(copied.folder / "coded.mp4"), "-c", "copy", str(other))
    spec = Spec((Clip(copied.source(other.name), 3_500_000, 4_000_000),), OUTPUT, mode=Mode.INSTANT)
    copied.make(spec, tmp_path)
    found = [golden.number(picture, FULL) for _, picture in pictures(tmp_path / "all.mp4")]
    assert found == list(range(90, 90 + len(found))) and 120 <= found[-1] + 1 <= 124


def test_what_mp4_cannot_hold_is_refused(copied: Making, tmp_path: Path) -> None:
    spec = Spec((Clip(copied.source("beeps.mov"), 0, 500_000),), OUTPUT, mode=Mode.INSTANT)
    with pytest.raises(Fault, match="use exact") as raised:
        copied.make(spec, tmp_path)
    assert raised.value.reason == "invalid_spec" and raised.value.metadata == {"field": "mode"}
    two = replace(spec, clips=(*spec.clips, Clip(copied.source("coded.mp4"), 0, 500_000)))
    with pytest.raises(Fault, match="one source"):
        copied.make(two, tmp_path)
