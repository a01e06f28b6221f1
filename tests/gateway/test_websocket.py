"""The WebSocket: hints of versions and exports, resumed from what the page says it has seen."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from gateway.actions import heads
from gateway.actions.events import Hub
from gateway.http import websocket
from tests.fakes.gateway_databases import FakeDatabases
from tests.gateway.api import ORIGIN, USER, Api, Client, config, running, until

Socket = aiohttp.ClientWebSocketResponse


async def hear(socket: Socket, kind: str, timeout_s: float = 60.0) -> dict[str, Any]:
    """The next message of a kind; others are passed over."""
    async with asyncio.timeout(timeout_s):
        while True:
            message = await socket.receive()
            assert message.type is aiohttp.WSMsgType.TEXT, message
            said = json.loads(message.data)
            if said["type"] == kind:
                return dict(said)


async def opened(page: Client, hello: dict[str, Any] | None = None, **headers: str) -> Socket:
    """A socket that has said hello."""
    socket = await page.session.ws_connect(f"{page.url}/ws", headers={"Origin": ORIGIN, **headers})
    await socket.send_json({"type": "hello", "client_id": page.client_id, **(hello or {})})
    return socket


async def test_a_page_hears_of_other_pages_versions(api: Api) -> None:
    await api.game()
    async with Client(api.url) as other:
        socket = await opened(api.page)
        assert (await hear(socket, "version"))["version"] == 2
        made = await other.post("/api/games", {"name": "B"})
        said = await hear(socket, "version")
        assert said == {
            "type": "version",
            "version": int(made.headers["X-Database-Version"]),
            "author": other.client_id,
        }
        await socket.close()


async def test_a_page_that_knows_the_version_hears_nothing(api: Api) -> None:
    made = await api.page.post("/api/games", {"name": "A"})
    socket = await opened(api.page, {"version": int(made.headers["X-Database-Version"])})
    with pytest.raises(TimeoutError):
        await hear(socket, "version", 0.3)
    await socket.close()


async def test_progress_flows_and_the_end_comes_when_it_is_committed(api: Api) -> None:
    story = await api.story()
    socket = await opened(api.page)
    export_id = (await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})).body["id"]
    assert (await hear(socket, "export"))["export"]["id"] == export_id
    await api.renderer.progress(USER, export_id, 0.25)
    said = (await hear(socket, "export"))["export"]
    assert (said["state"], said["progress"]) == ("running", 0.25)
    await api.renderer.succeed(USER, export_id)
    seen = [said["sequence"]]
    while said["state"] != "succeeded":
        said = (await hear(socket, "export"))["export"]
        seen.append(said["sequence"])
    assert seen == sorted(seen)
    assert said["outputs"][0]["url"].startswith("/api/exports/")
    assert api.databases.rows(USER, "SELECT state FROM exports") == [("succeeded",)]
    await socket.close()


async def test_resuming_needs_no_memory(api: Api) -> None:
    story = await api.story()
    done = await api.finished(None, USER, {"kind": "framing", "reel_id": story.reel_id})
    open_id = (await api.page.post("/api/exports", {"kind": "reel", "reel_id": story.reel_id})).body["id"]
    async with running(databases=api.databases) as second:
        second.renderer.jobs, second.renderer.specs = api.renderer.jobs, api.renderer.specs
        socket = await opened(second.page, {"version": 1, "exports": {done["id"]: done["sequence"] - 1}})
        heard = {(await hear(socket, "export"))["export"]["id"] for _ in range(2)}
        assert heard == {done["id"], open_id}
        await socket.close()
        socket = await opened(second.page, {"exports": {done["id"]: done["sequence"]}})
        await hear(socket, "version")
        await socket.close()


async def test_versions_of_other_gateways_are_noticed(api: Api) -> None:
    socket = await opened(api.page)
    task = asyncio.create_task(heads.poll(api.gateway.parts.library, api.gateway.parts.hub, 0.05))
    async with running(databases=api.databases) as second:
        made = await second.page.post("/api/games", {"name": "elsewhere"})
        version = int(made.headers["X-Database-Version"])
        while (said := await hear(socket, "version"))["version"] < version:
            continue
        assert said["author"] == second.page.client_id
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await socket.close()


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"{ORIGIN}.evil.example"])
async def test_other_origins_are_sent_away(api: Api, origin: str) -> None:
    socket = await opened(api.page, None, Origin=origin)
    message = await socket.receive(timeout=60)
    assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING) and socket.close_code == 1008


async def test_nobody_gets_no_socket() -> None:
    async with running(config("production")) as api:
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await opened(api.page)
        assert caught.value.status == 401


@pytest.mark.parametrize(
    "said", ["", "{", '{"type":"other"}', "[1]", '{"type":"hello","version":-1}', '{"type":"hello","exports":7}']
)
async def test_whoever_does_not_say_hello_is_sent_away(api: Api, said: str) -> None:
    socket = await api.page.session.ws_connect(f"{api.url}/ws", headers={"Origin": ORIGIN})
    await socket.send_str(said)
    await socket.receive(timeout=60)
    assert socket.close_code == 1008


async def test_silence_large_messages_and_chatter_are_bounded(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "HELLO_S", 0.1)
    silent = await api.page.session.ws_connect(f"{api.url}/ws", headers={"Origin": ORIGIN})
    await silent.receive(timeout=60)
    assert silent.close_code == 1008
    large = await opened(api.page, {"more": "x" * 20_000})
    await large.receive(timeout=60)
    assert large.close_code is not None
    chatty = await opened(api.page)
    for _ in range(websocket.MAX_MESSAGES_A_MINUTE + 5):
        if not chatty.closed:
            await chatty.send_str("{}")
    while not chatty.closed:
        await chatty.receive(timeout=60)
    assert chatty.close_code == 1008


async def test_pages_are_counted(api: Api) -> None:
    sockets = [await opened(api.page) for _ in range(20)]
    await asyncio.gather(*(hear(socket, "version") for socket in sockets))
    late = await opened(api.page)
    await late.receive(timeout=60)
    assert late.close_code == 1013
    await asyncio.gather(*(socket.close() for socket in sockets))
    await until(lambda: not api.gateway.parts.hub.users())


async def test_pings_and_the_end_of_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.websocket.PING_S", 0.05)
    async with running(config("local"), FakeDatabases()) as api:
        await api.page.post("/api/session")
        socket = await opened(api.page)
        await hear(socket, "ping")
        await api.page.delete("/api/session")
        async with asyncio.timeout(60):
            while not socket.closed:
                await socket.receive()
        assert socket.close_code == 4401


async def test_a_stopping_gateway_says_so() -> None:
    async with running() as api:
        socket = await opened(api.page)
        await hear(socket, "version")
        closing = asyncio.create_task(socket.receive(timeout=60))
        await api.gateway.application.shutdown()
        await closing
        assert socket.close_code == 1001


async def test_hints_are_coalesced_for_a_slow_page() -> None:
    hub = Hub(max_listeners=2, max_listeners_a_user=2)
    listener = hub.join("someone")
    for version in range(1, 1000):
        hub.newer("someone", version, "page")
    hints = await listener.take(1)
    assert [getattr(hint, "version", None) for hint in hints] == [999]
    hub.newer("someone", 998, "late")
    assert await listener.take(0.01) == []
