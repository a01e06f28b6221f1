"""Uploads: the row first, the store's list as the truth, every crash in between repaired by a read or a repetition."""

from __future__ import annotations

import pytest

from chassis import faults
from chassis.faults import Fault, Kind
from chassis.ids import uuid7
from gateway.domain.footage import Probe
from tests.fakes.gateway_objects import PART_BYTES
from tests.gateway.api import USER, Api

NEW = {
    "file_name": "first half.MOV",
    "size_bytes": 2 * PART_BYTES + 5,
    "content_type": "video/quicktime",
    "duration_ms": 5000,
}


async def begun(api: Api) -> tuple[str, dict[str, object]]:
    """A video that is uploading: its id and upload."""
    made = await api.page.post(f"/api/games/{await api.game()}/videos", NEW)
    assert made.status == 201
    return made.body["video"]["id"], made.body["upload"]


async def test_parts_are_signed_on_demand_and_counted_by_the_store(api: Api) -> None:
    video_id, upload = await begun(api)
    assert upload == {"part_size_bytes": PART_BYTES, "part_count": 3, "parts_done": [], "bytes_done": 0}
    signed = await api.page.post(f"/api/videos/{video_id}/upload/parts", {"part_numbers": [3, 1, 3]})
    assert [part["number"] for part in signed.body["parts"]] == [1, 3] and signed.body["expires_at"].endswith("Z")
    assert signed.body["parts"][0]["url"].startswith(f"https://objects.test/{USER}/games/")
    over = await api.page.post(f"/api/videos/{video_id}/upload/parts", {"part_numbers": [4]})
    assert (over.status, over.problem) == (422, "no_such_part")
    next(iter(api.objects.uploads.values())).parts = {1, 3}
    seen = await api.page.get(f"/api/videos/{video_id}/upload")
    assert seen.body["parts_done"] == [1, 3] and seen.body["bytes_done"] == 2 * PART_BYTES


async def test_a_complete_upload_is_probed_and_ready(api: Api) -> None:
    video_id, _ = await begun(api)
    early = await api.page.post(f"/api/videos/{video_id}/upload/complete")
    assert (early.status, early.problem) == (409, "upload_incomplete")
    api.objects.put_all_parts()
    done = await api.page.post(f"/api/videos/{video_id}/upload/complete")
    assert done.status == 200
    video = done.body
    assert (video["state"], video["duration_ms"], video["width"], video["fps"], video["has_audio"]) == (
        "ready",
        60_000,
        1920,
        30.0,
        True,
    )
    again = await api.page.post(f"/api/videos/{video_id}/upload/complete")
    assert again.body == video
    late = await api.page.post(f"/api/videos/{video_id}/upload/parts", {"part_numbers": [1]})
    assert (late.status, late.problem) == (409, "upload_finished")
    assert (await api.page.get(f"/api/videos/{video_id}/upload")).body["parts_done"] == [1, 2, 3]
    file = await api.page.get(f"/api/videos/{video_id}/file")
    assert (
        file.status == 302
        and file.headers["Cache-Control"] == "no-store"
        and file.headers["Location"].endswith("name=&lifetime=21600")
    )
    named = await api.page.get(f"/api/videos/{video_id}/file?download=1")
    assert "name=first-half.mov" in named.headers["Location"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (faults.precondition("source_unreadable", "No video stream."), "cannot be read"),
        (Probe(60_000_000, 0, 0, 0.0, True), "no picture"),
        (Probe(14 * 3600 * 10**6, 10, 10, 30.0, True), "12 hours"),
    ],
)
async def test_a_file_that_is_no_video_is_rejected_with_the_reason(
    api: Api, answer: Probe | Fault, reason: str
) -> None:
    video_id, _ = await begun(api)
    api.objects.put_all_parts()
    api.renderer.probe_answer = answer
    done = await api.page.post(f"/api/videos/{video_id}/upload/complete")
    assert done.status == 200 and done.body["state"] == "rejected" and reason in done.body["reject_reason"]


async def test_a_probe_that_cannot_be_asked_is_not_a_rejection(api: Api) -> None:
    video_id, _ = await begun(api)
    api.objects.put_all_parts()
    api.renderer.unreachable = True
    key = uuid7()
    first = await api.page.post(f"/api/videos/{video_id}/upload/complete", key=key)
    assert first.status == 503
    api.renderer.unreachable = False
    assert (await api.page.post(f"/api/videos/{video_id}/upload/complete", key=key)).body["state"] == "ready"


async def test_a_crash_between_row_and_upload_is_repaired(api: Api) -> None:
    game_id, key = await api.game(), uuid7()
    api.objects.refusals.append(Fault(Kind.UNAVAILABLE, "store_unavailable", "down"))
    failed = await api.page.post(f"/api/games/{game_id}/videos", NEW, key=key)
    assert failed.status == 503
    (video,) = (await api.page.get(f"/api/games/{game_id}")).body["videos"]
    read = await api.page.get(f"/api/videos/{video['id']}/upload")
    assert read.status == 200 and read.body["part_count"] == 3
    again = await api.page.post(f"/api/games/{game_id}/videos", NEW, key=key)
    assert again.status == 201 and again.body["video"]["id"] == video["id"]
    assert len(api.objects.uploads) == 1


async def test_of_two_uploads_begun_at_once_one_is_kept(api: Api) -> None:
    video_id, _ = await begun(api)
    ((first, _),) = api.objects.uploads.items()
    api.databases.databases[USER].connection.execute("UPDATE video_media SET upload_id = ''")
    original = api.objects.create_upload

    async def slower(*args: str | int) -> object:
        created = await original(*args)  # type: ignore[arg-type]
        api.databases.databases[USER].connection.execute("UPDATE video_media SET upload_id = ?", (first,))
        return created

    api.objects.create_upload = slower  # type: ignore[assignment, method-assign]
    assert (await api.page.get(f"/api/videos/{video_id}/upload")).status == 200
    assert api.objects.aborted == ["upload-2"] and list(api.objects.uploads) == [first]


async def test_an_upload_that_the_store_forgot_begins_anew(api: Api) -> None:
    video_id, _ = await begun(api)
    api.objects.uploads.clear()
    seen = await api.page.get(f"/api/videos/{video_id}/upload")
    assert seen.status == 200 and seen.body["parts_done"] == []
    assert list(api.objects.uploads) == ["upload-2"]


async def test_a_lost_completion_is_found_again(api: Api) -> None:
    video_id, _ = await begun(api)
    api.objects.put_all_parts()
    api.renderer.unreachable = True  # completed in the store, but the row does not know
    await api.page.post(f"/api/videos/{video_id}/upload/complete")
    api.renderer.unreachable = False
    seen = await api.page.get(f"/api/videos/{video_id}/upload")
    assert seen.body["parts_done"] == [1, 2, 3] and not api.objects.uploads
    assert (await api.page.post(f"/api/videos/{video_id}/upload/complete")).body["state"] == "ready"


async def test_a_clip_can_be_marked_while_the_upload_runs(api: Api) -> None:
    game_id = await api.game()
    video_id = (await api.page.post(f"/api/games/{game_id}/videos", NEW)).body["video"]["id"]
    clip = {"video_id": video_id, "start_ms": 1000, "end_ms": 4000}
    assert (await api.page.post(f"/api/games/{game_id}/clips", clip)).status == 201
    early = await api.page.post("/api/exports", {"kind": "annotate", "game_id": game_id})
    assert (early.status, early.problem, early.body["video_id"]) == (409, "video_not_ready", video_id)
    assert (await api.page.get(f"/api/videos/{video_id}/file")).problem == "video_not_ready"


async def test_deleting_a_video_takes_its_clips_and_leaves_its_object(api: Api) -> None:
    story = await api.story()
    uploading = (await api.page.post(f"/api/games/{story.game_id}/videos", NEW)).body["video"]["id"]
    version = (await api.page.get("/api/library")).version
    assert (await api.page.delete(f"/api/videos/{uploading}", match=version)).status == 204
    assert api.objects.aborted == ["upload-2"]
    assert (await api.page.delete(f"/api/videos/{story.video_id}", match=version)).status == 204
    library = (await api.page.get("/api/library")).body
    assert library["clips"] == [] and library["reels"][0]["clips"] == [] and library["games"][0]["videos"] == []
    assert len(api.objects.objects) == 1
