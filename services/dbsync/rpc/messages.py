"""Between the contract's messages and dbsync's own values; the only module beside the methods that knows protobuf."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from chassis.faults import Fault, Kind, invalid
from dbsync.commit import Spent
from dbsync.conflicts import Conflict
from dbsync.requests import CommitKind, HistoryPage, PastCommit, RowChange, RowKey, RowSet, Statement
from dbsync.slots import valid_database
from dbsync.wire import Value
from reel.dbsync.v1 import dbsync_pb2 as pb

ROWS_ON_LOOP = 200  # more are packed in a thread: 10,000 rows would hold up every other call for 100 ms
CLASHES_BYTES = 4096  # a failure travels in the trailers, of which gRPC takes 8 KB
_KINDS = {
    CommitKind.WRITE: pb.COMMIT_KIND_WRITE,
    CommitKind.SYSTEM: pb.COMMIT_KIND_SYSTEM,
    CommitKind.MIGRATION: pb.COMMIT_KIND_MIGRATION,
    CommitKind.UNDO: pb.COMMIT_KIND_UNDO,
    CommitKind.RESTORE: pb.COMMIT_KIND_RESTORE,
}
_CHANGES = {
    RowChange.INSERT: pb.ROW_CHANGE_INSERT,
    RowChange.UPDATE: pb.ROW_CHANGE_UPDATE,
    RowChange.DELETE: pb.ROW_CHANGE_DELETE,
}


def database(name: str) -> str:
    """A database's id; Fault for what is none."""
    if not valid_database(name):
        raise invalid("invalid_argument", "A database's id is 1 to 128 letters, digits, dots, dashes and underscores.")
    return name


def optional(message: Any, field: str) -> int | None:
    """A number that may be absent; Fault for a negative one."""
    if not message.HasField(field):
        return None
    return number(message, field)


def number(message: Any, field: str) -> int:
    """A number; Fault for a negative one."""
    value = int(getattr(message, field))
    if value < 0:
        raise invalid("invalid_argument", f"{field} must not be negative.")
    return value


def statements(sent: Iterable[pb.Statement], most: int) -> tuple[Statement, ...]:
    """A call's statements, at least one and at most so many; Fault."""
    found = tuple(
        Statement(one.sql, tuple(_value(value) for value in one.parameters), optional(one, "require_rows"))
        for one in sent
    )
    if not 0 < len(found) <= most:
        raise invalid("invalid_argument", f"A call holds 1 to {most} statements.")
    return found


def row_key(row: pb.RowRef) -> RowKey:
    """A row by its key."""
    return RowKey(row.table, tuple(_value(one) for one in row.key))


def row_ref(row: RowKey) -> pb.RowRef:
    """A row by its key, on the wire."""
    return pb.RowRef(table=row.table, key=[_pb_value(value) for value in row.key])


async def row_sets(results: Sequence[RowSet]) -> list[pb.RowSet]:
    """What statements returned; many rows are packed beside the event loop."""
    if sum(len(one.rows) for one in results) <= ROWS_ON_LOOP:
        return [_row_set(one) for one in results]
    return await asyncio.to_thread(lambda: [_row_set(one) for one in results])


def timing(spent: Spent) -> pb.Timing:
    """Where the time went."""
    return pb.Timing(queue_ms=spent.queue_ms, run_ms=spent.run_ms, put_ms=spent.put_ms, catch_up_ms=spent.catch_up_ms)


def stale(database: str, conflict: Conflict, *, undo: bool = False) -> Fault:
    """A conflict as a failure that names the rows, as far as a failure has room for them."""
    detail = pb.ConflictDetail(
        database=database, base_version=conflict.base_version, head_version=conflict.head_version
    )
    left = CLASHES_BYTES
    for clash in conflict.clashes:
        row = pb.ConflictDetail.ConflictingRow(row=row_ref(clash.row), version=clash.version, author=clash.author)
        if (size := row.ByteSize() + 4) <= left:
            detail.rows.append(row)
            left -= size
    whose = "What it did was changed again" if undo else "Somebody else changed this"
    return Fault(
        Kind.CONFLICT,
        "conflict",
        f"{whose} since version {conflict.base_version}; read again, then decide.",
        metadata={"base_version": str(conflict.base_version), "head_version": str(conflict.head_version)},
        details=(detail,),
    )


async def history(page: HistoryPage, spent: Spent) -> pb.HistoryResponse:
    """A page of the past; it may name thousands of rows, so it is packed beside the event loop."""
    packed = await asyncio.to_thread(_history, page)
    packed.timing.CopyFrom(timing(spent))
    return packed


def _history(page: HistoryPage) -> pb.HistoryResponse:
    packed = pb.HistoryResponse(next_before_version=page.next_before_version, head_version=page.head_version)
    for one in page.versions:
        version = packed.versions.add(version=one.version, schema_version=one.schema_version)
        if one.committed_ms:
            version.committed.FromMilliseconds(one.committed_ms)
        version.commits.extend(_commit(made) for made in one.commits)
    return packed


def _commit(made: PastCommit) -> pb.HistoryResponse.Commit:
    return pb.HistoryResponse.Commit(
        commit_id=made.commit_id.hex(),
        author=made.author,
        kind=_KINDS[made.kind],
        rows=[pb.HistoryResponse.Touched(row=row_ref(row), change=_CHANGES[change]) for row, change in made.rows],
        row_count=made.row_count,
        undoable=made.undoable,
        undoes=made.undoes.hex(),
        restores=made.restores,
    )


def _row_set(rows: RowSet) -> pb.RowSet:
    return pb.RowSet(
        columns=rows.columns, rows=[pb.Row(values=[_pb_value(value) for value in row]) for row in rows.rows]
    )


def _value(value: pb.Value) -> Value:
    kind = value.WhichOneof("kind")
    if kind is None or kind == "null":
        return None
    found: Value = getattr(value, kind)
    return found


def _pb_value(value: Value) -> pb.Value:
    if value is None:
        return pb.Value(null=pb.Null())
    if isinstance(value, int):
        return pb.Value(integer=value)
    if isinstance(value, float):
        return pb.Value(real=value)
    if isinstance(value, str):
        return pb.Value(text=value)
    return pb.Value(blob=value)
