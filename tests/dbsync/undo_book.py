"""A database whose commits are undone, and its schemas."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.faults import Fault
from dbsync.conflicts import Conflict
from dbsync.log_format import SubCommit
from dbsync.requests import CommitRequest, CommitResult, Target
from tests.dbsync.world import Machine, migration, request, sql

SCHEMA = (
    "CREATE TABLE clips (id TEXT NOT NULL PRIMARY KEY, name TEXT, rating INTEGER, place INTEGER UNIQUE)",
    "CREATE TABLE tags (clip TEXT NOT NULL REFERENCES clips ON DELETE CASCADE, tag TEXT NOT NULL, weight REAL, "
    "PRIMARY KEY (tag, clip)) WITHOUT ROWID",
    "CREATE TABLE notes (id INTEGER PRIMARY KEY, clip TEXT REFERENCES clips(id), body TEXT)",
    "INSERT INTO clips VALUES ('a', 'first', 1, 1), ('b', 'second', 2, 2)",
    "INSERT INTO tags VALUES ('a', 'goal', 0.5)",
)
SEARCH = (
    "CREATE VIRTUAL TABLE search USING fts5(name, content='clips', content_rowid='rowid')",
    "CREATE TRIGGER added AFTER INSERT ON clips BEGIN "
    "INSERT INTO search(rowid, name) VALUES (new.rowid, new.name); END",
    "CREATE TRIGGER removed AFTER DELETE ON clips BEGIN "
    "INSERT INTO search(search, rowid, name) VALUES ('delete', old.rowid, old.name); END",
    "CREATE TRIGGER renamed AFTER UPDATE OF name ON clips BEGIN "
    "INSERT INTO search(search, rowid, name) VALUES ('delete', old.rowid, old.name); "
    "INSERT INTO search(rowid, name) VALUES (new.rowid, new.name); END",
    "INSERT INTO search(search) VALUES ('rebuild')",
)
COUNTING = (
    "CREATE TABLE totals (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n >= 0))",
    "INSERT INTO totals VALUES (1, 0)",
    "CREATE TRIGGER counted AFTER INSERT ON notes BEGIN UPDATE totals SET n = n + 1; END",
    "CREATE TRIGGER uncounted AFTER DELETE ON notes BEGIN UPDATE totals SET n = n - 1; END",
)


@dataclass
class Book:
    """One database, whose commits are undone."""

    machine: Machine

    def __post_init__(self) -> None:
        self.writer = self.machine.open()

    def found(self, *texts: str) -> Book:
        """The same with a schema, which is version 1."""
        self.machine.ok(self.writer, migration(1, *texts))
        return self

    def do(self, *texts: str, **fields: object) -> Target:
        """A commit of the page, to be undone later."""
        answer = self.machine.ok(self.writer, change(*texts, **fields))
        return Target(answer.version, answer.commit_id)

    def undo(self, target: Target, **fields: object) -> Target:
        """An undo that succeeds."""
        answer = self.machine.ok(self.writer, undo_of(target, **fields))
        return Target(answer.version, answer.commit_id)

    def refused(self, target: Target, **fields: object) -> Fault | Conflict:
        """An undo that changes nothing, neither here nor in the store."""
        before, stored = self.writer.replica.image(), dict(self.machine.store.objects)
        (answer,) = self.machine.commit(self.writer, undo_of(target, **fields))
        assert not isinstance(answer, CommitResult)
        assert self.writer.replica.image() == before and self.machine.store.objects == stored
        return answer

    def rows(self, text: str) -> list[tuple[object, ...]]:
        """What a query returns."""
        return list(self.machine.rows(self.writer, text))

    def content(self) -> dict[str, list[tuple[object, ...]]]:
        """The rows of all tables."""
        tables = sorted(self.writer.replica.tables().recorded)
        return {name: sorted(self.rows(f"SELECT * FROM {name}"), key=repr) for name in tables}

    def sub(self, target: Target) -> SubCommit:
        """A commit as it stands in the log."""
        entry = self.machine.slots().read(target.version, self.machine.clock.now_s() + 5)
        assert entry is not None
        return next(sub for sub in entry.subs if sub.commit_id == target.commit_id)

    def search(self, word: str) -> list[tuple[object, ...]]:
        """The clips that the index finds, once it has proved that it is that of the clips."""
        self.machine.ok(self.writer, request(sql("INSERT INTO search(search, rank) VALUES ('integrity-check', 1)")))
        return self.rows(f"SELECT id FROM clips WHERE rowid IN (SELECT rowid FROM search('{word}')) ORDER BY id")


def change(*texts: str, **fields: object) -> CommitRequest:
    """A commit of the page."""
    return request(*(sql(text) for text in texts), **{"author": "me", **fields})


def undo_of(target: Target, **fields: object) -> CommitRequest:
    """An undo of the page."""
    return request(undo=target, **{"author": "me", **fields})


def why(answer: Fault | Conflict) -> str:
    """Why a commit cannot be undone."""
    assert isinstance(answer, Fault) and answer.reason == "not_undoable", repr(answer)
    return answer.metadata["why"]


def against(answer: object) -> list[tuple[str, tuple[object, ...], int, str]]:
    """The rows that stand against it."""
    assert isinstance(answer, Conflict), repr(answer)
    return [(clash.row.table, clash.row.key, clash.version, clash.author) for clash in answer.clashes]
