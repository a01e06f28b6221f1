"""What SQL may do: which statements in which mode, how many rows, bytes and steps, how long.

The callers are trusted services, yet a compromised one must not reach files, other databases, or dbsync's own tables.

1. A statement is read, write or schema by its mode; everything that is not allowed is denied
   (test_hostile_sql.py, all of it).
2. What a changeset's triggers do while it is applied is held to the rules of a write
   (test_undo_tables.py::test_a_trigger_may_do_no_more_than_a_caller).
3. A statement prepared in one mode never runs in another: dbsync's own SQL carries a mark that is secret, and DDL
   bypasses the statement cache (test_hostile_sql.py::test_own_sql_is_not_reusable).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from typing import Any

import apsw

from chassis.faults import Fault, exhausted, invalid, precondition
from dbsync.requests import RowSet, Statement, StatementResult
from dbsync.wire import Value

OWN_PREFIX = "_dbsync_"
STEPS_PER_CHECK = 2000

_READ = {apsw.SQLITE_SELECT, apsw.SQLITE_READ, apsw.SQLITE_FUNCTION, apsw.SQLITE_RECURSIVE}
_WRITE = _READ | {apsw.SQLITE_INSERT, apsw.SQLITE_UPDATE, apsw.SQLITE_DELETE}
_SCHEMA = _WRITE | {
    apsw.SQLITE_ALTER_TABLE,
    apsw.SQLITE_CREATE_INDEX,
    apsw.SQLITE_CREATE_TABLE,
    apsw.SQLITE_CREATE_TRIGGER,
    apsw.SQLITE_CREATE_VIEW,
    apsw.SQLITE_CREATE_VTABLE,
    apsw.SQLITE_DROP_INDEX,
    apsw.SQLITE_DROP_TABLE,
    apsw.SQLITE_DROP_TRIGGER,
    apsw.SQLITE_DROP_VIEW,
    apsw.SQLITE_DROP_VTABLE,
    apsw.SQLITE_REINDEX,
}
_MODULES = {"fts5"}
_TABLE_FUNCTIONS = {"json_each", "json_tree"}
_FORBIDDEN_FUNCTIONS = {
    "load_extension",
    "readfile",
    "writefile",
    "edit",
    "fts3_tokenizer",
    "sqlite_compileoption_get",
    "sqlite_compileoption_used",
    "sqlite_offset",
}
# What describes the schema is harmless, and migrators need it; FTS5 asks for data_version itself.
_READABLE_PRAGMAS = {
    "data_version",
    "foreign_key_list",
    "index_info",
    "index_list",
    "table_info",
    "table_list",
    "table_xinfo",
}


class Mode(Enum):
    """What the statement being prepared may do."""

    OWN = "own"
    READ = "read"
    WRITE = "write"
    SCHEMA = "schema"
    APPLY = "applied"


# SQLite applies a changeset by statements of its own: in a savepoint, with foreign keys deferred.
_ALLOWED = {
    Mode.READ: _READ,
    Mode.WRITE: _WRITE,
    Mode.SCHEMA: _SCHEMA,
    Mode.APPLY: _WRITE | {apsw.SQLITE_SAVEPOINT},
}
# ALTER TABLE checks the rows that are there by a pragma when a column is added that not every value fits.
_PRAGMAS = {
    Mode.READ: _READABLE_PRAGMAS,
    Mode.WRITE: _READABLE_PRAGMAS,
    Mode.SCHEMA: _READABLE_PRAGMAS | {"quick_check"},
    Mode.APPLY: _READABLE_PRAGMAS | {"defer_foreign_keys", "index_xinfo"},
}


@dataclass(frozen=True)
class Limits:
    """Bounds on one call."""

    rows: int = 10_000
    result_bytes: int = 3 << 20
    kept_bytes: int = 1 << 20  # of a commit's results, which are kept beside its idempotency key
    steps: int = 50_000_000
    seconds: float = 5.0
    statements: int = 500
    sql_bytes: int = 100_000
    value_bytes: int = 4 << 20
    database_bytes: int = 128 << 20


class Broken(Exception):
    """The local copy cannot be trusted any more: open it again from the store."""


class TransactionLost(Exception):
    """SQLite rolled the whole transaction back; `fault` is the reason."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class Guard:
    """Watches one connection."""

    def __init__(self, connection: apsw.Connection, limits: Limits) -> None:
        self._connection = connection
        self._limits = limits
        # Own statements are cached under a text that no caller can write, so that none of theirs is taken for one.
        self._mark = f"/*{secrets.token_hex(16)}*/"
        self._mode = Mode.OWN
        self._denied = ""
        self._steps = 0
        self._until_s = 0.0
        self._rows = 0
        self._bytes = 0
        harden(connection, limits)
        connection.set_authorizer(self._authorize)

    def own(self, sql: str, parameters: tuple[Value, ...] = ()) -> list[Any]:
        """Runs dbsync's own statement; its rows."""
        return self._connection.execute(f"{self._mark}{sql}", parameters).fetchall()

    @contextmanager
    def budget(self) -> Iterator[None]:
        """One call's worth of rows, bytes, steps and time for the statements inside."""
        self._steps = self._rows = self._bytes = 0
        self._until_s = time.monotonic() + self._limits.seconds
        self._connection.set_progress_handler(self._tick, STEPS_PER_CHECK)
        try:
            yield
        finally:
            self._connection.set_progress_handler(None)

    def total_changes(self) -> int:
        """Rows changed by this connection so far."""
        return self._connection.total_changes()

    def unresolved_references(self) -> bool:
        """Whether deferred foreign keys are broken at this point of the transaction."""
        return self._connection.status(apsw.SQLITE_DBSTATUS_DEFERRED_FKS)[0] != 0

    @contextmanager
    def recording(self, tables: Collection[str]) -> Iterator[Callable[[], bytes]]:
        """Records the changes made inside to the tables; what is yielded returns their changeset."""
        if not tables:
            yield lambda: b""
            return
        session = apsw.Session(self._connection, "main")
        session.table_filter(lambda name: name in tables)
        session.attach()
        try:
            yield session.changeset
        finally:
            session.close()

    def run(self, statement: Statement, mode: Mode, index: int = 0) -> StatementResult:
        """Runs a caller's one statement inside `budget`; Fault for what is wrong with it.

        TransactionLost when SQLite gave up the transaction that it ran in.
        """
        if len(statement.sql) > self._limits.sql_bytes:
            raise exhausted("too_many_bytes", f"The SQL is longer than {self._limits.sql_bytes} characters.")
        with self._as(mode):
            return self._run(statement, mode, index)

    def apply(self, changeset: bytes, meet: Callable[[int, apsw.TableChange], int], *, triggers: bool) -> None:
        """Applies a changeset inside `budget`, with or without triggers, and without the actions of foreign keys.

        `meet` says what to do about a change that cannot be applied as it is. Fault, TransactionLost.
        """
        connection = self._connection

        def met(reason: int, change: apsw.TableChange) -> int:
            return meet(reason, change) if connection.in_transaction else apsw.SQLITE_CHANGESET_ABORT

        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, triggers)
        # A trigger may roll everything back, and SQLite would go on, each change in a transaction of its own.
        connection.set_commit_hook(lambda: True)
        try:
            with self._as(Mode.APPLY):
                try:
                    flags = apsw.SQLITE_CHANGESETAPPLY_FKNOACTION
                    apsw.Changeset.apply(changeset, connection, conflict=met, flags=flags)
                except apsw.AbortError:
                    pass
                if not connection.in_transaction:
                    raise apsw.ConstraintError("a trigger rolled the transaction back")
        finally:
            connection.set_commit_hook(None)
            connection.config(apsw.SQLITE_DBCONFIG_ENABLE_TRIGGER, 1)

    @contextmanager
    def bounded(self) -> Iterator[None]:
        """`budget` for dbsync's own work on what a caller named. Fault, TransactionLost."""
        with self.budget(), self._as(Mode.OWN):
            yield

    @contextmanager
    def _as(self, mode: Mode) -> Iterator[None]:
        """What a caller caused runs inside: its errors become faults."""
        self._mode, self._denied = mode, ""
        inside = self._connection.in_transaction
        try:
            yield
        except (apsw.CorruptError, apsw.IOError, apsw.NotADBError, apsw.CantOpenError) as error:
            raise Broken(f"the local file failed: {error}") from error
        except (apsw.Error, TypeError, OverflowError, UnicodeError) as error:
            fault = self._fault(error)
            if inside and not self._connection.in_transaction:
                raise TransactionLost(fault) from error
            raise fault from error
        finally:
            self._mode = Mode.OWN

    def _run(self, statement: Statement, mode: Mode, index: int) -> StatementResult:
        columns: list[tuple[str, ...]] = []
        readonly = True

        def trace(cursor: apsw.Cursor, sql: str, _: Any) -> bool:
            nonlocal readonly
            if columns:
                raise invalid("sql_error", "A statement holds one SQL statement; this one holds more.")
            if not cursor.has_vdbe:
                raise invalid("sql_error", "A statement holds one SQL statement; this one holds none.")
            columns.append(tuple(column[0] for column in cursor.get_description()))
            readonly = cursor.is_readonly
            if mode is Mode.READ and not readonly:
                raise invalid("sql_forbidden", "A query only reads; send writes as a commit.")
            return True

        cursor = self._connection.cursor()
        cursor.exec_trace = trace
        before = self._connection.total_changes()
        # DDL must be authorised each time it is prepared, so it is never taken from the cache.
        cursor.execute(statement.sql, statement.parameters, can_cache=mode is not Mode.SCHEMA)
        rows = []
        for row in cursor:
            self._count(row)
            rows.append(row)
        changes = self._connection.changes() if self._connection.total_changes() != before else 0
        actual = len(rows) if readonly else changes
        if statement.require_rows is not None and actual != statement.require_rows:
            raise precondition(
                "requirement_unmet",
                f"Statement {index} was to concern {statement.require_rows} rows and concerned {actual}.",
                statement=str(index),
                required=str(statement.require_rows),
                actual=str(actual),
            )
        return StatementResult(RowSet(columns[0] if columns else (), tuple(rows)), changes)

    def _count(self, row: tuple[Value, ...]) -> None:
        self._rows += 1
        if self._rows > self._limits.rows:
            raise exhausted("too_many_rows", f"More than {self._limits.rows} rows; ask for fewer at a time.")
        self._bytes += 8
        for value in row:
            if isinstance(value, str):
                self._bytes += 8 + (len(value) if value.isascii() else len(value.encode()))
            elif isinstance(value, bytes):
                self._bytes += 8 + len(value)
            else:
                self._bytes += 12
        if self._bytes > self._limits.result_bytes:
            raise exhausted("too_many_bytes", f"More than {self._limits.result_bytes} bytes; ask for less at a time.")

    def _tick(self) -> bool:
        self._steps += STEPS_PER_CHECK
        return self._steps > self._limits.steps or time.monotonic() > self._until_s

    def _authorize(
        self, action: int, first: str | None, second: str | None, schema: str | None, trigger: str | None
    ) -> int:
        if self._mode is Mode.OWN:
            return apsw.SQLITE_OK
        why = self._why_not(action, first, second, schema)
        if not why:
            return apsw.SQLITE_OK
        self._denied = self._denied or why
        return apsw.SQLITE_DENY

    def _why_not(self, action: int, first: str | None, second: str | None, schema: str | None) -> str:
        if action == apsw.SQLITE_ALTER_TABLE:  # it names the schema first, and last the column to be dropped
            first, schema = schema, first
        if action == apsw.SQLITE_PRAGMA:
            return "" if (first or "").lower() in _PRAGMAS[self._mode] else "PRAGMA is not allowed"
        if action not in _ALLOWED[self._mode]:
            return f"{_action_name(action)} is not allowed in a {self._mode.value} statement"
        # ALTER TABLE looks whether temporary triggers name the table; nothing temporary can be made here.
        looking = self._mode is Mode.SCHEMA and (first or "") == "sqlite_temp_master"
        if schema not in (None, "main") and not looking:
            return f"only the main database may be used, not {schema}"
        if action == apsw.SQLITE_FUNCTION:
            name = (second or "").lower()
            return f"the function {name} is not allowed" if name in _FORBIDDEN_FUNCTIONS else ""
        if action == apsw.SQLITE_CREATE_VTABLE and (second or "").lower() not in _MODULES:
            return f"virtual tables of {second} are not allowed"
        own = [name for name in (first, second) if name is not None and name.lower().startswith(OWN_PREFIX)]
        return f"{own[0]} is dbsync's own" if own else ""

    def _fault(self, error: BaseException) -> Fault:
        if self._denied and isinstance(error, apsw.AuthError | apsw.SQLError):
            return invalid("sql_forbidden", f"The SQL is not allowed: {self._denied}.")
        if isinstance(error, apsw.ConstraintError):
            return invalid("constraint", f"{error}")
        if isinstance(error, apsw.InterruptError):
            return exhausted("too_many_steps", "The statements took too much time or too many steps.")
        if isinstance(error, apsw.FullError):
            limit = self._limits.database_bytes
            return exhausted("database_full", f"The database would grow past its limit of {limit} bytes.")
        if isinstance(error, apsw.TooBigError | apsw.NoMemError):
            return exhausted("too_many_bytes", "A value or an intermediate result is too large.")
        return invalid("sql_error", f"The SQL failed: {error}")


def prepare_process() -> None:
    """Settings of SQLite itself, for a process of its own; to be called before the first connection.

    Without SQLite's lookaside memory a connection takes 48 KB less, most of which would be idle.
    """
    apsw.shutdown()
    apsw.config(apsw.SQLITE_CONFIG_LOOKASIDE, 0, 0)
    apsw.initialize()


def harden(connection: apsw.Connection, limits: Limits) -> None:
    """Switches off what no caller needs, and bounds what a statement may hold."""
    for option, value in (
        (apsw.SQLITE_DBCONFIG_DEFENSIVE, 1),
        (apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0),
        (apsw.SQLITE_DBCONFIG_WRITABLE_SCHEMA, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_LOAD_EXTENSION, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_FTS3_TOKENIZER, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, 0),
        (apsw.SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, 0),
        (apsw.SQLITE_DBCONFIG_DQS_DML, 0),
        (apsw.SQLITE_DBCONFIG_DQS_DDL, 0),
    ):
        connection.config(option, value)
    for limit, value in (
        (apsw.SQLITE_LIMIT_LENGTH, limits.value_bytes),
        (apsw.SQLITE_LIMIT_SQL_LENGTH, limits.sql_bytes),
        (apsw.SQLITE_LIMIT_ATTACHED, 0),
        (apsw.SQLITE_LIMIT_WORKER_THREADS, 0),
        (apsw.SQLITE_LIMIT_COLUMN, 500),
        (apsw.SQLITE_LIMIT_EXPR_DEPTH, 200),
        (apsw.SQLITE_LIMIT_COMPOUND_SELECT, 100),
        (apsw.SQLITE_LIMIT_FUNCTION_ARG, 100),
        (apsw.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1000),
        (apsw.SQLITE_LIMIT_TRIGGER_DEPTH, 20),
        (apsw.SQLITE_LIMIT_VDBE_OP, 250_000),
    ):
        connection.limit(limit, value)
    connection.drop_modules(_MODULES | _TABLE_FUNCTIONS)
    connection.pragma("temp_store", 2)  # memory: SQLite's own heap limit bounds it, and no file is written


def _action_name(action: int) -> str:
    name = apsw.mapping_authorizer_function.get(action, str(action))
    return str(name).removeprefix("SQLITE_").replace("_", " ")
