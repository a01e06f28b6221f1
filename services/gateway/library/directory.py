"""The database of what crosses users: accounts and sessions. Tokens are stored as SHA-256 only."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.library.records import records
from gateway.library.steps import Step, select, step
from gateway.library.store import Migration
from gateway.ports import Rows, Statement

FIRST = (
    "CREATE TABLE accounts (user_id TEXT NOT NULL PRIMARY KEY, kind TEXT NOT NULL, created_ms INTEGER NOT NULL) STRICT",
    """CREATE TABLE sessions (
        token_sha256 TEXT NOT NULL PRIMARY KEY, user_id TEXT NOT NULL, created_ms INTEGER NOT NULL, seen_ms INTEGER
        NOT NULL, revoked_ms INTEGER) STRICT""",
    "CREATE INDEX sessions_by_user ON sessions (user_id)",
)

MIGRATIONS = (Migration(1, FIRST),)


def database_id(environment: str) -> str:
    """The directory's database of an environment."""
    return f"_directory.{environment}"


@dataclass(frozen=True)
class SessionRow:
    """A session that was not revoked; times are Unix milliseconds."""

    user_id: str
    kind: str
    created_ms: int
    seen_ms: int


def find_session(token_sha256: str) -> Statement:
    """The session of a token."""
    return select(
        """SELECT s.user_id, a.kind, s.created_ms, s.seen_ms FROM sessions s JOIN accounts a ON a.user_id = s.user_id
        WHERE s.token_sha256 = ? AND s.revoked_ms IS NULL""", token_sha256,
    )  # fmt: skip


def insert_session(user_id: str, kind: str, token_sha256: str, now_ms: int) -> list[Step]:
    """Creates an account with its first session."""
    return [
        step("INSERT INTO accounts (user_id, kind, created_ms) VALUES (?, ?, ?)", user_id, kind, now_ms),
        step(
            "INSERT INTO sessions (token_sha256, user_id, created_ms, seen_ms) VALUES (?, ?, ?, ?)",
            token_sha256,
            user_id,
            now_ms,
            now_ms,
        ),
    ]


def touch_session(token_sha256: str, now_ms: int) -> list[Step]:
    """Says that a session was used."""
    return [
        step("UPDATE sessions SET seen_ms = ? WHERE token_sha256 = ? AND seen_ms < ?", now_ms, token_sha256, now_ms)
    ]


def revoke_session(token_sha256: str, now_ms: int) -> list[Step]:
    """Ends a session."""
    return [
        step("UPDATE sessions SET revoked_ms = ? WHERE token_sha256 = ? AND revoked_ms IS NULL", now_ms, token_sha256)
    ]


def read_session(rows: Rows) -> SessionRow | None:
    """The session, if there is one."""
    found = records(rows)
    if not found:
        return None
    row = found[0]
    return SessionRow(row.text("user_id"), row.text("kind"), row.integer("created_ms"), row.integer("seen_ms"))
