"""What a schema must look like so that every row can be named: checked after each migration, before it is durable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from chassis.faults import Fault, invalid
from dbsync.sqlguard import OWN_PREFIX, Guard

OWN_TABLES = frozenset({f"{OWN_PREFIX}keys", f"{OWN_PREFIX}state"})

_TABLES = "SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' AND name NOT GLOB 'sqlite_*'"
_KEY = 'SELECT "notnull" FROM pragma_table_info(?) WHERE pk > 0'
_KEY_ORDER = "SELECT cid FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk"
_KEY_INDEX = "SELECT 1 FROM pragma_index_list(?) WHERE origin = 'pk'"
_COLUMNS = "SELECT count(*) FROM pragma_table_info(?)"
_TRIGGERS = "SELECT DISTINCT lower(tbl_name) FROM sqlite_master WHERE type = 'trigger'"
_NAMING_OURS = (
    "SELECT name FROM sqlite_master WHERE name NOT IN (?, ?) AND tbl_name NOT IN (?, ?) "
    "AND instr(lower(name || ' ' || coalesce(sql, '')), ?)"
)


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one schema version: what is recorded by row, and what stands behind which virtual table."""

    recorded: frozenset[str] = frozenset()
    shadows: Mapping[str, str] = field(default_factory=dict)


def check(guard: Guard) -> None:
    """Raises a Fault unless every table has a primary key that is never NULL, references hold, and nothing is ours."""
    ours = sorted(OWN_TABLES)
    if naming := guard.own(_NAMING_OURS, (*ours, *ours, OWN_PREFIX)):
        raise invalid("sql_forbidden", f"{naming[0][0]} uses a name that begins with {OWN_PREFIX}, which is reserved.")
    for name, kind, without_rowid in guard.own(_TABLES):
        if kind == "table" and name not in OWN_TABLES:
            _check_key(guard, name, bool(without_rowid))
    if broken := guard.own('SELECT "table", parent FROM pragma_foreign_key_check LIMIT 1'):
        table, parent = broken[0]
        raise invalid("constraint", f"FOREIGN KEY constraint failed: rows of {table} refer to missing rows of {parent}")


def tables(guard: Guard) -> Tables:
    """What is recorded by row: all tables but ours, virtual ones and what stands behind those."""
    found = [(name, kind) for name, kind, _ in guard.own(_TABLES) if name not in OWN_TABLES]
    virtual = sorted((name for name, kind in found if kind == "virtual"), key=len, reverse=True)
    shadows = {}
    for shadow in (name for name, kind in found if kind == "shadow"):
        # A module names its shadows after its table; of two tables with a common beginning, the longer is meant.
        shadows[shadow] = next((name for name in virtual if shadow.lower().startswith(f"{name.lower()}_")), shadow)
    return Tables(frozenset(name for name, kind in found if kind == "table"), shadows)


def key_columns(guard: Guard, table: str) -> tuple[int, ...]:
    """The positions of a table's primary key columns, in the key's order."""
    return tuple(position for (position,) in guard.own(_KEY_ORDER, (table,)))


def column_count(guard: Guard, table: str) -> int:
    """How many columns a table stores, generated ones apart; 0 when there is no such table."""
    return int(guard.own(_COLUMNS, (table,))[0][0])


def triggered(guard: Guard) -> frozenset[str]:
    """The tables, in lower case, that have triggers."""
    return frozenset(name for (name,) in guard.own(_TRIGGERS))


def _check_key(guard: Guard, name: str, without_rowid: bool) -> None:
    columns = guard.own(_KEY, (name,))
    # A rowid table's INTEGER PRIMARY KEY is its rowid, never NULL, and needs no index.
    is_rowid = len(columns) == 1 and not without_rowid and not guard.own(_KEY_INDEX, (name,))
    if not columns or not (is_rowid or without_rowid or all(not_null for (not_null,) in columns)):
        raise _no_key(name)


def _no_key(name: str) -> Fault:
    return invalid(
        "invalid_argument", f"Table {name} has no PRIMARY KEY of NOT NULL columns: its rows could not be told apart."
    )
