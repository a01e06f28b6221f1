"""What callers ask and are answered, as plain values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from dbsync import wire
from dbsync.wire import Value


@dataclass(frozen=True, slots=True)
class Statement:
    """One SQL statement with positional parameters.

    With `require_rows`, it must change (or, when it only reads, return) exactly that many rows.
    """

    sql: str
    parameters: tuple[Value, ...] = ()
    require_rows: int | None = None


@dataclass(frozen=True, slots=True)
class RowKey:
    """A row by its table and primary key, in the key's column order."""

    table: str
    key: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Target:
    """A commit of the past: its version, and its id there (16 bytes)."""

    version: int
    commit_id: bytes


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """One transaction to be made durable; the fields are those of the contract.

    With `undo` there are no statements: the transaction puts back what that commit changed.
    """

    database: str
    statements: tuple[Statement, ...]
    idempotency_key: bytes  # 16 bytes of a UUIDv7
    author: str = ""
    schema_version: int | None = None
    base_version: int | None = None
    scope_database: bool = False
    depends_on: tuple[RowKey, ...] = ()
    set_schema_version: int | None = None
    undo: Target | None = None

    @property
    def system(self) -> bool:
        """Whether no page's author stands behind it: it conflicts with nothing, and makes nobody stale.

        An undo is somebody's, whoever sends it: it changes what a page has written.
        """
        return self.base_version is None and not self.author and self.undo is None

    @property
    def seen(self) -> int:
        """The newest version that it speaks of."""
        return max(self.base_version or 0, 0 if self.undo is None else self.undo.version)

    @property
    def migration(self) -> bool:
        """Whether it sets the schema version, and may hold DDL."""
        return self.set_schema_version is not None


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """Read-only statements that all see one version; without `min_version` the read is linearizable."""

    database: str
    statements: tuple[Statement, ...]
    schema_version: int | None = None
    min_version: int | None = None


@dataclass(frozen=True, slots=True)
class HistoryRequest:
    """A page of the past: at most `page_size` versions below `before_version` (0: from the newest, as of this call).

    With `row`, only the commits that touched it; the versions that are looked through count all the same.
    """

    database: str
    before_version: int = 0
    page_size: int = 50
    row: RowKey | None = None


@dataclass(frozen=True, slots=True)
class RowSet:
    """What a statement returned."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Value, ...], ...]


@dataclass(frozen=True, slots=True)
class StatementResult:
    """What a statement of a commit returned and changed."""

    rows: RowSet
    changes: int


@dataclass(frozen=True, slots=True)
class CommitResult:
    """A commit's answer; `replayed` when its idempotency key was known. `commit_id` is empty when nothing changed."""

    version: int
    base_version: int
    results: tuple[StatementResult, ...]
    replayed: bool = False
    commit_id: bytes = b""


@dataclass(frozen=True, slots=True)
class QueryResult:
    """A query's answer: the version that every row set belongs to."""

    version: int
    schema_version: int
    results: tuple[RowSet, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """The newest version, when it was committed (Unix milliseconds, 0 for version 0) and by whom."""

    version: int
    schema_version: int
    committed_ms: int
    author: str


class CommitKind(Enum):
    """What a commit of the past was."""

    WRITE = "write"
    SYSTEM = "system"
    MIGRATION = "migration"
    UNDO = "undo"
    RESTORE = "restore"


class RowChange(Enum):
    """What a commit did to a row."""

    INSERT = "insert"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class PastCommit:
    """A commit of the past: `rows` names the first of what it changed, `row_count` counts all.

    `undoable`: nothing but its rows' present values can stand against undoing it.
    """

    commit_id: bytes
    author: str
    kind: CommitKind
    rows: tuple[tuple[RowKey, RowChange], ...]
    row_count: int
    undoable: bool
    undoes: bytes
    restores: int


@dataclass(frozen=True, slots=True)
class PastVersion:
    """A version of the past and its commits, in the order in which they ran; none of them when its entry is damaged."""

    version: int
    schema_version: int
    committed_ms: int
    commits: tuple[PastCommit, ...]


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Versions, newest first; `next_before_version` asks for older ones, and is 0 when there are none."""

    versions: tuple[PastVersion, ...]
    next_before_version: int
    head_version: int


def commit_id(database: str, idempotency_key: bytes) -> bytes:
    """The id of the commit that a key makes: the same on every try, so that a retry is told the id of the first."""
    return hashlib.sha256(b"commit\0" + database.encode() + b"\0" + idempotency_key).digest()[:16]


def request_hash(request: CommitRequest) -> bytes:
    """8 bytes that tell one request from another under the same idempotency key.

    What a retry may rightly change is left out: the base (the caller may have read on), the author (the page may have
    been reloaded) and the schema version (a migration may have run in between).
    """
    out = wire.Writer()
    for statement in request.statements:
        out.text(statement.sql)
        out.values(statement.parameters)
        out.uint(0 if statement.require_rows is None else statement.require_rows + 1)
    out.uint(len(request.depends_on))
    for row in request.depends_on:
        out.text(row.table)
        out.values(row.key)
    out.uint(1 if request.scope_database else 0)
    out.uint(0 if request.set_schema_version is None else request.set_schema_version + 1)
    if request.undo is not None:
        out.uint(request.undo.version)
        out.raw(request.undo.commit_id)
    return hashlib.sha256(out.finish()).digest()[:8]


def encode_results(base_version: int, results: tuple[StatementResult, ...]) -> bytes:
    """A commit's answer as kept beside its idempotency key; the version is a column of its own."""
    out = wire.Writer()
    out.uint(base_version)
    out.uint(len(results))
    for result in results:
        out.uint(result.changes)
        out.uint(len(result.rows.columns))
        for column in result.rows.columns:
            out.text(column)
        out.uint(len(result.rows.rows))
        for row in result.rows.rows:
            out.values(row)
    return out.finish()


def decode_results(version: int, data: bytes) -> CommitResult:
    """The kept answer, marked as replayed; wire.Malformed when it is damaged."""
    read = wire.Reader(data)
    base_version = read.uint()
    results = []
    for _ in range(read.count()):
        changes = read.uint()
        columns = tuple(read.text() for _ in range(read.count()))
        rows = tuple(read.values() for _ in range(read.count()))
        results.append(StatementResult(RowSet(columns, rows), changes))
    read.end()
    return CommitResult(version, base_version, tuple(results), replayed=True)
