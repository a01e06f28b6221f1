"""Two real processes behind the gateway's own client: one is killed, the other goes on, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from chassis import ids
from chassis.config import Base, Secret
from chassis.faults import Fault, Kind
from chassis.peers import Peers, ranked
from dbsync.slots import log_prefix
from gateway.clients.databases import DbSync
from gateway.ports import Commit, Committed, Statement
from tests.dbsync.service import SCHEMA, SEEDS, Process, client, sql
from tests.fakes.object_store import Fault as StoreFault
from tests.fakes.object_store import ObjectStore

ADD = "INSERT INTO clips VALUES (?, 'x', 1)"
BUMP = "UPDATE totals SET n = n + 1 WHERE id = 1"
READ = Statement("SELECT n, (SELECT count(*) FROM clips) FROM totals WHERE id = 1")


@dataclass
class Pair:
    """Two processes by a database's rank, and the gateway's client of both."""

    preferred: Process
    other: Process
    databases: DbSync
    database: str

    async def add(self, clip: str) -> Committed:
        """Adds a clip and counts it."""
        return await self.databases.commit(
            Commit(self.database, (Statement(ADD, (clip,)), Statement(BUMP)), ids.uuid7(), "page", schema_version=1)
        )

    async def counts(self, min_version: int | None = None) -> tuple[object, ...]:
        """How often was counted, and how many clips there are."""
        reading = await self.databases.query(self.database, [READ], schema_version=1, min_version=min_version)
        return reading.results[0].rows[0]


@contextmanager
def two(bucket: ObjectStore, folder: Path) -> Iterator[list[Process]]:
    """Both, listening."""
    made: list[Process] = []
    try:
        made += [Process(bucket, folder / f"cache-{number}") for number in range(2)]
        for one in made:
            one.wait_ready()
        yield made
    finally:
        for one in made:
            one.close()


@asynccontextmanager
async def founded(bucket: ObjectStore, folder: Path, database: str) -> AsyncIterator[Pair]:
    """A pair with the schema in place."""
    with two(bucket, folder) as processes:
        by_address = {f"127.0.0.1:{one.port}": one for one in processes}
        base = Base("gateway", "local", "127.0.0.1:0", "info", Secret(SEEDS["gateway"]), {}, "", None)
        peers = Peers(list(by_address), audience="dbsync", base=base)
        first, second = (by_address[address] for address in ranked(list(by_address), database))
        try:
            pair = Pair(first, second, DbSync(peers), database)
            schema = tuple(Statement(text) for text in SCHEMA)
            await pair.databases.commit(Commit(database, schema, ids.uuid7(), schema_version=0, set_schema_version=1))
            yield pair
        finally:
            await peers.close()


@pytest.mark.parametrize("stage", ["before", "commit", "after"])
async def test_killed_in_the_middle_of_a_commit_it_is_done_once(
    bucket: ObjectStore, tmp_path: Path, database: str, stage: str
) -> None:
    """kill -9 while the write is under way; the caller gets its answer from the other process, and notices nothing."""
    async with founded(bucket, tmp_path, database) as pair:
        fault = bucket.faults.add(StoreFault(stage=stage, delay_s=0.5, method="PUT", key_prefix=log_prefix(database)))
        adding = asyncio.create_task(pair.add("clip"))
        async with asyncio.timeout(60):
            while not bucket.faults.struck(fault):  # noqa: ASYNC110 (it strikes in another thread)
                await asyncio.sleep(0.005)
        pair.preferred.kill()
        answer = await adding
        assert answer.version == 2
        assert answer.replayed or stage != "after"
        assert await pair.counts() == (1, 1)
        assert (await pair.add("next")).version == 3
        assert await pair.counts() == (2, 2)


async def test_a_local_read_elsewhere_has_the_version_that_was_asked_for(
    bucket: ObjectStore, tmp_path: Path, database: str
) -> None:
    async with founded(bucket, tmp_path, database) as pair:
        async with client(pair.other.port, database) as caller:
            assert await caller.rows("SELECT count(*) FROM clips") == [(0,)]  # its copy is old from now on
        written = await pair.add("clip")
        pair.preferred.kill()
        assert await pair.counts(min_version=written.version) == (1, 1)
        with pytest.raises(Fault) as ahead:
            await pair.counts(min_version=written.version + 1)
        assert ahead.value.kind is Kind.INVALID


async def test_a_head_is_the_same_wherever_it_is_asked_for(bucket: ObjectStore, tmp_path: Path, database: str) -> None:
    async with founded(bucket, tmp_path, database) as pair:
        assert (await pair.databases.head(database)).version == 1
        async with client(pair.other.port, database) as caller:
            written = await caller.commit(sql(BUMP), author="elsewhere")
        for _ in range(2):
            head = await pair.databases.head(database)
            assert (head.version, head.author) == (written.version, "elsewhere")
            pair.preferred.kill()


async def test_a_conflict_is_the_same_from_either(bucket: ObjectStore, tmp_path: Path, database: str) -> None:
    async with founded(bucket, tmp_path, database) as pair:
        base = (await pair.add("clip")).version
        rename = "UPDATE clips SET name = ? WHERE id = 'clip'"
        theirs, mine = (
            Commit(database, (Statement(rename, (name,)),), ids.uuid7(), name, schema_version=1, base_version=base)
            for name in ("another page", "page")
        )
        await pair.databases.commit(theirs)
        for _ in range(2):
            with pytest.raises(Fault) as stale:
                await pair.databases.commit(mine)
            assert stale.value.reason == "stale_session"
            pair.preferred.kill()
