"""What a restore carries forward from the present: the idempotency keys, the state, and the rows of named tables.

1. Every key goes forward, so that a retry of what was done before the restore does nothing
   (test_restore.py::test_keys_are_carried_forward).
2. A table that is named has all rows that it has at present; an old row stays only where the present has none of its
   key (test_carry.py::test_present_rows_win).
3. Carrying again, from a newer present, leaves nothing of the present before (test_carry.py::test_carried_again).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import apsw

from chassis.faults import exhausted, invalid
from dbsync import changesets, schema_rules
from dbsync.pages import Delta, Step
from dbsync.replica import Replica
from dbsync.sqlguard import Guard
from dbsync.wire import Value

_ROWS_AT_ONCE = 200
_NEXT_KEYS = "SELECT key, request, version, result FROM _dbsync_keys WHERE key > ? ORDER BY key LIMIT ?"
_DROP_KEYS = "DELETE FROM _dbsync_keys"
_ADD_KEY = "INSERT INTO _dbsync_keys VALUES (?, ?, ?, ?)"
_SET_STATE = "UPDATE _dbsync_state SET version = ?, committed_ms = ?, author = ?"
_COLUMNS = "SELECT name, pk FROM pragma_table_info(?) ORDER BY cid"
_TRIGGERS = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = lower(?)"


@dataclass(frozen=True, slots=True)
class Mark:
    """What the new version is known by: its number, time and author, and the key row of the request that made it."""

    version: int
    committed_ms: int
    author: str
    key: tuple[bytes, bytes, int, bytes]


def carry(present: Replica, built: Replica, mark: Mark, tables: Sequence[str], before: bytes = b"") -> bytes:
    """Gives the copy what the present carries forward, and the mark of the new version; the changeset of the tables.

    `before` is what an earlier call returned, for a present that is no longer the newest: it is taken back first. Fault
    when a table cannot keep its present rows, or they do not fit.
    """
    guard = built.begin(foreign_keys=False)
    try:
        with present.reader() as (reading, _):
            if before:
                guard.apply(changesets.inverse(before), _abort, triggers=False)
            _carry_keys(reading, guard)
            for table in tables:
                _check_table(reading, guard, table)
            with guard.recording(tables) as recording:
                for table in tables:
                    _carry_rows(reading, guard, table)
                carried = recording()
        if tables:
            schema_rules.check(guard)  # a present row may refer to what the old content does not have
        guard.own(_ADD_KEY, mark.key)
        guard.own(_SET_STATE, (mark.version, mark.committed_ms, mark.author))
        commit(built, built.schema_version)
    except apsw.FullError as error:
        raise exhausted(
            "database_full", "The restored content and what the present carries forward are too large together."
        ) from error
    finally:
        built.rollback()
    return carried


def commit(built: Replica, schema_version: int) -> None:
    """Commits the transaction of a copy that nobody reads and no log knows."""

    def passes(delta: Delta, step: Step) -> bool:
        return True

    built.commit(passes)
    built.advanced(built.version, schema_version)


def _carry_keys(reading: Guard, guard: Guard) -> None:
    guard.own(_DROP_KEYS)
    last = b""
    while found := reading.own(_NEXT_KEYS, (last, _ROWS_AT_ONCE)):
        for row in found:
            guard.own(_ADD_KEY, row)
        last = found[-1][0]


def _check_table(reading: Guard, guard: Guard, table: str) -> None:
    for one in (reading, guard):
        if table not in schema_rules.tables(one).recorded:
            raise invalid("invalid_argument", f"There is no table {table} whose present rows could stay.")
    if guard.own(_TRIGGERS, (table,)):
        raise invalid("invalid_argument", f"{table} has triggers, which would act on the rows that are to stay.")


def _carry_rows(reading: Guard, guard: Guard, table: str) -> None:
    columns = [name for name, _ in guard.own(_COLUMNS, (table,))]
    key = [name for _, name in sorted((pk, name) for name, pk in guard.own(_COLUMNS, (table,)) if pk)]
    target, names, keys = _quoted(table), ", ".join(map(_quoted, columns)), ", ".join(map(_quoted, key))
    rest = [column for column in columns if column not in key]
    update = ", ".join(f"{_quoted(column)} = excluded.{_quoted(column)}" for column in rest)
    put = (
        f"INSERT INTO {target} ({names}) VALUES ({_marks(len(columns))}) "  # noqa: S608 (quoted names of its own schema)
        f"ON CONFLICT ({keys}) DO {f'UPDATE SET {update}' if rest else 'NOTHING'}"
    )
    for row in _rows(reading, f"SELECT {names} FROM {target}", keys, [columns.index(name) for name in key]):  # noqa: S608
        guard.own(put, row)


def _rows(reading: Guard, select: str, keys: str, places: Sequence[int]) -> Iterator[tuple[Value, ...]]:
    """The rows of a table by its key, some at a time."""
    found = reading.own(f"{select} ORDER BY {keys} LIMIT ?", (_ROWS_AT_ONCE,))
    while found:
        yield from found
        last = tuple(found[-1][place] for place in places)
        more = f"{select} WHERE ({keys}) > ({_marks(len(places))}) ORDER BY {keys} LIMIT ?"
        found = reading.own(more, (*last, _ROWS_AT_ONCE))


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _abort(reason: int, change: apsw.TableChange) -> int:
    return apsw.SQLITE_CHANGESET_ABORT
