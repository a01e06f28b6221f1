"""The gateway's Databases port over sqlite3 in memory, held to dbsync's contract: versions, conflicts by row, kept
keys, schema versions.

Faults can be put in its way: refused calls, answers lost after the commit took place, slowness.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from chassis import faults
from chassis.faults import Fault, Kind
from gateway.ports import Commit, Committed, Head, Reading, RowKey, Rows, Scalar, Staleness, Statement

MAX_ROWS = 10_000
MAX_RESULT_BYTES = 3 << 20
MAX_KEPT_BYTES = 256 << 10


@dataclass
class Version:
    """What one commit touched; `quiet` ones (the system's, migrations) make nobody stale."""

    number: int
    author: str
    quiet: bool
    rows: frozenset[RowKey]


@dataclass
class Kept:
    """The answer kept beside an idempotency key."""

    request: tuple[object, ...]
    answer: Committed


@dataclass
class Database:
    """One database."""

    connection: sqlite3.Connection
    version: int = 0
    schema_version: int = 0
    history: list[Version] = field(default_factory=list)
    keys: dict[str, Kept] = field(default_factory=dict)


class FakeDatabases:
    """Every database, by its id."""

    def __init__(self) -> None:
        self.databases: dict[str, Database] = {}
        self.commits: list[Commit] = []
        self.queries = 0
        self.delay_s = 0.0
        self.free = asyncio.Event()  # calls wait while it is cleared; `waiting` is how many do
        self.free.set()
        self.waiting = 0
        self.refusals: list[Fault] = []  # raised by the next calls, before anything was done
        self.lost_answers = 0  # so many next commits take place, and their answers are lost
        self.is_ready = True

    async def query(
        self, database: str, statements: Sequence[Statement], *, schema_version: int, min_version: int | None
    ) -> Reading:
        await self._pause()
        self.queries += 1
        found = self._open(database)
        if min_version is not None and min_version > found.version:
            raise faults.invalid("invalid_argument", "newer than the newest")
        _check_schema(schema_version, found.schema_version, None)
        if not statements:
            raise faults.invalid("invalid_argument", "no statement")
        with _undone(found.connection):
            results = tuple(_run(found.connection, index, one)[0] for index, one in enumerate(statements))
            _check_size(results, MAX_RESULT_BYTES)
            return Reading(found.version, results)

    async def commit(self, commit: Commit) -> Committed:
        await self._pause()
        self.commits.append(commit)
        answer = self._commit(self._open(commit.database), commit)
        if self.lost_answers > 0:
            self.lost_answers -= 1
            raise Fault(Kind.UNAVAILABLE, "outcome_unknown", "the answer was lost")
        return answer

    async def head(self, database: str) -> Head:
        await self._pause()
        found = self._open(database)
        return Head(found.version, found.schema_version, found.history[-1].author if found.history else "")

    async def ready(self, timeout_s: float) -> bool:
        return self.is_ready

    def rows(self, database: str, sql: str) -> list[tuple[Scalar, ...]]:
        """What is in a database, for a test's own look."""
        return self._open(database).connection.execute(sql).fetchall()

    def _commit(self, database: Database, commit: Commit) -> Committed:
        request = (commit.statements, commit.depends_on, commit.set_schema_version)
        kept = database.keys.get(commit.idempotency_key)
        if kept is not None:
            if kept.request != request:
                raise faults.precondition("key_mismatch", "used for another request")
            return replace(kept.answer, replayed=True)
        _check_schema(commit.schema_version or 0, database.schema_version, commit.set_schema_version)
        base = commit.base_version
        if base is not None and base > database.version:
            raise faults.invalid("invalid_argument", "the base is newer than the newest version")
        _check_stale(database, commit, commit.depends_on)
        connection = database.connection
        before = _snapshot(connection)
        changes_before = connection.total_changes
        connection.execute("BEGIN")
        try:
            results = tuple(_run(connection, index, one)[0] for index, one in enumerate(commit.statements))
            _check_size(results, MAX_KEPT_BYTES)
            touched = frozenset() if commit.set_schema_version is not None else _touched(before, _snapshot(connection))
            _check_stale(database, commit, touched)
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
        if connection.total_changes == changes_before and commit.set_schema_version is None:
            return Committed(database.version, self._base(database, commit), results, False)
        database.version += 1
        quiet = (base is None and not commit.author) or commit.set_schema_version is not None
        database.history.append(Version(database.version, commit.author, quiet, touched))
        if commit.set_schema_version is not None:
            database.schema_version = commit.set_schema_version
        answer = Committed(database.version, self._base(database, commit), results, False)
        database.keys[commit.idempotency_key] = Kept(request, answer)
        return answer

    def _base(self, database: Database, commit: Commit) -> int:
        if commit.base_version is None:
            return 0
        return commit.base_version if _others(database, commit) else database.version

    def _open(self, database: str) -> Database:
        if database not in self.databases:
            # Statements run in a worker thread of none: one event loop, one thread.
            self.databases[database] = Database(sqlite3.connect(":memory:", isolation_level=None))
        return self.databases[database]

    async def _pause(self) -> None:
        self.waiting += 1
        try:
            await self.free.wait()
        finally:
            self.waiting -= 1
        await asyncio.sleep(self.delay_s)
        if self.refusals:
            raise self.refusals.pop(0)


@contextmanager
def _undone(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")


def _run(connection: sqlite3.Connection, index: int, statement: Statement) -> tuple[Rows, int]:
    before = connection.total_changes
    try:
        cursor = connection.execute(statement.sql, statement.parameters)
        rows = cursor.fetchall()
    except sqlite3.IntegrityError as error:
        raise faults.invalid("constraint", str(error)) from error
    except sqlite3.Error as error:
        raise faults.invalid("sql_error", f"{error} in {statement.sql}") from error
    columns = tuple(column[0] for column in cursor.description or ())
    reads = statement.sql.lstrip().upper().startswith(("SELECT", "WITH"))
    actual = len(rows) if reads else connection.total_changes - before
    if statement.require_rows is not None and actual != statement.require_rows:
        raise faults.precondition("requirement_unmet", "not so many rows", statement=str(index), actual=str(actual))
    return Rows(columns, tuple(tuple(row) for row in rows)), actual


def _check_schema(wanted: int, actual: int, target: int | None) -> None:
    if wanted == actual:
        return
    if actual > (wanted if target is None else target):
        raise faults.precondition("schema_newer", "the database is newer than this code")
    raise faults.precondition("schema_mismatch", "another schema version", expected=str(wanted), actual=str(actual))


def _check_size(results: Sequence[Rows], limit_bytes: int) -> None:
    if sum(len(rows.rows) for rows in results) > MAX_ROWS:
        raise faults.exhausted("too_many_rows", "too many rows")
    if sum(len(str(value)) + 8 for rows in results for row in rows.rows for value in row) > limit_bytes:
        raise faults.exhausted("too_many_bytes", "too many bytes")


def _others(database: Database, commit: Commit) -> list[Version]:
    base = commit.base_version or 0
    return [
        one
        for one in database.history
        if one.number > base and not one.quiet and (not commit.author or one.author != commit.author)
    ]


def _check_stale(database: Database, commit: Commit, rows: Sequence[RowKey] | frozenset[RowKey]) -> None:
    if commit.base_version is None:
        return
    clashes = [row for one in _others(database, commit) for row in sorted(one.rows & set(rows), key=repr)]
    if clashes:
        stale = Staleness(commit.base_version, database.version, tuple(dict.fromkeys(clashes)))
        raise Fault(Kind.CONFLICT, "stale_session", "changed elsewhere", details=(stale,))


def _snapshot(connection: sqlite3.Connection) -> dict[RowKey, tuple[Scalar, ...]]:
    tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    found: dict[RowKey, tuple[Scalar, ...]] = {}
    for table in tables:
        columns = connection.execute("SELECT name, pk FROM pragma_table_info(?)", (table,)).fetchall()
        keys = [
            index for index, (_, pk) in sorted(enumerate(columns), key=lambda item: item[1][1]) if columns[index][1]
        ]
        for row in connection.execute(f"SELECT * FROM {table}"):
            found[RowKey(table, tuple(row[index] for index in keys))] = tuple(row)
    return found


def _touched(before: dict[RowKey, tuple[Scalar, ...]], after: dict[RowKey, tuple[Scalar, ...]]) -> frozenset[RowKey]:
    return frozenset(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
