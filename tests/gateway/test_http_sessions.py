"""Who is asking: the development user on loopback alone, anonymous sessions everywhere."""

from __future__ import annotations

import hashlib
from http.cookies import SimpleCookie

import pytest

from chassis.config import Base, ConfigError, Reader, Secret
from gateway import config as settings
from gateway.actions import sessions
from tests.fakes.gateway_databases import FakeDatabases
from tests.gateway.api import USER, Api, Client, config, running

DAY_MS = 86_400_000


class Clocks:
    """A wall clock and a monotonic one that a test moves."""

    def __init__(self) -> None:
        self.ms = 1_800_000_000_000

    def wall_ms(self) -> int:
        return self.ms

    def clock_s(self) -> float:
        return self.ms / 1000


def cookie(answer_headers: object) -> SimpleCookie:
    """The cookie that an answer sets."""
    return SimpleCookie(answer_headers["Set-Cookie"])  # type: ignore[index]


async def test_the_development_user_needs_no_session(api: Api) -> None:
    answer = await api.page.get("/api/session")
    assert answer.body == {"user_id": USER, "kind": "development", "environment": "local"}


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example:8000", "localhost.evil.example", "192.168.0.2"]
)
async def test_a_page_that_rebound_its_name_is_nobody(api: Api, host: str) -> None:
    for path in ("/api/session", "/api/library"):
        answer = await api.page.get(path, Host=host)
        assert (answer.status, answer.problem) == (401, "no_session")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:1", "[::1]:8000", "localhost:5173"])
async def test_names_of_this_machine(api: Api, host: str) -> None:
    assert (await api.page.get("/api/library", Host=host)).status == 200


async def test_without_loopback_there_is_no_development_user() -> None:
    base = Base("gateway", "local", "0.0.0.0:0", "info", Secret(""), {}, "", None)
    async with running(config(base=base)) as api:
        assert (await api.page.get("/api/library")).status == 401


async def test_an_anonymous_user_from_beginning_to_end() -> None:
    databases = FakeDatabases()
    async with running(config("production"), databases) as api:
        for path in ("/api/session", "/api/library", "/api/games"):
            answer = await api.page.get(path)
            assert (answer.status, answer.problem) == (401, "no_session")
        made = await api.page.post("/api/session")
        assert made.status == 201 and made.body["kind"] == "anonymous" and made.body["environment"] == "production"
        ((name, morsel),) = cookie(made.headers).items()
        assert name == "__Host-reel_session" and len(morsel.value) == 43
        assert (
            morsel["secure"]
            and morsel["httponly"]
            and (morsel["samesite"], morsel["path"], morsel["domain"]) == ("Lax", "/", "")
        )
        stored = databases.rows("_directory.production", "SELECT token_sha256 FROM sessions")
        assert stored == [(hashlib.sha256(morsel.value.encode()).hexdigest(),)]
        with_it = {"Cookie": f"{name}={morsel.value}"}
        assert (await api.page.get("/api/session", **with_it)).body["user_id"] == made.body["user_id"]
        assert (await api.page.post("/api/games", {"name": "mine"}, **with_it)).status == 201
        again = await api.page.post("/api/session", **with_it)
        assert again.status == 200 and again.body == made.body
        ended = await api.page.delete("/api/session", **with_it)
        assert ended.status == 204 and cookie(ended.headers)[name].value == ""
        assert (await api.page.get("/api/library", **with_it)).status == 401


async def test_each_session_is_a_user_of_its_own(api: Api) -> None:
    async with Client(api.url) as one, Client(api.url) as two:
        first, second = await one.post("/api/session"), await two.post("/api/session")
        assert first.body["user_id"] != second.body["user_id"]
        await one.post("/api/games", {"name": "mine"})
        assert (await two.get("/api/games")).body["games"] == []
        assert (await api.page.get("/api/games")).body["games"] == []


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "x" * 5000, "'; DROP TABLE sessions; --"])
async def test_made_up_tokens(token: str) -> None:
    async with running(config("production")) as api:
        assert (await api.page.get("/api/library", Cookie=f"__Host-reel_session={token}")).status == 401


async def test_sessions_end_when_idle_when_old_and_soon_after_they_are_revoked() -> None:
    databases, clocks = FakeDatabases(), Clocks()
    times = {"now_ms": clocks.wall_ms, "clock_s": clocks.clock_s}
    async with (
        running(config("production"), databases, **times) as api,
        running(config("production"), databases, **times) as other,
    ):
        made = await api.page.post("/api/session", Idempotency_Key=key_at(clocks.ms))
        with_it = {"Cookie": f"__Host-reel_session={cookie(made.headers)['__Host-reel_session'].value}"}
        for _ in range(4):
            clocks.ms += 20 * DAY_MS
            assert (await api.page.get("/api/session", **with_it)).status == 200
        clocks.ms += 11 * DAY_MS  # 91 days old
        assert (await api.page.get("/api/session", **with_it)).status == 401
        idle = await api.page.post("/api/session", Idempotency_Key=key_at(clocks.ms))
        with_it = {"Cookie": f"__Host-reel_session={cookie(idle.headers)['__Host-reel_session'].value}"}
        clocks.ms += 31 * DAY_MS
        assert (await api.page.get("/api/session", **with_it)).status == 401
        third = await api.page.post("/api/session", Idempotency_Key=key_at(clocks.ms))
        with_it = {"Cookie": f"__Host-reel_session={cookie(third.headers)['__Host-reel_session'].value}"}
        assert (await other.page.get("/api/session", **with_it)).status == 200
        await api.page.delete("/api/session", **with_it)
        clocks.ms += 60_000
        assert (await other.page.get("/api/session", **with_it)).status == 401


def key_at(now_ms: int) -> str:
    """An idempotency key of that time."""
    from chassis.ids import uuid7

    return uuid7(now_ms)


async def test_verified_sessions_cost_no_read_for_a_while() -> None:
    databases = FakeDatabases()
    async with running(config("production"), databases) as api:
        made = await api.page.post("/api/session")
        with_it = {"Cookie": f"__Host-reel_session={cookie(made.headers)['__Host-reel_session'].value}"}
        await api.page.get("/api/session", **with_it)
        before = databases.queries
        for _ in range(5):
            await api.page.get("/api/session", **with_it)
        assert databases.queries == before
    assert sessions.CACHE_S <= 60


async def test_new_users_are_rationed(api: Api) -> None:
    statuses = []
    for _ in range(25):
        async with Client(api.url) as page:
            statuses.append((await page.post("/api/session")).status)
    assert statuses[:20] == [201] * 20 and 429 in statuses


def test_settings_refuse_the_local_environment_on_a_platform() -> None:
    key = "A" * 43
    good = {"REEL_ENV": "local", "SIGNING_KEY": key, "TRUSTED_KEYS": f"gateway={key}"}
    reader = Reader(good)
    read = settings.read(reader)
    reader.finish()
    assert (read.base.listen, read.app_origins) == ("127.0.0.1:8000", ("http://localhost:5173",))
    bad = Reader(
        {**good, "FLY_APP_NAME": "reel", "APP_ORIGINS": "localhost:5173,http://a.example/x", "RATE_BURST": "1"}
    )
    settings.read(bad)
    with pytest.raises(ConfigError) as caught:
        bad.finish()
    assert len(caught.value.faults) == 4
    remote = Reader({**good, "REEL_ENV": "production"})
    settings.read(remote)
    with pytest.raises(ConfigError, match="must be https"):
        remote.finish()
