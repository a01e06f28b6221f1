"""dbsync over gRPC: the port Databases."""

from __future__ import annotations

from collections.abc import Sequence

from chassis import rpc_faults
from chassis.faults import Fault, Kind
from chassis.peers import Peers
from gateway.ports import Commit, Committed, Head, Reading, RowKey, Rows, Scalar, Staleness, Statement
from reel.dbsync.v1 import dbsync_pb2 as pb
from reel.dbsync.v1.dbsync_pb2_grpc import DbSyncServiceStub

QUERY_S = 10.0
COMMIT_S = 20.0
HEAD_S = 5.0


class DbSync:
    """The databases of dbsync; a database's id is the tenant of its calls."""

    def __init__(self, channel: Peers) -> None:
        self._channel = channel
        self._stub = DbSyncServiceStub(channel.grpc)

    async def query(
        self, database: str, statements: Sequence[Statement], *, schema_version: int, min_version: int | None
    ) -> Reading:
        """Reads; see the port."""
        request = pb.QueryRequest(
            database=database,
            schema_version=schema_version,
            statements=[_statement(one) for one in statements],
            min_version=min_version,
        )
        answer = await self._channel.call(self._stub.Query, request, tenant=database, timeout_s=QUERY_S)
        return Reading(answer.version, tuple(_rows(one) for one in answer.results))

    async def commit(self, commit: Commit) -> Committed:
        """Commits; see the port."""
        request = pb.CommitRequest(
            database=commit.database,
            schema_version=commit.schema_version,
            statements=[_statement(one) for one in commit.statements],
            base_version=commit.base_version,
            scope=pb.SCOPE_ROWS,
            idempotency_key=commit.idempotency_key,
            author=commit.author,
            depends_on=[
                pb.RowRef(table=row.table, key=[value_of(part) for part in row.key]) for row in commit.depends_on
            ],
            set_schema_version=commit.set_schema_version,
        )
        try:
            answer = await self._channel.call(self._stub.Commit, request, tenant=commit.database, timeout_s=COMMIT_S)
        except Fault as fault:
            raise staleness_of(fault) from fault
        results = tuple(_rows(one.rows) for one in answer.results)
        return Committed(answer.version, answer.base_version, results, answer.replayed)

    async def head(self, database: str) -> Head:
        """The newest version; see the port."""
        request = pb.HeadRequest(database=database)
        answer = await self._channel.call(self._stub.Head, request, tenant=database, timeout_s=HEAD_S)
        return Head(answer.version, answer.schema_version, answer.author)

    async def ready(self, timeout_s: float) -> bool:
        """Whether dbsync answers."""
        return await self._channel.ready(timeout_s)


def _statement(statement: Statement) -> pb.Statement:
    parameters = [value_of(value) for value in statement.parameters]
    return pb.Statement(sql=statement.sql, parameters=parameters, require_rows=statement.require_rows)


def value_of(value: Scalar) -> pb.Value:
    """A parameter."""
    if value is None:
        return pb.Value(null=pb.Null())
    if isinstance(value, bool | int):
        return pb.Value(integer=int(value))
    if isinstance(value, float):
        return pb.Value(real=value)
    if isinstance(value, str):
        return pb.Value(text=value)
    return pb.Value(blob=value)


def scalar_of(value: pb.Value) -> Scalar:
    """A result."""
    kind = value.WhichOneof("kind")
    if kind == "integer":
        return value.integer
    if kind == "real":
        return value.real
    if kind == "text":
        return value.text
    if kind == "blob":
        return value.blob
    return None


def _rows(rows: pb.RowSet) -> Rows:
    return Rows(tuple(rows.columns), tuple(tuple(scalar_of(value) for value in row.values) for row in rows.rows))


def staleness_of(fault: Fault) -> Fault:
    """A conflict in the port's words; any other fault as it is."""
    detail = rpc_faults.detail(fault, pb.ConflictDetail)
    if fault.kind is not Kind.CONFLICT or detail is None:
        return fault
    rows = tuple(RowKey(one.row.table, tuple(scalar_of(part) for part in one.row.key)) for one in detail.rows)
    stale = Staleness(detail.base_version, detail.head_version, rows)
    words = (
        "This was changed elsewhere since you read it. Refresh to get the latest; your own words are still with you."
    )
    return Fault(Kind.CONFLICT, "stale_session", words, details=(stale,))
