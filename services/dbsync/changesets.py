"""What SQLite's changesets say: which rows they change, in which tables, and how two of them differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import apsw

from dbsync.requests import RowKey


def rows(changeset: bytes, key_columns: Callable[[str], Sequence[int]]) -> tuple[RowKey, ...]:
    """The rows that a changeset inserts, updates or deletes, in its order; `key_columns` orders a key of many columns.

    UnicodeError for text that is none, also in a value that is not of the key: it could not be told apart later.
    """
    return tuple(_row(change, key_columns) for change in apsw.Changeset.iter(changeset))


def row(change: apsw.TableChange, key_columns: Mapping[str, Sequence[int]]) -> RowKey:
    """The row of a change that a table could not take."""
    return _row(change, lambda name: key_columns[name])


def tables(changeset: bytes) -> set[str]:
    """The tables that it changes."""
    return {change.name for change in apsw.Changeset.iter(changeset)}


def virtual(changeset: bytes, shadows: Mapping[str, str]) -> tuple[str, ...]:
    """The virtual tables behind whose shadows there are changes."""
    return tuple(sorted({shadows[name] for name in tables(changeset)}))


def inverse(changeset: bytes) -> bytes:
    """What takes it back."""
    return apsw.Changeset.invert(changeset)


def difference(done: bytes, wanted: bytes) -> bytes:
    """What is still to be done, after `done`, for the effect of `wanted`; empty when they are the same."""
    builder = apsw.ChangesetBuilder()  # type: ignore[no-untyped-call]  # its stub leaves the answer out
    try:
        builder.add(apsw.Changeset.invert(done))
        builder.add(wanted)
        return builder.output()
    finally:
        builder.close()


def _row(change: apsw.TableChange, key_columns: Callable[[str], Sequence[int]]) -> RowKey:
    old, new = change.old, change.new
    values = new if old is None else old
    if values is None:
        raise AssertionError("a change without values")
    columns: Sequence[int] = tuple(change.pk_columns)
    if len(columns) > 1:
        columns = key_columns(change.name)
    key = tuple(values[column] for column in columns)
    return RowKey(change.name, key)  # type: ignore[arg-type]  # a key is never left out as unchanged
