"""Cold opens measured, and the memory of a real service: idle, for each open database, and while it compacts."""

from __future__ import annotations

import asyncio
import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from dbsync import snapshots
from dbsync.requests import Statement
from objectstore.faults import Faults
from objectstore.settings import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY
from reel.dbsync.v1 import dbsync_pb2 as pb
from tests.bench.dbsync_commits import sized
from tests.bench.dbsync_world import World, gesture
from tests.dbsync.service import client, process, sql
from tests.fakes.object_store import BUCKET, ObjectStore

DELTAS = (0, 1, 8, 32)
OPENS = 9
SETTLE_S = 2.0
WARM, OPENED = 20, 60  # databases
CALLS = 200
COMPACTED_BYTES = 100_000_000
WAIT_S = 120.0


@dataclass(frozen=True)
class Service:
    """What a real service took: bytes of memory, and seconds of a commit beyond its PUT as its caller sees it."""

    idle_bytes: int
    database_bytes: float
    beyond_s: list[float]


async def cold_opens(world: World, delay_s: float) -> list[tuple[int, int, float]]:
    """For each count of deltas after the snapshot of 1 MB: round trips, and the median seconds of the first read."""
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "compact_after", lambda page_count: 1 << 30)  # not before it is measured
        for deltas in DELTAS:
            name = f"cold{deltas}"
            house, _ = await sized(world, name, 1_000_000)
            for number in range(deltas):
                await house.commit(name, *gesture(number))
            await house.close()
            world.wire.delay_s = delay_s
            taken = []
            for _ in range(OPENS):
                other = world.house()
                began_s = time.perf_counter()
                await other.query(name, "SELECT count(*) FROM clips")
                taken.append(time.perf_counter() - began_s)
                await other.close()
            found.append((deltas, 1 if deltas == 0 else 2, statistics.median(taken)))
    return found


def rss_bytes(pid: int, name: str = "VmRSS") -> int:
    """Of a process; VmHWM is the most that it has had."""
    match = re.search(rf"^{name}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert match is not None
    return int(match[1]) * 1024


def bucket(world: World) -> ObjectStore:
    """The world's store, as a real service is told of it."""
    return ObjectStore(world.process.endpoint, DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY, BUCKET, world.folder, Faults())


async def service(world: World) -> Service:
    """A real process: idle, then with open databases of 1 MB that were each read and written."""
    house, _ = await sized(world, "many", 1_000_000)
    await house.close()
    blob = world.store.get(snapshots.snapshot_key("many"), 60.0)
    assert blob is not None
    names = [f"many{number}" for number in range(WARM + OPENED)]
    for name in names:
        named = {**blob.metadata, "reel-database": name}
        world.store.replace(snapshots.snapshot_key(name), bytes(blob.body), named, None, 60.0)
    folder = world.folder / "service"
    folder.mkdir()
    with process(bucket(world), folder / "cache") as running:
        pid = running.running.pid
        await asyncio.sleep(SETTLE_S)
        idle = before = rss_bytes(pid)
        async with client(running.port, names[0]) as caller:
            for number, name in enumerate(names):
                if number == WARM:
                    await asyncio.sleep(SETTLE_S)
                    before = rss_bytes(pid)
                each = caller.on(name)
                await each.rows("SELECT count(*) FROM clips WHERE name LIKE '%7%'", schema_version=1)
                await each.commit(*wired(gesture(1)))
            await asyncio.sleep(SETTLE_S)
            grown = rss_bytes(pid) - before
            beyond = []
            for number in range(CALLS):
                began_s = time.perf_counter()
                answer = await caller.commit(*wired(gesture(2 + number)))
                beyond.append(time.perf_counter() - began_s - answer.timing.put_ms / 1000)
    return Service(idle, grown / OPENED, beyond)


def wired(statements: tuple[Statement, ...]) -> list[pb.Statement]:
    """Statements as a caller sends them."""
    return [sql(one.sql, *one.parameters) for one in statements]


async def compaction(world: World) -> tuple[int, int, int, float]:
    """Bytes of a large database, of a real service before it compacts it and at most, and seconds until it was done."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(snapshots, "compact_after", lambda page_count: 1 << 30)
        house, body = await sized(world, "whole", COMPACTED_BYTES)
        for number in range(len(body) // 4096 // 64 + 1):  # as many as make the service compact
            await house.commit("whole", *gesture(number))
        await house.close()
    key = snapshots.snapshot_key("whole")
    first = world.store.head(key, 60.0)
    folder = world.folder / "compacting"
    folder.mkdir()
    with process(bucket(world), folder / "cache", MAX_DATABASE_MIB="256", SQLITE_MEMORY_MIB="320") as running:
        pid = running.running.pid
        before, began_s = rss_bytes(pid), time.perf_counter()
        async with client(running.port, "whole") as caller:
            await caller.rows("SELECT count(*) FROM reels", schema_version=1)
            while (seen := world.store.head(key, 60.0)) is None or first is None or seen.etag == first.etag:
                if time.perf_counter() - began_s > WAIT_S:
                    raise TimeoutError("it was not compacted")
                await asyncio.sleep(0.1)
        return len(body), before, rss_bytes(pid, "VmHWM"), time.perf_counter() - began_s
