"""dbsync's own tables inside every database: which version it is, and which requests have been done."""

from __future__ import annotations

import apsw

from dbsync.requests import Head
from dbsync.sqlguard import Guard

CREATE = (
    "CREATE TABLE _dbsync_state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, "
    "committed_ms INTEGER NOT NULL, author TEXT NOT NULL) STRICT",
    "CREATE TABLE _dbsync_keys (key BLOB PRIMARY KEY, request BLOB NOT NULL, version INTEGER NOT NULL, "
    "result BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "INSERT INTO _dbsync_state VALUES (1, 0, 0, '')",
)
_STATE = "SELECT version, committed_ms, author FROM _dbsync_state"


def head(guard: Guard) -> Head:
    """The version that the transaction sees, and who made it when."""
    schema_version = guard.own("PRAGMA user_version")[0][0]
    try:
        version, committed_ms, author = guard.own(_STATE)[0]
    except apsw.SQLError:  # before its first version a database has no tables at all
        return Head(0, 0, 0, "")
    return Head(version, schema_version, committed_ms, author)
