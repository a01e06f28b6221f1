"""Every POST once: the same key answers the same thing, another body under it is refused, a lost answer is healed by
repeating.
"""

from __future__ import annotations

import asyncio
from typing import Any

from chassis.ids import uuid7
from tests.gateway.api import USER, Api


async def both(api: Api, path: str, body: Any, other: Any) -> None:
    """Repeats a request, then sends another body under its key."""
    key = uuid7()
    first = await api.page.post(path, body, key=key)
    again = await api.page.post(path, body, key=key)
    assert first.status == again.status and first.status in (201, 202), (first, again)
    assert first.body == again.body
    reused = await api.page.post(path, other, key=key)
    assert (reused.status, reused.problem) == (422, "idempotency_key_reused")


async def test_games_clips_reels_and_videos_are_made_once(api: Api) -> None:
    story = await api.story()
    await both(api, "/api/games", {"name": "A"}, {"name": "B"})
    clip = {"video_id": story.video_id, "start_ms": 0, "end_ms": 1000}
    await both(api, f"/api/games/{story.game_id}/clips", clip, {**clip, "end_ms": 2000})
    await both(api, "/api/reels", {"name": "R", "clip_ids": [story.clip_id]}, {"name": "R"})
    video = {"file_name": "b.mp4", "size_bytes": 5, "content_type": "video/mp4"}
    await both(api, f"/api/games/{story.game_id}/videos", video, {**video, "size_bytes": 6})
    assert len(api.objects.uploads) == 1
    library = (await api.page.get("/api/library")).body
    assert [len(library[name]) for name in ("games", "clips", "reels")] == [2, 2, 2]


async def test_an_export_is_made_and_submitted_once_even_when_the_reel_changed_in_between(api: Api) -> None:
    story = await api.story()
    key, body = uuid7(), {"kind": "framing", "reel_id": story.reel_id}
    first = await api.page.post("/api/exports", body, key=key)
    base = (await api.page.get("/api/library")).version
    await api.page.patch(f"/api/reels/{story.reel_id}", {"aspect": "1:1"}, match=base)
    again = await api.page.post("/api/exports", body, key=key)
    assert (first.status, again.status) == (202, 202) and first.body["id"] == again.body["id"]
    other = await api.page.post("/api/exports", {"kind": "reel", "reel_id": story.reel_id}, key=key)
    assert other.problem == "idempotency_key_reused"
    assert len(api.renderer.specs) == 1


async def test_ten_of_the_same_request_at_once_make_one_export(api: Api) -> None:
    story = await api.story()
    key, body = uuid7(), {"kind": "framing", "reel_id": story.reel_id}
    answers = await asyncio.gather(*(api.page.post("/api/exports", body, key=key) for _ in range(10)))
    assert {answer.status for answer in answers} == {202}
    assert len({answer.body["id"] for answer in answers}) == 1
    assert len((await api.page.get("/api/exports")).body["exports"]) == 1 == len(api.renderer.jobs)


async def test_a_lost_answer_is_unknown_and_repeating_finds_what_was_done(api: Api) -> None:
    await api.page.get("/api/library")
    key = uuid7()
    api.databases.lost_answers = 1
    lost = await api.page.post("/api/games", {"name": "A"}, key=key)
    assert (lost.status, lost.problem) == (503, "outcome_unknown") and lost.headers["Retry-After"]
    again = await api.page.post("/api/games", {"name": "A"}, key=key)
    assert again.status == 201
    assert len((await api.page.get("/api/games")).body["games"]) == 1


async def test_a_patch_may_be_repeated_too(api: Api) -> None:
    game_id = await api.game()
    base, key = (await api.page.get("/api/games")).version, uuid7()
    first = await api.page.patch(f"/api/games/{game_id}", {"name": "B"}, match=base, key=key)
    again = await api.page.patch(f"/api/games/{game_id}", {"name": "B"}, match=base, key=key)
    assert first.body == again.body and first.version == again.version
    assert len(api.databases.databases[USER].history) == 3  # the migration, the game, one change


async def test_read_your_writes_without_a_round_trip(api: Api) -> None:
    made = await api.page.post("/api/games", {"name": "A"})
    seen = await api.page.get("/api/games", X_Min_Version=made.headers["X-Database-Version"])
    assert [game["name"] for game in seen.body["games"]] == ["A"]
