"""What is done to the whole of a database, beside the commits and reads of everybody else."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from chassis import deadlines
from chassis.faults import Fault, Kind
from dbsync import snapshots
from dbsync.pages import Body
from dbsync.requests import HistoryRequest
from dbsync.restore import RestoreResult
from dbsync.slots import Blob, Undecided
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.restoring import back_to
from tests.dbsync.test_databases import Hall, elsewhere
from tests.dbsync.test_quarantine import alarms
from tests.dbsync.world import DATABASE, SCHEMA, add_clip, migration

NEWEST = snapshots.snapshot_key(DATABASE)


class HeldStore(MemoryStore):
    """Holds requests for keys that contain `held` until `release` is set, and counts those inside."""

    def __init__(self) -> None:
        super().__init__()
        self.held = ""
        self.release = threading.Event()
        self.arrived = threading.Event()
        self.inside = 0
        self.most = 0
        self.refuse = ""  # requests to write to keys that contain it are not answered

    def _pass(self, key: str) -> None:
        if not self.held or self.held not in key:
            return
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        self.arrived.set()
        assert self.release.wait(20)
        with self._lock:
            self.inside -= 1

    def get(self, key: str, timeout_s: float) -> Blob | None:
        self._pass(key)
        return super().get(key, timeout_s)

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        self._pass(prefix)
        return super().list_keys(prefix, after, timeout_s)

    def replace(
        self, key: str, body: Body, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        if self.refuse and self.refuse in key:
            raise Undecided("503")
        self._pass(key)
        return super().replace(key, body, metadata, expected, timeout_s)


@pytest.fixture
async def hall(tmp_path: Path) -> AsyncIterator[Hall]:
    """A process over a store that can be held."""
    made = Hall(tmp_path, HeldStore(), snapshot_every=40)
    yield made
    store_of(made).release.set()
    await made.close()


def store_of(hall: Hall) -> HeldStore:
    """Its store."""
    assert isinstance(hall.store, HeldStore)
    return hall.store


async def filled(hall: Hall, versions: int, database: str = DATABASE) -> None:
    """So many versions, one clip in each after the first."""
    await hall.commit(replace(migration(1, *SCHEMA), database=database), database)
    for number in range(versions - 1):
        await hall.commit(replace(add_clip(f"{number}"), database=database), database)


async def restored(hall: Hall, version: int, database: str = DATABASE, **fields: Any) -> RestoreResult:
    async with hall.all.use(database) as found:
        return (await found.restore(replace(back_to(version, **fields), database=database)))[0]


async def deleted(hall: Hall) -> int:
    async with hall.all.use(DATABASE) as found:
        return (await found.delete())[0]


async def snapshot(hall: Hall) -> snapshots.Download:
    async with hall.all.use(DATABASE) as found:
        return (await found.snapshot("clips.sqlite", 60))[0]


async def count(hall: Hall, **fields: Any) -> Any:
    """How many clips there are."""
    return (await hall.query("SELECT count(*) FROM clips", **fields)).results[0].rows[0][0]


def kept(store: MemoryStore) -> dict[str, int]:
    """The snapshots that are kept, and their versions."""
    return {key: snapshots.version_of(blob.metadata) for key, blob in store.objects.items() if "/snap/" in key}


async def test_one_is_kept_of_every_era(hall: Hall) -> None:
    await filled(hall, 39)
    await hall.settle()
    assert not kept(hall.store)  # the first versions are quickly read
    for number in range(120):
        await hall.commit(add_clip(f"later {number}"))
        await hall.settle()
    found = kept(hall.store)
    assert set(found) == {snapshots.kept_key(DATABASE, first) for first in (40, 80, 120)}
    assert all(first <= found[snapshots.kept_key(DATABASE, first)] < first + 40 for first in (40, 80, 120))
    first = dict(hall.store.objects)
    for number in range(30):
        await hall.commit(add_clip(f"last {number}"))
    assert all(hall.store.objects[key] is first[key] for key in found)  # never written again


async def test_what_could_not_be_kept_is_tried_again(hall: Hall) -> None:
    store_of(hall).refuse = "/snap/"
    await filled(hall, 70)
    await hall.settle()
    assert not kept(hall.store) and NEWEST in hall.store.objects
    store_of(hall).refuse = ""
    for number in range(10):
        await hall.commit(add_clip(f"more {number}"))
    for number in range(30):
        await hall.commit(add_clip(f"and more {number}"))
    await hall.settle()
    assert len(kept(hall.store)) == 1


async def test_a_bad_snapshot_is_replaced(hall: Hall, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await filled(hall, 40)
    await hall.settle()
    bad = replace(hall.store.objects[NEWEST], body=b"bad", etag='"bad"')
    hall.store.objects[NEWEST] = replace(bad, metadata={**bad.metadata, "reel-version": "1000"})
    other = elsewhere(hall, tmp_path)
    assert await count(other) == 39
    await other.settle()
    assert snapshots.version_of(hall.store.objects[NEWEST].metadata) == 40
    hall.store.counts.clear()
    third = Hall(tmp_path / "third", hall.store)
    assert await count(third) == 39 and hall.store.counts["get"] == 1
    assert [alarm for alarm, _ in alarms(caplog)] == ["snapshot_refused"]
    await third.close()
    await other.close()


async def test_a_restore_holds_nobody_up(hall: Hall) -> None:
    """While the old version is fetched and built, commits and reads go on; then it comes after them."""
    await filled(hall, 10)
    store = store_of(hall)
    store.held = "/snap/"
    restoring = asyncio.create_task(restored(hall, 4))
    await asyncio.to_thread(store.arrived.wait, 5)
    async with asyncio.timeout(20):
        for number in range(3):
            await hall.commit(add_clip(f"meanwhile {number}"))
        assert await count(hall) == 12
    store.release.set()
    assert (await restoring).version == 14 and await count(hall) == 3


async def test_a_restore_whose_caller_goes_away(hall: Hall) -> None:
    await filled(hall, 10)
    store, asked = store_of(hall), back_to(4)
    store.held = "/snap/"

    async def call() -> RestoreResult:
        async with hall.all.use(DATABASE) as found:
            return (await found.restore(asked))[0]

    gone = asyncio.create_task(call())
    await asyncio.to_thread(store.arrived.wait, 5)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    with pytest.raises(Fault) as caught, deadlines.scope(0.2):
        await call()
    assert caught.value.reason == "outcome_unknown"
    store.release.set()
    await hall.settle()
    again = await call()
    assert (again.version, again.replayed) == (11, True) and await count(hall) == 3


async def test_few_whole_databases_at_once(tmp_path: Path) -> None:
    hall = Hall(tmp_path, HeldStore(), whole_at_once=2)
    store = store_of(hall)
    names = [f"u{number}" for number in range(5)]
    for name in names:
        await filled(hall, 3, name)
    store.held = "/snap/"
    tasks = [asyncio.create_task(restored(hall, 2, name)) for name in names]
    await asyncio.to_thread(store.arrived.wait, 5)
    for _ in range(20):
        await asyncio.sleep(0.005)
        assert store.inside <= 2
    store.release.set()
    assert [result.version for result in await asyncio.gather(*tasks)] == [4] * 5
    assert store.most == 2
    await hall.close()


async def test_a_restore_elsewhere_is_seen(hall: Hall, tmp_path: Path) -> None:
    other = elsewhere(hall, tmp_path)
    await filled(hall, 8)
    assert await count(other) == 7
    assert (await restored(other, 3)).version == 9
    assert await count(hall) == 2 and await count(hall, min_version=9) == 2
    await other.close()


async def test_a_restored_database_is_compacted(hall: Hall, tmp_path: Path) -> None:
    await filled(hall, 33)
    await restored(hall, 5)
    await hall.settle()
    assert snapshots.version_of(hall.store.objects[NEWEST].metadata) >= 32
    other = elsewhere(hall, tmp_path)
    assert await count(other) == 4
    await other.close()


async def test_a_snapshot_to_download(hall: Hall, tmp_path: Path) -> None:
    with pytest.raises(Fault) as caught:
        await snapshot(hall)
    assert (caught.value.kind, caught.value.reason) == (Kind.NOT_FOUND, "no_such_version")
    await filled(hall, 10)
    found = await snapshot(hall)
    blob = hall.store.objects[NEWEST]
    assert (found.version, found.size_bytes) == (10, len(blob.body)) and NEWEST in found.url
    file = tmp_path / "download.sqlite"
    file.write_bytes(blob.body)
    with sqlite3.connect(file) as opened:
        assert opened.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert opened.execute("PRAGMA journal_mode").fetchone() == ("delete",)
        assert opened.execute("SELECT count(*) FROM clips").fetchone() == (9,)
    writes = hall.store.counts["put"]
    assert (await snapshot(hall)).version == 10 and hall.store.counts["put"] == writes  # it is new enough


async def test_a_snapshot_has_what_others_acknowledged(hall: Hall, tmp_path: Path) -> None:
    other = elsewhere(hall, tmp_path)
    await filled(hall, 3)
    assert (await snapshot(hall)).version == 3
    for number in range(4):
        acknowledged = (await other.commit(add_clip(f"theirs {number}"))).version
        assert (await snapshot(hall)).version >= acknowledged
    await other.close()


async def test_a_snapshot_that_cannot_be_put(hall: Hall) -> None:
    await filled(hall, 3)
    store_of(hall).refuse = NEWEST
    with pytest.raises(Fault) as caught:
        await snapshot(hall)
    assert (caught.value.kind, caught.value.reason) == (Kind.UNAVAILABLE, "store_unavailable")


async def test_after_the_end_everything_says_so(hall: Hall, tmp_path: Path) -> None:
    await filled(hall, 6)
    fresh = elsewhere(hall, tmp_path)
    assert await deleted(hall) == 7
    for one in (hall, fresh):
        for _ in range(2):
            for call in (
                one.commit(add_clip("late")),
                one.query("SELECT 1"),
                one.query("SELECT 1", min_version=1),
                restored(one, 2),
                snapshot(one),
                _history(one),
                _head(one),
            ):
                with pytest.raises(Fault) as caught:
                    await call
                assert (caught.value.kind, caught.value.reason) == (Kind.NOT_FOUND, "database_deleted")
        assert await deleted(one) == 7
        assert not list(one.all._folder.glob("0*"))  # its copy is gone from the disk
    await fresh.close()


async def _history(hall: Hall) -> None:
    async with hall.all.use(DATABASE) as found:
        await found.history(HistoryRequest(DATABASE))


async def _head(hall: Hall) -> None:
    async with hall.all.use(DATABASE) as found:
        await found.head()


async def test_a_warm_copy_elsewhere_learns_of_the_end(hall: Hall, tmp_path: Path) -> None:
    """Until it next asks the log it may answer local reads from what it has; then never again."""
    for number, learn in enumerate((lambda h: h.query("SELECT 1"), lambda h: h.commit(add_clip("x")), _head, _history)):
        database_hall = Hall(tmp_path / f"{number}", HeldStore())
        other = elsewhere(database_hall, tmp_path / f"{number}")
        await filled(database_hall, 6)
        assert await count(other) == 5
        await deleted(database_hall)
        assert await count(other, min_version=3) == 5
        with pytest.raises(Fault) as caught:
            await learn(other)
        assert caught.value.reason == "database_deleted"
        with pytest.raises(Fault) as caught:
            await count(other, min_version=3)
        assert caught.value.reason == "database_deleted"
        await other.close()
        await database_hall.close()


async def test_a_compaction_that_meets_the_end(hall: Hall, tmp_path: Path) -> None:
    """The image is taken, the database is deleted elsewhere, and only then does the snapshot go out."""
    other = elsewhere(hall, tmp_path)
    store = store_of(hall)
    await filled(hall, 31)
    store.held = NEWEST
    await hall.commit(add_clip("one more"))
    await hall.commit(add_clip("and one"))
    await asyncio.to_thread(store.arrived.wait, 5)  # it has looked, and is about to write
    store.held = ""
    assert await deleted(other) == 34
    before = dict(store.objects)
    store.release.set()
    await hall.settle()
    assert store.objects == before
    with pytest.raises(Fault) as caught:
        await snapshot(hall)
    assert caught.value.reason == "database_deleted"
    await other.close()


async def test_waiting_commits_are_told_of_the_end(hall: Hall) -> None:
    await filled(hall, 3)
    commits = [asyncio.create_task(hall.commit(add_clip(f"{number} waits"))) for number in range(20)]
    version = await deleted(hall)
    answers = await asyncio.gather(*commits, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, Fault):
            assert answer.reason == "database_deleted"
        else:
            assert not isinstance(answer, BaseException) and answer.version < version
