"""The past of dbsync's databases over gRPC: the port Archive."""

from __future__ import annotations

from datetime import UTC

from chassis.faults import Fault
from chassis.peers import Peers
from gateway.clients.databases import scalar_of, staleness_of, value_of
from gateway.domain.history import ChangeKind, History, PastCommit, PastRow, PastVersion, RowChange
from gateway.ports import Committed, Restore, RowKey, Undo
from reel.dbsync.v1 import dbsync_pb2 as pb
from reel.dbsync.v1.dbsync_pb2_grpc import DbSyncServiceStub

HISTORY_S = 15.0
UNDO_S = 20.0
RESTORE_S = 60.0  # it reads a snapshot and the log after it
SNAPSHOT_S = 60.0  # it may upload the whole database first

KINDS = {
    pb.COMMIT_KIND_WRITE: ChangeKind.EDIT,
    pb.COMMIT_KIND_SYSTEM: ChangeKind.SYSTEM,
    pb.COMMIT_KIND_MIGRATION: ChangeKind.SCHEMA,
    pb.COMMIT_KIND_UNDO: ChangeKind.UNDO,
    pb.COMMIT_KIND_RESTORE: ChangeKind.RESTORE,
}
CHANGES = {
    pb.ROW_CHANGE_INSERT: RowChange.INSERTED,
    pb.ROW_CHANGE_UPDATE: RowChange.UPDATED,
    pb.ROW_CHANGE_DELETE: RowChange.DELETED,
}


class DbSyncArchive:
    """The archive of dbsync; a database's id is the tenant of its calls."""

    def __init__(self, channel: Peers) -> None:
        self._channel = channel
        self._stub = DbSyncServiceStub(channel.grpc)

    async def history(self, database: str, *, before_version: int, page_size: int, row: RowKey | None) -> History:
        """A page of the past; see the port."""
        request = pb.HistoryRequest(database=database, before_version=before_version, page_size=page_size)
        if row is not None:
            request.row.CopyFrom(pb.RowRef(table=row.table, key=[value_of(part) for part in row.key]))
        answer = await self._channel.call(self._stub.History, request, tenant=database, timeout_s=HISTORY_S)
        versions = tuple(
            PastVersion(one.version, one.committed.ToDatetime(UTC), tuple(_commit(commit) for commit in one.commits))
            for one in answer.versions
        )
        return History(answer.head_version, versions, answer.next_before_version or None)

    async def undo(self, undo: Undo) -> Committed:
        """Puts back what a commit changed; see the port."""
        request = pb.UndoRequest(
            database=undo.database,
            schema_version=undo.schema_version,
            version=undo.version,
            commit_id=undo.commit_id,
            base_version=undo.base_version,
            idempotency_key=undo.idempotency_key,
            author=undo.author,
        )
        try:
            answer = await self._channel.call(self._stub.Undo, request, tenant=undo.database, timeout_s=UNDO_S)
        except Fault as fault:
            raise staleness_of(fault) from fault
        return Committed(answer.version, answer.base_version, (), answer.replayed)

    async def restore(self, restore: Restore) -> Committed:
        """Brings back an old version; see the port."""
        request = pb.RestoreRequest(
            database=restore.database,
            version=restore.version,
            schema_version=restore.schema_version,
            migrations=[
                pb.Migration(
                    from_schema_version=step.from_version,
                    to_schema_version=step.to_version,
                    statements=[pb.Statement(sql=sql) for sql in step.statements],
                )
                for step in restore.steps
            ],
            base_version=restore.base_version,
            idempotency_key=restore.idempotency_key,
            author=restore.author,
            present_tables=restore.present_tables,
        )
        try:
            answer = await self._channel.call(self._stub.Restore, request, tenant=restore.database, timeout_s=RESTORE_S)
        except Fault as fault:
            raise staleness_of(fault) from fault
        return Committed(answer.version, answer.version, (), answer.replayed)

    async def snapshot_url(self, database: str, *, download_name: str, lifetime_s: int) -> tuple[str, int]:
        """A URL of the whole database; see the port."""
        request = pb.SnapshotRequest(database=database, download_name=download_name, lifetime_s=lifetime_s)
        answer = await self._channel.call(self._stub.Snapshot, request, tenant=database, timeout_s=SNAPSHOT_S)
        return answer.url, answer.version


def _commit(commit: pb.HistoryResponse.Commit) -> PastCommit:
    return PastCommit(
        id=commit.commit_id,
        author=commit.author,
        kind=KINDS.get(commit.kind, ChangeKind.SYSTEM),
        rows=tuple(
            PastRow(
                touched.row.table,
                tuple(part.hex() if isinstance(part, bytes) else part for part in map(scalar_of, touched.row.key)),
                CHANGES.get(touched.change, RowChange.UPDATED),
            )
            for touched in commit.rows
        ),
        row_count=commit.row_count,
        undoable=commit.undoable,
        undoes=commit.undoes or None,
        restores=commit.restores or None,
    )
