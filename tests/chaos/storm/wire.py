"""Deeds as requests of the contract, and its answers as what authors write down."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis import rpc_faults
from chassis.faults import Fault
from reel.dbsync.v1 import dbsync_pb2 as pb
from tests.chaos.storm.deeds import (
    READ,
    SCHEMA_MAX,
    Content,
    Deed,
    Done,
    Kind,
    Past,
    PastCommit,
    Refused,
    Row,
    migration,
)

METHODS = {Kind.UNDO: "Undo", Kind.RESTORE: "Restore"}  # every other kind is a Commit
KINDS = {
    pb.COMMIT_KIND_WRITE: Kind.WRITE,
    pb.COMMIT_KIND_SYSTEM: Kind.SYSTEM,
    pb.COMMIT_KIND_MIGRATION: Kind.MIGRATION,
    pb.COMMIT_KIND_UNDO: Kind.UNDO,
    pb.COMMIT_KIND_RESTORE: Kind.RESTORE,
}


def request(database: str, deed: Deed) -> Any:
    """What to ask."""
    same: dict[str, Any] = {
        "database": database,
        "base_version": deed.base,
        "idempotency_key": deed.key,
        "author": deed.author,
    }
    if deed.kind is Kind.UNDO:
        return pb.UndoRequest(
            **same, schema_version=deed.schema, version=deed.target_version, commit_id=deed.target_commit
        )
    if deed.kind is Kind.RESTORE:
        return pb.RestoreRequest(
            **same, schema_version=deed.schema, version=deed.target_version, migrations=_migrations()
        )
    made = pb.CommitRequest(
        **same,
        schema_version=deed.schema,
        statements=[_statement(text, parameters) for text, parameters in deed.statements()],
        scope=pb.SCOPE_DATABASE if deed.strict else pb.SCOPE_ROWS,
        depends_on=[pb.RowRef(table="notes", key=[pb.Value(text=note)]) for note in deed.depends_on],
    )
    if deed.kind is Kind.MIGRATION:
        made.set_schema_version = deed.schema + 1
    return made


def done(deed: Deed, answer: Any) -> Done:
    """What was acknowledged."""
    if deed.kind is Kind.RESTORE:
        return Done(answer.version, answer.version, answer.replayed)
    if deed.kind is Kind.UNDO:
        return Done(answer.version, answer.base_version, answer.replayed)
    counter = next((plain(one.rows.rows[0])[0] for one in answer.results if one.rows.rows), None)
    return Done(answer.version, answer.base_version, answer.replayed, counter)


def refused(fault: Fault) -> Refused:
    """What was refused."""
    detail = rpc_faults.detail(fault, pb.ConflictDetail)
    if detail is None:
        return Refused(fault.reason, why=fault.metadata.get("why", ""))
    rows = tuple((_row(one.row), one.version, one.author) for one in detail.rows)
    return Refused(fault.reason, detail.head_version, rows)


def read(database: str, min_version: int | None) -> pb.QueryRequest:
    """Everything, at a version."""
    statements = [pb.Statement(sql=text) for text in READ]
    return pb.QueryRequest(database=database, statements=statements, min_version=min_version)


def content(answer: pb.QueryResponse) -> Content:
    """What `read` answered."""
    notes, marks, counter = ([plain(row) for row in one.rows] for one in answer.results)
    return Content(dict(notes), marks[0][0], counter[0][0])


def past(began_s: float, ended_s: float, answer: pb.HistoryResponse) -> Past:
    """A page of the history."""
    found = []
    for version in answer.versions:
        commits = tuple(
            PastCommit(
                one.commit_id,
                one.author,
                KINDS[one.kind],
                frozenset(_row(touched.row) for touched in one.rows),
                one.undoes,
                one.restores,
            )
            for one in version.commits
        )
        found.append((version.version, commits))
    return Past(began_s, ended_s, answer.head_version, tuple(found))


def plain(row: pb.Row) -> tuple[Any, ...]:
    """A row off the wire."""
    return tuple(getattr(one, one.WhichOneof("kind") or "text") for one in row.values)


def _migrations() -> list[pb.Migration]:
    return [
        pb.Migration(
            from_schema_version=schema - 1,
            to_schema_version=schema,
            statements=[_statement(text, ()) for text in migration(schema)],
        )
        for schema in range(2, SCHEMA_MAX + 1)
    ]


def _statement(text: str, parameters: Sequence[str]) -> pb.Statement:
    return pb.Statement(sql=text, parameters=[pb.Value(text=one) for one in parameters])


def _row(row: pb.RowRef) -> Row:
    return row.table, tuple(getattr(one, one.WhichOneof("kind") or "text") for one in row.key)
