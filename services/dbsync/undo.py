"""Undoing a commit of the past: its changeset inverted, and applied where the rows still hold what it left.

1. All of it or nothing: when one row holds another value than the commit left, or one of its references or constraints
   stands against it, nothing is changed and the rows are named (test_undo.py::test_what_stands_against_it).
2. What is undone is the changeset, no less and no more, whatever triggers do: they run only so that virtual tables
   follow, and what else they did is put right without them (test_undo_tables.py::test_a_counting_trigger,
   ::test_a_search_index_follows).
3. What a changeset does not hold is never half undone: then the undo is refused (test_undo.py::test_not_undoable,
   test_undo_tables.py::test_an_index_written_by_hand).

An update is compared by the columns that it changed: an edit of another column of the row does not stand against it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import apsw

from chassis.faults import Fault, invalid, not_found, precondition, unavailable
from dbsync import changesets, conflicts, schema_rules
from dbsync.conflicts import NAMED_MAX, Earlier
from dbsync.log_format import SubCommit
from dbsync.requests import RowKey, Target
from dbsync.schema_rules import Tables
from dbsync.slots import Damaged, Slots, StoreUnavailable
from dbsync.sqlguard import Guard

_WHY = {
    "migration": "It changed the schema.",
    "restore": "It restored a version; restore the version before it instead.",
    "system": "It was made by a service, which relies on it.",
    "schema": "The schema has changed since.",
    "unrecorded": "What it changed is not recorded by row.",
    "virtual": "It wrote to a virtual table by itself, whose old content is not known.",
    "triggers": "Triggers would do something else with it than they did.",
}
_DANGLING = 'SELECT DISTINCT "table", fkid FROM pragma_foreign_key_check LIMIT 20'
_REFERENCE = 'SELECT "table", "from", "to" FROM pragma_foreign_key_list(?) WHERE id = ? ORDER BY seq'
_KEY_NAMES = "SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk"


@dataclass(frozen=True, slots=True)
class Found:
    """A commit to be undone, the schema version that it was made at, and what came after it in its own version."""

    sub: SubCommit
    schema_version: int
    later: tuple[Earlier, ...]


Targets = Mapping[Target, Found | Fault]


def find_all(slots: Slots, targets: Iterable[Target | None], head: int, deadline_s: float) -> Targets:
    """The commits, read from the log up to version `head`; a Fault for each that cannot be had. DatabaseDeleted."""
    return {one: _find(slots, one, head, deadline_s) for one in dict.fromkeys(targets) if one is not None}


def _find(slots: Slots, target: Target, head: int, deadline_s: float) -> Found | Fault:
    if not 0 < target.version <= head:
        return not_found("no_such_version", f"The database has no version {target.version}; its newest is {head}.")
    try:
        entry = slots.read(target.version, deadline_s)
        if entry is None:
            raise slots.missing(target.version)
    except Damaged:
        return precondition("version_gone", f"The entry of version {target.version} is damaged.")
    except StoreUnavailable as error:
        fault = unavailable("store_unavailable", f"The commit to be undone could not be read: {error}. Try again.")
        fault.retry_after_s = 1.0
        return fault
    for index, sub in enumerate(entry.subs):
        if sub.commit_id == target.commit_id:
            later = tuple(conflicts.earlier(entry.version, one) for one in entry.subs[index + 1 :])
            return Found(sub, entry.schema_version, later)
    return not_found("no_such_commit", f"Version {target.version} has no commit {target.commit_id.hex()}.")


def why_not(sub: SubCommit) -> str:
    """Why a commit can never be undone; empty when nothing but present values can stand against it."""
    if sub.migration:
        return "migration"
    if sub.restores:
        return "restore"
    if sub.system:
        return "system"
    return "" if sub.changeset else "unrecorded"


def check(found: Found, schema_version: int) -> None:
    """Raises a Fault when the commit cannot be undone at this schema version."""
    if why := why_not(found.sub):
        raise _not_undoable(why)
    if found.schema_version != schema_version:
        # A changeset names no columns: only the same schema version says that they are the same.
        raise _not_undoable("schema")


def put_back(guard: Guard, sub: SubCommit, tables: Tables) -> tuple[RowKey, ...]:
    """Takes back what the commit changed, in the transaction under way; the rows that stand against it, if any do.

    Then the transaction is to be rolled back, as after a Fault. TransactionLost.
    """
    wanted = changesets.inverse(sub.changeset)
    keys = _keys(guard, wanted, tables)
    with guard.bounded():
        guard.own("SAVEPOINT undo")
        if against := _exactly(guard, wanted, keys):
            return against
        if tables.shadows:
            guard.own("ROLLBACK TO undo")
            _with_triggers(guard, sub, wanted, tables)
        guard.own("RELEASE undo")
    return ()


def _keys(guard: Guard, changeset: bytes, tables: Tables) -> Mapping[str, Sequence[int]]:
    """The key columns of the tables that are changed; a Fault when one has not the shape that the changeset has."""
    keys: dict[str, Sequence[int]] = {}
    for change in apsw.Changeset.iter(changeset):
        if change.name not in keys:
            key = schema_rules.key_columns(guard, change.name)
            columns = schema_rules.column_count(guard, change.name)
            # SQLite would skip a table of another shape without a word.
            if change.name not in tables.recorded or (change.column_count, change.pk_columns) != (columns, set(key)):
                raise _not_undoable("schema")
            keys[change.name] = key
    return keys


def _exactly(guard: Guard, changeset: bytes, keys: Mapping[str, Sequence[int]]) -> tuple[RowKey, ...]:
    """Applies the changeset alone; the rows that stand against it, the first NAMED_MAX of them."""
    other: list[RowKey] = []  # rows that hold something else
    barred: list[RowKey] = []  # rows that a constraint keeps out
    dangling = 0

    def meet(reason: int, change: apsw.TableChange) -> int:
        nonlocal dangling
        if reason == apsw.SQLITE_CHANGESET_FOREIGN_KEY:
            dangling = change.fk_conflicts or 0
        else:
            rows = barred if reason == apsw.SQLITE_CHANGESET_CONSTRAINT else other
            if len(rows) < NAMED_MAX:
                rows.append(changesets.row(change, keys))
        return apsw.SQLITE_CHANGESET_OMIT

    guard.apply(changeset, meet, triggers=False)
    # What was left out may itself be why a constraint or a reference is broken.
    against = other or barred
    if dangling and not against:
        against = _dangling(guard)
        if not against:
            raise invalid("constraint", "FOREIGN KEY constraint failed")
    return tuple(against)


def _with_triggers(guard: Guard, sub: SubCommit, wanted: bytes, tables: Tables) -> None:
    """Applies the changeset with triggers, so that virtual tables follow, and puts right what else they did."""
    with guard.recording(tables.recorded) as recorded, guard.recording(tables.shadows) as behind:
        guard.apply(wanted, _yield, triggers=True)
        if rest := changesets.difference(recorded(), wanted):
            # Triggers of these rows would have to run again, without end.
            again = {name.lower() for name in changesets.tables(rest)} & schema_rules.triggered(guard)
            if again or _exactly(guard, rest, _keys(guard, rest, tables)):
                raise _not_undoable("triggers")
        if not set(sub.virtual) <= set(changesets.virtual(behind(), tables.shadows)):
            raise _not_undoable("virtual")


def _yield(reason: int, change: apsw.TableChange) -> int:
    """Whatever a trigger did first is overwritten."""
    replaceable = (apsw.SQLITE_CHANGESET_DATA, apsw.SQLITE_CHANGESET_CONFLICT)
    return apsw.SQLITE_CHANGESET_REPLACE if reason in replaceable else apsw.SQLITE_CHANGESET_OMIT


def _dangling(guard: Guard) -> list[RowKey]:
    """Rows that refer to what is not there."""
    found: list[RowKey] = []
    for table, number in guard.own(_DANGLING):
        reference = guard.own(_REFERENCE, (table, number))
        parent = reference[0][0]
        key = [name for (name,) in guard.own(_KEY_NAMES, (table,))]
        parent_key = [name for (name,) in guard.own(_KEY_NAMES, (parent,))]
        pairs = [(column, to or parent_key[place]) for place, (_, column, to) in enumerate(reference)]
        matched = " AND ".join(f"p.{_quoted(to)} = c.{_quoted(column)}" for column, to in pairs)
        refers = " AND ".join(f"c.{_quoted(column)} IS NOT NULL" for column, _ in pairs)
        names = ", ".join(f"c.{_quoted(name)}" for name in key)
        missing = f"NOT EXISTS (SELECT 1 FROM {_quoted(parent)} p WHERE {matched})"  # noqa: S608 - quoted names
        text = f"SELECT {names} FROM {_quoted(table)} c WHERE {refers} AND {missing} LIMIT ?"  # noqa: S608 - as above
        rows = guard.own(text, (NAMED_MAX - len(found),))
        found.extend(RowKey(table, tuple(row)) for row in rows)
    return found


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _not_undoable(why: str) -> Fault:
    return precondition("not_undoable", f"This commit cannot be undone. {_WHY[why]}", why=why)
