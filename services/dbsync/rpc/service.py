"""The contract reel.dbsync.v1, method by method: check, call, reply."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from chassis import faults, ids
from chassis.credentials import Caller
from chassis.faults import invalid
from dbsync.clock import SystemClock
from dbsync.commit import Spent
from dbsync.conflicts import Conflict
from dbsync.databases import Databases
from dbsync.requests import CommitRequest, CommitResult, HistoryRequest, QueryRequest, Target
from dbsync.rpc import messages, whole
from dbsync.sqlguard import Limits
from dbsync.transaction import KEY_KEPT_MS
from reel.dbsync.v1 import dbsync_pb2 as pb
from reel.dbsync.v1 import dbsync_pb2_grpc

SERVICE = "reel.dbsync.v1.DbSyncService"
AUTHOR_MAX, DEPENDS_MAX = 128, 1000
VERSION_MAX = (1 << 31) - 1  # SQLite keeps the schema version in 32 bits
PAGE, PAGE_MAX = 50, 100  # versions of the history
_COMMIT_ID = re.compile(r"[0-9a-f]{32}")


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
    """The service's methods."""

    def __init__(self, databases: Databases, limits: Limits, clock: SystemClock) -> None:
        self._databases = databases
        self._limits = limits
        self._clock = clock

    async def Query(self, request: pb.QueryRequest, context: Any) -> pb.QueryResponse:
        """Read-only statements at one version."""
        asked = QueryRequest(
            database=messages.database(request.database),
            statements=messages.statements(request.statements, self._limits.statements),
            schema_version=messages.optional(request, "schema_version"),
            min_version=messages.optional(request, "min_version"),
        )
        async with self._databases.use(asked.database) as database:
            result, spent = await database.query(asked)
        return pb.QueryResponse(
            version=result.version,
            schema_version=result.schema_version,
            results=await messages.row_sets(result.results),
            timing=messages.timing(spent),
        )

    async def Commit(self, request: pb.CommitRequest, context: Any) -> pb.CommitResponse:
        """One transaction, durable when it is answered."""
        result, spent = await self._committed(self._commit(request))
        rows = await messages.row_sets([one.rows for one in result.results])
        return pb.CommitResponse(
            version=result.version,
            base_version=result.base_version,
            results=[
                pb.StatementResult(rows=packed, changes=one.changes)
                for packed, one in zip(rows, result.results, strict=True)
            ],
            replayed=result.replayed,
            timing=messages.timing(spent),
        )

    async def Head(self, request: pb.HeadRequest, context: Any) -> pb.HeadResponse:
        """The newest version, as of now."""
        async with self._databases.use(messages.database(request.database)) as database:
            head, spent = await database.head()
        response = pb.HeadResponse(
            version=head.version, schema_version=head.schema_version, author=head.author, timing=messages.timing(spent)
        )
        if head.version:
            response.committed.FromMilliseconds(head.committed_ms)
        return response

    async def History(self, request: pb.HistoryRequest, context: Any) -> pb.HistoryResponse:
        """Who changed which rows when."""
        asked = HistoryRequest(
            database=messages.database(request.database),
            before_version=messages.number(request, "before_version"),
            page_size=messages.number(request, "page_size") or PAGE,
            row=messages.row_key(request.row) if request.HasField("row") else None,
        )
        if asked.page_size > PAGE_MAX:
            raise invalid("invalid_argument", f"A page of the history has at most {PAGE_MAX} versions.")
        async with self._databases.use(asked.database) as database:
            page, spent = await database.history(asked)
        return await messages.history(page, spent)

    async def Undo(self, request: pb.UndoRequest, context: Any) -> pb.UndoResponse:
        """A new commit that puts back what an old one changed."""
        result, spent = await self._committed(self._undo(request))
        return pb.UndoResponse(
            version=result.version,
            base_version=result.base_version,
            commit_id=result.commit_id.hex(),
            replayed=result.replayed,
            timing=messages.timing(spent),
        )

    async def Restore(self, request: pb.RestoreRequest, context: Any) -> pb.RestoreResponse:
        """The content of an old version as a new one."""
        _users(messages.database(request.database))
        return await whole.restore(self._databases, self._limits, request, _author(request.author), self._key)

    async def Snapshot(self, request: pb.SnapshotRequest, context: Any) -> pb.SnapshotResponse:
        """A URL of the whole database as a file."""
        return await whole.snapshot(self._databases, request)

    async def Delete(self, request: pb.DeleteRequest, context: Any) -> pb.DeleteResponse:
        """The end of a database."""
        return await whole.delete(self._databases, _users(messages.database(request.database)))

    async def _committed(self, asked: CommitRequest) -> tuple[CommitResult, Spent]:
        try:
            async with self._databases.use(asked.database) as database:
                return await database.commit(asked)
        except Conflict as conflict:
            raise messages.stale(asked.database, conflict, undo=asked.undo is not None) from conflict

    def _commit(self, request: pb.CommitRequest) -> CommitRequest:
        if len(request.depends_on) > DEPENDS_MAX:
            raise invalid("invalid_argument", f"A commit depends on at most {DEPENDS_MAX} rows.")
        schema_version = messages.optional(request, "schema_version")
        target = messages.optional(request, "set_schema_version")
        if target is not None and not (schema_version or 0) < target <= VERSION_MAX:
            raise invalid("invalid_argument", "A migration sets a schema version above the one that it begins from.")
        return CommitRequest(
            database=messages.database(request.database),
            statements=messages.statements(request.statements, self._limits.statements),
            idempotency_key=self._key(request.idempotency_key),
            author=_author(request.author),
            schema_version=schema_version,
            base_version=messages.optional(request, "base_version"),
            scope_database=request.scope == pb.SCOPE_DATABASE,
            depends_on=tuple(messages.row_key(row) for row in request.depends_on),
            set_schema_version=target,
        )

    def _undo(self, request: pb.UndoRequest) -> CommitRequest:
        if not _COMMIT_ID.fullmatch(request.commit_id):
            raise invalid("invalid_argument", "A commit_id has 32 hexadecimal digits in lower case.")
        return CommitRequest(
            database=_users(messages.database(request.database)),
            statements=(),
            idempotency_key=self._key(request.idempotency_key),
            author=_author(request.author),
            schema_version=messages.number(request, "schema_version"),
            base_version=messages.optional(request, "base_version"),
            undo=Target(messages.number(request, "version"), bytes.fromhex(request.commit_id)),
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


def _author(author: str) -> str:
    if len(author) > AUTHOR_MAX:
        raise invalid("invalid_argument", f"An author has at most {AUTHOR_MAX} characters.")
    return author


def _users(database: str) -> str:
    """A database whose past may be brought back, and which may be deleted: many depend on the system's own."""
    if database.startswith("_"):
        raise invalid(
            "invalid_argument", "Databases of the system, whose ids begin with _, are never turned back or deleted."
        )
    return database
