"""What operators see: the log lines they watch, spans, trace ids; and that a slow database does not slow others
down.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chassis import tracing
from gateway.http import observe
from tests.gateway.api import USER, Api, until

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


@pytest.fixture
def spans(tmp_path: Path) -> Iterator[Path]:
    """Where spans go during the test."""
    tracing.setup("gateway", "local", trace_dir=tmp_path)
    yield tmp_path / "gateway.jsonl"
    tracing.setup("gateway", "local")


def read(path: Path) -> list[dict[str, Any]]:
    """The spans so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


async def test_commits_and_slow_requests_are_logged_in_the_words_operators_know(
    api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level("INFO")
    with monkeypatch.context() as patient:
        patient.setattr(observe, "SLOW_SYNC_S", 3600.0)  # whatever the machine takes is not slow
        patient.setattr(observe, "SLOW_REQUEST_S", 3600.0)
        made = await api.page.post("/api/games", {"name": "A"})
    version = made.headers["X-Database-Version"]
    assert f"Database synced to R2 for user: {USER}, version: {version}" in caplog.messages
    assert not [message for message in caplog.messages if "[SLOW" in message]
    api.databases.delay_s = 0.55
    await api.page.get("/api/games")
    sync = next(message for message in caplog.messages if message.startswith("[SLOW DB SYNC]"))
    request = next(message for message in caplog.messages if message.startswith("[SLOW REQUEST]"))
    took = re.fullmatch(r"\[SLOW DB SYNC\] GET /api/games - sync took (\d+\.\d\d)s", sync)
    total = re.fullmatch(r"\[SLOW REQUEST\] GET /api/games - total (\d+\.\d\d)s \(sync: (\d+\.\d\d)s\)", request)
    assert took is not None and total is not None
    assert observe.SLOW_SYNC_S <= float(took[1]) == float(total[2]) <= float(total[1])


async def test_a_request_that_is_slow_but_not_for_the_database(
    api: Api, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "SLOW_SYNC_S", 3600.0)
    api.databases.delay_s = 0.25
    await api.page.get("/healthz")
    await api.page.get("/api/session")
    await api.page.get("/api/games")
    slow = [message for message in caplog.messages if "[SLOW" in message]
    assert len([message for message in slow if message.startswith("[SLOW REQUEST] GET /api/games")]) == 1
    assert not [message for message in slow if message.startswith("[SLOW DB SYNC]") or "/healthz" in message]


async def test_each_request_is_one_server_span_of_the_callers_trace(api: Api, spans: Path) -> None:
    answer = await api.page.patch("/api/games/nothing", {"name": "x"}, match='"1"', traceparent=PARENT)
    assert answer.body["trace_id"] == TRACE
    await api.page.get("/healthz")
    await api.page.get("/readyz")
    (span,) = read(spans)
    assert (span["name"], span["kind"], span["trace_id"]) == ("PATCH /api/games/{game_id}", "server", TRACE)
    assert span["parent_id"] == "b7ad6b7169203331"
    attributes = span["attributes"]
    assert attributes["http.request.method"] == "PATCH" and attributes["http.route"] == "/api/games/{game_id}"
    assert attributes["http.response.status_code"] == 404 and attributes["url.path"] == "/api/games/nothing"
    assert span["status"] != "error"


async def test_only_our_own_failures_mark_a_span(api: Api, spans: Path) -> None:
    api.databases.refusals.append(RuntimeError("broken"))  # type: ignore[arg-type]
    answer = await api.page.get("/api/games", traceparent="nonsense")
    (span,) = read(spans)
    assert span["status"] == "error" and span["trace_id"] == answer.body["trace_id"] and span["parent_id"] is None


async def test_the_export_belongs_to_the_trace_of_its_click_to_the_end(api: Api, spans: Path) -> None:
    story = await api.story()
    body = {"kind": "framing", "reel_id": story.reel_id}
    made = await api.page.post("/api/exports", body, traceparent=PARENT)
    assert made.body["trace_id"] == TRACE
    await api.renderer.succeed(USER, made.body["id"])
    await until(lambda: [span for span in read(spans) if span["name"] == "finish export"])
    (finish,) = [span for span in read(spans) if span["name"] == "finish export"]
    assert finish["trace_id"] == TRACE


async def test_a_slow_database_holds_up_nobody_else(api: Api) -> None:
    await api.page.get("/api/games")
    api.databases.free.clear()
    reads = [asyncio.create_task(api.page.get("/api/games")) for _ in range(4)]
    await until(lambda: api.databases.waiting == len(reads))  # none waits for another to be done
    for path, status in (("/healthz", 200), ("/api/nothing", 404)):
        assert (await api.page.get(path)).status == status
    assert not any(read.done() for read in reads)
    api.databases.free.set()
    assert {answer.status for answer in await asyncio.gather(*reads)} == {200}


async def test_readiness_names_each_service(api: Api) -> None:
    assert (await api.page.get("/healthz")).body == {"status": "ok"}
    ready = await api.page.get("/readyz")
    assert ready.status == 200 and ready.body == {
        "ready": True, "services": {"storage": "ready", "dbsync": "ready", "render": "ready"}
    }  # fmt: skip
    api.renderer.is_ready = False
    not_ready = await api.page.get("/readyz")
    assert not_ready.status == 503 and not_ready.body["services"]["render"] == "unreachable"
    assert (await api.page.get("/healthz")).status == 200
