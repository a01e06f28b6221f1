"""Undo where tables have triggers, search indexes and shapes of their own."""

from __future__ import annotations

import pytest

from chassis.faults import Fault
from dbsync import undo
from dbsync.requests import CommitResult
from tests.dbsync.undo_book import COUNTING, SCHEMA, SEARCH, Book, against, change, undo_of, why
from tests.dbsync.world import Machine


def test_keys_of_many_columns_and_generated_ones(machine: Machine) -> None:
    book = Book(machine).found(
        "CREATE TABLE odd (twice AS (n * 2) STORED, b TEXT NOT NULL, n REAL, a INTEGER NOT NULL, blob BLOB, "
        "PRIMARY KEY (a, b))",
    )
    before = book.content()
    first = book.do("INSERT INTO odd(b, n, a, blob) VALUES ('x', 0.1, 1, x'00ff'), ('y', -0.0, 2, NULL)")
    between = book.content()
    second = book.do("UPDATE odd SET n = n + 1 WHERE a = 1", "DELETE FROM odd WHERE a = 2")
    assert against(book.refused(first)) == [("odd", (1, "x"), 3, "me"), ("odd", (2, "y"), 3, "me")]
    book.undo(second)
    assert book.content() == between
    book.undo(first)
    assert book.content() == before


def test_a_table_of_another_shape(machine: Machine) -> None:
    """Whatever the schema version says: SQLite would leave out what does not fit, and say nothing."""
    book = Book(machine).found(*SCHEMA)
    sub = book.sub(book.do("INSERT INTO notes VALUES (1, 'a', 'x')"))
    guard = book.writer.replica.begin()
    for text in (
        "ALTER TABLE notes ADD COLUMN other",
        "ALTER TABLE notes DROP COLUMN body",
        "DROP TABLE notes",
        "CREATE TABLE notes (id INTEGER, clip TEXT PRIMARY KEY, body TEXT)",
    ):
        guard.own("SAVEPOINT shape")
        guard.own("DROP TABLE notes" if text.startswith("CREATE") else text)
        if text.startswith("CREATE"):
            guard.own(text)
        with pytest.raises(Fault) as caught:
            undo.put_back(guard, sub, book.writer.replica.tables())
        assert why(caught.value) == "schema"
        guard.own("ROLLBACK TO shape")
    book.writer.replica.rollback()


def test_a_counting_trigger(machine: Machine) -> None:
    book = Book(machine).found(*SCHEMA, *COUNTING)
    before = book.content()
    target = book.do("INSERT INTO notes VALUES (1, 'a', 'x'), (2, 'b', 'y')")
    assert book.rows("SELECT n FROM totals") == [(2,)]
    again = book.undo(target)
    assert book.content() == before
    book.undo(again)
    assert book.rows("SELECT n FROM totals") == [(2,)]


def test_a_search_index_follows(machine: Machine) -> None:
    book = Book(machine).found(*SCHEMA, *SEARCH)
    assert book.search("first") == [("a",)]
    added = book.do("INSERT INTO clips VALUES ('c', 'first goal', 1, 3)")
    renamed = book.do("UPDATE clips SET name = 'last' WHERE id = 'a'")
    removed = book.do("DELETE FROM clips WHERE id = 'b'")
    assert [book.search(word) for word in ("first", "second", "last")] == [[("c",)], [], [("a",)]]
    book.undo(removed)
    assert book.search("second") == [("b",)]
    again = book.undo(renamed)
    assert book.search("first") == [("a",), ("c",)] and book.search("last") == []
    book.undo(added)
    assert book.search("first") == [("a",)]
    book.undo(again)
    assert book.search("first") == [] and book.search("last") == [("a",)]
    assert book.sub(again).virtual == ("search",)


def test_an_index_follows_beside_a_counting_trigger(machine: Machine) -> None:
    book = Book(machine).found(*SCHEMA, *SEARCH, *COUNTING)
    before = book.content()
    target = book.do(
        "INSERT INTO clips VALUES ('c', 'first goal', 1, 3)",
        "INSERT INTO notes VALUES (1, 'c', 'x'), (2, 'c', 'y')",
        "UPDATE clips SET name = 'last' WHERE id = 'a'",
    )
    book.do("UPDATE clips SET rating = 9 WHERE id = 'b'")
    again = book.undo(target)
    assert {**book.content(), "clips": before["clips"]} == before
    assert book.search("first") == [("a",)] and book.search("last") == []
    book.undo(again)
    assert book.search("first") == [("c",)] and book.rows("SELECT n FROM totals") == [(2,)]


def test_an_index_written_by_hand(machine: Machine) -> None:
    book = Book(machine).found(*SCHEMA, "CREATE VIRTUAL TABLE words USING fts5(word)")
    target = book.do("UPDATE clips SET name = 'hello' WHERE id = 'a'", "INSERT INTO words VALUES ('hello')")
    assert book.sub(target).virtual == ("words",)
    assert why(book.refused(target)) == "virtual"
    book.undo(book.do("UPDATE clips SET name = 'hello' WHERE id = 'b'"))


def test_two_tables_with_a_common_beginning(machine: Machine) -> None:
    book = Book(machine).found(
        *SCHEMA, "CREATE VIRTUAL TABLE words USING fts5(word)", "CREATE VIRTUAL TABLE words_more USING fts5(word)"
    )
    assert book.sub(book.do("INSERT INTO words VALUES ('x')")).virtual == ("words",)
    assert book.sub(book.do("INSERT INTO words_more VALUES ('x')")).virtual == ("words_more",)


def test_a_trigger_that_cannot_be_put_right(machine: Machine) -> None:
    eager = "CREATE TRIGGER eager AFTER UPDATE OF name ON clips BEGIN UPDATE clips SET rating = rating + 1; END"
    book = Book(machine).found(*SCHEMA, *SEARCH, eager)
    assert why(book.refused(book.do("UPDATE clips SET name = 'x' WHERE id = 'a'"))) == "triggers"


def test_triggers_without_a_virtual_table_do_not_run(machine: Machine) -> None:
    eager = "CREATE TRIGGER eager AFTER UPDATE OF name ON clips BEGIN UPDATE clips SET rating = rating + 1; END"
    book = Book(machine).found(*SCHEMA, eager)
    before = book.content()
    book.undo(book.do("UPDATE clips SET name = 'x' WHERE id = 'a'"))
    assert book.content() == before


@pytest.mark.parametrize(("how", "reason"), [("ABORT", "not_undoable"), ("ROLLBACK", "constraint")])
def test_a_trigger_that_refuses(machine: Machine, how: str, reason: str) -> None:
    keep = f"CREATE TRIGGER keep BEFORE DELETE ON notes BEGIN SELECT RAISE({how}, 'kept'); END"
    book = Book(machine).found(*SCHEMA, *SEARCH, keep)
    target = book.do("INSERT INTO notes VALUES (1, 'a', 'x'), (2, 'a', 'y'), (3, 'b', 'z')")
    mates = [change("UPDATE clips SET rating = 8"), change("UPDATE clips SET name = 'last' WHERE id = 'b'")]
    first, answer, last = machine.commit(book.writer, mates[0], undo_of(target), mates[1])
    assert isinstance(answer, Fault) and answer.reason == reason, repr(answer)
    assert isinstance(first, CommitResult) and isinstance(last, CommitResult)
    assert len(book.rows("SELECT * FROM notes")) == 3 and book.search("last") == [("b",)]
    assert not book.writer.replica.broken
    assert machine.open().replica.image() == book.writer.replica.image()


def test_a_trigger_may_do_no_more_than_a_caller(machine: Machine) -> None:
    spy = "CREATE TRIGGER spy AFTER DELETE ON notes BEGIN INSERT INTO notes VALUES (9, 'a', load_extension('x')); END"
    book = Book(machine).found(*SCHEMA, *SEARCH, spy)
    answer = book.refused(book.do("INSERT INTO notes VALUES (1, 'a', 'x')"))
    assert isinstance(answer, Fault) and answer.reason == "sql_forbidden"
