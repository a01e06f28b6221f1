"""How dbsync scales out: `python -m tests.bench.dbsync_scale [--delay-ms 100] [--seconds 6]`, a part of bench-dbsync.

Real dbsync processes over the embedded object store, which answers after a delay; users with a database each, one
commit after the other, by way of the gateway's own choice of process. What one process can do is bounded by its
threads, each of which waits for the store during a commit, or by its core, whichever is less; what this machine can do
is bounded by its cores, of which the store and the users take a share too. So the processor time of each is shown.

Then one database that everybody writes to: each version has one place, so processes cannot help there. Asked at random
they take each other's place, which is why callers prefer one of them.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import uvloop

from chassis import ids
from chassis.faults import Fault, Kind
from reel.dbsync.v1 import dbsync_pb2 as pb
from tests.bench.dbsync import percentile, table
from tests.chaos.storm.authors import Line
from tests.chaos.storm.fleet import Fleet
from tests.chaos.storm.wire import plain

PROCESSES = (1, 2, 3)
MOST = 3
THREADS = 16  # WRITER_THREADS, by default
USERS = 96
PAGES = 24  # that write to one database
READY_S = 60.0
WARM_S = 1.0
SCHEMA = (
    "CREATE TABLE clips (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, rating INTEGER)",
    "CREATE TABLE totals (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)",
    "INSERT INTO totals VALUES (1, 0)",
)
Write = Callable[[int], Awaitable[None]]


@dataclass
class Measured:
    """What was done in so many seconds, and what it cost."""

    seconds: float
    took_s: list[float]  # of each commit
    dbsync_s: list[float]  # processor time of each process
    store_s: float
    users_s: float
    puts: int
    gets: int

    @property
    def rate(self) -> float:
        """Commits a second."""
        return len(self.took_s) / self.seconds

    def row(self, name: str, one: float) -> list[str]:
        """As a row of the table; `one` is the rate of one process."""
        count = len(self.took_s)
        cores = [seconds / self.seconds for seconds in self.dbsync_s]
        return [
            name,
            f"{self.rate:.0f}",
            f"{self.rate / one:.2f}",
            f"{percentile(self.took_s, 0.5) * 1000:.0f}",
            f"{percentile(self.took_s, 0.99) * 1000:.0f}",
            f"{self.puts / count:.2f}",
            f"{self.gets / count:.2f}",
            " ".join(f"{core:.2f}" for core in cores),
            f"{self.store_s / self.seconds:.2f}",
            f"{self.users_s / self.seconds:.2f}",
            f"{count / sum(self.dbsync_s):.0f}",
        ]


HEADS = (
    "processes",
    "commits/s",
    "of one",
    "p50 ms",
    "p99 ms",
    "PUT each",
    "GET each",
    "cores: dbsync",
    "store",
    "users",
    "commits/core s",
)


class Client:
    """Writes to databases of a fleet."""

    def __init__(self, line: Line) -> None:
        self.line = line

    async def found(self, database: str) -> None:
        """Makes the schema."""
        request = pb.CommitRequest(
            database=database,
            schema_version=0,
            set_schema_version=1,
            statements=[pb.Statement(sql=text) for text in SCHEMA],
            idempotency_key=ids.uuid7(),
        )
        await self.line.call(None, "Commit", request, 30.0)

    async def write(self, database: str, author: str, route: int | None) -> None:
        """One gesture: a row of its own and a count."""
        add = pb.Statement(sql="INSERT INTO clips VALUES (?, 'a clip that somebody made', 3)")
        add.parameters.add(text=ids.uuid7())
        count = pb.Statement(sql="UPDATE totals SET n = n + 1 WHERE id = 1")
        request = pb.CommitRequest(
            database=database,
            schema_version=1,
            statements=[add, count],
            idempotency_key=ids.uuid7(),
            author=author,
        )
        while True:
            try:
                await self.line.call(route, "Commit", request, 30.0)
                return
            except Fault as fault:
                if fault.kind is not Kind.UNAVAILABLE:
                    raise

    async def total(self, database: str, route: int | None) -> int:
        """What was counted."""
        statement = pb.Statement(sql="SELECT n FROM totals")
        answer = await self.line.call(route, "Query", pb.QueryRequest(database=database, statements=[statement]), 30.0)
        return int(plain(answer.results[0].rows[0])[0])


class Bench:
    """A fleet under load."""

    def __init__(self, fleet: Fleet, delay_s: float) -> None:
        self.fleet, self.delay_s = fleet, delay_s
        self.line = Line(fleet)
        self.client = Client(self.line)

    async def begin(self) -> None:
        """Everything answers."""
        self.fleet.start()
        async with asyncio.timeout(READY_S):
            for number in range(self.line.count):
                while not await self.line.ready(number):  # noqa: ASYNC110 (another process)
                    await asyncio.sleep(0.05)

    async def load(self, workers: int, write: Write, seconds: float) -> Measured:
        """So many workers, each with one write after the other; measured once all are warm."""
        took_s: list[float] = []
        measuring = stopping = False

        async def work(number: int) -> None:
            while not stopping:
                began_s = time.perf_counter()
                await write(number)
                if measuring:
                    took_s.append(time.perf_counter() - began_s)

        faults = [self.fleet.arm(delay_s=self.delay_s, method=method, count=None) for method in ("PUT", "GET", "HEAD")]
        working = [asyncio.create_task(work(number)) for number in range(workers)]
        await asyncio.sleep(WARM_S)
        before, put, get = self._cpu(), self.fleet.struck(faults[0]), self.fleet.struck(faults[1])
        began_s, measuring = time.perf_counter(), True
        await asyncio.sleep(seconds)
        measuring, took = False, time.perf_counter() - began_s
        after = self._cpu()
        puts, gets = self.fleet.struck(faults[0]) - put, self.fleet.struck(faults[1]) - get
        stopping = True
        await asyncio.gather(*working)
        self.fleet.calm()
        spent = [end - begin for begin, end in zip(before, after, strict=True)]
        return Measured(took, took_s, spent[2:], spent[1], spent[0], puts, gets)

    def _cpu(self) -> list[float]:
        """Processor seconds of the users, the store, and each dbsync."""
        names = ["objectstore", *(f"dbsync-{number}" for number in range(self.line.count))]
        pids = [os.getpid(), *(self.fleet.pid(name) for name in names)]
        return [sum(psutil.Process(pid).cpu_times()[:2]) for pid in pids]


async def many_users(processes: int, delay_s: float, seconds: float, folder: Path) -> Measured:
    """A database for each user."""
    folder.mkdir()
    fleet = Fleet(folder, processes, more={})
    bench = Bench(fleet, delay_s)
    try:
        await bench.begin()
        await asyncio.gather(*(bench.client.found(f"user-{number}") for number in range(USERS)))
        return await bench.load(USERS, lambda n: bench.client.write(f"user-{n}", f"page {n}", None), seconds)
    finally:
        await bench.line.close()
        fleet.close()


async def one_database(processes: int, preferred: bool, delay_s: float, seconds: float, folder: Path) -> Measured:
    """Pages that all write to one database, each commit through the preferred process or through any."""
    folder.mkdir()
    fleet = Fleet(folder, processes, more={})
    bench = Bench(fleet, delay_s)
    written = 0

    async def write(number: int) -> None:
        nonlocal written
        await bench.client.write("hot", f"page {number}", None if preferred else random.randrange(processes))
        written += 1

    try:
        await bench.begin()
        await bench.client.found("hot")
        measured = await bench.load(PAGES, write, seconds)
        totals = [await bench.client.total("hot", number) for number in range(processes)]
        if totals != [written] * processes:
            raise AssertionError(f"{written} commits were acknowledged, and the processes count {totals}")
        return measured
    finally:
        await bench.line.close()
        fleet.close()


async def measure(delay_s: float, seconds: float, folder: Path) -> None:
    """Both tables."""
    users = [await many_users(count, delay_s, seconds, folder / f"users-{count}") for count in PROCESSES]
    rows = [one.row(str(count), users[0].rate) for count, one in zip(PROCESSES, users, strict=True)]
    cores = os.cpu_count()
    away = f"store at {delay_s * 1000:.0f} ms"
    table(f"{USERS} users with a database each, {away}, {cores} cores for everything", HEADS, rows)
    print(f"  By its {THREADS} writer threads a process can do at most {THREADS / delay_s:.0f} commits/s.")
    ways = ((1, True, "1"), (MOST, True, f"{MOST}, the preferred"), (MOST, False, f"{MOST}, any"))
    hot = [
        await one_database(count, preferred, delay_s, seconds, folder / name.replace(" ", "-"))
        for count, preferred, name in ways
    ]
    rows = [one.row(name, hot[0].rate) for (_, _, name), one in zip(ways, hot, strict=True)]
    table(f"one database, {PAGES} pages, {away}; every process counts each commit once", HEADS, rows)


def main(arguments: list[str]) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.dbsync_scale", description=__doc__)
    parser.add_argument("--delay-ms", type=float, default=100.0)
    parser.add_argument("--seconds", type=float, default=6.0)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="bench-dbsync-scale-") as scratch:
        uvloop.run(measure(chosen.delay_ms / 1000, chosen.seconds, Path(scratch)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
