"""Real processes over one bucket: killed at any moment, two at once, started with what others left."""

from __future__ import annotations

import asyncio
import contextlib
import random
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from chassis import ids
from chassis.faults import Fault, Kind
from dbsync.cache_folder import CacheFolder
from dbsync.slots import log_prefix
from tests.dbsync.service import Client, Process, client, process, sql
from tests.fakes.object_store import Fault as StoreFault
from tests.fakes.object_store import ObjectStore

ADD = "INSERT INTO clips VALUES (?, 'x', ?)"
BUMP = "UPDATE totals SET n = n + 1 WHERE id = ?"


def slots_of(bucket: ObjectStore, database: str) -> int:
    """How many versions the log holds."""
    answer = bucket.client().list_objects_v2(Bucket=bucket.bucket, Prefix=log_prefix(database))
    return len(answer.get("Contents", []))


async def struck(bucket: ObjectStore, fault: int) -> None:
    """Until the fault has struck a request."""
    for _ in range(12_000):
        if bucket.faults.struck(fault):
            return
        await asyncio.sleep(0.005)
    raise AssertionError("no request came")


async def until_done(caller: Client, name: str, counter: int, key: str) -> int:
    """Commits with one key until it is known to be done; its version. Only an unknown outcome is tried again."""
    while True:
        try:
            answer = await caller.commit(sql(ADD, name, counter), sql(BUMP, counter), idempotency_key=key, author=name)
            return answer.version
        except Fault as fault:
            if fault.kind not in (Kind.UNAVAILABLE, Kind.TIMEOUT):
                raise
            await asyncio.sleep(0.05)


async def test_killed_in_the_middle_of_a_commit(bucket: ObjectStore, tmp_path: Path, database: str) -> None:
    """kill -9 while the PUT is under way: before it is sent on, and after the store has it."""
    with process(bucket, tmp_path / "cache") as first:
        async with client(first.port, database) as caller:
            await caller.found()
        for number, stage in enumerate(("before", "after"), 1):
            fault = bucket.faults.add(
                StoreFault(stage=stage, delay_s=1.0, method="PUT", key_prefix=log_prefix(database))
            )
            key, name = ids.uuid7(), f"clip {stage}"
            statements = (sql(ADD, name, number), sql(BUMP, 1))
            with process(bucket, tmp_path / f"victim-{number}") as victim:
                async with client(victim.port, database, timeout_s=3.0) as caller:
                    lost = asyncio.create_task(caller.commit(*statements, idempotency_key=key))
                    await struck(bucket, fault)
                    victim.kill()
                    with pytest.raises(Fault):
                        await lost
            bucket.faults.remove(fault)
            async with client(first.port, database) as caller:
                again = await caller.commit(*statements, idempotency_key=key)
                assert again.version == 1 + number
                assert await caller.rows("SELECT n FROM totals WHERE id = 1") == [(number,)]
                assert await caller.rows("SELECT count(*) FROM clips WHERE id = ?", name) == [(1,)]
        with process(bucket, tmp_path / "victim-2") as restarted:  # on what the killed one left, which is wiped
            async with client(restarted.port, database) as caller:
                assert await caller.rows("SELECT n FROM totals WHERE id = 1") == [(2,)]
        assert slots_of(bucket, database) == 3


async def test_a_storm_of_kills(bucket: ObjectStore, tmp_path: Path, database: str) -> None:
    """Two processes, a store that loses answers, one killed again and again: what was acknowledged is there, once."""
    rng = random.Random(5)
    processes = [Process(bucket, tmp_path / f"cache-{n}") for n in range(2)]
    done: dict[str, int] = {}
    try:
        for one in processes:
            one.wait_ready()
        async with client(processes[0].port, database) as caller:
            await caller.found()

        async def page(number: int) -> None:
            for turn in range(12):
                name, key = f"page {number} turn {turn}", ids.uuid7()
                while name not in done:
                    target = rng.choice(processes)
                    async with client(target.port, database, timeout_s=1.0) as caller:
                        with contextlib.suppress(TimeoutError):
                            async with asyncio.timeout(4):
                                done[name] = await until_done(caller, name, 1 + number % 2, key)

        async def killer() -> None:
            for _ in range(3):
                bucket.faults.add(StoreFault(stage="after", drop=True, method="PUT", key_prefix=database, count=2))
                bucket.faults.add(StoreFault(status=429, method="PUT", key_prefix=database, count=2))
                bucket.faults.add(StoreFault(status=503, method="GET", key_prefix=database, count=2))
                await asyncio.sleep(rng.uniform(0.3, 0.6))
                victim = processes[1]
                await asyncio.to_thread(victim.kill)
                processes[1] = Process(bucket, tmp_path / "cache-1")
                await asyncio.to_thread(processes[1].wait_ready)

        await asyncio.gather(killer(), *(page(number) for number in range(4)))
        async with client(processes[0].port, database) as caller:
            names = {name for (name,) in await caller.rows("SELECT id FROM clips")}
            totals = await caller.rows("SELECT sum(n) FROM totals")
        assert names == set(done) and totals == [(len(done),)]
    finally:
        for one in processes:
            one.close()


async def test_two_processes_take_turns(bucket: ObjectStore, tmp_path: Path, database: str) -> None:
    async with AsyncExitStack() as stack:
        callers = []
        for number in range(2):
            started = stack.enter_context(process(bucket, tmp_path / f"cache-{number}"))
            callers.append(await stack.enter_async_context(client(started.port, database)))
        await callers[0].found()

        async def page(number: int) -> list[int]:
            return [
                await until_done(callers[(number + turn) % 2], f"{number}.{turn}", 1, ids.uuid7()) for turn in range(10)
            ]

        versions = [
            version for page_versions in await asyncio.gather(*(page(n) for n in range(4))) for version in page_versions
        ]
        for caller in callers:
            assert await caller.rows("SELECT n FROM totals WHERE id = 1") == [(40,)]
            assert (await caller.head()).version == max(versions) == slots_of(bucket, database)
        # What one has acknowledged, the other's linearizable read sees.
        for turn in range(5):
            await callers[turn % 2].commit(sql("UPDATE totals SET n = ? WHERE id = 2", turn))
            assert await callers[1 - turn % 2].rows("SELECT n FROM totals WHERE id = 2") == [(turn,)]
        # A second author on another process: another row is never stale, the same row is.
        base = (await callers[0].head()).version
        await callers[0].commit(sql("UPDATE clips SET name = 'a' WHERE id = '0.0'"), author="a", base_version=base)
        await callers[1].commit(sql("UPDATE clips SET name = 'b' WHERE id = '0.1'"), author="b", base_version=base)
        with pytest.raises(Fault, match="Somebody else"):
            await callers[1].commit(sql("UPDATE clips SET name = 'b' WHERE id = '0.0'"), author="b", base_version=base)


async def test_orderly_end(bucket: ObjectStore, tmp_path: Path, database: str) -> None:
    with process(bucket, tmp_path / "cache") as started:
        async with client(started.port, database) as caller:
            await caller.found()
            fault = bucket.faults.add(StoreFault(delay_s=0.3, method="PUT", key_prefix=log_prefix(database)))
            under_way = asyncio.create_task(caller.commit(sql(BUMP, 1)))
            await struck(bucket, fault)
            status = asyncio.create_task(asyncio.to_thread(started.stop))
            assert (await under_way).version == 2  # SIGTERM lets it end
            assert await status == 0, started.log()
        assert not (tmp_path / "cache" / "copies").exists()


def test_a_cache_is_wiped(tmp_path: Path) -> None:
    left = tmp_path / "copies" / "00000001"
    left.mkdir(parents=True)
    (left / "db-wal").write_bytes(b"frames of a refused commit")
    (tmp_path / "not-ours").write_text("kept")
    folder = CacheFolder(tmp_path)
    assert list(folder.copies.iterdir()) == [] and (tmp_path / "not-ours").exists()
    with pytest.raises(OSError, match="another process"):
        CacheFolder(tmp_path)
    folder.close()
    CacheFolder(tmp_path).close()


def test_wrong_settings_are_all_named(bucket: ObjectStore, tmp_path: Path) -> None:
    made = Process(bucket, tmp_path / "cache", R2_BUCKET_NAME="", MAX_ROWS="none", STORE_ATTEMPT_SECONDS="60")
    assert made.running.wait(60) == 78
    for text in ("R2_BUCKET_NAME is not set", "MAX_ROWS must be a number", "must not be above COMMIT_SECONDS"):
        assert text in made.log()
    made.close()
