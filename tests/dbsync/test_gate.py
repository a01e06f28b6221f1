"""The gate itself, on plain SQLite connections."""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from dbsync.gate import Gate, GateVfs
from dbsync.pages import Delta


class Opened:
    """A gated writer and an ungated reader of one file."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "db")
        self.vfs = GateVfs()
        self.gate = Gate()
        self.vfs.add(self.path, self.gate)
        self.deltas: list[Delta] = []
        self.missed = 0
        self.writer = apsw.Connection(self.path, vfs=self.vfs.name)
        self.writer.pragma("journal_mode", "wal")
        self.writer.pragma("synchronous", "full")
        self.writer.wal_autocheckpoint(0)
        self.writer.set_wal_hook(self._published)
        self.reader = apsw.Connection(self.path, flags=apsw.SQLITE_OPEN_READONLY)
        self.commit("CREATE TABLE t (n INTEGER PRIMARY KEY, x TEXT)")

    def _published(self, *_: object) -> int:
        self.missed += not self.gate.published()
        return 0

    def commit(self, sql: str, passes: bool = True, error: Exception | None = None) -> None:
        def seal(delta: Delta) -> bool:
            self.deltas.append(delta)
            if error is not None:
                raise error
            return passes

        self.gate.begin()
        self.writer.execute("BEGIN IMMEDIATE")
        self.writer.execute(sql)
        self.gate.arm(seal)
        try:
            self.writer.execute("COMMIT")
        finally:
            self.gate.end()

    def rows(self) -> list[int]:
        return [n for (n,) in self.reader.execute("SELECT n FROM t ORDER BY n")]

    def wal_size(self) -> int:
        return Path(self.path + "-wal").stat().st_size

    def close(self) -> None:
        self.reader.close()
        self.writer.close()
        self.vfs.unregister()


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path)
    yield made
    made.close()


def test_passed(opened: Opened) -> None:
    opened.commit("INSERT INTO t VALUES (1, 'a')")
    assert opened.rows() == [1]
    assert opened.missed == 0 and len(opened.deltas) == 2
    assert opened.deltas[0].page_count == 2 and set(opened.deltas[1].pages) == {2}


def test_refused(opened: Opened) -> None:
    for error in (None, ValueError("seal broke")):
        with pytest.raises(apsw.IOError):
            opened.commit("INSERT INTO t VALUES (1, 'a')", passes=False, error=error)
        assert not opened.writer.in_transaction and opened.rows() == []
        assert opened.gate.failure is error
    opened.commit("INSERT INTO t VALUES (2, 'b')")
    assert opened.rows() == [2] and not opened.gate.passed


def test_refused_frames_are_cut(opened: Opened, tmp_path: Path) -> None:
    before = opened.wal_size()
    with pytest.raises(apsw.IOError):
        opened.commit("INSERT INTO t VALUES (1, 'a')", passes=False)
    assert opened.wal_size() == before
    # What kill -9 leaves: the file and its WAL, without the index in shared memory.
    for suffix in ("", "-wal"):
        shutil.copy(opened.path + suffix, tmp_path / f"after{suffix}")
    assert apsw.Connection(str(tmp_path / "after")).execute("SELECT count(*) FROM t").fetchall() == [(0,)]


def test_uncut_frames_would_come_back(opened: Opened, tmp_path: Path) -> None:
    class Forgetful(Gate):
        def sync(self, file: object) -> None:
            if self._first is not None:
                raise apsw.IOError("refused, and nothing cut")

    opened.vfs.add(opened.path, Forgetful())
    writer = apsw.Connection(opened.path, vfs=opened.vfs.name)
    writer.pragma("synchronous", "full")
    opened.vfs._gates[opened.path].begin()
    with pytest.raises(apsw.IOError):
        writer.execute("INSERT INTO t VALUES (1, 'a')")
    for suffix in ("", "-wal"):
        shutil.copy(opened.path + suffix, tmp_path / f"after{suffix}")
    recovered = apsw.Connection(str(tmp_path / "after")).execute("SELECT count(*) FROM t").fetchall()
    assert recovered == [(1,)]  # the hazard that the cut, and the wipe at the start, are there for
    writer.close()


def test_readers_keep_the_old_snapshot_meanwhile(opened: Opened) -> None:
    seen: list[list[int]] = []

    def seal(delta: Delta) -> bool:
        seen.append(opened.rows())
        return True

    opened.gate.begin()
    opened.writer.execute("BEGIN IMMEDIATE")
    opened.writer.execute("INSERT INTO t VALUES (1, 'a')")
    opened.gate.arm(seal)
    opened.writer.execute("COMMIT")
    opened.gate.end()
    assert seen == [[]] and opened.rows() == [1]


def test_ungated_commit_is_noticed(opened: Opened) -> None:
    opened.writer.execute("INSERT INTO t VALUES (1, 'a')")  # nobody armed the gate
    assert opened.missed == 1
    opened.writer.pragma("synchronous", "normal")  # SQLite never syncs the WAL: the gate is not asked
    opened.commit("INSERT INTO t VALUES (2, 'b')")
    assert opened.missed == 2


def test_a_checkpoint_and_a_fresh_wal_pass(opened: Opened) -> None:
    opened.commit("INSERT INTO t VALUES (1, 'a')")
    opened.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
    opened.commit("INSERT INTO t VALUES (2, 'b')")
    with pytest.raises(apsw.IOError):
        opened.commit("INSERT INTO t VALUES (3, 'c')", passes=False)
    opened.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    with pytest.raises(apsw.IOError):
        opened.commit("INSERT INTO t VALUES (4, 'd')", passes=False)  # the first transaction of a new WAL
    opened.commit("INSERT INTO t VALUES (5, 'e')")
    assert opened.rows() == [1, 2, 5] and opened.missed == 0


def test_a_transaction_that_spills_is_whole(opened: Opened) -> None:
    opened.writer.pragma("cache_size", 5)
    count = 400
    before = [opened.gate.page(number) for number in (1, 2)]
    opened.commit(
        f"INSERT INTO t WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < {count}) "
        "SELECT n, hex(randomblob(300)) FROM c"
    )
    delta = opened.deltas[-1]
    assert [opened.gate.page(number) for number in delta.pages] == list(delta.pages.values())
    assert before[1] != delta.pages[2]
    opened.writer.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    file = Path(opened.path).read_bytes()
    assert delta.page_count == len(file) // 4096 > 50
    for number, page in delta.pages.items():
        assert file[(number - 1) * 4096 : number * 4096] == page
    assert set(delta.pages) >= set(range(3, delta.page_count + 1))


def test_old_pages_through_checkpoints_and_refusals(opened: Opened) -> None:
    """At every moment the gate knows each page as of the last version that passed."""
    rng = random.Random(3)
    pages: dict[int, bytes] = {}
    for step in range(120):
        passes = rng.random() < 0.7
        sql = rng.choice(
            (
                f"INSERT INTO t VALUES ({step}, hex(randomblob({rng.randint(1, 5000)})))",
                "DELETE FROM t WHERE n % 3 = 0",
                f"UPDATE t SET x = 'step {step}'",
            )
        )
        opened.deltas.clear()
        if passes:
            opened.commit(sql)
        else:
            with contextlib.suppress(apsw.IOError):
                opened.commit(sql, passes=False)
        if passes and opened.deltas:
            pages = {n: page for n, page in pages.items() if n <= opened.deltas[-1].page_count}
            pages.update(opened.deltas[-1].pages)
        for number, page in pages.items():
            assert opened.gate.page(number) == page
        if rng.random() < 0.15:
            opened.writer.wal_checkpoint(
                mode=rng.choice((apsw.SQLITE_CHECKPOINT_PASSIVE, apsw.SQLITE_CHECKPOINT_TRUNCATE))
            )
