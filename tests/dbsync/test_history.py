"""The history for people: who changed which rows when, whatever has happened to the log."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import pytest

from dbsync import past, query
from dbsync.requests import CommitKind, HistoryPage, HistoryRequest, PastCommit, RowChange, RowKey, Target
from dbsync.slots import Blob, StoreUnavailable, Undecided, slot_key
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.undo_book import SCHEMA, Book, change
from tests.dbsync.world import DATABASE, Machine, clip_row, migration, request, sql


@pytest.fixture
def book(machine: Machine) -> Book:
    """A database with the schema."""
    return Book(machine).found(*SCHEMA)


def read(book: Book, **fields: object) -> HistoryPage:
    """A page of its history."""
    head = query.head(book.writer.replica)
    asked = HistoryRequest(DATABASE, **fields)  # type: ignore[arg-type]
    return past.page(book.machine.slots(), asked, head, book.machine.clock.now_s() + 5)


def newest(book: Book) -> PastCommit:
    """The newest commit."""
    return read(book, page_size=1).versions[0].commits[-1]


def versions(page: HistoryPage) -> list[int]:
    """The versions of a page."""
    return [one.version for one in page.versions]


def test_who_when_and_which_rows(book: Book) -> None:
    before_ms = book.machine.clock.wall_ms()
    target = book.do(
        "INSERT INTO notes VALUES (7, 'a', 'x')",
        "UPDATE clips SET name = 'y' WHERE id = 'a'",
        "DELETE FROM tags",
        author="page-1",
    )
    page = read(book)
    assert (page.head_version, page.next_before_version, versions(page)) == (2, 0, [2, 1])
    version = page.versions[0]
    assert version.schema_version == 1 and before_ms <= version.committed_ms <= book.machine.clock.wall_ms()
    (commit,) = version.commits
    assert set(commit.rows) == {
        (RowKey("notes", (7,)), RowChange.INSERT),
        (clip_row("a"), RowChange.UPDATE),
        (RowKey("tags", ("goal", "a")), RowChange.DELETE),
    }
    assert (commit.commit_id, commit.author, commit.row_count) == (target.commit_id, "page-1", 3)


def test_kinds(book: Book) -> None:
    assert newest(book).kind is CommitKind.MIGRATION and not newest(book).undoable and newest(book).rows == ()
    written = book.do("UPDATE clips SET name = 'x'")
    assert (newest(book).kind, newest(book).undoable) == (CommitKind.WRITE, True)
    undone = book.undo(written)
    found = newest(book)
    assert (found.kind, found.undoable, found.undoes) == (CommitKind.UNDO, True, written.commit_id)
    assert (found.commit_id, found.row_count) == (undone.commit_id, 2)
    book.do("UPDATE clips SET name = 'x'", author="")
    assert (newest(book).kind, newest(book).undoable) == (CommitKind.SYSTEM, False)
    book.do("UPDATE clips SET name = name")
    assert (newest(book).kind, newest(book).undoable) == (CommitKind.WRITE, False)
    book.machine.ok(book.writer, migration(2, "ALTER TABLE clips ADD COLUMN other"))
    page = read(book)
    assert [commit.undoable for one in page.versions for commit in one.commits] == [False] * 6  # the schema has changed


def test_a_group(book: Book) -> None:
    book.machine.commit(book.writer, *(change(f"INSERT INTO notes VALUES ({n}, 'a', 'x')") for n in range(5)))
    (version,) = read(book, page_size=1).versions
    assert [commit.rows[0][0].key for commit in version.commits] == [(0,), (1,), (2,), (3,), (4,)]
    third = version.commits[2]
    book.undo(Target(2, third.commit_id))
    assert [row[0] for row in book.rows("SELECT id FROM notes")] == [0, 1, 3, 4]


def test_pages(book: Book) -> None:
    for number in range(2, 40):
        assert book.do(f"INSERT INTO notes VALUES ({number}, 'a', 'x')").version == number
    assert versions(read(book)) == list(range(39, 0, -1))
    seen, before = [], 0
    while True:
        page = read(book, before_version=before, page_size=7)
        seen.extend(versions(page))
        assert len(page.versions) <= 7 and page.head_version == 39
        if not page.next_before_version:
            break
        before = page.next_before_version
    assert seen == list(range(39, 0, -1))
    assert read(book, before_version=1) == HistoryPage((), 0, 39)
    assert versions(read(book, before_version=1 << 40, page_size=1)) == [39]  # newer than the newest: from there


def test_a_database_never_written(machine: Machine) -> None:
    assert read(Book(machine)) == HistoryPage((), 0, 0)


def test_one_row(book: Book) -> None:
    for number in range(2, 30):
        clip = "ab"[number % 7 == 0]
        book.do(
            f"UPDATE clips SET rating = {number} WHERE id = '{clip}'", f"INSERT INTO notes VALUES ({number}, 'a', 'x')"
        )
    for table in ("clips", "CLIPS"):
        page = read(book, row=RowKey(table, ("b",)), page_size=20)
        assert versions(page) == [28, 21, 14] and page.next_before_version == 10
        assert all(one.commits[0].row_count == 2 for one in page.versions)  # the commit is told whole
        page = read(book, row=RowKey(table, ("b",)), before_version=10, page_size=20)
        assert versions(page) == [7] and page.next_before_version == 0
    assert versions(read(book, row=RowKey("clips", ("nobody",)))) == []


def test_rows_are_named_up_to_a_bound(book: Book) -> None:
    many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500)"
    book.do(f"INSERT INTO notes {many} SELECT n, 'a', 'x' FROM c")
    assert (len(newest(book).rows), newest(book).row_count) == (past.ROWS_NAMED, 500)


def test_a_page_is_bounded(machine: Machine) -> None:
    book = Book(machine).found("CREATE TABLE wide (id TEXT NOT NULL PRIMARY KEY)")
    for number in range(5):
        book.do(f"INSERT INTO wide VALUES ('{number}' || hex(zeroblob(200000)))")
    book.do("INSERT INTO wide VALUES (hex(zeroblob(600000)))")
    seen, before = [], 0
    while True:
        page = read(book, before_version=before)
        named = sum(len(repr(row)) for one in page.versions for commit in one.commits for row in commit.rows)
        assert page.versions and named <= past.NAMED_BYTES * 1.1
        seen.extend(versions(page))
        if not (before := page.next_before_version):
            break
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    assert len(read(book).versions) < 7
    assert (newest(book).rows, newest(book).row_count) == ((), 1)  # its key alone is too large


@pytest.mark.parametrize("how", ["damaged", "foreign", "missing"])
def test_a_damaged_entry_hides_nothing_else(book: Book, how: str, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(2, 9):
        book.do(f"INSERT INTO notes VALUES ({number}, 'a', 'x')")
    objects = book.machine.store.objects
    if how == "missing":
        del objects[slot_key(DATABASE, 5)]
    else:
        spoilt = b"what is this" if how == "damaged" else objects[slot_key(DATABASE, 6)].body
        objects[slot_key(DATABASE, 5)] = Blob(spoilt, {}, "")
    with caplog.at_level(logging.CRITICAL):
        page = read(book)
    assert versions(page) == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [len(one.commits) for one in page.versions] == [1, 1, 1, 0, 1, 1, 1, 1]
    assert (page.versions[3].committed_ms, page.versions[3].schema_version) == (0, 0)
    assert any("ALARM" in record.message for record in caplog.records)
    assert versions(read(book, row=RowKey("notes", (3,)))) == [5, 3]  # whether it touched the row, nobody knows


class Counted(MemoryStore):
    """Says how much is read at once, and stops answering after so many reads."""

    def __init__(self, store: MemoryStore, answers: int = 1 << 30) -> None:
        super().__init__()
        self.objects = store.objects
        self.answers = answers
        self.at_once: list[int] = []

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        self.at_once.append(len(keys))
        if len(self.at_once) > self.answers:
            raise Undecided("away")
        return super().get_many(keys, timeout_s)


def page_through(book: Book, store: Counted, seconds: float = 5.0) -> HistoryPage:
    """A page read through that store."""
    clock = book.machine.clock
    head = query.head(book.writer.replica)
    return past.page(book.machine.slots(store), HistoryRequest(DATABASE), head, clock.now_s() + seconds)


def test_a_slow_store(book: Book) -> None:
    for number in range(2, 31):
        book.do(f"INSERT INTO notes VALUES ({number}, 'a', 'x')")
    page = page_through(book, Counted(book.machine.store, answers=2), seconds=0.1)
    assert versions(page) == list(range(30, page.next_before_version - 1, -1)) and page.next_before_version > 1
    rest = read(book, before_version=page.next_before_version)
    assert versions(page) + versions(rest) == list(range(30, 0, -1))
    with pytest.raises(StoreUnavailable):
        page_through(book, Counted(book.machine.store, answers=0), seconds=0.1)


def test_entries_are_read_beside_each_other_as_far_as_they_are_small(
    book: Book, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2, 60):
        book.do(f"INSERT INTO notes VALUES ({number}, 'a', 'x')")
    store = Counted(book.machine.store)
    assert len(page_through(book, store).versions) == 50
    assert max(store.at_once) == past.FETCH_AT_ONCE and len(store.at_once) <= 6
    monkeypatch.setattr(past, "FETCH_BYTES", 1)
    store = Counted(book.machine.store)
    page_through(book, store)
    assert set(store.at_once[1:]) == {1}


def test_the_rows_of_many_columns(machine: Machine) -> None:
    book = Book(machine).found("CREATE TABLE odd (a BLOB NOT NULL, b REAL NOT NULL, c TEXT, PRIMARY KEY (b, a))")
    machine.ok(book.writer, request(sql("INSERT INTO odd VALUES (x'00', 1.5, 'x')"), author="me"))
    assert newest(book).rows == ((RowKey("odd", (1.5, b"\x00")), RowChange.INSERT),)
    assert versions(read(book, row=RowKey("odd", (1.5, b"\x00")))) == [2]
