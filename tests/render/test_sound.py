"""Sound: exact in length, in step with the picture at every speed, whatever the source's own sound is like."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from render.footage import Footage
from render.plan import SourceInfo, plan
from render.spec import Clip, Dissolve, Output, Quality, Spec, SpeedSpan
from tests.render import golden
from tests.render.conftest import WITH_SOUND
from tests.render.making import Making, numbers, onsets, sound

OUTPUT = Output("x", "reel.mp4", quality=Quality.DRAFT)


def flashes(path: Path, fps: Fraction = Fraction(30)) -> list[float]:
    """When the frames of whole source seconds first show, in s."""
    shown = numbers(path, fps=fps)
    return [shown.index(n) / float(fps) for n in sorted(set(shown)) if n % 30 == 0]


@pytest.mark.parametrize("rate", ["1/4", "1/2", "1", "2", "4"])
def test_beeps_are_in_step_with_flashes_and_the_length_is_exact(making: Making, tmp_path: Path, rate: str) -> None:
    spans = () if rate == "1" else (SpeedSpan(1_500_000, 4_500_000, Fraction(rate)),)
    spec = Spec((Clip(making.source("beeps.mov"), 500_000, 6_500_000, spans),), OUTPUT)
    products = making.make(spec, tmp_path)
    heard = sound(tmp_path / "reel.mp4")
    assert heard.shape[1] == products["reel.mp4"].frames * 1600
    made = plan(spec, {spec.clips[0].source: SourceInfo(640, 360, 8_000_000, Fraction(30), True)}).clips[0]
    seen = [
        float(piece.out_from + (second - piece.source_from) / piece.rate)
        for second in range(1, 7)
        for piece in made.pieces
        if 0 <= (second - piece.source_from) / piece.rate < piece.out_to - piece.out_from
    ]
    shown = numbers(tmp_path / "reel.mp4")
    for second, time_s in enumerate(seen, 1):
        assert shown[math.ceil(time_s * 30 - 1e-6)] in range(second * 30, second * 30 + math.ceil(Fraction(rate)))
    beeps = onsets(heard)
    offsets = [min(abs(beep - time_s) for beep in beeps) for time_s in seen]
    print(f"rate {rate}: beeps are off by {max(offsets) * 1000:.1f} ms at most")
    # AAC's own blur; or half a piece of the stretching and what it searches.
    assert max(offsets) < (0.006 if rate == "1" else 0.045), (beeps, seen)


def test_clips_and_dissolves_have_exactly_the_sound_of_their_frames(making: Making, tmp_path: Path) -> None:
    beeps, silent = making.source("beeps.mov"), making.source("plain.mp4")
    clips = (Clip(beeps, 700_000, 2_333_000), Clip(silent, 0, 1_111_000), Clip(beeps, 3_900_000, 5_217_000))
    spec = Spec(
        clips, Output("x", "reel.mp4", quality=Quality.DRAFT, fps=Fraction(30000, 1001)), (Dissolve(0, 300_000),)
    )
    products = making.make(spec, tmp_path)
    frames = products["reel.mp4"].frames
    heard = sound(tmp_path / "reel.mp4")
    assert heard.shape[1] == round(Fraction(frames * 48000 * 1001, 30000))
    beep_times = onsets(heard)
    start = (49 + 33 - 9) * 1001 / 30000  # frames before the third clip
    expected = [0.3, 1.3, start + 0.1, start + 1.1]
    assert np.allclose(beep_times, expected, atol=0.007), (beep_times, expected)


def test_sound_is_cut_to_the_sample_before_it_is_encoded(making: Making) -> None:
    with (making.folder / "beeps.mov").open("rb") as file:
        footage = Footage(file, "beeps.mov")
        gathered = footage.sound(Fraction(12, 10), Fraction(34, 10))
        assert gathered is not None
        for _ in footage.frames([Fraction(12, 10), Fraction(33, 10)], gathered):
            pass
        footage.close()
    samples = gathered.samples()
    times = (np.arange(samples.shape[1]) + 57600) / 48000
    expected = 0.7 * np.sin(2 * np.pi * 1000 * times) * (times % 1 < 0.05)
    assert samples.shape == (2, 105_600)
    assert np.abs(samples - expected).max() < 1e-3


@pytest.mark.parametrize("kind", ["late.mp4", "early.mkv", "rate441.mov", "mono.mkv", "ticks.mkv", "start.ts"])
def test_sound_of_all_sorts_is_in_step(making: Making, tmp_path: Path, kind: str) -> None:
    path, beeps = making.folder / kind, str(making.folder / "beeps.mov")
    if not path.exists():
        options = {
            "late.mp4": ["-i", beeps, "-itsoffset", "1.2", "-ss", "1.2", "-i", beeps, "-map", "0:v", "-map", "1:a"],
            "early.mkv": ["-itsoffset", "0.7", "-i", beeps, "-i", beeps],
            "rate441.mov": ["-i", beeps, "-ar", "44100", "-c:a", "pcm_s16le"],
            "mono.mkv": ["-i", beeps, "-ac", "1", "-c:a", "libopus"],
            "ticks.mkv": ["-i", beeps, "-c:a", "aac"],
            "start.ts": ["-i", beeps, "-output_ts_offset", "777", "-muxdelay", "0.5", "-c:a", "aac"],
        }[kind]
        if kind == "early.mkv":  # sound that began 0.7 s before the picture
            options += ["-filter_complex", "[1:a]adelay=700:all=1[s]", "-map", "0:v", "-map", "[s]"]
        video = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "60", "-qp", "0"]
        golden.ffmpeg(*options, *video, str(path))
    spec = Spec((Clip(making.source(kind), 1_500_000, 5_500_000),), OUTPUT)
    making.make(spec, tmp_path)
    seen, heard = flashes(tmp_path / "reel.mp4"), sound(tmp_path / "reel.mp4")
    assert heard.shape[1] == 120 * 1600
    found = onsets(heard)
    assert seen == [0.5, 1.5, 2.5, 3.5]
    assert np.allclose(found, seen, atol=0.008), (found, seen)


def test_packets_with_rounded_times_leave_no_gaps(making: Making, tmp_path: Path) -> None:
    path = making.folder / "steady.mkv"
    tone = ["-f", "lavfi", "-i", "sine=440:r=48000:d=5", "-shortest"]
    golden.encode(path, range(120), before=tone, options=[*WITH_SOUND[:-2], "-c:a", "aac"])
    with path.open("rb") as file:
        footage = Footage(file, "steady.mkv")
        gathered = footage.sound(Fraction(1), Fraction(3))
        assert gathered is not None
        list(footage.frames([Fraction(1), Fraction(29, 10)], gathered))
        footage.close()
    samples = gathered.samples()[0]
    assert np.abs(np.diff(samples)).max() < 0.02  # a click would be a step
