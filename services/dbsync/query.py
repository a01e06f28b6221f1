"""A read of one version of a replica."""

from __future__ import annotations

from dbsync.replica import Replica
from dbsync.requests import Head, QueryRequest, QueryResult
from dbsync.sqlguard import Mode
from dbsync.transaction import check_schema


def run(replica: Replica, request: QueryRequest) -> QueryResult:
    """Runs the statements on one snapshot; Fault for what is wrong with them, Broken when the copy is."""
    with replica.reader() as (guard, head):
        if request.schema_version is not None:
            check_schema(request.schema_version, head.schema_version)
        with guard.budget():
            results = tuple(guard.run(one, Mode.READ, index).rows for index, one in enumerate(request.statements))
        return QueryResult(head.version, head.schema_version, results)


def head(replica: Replica) -> Head:
    """The version of now, and who made it when."""
    with replica.reader() as (_, found):
        return found
