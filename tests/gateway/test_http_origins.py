"""Browsers: CORS on every answer, errors and preflights too, and no change at the wish of another site's page."""

from __future__ import annotations

import pytest

from tests.gateway.api import ORIGIN, Api, config, running

EVIL = "https://evil.example"


@pytest.mark.parametrize("path", ["/api/library", "/api/nothing", "/api/games/1", "/healthz", "/api/openapi.json"])
async def test_the_app_may_read_every_answer(api: Api, path: str) -> None:
    answer = await api.page.get(path, Origin=ORIGIN)
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert answer.headers["Access-Control-Expose-Headers"] == "ETag, X-Database-Version, Retry-After"
    assert answer.headers["Vary"] == "Origin"


async def test_errors_are_readable_too(api: Api) -> None:
    for answer in (
        await api.page.post("/api/games", {"name": ""}, Origin=ORIGIN),
        await api.page.post("/api/games", {"name": "x"}, Origin=ORIGIN, Idempotency_Key=""),
        await api.page.ask("PATCH", "/api/games", Origin=ORIGIN),
        await api.page.post("/api/games", {"name": "x" * (1 << 20)}, Origin=ORIGIN),
    ):
        assert answer.status >= 400 and answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    api.databases.refusals.append(RuntimeError("broken"))  # type: ignore[arg-type]
    broken = await api.page.get("/api/games", Origin=ORIGIN)
    assert broken.status == 500 and broken.headers["Access-Control-Allow-Origin"] == ORIGIN


async def test_unauthorised_is_readable_too() -> None:
    async with running(config("production", app_origins=(ORIGIN,))) as api:
        answer = await api.page.get("/api/library", Origin=ORIGIN)
        assert answer.status == 401 and answer.headers["Access-Control-Allow-Origin"] == ORIGIN


async def test_preflights(api: Api) -> None:
    asks = {"Access_Control_Request_Method": "PUT", "Access_Control_Request_Headers": "if-match"}
    for path in ("/api/games", "/api/reels/x/overlay", "/api/nothing"):
        good = await api.page.ask("OPTIONS", path, Origin=ORIGIN, **asks)
        assert good.status == 204 and good.headers["Access-Control-Allow-Origin"] == ORIGIN
        allowed = good.headers["Access-Control-Allow-Headers"].split(", ")
        wanted = {
            "content-type",
            "if-match",
            "idempotency-key",
            "x-client-id",
            "x-min-version",
            "traceparent",
            "tracestate",
        }
        assert set(allowed) == wanted
        assert {"GET", "PUT", "PATCH", "DELETE", "POST"} <= set(
            good.headers["Access-Control-Allow-Methods"].split(", ")
        )
    bad = await api.page.ask("OPTIONS", "/api/games", Origin=EVIL, **asks)
    assert bad.status == 403 and "Access-Control-Allow-Origin" not in bad.headers


async def test_other_origins_read_nothing_and_change_nothing(api: Api) -> None:
    read = await api.page.get("/api/library", Origin=EVIL)
    assert "Access-Control-Allow-Origin" not in read.headers
    for headers in (
        {"Origin": EVIL},
        {"Origin": "null"},
        {"Origin": f"{ORIGIN}.evil.example"},
        {"Origin": "http://LOCALHOST:5173"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Origin": ORIGIN, "Sec_Fetch_Site": "cross-site"},
    ):
        answer = await api.page.post("/api/games", {"name": "x"}, **headers)
        assert (answer.status, answer.problem) == (403, "wrong_origin")
    assert (await api.page.get("/api/games")).body["games"] == []
    for headers in ({"Origin": ORIGIN, "Sec_Fetch_Site": "same-site"}, {"Origin": ORIGIN}, {}):
        assert (await api.page.post("/api/games", {"name": "x"}, **headers)).status == 201


async def test_answers_are_hardened(api: Api) -> None:
    answer = await api.page.get("/api/library")
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "aiohttp" not in answer.headers["Server"]
