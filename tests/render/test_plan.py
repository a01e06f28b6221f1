"""The plan: rational times, whole frames, windows inside the frame, joints."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import Fault
from render.footage import TOLERANCE_S
from render.plan import CHUNK_MIN_S, MICRO, SAMPLE_RATE, Chunk, SourceInfo, chunks, memory_bytes, plan, shares, strength
from render.spec import (
    Clip,
    Crop,
    CropKey,
    Dissolve,
    Effect,
    EffectKind,
    EllipseKey,
    Output,
    Overlay,
    Quality,
    Source,
    Spec,
    SpeedSpan,
    Spotlight,
    duration_us,
    validate,
)

SOURCE = Source("games/a.mp4")
NTSC = Fraction(60000, 1001)
INFO = SourceInfo(1920, 1080, 60 * MICRO, NTSC, True)
OUTPUT = Output("x", "a.mp4")
RATES = (Fraction(30), Fraction(24), Fraction(25), NTSC, NTSC / 2, Fraction(60), Fraction(24000, 1001))


@given(
    st.lists(
        st.tuples(
            st.integers(0, 50 * MICRO), st.integers(1, 9 * MICRO), st.sampled_from(["1/4", "1/2", "1", "3/2", "4"])
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(RATES),
)
def test_frames_are_whole_and_times_rational(parts: list[tuple[int, int, str]], fps: Fraction) -> None:
    clips = []
    for begin, length, rate in parts:
        third = length // 3
        spans = (SpeedSpan(begin + third, begin + length - third, Fraction(rate)),) if third else ()
        clips.append(Clip(SOURCE, begin, begin + length, spans))
    made = plan(validate(Spec(tuple(clips), Output("x", "a.mp4", fps=fps))), {SOURCE: INFO})
    at = 0
    for clip, wanted in zip(made.clips, clips, strict=True):
        assert clip.first == at and clip.frames == max(1, round(duration_us(wanted) / MICRO * fps))
        at += clip.frames
        times = [clip.source_time(frame, made.fps) for frame in range(clip.frames)]
        assert times[0] == Fraction(wanted.in_us, MICRO)
        assert all(a < b for a, b in pairwise(times))
        assert all(isinstance(time, Fraction) for time in times)
        assert times[-1] <= Fraction(wanted.out_us, MICRO)
        if not wanted.speed_spans:
            assert times == [times[0] + k / made.fps for k in range(clip.frames)]
    assert made.frames == at
    assert made.samples(made.frames) == round(made.frames * SAMPLE_RATE / made.fps)


def test_a_span_is_entered_and_left_at_its_times() -> None:
    clip = Clip(SOURCE, 0, 3 * MICRO, (SpeedSpan(MICRO, 2 * MICRO, Fraction(1, 2)),))
    made = plan(Spec((clip,), Output("x", "a.mp4", fps=Fraction(10))), {SOURCE: INFO}).clips[0]
    assert made.frames == 40
    shown = [float(made.source_time(frame, Fraction(10))) for frame in (0, 9, 10, 11, 20, 29, 30, 31, 39)]
    assert shown == pytest.approx([0, 0.9, 1.0, 1.05, 1.5, 1.95, 2.0, 2.1, 2.9])


def test_rates_are_kept_up_to_sixty() -> None:
    clip = Clip(SOURCE, 0, MICRO)
    assert plan(Spec((clip,), OUTPUT), {SOURCE: INFO}).fps == NTSC
    fast = SourceInfo(1920, 1080, 60 * MICRO, Fraction(240), True)
    assert plan(Spec((clip,), OUTPUT), {SOURCE: fast}).fps == 60


@given(
    st.floats(0, 1),
    st.floats(0, 1),
    st.floats(0.02, 1),
    st.floats(0.02, 1),
    st.sampled_from([9 / 16, 1.0, 16 / 9, 4 / 5]),
)
def test_a_window_stays_inside_and_has_the_aspect_of_the_output(
    x: float, y: float, width: float, height: float, aspect: float
) -> None:
    width, height = min(width, 1), min(height, 1)
    key = CropKey(0, x * (1 - width), y * (1 - height), width, height)
    output = Output("x", "a.mp4", round(aspect * 720) * 2, 1440)
    made = plan(validate(Spec((Clip(SOURCE, 0, MICRO, crop=Crop((key,))),), output)), {SOURCE: INFO})
    window = made.clips[0].window(0.5, made.width / made.height)
    assert window.x >= -1e-6 and window.x + window.width <= INFO.width + 1e-6
    assert window.y >= -1e-6 and window.y + window.height <= INFO.height + 1e-6
    assert window.width / window.height == pytest.approx(made.width / made.height)
    assert window.width <= key.width * INFO.width + 1e-6 and window.height <= key.height * INFO.height + 1e-6
    centre = (key.x + key.width / 2) * INFO.width
    assert window.x + window.width / 2 == pytest.approx(centre, abs=0.2)


def test_without_framing_the_window_is_the_largest_centred_one() -> None:
    made = plan(Spec((Clip(SOURCE, 0, MICRO),), Output("x", "a.mp4", 1080, 1920)), {SOURCE: INFO})
    window = made.clips[0].window(0, made.width / made.height)
    assert (window.x, window.y, window.width, window.height) == pytest.approx((656.25, 0, 607.5, 1080))


@pytest.mark.parametrize(
    ("width", "height", "crop", "expected"),
    [
        (1920, 1080, None, (1920, 1080)),
        (641, 359, None, (640, 358)),
        (3840, 2160, None, (1920, 1080)),
        (1080, 1920, None, (1080, 1920)),
        (1920, 1080, CropKey(0, 0.2, 0.0, 0.28125, 1.0), (540, 1080)),
        (20, 10, None, (20, 16)),
    ],
)
def test_the_size_without_one_is_the_first_window_even(
    width: int, height: int, crop: CropKey | None, expected: tuple[int, int]
) -> None:
    info = SourceInfo(width, height, MICRO, Fraction(30), False)
    clip = Clip(SOURCE, 0, MICRO, crop=Crop((crop,)) if crop else None)
    made = plan(Spec((clip,), OUTPUT), {SOURCE: info})
    assert abs(made.width - expected[0]) <= 2 and abs(made.height - expected[1]) <= 2
    assert made.width % 2 == made.height % 2 == 0


def test_dissolves_overlap_clips_by_whole_frames() -> None:
    clips = (Clip(SOURCE, 0, 2 * MICRO), Clip(SOURCE, 5 * MICRO, 8 * MICRO), Clip(SOURCE, 9 * MICRO, 10 * MICRO))
    output = Output("x", "a.mp4", fps=Fraction(30))
    made = plan(validate(Spec(clips, output, (Dissolve(0, 500_000), Dissolve(1, 333_333)))), {SOURCE: INFO})
    assert [(one.after, one.first, one.frames) for one in made.joints] == [(0, 45, 15), (1, 125, 10)]
    assert [clip.first for clip in made.clips] == [0, 45, 125]
    assert made.frames == 60 + 90 + 30 - 25


def test_a_clip_ends_with_its_source_and_must_begin_in_it() -> None:
    made = plan(Spec((Clip(SOURCE, 59 * MICRO, 90 * MICRO),), OUTPUT), {SOURCE: INFO})
    assert made.frames == 60
    with pytest.raises(Fault) as late:
        plan(Spec((Clip(SOURCE, 0, 1), Clip(SOURCE, 60 * MICRO, 61 * MICRO)), OUTPUT), {SOURCE: INFO})
    assert late.value.metadata["field"] == "clips[1].in_us"


def test_a_fade_rises_and_falls_in_straight_lines() -> None:
    light = Spotlight((EllipseKey(0, 0.5, 0.5, 0.1, 0.1),), (Effect(EffectKind.RING, 1),))
    overlay = Overlay(MICRO, 3 * MICRO, light, 500_000)
    times = (0.99, 1.0, 1.25, 1.5, 2.0, 2.75, 2.999, 3.0)
    assert [strength(overlay, time) for time in times] == pytest.approx([0, 0, 0.5, 1, 1, 0.5, 0.002, 0])
    hard = Overlay(MICRO, 3 * MICRO, light)
    assert [strength(hard, time) for time in times] == [0, 1, 1, 1, 1, 1, 1, 0]


def test_at_a_whole_second_of_ntsc_footage_the_frame_of_a_player_is_meant() -> None:
    assert Fraction(30 * 1001, 30000) > 1 + TOLERANCE_S  # frame 30 begins a millisecond late: 29 is on the screen
    for number in range(300):
        begins = Fraction(number * 1001, 30000)
        assert begins <= Fraction(round(begins * 1000), 1000) + TOLERANCE_S  # a player's time in whole milliseconds


CLIPS = st.lists(st.tuples(st.integers(0, 40 * MICRO), st.integers(1, 20 * MICRO)), min_size=1, max_size=9)


@given(CLIPS, st.sets(st.integers(0, 8)), st.integers(1, 8), st.sampled_from(RATES), st.booleans())
def test_chunks_cover_every_frame_once(
    parts: list[tuple[int, int]], named: set[int], at_once: int, fps: Fraction, dissolved: bool
) -> None:
    clips = tuple(
        Clip(SOURCE, begin, begin + length, output_name=f"{i}.mp4" if i in named and not dissolved else "")
        for i, (begin, length) in enumerate(parts)
    )
    shortest = min(length for _, length in parts)
    joints = (Dissolve(0, shortest // 2),) if dissolved and len(parts) > 1 and shortest > MICRO else ()
    made = plan(validate(Spec(clips, Output("x", "a.mp4", fps=fps), joints)), {SOURCE: INFO})
    cut = chunks(made, at_once)
    assert [chunk.first for chunk in cut] == [0, *(chunk.end for chunk in cut[:-1])] and cut[-1].end == made.frames
    assert all(chunk.frames > 0 for chunk in cut)
    if any(clip.output_name for clip in clips):
        assert {clip.first for clip in made.clips} <= {chunk.first for chunk in cut}
    else:
        assert len(cut) == 1 or min(chunk.frames for chunk in cut) >= math.floor(CHUNK_MIN_S * fps)
    dealt = shares(cut, at_once)
    assert [chunk for share in dealt for chunk in share] == list(cut) and len(dealt) <= at_once


def test_only_long_work_is_divided_and_by_as_many_as_work() -> None:
    def divided(seconds: int, at_once: int, quality: Quality = Quality.HIGH) -> list[Fraction]:
        info = SourceInfo(1920, 1080, 4000 * MICRO, Fraction(30), True)
        spec = Spec((Clip(SOURCE, 0, seconds * MICRO),), Output("x", "a.mp4", quality=quality))
        return [Fraction(chunk.frames, 30) for chunk in chunks(plan(spec, {SOURCE: info}), at_once)]

    assert divided(40, 1) == [40]  # one at a time saves nothing
    assert divided(600, 1) == [60] * 10  # but what is done of so much
    assert divided(9, 4) == [9]
    assert divided(20, 2) == [10, 10]
    assert divided(30, 4) == [10, 10, 10]
    assert divided(60, 4) == [15] * 4
    assert divided(20, 4) == [10, 10] and divided(20, 4, Quality.DRAFT) == [20]  # too cheap for a second of start each
    assert divided(300, 4) == [37.5] * 8  # what is done is kept by chunks of a minute at most
    assert divided(10, 8) == [10]


def test_memory_is_what_the_bench_measured_and_some_more() -> None:
    for source, output, measured_mb in (((1920, 1080), (1920, 1080), 395), ((3840, 2160), (1080, 1920), 502)):
        info = SourceInfo(*source, 60 * MICRO, Fraction(30), True)
        made = plan(Spec((Clip(SOURCE, 0, MICRO),), Output("x", "a.mp4", *output)), {SOURCE: info})
        assert measured_mb <= memory_bytes(made) / 1e6 <= measured_mb * 1.3


def test_shares_are_about_even() -> None:
    cut = [Chunk(at, at + 100) for at in range(0, 1000, 100)]
    assert [len(share) for share in shares(cut, 3)] == [3, 4, 3]
    assert shares([Chunk(0, 900), Chunk(900, 1000)], 2) == ((Chunk(0, 900),), (Chunk(900, 1000),))
    assert shares([Chunk(0, 10)], 4) == ((Chunk(0, 10),),)
    assert shares([], 4) == ()
