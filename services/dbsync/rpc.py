"""The contract reel.dbsync.v1: protobuf in, plain values inside, protobuf out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from chassis import faults, ids
from chassis.credentials import Caller
from chassis.faults import Fault, Kind, invalid
from dbsync.clock import SystemClock
from dbsync.commit import Spent
from dbsync.conflicts import Conflict
from dbsync.databases import Databases
from dbsync.requests import CommitRequest, QueryRequest, RowKey, RowSet, Statement
from dbsync.slots import valid_database
from dbsync.sqlguard import Limits
from dbsync.transaction import KEY_KEPT_MS
from dbsync.wire import Value
from reel.dbsync.v1 import dbsync_pb2 as pb
from reel.dbsync.v1 import dbsync_pb2_grpc

SERVICE = "reel.dbsync.v1.DbSyncService"
AUTHOR_MAX, DEPENDS_MAX = 128, 1000
ROWS_ON_LOOP = 200  # more are packed in a thread: 10,000 rows would hold up every other call for 100 ms
VERSION_MAX = (1 << 31) - 1  # SQLite keeps the schema version in 32 bits


def authorizer(owners: Mapping[str, str]) -> Callable[[Caller, Any], None]:
    """Refuses callers that do not own the database that they name.

    `owners` maps a database's id, or its part before the first dot, or * for all others, to the issuer that owns it.
    Ids that begin with _ belong to the system and are never covered by *.
    """

    def authorize(caller: Caller, request: Any) -> None:
        database = request.database
        owner = owners.get(database) or owners.get(database.partition(".")[0])
        if owner is None and not database.startswith("_"):
            owner = owners.get("*")
        if owner is None or owner != caller.issuer:
            raise faults.forbidden("not_owner", f"{caller.issuer} may not use this database.")

    return authorize


class DbSync(dbsync_pb2_grpc.DbSyncServiceServicer):
    """The service's methods: check, call, reply."""

    def __init__(self, databases: Databases, limits: Limits, clock: SystemClock) -> None:
        self._databases = databases
        self._limits = limits
        self._clock = clock

    async def Query(self, request: pb.QueryRequest, context: Any) -> pb.QueryResponse:
        """Read-only statements at one version."""
        asked = QueryRequest(
            database=_database(request.database),
            statements=self._statements(request.statements),
            schema_version=_optional(request, "schema_version"),
            min_version=_optional(request, "min_version"),
        )
        async with self._databases.use(asked.database) as database:
            result, spent = await database.query(asked)
        return pb.QueryResponse(
            version=result.version,
            schema_version=result.schema_version,
            results=await _row_sets(result.results),
            timing=_timing(spent),
        )

    async def Commit(self, request: pb.CommitRequest, context: Any) -> pb.CommitResponse:
        """One transaction, durable when it is answered."""
        asked = self._commit(request)
        try:
            async with self._databases.use(asked.database) as database:
                result, spent = await database.commit(asked)
        except Conflict as conflict:
            raise _stale(asked.database, conflict) from conflict
        rows = await _row_sets([one.rows for one in result.results])
        return pb.CommitResponse(
            version=result.version,
            base_version=result.base_version,
            results=[
                pb.StatementResult(rows=packed, changes=one.changes)
                for packed, one in zip(rows, result.results, strict=True)
            ],
            replayed=result.replayed,
            timing=_timing(spent),
        )

    async def Head(self, request: pb.HeadRequest, context: Any) -> pb.HeadResponse:
        """The newest version, as of now."""
        async with self._databases.use(_database(request.database)) as database:
            head, spent = await database.head()
        response = pb.HeadResponse(
            version=head.version, schema_version=head.schema_version, author=head.author, timing=_timing(spent)
        )
        if head.version:
            response.committed.FromMilliseconds(head.committed_ms)
        return response

    def _commit(self, request: pb.CommitRequest) -> CommitRequest:
        if len(request.author) > AUTHOR_MAX:
            raise invalid("invalid_argument", f"An author has at most {AUTHOR_MAX} characters.")
        if len(request.depends_on) > DEPENDS_MAX:
            raise invalid("invalid_argument", f"A commit depends on at most {DEPENDS_MAX} rows.")
        schema_version = _optional(request, "schema_version")
        target = _optional(request, "set_schema_version")
        if target is not None and not (schema_version or 0) < target <= VERSION_MAX:
            raise invalid("invalid_argument", "A migration sets a schema version above the one that it begins from.")
        return CommitRequest(
            database=_database(request.database),
            statements=self._statements(request.statements),
            idempotency_key=self._key(request.idempotency_key),
            author=request.author,
            schema_version=schema_version,
            base_version=_optional(request, "base_version"),
            scope_database=request.scope == pb.SCOPE_DATABASE,
            depends_on=tuple(RowKey(row.table, tuple(_value(v) for v in row.key)) for row in request.depends_on),
            set_schema_version=target,
        )

    def _key(self, text: str) -> bytes:
        try:
            made_ms = ids.uuid7_time_ms(text)
        except ValueError as error:
            raise invalid("invalid_argument", "idempotency_key must be a UUIDv7 in lower case.") from error
        if made_ms < self._clock.wall_ms() - KEY_KEPT_MS:
            raise faults.precondition(
                "key_expired", "The idempotency key is older than 30 days: whether it was used is not known any more."
            )
        return bytes.fromhex(text.replace("-", ""))

    def _statements(self, statements: Iterable[pb.Statement]) -> tuple[Statement, ...]:
        found = tuple(
            Statement(one.sql, tuple(_value(value) for value in one.parameters), _optional(one, "require_rows"))
            for one in statements
        )
        if not 0 < len(found) <= self._limits.statements:
            raise invalid("invalid_argument", f"A call holds 1 to {self._limits.statements} statements.")
        return found


def _database(name: str) -> str:
    if not valid_database(name):
        raise invalid("invalid_argument", "A database's id is 1 to 128 letters, digits, dots, dashes and underscores.")
    return name


def _optional(message: Any, field: str) -> int | None:
    if not message.HasField(field):
        return None
    value = int(getattr(message, field))
    if value < 0:
        raise invalid("invalid_argument", f"{field} must not be negative.")
    return value


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


async def _row_sets(results: Sequence[RowSet]) -> list[pb.RowSet]:
    if sum(len(one.rows) for one in results) <= ROWS_ON_LOOP:
        return [_row_set(one) for one in results]
    return await asyncio.to_thread(lambda: [_row_set(one) for one in results])


def _row_set(rows: RowSet) -> pb.RowSet:
    return pb.RowSet(
        columns=rows.columns, rows=[pb.Row(values=[_pb_value(value) for value in row]) for row in rows.rows]
    )


def _timing(spent: Spent) -> pb.Timing:
    return pb.Timing(queue_ms=spent.queue_ms, run_ms=spent.run_ms, put_ms=spent.put_ms, catch_up_ms=spent.catch_up_ms)


def _stale(database: str, conflict: Conflict) -> Fault:
    detail = pb.ConflictDetail(
        database=database,
        base_version=conflict.base_version,
        head_version=conflict.head_version,
        rows=[
            pb.ConflictDetail.ConflictingRow(
                row=pb.RowRef(table=clash.row.table, key=[_pb_value(value) for value in clash.row.key]),
                version=clash.version,
                author=clash.author,
            )
            for clash in conflict.clashes
        ],
    )
    return Fault(
        Kind.CONFLICT,
        "conflict",
        f"Somebody else changed this since version {conflict.base_version}; read again, then decide.",
        metadata={"base_version": str(conflict.base_version), "head_version": str(conflict.head_version)},
        details=(detail,),
    )
