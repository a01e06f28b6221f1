"""The job ledger's database, through dbsync."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chassis.ids import uuid7
from chassis.peers import Peers
from reel.dbsync.v1 import dbsync_pb2, dbsync_pb2_grpc
from render.ledger import Cell, Cells

TIMEOUT_S = 15.0
AUTHOR = "render"


class DbSyncDatabase:
    """One database; its id is the tenant of the calls."""

    def __init__(self, channel: Peers, database: str) -> None:
        self._channel = channel
        self._database = database
        self._stub = dbsync_pb2_grpc.DbSyncServiceStub(channel.grpc)

    async def query(self, schema_version: int, sql: str, parameters: Cells) -> list[list[Any]]:
        """Rows of a linearizable read."""
        request = dbsync_pb2.QueryRequest(
            database=self._database, schema_version=schema_version, statements=[_statement(sql, parameters)]
        )
        response = await self._call(self._stub.Query, request)
        return _rows(response.results[0])

    async def commit(
        self, schema_version: int, statements: Sequence[tuple[str, Cells]], key: str
    ) -> list[list[list[Any]]]:
        """One transaction, done once for an idempotency key however often it is asked for."""
        request = dbsync_pb2.CommitRequest(
            database=self._database,
            schema_version=schema_version,
            statements=[_statement(sql, parameters) for sql, parameters in statements],
            idempotency_key=key,
            author=AUTHOR,
        )
        response = await self._call(self._stub.Commit, request)
        return [_rows(result.rows) for result in response.results]

    async def migrate(self, schema_version: int, statements: Sequence[str], new_version: int) -> None:
        """A transaction that sets the schema version."""
        request = dbsync_pb2.CommitRequest(
            database=self._database,
            schema_version=schema_version,
            statements=[_statement(sql, ()) for sql in statements],
            idempotency_key=uuid7(),
            author=AUTHOR,
            set_schema_version=new_version,
        )
        await self._call(self._stub.Commit, request)

    async def _call(self, method: Any, request: Any) -> Any:
        return await self._channel.call(method, request, tenant=self._database, timeout_s=TIMEOUT_S)


def _statement(sql: str, parameters: Cells) -> dbsync_pb2.Statement:
    return dbsync_pb2.Statement(sql=sql, parameters=[_value(cell) for cell in parameters])


def _value(cell: Cell) -> dbsync_pb2.Value:
    match cell:
        case None:
            return dbsync_pb2.Value(null=dbsync_pb2.Null())
        case int():
            return dbsync_pb2.Value(integer=cell)
        case float():
            return dbsync_pb2.Value(real=cell)
        case str():
            return dbsync_pb2.Value(text=str(cell))
        case bytes():
            return dbsync_pb2.Value(blob=cell)


def _rows(rows: dbsync_pb2.RowSet) -> list[list[Any]]:
    return [[_cell(value) for value in row.values] for row in rows.rows]


def _cell(value: dbsync_pb2.Value) -> Any:
    kind = value.WhichOneof("kind")
    return None if kind in (None, "null") else getattr(value, kind)
