"""Commits measured: operations, bytes, time beyond the PUT, cost, and many pages at once; beside the rivals."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass

from dbsync import snapshots
from tests.bench.dbsync_rivals import WholeFile
from tests.bench.dbsync_world import House, World, gesture, percentile, timed

WRITE_USD, READ_USD = 4.50 / 1e6, 0.36 / 1e6  # R2's class A (PUT, LIST) and class B (GET, HEAD)
GROUP_DELAY_S = 0.05
GROUP_S = 2.0
PRICED = 1000


@dataclass(frozen=True)
class Writes:
    """What a gesture cost one contender at one size. Times in seconds; `beyond` is the total less its own PUT.

    `processor_s` is of this process for each, with the sending of its PUT: how busy the machine is matters less to it.
    """

    who: str
    database_bytes: int
    puts: float
    gets: float
    sent_bytes: float
    beyond: list[float]
    total: list[float]
    processor_s: float


async def sized(world: World, name: str, size_bytes: int) -> tuple[House, bytes]:
    """A process that has just opened a database of that size, and the database's file."""
    world.wire.delay_s = 0.0
    first = world.house()
    await first.found(name, size_bytes)
    await first.close()
    blob = await world.run(lambda: world.store.get(snapshots.snapshot_key(name), 60.0))
    house = world.house()
    await house.query(name, "SELECT count(*) FROM clips")
    return house, bytes(blob.body)


async def commits(world: World, size_bytes: int, delay_s: float, count: int, rival_count: int) -> list[Writes]:
    """dbsync, the bare PUT of as many bytes, and the rivals, one after the other over the same wire."""
    name = f"u{size_bytes}"
    house, body = await sized(world, name, size_bytes)
    mine = await dbsync_commits(world, house, name, len(body), delay_s, count)
    await house.close()
    world.wire.delay_s = delay_s
    bare = await bare_puts(world, len(body), round(mine.sent_bytes), count)
    rivals = [await whole_file(world, body, delay_s, rival_count, packed=packed) for packed in (False, True)]
    return [mine, bare, *rivals]


async def dbsync_commits(
    world: World, house: House, name: str, database_bytes: int, delay_s: float, count: int
) -> Writes:
    """A page that edits: its next gesture begins when the last was answered. Compactions happen as they are due."""
    base = (await house.commit(name, *gesture(0)))[0].version
    world.wire.delay_s = delay_s
    world.wire.asked.clear()
    total, beyond, used_s = [], [], time.process_time()
    for number in range(1, count + 1):
        seen = len(world.wire.asked)
        began_s = time.perf_counter()
        answer, _ = await house.commit(name, *gesture(number), author="page", base_version=base)
        total.append(time.perf_counter() - began_s)
        own = [one.seconds for one in world.wire.asked[seen:] if one.method == "PUT" and "/db/" in one.key]
        beyond.append(total[-1] - sum(own))
        base = answer.base_version
    used_s = (time.process_time() - used_s) / count
    log = [one for one in world.wire.asked if "/db/" in one.key]
    puts = [one.sent_bytes for one in log if one.method == "PUT"]
    await house.settle()
    others = sum(one.method == "GET" for one in log)
    return Writes(
        "dbsync", database_bytes, len(puts) / count, others / count, statistics.mean(puts), beyond, total, used_s
    )


async def bare_puts(world: World, database_bytes: int, size_bytes: int, count: int) -> Writes:
    """The floor: put-if-absent of as many bytes, and nothing else."""
    body, total, used_s = bytes(size_bytes), [], time.process_time()
    for number in range(count):
        key = f"floor/{database_bytes}/{number}"
        total.append(await timed(world.run(lambda key=key: world.store.create(key, body, 60.0))))  # type: ignore[misc]
    return Writes("bare PUT", database_bytes, 1, 0, size_bytes, [], total, (time.process_time() - used_s) / count)


async def whole_file(world: World, body: bytes, delay_s: float, count: int, *, packed: bool) -> Writes:
    """A rival."""
    who = "zstd file" if packed else "whole file"
    rival = WholeFile(world.wire, f"{who.split()[0]}/{len(body)}", world.folder / "rival.db", packed=packed)
    world.wire.delay_s = 0.0
    await world.run(lambda: rival.found(body))
    world.wire.delay_s = delay_s
    world.wire.asked.clear()
    total, beyond, used_s = [], [], time.process_time()
    for number in range(count):
        total.append(await timed(world.run(lambda n=number: rival.commit(gesture(n)))))  # type: ignore[misc]
        beyond.append(total[-1] - world.wire.asked[-1].seconds)
    used_s = (time.process_time() - used_s) / count
    rival.close()
    sent = statistics.mean(one.sent_bytes for one in world.wire.asked)
    return Writes(who, len(body), len(world.wire.asked) / count, 0, sent, beyond, total, used_s)


def shown(writes: Writes) -> list[str]:
    """A row of the table."""

    def ms(values: list[float], share: float) -> str:
        return f"{percentile(values, share) * 1000:.1f}" if values else ""

    return [
        f"{writes.database_bytes / 1e6:.1f} MB",
        writes.who,
        f"{writes.puts:.2f}",
        f"{writes.gets:.2f}",
        f"{writes.sent_bytes:,.0f}",
        ms(writes.total, 0.5),
        ms(writes.total, 0.99),
        ms(writes.beyond, 0.5),
        ms(writes.beyond, 0.99),
        f"{writes.processor_s * 1000:.1f}",
        str(len(writes.total)),
    ]


async def cost(world: World) -> list[list[str]]:
    """Dollars for 1,000 commits of 1 MB with a validated read each: what was asked of the store, at its prices."""
    house, body = await sized(world, "priced", 1_000_000)
    world.wire.asked.clear()
    for number in range(PRICED):
        await house.commit("priced", *gesture(number))
        await house.query("priced", "SELECT count(*) FROM reels")
    await house.settle()
    rows = [_priced("dbsync", world, PRICED)]
    await house.close()
    for packed in (False, True):
        rival = WholeFile(world.wire, f"priced/{packed}", world.folder / "priced.db", packed=packed)
        await world.run(lambda rival=rival: rival.found(body))  # type: ignore[misc]
        world.wire.asked.clear()
        for number in range(PRICED // 20):
            await world.run(lambda rival=rival, n=number: (rival.commit(gesture(n)), rival.refresh()))  # type: ignore[misc]
        rows.append(_priced("zstd file" if packed else "whole file", world, PRICED // 20))
        rival.close()
    return rows


def _priced(who: str, world: World, count: int) -> list[str]:
    counts = world.wire.counts()
    per = PRICED / count
    dollars = ((counts["PUT"] + counts["LIST"]) * WRITE_USD + (counts["GET"] + counts["HEAD"]) * READ_USD) * per
    sent = sum(one.sent_bytes for one in world.wire.asked) * per
    numbers = [f"{counts[name] * per:.0f}" for name in ("PUT", "LIST", "GET", "HEAD")]
    return [who, *numbers, f"{sent / 1e6:.0f} MB", f"${dollars:.5f}"]


async def groups(world: World) -> list[list[str]]:
    """Commits a second of one database, by how many pages write at once."""
    rows = []
    for pages in (1, 4, 16, 64):
        name = f"group{pages}"
        house, _ = await sized(world, name, 200_000)
        world.wire.delay_s = GROUP_DELAY_S
        world.wire.asked.clear()
        until_s = time.perf_counter() + GROUP_S

        async def page(number: int, name: str = name, house: House = house, until_s: float = until_s) -> list[float]:
            took = []
            while time.perf_counter() < until_s:
                took.append(await timed(house.commit(name, *gesture(number), author=f"page {number}")))
                number += 64
            return took

        began_s = time.perf_counter()
        took = [one for page_took in await asyncio.gather(*(page(n) for n in range(pages))) for one in page_took]
        seconds = time.perf_counter() - began_s
        puts = sum(one.method == "PUT" and "/db/" in one.key for one in world.wire.asked)
        p50, p99 = (f"{percentile(took, share) * 1000:.0f}" for share in (0.5, 0.99))
        rows.append([str(pages), f"{len(took) / seconds:.0f}", f"{len(took) / puts:.1f}", p50, p99])
        await house.close()
    return rows
