"""The library's past over HTTP, with the real dbsync: history, undo, restore, download."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from chassis.ids import uuid7
from tests.fakes.gateway_renderer import FakeRenderer
from tests.fakes.object_store import ObjectStore, object_store
from tests.gateway.api import Answer, Api, Client, config, serving
from tests.gateway.services import Services, services


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    """An embedded store for this module; users are new ones in each test."""
    with object_store() as started:
        yield started


@pytest.fixture
async def real(store: ObjectStore, tmp_path: Path) -> AsyncIterator[Services]:
    """dbsync and storage."""
    async with services(store, tmp_path) as started:
        yield started


@dataclass
class Member:
    """A page of a new user, and its renderer."""

    page: Client
    user: str
    renderer: FakeRenderer

    async def base(self) -> str:
        """The version that there is."""
        return (await self.page.get("/api/library")).headers["ETag"]

    async def game(self, name: str = "Final") -> str:
        """A new game's id."""
        return str((await self.page.post("/api/games", {"name": name}, match=await self.base())).body["id"])

    async def rename(self, game_id: str, name: str) -> Answer:
        """A game by another name."""
        answer = await self.page.patch(f"/api/games/{game_id}", {"name": name}, match=await self.base())
        assert answer.status == 200, answer
        return answer

    async def history(self, query: str = "") -> dict[str, Any]:
        """The past."""
        answer = await self.page.get(f"/api/history{query}")
        assert answer.status == 200, answer
        assert "ETag" not in answer.headers
        return dict(answer.body)

    async def last(self) -> tuple[int, dict[str, Any]]:
        """The newest version, and its only commit."""
        version = (await self.history("?page_size=1"))["versions"][0]
        (commit,) = version["commits"]
        return version["version"], commit

    async def undo(self, version: int, commit: dict[str, Any], **options: Any) -> Answer:
        """An undo, tried."""
        options = {"match": await self.base(), **options}
        return await self.page.post("/api/undo", {"version": version, "commit_id": commit["id"]}, **options)

    async def restore(self, version: int, **options: Any) -> Answer:
        """A restore, tried."""
        return await self.page.post("/api/restore", {"version": version}, **{"match": await self.base(), **options})

    async def names(self) -> list[str]:
        """The games' names."""
        return [game["name"] for game in (await self.page.get("/api/games")).body["games"]]


@pytest.fixture
async def member(real: Services) -> AsyncIterator[Member]:
    """A new user."""
    renderer = FakeRenderer()
    async with (
        serving(config(), real.databases, real.archive, real.objects, renderer) as started,
        Client(started.url) as page,
    ):
        made = await page.post("/api/session")
        assert made.status == 201, made
        yield Member(page, str(made.body["user_id"]), renderer)


def second(member: Member) -> Client:
    """Another page of the same user."""
    other = Client(member.page.url)
    other.session.cookie_jar.update_cookies(
        {cookie.key: cookie.value for cookie in member.page.session.cookie_jar}, URL(member.page.url)
    )
    return other


async def test_history_says_who_changed_what(member: Member) -> None:
    game_id = await member.game()
    await member.rename(game_id, "Semi-final")
    await member.page.delete(f"/api/games/{game_id}", match=await member.base())
    past = await member.history()
    kinds = [[commit["kind"] for commit in version["commits"]] for version in past["versions"]]
    assert kinds == [["edit"], ["edit"], ["edit"], ["schema"]]
    deleted, renamed, made = (version["commits"][0] for version in past["versions"][:3])
    for commit, change in ((deleted, "deleted"), (renamed, "updated"), (made, "inserted")):
        assert commit["rows"] == [{"table": "games", "key": [game_id], "change": change}]
        assert commit["author"] == member.page.client_id and commit["undoable"] and commit["row_count"] == 1
    assert not past["versions"][3]["commits"][0]["undoable"]
    assert past["version"] == past["versions"][0]["version"] and past["next_before_version"] is None


async def test_history_in_pages_and_of_one_row(member: Member) -> None:
    first, other = await member.game("A"), await member.game("B")
    for number in range(4):
        await member.rename(first if number % 2 else other, f"Name {number}")
    seen: list[int] = []
    before: int | None = 0
    while before is not None:
        page = await member.history(f"?page_size=3&before_version={before}")
        seen += [version["version"] for version in page["versions"]]
        before = page["next_before_version"]
    assert seen == list(range(seen[0], 0, -1))
    of_first = (await member.history(f"?table=games&key={first}"))["versions"]
    assert len(of_first) == 3
    assert {row["key"][0] for version in of_first for commit in version["commits"] for row in commit["rows"]} == {first}
    half = await member.page.get("/api/history?table=games")
    assert (half.status, half.problem) == (400, "invalid_query")


async def test_undo_and_undo_of_the_undo(member: Member) -> None:
    game_id = await member.game("First")
    await member.rename(game_id, "Second")
    version, commit = await member.last()
    key = uuid7()
    undone = await member.undo(version, commit, key=key)
    assert undone.status == 200 and await member.names() == ["First"]
    again = await member.undo(version, commit, key=key)
    assert (again.status, again.body) == (200, undone.body)
    version, undo = await member.last()
    assert (undo["kind"], undo["undoes"]) == ("undo", commit["id"])
    assert (await member.undo(version, undo)).status == 200
    assert await member.names() == ["Second"]


async def test_an_undo_over_newer_values_is_stale_and_changes_nothing(member: Member) -> None:
    game_id = await member.game("First")
    await member.rename(game_id, "Second")
    version, commit = await member.last()
    await member.rename(game_id, "Third")
    refused = await member.undo(version, commit)
    assert (refused.status, refused.problem) == (409, "stale_session"), refused
    assert refused.body["conflicts"] == [{"table": "games", "key": [game_id]}]
    assert await member.names() == ["Third"]


async def test_what_cannot_be_undone(member: Member) -> None:
    await member.game()
    schema = (await member.history())["versions"][-1]
    refused = await member.undo(schema["version"], schema["commits"][0])
    assert (refused.status, refused.problem, refused.body["what"]) == (409, "not_undoable", "migration")
    unknown = await member.undo(schema["version"], {"id": "0" * 32})
    assert (unknown.status, unknown.problem) == (404, "not_found")
    future = await member.undo(99, {"id": "0" * 32})
    assert (future.status, future.problem) == (404, "not_found")
    body = {"version": 1, "commit_id": "0" * 32}
    assert (await member.page.post("/api/undo", body)).status == 428
    assert (await member.page.post("/api/undo", {**body, "commit_id": "x"}, match="1")).status == 400


async def test_restore_brings_back_and_forth(member: Member) -> None:
    game_id = await member.game("First")
    then = int((await member.base()).strip('"'))
    await member.rename(game_id, "Second")
    await member.game("Another")
    now = int((await member.base()).strip('"'))
    key = uuid7()
    restored = await member.restore(then, key=key)
    assert restored.status == 200 and restored.body["version"] == now + 1, restored
    assert restored.headers["ETag"] == f'"{now + 1}"' and await member.names() == ["First"]
    assert (await member.restore(then, key=key)).body == restored.body
    version, commit = await member.last()
    assert (version, commit["kind"], commit["restores"], commit["undoable"]) == (now + 1, "restore", then, False)
    assert (await member.restore(now)).status == 200
    assert sorted(await member.names()) == ["Another", "Second"]
    for unknown in (now + 50, 999_999):
        assert (await member.restore(unknown)).status == 404
    assert (await member.page.post("/api/restore", {"version": then})).status == 428
    assert (await member.page.post("/api/restore", {"version": 0}, match=await member.base())).status == 400


async def test_a_restore_makes_every_older_page_stale(member: Member) -> None:
    game_id = await member.game("First")
    base = await member.base()
    await member.rename(game_id, "Second")
    async with second(member) as other:
        read = (await other.get("/api/library")).version
        stale = await other.post("/api/restore", {"version": 1}, match=base)
        assert (stale.status, stale.problem) == (409, "stale_session")
        assert (await member.restore(int(base.strip('"')))).status == 200
        for page in (other, member.page):  # its own page as well
            late = await page.patch(f"/api/games/{game_id}", {"name": "Late"}, match=read)
            assert (late.status, late.problem) == (409, "stale_session")
    assert await member.names() == ["First"]


async def test_a_restore_keeps_finished_videos(member: Member) -> None:
    reel_id, made = await _exported(member)
    open_at = int((await member.base()).strip('"'))
    await member.renderer.succeed(member.user, made["id"])
    ended = (await member.page.get(f"/api/exports/{made['id']}")).body
    assert ended["state"] == "succeeded"
    await member.page.patch(f"/api/reels/{reel_id}", {"name": "Later"}, match=await member.base())
    assert (await member.restore(open_at)).status == 200
    library = (await member.page.get("/api/library")).body
    assert library["exports"] == [ended]
    assert library["reels"][0]["name"] == "Best" and library["reels"][0]["final_video"] == ended["outputs"][0]


async def test_a_deleted_export_that_a_restore_brings_back_open_is_ended_again(member: Member) -> None:
    _, made = await _exported(member)
    open_at = int((await member.base()).strip('"'))
    await member.renderer.succeed(member.user, made["id"])
    ended = (await member.page.get(f"/api/exports/{made['id']}")).body
    deleted = await member.page.delete(f"/api/exports/{made['id']}", match=await member.base())
    assert deleted.status == 204 and not (await member.page.get("/api/exports")).body["exports"]
    assert (await member.restore(open_at)).status == 200
    again = (await member.page.get(f"/api/exports/{made['id']}")).body
    assert again["state"] == "succeeded" and again["outputs"] == ended["outputs"]


async def test_the_whole_library_as_a_file(member: Member, tmp_path: Path) -> None:
    empty = await member.page.get("/api/database.sqlite")
    assert (empty.status, empty.problem) == (404, "not_found")
    await member.game("Kept")
    answer = await member.page.get("/api/database.sqlite")
    assert answer.status == 302 and "ETag" not in answer.headers, answer
    async with aiohttp.ClientSession() as outside:
        got = await outside.get(URL(answer.headers["Location"], encoded=True))
        assert got.status == 200 and "reel-ballers-20" in got.headers["Content-Disposition"]
        file = tmp_path / "library.sqlite"
        file.write_bytes(await got.read())
    with sqlite3.connect(file) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert opened.execute("SELECT name FROM games").fetchall() == [("Kept",)]
    opened.close()


async def test_a_dbsync_that_is_away_is_said_to_be(api: Api) -> None:
    base = (await api.page.get("/api/library")).version
    for answer in (
        await api.page.get("/api/history"),
        await api.page.get("/api/database.sqlite"),
        await api.page.post("/api/undo", {"version": 1, "commit_id": "0" * 32}, match=base),
        await api.page.post("/api/restore", {"version": 1}, match=base),
    ):
        assert answer.status == 503 and answer.headers["Retry-After"], answer


async def _exported(member: Member) -> tuple[str, dict[str, Any]]:
    """A reel, and an export of it that runs."""
    game_id = await member.game()
    new = {"file_name": "half.mp4", "size_bytes": 11, "content_type": "video/mp4"}
    video = (await member.page.post(f"/api/games/{game_id}/videos", new, match=await member.base())).body["video"]
    parts = f"/api/videos/{video['id']}/upload"
    (part,) = (await member.page.post(f"{parts}/parts", {"part_numbers": [1]})).body["parts"]
    async with aiohttp.ClientSession() as outside:
        put = await outside.put(URL(part["url"], encoded=True), data=b"hello video", headers=part["headers"])
        assert put.status == 200
    assert (await member.page.post(f"{parts}/complete")).body["state"] == "ready"
    clip = {"video_id": video["id"], "start_ms": 0, "end_ms": 5000}
    clip_id = (await member.page.post(f"/api/games/{game_id}/clips", clip)).body["id"]
    reel = await member.page.post("/api/reels", {"name": "Best", "aspect": "9:16", "clip_ids": [clip_id]})
    made = await member.page.post("/api/exports", {"kind": "reel", "reel_id": reel.body["id"]})
    assert made.status == 202, made
    return str(reel.body["id"]), dict(made.body)
