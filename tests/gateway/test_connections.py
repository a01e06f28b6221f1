"""Connections that would hold the gateway for nothing, and bytes that are no HTTP."""

from __future__ import annotations

import asyncio
import json

import pytest

from chassis.ids import uuid7
from gateway.http import connections, limits
from tests.gateway.api import Api


async def raw(api: Api, *pieces: bytes, pause_s: float = 0.0) -> bytes:
    """What the gateway answers to these bytes before it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def dribbled(api: Api, start: bytes) -> bytes:
    """What the gateway answers before it closes, to whoever sends a byte now and then for as long as it does not."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(api.url.rpartition(":")[2]))
    writer.write(start)
    answer = asyncio.create_task(reader.read())
    try:
        async with asyncio.timeout(60):
            while not (await asyncio.wait([answer], timeout=0.05))[0]:
                writer.write(b"x")
        return await answer
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "noise",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\x00 HTTP/1.1\r\n\r\n",
        b"nonsense\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_a_problem_too(api: Api, noise: bytes) -> None:
    answer = await raw(api, noise)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 400 " in head and b"application/problem+json" in head and b"aiohttp" not in head
    assert json.loads(body)["type"].endswith("/bad_request") and len(json.loads(body)["trace_id"]) == 32
    assert (await api.page.get("/healthz")).status == 200


async def test_headers_that_dribble_are_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADERS_S", 0.5)
    assert await dribbled(api, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ") == b""
    second = await raw(api, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /heal", pause_s=0.1)
    assert second.startswith(b"HTTP/1.1 200") and second.count(b"HTTP/1.1") == 1


async def test_a_body_that_dribbles_is_cut_off(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_GRACE_S", 0.2)
    head = (
        "POST /api/games HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Idempotency-Key: {uuid7()}\r\nContent-Length: 500\r\n\r\n"
    )
    answer = await raw(api, head.encode(), b'{"name"')
    assert answer.startswith(b"HTTP/1.1 408") and b"body_too_slow" in answer


async def test_normal_requests_are_unharmed_by_silent_sockets(api: Api) -> None:
    port = int(api.url.rpartition(":")[2])
    sockets = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
    for _, writer in sockets:
        writer.write(b"GET /api/games HTTP/1.1\r\nHos")
    answers = [await api.page.get("/api/games") for _ in range(5)]
    assert {answer.status for answer in answers} == {200}
    for _, writer in sockets:
        writer.close()


async def test_connections_are_counted(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 2)
    await api.page.get("/healthz")
    port = int(api.url.rpartition(":")[2])
    kept = await asyncio.open_connection("127.0.0.1", port)
    refused = await asyncio.open_connection("127.0.0.1", port)
    assert await asyncio.wait_for(refused[0].read(), 60) == b""
    for _, writer in (kept, refused):
        writer.close()
