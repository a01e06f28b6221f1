"""The store over a database that obeys dbsync's contract: migrations, lost answers, announcements, answers too large
for one read.
"""

from __future__ import annotations

import asyncio

import pytest

from chassis import faults
from chassis.faults import Fault, Kind
from chassis.ids import uuid7
from gateway.domain.actor import Actor
from gateway.library import games, sync_time
from gateway.library.migrations import MIGRATIONS
from gateway.library.steps import select, step
from gateway.library.store import Migration, Store
from tests.fakes.gateway_databases import FakeDatabases

SECOND = Migration(2, ("ALTER TABLE games ADD COLUMN place TEXT NOT NULL DEFAULT ''",))


def actor(key: str | None = None, base: int | None = None) -> Actor:
    """A page of the user."""
    return Actor("someone", "page", key or uuid7(), base_version=base)


async def test_a_new_database_is_migrated_by_its_first_read_and_by_no_other() -> None:
    databases = FakeDatabases()
    store = Store(databases, MIGRATIONS)
    readings = await asyncio.gather(*(store.read("someone", games.all_games()) for _ in range(8)))
    assert {reading.version for reading in readings} == {1}
    assert databases.databases["someone"].schema_version == 1
    await store.read("someone", games.all_games())
    assert len(databases.databases["someone"].history) == 1


async def test_an_older_database_is_brought_up_to_date_and_a_newer_one_refused() -> None:
    databases = FakeDatabases()
    old, new = Store(databases, MIGRATIONS), Store(databases, (*MIGRATIONS, SECOND))
    await old.write(actor(), games.insert_game(uuid7(), "Final", "", "", None))
    reading = await new.read("someone", [select("SELECT name, place FROM games")])
    assert reading.results[0].rows == (("Final", ""),)
    with pytest.raises(Fault) as caught:
        await old.read("someone", games.all_games())
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "updating")


async def test_a_commit_is_announced_when_it_is_acknowledged_and_only_then() -> None:
    databases, announced = FakeDatabases(), list[tuple[str, int, str]]()
    store = Store(databases, MIGRATIONS, lambda *what: announced.append(what))
    key = uuid7()
    await store.read("someone", games.all_games())
    databases.lost_answers = 1
    steps = games.insert_game(uuid7(), "Final", "", "", None)
    with pytest.raises(Fault, match="the answer was lost"):
        await store.write(actor(key), steps)
    assert announced == [("someone", 1, "")]
    replay = await store.write(actor(key), steps)
    assert replay.replayed and replay.stamp.version == 2
    await store.write(actor(), games.insert_game(uuid7(), "Other", "", "", None))
    assert announced[1:] == [("someone", 3, "page")]


async def test_dbsync_words_become_the_products() -> None:
    store = Store(databases := FakeDatabases(), MIGRATIONS)
    await store.read("someone", games.all_games())
    for reason, kind, expected in (
        ("busy", Kind.EXHAUSTED, "busy"),
        ("database_full", Kind.EXHAUSTED, "quota_reached"),
        ("key_expired", Kind.PRECONDITION, "idempotency_key_expired"),
        ("sql_forbidden", Kind.INVALID, "internal"),
        ("store_unavailable", Kind.UNAVAILABLE, "store_unavailable"),
    ):
        databases.refusals.append(Fault(kind, reason, "no"))
        with pytest.raises(Fault) as caught:
            await store.write(actor(), games.insert_game(uuid7(), "Final", "", "", None))
        assert caught.value.reason == expected


async def test_versions_that_do_not_exist_are_the_askers_mistake() -> None:
    store = Store(FakeDatabases(), MIGRATIONS)
    await store.read("someone", games.all_games())
    with pytest.raises(Fault) as caught:
        await store.read("someone", games.all_games(), min_version=99)
    assert caught.value.reason == "min_version_unknown"
    with pytest.raises(Fault) as caught:
        await store.write(actor(base=99), games.insert_game(uuid7(), "Final", "", "", None))
    assert caught.value.reason == "base_version_unknown"


async def test_what_is_too_large_for_one_answer_is_read_in_pages() -> None:
    store = Store(FakeDatabases(), MIGRATIONS)
    count = 700
    rows = ", ".join(f"('{uuid7()}', '{'x' * 6000}', '', '', {n})" for n in range(count))
    await store.write(actor(), [step(f"INSERT INTO games (id, name, opponent, sport, created_ms) VALUES {rows}")])
    with pytest.raises(Fault, match="more than the library can handle"):
        await store.read("someone", games.all_games())
    reading = await store.read_whole("someone", games.all_games())
    found = games.read_games(*reading.results)
    assert [game.created_at.microsecond // 1000 for game in found] == [n % 1000 for n in range(count)]


async def test_waiting_for_the_database_is_counted() -> None:
    databases = FakeDatabases()
    databases.delay_s = 0.02
    clock = sync_time.start()
    await Store(databases, MIGRATIONS).read("someone", games.all_games())
    assert clock.seconds >= 0.06  # the refused read, head, migration, the read again


async def test_a_fault_that_is_no_conflict_of_ours_goes_on_as_it_is() -> None:
    databases = FakeDatabases()
    databases.refusals.append(faults.internal("internal", "broken"))
    with pytest.raises(Fault) as caught:
        await Store(databases, MIGRATIONS).read("someone", games.all_games())
    assert caught.value.kind is Kind.INTERNAL
