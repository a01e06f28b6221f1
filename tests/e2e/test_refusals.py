"""What a client does wrong, on the running system: a clear 4xx in words with a stable type and a trace to look up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chassis.ids import uuid7
from devstack import trace
from devstack.api import Api
from devstack.stack import Stack
from tests.e2e.owner import Made

JSON = {"Content-Type": "application/json"}
BODIES: tuple[tuple[str, bytes, dict[str, str], int, str], ...] = (
    ("too large", b'{"name": "' + b"x" * (2 << 20) + b'"}', JSON, 413, "body_too_large"),
    ("not JSON", b'{"name": ', JSON, 400, "invalid_body"),
    ("not an object", b"[1, 2]", JSON, 400, "invalid_body"),
    ("very deep", b"[" * 100_000, JSON, 400, "invalid_body"),
    ("not UTF-8", b'{"name": "\xff\xfe"}', JSON, 400, "invalid_body"),
    ("empty", b"", JSON, 400, "invalid_body"),
    ("unknown field", b'{"name": "x", "owner": "somebody"}', JSON, 400, "invalid_body"),
    ("too long a name", b'{"name": "' + b"x" * 201 + b'"}', JSON, 400, "invalid_body"),
    ("a form", b"name=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
    ("compressed", b'{"name": "x"}', {**JSON, "Content-Encoding": "gzip"}, 415, "unsupported_encoding"),
)


async def send(stack: Stack, method: str, path: str, data: bytes, headers: dict[str, str]) -> tuple[int, Any, str]:
    """Status, body, content type of exactly this request."""
    async with (
        aiohttp.ClientSession() as http,
        http.request(method, f"{stack.settings.api_origin}{path}", data=data, headers=headers) as answer,
    ):
        return answer.status, await answer.json(content_type=None), answer.headers["Content-Type"]


def check_problem(body: Any, kind: str, status: int, reason: str) -> None:
    """A whole problem document of this reason."""
    assert kind.startswith("application/problem+json")
    assert (body["status"], body["type"]) == (status, f"https://reelballers.com/problems/{reason}")
    assert body["title"] and body["detail"].endswith(".") and re.fullmatch("[0-9a-f]{32}", body["trace_id"])


@pytest.mark.parametrize(("what", "data", "headers", "status", "reason"), BODIES, ids=[row[0] for row in BODIES])
async def test_a_bad_body(
    stack: Stack, what: str, data: bytes, headers: dict[str, str], status: int, reason: str
) -> None:
    got, body, kind = await send(stack, "POST", "/api/games", data, {**headers, "Idempotency-Key": uuid7()})
    assert got == status, (what, body)
    check_problem(body, kind, status, reason)
    # The trace can be looked up.
    assert trace.spans(stack.traces, body["trace_id"])[0]["attributes"]["http.response.status_code"] == status


async def test_missing_headers(stack: Stack, made: Made) -> None:
    story = made.story
    for method, path, headers, status, reason in (
        ("POST", "/api/games", JSON, 400, "idempotency_key_missing"),
        ("POST", "/api/games", {**JSON, "Idempotency-Key": "42"}, 400, "invalid_header"),
        ("PATCH", f"/api/games/{story.game_id}", JSON, 428, "if_match_missing"),
        ("DELETE", f"/api/games/{story.game_id}", JSON, 428, "if_match_missing"),
        ("PATCH", f"/api/games/{story.game_id}", {**JSON, "If-Match": "yesterday"}, 400, "invalid_header"),
        ("GET", "/api/nothing", {}, 404, "not_found"),
        ("PUT", "/api/games", JSON, 405, "method_not_allowed"),
    ):
        got, body, kind = await send(stack, method, path, b'{"name": "x"}' if method != "GET" else b"", headers)
        assert got == status, (method, path, body)
        check_problem(body, kind, status, reason)


async def test_another_site_may_not_write(stack: Stack) -> None:
    headers = {**JSON, "Idempotency-Key": uuid7(), "Origin": "https://evil.example"}
    got, body, kind = await send(stack, "POST", "/api/games", b'{"name": "x"}', headers)
    assert got == 403 and kind.startswith("application/problem+json") and body["trace_id"]


async def test_half_a_video_is_rejected_in_words(mine: Api, short_video: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.mp4"
    half.write_bytes(short_video.read_bytes()[2000:9000])
    game = await mine.post("/games", {"name": "Half a file"})
    video = await mine.upload(game["id"], half)
    assert video["state"] == "rejected" and len(video["reject_reason"].split()) >= 4


async def test_a_stale_page_is_told_what_changed(mine: Api, made: Made) -> None:
    game = await mine.post("/games", {"name": "Two tabs"})
    base = mine.etag
    await mine.ask("PATCH", f"/games/{game['id']}", {"name": "This tab's"})
    other = {"X-Client-Id": uuid7(), "If-Match": base or ""}
    answer = await mine.ask("PATCH", f"/games/{game['id']}", {"name": "That tab's"}, headers=other)
    assert answer.status == 409 and answer.body["type"].endswith("/stale_session")
    assert answer.body["conflicts"] == [{"table": "games", "key": [game["id"]]}]
    assert f'"{answer.body["local_version"]}"' == base
    assert answer.body["remote_version"] > answer.body["local_version"]
    # An edit of something else from the same old page goes through.
    fine = await mine.ask("PATCH", f"/clips/{made.story.clip_ids[1]}", {"name": "Second, renamed"}, headers=other)
    assert fine.status == 200
    assert (await mine.get(f"/games/{game['id']}"))["name"] == "This tab's"
