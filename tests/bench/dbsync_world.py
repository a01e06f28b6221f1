"""What dbsync is measured in: an embedded store far away, one connection to it for everybody, and a season's data."""

from __future__ import annotations

import asyncio
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chassis import ids
from dbsync import snapshots
from dbsync.clock import SystemClock
from dbsync.commit import Spent
from dbsync.databases import Bounds, Databases
from dbsync.gate import GateVfs
from dbsync.ledger import Answer, S3Store, Wire
from dbsync.local_copy import Pools
from dbsync.pages import Body
from dbsync.requests import CommitRequest, CommitResult, QueryRequest, Statement
from dbsync.slots import Patience
from dbsync.sqlguard import Limits
from objectstore.settings import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY
from tests.fakes.object_store import BUCKET, StoreProcess, object_store_process

SCHEMA = (
    "CREATE TABLE clips (id TEXT NOT NULL PRIMARY KEY, game TEXT NOT NULL, name TEXT NOT NULL, notes TEXT NOT NULL, "
    "start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, rating INTEGER)",
    "CREATE INDEX clips_of_game ON clips (game, start_ms)",
    "CREATE TABLE reels (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, overlay TEXT NOT NULL)",
    "INSERT INTO reels VALUES ('r', 'My reel', '" + '{"regions": []}' * 10 + "')",
)
TALK = (
    "she takes the ball at the centre circle turns past two defenders and shoots low into far corner keeper dives left "
    "cross from right wing headed just over bar great press wins it back quick throw through pass one touch finish"
)
WORDS = TALK.split()
ROW_BYTES = 360  # of a clip, with its part of the indices
ROWS_AT_ONCE = 5000
# A commit of a whole season is nobody's gesture: the seed may take longer than a caller may.
LIMITS = Limits(database_bytes=256 << 20, steps=1 << 40, seconds=120, value_bytes=16 << 20)


@dataclass(frozen=True)
class Asked:
    """One request to the store: how long it took, with the way there."""

    method: str  # LIST is told from GET
    key: str
    sent_bytes: int
    seconds: float


class FarWire(Wire):
    """dbsync's own wire to a store that is `delay_s` away; everything that was asked is kept in `asked`."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.delay_s = 0.0
        self.asked: list[Asked] = []

    def ask(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
    ) -> Answer:
        began_s = time.perf_counter()
        time.sleep(self.delay_s)
        try:
            return super().ask(method, key, query=query, headers=headers, body=body)
        finally:
            label = method if key else "LIST"
            self.asked.append(Asked(label, key, len(body), time.perf_counter() - began_s))

    def counts(self) -> Counter[str]:
        """How often each was asked for."""
        return Counter(one.method for one in self.asked)


@dataclass
class World:
    """The store's process, the wire to it, and a folder."""

    process: StoreProcess
    wire: FarWire
    store: S3Store
    folder: Path
    writers: ThreadPoolExecutor  # those of a house, for the rivals and the bare PUTs too

    def house(self, **bounds: Any) -> House:
        """A process's databases, with a cache of its own."""
        return House(self, Path(tempfile.mkdtemp(dir=self.folder)), **bounds)

    async def run(self, call: Callable[[], Any]) -> Any:
        """A blocking call as dbsync makes its own: in a thread of the pool, awaited."""
        return await asyncio.get_running_loop().run_in_executor(self.writers, call)


@contextmanager
def world() -> Iterator[World]:
    """A fresh store. It runs in a process of its own and does not sync: what is measured is on this side of it."""
    with (
        tempfile.TemporaryDirectory(prefix="bench-dbsync-") as scratch,
        object_store_process(Path(scratch) / "bucket", OBJECTSTORE_FSYNC="false") as process,
        ThreadPoolExecutor(16) as writers,
        ThreadPoolExecutor(64) as fetchers,
    ):
        folder = Path(scratch)
        (folder / "spool").mkdir()
        wire = FarWire(
            endpoint_url=process.endpoint,
            bucket=BUCKET,
            access_key_id=DEFAULT_ACCESS_KEY,
            secret_access_key=DEFAULT_SECRET_KEY,
            attempt_s=30.0,
            connections=80,
            spool=folder / "spool",
        )
        yield World(process, wire, S3Store(wire, fetchers), folder, writers)
        wire.close()


class House:
    """The databases of one process."""

    def __init__(self, world: World, folder: Path, **bounds: Any) -> None:
        self.world = world
        self.tasks: set[asyncio.Task[None]] = set()
        self.vfs = GateVfs()
        self.pools = Pools(world.writers, ThreadPoolExecutor(4), ThreadPoolExecutor(32))
        self.all = Databases(
            world.store,
            SystemClock(),
            self.vfs,
            folder,
            self.pools,
            limits=LIMITS,
            bounds=Bounds(**{"commit_s": 120.0, "catch_up_s": 120.0, **bounds}),
            patience=Patience(attempt_s=30.0),
            spawn=self._spawn,
        )

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def commit(self, database: str, *statements: Statement, **fields: Any) -> tuple[CommitResult, Spent]:
        """A commit with a fresh key."""
        key = bytes.fromhex(ids.uuid7().replace("-", ""))
        fields.setdefault("schema_version", 1)
        async with self.all.use(database) as found:
            return await found.commit(CommitRequest(database, statements, key, **fields))

    async def query(self, database: str, sql: str, **fields: Any) -> int:
        """Reads; the version that it was of."""
        async with self.all.use(database) as found:
            return (await found.query(QueryRequest(database, (Statement(sql),), **fields)))[0].version

    async def found(self, database: str, size_bytes: int) -> None:
        """A database of about that size, and its snapshot."""
        await self.commit(database, *map(Statement, SCHEMA), schema_version=0, set_schema_version=1)
        rng, total = random.Random(1), size_bytes // ROW_BYTES
        for first in range(0, total, ROWS_AT_ONCE):
            rows = [clip(rng, number) for number in range(first, min(first + ROWS_AT_ONCE, total))]
            insert = "INSERT INTO clips SELECT {} FROM json_each(?)".format(
                ", ".join(f"value ->> {column}" for column in range(7))
            )
            await self.commit(database, Statement(insert, (json.dumps(rows),)))
        await self.settle()
        async with self.all.use(database) as found:
            assert found.opened is not None
            image = await self.world.run(found.opened.committer.replica.image)
            await self.world.run(lambda: snapshots.publish(self.world.store, database, image, 60.0))

    async def settle(self) -> None:
        """Until nothing runs in the background."""
        while self.tasks:
            await asyncio.gather(*self.tasks)

    async def close(self) -> None:
        """Ends it; the threads that write are the world's."""
        await self.all.close()
        await self.settle()
        self.pools.readers.shutdown()
        self.pools.fetchers.shutdown()
        self.vfs.unregister()


def clip(rng: random.Random, number: int) -> tuple[str | int, ...]:
    """A row such as a parent makes."""
    notes = " ".join(rng.choices(WORDS, k=40))
    identity = f"{number:08x}-{rng.getrandbits(80):020x}"
    return identity, f"game {number // 40}", f"clip {number}", notes, number * 900, number * 900 + 5000, number % 5


def gesture(number: int) -> tuple[Statement, ...]:
    """Two updates and an insert."""
    row = clip(random.Random(number), 1_000_000 + number)
    return (
        Statement("UPDATE clips SET name = ?, rating = 5 WHERE rowid = ?", (f"goal {number}", 1 + number * 37 % 300)),
        Statement("UPDATE reels SET name = ? WHERE id = 'r'", (f"My reel {number}",)),
        Statement("INSERT INTO clips VALUES (?, ?, ?, ?, ?, ?, ?)", row),
    )


def percentile(values: list[float], share: float) -> float:
    """By rank."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def timed(work: Awaitable[Any]) -> float:
    """Its seconds."""
    began_s = time.perf_counter()
    await work
    return time.perf_counter() - began_s
