"""The past through the whole system: history, undo, restore, the file; and kill -9 in the middle of a restore."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from chassis.ids import uuid7
from devstack.api import Api
from devstack.stack import Stack
from tests.e2e.faults import armed


async def names(api: Api) -> list[str]:
    """The games' names."""
    return sorted(game["name"] for game in (await api.get("/games"))["games"])


async def renamed(api: Api) -> tuple[str, int]:
    """A game that was First and is Second; its id, and the version at which it was First."""
    game = await api.post("/games", {"name": "First"})
    before = (await api.get("/history"))["version"]
    assert (await api.ask("PATCH", f"/games/{game['id']}", {"name": "Second"})).status == 200
    return str(game["id"]), int(before)


async def commits(api: Api) -> list[dict[str, Any]]:
    """Every commit of the past, newest first."""
    return [commit for version in (await api.get("/history"))["versions"] for commit in version["commits"]]


async def test_edit_history_undo_restore_download(api: Api, tmp_path: Path) -> None:
    game_id, before = await renamed(api)
    newest = (await api.get("/history"))["versions"][0]
    assert newest["commits"][0]["rows"] == [{"table": "games", "key": [game_id], "change": "updated"}]
    await api.get("/library")
    await api.post("/undo", {"version": newest["version"], "commit_id": newest["commits"][0]["id"]})
    assert await names(api) == ["First"]
    await api.post("/restore", {"version": newest["version"]})
    assert await names(api) == ["Second"]
    async with api.http.get(f"{api.origin}/api/database.sqlite") as answer:
        (tmp_path / "library.sqlite").write_bytes(await answer.read())
    opened = sqlite3.connect(tmp_path / "library.sqlite")
    assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert opened.execute("SELECT name FROM games").fetchall() == [("Second",)]
    opened.close()
    await api.post("/restore", {"version": before})
    await api.post("/games", {"name": "After"})
    assert await names(api) == ["After", "First"]
    assert [commit["kind"] for commit in await commits(api)] == [
        "edit", "restore", "restore", "undo", "edit", "edit", "schema",
    ]  # fmt: skip


@pytest.mark.parametrize("stage", ["commit", "after"])
async def test_kill_9_of_dbsync_in_the_middle_of_a_restore(stack: Stack, api: Api, stage: str) -> None:
    _, before = await renamed(api)
    user = (await api.get("/session"))["user_id"]
    await api.get("/library")
    headers = {"Idempotency-Key": uuid7()}
    async with armed(stack, stage=stage, method="PUT", key_prefix=f"{user}/db/", delay_s=3.0) as fault:
        restoring = asyncio.create_task(api.ask("POST", "/restore", {"version": before}, headers=headers))
        await fault.struck()
        stack.kill("dbsync")
    stack.restart("dbsync")
    first = await restoring
    again = await api.ask("POST", "/restore", {"version": before}, headers=headers)
    assert (first.status, again.status) == (200, 200), (first, again)
    assert again.body == first.body
    assert await names(api) == ["First"]
    assert [commit["kind"] for commit in await commits(api)].count("restore") == 1
