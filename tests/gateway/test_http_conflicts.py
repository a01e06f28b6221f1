"""Two pages of one user: a conflict is exact, says what, and nothing else makes a page stale."""

from __future__ import annotations

from tests.gateway.api import USER, Api, Client


async def test_a_stale_page_is_told_what_conflicts_and_changes_nothing(api: Api) -> None:
    story = await api.story()
    async with Client(api.url) as other:
        mine = (await api.page.get("/api/library")).version
        theirs = (await other.get("/api/library")).version
        first = await other.patch(f"/api/clips/{story.clip_id}", {"name": "Theirs"}, match=theirs)
        assert first.status == 200
        stale = await api.page.patch(f"/api/clips/{story.clip_id}", {"name": "Mine"}, match=mine)
        assert (stale.status, stale.problem) == (409, "stale_session")
        assert stale.headers["Content-Type"].startswith("application/problem+json")
        assert stale.body["local_version"] == int(mine.strip('"'))
        assert stale.body["remote_version"] == int(first.headers["X-Database-Version"])
        assert stale.body["conflicts"] == [{"table": "clips", "key": [story.clip_id]}]
        fresh = await api.page.get(f"/api/clips/{story.clip_id}")
        assert fresh.body["name"] == "Theirs"
        healed = await api.page.patch(f"/api/clips/{story.clip_id}", {"name": "Mine"}, match=fresh.version)
        assert (healed.status, healed.body["name"]) == (200, "Mine")


async def test_a_page_never_conflicts_with_itself(api: Api) -> None:
    story = await api.story()
    base = (await api.page.get("/api/library")).version
    for name in ("One", "Two", "Three"):
        answer = await api.page.patch(f"/api/clips/{story.clip_id}", {"name": name}, match=base)
        assert answer.status == 200


async def test_without_a_client_id_each_request_is_its_own_author(api: Api) -> None:
    story = await api.story()
    base = (await api.page.get("/api/library")).version
    first = await api.page.patch(f"/api/clips/{story.clip_id}", {"name": "One"}, match=base, X_Client_Id="")
    second = await api.page.patch(f"/api/clips/{story.clip_id}", {"name": "Two"}, match=base, X_Client_Id="")
    assert (first.status, second.status) == (200, 409)


async def test_unrelated_edits_do_not_conflict_and_do_not_move_the_others_base(api: Api) -> None:
    story = await api.story()
    second = await api.clip(story.game_id, story.video_id)
    async with Client(api.url) as other:
        base = (await other.get("/api/library")).version
        await api.page.patch(f"/api/clips/{story.clip_id}", {"rating": 5}, match=base)
        answer = await other.patch(f"/api/clips/{second}", {"rating": 3}, match=base)
        assert answer.status == 200
        assert answer.version == base  # it has not read the other's edit, and must not pass over it
        stale = await other.patch(f"/api/clips/{story.clip_id}", {"rating": 1}, match=answer.version)
        assert stale.status == 409


async def test_the_systems_own_writes_make_nobody_stale(api: Api) -> None:
    game_id = await api.game()
    new = {"file_name": "a.mp4", "size_bytes": 1 << 20, "content_type": "video/mp4"}
    async with Client(api.url) as other:
        made = await api.page.post(f"/api/games/{game_id}/videos", new)
        video_id = made.body["video"]["id"]
        clip = {"video_id": video_id, "start_ms": 0, "end_ms": 5000}
        clip_id = (await api.page.post(f"/api/games/{game_id}/clips", clip)).body["id"]
        reel_id = await api.reel([clip_id])
        base = (await other.get("/api/library")).version
        api.objects.put_all_parts()
        assert (await api.page.post(f"/api/videos/{video_id}/upload/complete")).status == 200
        await api.finished(None, USER, {"kind": "reel", "reel_id": reel_id})
        renamed = await other.patch(f"/api/reels/{reel_id}", {"name": "New"}, match=base)
        assert renamed.status == 200, renamed
        deleted = await other.delete(f"/api/videos/{video_id}", match=base)
        assert deleted.status == 204, deleted.body


async def test_framing_of_two_clips_by_two_pages_does_not_conflict(api: Api) -> None:
    story = await api.story()
    second = await api.clip(story.game_id, story.video_id)
    base = (await api.page.get("/api/library")).version
    await api.page.put(f"/api/reels/{story.reel_id}/clips", {"clip_ids": [story.clip_id, second]}, match=base)
    async with Client(api.url) as other:
        seen = (await other.get("/api/library")).version
        path = f"/api/reels/{story.reel_id}/clips/{{}}/framing"
        mine = await api.page.put(path.format(story.clip_id), {"trim": {"start_ms": 2000, "end_ms": 3000}}, match=seen)
        theirs = await other.put(path.format(second), {"trim": {"start_ms": 2000, "end_ms": 3000}}, match=seen)
        assert (mine.status, theirs.status) == (200, 200)
        removal = await other.put(f"/api/reels/{story.reel_id}/clips", {"clip_ids": [second]}, match=seen)
        assert removal.status == 409
        assert {"table": "framings", "key": [story.reel_id, story.clip_id]} in removal.body["conflicts"]


async def test_a_clip_that_somebody_added_meanwhile_is_not_dropped_from_the_reel(api: Api) -> None:
    story = await api.story()
    second = await api.clip(story.game_id, story.video_id)
    async with Client(api.url) as other:
        base = (await other.get("/api/library")).version
        path = f"/api/reels/{story.reel_id}/clips"
        await api.page.put(path, {"clip_ids": [story.clip_id, second]}, match=base)
        assert (await other.put(path, {"clip_ids": [story.clip_id]}, match=base)).status == 409


async def test_deleting_a_game_that_got_a_new_clip_conflicts(api: Api) -> None:
    story = await api.story()
    async with Client(api.url) as other:
        base = (await other.get("/api/library")).version
        await api.clip(story.game_id, story.video_id)
        assert (await other.delete(f"/api/games/{story.game_id}", match=base)).status == 409


async def test_a_base_that_does_not_exist_is_refused(api: Api) -> None:
    story = await api.story()
    answer = await api.page.patch(f"/api/games/{story.game_id}", {"name": "x"}, match='"4711"')
    assert (answer.status, answer.problem) == (422, "base_version_unknown")
    assert (await api.page.get("/api/library", X_Min_Version="4711")).problem == "min_version_unknown"


async def test_a_page_that_does_not_say_what_it_has_read_is_given_no_base(api: Api) -> None:
    story = await api.story()
    async with Client(api.url) as other:
        base = (await other.get("/api/library")).version
        await api.page.patch(f"/api/clips/{story.clip_id}", {"rating": 5}, match=base)
        blind = await other.post("/api/games", {"name": "Blind"})
        assert blind.status == 201 and "ETag" not in blind.headers and blind.headers["X-Database-Version"]
        seeing = await other.post("/api/games", {"name": "Seeing"}, match=base)
        assert seeing.version == base  # the other page's edit is not read by writing something else
        stale = await other.patch(f"/api/clips/{story.clip_id}", {"rating": 1}, match=seeing.version)
        assert stale.status == 409
