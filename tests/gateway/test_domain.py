"""The product's rules: ids, names, ranges, framing, spotlights, what an export shows."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import Fault
from chassis.ids import uuid7, uuid7_time_ms
from gateway.domain import clips, footage, ids, names, reels
from gateway.domain.exports import Export, ExportKind, with_job
from gateway.domain.footage import Probe
from gateway.domain.jobs import Job, JobState
from gateway.domain.reels import CropKey, EllipseKey, Framing, Overlay, Region, Segment, Trim

KEY = CropKey(0, 0.1, 0.1, 0.5, 0.5)
NOW = datetime.now(UTC)
UPPER = "0190A000-0000-7000-8000-00000000000A"


@given(st.text(), st.text())
def test_a_derived_id_is_the_same_for_the_same_request_and_no_other(first: str, second: str) -> None:
    seed = uuid7()
    made = ids.derive(seed, "user", first)
    assert ids.is_id(made) and uuid7_time_ms(made) == uuid7_time_ms(seed)
    assert made == ids.derive(seed, "user", first)
    assert (made == ids.derive(seed, "user", second)) == (first == second)


@pytest.mark.parametrize("text", ["", "x", "../../etc", "0190a000-0000-4000-8000-000000000000", UPPER])
def test_what_is_no_id(text: str) -> None:
    assert not ids.is_id(text)


@given(st.text(max_size=300))
def test_a_slug_is_a_safe_file_name(text: str) -> None:
    slug = names.slug(text, "clip")
    assert 0 < len(slug) <= names.SLUG_CHARS
    assert set(slug) <= set("abcdefghijklmnopqrstuvwxyz0123456789-") and slug[0] != "-" != slug[-1]


def test_names_people_know() -> None:
    assert names.slug("Tor! Süße Flanke — Ⅱ", "clip") == "tor-sue-flanke-ii"
    assert names.slug("ゴール", "clip") == "clip"
    assert names.extension("GOPR0001.MP4", "video/mp4") == ".mp4"
    assert names.extension("IMG_1.MOV", "video/quicktime") == ".mov"
    assert names.extension("noend", "application/octet-stream") == ".mp4"


@pytest.mark.parametrize(("start_ms", "end_ms"), [(5, 5), (10, 5), (0, 99), (0, clips.MAX_CLIP_MS + 1)])
def test_ranges_that_no_clip_has(start_ms: int, end_ms: int) -> None:
    with pytest.raises(Fault, match="A clip must end"):
        clips.check_range(start_ms, end_ms)


@pytest.mark.parametrize(
    "framing",
    [
        Framing((KEY, KEY), None, ()),
        Framing((replace(KEY, x=0.6),), None, ()),
        Framing((replace(KEY, y=0.51),), None, ()),
        Framing((), Trim(5, 5), ()),
        Framing((), None, (Segment(0, 100, 1), Segment(50, 200, 2))),
        Framing((), None, (Segment(100, 100, 1),)),
    ],
)
def test_framing_that_cannot_be(framing: Framing) -> None:
    with pytest.raises(Fault) as caught:
        reels.check_framing(framing)
    assert caught.value.reason == "invalid_framing" and caught.value.metadata["field"]


def test_framing_to_the_edge_is_fine() -> None:
    reels.check_framing(Framing((CropKey(0, 0.4, 0, 0.6, 1.0),), Trim(0, 1), (Segment(0, 5, 2), Segment(5, 9, 0.5))))


def test_spotlights_that_cannot_be() -> None:
    key = EllipseKey(0, 0.5, 0.5, 0.1, 0.1)
    for region in (Region(5, 5, 0, "body", (), (key,)), Region(0, 5, 0, "body", (), (key, key))):
        with pytest.raises(Fault) as caught:
            reels.check_overlay(Overlay((region,)))
        assert caught.value.reason == "invalid_overlay"


def test_a_reel_names_each_clip_once() -> None:
    reels.check_clip_ids(["a", "b"])
    with pytest.raises(Fault):
        reels.check_clip_ids(["a", "b", "a"])


def test_footage_that_cannot_be_used() -> None:
    good = Probe(60_000_000, 1920, 1080, 30.0, True)
    assert footage.reject_reason(good) == ""
    for bad in (
        replace(good, width=0),
        replace(good, duration_us=1000),
        replace(good, duration_us=13 * 3600 * 10**6),
        replace(good, height=9000),
    ):
        assert footage.reject_reason(bad).endswith(".")


def export(state: JobState = JobState.QUEUED) -> Export:
    """An export as its row says."""
    return Export(
        "x", ExportKind.FRAMING, None, "r", state, 0.0, None, "queued", None, (), NOW, None, 0, "0" * 32
    )  # fmt: skip


def test_an_export_shows_what_render_says_but_never_an_end_that_is_not_committed() -> None:
    running = with_job(export(), Job("x", JobState.RUNNING, 0.5, 9.0, "rendering", 7))
    assert (running.state, running.progress, running.eta_s, running.sequence) == (JobState.RUNNING, 0.5, 9.0, 7)
    ended = with_job(export(), Job("x", JobState.SUCCEEDED, 1.0, None, "", 8))
    assert (ended.state, ended.phase) == (JobState.RUNNING, "saving") and ended.sequence < 8
    committed = export(JobState.FAILED)
    assert with_job(committed, Job("x", JobState.RUNNING, 0.5, 9.0, "rendering", 7)) is committed
