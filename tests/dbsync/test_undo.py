"""Undo: what a commit changed is put back as it was, or nothing is changed and what stands against it is named."""

from __future__ import annotations

import pytest

from chassis.faults import Fault
from dbsync import undo
from dbsync.conflicts import NAMED_MAX, Conflict
from dbsync.log_format import SubCommit
from dbsync.requests import CommitResult, RowKey, Target
from dbsync.slots import Blob, slot_key
from dbsync.sqlguard import Limits
from dbsync.undo import Found
from tests.dbsync.test_commit import ViaStore
from tests.dbsync.undo_book import SCHEMA, Book, against, change, undo_of, why
from tests.dbsync.world import DATABASE, Machine, clip_row, key, migration


@pytest.fixture
def book(machine: Machine) -> Book:
    """A database with the schema."""
    return Book(machine).found(*SCHEMA)


def test_an_undo_is_a_commit(book: Book) -> None:
    before = book.content()
    target = book.do("UPDATE clips SET name = 'other' WHERE id = 'a'", "INSERT INTO notes VALUES (7, 'a', 'x')")
    answer = book.machine.ok(book.writer, undo_of(target, base_version=2))
    assert (answer.version, answer.base_version, answer.results, answer.replayed) == (3, 3, (), False)
    assert book.content() == before
    sub = book.sub(Target(3, answer.commit_id))
    assert (sub.undoes, sub.author, sub.system) == (target.commit_id, "me", False)
    assert set(sub.rows) == {clip_row("a"), RowKey("notes", (7,))}
    assert book.machine.open().replica.image() == book.writer.replica.image()


def test_undos_stack(book: Book) -> None:
    contents, targets = [book.content()], []
    for name in ("x", "y", "z"):
        targets.append(book.do(f"UPDATE clips SET name = '{name}', rating = rating + 1 WHERE id = 'a'"))
        contents.append(book.content())
    assert against(book.refused(targets[0])) == [("clips", ("a",), 4, "me")]
    undos = []
    for target in reversed(targets):
        contents.pop()
        undos.append(book.undo(target))
        assert book.content() == contents[-1]
    again = book.undo(undos[-1])  # undone, it is done again
    assert book.rows("SELECT name FROM clips WHERE id = 'a'") == [("x",)]
    book.undo(again)
    assert book.content() == contents[0]


STANDS = {
    "another value": (
        "UPDATE clips SET name = 'x'",
        "UPDATE clips SET name = 'y' WHERE id = 'a'",
        [("clips", ("a",), 3, "you")],
    ),
    "an updated row is gone": (
        "UPDATE clips SET name = 'x' WHERE id = 'b'",
        "DELETE FROM clips WHERE id = 'b'",
        [("clips", ("b",), 3, "you")],
    ),
    "an inserted row is changed": (
        "INSERT INTO clips VALUES ('c', 'x', 1, 3)",
        "UPDATE clips SET rating = NULL WHERE id = 'c'",
        [("clips", ("c",), 3, "you")],
    ),
    "an inserted row is gone": (
        "INSERT INTO clips VALUES ('c', 'x', 1, 3)",
        "DELETE FROM clips WHERE id = 'c'",
        [("clips", ("c",), 3, "you")],
    ),
    "a deleted row is there again": (
        "DELETE FROM clips WHERE id = 'b'",
        "INSERT INTO clips VALUES ('b', 'second', 2, 2)",
        [("clips", ("b",), 3, "you")],
    ),
    "a row got another key": (
        "UPDATE clips SET id = 'z' WHERE id = 'b'",
        "UPDATE clips SET rating = 5 WHERE id = 'z'",
        [("clips", ("z",), 3, "you")],
    ),
    "a unique value is taken": (
        "DELETE FROM clips WHERE id = 'b'",
        "INSERT INTO clips VALUES ('c', 'x', 1, 2)",
        [("clips", ("b",), 0, "")],
    ),
    "a row refers to it": (
        "INSERT INTO clips VALUES ('c', 'x', 1, 3)",
        "INSERT INTO notes VALUES (9, 'c', 'x')",
        [("notes", (9,), 3, "you")],
    ),
    "a row refers to it, and would go with it": (
        "INSERT INTO clips VALUES ('c', 'x', 1, 3)",
        "INSERT INTO tags VALUES ('c', 'save', 1)",
        [("tags", ("save", "c"), 3, "you")],
    ),
    "what it refers to is gone": (
        "DELETE FROM tags",
        "DELETE FROM clips WHERE id = 'a'",
        [("tags", ("goal", "a"), 0, "")],
    ),
}


@pytest.mark.parametrize("case", STANDS)
def test_what_stands_against_it(book: Book, case: str) -> None:
    done, later, rows = STANDS[case]
    target = book.do(done)
    book.do(later, author="you")
    answer = book.refused(target)
    assert against(answer) == rows
    assert isinstance(answer, Conflict) and (answer.base_version, answer.head_version) == (2, 3)


def test_all_that_stands_against_it_is_named(book: Book) -> None:
    target = book.do("INSERT INTO notes SELECT value, 'a', 'x' FROM json_each('[1,2,3,4]')")
    book.do("UPDATE notes SET body = 'y' WHERE id = 1", author="you")
    book.do("UPDATE notes SET body = 'y' WHERE id IN (2, 3)", author="they")
    assert against(book.refused(target)) == [
        ("notes", (1,), 3, "you"),
        ("notes", (2,), 4, "they"),
        ("notes", (3,), 4, "they"),
    ]
    many = "WITH RECURSIVE c(n) AS (SELECT 10 UNION ALL SELECT n + 1 FROM c WHERE n < 500)"
    target = book.do(f"INSERT INTO notes {many} SELECT n, 'a', 'x' FROM c")
    book.do("UPDATE notes SET body = 'y'")
    assert len(against(book.refused(target))) == NAMED_MAX


def test_values_decide_and_not_versions(book: Book) -> None:
    before = book.content()
    target = book.do("UPDATE clips SET name = 'x' WHERE id = 'a'", "INSERT INTO notes VALUES (1, 'a', 'n')")
    book.do("UPDATE clips SET name = 'y'", "DELETE FROM notes")
    book.do("UPDATE clips SET name = 'x' WHERE id = 'a'", "INSERT INTO notes VALUES (1, 'a', 'n')")
    book.do("UPDATE clips SET name = 'second' WHERE id = 'b'")
    book.undo(target)
    assert book.content() == before


def test_another_column_does_not_stand_against_it(book: Book) -> None:
    target = book.do("UPDATE clips SET name = 'x' WHERE id = 'a'")
    book.do("UPDATE clips SET rating = 5 WHERE id = 'a'", author="you")
    assert against(book.refused(target, base_version=2)) == [("clips", ("a",), 3, "you")]  # not yet read
    book.undo(target, base_version=3)
    assert book.rows("SELECT * FROM clips WHERE id = 'a'") == [("a", "first", 5, 1)]


def test_an_undo_makes_others_stale(book: Book) -> None:
    for author in ("me", ""):  # whoever sends it
        target = book.do("UPDATE clips SET name = 'x' WHERE id = 'a'")
        book.undo(target, author=author)
        late = change("UPDATE clips SET name = 'y' WHERE id = 'a'", author="you", base_version=target.version)
        (answer,) = book.machine.commit(book.writer, late)
        assert against(answer) == [("clips", ("a",), target.version + 1, author)]


def test_values_that_changed_places(book: Book) -> None:
    before = book.content()
    swap = ("UPDATE clips SET place = -place", "UPDATE clips SET place = CASE place WHEN -1 THEN 2 ELSE 1 END")
    target = book.do(*swap)
    book.undo(target)
    assert book.content() == before


def test_what_went_with_a_row_comes_back(book: Book) -> None:
    before = book.content()
    target = book.do("DELETE FROM clips WHERE id = 'a'")
    assert book.rows("SELECT * FROM tags") == []
    book.undo(target)
    assert book.content() == before


def test_a_retry_is_answered_as_the_first_try(book: Book) -> None:
    target, other = book.do("UPDATE clips SET name = 'x'"), book.do("UPDATE clips SET rating = 9")
    one = undo_of(target)
    first = book.machine.ok(book.writer, one)
    book.do("UPDATE clips SET name = 'y'")
    for writer in (book.writer, book.machine.open()):
        again = book.machine.ok(writer, one)
        assert again.replayed and (again.version, again.commit_id) == (first.version, first.commit_id)
    for wrong in (
        undo_of(other, idempotency_key=one.idempotency_key),
        undo_of(Target(3, target.commit_id), idempotency_key=one.idempotency_key),
        change("DELETE FROM clips", idempotency_key=one.idempotency_key),
    ):
        (answer,) = book.machine.commit(book.writer, wrong)
        assert isinstance(answer, Fault) and answer.reason == "key_mismatch"
    assert book.sub(Target(first.version, first.commit_id)).undoes == target.commit_id


def test_an_undo_in_doubt_is_retried(machine: Machine) -> None:
    store = ViaStore(machine)
    book = Book(machine).found(*SCHEMA)
    book.writer = machine.open(store)
    target = book.do("UPDATE clips SET name = 'x'")
    one = undo_of(target, idempotency_key=key())
    store.script.extend(["ok", "lost", *["timeout"] * 500])  # the target is read, the slot is won, nobody says so
    (answer,) = machine.commit(book.writer, one, seconds=0.2)
    assert isinstance(answer, Fault) and answer.reason == "outcome_unknown"
    store.script.clear()
    again = machine.ok(book.writer, one)
    assert again.replayed and book.sub(Target(again.version, again.commit_id)).undoes == target.commit_id


def test_what_is_not_there(book: Book) -> None:
    target = book.do("UPDATE clips SET name = 'x'")
    for wrong, reason in (
        (Target(9, target.commit_id), "no_such_version"),
        (Target(0, target.commit_id), "no_such_version"),
        (Target(1, target.commit_id), "no_such_commit"),
    ):
        answer = book.refused(wrong)
        assert isinstance(answer, Fault) and answer.reason == reason
    for wrong_schema in (0, 2):
        answer = book.refused(target, schema_version=wrong_schema)
        assert isinstance(answer, Fault) and answer.reason in ("schema_newer", "schema_mismatch")


def test_a_damaged_entry_is_gone(book: Book) -> None:
    targets = [book.do("UPDATE clips SET rating = 7"), book.do("UPDATE clips SET name = 'x'")]
    objects = book.machine.store.objects
    objects[slot_key(DATABASE, 2)] = Blob(b"what is this", {}, "")
    del objects[slot_key(DATABASE, 3)]
    mate = change("UPDATE clips SET place = NULL")
    for target in targets:
        answer, other = book.machine.commit(book.writer, undo_of(target), mate)
        assert isinstance(answer, Fault) and answer.reason == "version_gone"
        assert isinstance(other, CommitResult)


def test_not_undoable(machine: Machine) -> None:
    book = Book(machine).found(*SCHEMA, "CREATE VIRTUAL TABLE words USING fts5(word)")
    entry = machine.slots().read(1, machine.clock.now_s() + 5)
    assert entry is not None and why(book.refused(Target(1, entry.subs[0].commit_id))) == "migration"
    service = book.do("UPDATE clips SET name = 'x' WHERE id = 'a'", author="")
    assert why(book.refused(service)) == "system"
    assert why(book.refused(book.do("INSERT INTO words VALUES ('hello')"))) == "unrecorded"
    assert why(book.refused(book.do("UPDATE clips SET name = name"))) == "unrecorded"
    before = book.do("UPDATE clips SET rating = 7")
    machine.ok(book.writer, migration(2, "ALTER TABLE clips DROP COLUMN name", "ALTER TABLE clips ADD COLUMN other"))
    assert why(book.refused(before, schema_version=2)) == "schema"
    restored = SubCommit(b"c" * 16, "me", b"k" * 16, False, False, (), b"", restores=3)
    with pytest.raises(Fault) as caught:
        undo.check(Found(restored, 1, ()), 1)
    assert why(caught.value) == "restore"


def test_an_undo_has_the_limits_of_a_commit(book: Book) -> None:
    many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 3000)"
    target = book.do(f"INSERT INTO notes {many} SELECT n, 'a', 'x' FROM c")
    book.machine.limits = Limits(steps=20_000)
    book.writer = book.machine.open()
    mate = change("UPDATE clips SET rating = 8")
    answer, other = book.machine.commit(book.writer, undo_of(target), mate)
    assert isinstance(answer, Fault) and answer.reason == "too_many_steps"
    assert isinstance(other, CommitResult) and book.rows("SELECT count(*) FROM notes") == [(3000,)]


def test_within_a_group(book: Book) -> None:
    target = book.do("UPDATE clips SET name = 'x' WHERE id = 'a'")
    mate = change("UPDATE clips SET name = 'y' WHERE id = 'a'", author="you")
    answers = book.machine.commit(book.writer, mate, undo_of(target))
    assert isinstance(answers[0], CommitResult) and against(answers[1]) == [("clips", ("a",), 3, "you")]
    theirs = Target(3, answers[0].commit_id)
    both = book.machine.commit(book.writer, undo_of(theirs), undo_of(target), undo_of(target))
    assert [isinstance(answer, CommitResult) for answer in both] == [True, True, False]
    assert against(both[2]) == [("clips", ("a",), 4, "me")]
    assert book.rows("SELECT name FROM clips WHERE id = 'a'") == [("first",)]


def test_a_later_member_of_the_same_version(book: Book) -> None:
    first, second = book.machine.commit(
        book.writer,
        change("UPDATE clips SET name = 'x' WHERE id = 'a'"),
        change("UPDATE clips SET name = 'y' WHERE id = 'a'", author="you"),
    )
    assert isinstance(first, CommitResult) and isinstance(second, CommitResult)
    assert against(book.refused(Target(2, first.commit_id))) == [("clips", ("a",), 2, "you")]
    book.undo(Target(2, second.commit_id))
    book.undo(Target(2, first.commit_id))
    assert book.rows("SELECT name FROM clips WHERE id = 'a'") == [("first",)]


def test_a_machine_that_is_behind(book: Book) -> None:
    behind = book.machine.open()
    target = book.do("UPDATE clips SET name = 'x' WHERE id = 'a'")
    answer = book.machine.ok(behind, undo_of(target))
    assert answer.version == 3
    redo = Target(3, answer.commit_id)
    book.machine.ok(book.writer, change("UPDATE clips SET rating = 7"))
    assert book.machine.ok(behind, undo_of(redo)).version == 5  # its slot was lost, and it ran again
    book.do("UPDATE clips SET name = 'z' WHERE id = 'a'", author="you")
    (stale,) = book.machine.commit(behind, undo_of(target))
    assert against(stale) == [("clips", ("a",), 6, "you")]
