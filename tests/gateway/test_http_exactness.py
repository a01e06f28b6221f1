"""Three tabs edit at random through the API: what is answered as stale is exactly what the rule says, never more."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from yarl import URL

from chassis.peers import Peers
from gateway.clients.databases import DbSync
from reel.dbsync.v1 import dbsync_pb2 as pb
from tests.fakes.gateway_renderer import FakeRenderer
from tests.fakes.object_store import ObjectStore, object_store
from tests.gateway.api import Client, config, serving
from tests.gateway.services import Services, services

SEEDS = (1, 2, 3)
STEPS = 60
THINGS = 4


@dataclass
class Tab:
    """A page, and what the test knows of it."""

    page: Client
    name: str
    base: int = 0


@dataclass
class Record:
    """What was acknowledged: by whom, which row, at which version; and how the answers compare with the rule."""

    edits: list[tuple[int, str, str]] = field(default_factory=list)
    rightly_stale: int = 0
    unrelated_stale: int = 0
    missed: int = 0

    def is_stale(self, tab: Tab, row: str) -> bool:
        """The rule: another author changed the row after the tab's base."""
        return any(version > tab.base and who != tab.name and what == row for version, who, what in self.edits)

    def next_base(self, tab: Tab, version: int) -> int:
        """Up to its own version when nobody else came between, else where it was."""
        between = any(tab.base < at <= version and who != tab.name for at, who, _ in self.edits)
        return tab.base if between else version


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    """An embedded store for this module."""
    with object_store() as started:
        yield started


@pytest.fixture
async def real(store: ObjectStore, tmp_path: Path) -> AsyncIterator[Services]:
    """dbsync and storage."""
    async with services(store, tmp_path) as started:
        yield started


class Widening:
    """A channel on which every commit asks for the whole database's scope: what the run must tell from ours."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    async def call(self, method: Any, request: Any, **options: Any) -> Any:
        """The call, a commit widened."""
        if isinstance(request, pb.CommitRequest):
            request.scope = pb.SCOPE_DATABASE
        return await self._channel.call(method, request, **options)


async def run(real: Services, databases: DbSync, seed: int) -> Record:
    """A seeded run of three tabs over four games."""
    chance, record = random.Random(seed), Record()
    async with (
        serving(config(), databases, real.archive, real.objects, FakeRenderer()) as started,
        Client(started.url) as first,
        Client(started.url) as other,
        Client(started.url) as third,
    ):
        assert (await first.post("/api/session")).status == 201
        cookies = {cookie.key: cookie.value for cookie in first.session.cookie_jar}
        for page in (other, third):
            page.session.cookie_jar.update_cookies(cookies, URL(started.url))
        games = [(await first.post("/api/games", {"name": str(number)})).body["id"] for number in range(THINGS)]
        tabs = [Tab(page, name) for page, name in ((first, "first"), (other, "other"), (third, "third"))]
        for step in range(STEPS):
            tab = chance.choice(tabs)
            if tab.base == 0 or chance.random() < 0.25:
                tab.base = int((await tab.page.get("/api/library")).version.strip('"'))
                continue
            row = chance.choice(games)
            expected = record.is_stale(tab, row)
            answer = await tab.page.patch(f"/api/games/{row}", {"name": f"step {step}"}, match=str(tab.base))
            assert answer.status in (200, 409), answer
            if answer.status == 409:
                record.rightly_stale += expected
                record.unrelated_stale += not expected
                continue
            record.missed += expected
            version = int(answer.headers["X-Database-Version"])
            expected_base = record.next_base(tab, version)
            record.edits.append((version, tab.name, row))
            tab.base = int(answer.version.strip('"'))
            assert tab.base == expected_base, answer
    return record


@pytest.mark.parametrize("seed", SEEDS)
async def test_only_what_was_changed_elsewhere_is_stale(real: Services, seed: int) -> None:
    record = await run(real, real.databases, seed)
    assert (record.unrelated_stale, record.missed) == (0, 0)
    assert record.rightly_stale >= 3 and len(record.edits) >= 15  # the run did try both


async def test_a_wider_scope_would_be_seen(real: Services) -> None:
    record = await run(real, DbSync(cast("Peers", Widening(real.databases._channel))), SEEDS[0])
    assert record.unrelated_stale > 0
