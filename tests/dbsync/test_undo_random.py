"""Undo against a plain account of the rows: random commits, and the undo of a random one, seed by seed.

The account knows nothing of changesets. It compares the whole database before and after each commit, and says from that
whether a commit's rows still hold what it left, and what must then be there once it is undone.
"""

from __future__ import annotations

import random
import sqlite3
from dataclasses import dataclass, field

import apsw
import pytest

from chassis.faults import Fault
from dbsync import changesets, undo
from dbsync.conflicts import Conflict
from dbsync.log_format import SubCommit
from dbsync.requests import CommitResult, RowKey, Statement, Target
from dbsync.schema_rules import Tables
from dbsync.sqlguard import Guard
from dbsync.wire import Value
from tests.dbsync.undo_book import Book, undo_of
from tests.dbsync.world import Machine, request, sql

ROUNDS = 40
COLUMNS = {
    "parents": ("id", "name", "place"),
    "kids": ("parent", "n", "note"),
    "pairs": ("id", "other"),
    "totals": ("id", "n"),
    "trail": ("id", "what"),
}
KEYS = {"parents": (0,), "kids": (0, 1), "pairs": (0,), "totals": (0,), "trail": (0,)}
TABLES = (
    "CREATE TABLE parents (id TEXT NOT NULL PRIMARY KEY, name TEXT, place INTEGER UNIQUE)",
    "CREATE TABLE kids (parent TEXT NOT NULL REFERENCES parents ON DELETE CASCADE ON UPDATE CASCADE, "
    "n INTEGER NOT NULL, note TEXT, PRIMARY KEY (n, parent)) WITHOUT ROWID",
    "CREATE TABLE pairs (id INTEGER PRIMARY KEY, other INTEGER REFERENCES pairs DEFERRABLE INITIALLY DEFERRED)",
    "CREATE TABLE totals (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n >= 0))",
    "CREATE TABLE trail (id INTEGER PRIMARY KEY, what TEXT)",
)
COUNTING = (
    "CREATE TRIGGER counted AFTER INSERT ON kids BEGIN UPDATE totals SET n = n + 1; END",
    "CREATE TRIGGER uncounted AFTER DELETE ON kids BEGIN UPDATE totals SET n = n - 1; "
    "INSERT INTO trail(what) VALUES (old.parent); END",
)
SEARCH = (
    "CREATE VIRTUAL TABLE words USING fts5(id UNINDEXED, name)",
    "CREATE TRIGGER added AFTER INSERT ON parents BEGIN INSERT INTO words VALUES (new.id, new.name); END",
    "CREATE TRIGGER removed AFTER DELETE ON parents BEGIN DELETE FROM words WHERE id = old.id; END",
    "CREATE TRIGGER renamed AFTER UPDATE OF id, name ON parents BEGIN "
    "DELETE FROM words WHERE id = old.id; INSERT INTO words VALUES (new.id, new.name); END",
)
SCHEMAS = {"plain": TABLES, "counting": TABLES + COUNTING, "indexed": TABLES + COUNTING + SEARCH}

Row = tuple[Value, ...]
Account = dict[str, dict[Row, Row]]  # the rows of each table by their keys


def account(book: Book) -> Account:
    """All rows of now."""
    found: Account = {}
    for table, columns in COLUMNS.items():
        rows = book.machine.rows(book.writer, f"SELECT {', '.join(columns)} FROM {table}")
        found[table] = {tuple(row[place] for place in KEYS[table]): row for row in rows}
    return found


def undone(before: Account, after: Account, now: Account) -> Account | None:
    """What is there when the commit between `before` and `after` is undone now; None when it does not fit."""
    made: Account = {table: dict(rows) for table, rows in now.items()}
    for table in COLUMNS:
        for key in before[table].keys() | after[table].keys():
            old, new, here = (state[table].get(key) for state in (before, after, now))
            if old == new:
                continue
            if old is None or new is None:
                if here != new:
                    return None
                made[table].pop(key, None)
                if old is not None:
                    made[table][key] = old
            else:
                changed = [place for place, pair in enumerate(zip(old, new, strict=True)) if pair[0] != pair[1]]
                if here is None or any(here[place] != new[place] for place in changed):
                    return None
                made[table][key] = tuple(old[p] if p in changed else value for p, value in enumerate(here))
    return made if sound(made) else None


def sound(rows: Account) -> bool:
    """Whether the tables hold such rows, says another SQLite."""
    with sqlite3.connect(":memory:") as other:
        for text in TABLES:
            other.execute(text)
        try:
            for table, content in rows.items():
                marks = ", ".join("?" * len(COLUMNS[table]))
                other.executemany(f"INSERT INTO {table} VALUES ({marks})", content.values())
        except sqlite3.IntegrityError:
            return False
        return not other.execute("PRAGMA foreign_key_check").fetchall()


def indexed(rows: Account) -> set[Row]:
    """What the search index holds."""
    return {row[:2] for row in rows["parents"].values()}


@dataclass
class Player:
    """Makes random commits, and remembers what each of them did."""

    book: Book
    rng: random.Random
    done: list[tuple[Target, Account, Account]] = field(default_factory=list)

    def some(self, *choices: Value) -> Value:
        return self.rng.choice(choices)

    def statement(self) -> Statement:
        """Something random; it may fail, or change nothing."""
        parent, other = f"p{self.rng.randrange(4)}", f"p{self.rng.randrange(4)}"
        name, place, n = self.some("red", "green", None), self.some(1, 2, 3, 4, None), self.rng.randrange(3)
        return self.rng.choice(
            [
                sql("INSERT OR IGNORE INTO parents VALUES (?, ?, ?)", parent, name, place),
                sql(
                    "INSERT INTO parents VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET name = ?", parent, name, place, name
                ),
                sql("UPDATE parents SET name = ? WHERE id = ?", name, parent),
                sql("UPDATE OR IGNORE parents SET place = ? WHERE id = ?", place, parent),
                sql("UPDATE OR IGNORE parents SET id = ? WHERE id = ?", other, parent),
                sql("UPDATE parents SET place = -place - 1000"),
                sql("UPDATE parents SET place = (SELECT count(*) FROM parents p WHERE p.id > parents.id) + 9"),
                sql("DELETE FROM parents WHERE id = ?", parent),
                sql("INSERT INTO kids VALUES (?, ?, ?)", parent, n, name),
                sql("INSERT OR IGNORE INTO kids SELECT id, ?, ? FROM parents WHERE id >= ?", n, name, parent),
                sql("INSERT OR IGNORE INTO kids SELECT max(id), ?, ? FROM parents HAVING count(*)", n + 7, name),
                sql("UPDATE kids SET note = ? WHERE n = ?", name, n),
                sql("UPDATE OR IGNORE kids SET n = n + 1 WHERE parent = ?", parent),
                sql("DELETE FROM kids WHERE n = ?", n),
                sql("INSERT OR IGNORE INTO pairs VALUES (?, ?)", n, self.rng.randrange(3)),
                sql("UPDATE pairs SET other = ?", n),
                sql("DELETE FROM pairs WHERE id = ?", n),
            ]
        )

    def commit(self) -> None:
        """One commit of one to four statements."""
        before = account(self.book)
        statements = [self.statement() for _ in range(self.rng.choice((1, 1, 2, 4)))]
        (answer,) = self.book.machine.commit(self.book.writer, request(*statements, author="me"))
        self.remember(answer, before)

    def undo(self) -> bool:
        """The undo of one of the last commits, held against the account; whether it took place."""
        target, before, after = self.rng.choice(self.done[-5:])
        now = account(self.book)
        expected = undone(before, after, now)
        (answer,) = self.book.machine.commit(self.book.writer, undo_of(target))
        if expected is None:
            assert isinstance(answer, Conflict), f"{answer!r} to an undo that does not fit"
            assert answer.clashes and account(self.book) == now
            return False
        if isinstance(answer, Fault) and answer.metadata.get("why") == "virtual":
            assert indexed(before) == indexed(after)  # an index that was written, and then as before
            return False
        assert isinstance(answer, CommitResult), f"{answer!r} to an undo that fits"
        assert account(self.book) == expected
        self.remember(answer, now)
        return True

    def remember(self, answer: object, before: Account) -> None:
        if not isinstance(answer, CommitResult):
            assert isinstance(answer, Fault) and answer.reason == "constraint", repr(answer)
        elif (after := account(self.book)) != before:
            self.done.append((Target(answer.version, answer.commit_id), before, after))


def play(machine: Machine, schema: str, seed: int) -> tuple[int, int]:
    """Commits and undos, each held against the account; how many undos took place and how many were refused."""
    player = Player(Book(machine).found(*SCHEMAS[schema], "INSERT INTO totals VALUES (1, 0)"), random.Random(seed))
    taken = refused = 0
    for _ in range(ROUNDS):
        player.commit()
        if player.done:
            fits = player.undo()
            taken, refused = taken + fits, refused + (not fits)
        if schema == "indexed":
            found = player.book.rows("SELECT id, name FROM words")
            assert len(found) == len(set(found)) and set(found) == indexed(account(player.book))
            assert {row[0] for row in player.book.rows("SELECT id FROM words('red')")} == {
                row[0] for row in player.book.rows("SELECT id FROM parents WHERE name = 'red'")
            }
    assert machine.open().replica.image() == player.book.writer.replica.image()
    return taken, refused


@pytest.mark.parametrize("schema", SCHEMAS)
@pytest.mark.parametrize("seed", range(3))
def test_undo_fits_or_changes_nothing(machine: Machine, schema: str, seed: int) -> None:
    taken, refused = play(machine, schema, seed)
    assert taken > 8 and refused > 3


def _takes_what_is_there(guard: Guard, changeset: bytes, keys: object) -> tuple[RowKey, ...]:
    guard.apply(changeset, undo._yield, triggers=False)
    return ()


def _leaves_it_to_triggers(guard: Guard, sub: SubCommit, tables: Tables) -> tuple[RowKey, ...]:
    with guard.bounded():
        guard.apply(changesets.inverse(sub.changeset), undo._yield, triggers=True)
    return ()


def _forgets_the_index(guard: Guard, sub: SubCommit, wanted: bytes, tables: Tables) -> None:
    guard.apply(wanted, undo._yield, triggers=False)


def _trusts_triggers(done: bytes, wanted: bytes) -> bytes:
    return b""


MUTANTS: dict[str, tuple[object, str, object, str, int]] = {
    "nothing is compared": (undo, "_exactly", _takes_what_is_there, "plain", 1),
    "triggers run, and nothing is compared": (undo, "put_back", _leaves_it_to_triggers, "counting", 1),
    "triggers never run": (undo, "_with_triggers", _forgets_the_index, "indexed", 1),
    "what triggers did more is left": (changesets, "difference", _trusts_triggers, "indexed", 1),
    "foreign keys act": (apsw, "SQLITE_CHANGESETAPPLY_FKNOACTION", 0, "plain", 2),
    "broken references are overlooked": (undo, "_dangling", lambda guard: [], "plain", 1),
}


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_undo_is_caught(machine: Machine, monkeypatch: pytest.MonkeyPatch, mutant: str) -> None:
    target, name, broken, schema, seed = MUTANTS[mutant]
    monkeypatch.setattr(target, name, broken)
    with pytest.raises(AssertionError):
        play(machine, schema, seed)
