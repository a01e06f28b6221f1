"""Measures dbsync and prints one table: `python -m tests.bench.dbsync [--delay-ms 30] [--large]`.

The store is in memory and answers after a delay, so that what is beyond the store can be told from it. A gesture is two
updates and an insert of a clip of its own page's making.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import uvloop
import zstandard

from chassis import ids
from dbsync import snapshots
from dbsync.clock import SystemClock
from dbsync.commit import Spent
from dbsync.database import Pools
from dbsync.databases import Bounds, Databases
from dbsync.gate import GateVfs
from dbsync.requests import CommitRequest, CommitResult, QueryRequest, Statement
from dbsync.slots import Blob, Patience
from dbsync.sqlguard import Limits, prepare_process
from tests.dbsync.memory_store import MemoryStore

WRITE_USD, READ_USD = 4.50 / 1e6, 0.36 / 1e6  # R2, class A and class B
SCHEMA = (
    "CREATE TABLE clips (id TEXT NOT NULL PRIMARY KEY, game TEXT NOT NULL, name TEXT NOT NULL, notes TEXT NOT NULL, "
    "start_ms INTEGER NOT NULL, end_ms INTEGER NOT NULL, rating INTEGER)",
    "CREATE INDEX clips_of_game ON clips (game, start_ms)",
    "CREATE TABLE reels (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, overlay TEXT NOT NULL)",
)
NOTE = "She takes the ball at the centre circle, turns past two and shoots low into the far corner. " * 2


class DelayedStore(MemoryStore):
    """A store that is `delay_s` away; requests beside each other cost it once."""

    def __init__(self, delay_s: float) -> None:
        super().__init__()
        self.delay_s = delay_s
        self.waited_s: list[float] = []

    def _travel(self) -> None:
        began = time.perf_counter()
        time.sleep(self.delay_s)
        self.waited_s.append(time.perf_counter() - began)

    def create(self, key: str, body: bytes, timeout_s: float) -> bool:
        self._travel()
        return super().create(key, body, timeout_s)

    def replace(
        self, key: str, body: bytes, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        self._travel()
        return super().replace(key, body, metadata, expected, timeout_s)

    def get(self, key: str, timeout_s: float) -> Blob | None:
        self._travel()
        return super().get(key, timeout_s)

    def head(self, key: str, timeout_s: float) -> Blob | None:
        self._travel()
        return super().head(key, timeout_s)

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        self._travel()
        return [MemoryStore.get(self, key, timeout_s) for key in keys]

    def get_and_list(self, key: str, prefix: str, timeout_s: float) -> tuple[Blob | None, list[str]]:
        self._travel()
        return MemoryStore.get(self, key, timeout_s), self.list_keys(prefix, "", timeout_s)


class House:
    """The databases of one process."""

    def __init__(self, store: MemoryStore, folder: Path, **bounds: Any) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self.vfs = GateVfs()
        limits = Limits(database_bytes=256 << 20, steps=1 << 40, seconds=60)
        self.all = Databases(
            store,
            SystemClock(),
            self.vfs,
            folder,
            Pools(ThreadPoolExecutor(16), ThreadPoolExecutor(4), ThreadPoolExecutor(32)),
            limits=limits,
            bounds=Bounds(**bounds),
            patience=Patience(),
            spawn=self._spawn,
        )

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def commit(self, database: str, *statements: Statement, **fields: Any) -> tuple[CommitResult, Spent]:
        key = bytes.fromhex(ids.uuid7().replace("-", ""))
        fields.setdefault("schema_version", 1)
        async with self.all.use(database) as found:
            return await found.commit(CommitRequest(database, statements, key, **fields))

    async def query(self, database: str, sql: str, **fields: Any) -> int:
        async with self.all.use(database) as found:
            return (await found.query(QueryRequest(database, (Statement(sql),), **fields)))[0].version

    async def found(self, database: str, size_bytes: int) -> None:
        """A database of about that size, and its snapshot."""
        schema = (Statement(sql) for sql in SCHEMA)
        await self.commit(database, *schema, schema_version=0, set_schema_version=1)
        row = "INSERT INTO clips VALUES (?, ?, ?, ?, ?, ?, 3)"
        done, per_commit = 0, 400
        while done * 480 < size_bytes:
            rows = [
                Statement(row, (ids.uuid7(), f"game {n // 40}", f"clip {n}", NOTE, n, n + 9))
                for n in range(done, done + min(per_commit, 1 + (size_bytes // 480 - done)))
            ]
            await self.commit(database, *rows)
            done += len(rows)
        reel = Statement("INSERT INTO reels VALUES ('r', 'My reel', ?)", ('{"regions": []}' * 10,))
        await self.commit(database, reel)
        while self.tasks:
            await asyncio.gather(*self.tasks)

    async def publish(self, database: str, store: MemoryStore) -> None:
        """A snapshot of now."""
        async with self.all.use(database) as found:
            opened = found._opened
            if opened is not None:
                image = await asyncio.to_thread(opened.committer.replica.image)
                await asyncio.to_thread(snapshots.publish, store, database, image, 60.0)
                found._snapshot_version = image.version

    async def close(self) -> None:
        await self.all.close()
        while self.tasks:
            await asyncio.gather(*self.tasks)
        self.vfs.unregister()


def gesture(number: int) -> tuple[Statement, ...]:
    """Two updates and an insert."""
    return (
        Statement("UPDATE clips SET name = ?, rating = 5 WHERE rowid = ?", (f"goal {number}", 1 + number * 37 % 300)),
        Statement("UPDATE reels SET name = ? WHERE id = 'r'", (f"My reel {number}",)),
        Statement(
            "INSERT INTO clips VALUES (?, ?, ?, ?, ?, ?, 3)",
            (ids.uuid7(), f"game {number % 9}", f"clip {number}", NOTE, number, number + 9),
        ),
    )


def percentile(values: list[float], share: float) -> float:
    """By rank."""
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


async def warm_commits(size_bytes: int, delay_s: float, folder: Path, count: int) -> list[str]:
    """A row of the table of commits."""
    store = DelayedStore(0)
    house = House(store, folder)
    await house.found("u", size_bytes)
    await house.publish("u", store)
    store.delay_s = delay_s
    beyond, base = [], (await house.commit("u", *gesture(0)))[0].version
    store.counts.clear()
    store.journal.clear()
    for number in range(1, count + 1):
        store.waited_s.clear()
        began = time.perf_counter()
        answer, _ = await house.commit("u", *gesture(number), author="page", base_version=base)
        beyond.append(time.perf_counter() - began - store.waited_s[0])
        base = answer.base_version
    while house.tasks:
        await asyncio.gather(*house.tasks)
    log = [len(body) for key, body in store.journal if "/db/" in key]
    snapshot = max((len(blob.body) for key, blob in store.objects.items() if key.endswith(".sqlite")), default=0)
    image = next(blob.body for key, blob in store.objects.items() if key.endswith(".sqlite"))
    began = time.perf_counter()
    packed = len(zstandard.compress(image, 3))
    zstd_ms = (time.perf_counter() - began) * 1000
    cost = (store.counts["put"] * WRITE_USD + (store.counts["head"] + count) * READ_USD) / count * 1000
    await house.close()
    return [
        f"{snapshot / 1e6:.2f} MB",
        f"{len(log) / count:.2f}",
        f"{store.counts['get'] / count:.2f}",
        f"{statistics.mean(log):.0f}",
        f"{percentile(beyond, 0.5) * 1000:.2f}",
        f"{percentile(beyond, 0.99) * 1000:.2f}",
        f"{snapshot:,}",
        f"{packed:,} (+{zstd_ms:.0f} ms)",
        f"${cost:.5f}",
    ]


async def cold_opens(delay_s: float, folder: Path) -> list[list[str]]:
    """Rows of the table of cold opens of 1 MB."""
    rows = []
    for deltas in (0, 1, 8, 31):
        store = DelayedStore(0)
        house = House(store, folder / f"from-{deltas}")
        await house.found("u", 1_000_000)
        await house.publish("u", store)
        for number in range(deltas):
            await house.commit("u", *gesture(number))
        await house.close()
        store.delay_s = delay_s
        taken = []
        for turn in range(7):
            other = House(store, folder / f"to-{deltas}-{turn}")
            began = time.perf_counter()
            await other.query("u", "SELECT count(*) FROM clips")
            taken.append(time.perf_counter() - began)
            await other.close()
        trips = 1 if deltas == 0 else 2
        median = statistics.median(taken)
        rows.append([str(deltas), f"{median * 1000:.0f}", str(trips), f"{(median - trips * delay_s) * 1000:.0f}"])
    return rows


async def group_throughput(folder: Path) -> list[list[str]]:
    """Commits a second of one database over a store 50 ms away, by how many pages write at once."""
    rows = []
    for pages in (1, 4, 16, 64):
        store = DelayedStore(0)
        house = House(store, folder / f"group-{pages}")
        await house.found("u", 200_000)
        store.delay_s = 0.05
        store.counts.clear()
        until, done = time.perf_counter() + 1.5, 0

        async def page(number: int, house: House = house, until: float = until) -> int:
            count = 0
            while time.perf_counter() < until:
                await house.commit("u", *gesture(number), author=f"page {number}")
                count += 1
            return count

        began = time.perf_counter()
        done = sum(await asyncio.gather(*(page(number) for number in range(pages))))
        rows.append([str(pages), f"{done / (time.perf_counter() - began):.0f}", f"{store.counts['put'] / done:.2f}"])
        await house.close()
    return rows


async def memory(folder: Path) -> list[str]:
    """KB of an open database of 1 MB that was read and written."""
    store = DelayedStore(0)
    house = House(store, folder, open_databases=1000)
    await house.found("u0", 1_000_000)
    await house.publish("u0", store)
    image = store.objects["u0/database.sqlite"]
    await house.close()
    house = House(store, folder / "many", open_databases=1000)
    store.objects.clear()
    process, before, count = psutil.Process(), 0, 60
    for number in range(count + 20):
        name = f"u{number + 1}"
        store.objects[f"{name}/database.sqlite"] = Blob(
            image.body, {**image.metadata, "reel-database": name}, f"e{number}"
        )
        await house.query(name, "SELECT count(*) FROM clips WHERE name LIKE '%7%'")
        await house.commit(name, *gesture(1))
        store.objects.pop(f"{name}/database.sqlite")
        if number == 19:
            before = process.memory_info().rss
    grown = process.memory_info().rss - before
    await house.close()
    return [f"{grown / count / 1024:.0f} KB"]


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints it."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    print(f"\n{title}")
    for row in (heads, *rows):
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))


async def measure(delay_s: float, large: bool, count: int) -> None:
    """Everything."""
    sizes = [200_000, 1_000_000, 10_000_000, *([100_000_000] if large else [])]
    with tempfile.TemporaryDirectory(prefix="bench-dbsync-") as scratch:
        folder = Path(scratch)
        rows = [await warm_commits(size, delay_s, folder / str(size), count) for size in sizes]
        heads: tuple[str, ...] = (
            "database",
            "PUT",
            "GET",
            "bytes",
            "beyond p50 ms",
            "p99 ms",
            "whole file",
            "zstd file",
            "per 1,000",
        )
        table(
            f"one gesture, store at {delay_s * 1000:.0f} ms ({count} commits; cost with a validated read each)",
            heads,
            rows,
        )
        heads = ("deltas", "ms", "round trips", "beyond them ms")
        table(f"cold open of 1 MB, store at {delay_s * 1000:.0f} ms", heads, await cold_opens(delay_s, folder))
        heads = ("pages", "commits/s", "PUT each")
        table("one database, many pages, store at 50 ms", heads, await group_throughput(folder))
        table("memory", ("per open 1 MB database",), [await memory(folder / "memory")])


def main(arguments: list[str]) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.dbsync", description=__doc__)
    parser.add_argument("--delay-ms", type=float, default=30.0)
    parser.add_argument("--commits", type=int, default=200)
    parser.add_argument("--large", action="store_true", help="100 MB too")
    chosen = parser.parse_args(arguments)
    prepare_process()
    uvloop.run(measure(chosen.delay_ms / 1000, chosen.large, chosen.commits))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
