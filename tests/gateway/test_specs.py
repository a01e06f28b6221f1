"""What render is told, from what the database holds."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import Fault
from gateway.domain import specs
from gateway.domain.clips import Clip
from gateway.domain.exports import Output, Role
from gateway.domain.footage import StoredVideo, Video, VideoState
from gateway.domain.reels import Aspect, CropKey, Effect, EllipseKey, Framing, Overlay, Region, Segment, Trim
from gateway.domain.render_spec import Rate
from gateway.domain.specs import Cut

NOW = datetime(2026, 1, 1, tzinfo=UTC)
VIDEO = Video("v", "g", 0, "a.mp4", 1, "video/mp4", VideoState.READY, "", 60_000, 1920, 1080, 30.0, True, "")
STORED = StoredVideo(VIDEO, "games/g/v.mp4", "etag", "u", 1, 1)
CLIP = Clip("c", "g", "v", 1_000, 11_000, "Goal, left foot", "what a run", ("goal", "left"), 4, NOW)
CUT = Cut(CLIP, STORED)
WORKING = Output("o", "e", "w.mp4", Role.WORKING, None, 1, 4_000, 1080, 1920, 30.0, "working_videos/e/1/w.mp4", "", "t")


def spot(start_ms: int, end_ms: int, fade_ms: int = 300) -> Region:
    """A spotlight in time."""
    key = EllipseKey(start_ms, 0.5, 0.5, 0.1, 0.2)
    return Region(
        start_ms, end_ms, fade_ms, "body", (Effect("ring", 0.5), Effect("dim_outside", 1.0, "#ffffff")), (key,)
    )


def test_annotate_cuts_every_clip_and_joins_them() -> None:
    nameless = replace(CUT, clip=replace(CLIP, id="d", name=""))
    plan = specs.annotate("x", "Cup Final", [CUT, nameless], captions=True, instant=False)
    first, second = plan.spec.clips
    assert (first.key, first.etag, first.in_us, first.out_us) == ("games/g/v.mp4", "etag", 1_000_000, 11_000_000)
    assert (first.output_name, second.output_name) == ("001-goal-left-foot.mp4", "002-clip.mp4")
    assert (first.caption_title, first.caption_text) == ("Goal, left foot", "what a run")
    assert first.notes == "what a run\n#goal #left\n★★★★☆"
    assert (plan.spec.folder, plan.spec.name) == ("raw_clips/x", "cup-final-clips.mp4")
    assert [(one.role, one.clip_id) for one in plan.outputs] == [
        (Role.CLIP, "c"), (Role.CLIP, "d"), (Role.COMPILATION, None), *[(Role.ANNOTATIONS, None)] * 2,
    ]  # fmt: skip
    sheets = {"cup-final-clips.tsv", "cup-final-clips.json"}
    assert {one.name for one in plan.outputs} == {first.output_name, second.output_name, plan.spec.name, *sheets}
    assert plan.spec.sheet == "cup-final-clips"


def test_an_instant_annotate_burns_nothing_in() -> None:
    plan = specs.annotate("x", "g", [CUT], captions=False, instant=True)
    assert plan.spec.instant and plan.spec.clips[0].caption_title == ""


def test_a_reel_without_any_framing_is_a_valid_export() -> None:
    plan = specs.framing("x", "My Reel", Aspect.TALL, [CUT])
    assert plan.spec.clips[0].crop_keys == () and plan.spec.clips[0].speed_spans == ()
    assert (plan.spec.width, plan.spec.height) == (1080, 1920)
    assert plan.spec.folder == "working_videos/x" and plan.outputs[0].role is Role.WORKING


@pytest.mark.parametrize(
    ("aspect", "size", "expected"),
    [
        (Aspect.WIDE, (1920, 1080), (1920, 1080)),
        (Aspect.TALL, (3840, 2160), (1080, 1920)),
        (Aspect.SQUARE, (1280, 720), (720, 720)),
        (Aspect.PORTRAIT, (1920, 1080), (1080, 1350)),
        (Aspect.SOURCE, (1919, 1079), (1918, 1078)),
        (Aspect.SOURCE, (7680, 4320), (3840, 2160)),
        (Aspect.TALL, (1080, 1920), (1080, 1920)),
    ],
)
def test_output_sizes_are_even_and_sensible(aspect: Aspect, size: tuple[int, int], expected: tuple[int, int]) -> None:
    video = replace(VIDEO, width=size[0], height=size[1])
    assert specs.output_size(aspect, [Cut(CLIP, replace(STORED, video=video))]) == expected


def test_framing_stays_in_source_time_and_within_the_clip() -> None:
    framing = Framing(
        (CropKey(0, 0.2, 0, 0.31640625, 1), CropKey(30_000, 0.4, 0, 0.31640625, 1)),
        Trim(2_000, 30_000),
        (Segment(0, 3_000, 0.5), Segment(4_000, 5_000, 1.0), Segment(10_000, 20_000, 2.0)),
    )
    clip = specs.framing("x", "r", Aspect.TALL, [replace(CUT, framing=framing)]).spec.clips[0]
    assert (clip.in_us, clip.out_us) == (2_000_000, 11_000_000)
    assert [key.time_us for key in clip.crop_keys] == [0, 30_000_000]
    assert [(span.from_us, span.to_us, span.rate) for span in clip.speed_spans] == [
        (2_000_000, 3_000_000, Rate(1, 2)), (10_000_000, 11_000_000, Rate(2, 1))]  # fmt: skip


def test_a_clip_ends_where_its_video_does() -> None:
    cut = Cut(replace(CLIP, end_ms=61_000), STORED)
    assert specs.framing("x", "r", Aspect.WIDE, [cut]).spec.clips[0].out_us == 60_000_000


@given(
    st.floats(0, 0.98), st.floats(0, 0.98), st.floats(0.02, 1), st.floats(0.02, 1),
    st.sampled_from([16 / 9, 9 / 16, 1.0, 0.8]), st.sampled_from([16 / 9, 4 / 3, 9 / 16]),
)  # fmt: skip
def test_every_window_gets_the_output_shape_inside_the_picture(
    x: float, y: float, width: float, height: float, output_ratio: float, source_ratio: float
) -> None:
    key = CropKey(0, min(x, 1 - width), min(y, 1 - height), width, height)
    window = specs.fit_window(key, source_ratio, output_ratio)
    assert window.x >= -1e-9 and window.y >= -1e-9
    assert window.x + window.width <= 1 + 1e-9 and window.y + window.height <= 1 + 1e-9
    assert min(window.width, window.height) >= specs.MIN_SIDE - 1e-9
    assert window.width * source_ratio / window.height == pytest.approx(output_ratio, rel=0.011)
    assert specs.fit_window(window, source_ratio, output_ratio) == window


def test_overlay_is_drawn_on_the_working_video() -> None:
    plan = specs.overlay("x", "My Reel", WORKING, Overlay((spot(0, 1_000), spot(3_000, 9_000), spot(5_000, 6_000))))
    clip = plan.spec.clips[0]
    assert (clip.key, clip.in_us, clip.out_us, clip.etag) == (WORKING.key, 0, 4_000_000, "t")
    assert (plan.spec.width, plan.spec.height, plan.spec.folder) == (1080, 1920, "final_videos/x")
    first, second = plan.spec.spotlights
    assert (first.from_us, first.to_us, first.fade_us) == (0, 1_000_000, 300_000)
    assert (second.from_us, second.to_us) == (3_000_000, 4_000_000)
    assert [(effect.kind, effect.color) for effect in first.effects] == [
        ("ring", specs.RING_COLOR),
        ("dim_outside", ""),
    ]


def test_framing_and_overlay_in_one_encode_measures_the_retimed_timeline() -> None:
    slow = replace(CUT, framing=Framing((), None, (Segment(1_000, 11_000, 0.5),)))
    plan = specs.reel("x", "r", Aspect.TALL, [slow], Overlay((spot(15_000, 25_000),)))
    assert plan.outputs[0].role is Role.FINAL and plan.spec.spotlights[0].to_us == 20_000_000


def test_an_export_that_is_too_long_is_refused_before_it_is_asked_for() -> None:
    long = replace(
        CUT, clip=replace(CLIP, start_ms=0, end_ms=60_000), framing=Framing((), None, (Segment(0, 60_000, 0.25),))
    )
    specs.check_length(specs.framing("x", "r", Aspect.TALL, [long] * 60).spec)
    with pytest.raises(Fault, match="at most 4 hours"):
        specs.check_length(specs.framing("x", "r", Aspect.TALL, [long] * 61).spec)


def test_the_same_rows_give_the_same_plan() -> None:
    assert specs.reel("x", "r", Aspect.TALL, [CUT], Overlay()) == specs.reel("x", "r", Aspect.TALL, [CUT], Overlay())


def test_what_cannot_be_exported_says_why() -> None:
    uploading = Cut(CLIP, replace(STORED, video=replace(VIDEO, state=VideoState.UPLOADING)))
    outside = replace(CUT, framing=Framing((), Trim(20_000, 30_000), ()))
    for cuts, reason in (([uploading], "video_not_ready"), ([outside], "clip_empty"), ([], "reel_empty")):
        with pytest.raises(Fault) as caught:
            specs.framing("x", "r", Aspect.TALL, cuts)
        assert caught.value.reason == reason
    with pytest.raises(Fault) as caught:
        specs.annotate("x", "g", [], captions=False, instant=False)
    assert caught.value.reason == "no_clips"
