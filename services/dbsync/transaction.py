"""One transaction on a replica that becomes the next version: the commits of one or many requests, in order.

1. A request is all or nothing: it runs in a savepoint (test_transaction.py::test_a_failed_member_leaves_nothing).
2. A known idempotency key is answered with the stored result and runs nothing; with another request's hash it is
   refused (test_transaction.py::test_replay, ::test_key_mismatch).
3. A request that changed nothing leaves nothing, not even its key (test_transaction.py::test_unchanged).
4. No answer's base passes a commit of another author, also one that shares the version and comes after it
   (test_group_bases.py, all of it).
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import apsw

from chassis.faults import Fault, exhausted, invalid, precondition
from dbsync import changesets, conflicts, pages, schema_rules, undo
from dbsync.conflicts import Conflict, Earlier
from dbsync.log_format import COMMIT_ID_BYTES, Entry, SubCommit
from dbsync.pages import Delta, Step
from dbsync.replica import Replica
from dbsync.requests import (
    CommitRequest,
    CommitResult,
    RowKey,
    StatementResult,
    Target,
    commit_id,
    decode_results,
    encode_results,
    request_hash,
)
from dbsync.slots import Damaged, StoreUnavailable
from dbsync.sqlguard import Guard, Limits, Mode
from dbsync.undo import Targets

KEY_KEPT_MS = 30 * 24 * 3600 * 1000
# Keys are dropped a day after they are refused, so that a machine whose clock is behind cannot run one twice.
KEY_DROPPED_MS = KEY_KEPT_MS + 24 * 3600 * 1000
_DROPPED_EVERY, _DROPPED_AT_ONCE = 16, 16 * 64  # versions, each of at most so many commits
NAMED_BACK = 64  # versions that are looked through for who stands against an undo

_FIND_KEY = "SELECT request, version, result FROM _dbsync_keys WHERE key = ?"
_ADD_KEY = "INSERT INTO _dbsync_keys VALUES (?, ?, ?, ?)"
_SET_RESULT = "UPDATE _dbsync_keys SET result = ? WHERE key = ?"
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


@dataclass(frozen=True)
class _Done:
    """What a request did."""

    rows: tuple[RowKey, ...]
    changeset: bytes
    virtual: tuple[str, ...]
    results: tuple[StatementResult, ...]


@dataclass
class Transaction:
    """The next version in the making. `past(base)` yields what the versions after `base` touched, `targets` are the
    commits of the past that the requests are to undo.
    """

    replica: Replica
    limits: Limits
    database: str
    now_ms: int
    past: Past
    targets: Targets = field(default_factory=dict)
    subs: list[SubCommit] = field(default_factory=list)
    schema_version: int = 0

    def __post_init__(self) -> None:
        self.version = self.replica.version + 1
        self.schema_version = self.replica.schema_version
        self._guard: Guard | None = None
        self._made: list[tuple[int, CommitRequest, Member]] = []  # how many subs there were after each member

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
        self._made.append((len(self.subs), request, member))
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
            pages=pages.pack_on_demand(delta, self.replica.old_page),
        )

    def close(self) -> None:
        """Writes what the version itself is known by; to be called last, before the commit."""
        if self._guard is None:
            raise AssertionError("nothing ran")
        if self.version % _DROPPED_EVERY == 0:
            oldest = max(0, self.now_ms - KEY_DROPPED_MS).to_bytes(6, "big")
            self._guard.own(_DROP_KEYS, (oldest, _DROPPED_AT_ONCE))
        self._settle_bases(self._guard)
        self._guard.own(_SET_STATE, (self.version, self.now_ms, self.subs[-1].author))

    def _member(self, guard: Guard, request: CommitRequest) -> Member:
        digest = request_hash(request)
        if known := guard.own(_FIND_KEY, (request.idempotency_key,)):
            found, version, result = known[0]
            if found != digest:
                raise precondition("key_mismatch", "This idempotency key was used for another request; use a new one.")
            # A key of this very version is another member's: the answer holds only if the version becomes durable.
            answer = replace(decode_results(version, result), commit_id=self._commit_id(request))
            return Member(answer, changed=version == self.version)
        self._check_schema(request)
        self._check_stale(request, request.depends_on)
        before = guard.total_changes()
        done = self._run(guard, request)
        if request.set_schema_version is None and guard.total_changes() == before:
            version = self._version_here()
            return Member(CommitResult(version, self._next_base(request, version), done.results))
        self._check_stale(request, done.rows)
        base_version = self._next_base(request, self.version)
        kept = encode_results(base_version, done.results)
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
                commit_id=self._commit_id(request),
                author=request.author,
                idempotency_key=request.idempotency_key,
                system=request.system,
                migration=request.migration,
                rows=done.rows,
                changeset=done.changeset,
                undoes=b"" if request.undo is None else request.undo.commit_id,
                virtual=done.virtual,
            )
        )
        answer = CommitResult(self.version, base_version, done.results, commit_id=self._commit_id(request))
        return Member(answer, changed=True)

    def _run(self, guard: Guard, request: CommitRequest) -> _Done:
        if request.migration:
            results = self._run_statements(guard, request, Mode.SCHEMA)
            schema_rules.check(guard)
            return _Done((), b"", (), results)
        tables = self.replica.tables()
        results = ()
        with guard.recording(tables.recorded) as recorded, guard.recording(tables.shadows) as behind:
            if request.undo is None:
                results = self._run_statements(guard, request, Mode.WRITE)
            else:
                self._run_undo(guard, request, request.undo)
            if guard.unresolved_references():
                raise invalid("constraint", "FOREIGN KEY constraint failed")
            changeset = recorded()
            virtual = changesets.virtual(behind(), tables.shadows)
        try:
            rows = changesets.rows(changeset, lambda table: schema_rules.key_columns(guard, table))
        except (apsw.Error, UnicodeError) as error:
            raise invalid("sql_error", f"A changed row cannot be recorded: {error}") from error
        return _Done(rows, changeset, virtual, results)

    def _run_statements(self, guard: Guard, request: CommitRequest, mode: Mode) -> tuple[StatementResult, ...]:
        with guard.budget():
            return tuple(guard.run(one, mode, index) for index, one in enumerate(request.statements))

    def _run_undo(self, guard: Guard, request: CommitRequest, target: Target) -> None:
        found = self.targets[target]
        if isinstance(found, Fault):
            raise found
        undo.check(found, self.schema_version)
        self._check_stale(request, found.sub.rows)
        if against := undo.put_back(guard, found.sub, self.replica.tables()):
            past = [*found.later, *self._past_known(max(target.version, self.version - 1 - NAMED_BACK))]
            raise Conflict(target.version, self._version_here(), conflicts.last_changes(past, against))

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

    def _settle_bases(self, guard: Guard) -> None:
        """Who shares the version with a later member of another author has not read all of it: its base stays."""
        for count, request, member in self._made:
            answer, base = member.answer, request.base_version
            if base is None or not isinstance(answer, CommitResult) or answer.base_version != self.version:
                continue
            after = [conflicts.earlier(self.version, sub) for sub in self.subs[count:]]
            if conflicts.others(after, base, request.author):
                member.answer = replace(answer, base_version=base)
                guard.own(_SET_RESULT, (encode_results(base, answer.results), request.idempotency_key))

    def _version_here(self) -> int:
        """The version that a request sees: the new one as soon as a member before it changed something."""
        return self.version if self.subs else self.version - 1

    def _past(self, base: int) -> list[Earlier]:
        return [*self.past(base), *(conflicts.earlier(self.version, sub) for sub in self.subs)]

    def _past_known(self, base: int) -> list[Earlier]:
        """The past as far as it can be read: it only says who changed what stands there anyway."""
        try:
            return self._past(base)
        except (Damaged, StoreUnavailable):
            return []

    def _commit_id(self, request: CommitRequest) -> bytes:
        return commit_id(self.database, request.idempotency_key)


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
