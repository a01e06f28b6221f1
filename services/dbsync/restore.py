"""Restore: the content of an old version as a new one, migrated to the present schema in the same version.

1. What comes back is the content of that version, through the snapshot and the entries that made it; a damaged entry
   below it makes it impossible, and changes nothing (test_restore.py::test_what_comes_back,
   ::test_a_version_that_is_gone).
2. The present's idempotency keys and state go forward: what was done before is not done twice by a retry
   (test_restore.py::test_keys_are_carried_forward).
3. It becomes durable, and is decided, as every version: one slot, put-if-absent, known by its key
   (test_restore_faults.py::test_killed_at_every_step, ::test_an_undecided_slot, ::test_a_lost_slot).
4. It is stale over any newer version of another author, and makes every older base stale
   (test_restore.py::test_a_stale_restore, ::test_older_bases_are_stale).
5. Migrations run in order, under the rules and limits of every migration, and a failing one changes nothing
   (test_restore.py::test_migrated_on_the_way, ::test_a_failing_migration).

The old content is built apart, in a copy that nobody reads, without the database's lock. Under the lock it gets what
the present carries forward, and the pages that then differ from the present's are the new version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import apsw

from chassis.faults import exhausted, invalid, not_found, precondition
from dbsync import carry, conflicts, log_format, pages, schema_rules, scratch, wire
from dbsync.carry import Mark
from dbsync.cold_open import open_at
from dbsync.commit import Committer, Spent, outcome_unknown
from dbsync.gate import GateVfs
from dbsync.log_format import Entry, SubCommit
from dbsync.pages import PAGE_SIZE_BYTES, Delta, OnDemand, Step
from dbsync.replica import NotNext, Replica
from dbsync.requests import Statement, commit_id, decode_results, encode_results
from dbsync.slots import Clock, Damaged, Slots, StoreUnavailable, Verdict
from dbsync.sqlguard import Broken, Limits, Mode, TransactionLost
from dbsync.transaction import check_schema

_FIND_KEY = "SELECT request, version, result FROM _dbsync_keys WHERE key = ?"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema's owner from one schema version to a later one."""

    from_schema_version: int
    to_schema_version: int
    statements: tuple[Statement, ...]


@dataclass(frozen=True, slots=True)
class RestoreRequest:
    """The version whose content is to come back, and the migrations by which it may reach the present schema.

    The rows that `present_tables` have at present stay; an old one comes back where the present has none of its key.
    """

    database: str
    version: int
    schema_version: int  # the database's
    idempotency_key: bytes  # 16 bytes of a UUIDv7
    migrations: tuple[Migration, ...] = ()
    base_version: int | None = None
    author: str = ""
    present_tables: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The new version; `replayed` when the idempotency key was known."""

    version: int
    replayed: bool = False


@dataclass(frozen=True)
class Workshop:
    """Where and by what rules old versions are built."""

    clock: Clock
    limits: Limits
    vfs: GateVfs
    new_folder: Callable[[], Path]


def begin(committer: Committer, request: RestoreRequest, deadline_s: float, spent: Spent) -> RestoreResult | None:
    """The answer when the key is known; None when the restore may be prepared. Needs the database's lock.

    Fault, Conflict, and what catching up raises.
    """
    committer.catch_up(deadline_s, spent)
    if (known := _known(committer.replica, request)) is None:
        _check(committer, request, deadline_s)
    return known


def prepare(slots: Slots, workshop: Workshop, request: RestoreRequest, deadline_s: float, spent: Spent) -> Replica:
    """A copy of the old version, migrated, to be closed by the caller. Needs no lock. Fault, StoreUnavailable."""
    began_s = workshop.clock.now_s()
    try:
        built = open_at(slots, workshop.limits, workshop.vfs, workshop.new_folder, request.version, deadline_s)
    except (Damaged, NotNext) as error:
        raise precondition(
            "version_gone",
            f"Version {request.version} cannot be built any more: {error}.",
            version=str(request.version),
        ) from error
    try:
        for migration in _path(built.schema_version, request):
            _migrate(built, migration)
        if built.page_count * PAGE_SIZE_BYTES > workshop.limits.database_bytes:
            raise exhausted("database_full", f"Version {request.version} is larger than a database may be now.")
    except BaseException:
        built.close()
        raise
    finally:
        spent.run_ms += (workshop.clock.now_s() - began_s) * 1000
    return built


def finish(
    committer: Committer, built: Replica, request: RestoreRequest, clock: Clock, deadline_s: float, spent: Spent
) -> RestoreResult:
    """Makes what was built the newest version. Needs the database's lock.

    Fault, Conflict, and what catching up raises.
    """
    committer.catch_up(deadline_s, spent)
    carried = b""
    while True:
        present = committer.replica
        if (known := _known(present, request)) is not None:
            return known
        _check(committer, request, deadline_s)
        version = present.version + 1
        began_s = clock.now_s()
        now_ms = clock.wall_ms()
        mark = Mark(version, now_ms, request.author, _key_row(request, version))
        carried = carry.carry(present, built, mark, request.present_tables, carried)
        entry, delta, step = _next(present, built, request, version, now_ms)
        body = scratch.gathered(built.folder, log_format.parts(entry))
        put_s = clock.now_s()
        spent.run_ms += (put_s - began_s) * 1000
        verdict, taken = committer.slots.put(version, body, deadline_s)
        del body
        spent.put_ms += (clock.now_s() - put_s) * 1000
        if verdict is Verdict.WON:
            _become(committer, entry, delta, step)
            return RestoreResult(version)
        if verdict is Verdict.UNKNOWN:
            committer.suspect = True
            raise outcome_unknown()
        committer.catch_up(deadline_s, spent, taken)
        if clock.now_s() >= deadline_s:
            raise StoreUnavailable("other writers kept winning until the time was up")


def request_hash(request: RestoreRequest) -> bytes:
    """8 bytes that tell one request from another under the same idempotency key; as with commits, a retry may have
    read on, been reloaded, or know more migrations, and with them more tables whose present rows stay.
    """
    out = wire.Writer()
    out.text("restore")
    out.uint(request.version)
    return hashlib.sha256(out.finish()).digest()[:8]


def _key_row(request: RestoreRequest, version: int) -> tuple[bytes, bytes, int, bytes]:
    return request.idempotency_key, request_hash(request), version, encode_results(version, ())


def _known(present: Replica, request: RestoreRequest) -> RestoreResult | None:
    if present.version == 0:
        return None
    with present.reader() as (guard, _):
        found = guard.own(_FIND_KEY, (request.idempotency_key,))
    if not found:
        return None
    digest, version, result = found[0]
    if digest != request_hash(request):
        raise precondition("key_mismatch", "This idempotency key was used for another request; use a new one.")
    return RestoreResult(decode_results(version, result).version, replayed=True)


def _check(committer: Committer, request: RestoreRequest, deadline_s: float) -> None:
    """Raises a Fault or a Conflict when the restore cannot be made of the present."""
    head = committer.replica.version
    if not 0 < request.version <= head:
        raise not_found("no_such_version", f"There is no version {request.version}; the newest is {head}.")
    check_schema(request.schema_version, committer.replica.schema_version)
    base = request.base_version
    if base is None:
        return
    if base > head:
        raise invalid("invalid_argument", f"The base {base} is newer than the newest version, {head}.")
    conflicts.check(
        committer.past(base, deadline_s),
        base_version=base,
        head_version=head,
        author=request.author,
        rows=(),
        scope_database=True,
    )


def _path(schema_version: int, request: RestoreRequest) -> Iterator[Migration]:
    """The migrations from that schema version to the request's, in order; Fault when they do not lead there."""
    wanted = request.schema_version
    if schema_version > wanted:
        check_schema(wanted, schema_version)
    steps = {one.from_schema_version: one for one in request.migrations}
    path = []
    while schema_version < wanted:
        step = steps.get(schema_version)
        if step is None or not schema_version < step.to_schema_version <= wanted:
            raise precondition(
                "schema_mismatch",
                f"Version {request.version} has an older schema, and no migration leads on from {schema_version}.",
                expected=str(wanted),
                actual=str(schema_version),
            )
        path.append(step)
        schema_version = step.to_schema_version
    return iter(path)


def _migrate(built: Replica, migration: Migration) -> None:
    """One migration, as its own commit of a copy that nobody reads."""
    guard = built.begin(foreign_keys=False)
    try:
        with guard.budget():
            for index, statement in enumerate(migration.statements):
                guard.run(statement, Mode.SCHEMA, index)
        schema_rules.check(guard)
        guard.own(f"PRAGMA user_version = {int(migration.to_schema_version)}")
        carry.commit(built, migration.to_schema_version)
    except TransactionLost as error:
        raise error.fault from error
    finally:
        built.rollback()


def _next(
    present: Replica, built: Replica, request: RestoreRequest, version: int, now_ms: int
) -> tuple[Entry, Delta, Step]:
    """The present's next version: the pages of what was built, each read when it is asked for."""
    delta = Delta(OnDemand(built.differing(present), built.old_page), built.page_count)
    step = present.step(delta)
    if step.checksum != built.checksum:
        raise Broken("the pages that differ do not make the restored database")
    identity = commit_id(request.database, request.idempotency_key)
    sub = SubCommit(
        commit_id=identity,
        author=request.author,
        idempotency_key=request.idempotency_key,
        system=False,
        migration=False,
        rows=(),
        changeset=b"",
        restores=request.version,
    )
    entry = Entry(
        database=request.database,
        version=version,
        commit_id=identity,
        before=present.checksum,
        after=step.checksum,
        schema_version=built.schema_version,
        committed_ms=now_ms,
        subs=(sub,),
        pages=pages.pack_on_demand(delta, present.old_page),
    )
    return entry, delta, step


def _become(committer: Committer, entry: Entry, delta: Delta, step: Step) -> None:
    """Moves the copy to the version that is durable now; one that cannot is opened again by whoever is next."""
    try:
        committer.become(entry, delta, step)
    except (Broken, OSError, apsw.Error):
        committer.replica.give_up()


def whole(
    committer: Committer, workshop: Workshop, request: RestoreRequest, deadline_s: float, spent: Spent
) -> RestoreResult:
    """All of it, for whoever has the database alone. Fault, Conflict, and what catching up raises."""
    if (known := begin(committer, request, deadline_s, spent)) is not None:
        return known
    built = prepare(committer.slots, workshop, request, deadline_s, spent)
    try:
        return finish(committer, built, request, workshop.clock, deadline_s, spent)
    finally:
        built.close()
