"""What callers ask and are answered, as plain values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

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
class CommitRequest:
    """One transaction to be made durable; the fields are those of the contract."""

    database: str
    statements: tuple[Statement, ...]
    idempotency_key: bytes  # 16 bytes of a UUIDv7
    author: str = ""
    schema_version: int | None = None
    base_version: int | None = None
    scope_database: bool = False
    depends_on: tuple[RowKey, ...] = ()
    set_schema_version: int | None = None

    @property
    def system(self) -> bool:
        """Whether no page's author stands behind it: it conflicts with nothing, and makes nobody stale."""
        return self.base_version is None and not self.author

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
    """A commit's answer; `replayed` when its idempotency key was known."""

    version: int
    base_version: int
    results: tuple[StatementResult, ...]
    replayed: bool = False


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
