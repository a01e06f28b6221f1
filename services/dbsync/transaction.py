"""One transaction on a replica that becomes the next version: the commits of one or many requests, in order.

1. A request is all or nothing: it runs in a savepoint (test_transaction.py::test_a_failed_member_leaves_nothing).
2. A known idempotency key is answered with the stored result and runs nothing; with another request's hash it is
   refused (test_transaction.py::test_replay, ::test_key_mismatch).
3. A request that changed nothing leaves nothing, not even its key (test_transaction.py::test_unchanged).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import apsw

from chassis.faults import Fault, exhausted, invalid, precondition
from dbsync import conflicts, pages, schema_rules
from dbsync.conflicts import Conflict, Earlier
from dbsync.log_format import COMMIT_ID_BYTES, Entry, SubCommit
from dbsync.pages import Delta, Step
from dbsync.replica import Replica
from dbsync.requests import (
    CommitRequest,
    CommitResult,
    RowKey,
    StatementResult,
    decode_results,
    encode_results,
    request_hash,
)
from dbsync.sqlguard import Guard, Limits, Mode

KEY_KEPT_MS = 30 * 24 * 3600 * 1000
# Keys are dropped a day after they are refused, so that a machine whose clock is behind cannot run one twice.
KEY_DROPPED_MS = KEY_KEPT_MS + 24 * 3600 * 1000
_DROPPED_EVERY, _DROPPED_AT_ONCE = 16, 16 * 64  # versions, each of at most so many commits

_FIND_KEY = "SELECT request, version, result FROM _dbsync_keys WHERE key = ?"
_ADD_KEY = "INSERT INTO _dbsync_keys VALUES (?, ?, ?, ?)"
_DROP_KEYS = "DELETE FROM _dbsync_keys WHERE key IN (SELECT key FROM _dbsync_keys WHERE key < ? ORDER BY key LIMIT ?)"
_SET_STATE = "UPDATE _dbsync_state SET version = ?, committed_ms = ?, author = ?"

Past = Callable[[int], Sequence[Earlier]]
Answer = CommitResult | Fault | Conflict


@dataclass
class Member:
    """What became of one request inside the transaction."""

    answer: Answer
    changed: bool = False  # it is part of what will be durable, or rests on it
    doomed: bool = False  # it took the whole transaction with it, and must not run again


@dataclass
class Transaction:
    """The next version in the making. `past(base)` yields what the versions after `base` touched."""

    replica: Replica
    limits: Limits
    database: str
    now_ms: int
    past: Past
    subs: list[SubCommit] = field(default_factory=list)
    schema_version: int = 0

    def __post_init__(self) -> None:
        self.version = self.replica.version + 1
        self.schema_version = self.replica.schema_version
        self._guard: Guard | None = None

    def run(self, request: CommitRequest) -> Member:
        """Runs one request. TransactionLost when SQLite gave up everything."""
        if self._guard is None:
            self._guard = self.replica.begin(foreign_keys=not request.migration)
        guard = self._guard
        guard.own("SAVEPOINT member")
        try:
            member = self._member(guard, request)
        except (Fault, Conflict) as error:
            member = Member(error)
        if not member.changed:
            guard.own("ROLLBACK TO member")
        guard.own("RELEASE member")
        return member

    def entry(self, delta: Delta, step: Step) -> Entry:
        """The log entry of everything that ran, with the pages that it changed and what that does to the checksums."""
        return Entry(
            database=self.database,
            version=self.version,
            commit_id=secrets.token_bytes(COMMIT_ID_BYTES),
            before=self.replica.checksum,
            after=step.checksum,
            schema_version=self.schema_version,
            committed_ms=self.now_ms,
            subs=tuple(self.subs),
            pages=pages.pack(delta, self.replica.old_page),
        )

    def close(self) -> None:
        """Writes what the version itself is known by; to be called last, before the commit."""
        if self._guard is None:
            raise AssertionError("nothing ran")
        if self.version % _DROPPED_EVERY == 0:
            oldest = max(0, self.now_ms - KEY_DROPPED_MS).to_bytes(6, "big")
            self._guard.own(_DROP_KEYS, (oldest, _DROPPED_AT_ONCE))
        self._guard.own(_SET_STATE, (self.version, self.now_ms, self.subs[-1].author))

    def _member(self, guard: Guard, request: CommitRequest) -> Member:
        digest = request_hash(request)
        if known := guard.own(_FIND_KEY, (request.idempotency_key,)):
            found, version, result = known[0]
            if found != digest:
                raise precondition("key_mismatch", "This idempotency key was used for another request; use a new one.")
            # A key of this very version is another member's: the answer holds only if the version becomes durable.
            return Member(decode_results(version, result), changed=version == self.version)
        self._check_schema(request)
        self._check_stale(request, request.depends_on)
        before = guard.total_changes()
        rows, changeset, results = self._run_statements(guard, request)
        if request.set_schema_version is None and guard.total_changes() == before:
            version = self._version_here()
            return Member(CommitResult(version, self._next_base(request, version), results))
        self._check_stale(request, rows)
        base_version = self._next_base(request, self.version)
        kept = encode_results(base_version, results)
        if len(kept) > self.limits.kept_bytes:
            raise exhausted(
                "too_many_bytes", f"A commit may return {self.limits.kept_bytes} bytes; read the rest by a query."
            )
        guard.own(_ADD_KEY, (request.idempotency_key, digest, self.version, kept))
        if request.set_schema_version is not None:
            guard.own(f"PRAGMA user_version = {int(request.set_schema_version)}")
            self.schema_version = request.set_schema_version
        self.subs.append(
            SubCommit(
                commit_id=secrets.token_bytes(COMMIT_ID_BYTES),
                author=request.author,
                idempotency_key=request.idempotency_key,
                system=request.system,
                migration=request.migration,
                rows=rows,
                changeset=changeset,
            )
        )
        return Member(CommitResult(self.version, base_version, results), changed=True)

    def _run_statements(
        self, guard: Guard, request: CommitRequest
    ) -> tuple[tuple[RowKey, ...], bytes, tuple[StatementResult, ...]]:
        mode = Mode.SCHEMA if request.migration else Mode.WRITE
        with guard.recording(None if request.migration else self.replica.recorded_tables()) as recording:
            with guard.budget():
                results = tuple(guard.run(one, mode, index) for index, one in enumerate(request.statements))
            if request.migration:
                schema_rules.check(guard)
            elif guard.unresolved_references():
                raise invalid("constraint", "FOREIGN KEY constraint failed")
            changeset = recording()
        try:
            return touched(changeset, lambda table: schema_rules.key_columns(guard, table)), changeset, results
        except (apsw.Error, UnicodeError) as error:
            raise invalid("sql_error", f"A changed row cannot be recorded: {error}") from error

    def _check_schema(self, request: CommitRequest) -> None:
        wanted, actual, target = request.schema_version, self.schema_version, request.set_schema_version
        if wanted is None:
            if target is None:
                raise invalid("invalid_argument", "A commit says which schema version its SQL was written for.")
            wanted = 0
        check_schema(wanted, actual, newest=target)

    def _check_stale(self, request: CommitRequest, rows: Sequence[RowKey]) -> None:
        base = request.base_version
        if base is None:
            return
        if base >= self.version:
            raise invalid("invalid_argument", f"The base {base} is newer than the newest version, {self.version - 1}.")
        conflicts.check(
            self._past(base),
            base_version=base,
            head_version=self._version_here(),
            author=request.author,
            rows=rows,
            scope_database=request.scope_database,
        )

    def _next_base(self, request: CommitRequest, version: int) -> int:
        base = request.base_version
        past = () if base is None else self._past(base)
        return conflicts.next_base(past, base_version=base, version=version, author=request.author)

    def _version_here(self) -> int:
        """The version that a request sees: the new one as soon as a member before it changed something."""
        return self.version if self.subs else self.version - 1

    def _past(self, base: int) -> list[Earlier]:
        return [*self.past(base), *(conflicts.earlier(self.version, sub) for sub in self.subs)]


def check_schema(wanted: int, actual: int, *, newest: int | None = None) -> None:
    """Raises a Fault unless the database has the schema version that the caller's SQL was written for."""
    if wanted == actual:
        return
    numbers = {"expected": str(wanted), "actual": str(actual)}
    if actual > (wanted if newest is None else newest):
        raise precondition("schema_newer", "The database is newer than this code; update the code.", **numbers)
    raise precondition(
        "schema_mismatch", f"The database has schema version {actual}, and the request is for {wanted}.", **numbers
    )


def touched(changeset: bytes, key_columns: Callable[[str], Sequence[int]]) -> tuple[RowKey, ...]:
    """The rows that a changeset inserts, updates or deletes; `key_columns` orders a key of many columns."""
    rows = []
    for change in apsw.Changeset.iter(changeset):
        values = change.new if change.old is None else change.old
        if values is None:
            raise AssertionError("a change without values")
        columns: Sequence[int] = tuple(change.pk_columns)
        if len(columns) > 1:
            columns = key_columns(change.name)
        key = tuple(values[column] for column in columns)
        rows.append(RowKey(change.name, key))  # type: ignore[arg-type]
    return tuple(rows)
