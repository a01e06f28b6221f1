"""Open databases: how many, how they are closed and opened again, and what happens beside what."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from chassis import deadlines
from chassis.faults import Fault, Kind
from dbsync import snapshots
from dbsync.clock import SystemClock
from dbsync.databases import Bounds, Databases
from dbsync.gate import GateVfs
from dbsync.local_copy import Pools
from dbsync.pages import Body
from dbsync.requests import CommitRequest, CommitResult, QueryRequest, QueryResult
from dbsync.sqlguard import Broken, Limits
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.world import DATABASE, FAST, SCHEMA, add_clip, migration, rename_clip, request, sql


class SlowStore(MemoryStore):
    """Holds writes to the log while `gate` is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.gate.set()
        self.held = threading.Event()

    def create(self, key: str, body: Body, timeout_s: float) -> bool:
        self.held.set()
        assert self.gate.wait(60)
        return super().create(key, body, timeout_s)


class Hall:
    """The databases of one process over a store in memory."""

    def __init__(self, folder: Path, store: MemoryStore | None = None, **bounds: Any) -> None:
        self.store = store or SlowStore()
        self.tasks: set[asyncio.Task[None]] = set()
        self.pools = Pools(*(ThreadPoolExecutor(4) for _ in range(3)))
        self.vfs = GateVfs()
        self.all = Databases(
            self.store,
            SystemClock(),
            self.vfs,
            folder,
            self.pools,
            limits=Limits(),
            bounds=Bounds(**bounds),
            patience=FAST,
            spawn=self.spawn,
        )

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        with deadlines.unbounded():
            task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def commit(self, one: CommitRequest, database: str = DATABASE) -> CommitResult:
        async with self.all.use(database) as found:
            return (await found.commit(one))[0]

    async def query(self, text: str, database: str = DATABASE, **fields: Any) -> QueryResult:
        async with self.all.use(database) as found:
            return (await found.query(QueryRequest(database, (sql(text),), **fields)))[0]

    async def settle(self) -> None:
        """Until nothing runs in the background."""
        while self.tasks:
            await asyncio.gather(*self.tasks)

    async def close(self) -> None:
        await self.all.close()
        await self.settle()
        self.vfs.unregister()


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    made = Hall(tmp_path)
    yield made
    await made.close()


def elsewhere(hall: Hall, folder: Path) -> Hall:
    """Another process over the same store."""
    return Hall(folder / "elsewhere", hall.store)


async def test_the_least_used_is_closed(tmp_path: Path) -> None:
    hall = Hall(tmp_path, open_databases=3)
    for number in range(8):
        assert (await hall.query("SELECT 1", f"u{number}")).version == 0
        await hall.settle()
        assert hall.all.count <= 3 and len(list(tmp_path.iterdir())) <= 3
    await hall.query("SELECT 1", "u5")
    await hall.query("SELECT 1", "u9")
    assert set(hall.all._open) == {"u7", "u5", "u9"}
    await hall.close()
    assert not list(tmp_path.iterdir())


async def test_too_many_in_use(tmp_path: Path) -> None:
    hall = Hall(tmp_path, open_databases=2)
    async with hall.all.use("a"), hall.all.use("b"):
        with pytest.raises(Fault, match="Too many databases"):
            await hall.query("SELECT 1", "c")
    assert (await hall.query("SELECT 1", "c")).version == 0
    await hall.close()


async def test_what_waits_joins_the_next_write(hall: Hall) -> None:
    await hall.commit(migration(1, *SCHEMA))
    store = hall.store
    assert isinstance(store, SlowStore)
    store.gate.clear()
    store.held.clear()
    first = asyncio.create_task(hall.commit(add_clip("first")))
    assert await asyncio.to_thread(store.held.wait, 60)
    others = [asyncio.create_task(hall.commit(add_clip(f"{n}"))) for n in range(20)]
    await asyncio.sleep(0.02)
    # Readers see the version before, at once, while the writes wait for the store.
    assert (await hall.query("SELECT count(*) FROM clips")).results[0].rows == ((0,),)
    store.gate.set()
    assert (await first).version == 2
    assert {answer.version for answer in await asyncio.gather(*others)} == {3}
    assert (await hall.query("SELECT count(*) FROM clips")).results[0].rows == ((21,),)


async def test_a_queue_has_an_end(tmp_path: Path) -> None:
    hall = Hall(tmp_path, waiting_commits=3)
    await hall.commit(migration(1, *SCHEMA))
    assert isinstance(hall.store, SlowStore)
    hall.store.gate.clear()
    hall.store.held.clear()
    first = asyncio.create_task(hall.commit(add_clip("first")))
    assert await asyncio.to_thread(hall.store.held.wait, 60)
    waiting = [asyncio.create_task(hall.commit(add_clip(f"{n}"))) for n in range(3)]
    await asyncio.sleep(0.01)
    with pytest.raises(Fault, match="Too many writes"):
        await hall.commit(add_clip("one more"))
    hall.store.gate.set()
    await asyncio.gather(first, *waiting)
    await hall.close()


async def test_a_caller_who_goes_away(hall: Hall) -> None:
    await hall.commit(migration(1, *SCHEMA))
    assert isinstance(hall.store, SlowStore)
    hall.store.gate.clear()
    hall.store.held.clear()
    gone, late = add_clip("gone"), add_clip("late")
    first = asyncio.create_task(hall.commit(gone))
    assert await asyncio.to_thread(hall.store.held.wait, 60)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    with pytest.raises(Fault) as caught, deadlines.scope(0.15):
        await hall.commit(late)
    assert caught.value.reason == "deadline_exceeded"  # never begun
    hall.store.gate.set()
    assert (await hall.commit(gone)).replayed  # it went on without its caller
    assert (await hall.commit(late)).version == 3


async def test_a_deadline_during_the_write_is_unknown(hall: Hall) -> None:
    await hall.commit(migration(1, *SCHEMA))
    assert isinstance(hall.store, SlowStore)
    hall.store.gate.clear()
    one = add_clip("a")
    with pytest.raises(Fault) as caught, deadlines.scope(0.6):
        await hall.commit(one)
    assert caught.value.reason == "outcome_unknown"
    hall.store.gate.set()
    assert (await hall.commit(one)).replayed


async def test_a_read_sees_what_others_acknowledged(hall: Hall, tmp_path: Path) -> None:
    other = elsewhere(hall, tmp_path)
    await hall.commit(migration(1, *SCHEMA))
    for number in range(10):
        await other.commit(add_clip(f"{number}"))
        assert (await hall.query("SELECT count(*) FROM clips")).results[0].rows == ((number + 1,),)
    version = (await other.commit(add_clip("x"))).version
    assert (await hall.query("SELECT count(*) FROM clips", min_version=3)).version == 11
    assert (await hall.query("SELECT count(*) FROM clips", min_version=version)).version == version
    await other.close()


async def test_a_local_read_notices_a_migration_elsewhere(hall: Hall, tmp_path: Path) -> None:
    other = elsewhere(hall, tmp_path)
    await hall.commit(migration(1, *SCHEMA))
    await hall.query("SELECT 1")
    await other.commit(migration(2, "ALTER TABLE clips ADD COLUMN note TEXT"))
    assert (await hall.query("SELECT note FROM clips", min_version=1, schema_version=2)).version == 2
    with pytest.raises(Fault, match="schema version 2"):
        await hall.query("SELECT note FROM clips", min_version=1, schema_version=3)
    await other.close()


async def test_a_warm_read_is_one_get(hall: Hall) -> None:
    await hall.commit(migration(1, *SCHEMA))
    await hall.query("SELECT 1")
    hall.store.counts.clear()
    await hall.query("SELECT 1")
    assert hall.store.counts == {"get": 1}
    hall.store.counts.clear()
    await hall.query("SELECT 1", min_version=1)
    assert not hall.store.counts


async def test_a_cold_read_is_a_list_and_a_get(hall: Hall, tmp_path: Path) -> None:
    await hall.commit(migration(1, *SCHEMA))
    async with hall.all.use(DATABASE) as found:
        image = found.opened.committer.replica.image()  # type: ignore[union-attr]
    snapshots.publish(hall.store, DATABASE, image, 1)
    other = elsewhere(hall, tmp_path)
    hall.store.counts.clear()
    assert (await other.query("SELECT count(*) FROM clips")).version == 1
    assert hall.store.counts == {"get": 1, "list": 1}
    await other.close()


async def test_compaction_in_the_background(hall: Hall, tmp_path: Path) -> None:
    await hall.commit(migration(1, *SCHEMA))
    for number in range(70):
        await hall.commit(add_clip(f"{number}"))
    await hall.settle()
    blob = hall.store.objects[snapshots.snapshot_key(DATABASE)]
    assert int(blob.metadata["reel-version"]) >= 64
    other = elsewhere(hall, tmp_path)
    hall.store.counts.clear()
    assert (await other.query("SELECT count(*) FROM clips")).results[0].rows == ((70,),)
    assert hall.store.counts["get"] <= 1 + 8
    await other.close()


async def test_an_image_while_commits_go_on(hall: Hall) -> None:
    await hall.commit(migration(1, *SCHEMA))
    async with hall.all.use(DATABASE) as found:
        replica = found.opened.committer.replica  # type: ignore[union-attr]
    done = asyncio.Event()

    async def writing() -> None:
        for number in range(60):
            await hall.commit(add_clip(f"{number}"))
        done.set()

    writer = asyncio.create_task(writing())
    versions = []
    while not done.is_set():
        with contextlib.suppress(Broken):  # in the moment between SQLite's publication and ours
            versions.append((await asyncio.to_thread(replica.image)).version)
    await writer
    assert versions == sorted(versions) and len(set(versions)) > 3 and not replica.broken


async def test_a_broken_copy_is_opened_again(hall: Hall) -> None:
    await hall.commit(migration(1, *SCHEMA))
    for use in (lambda: hall.query("SELECT count(*) FROM clips"), lambda: hall.commit(add_clip("a"))):
        async with hall.all.use(DATABASE) as found:
            connection, _ = found.opened.committer.replica.writer()  # type: ignore[union-attr]
            connection.execute("INSERT INTO clips VALUES ('past', 'the gate', 1)")
        await use()
    assert (await hall.query("SELECT id FROM clips")).results[0].rows == (("a",),)


async def test_an_unrelated_edit_is_never_stale(hall: Hall, tmp_path: Path) -> None:
    """Two pages on two processes, hot: each its own rows, and no conflict; the same row, and one of them is stale."""
    halls = (hall, elsewhere(hall, tmp_path))
    await hall.commit(migration(1, *SCHEMA))
    await hall.commit(request(*(sql("INSERT INTO clips VALUES (?, 'x', 1)", f"{n}") for n in range(20))))

    async def page(number: int) -> None:
        base = 2
        for turn in range(25):
            clip = f"{turn % 10 * 2 + number}"
            one = rename_clip(clip, f"{turn}", author=f"page {number}", base_version=base)
            base = (await halls[(number + turn) % 2].commit(one)).base_version

    await asyncio.gather(page(0), page(1))
    for turn in range(10):
        base = (await hall.query("SELECT 1")).version
        outcomes = await asyncio.gather(
            *(
                halls[n].commit(rename_clip("7", f"{turn} {n}", author=f"page {n}", base_version=base))
                for n in range(2)
            ),
            return_exceptions=True,
        )
        assert sorted(type(one).__name__ for one in outcomes) == ["CommitResult", "Conflict"]
    await halls[1].close()


async def test_a_bug_costs_the_copy_and_nothing_else(hall: Hall) -> None:
    await hall.commit(migration(1, *SCHEMA))
    async with hall.all.use(DATABASE) as found:
        opened = found.opened
    assert opened is not None
    begin = opened.committer.replica.begin

    def out_of_memory(*, foreign_keys: bool = True) -> None:
        begin(foreign_keys=foreign_keys)
        raise MemoryError("in the middle")

    opened.committer.replica.begin = out_of_memory  # type: ignore[method-assign, assignment]
    one = add_clip("a")
    with pytest.raises(Fault) as caught:
        await hall.commit(one)
    assert caught.value.reason == "outcome_unknown"
    assert (await hall.commit(one)).version == 2 and opened.committer.replica.broken


async def test_many_at_once(hall: Hall, tmp_path: Path) -> None:
    """Two processes, many tasks, no coordination: every increment is there."""
    other = elsewhere(hall, tmp_path)
    await hall.commit(
        migration(1, *SCHEMA, "CREATE TABLE n (id INTEGER PRIMARY KEY, v INT)", "INSERT INTO n VALUES (1, 0)")
    )

    async def page(number: int) -> None:
        here = (hall, other)[number % 2]
        for _ in range(5):
            before = await here.query("SELECT v FROM n")
            answer = await here.commit(request(sql("UPDATE n SET v = v + 1 RETURNING v", rows=1)))
            after = await here.query("SELECT v FROM n", min_version=answer.version)
            assert before.results[0].rows[0][0] < answer.results[0].rows.rows[0][0] <= after.results[0].rows[0][0]  # type: ignore[operator]

    await asyncio.gather(*(page(number) for number in range(12)))
    for one in (hall, other):
        assert (await one.query("SELECT v FROM n")).results[0].rows == ((60,),)
    await other.close()


async def test_what_comes_after_the_end(hall: Hall) -> None:
    await hall.commit(migration(1, *SCHEMA))
    assert isinstance(hall.store, SlowStore)
    hall.store.gate.clear()
    hall.store.held.clear()
    under_way = asyncio.create_task(hall.commit(add_clip("under way")))
    assert await asyncio.to_thread(hall.store.held.wait, 60)
    late = asyncio.create_task(hall.commit(add_clip("late")))
    await asyncio.sleep(0.01)
    ending = asyncio.create_task(hall.all.close())
    await asyncio.sleep(0.01)
    hall.store.gate.set()
    assert (await under_way).version == 2
    with pytest.raises(Fault) as caught:
        await late
    assert caught.value.kind is Kind.UNAVAILABLE
    await ending
    await hall.settle()


async def test_a_late_probe_does_not_excuse_an_older_read(tmp_path: Path) -> None:
    hall = Hall(tmp_path)
    other = elsewhere(hall, tmp_path)
    await hall.commit(migration(1, *SCHEMA))
    await hall.query("SELECT 1")
    acknowledged = (await other.commit(add_clip("a"))).version
    release = threading.Event()
    for _ in range(4):
        hall.pools.fetchers.submit(release.wait, 60)
    read = asyncio.create_task(hall.query("SELECT count(*) FROM clips"))  # reads its copy; its probe waits for a thread
    await asyncio.sleep(0.05)
    await hall.query("SELECT 1", min_version=acknowledged)  # meanwhile the copy catches up
    release.set()
    assert (await read).version == acknowledged
    await other.close()
    await hall.close()
