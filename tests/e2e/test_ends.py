"""Ends of every kind: SIGTERM drains, a restart keeps everything, kill -9 loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from devstack.api import Api
from devstack.checks import look
from devstack.stack import Stack
from tests.e2e import owner
from tests.e2e.faults import armed
from tests.e2e.owner import Made

FRAMES = 90  # two clips, 2 s and 1.6 s, at 25 frames a second
PARTS = ("objectstore", *owner.SERVICES)


async def running(api: Api, export_id: str) -> None:
    """Waits until render is at work on it."""
    for _ in range(1200):
        if (await api.get(f"/exports/{export_id}"))["state"] != "queued":
            return
        await asyncio.sleep(0.1)
    raise AssertionError("render did not begin")


async def check_whole(api: Api, export: dict[str, Any], folder: Path) -> None:
    """The export is over, for good, with one set of outputs that play."""
    assert export["state"] == "succeeded", export
    assert [output["role"] for output in export["outputs"]] == ["working"]
    await api.download(export["outputs"][0]["url"], folder / "out.mp4")
    assert look(folder / "out.mp4").frames == FRAMES
    assert await api.get(f"/exports/{export['id']}") == export


@pytest.mark.parametrize("part", PARTS)
async def test_kill_9_during_an_export(stack: Stack, mine: Api, made: Made, tmp_path: Path, part: str) -> None:
    export = await mine.export(owner.framing(made.story))
    await running(mine, export["id"])
    before = await mine.post("/games", {"name": f"Before {part} died"})
    stack.kill(part)
    writing = asyncio.create_task(mine.post("/games", {"name": f"While {part} was dead"}))
    await asyncio.sleep(0.3)
    stack.restart(part)
    during = await writing
    done = await mine.finished(export["id"], timeout_s=90)
    await check_whole(mine, done, tmp_path)
    library = await mine.get("/library")
    names = [game["name"] for game in library["games"]]
    assert {before["id"], during["id"]} <= {game["id"] for game in library["games"]}
    assert names.count(f"While {part} was dead") == 1
    assert [one for one in library["exports"] if one["id"] == export["id"]] == [done]


async def test_everything_killed_at_once_and_started_again(stack: Stack, mine: Api, made: Made, tmp_path: Path) -> None:
    export = await mine.export(owner.framing(made.story))
    await running(mine, export["id"])
    game = await mine.post("/games", {"name": "Just before the lights went out"})
    before = await mine.get("/library")
    for part in reversed(PARTS):
        stack.kill(part)
    stack.start()
    done = await mine.finished(export["id"], timeout_s=90)
    await check_whole(mine, done, tmp_path)
    after = await mine.get("/library")
    assert after["games"] == before["games"] and game["id"] in {one["id"] for one in after["games"]}
    assert after["clips"] == before["clips"]
    old = [one for one in before["exports"] if one["id"] != export["id"]]
    assert [one for one in after["exports"] if one["id"] != export["id"]] == old


async def test_an_orderly_stop_and_a_start_keep_everything(stack: Stack, mine: Api, made: Made) -> None:
    before = await mine.get("/library")
    with owner.logged(stack) as log:
        statuses = {part: stack.end(part) for part in reversed(PARTS)}
        stack.start()
    assert statuses == dict.fromkeys(PARTS, 0)
    assert log.bad() == []
    for service in owner.SERVICES:
        assert "stopped" in log.messages(service)
    assert await mine.get("/library") == before
    assert (await mine.ask("GET", made.export["outputs"][0]["url"].removeprefix("/api"))).status == 302


@pytest.mark.parametrize("part", ["gateway", "dbsync"])
async def test_sigterm_lets_a_write_under_way_end(stack: Stack, mine: Api, part: str) -> None:
    async with armed(stack, stage="commit", method="PUT", key_prefix="dev-local/db/", delay_s=1.0) as fault:
        writing = asyncio.create_task(mine.ask("POST", "/games", {"name": f"As {part} ends"}, retry=False))
        await fault.struck()
        assert stack.end(part) == 0
    answer = await writing
    stack.restart(part)
    assert answer.status == 201, answer
    assert (await mine.get(f"/games/{answer.body['id']}"))["name"] == f"As {part} ends"


async def test_sigterm_of_render_puts_its_work_back(stack: Stack, mine: Api, made: Made, tmp_path: Path) -> None:
    export = await mine.export(owner.framing(made.story))
    await running(mine, export["id"])
    assert stack.end("render") == 0
    stack.restart("render")
    await check_whole(mine, await mine.finished(export["id"], timeout_s=90), tmp_path)
