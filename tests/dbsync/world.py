"""What most tests of dbsync begin with: a database on a real file over a store in memory, and requests to it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from chassis import ids
from dbsync import query
from dbsync.clock import SystemClock
from dbsync.cold_open import cold_open
from dbsync.commit import Committer, Spent
from dbsync.gate import GateVfs
from dbsync.replica import Replica
from dbsync.requests import CommitRequest, CommitResult, QueryRequest, QueryResult, RowKey, Statement
from dbsync.slots import Patience, Slots, Store
from dbsync.sqlguard import Limits
from dbsync.transaction import Answer
from dbsync.wire import Value
from tests.dbsync.memory_store import MemoryStore

DATABASE = "user-1"
FAST = Patience(attempt_s=0.2, first_pause_s=0.001, longest_pause_s=0.01)
SCHEMA = (
    "CREATE TABLE clips (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, rating INTEGER)",
    "CREATE TABLE tags (clip TEXT NOT NULL, tag TEXT NOT NULL, weight REAL, PRIMARY KEY (tag, clip)) WITHOUT ROWID",
)


def key(made_ms: int | None = None) -> bytes:
    """A fresh idempotency key."""
    return bytes.fromhex(ids.uuid7(made_ms).replace("-", ""))


def sql(text: str, *parameters: Value, rows: int | None = None) -> Statement:
    """A statement."""
    return Statement(text, parameters, rows)


def request(*statements: Statement, **fields: object) -> CommitRequest:
    """A commit of schema version 1 with a fresh key."""
    fields.setdefault("idempotency_key", key())
    if "set_schema_version" not in fields:
        fields.setdefault("schema_version", 1)
    return CommitRequest(DATABASE, statements, **fields)  # type: ignore[arg-type]


def migration(version: int, *texts: str) -> CommitRequest:
    """A migration from the version before."""
    statements = tuple(sql(text) for text in texts)
    return request(*statements, schema_version=version - 1, set_schema_version=version)


def add_clip(clip: str, **fields: object) -> CommitRequest:
    """A commit that inserts a clip."""
    return request(sql("INSERT INTO clips VALUES (?, ?, 1)", clip, f"clip {clip}"), **fields)


def rename_clip(clip: str, name: str, **fields: object) -> CommitRequest:
    """A commit that updates a clip."""
    return request(sql("UPDATE clips SET name = ? WHERE id = ?", name, clip, rows=1), **fields)


def clip_row(clip: str) -> RowKey:
    """A clip's row."""
    return RowKey("clips", (clip,))


@dataclass
class Machine:
    """Opens the same database as often as wanted: each opening is another process's copy."""

    folder: Path
    store: MemoryStore = field(default_factory=MemoryStore)
    limits: Limits = field(default_factory=Limits)
    vfs: GateVfs = field(default_factory=GateVfs)
    clock: SystemClock = field(default_factory=SystemClock)
    numbers: itertools.count[int] = field(default_factory=itertools.count)
    opened: list[Replica] = field(default_factory=list)

    def slots(self, store: Store | None = None, database: str = DATABASE) -> Slots:
        """The log."""
        return Slots(store or self.store, self.clock, database, FAST)

    def open(self, store: Store | None = None, database: str = DATABASE) -> Committer:
        """A cold open."""
        committer = cold_open(
            self.slots(store, database), self.clock, self.limits, self.vfs, self.new_folder, self.clock.now_s() + 5
        ).committer
        self.opened.append(committer.replica)
        return committer

    def founded(self, *texts: str) -> Committer:
        """A database with the schema."""
        committer = self.open()
        self.ok(committer, migration(1, *(texts or SCHEMA)))
        return committer

    def new_folder(self) -> Path:
        return self.folder / str(next(self.numbers))

    def commit(self, committer: Committer, *requests: CommitRequest, seconds: float = 5.0) -> list[Answer]:
        """A group of commits."""
        return committer.commit(requests, self.clock.now_s() + seconds, Spent())

    def ok(self, committer: Committer, one: CommitRequest) -> CommitResult:
        """A commit that succeeds."""
        (answer,) = self.commit(committer, one)
        assert isinstance(answer, CommitResult), repr(answer)
        return answer

    def rows(self, committer: Committer, text: str, *parameters: Value) -> list[tuple[Value, ...]]:
        """What a query returns from the local copy."""
        return list(self.query(committer, sql(text, *parameters)).results[0].rows)

    def query(self, committer: Committer, *statements: Statement, **fields: object) -> QueryResult:
        """A query of the local copy."""
        return query.run(committer.replica, QueryRequest(DATABASE, statements, **fields))  # type: ignore[arg-type]

    def close(self) -> None:
        for replica in self.opened:
            replica.close()
        self.vfs.unregister()
