"""Reads and commits of one kind of database: its schema version on every call, its migrations at first use, its
faults in the product's words.

1. A database whose schema is older is migrated by a commit before the call runs again; a racing loser finds it done
   (test_store.py).
2. A commit is answered only after dbsync acknowledged it; it is logged and announced then, and only then
   (test_store.py).
3. A stale commit is a CONFLICT with what conflicts; nothing of it was kept (test_http_conflicts.py).
"""

# ruff: noqa: S608 (every piece of SQL that is put together here is a constant; values are parameters)

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from chassis import faults
from chassis.faults import Fault, Kind
from chassis.ids import uuid7
from gateway.domain.actor import Actor, Stamp
from gateway.library import sync_time
from gateway.library.steps import Step
from gateway.ports import Commit, Databases, Reading, RowKey, Rows, Scalar, SchemaStep, Statement

log = logging.getLogger(__name__)

MIGRATION_ROUNDS = 4
PAGING_ROUNDS = 4
PAGE_ROWS = 512

T = TypeVar("T")
Announce = Callable[[str, int, str], None]


@dataclass(frozen=True)
class Migration:
    """A numbered change of the schema; once released it is never edited."""

    version: int
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Written:
    """A commit's results and versions."""

    results: tuple[Rows, ...]
    stamp: Stamp
    replayed: bool


def silent(database: str, version: int, author: str) -> None:
    """Announces nothing."""


class Store:
    """The databases that share one schema."""

    def __init__(self, databases: Databases, migrations: Sequence[Migration], announce: Announce = silent) -> None:
        self._databases = databases
        self._migrations = tuple(migrations)
        self._schema_version = migrations[-1].version
        self._announce = announce

    @property
    def schema_version(self) -> int:
        """The newest one that this code knows."""
        return self._schema_version

    @property
    def schema_steps(self) -> tuple[SchemaStep, ...]:
        """Every migration, from the schema version before it."""
        versions = (0, *(migration.version for migration in self._migrations))
        return tuple(
            SchemaStep(before, migration.version, migration.statements)
            for before, migration in zip(versions, self._migrations, strict=False)
        )

    async def read(self, database: str, statements: Sequence[Statement], *, min_version: int | None = None) -> Reading:
        """Results that see one version: at least `min_version`, or the newest when it is None."""

        async def query() -> Reading:
            return await self._databases.query(
                database, statements, schema_version=self._schema_version, min_version=min_version
            )

        try:
            return await self.run(database, query)
        except Fault as fault:
            if fault.reason == "invalid_argument" and min_version is not None:
                raise faults.invalid(
                    "min_version_unknown", "X-Min-Version names a version that does not exist."
                ) from fault
            raise _trouble(fault) from fault

    async def read_whole(
        self, database: str, statements: Sequence[Statement], *, min_version: int | None = None
    ) -> Reading:
        """As `read`, for results that may be larger than one answer of dbsync: then they are read in pages of one
        version.
        """
        try:
            return await self.read(database, statements, min_version=min_version)
        except Fault as fault:
            if fault.reason != "too_large":
                raise
        for _ in range(PAGING_ROUNDS):
            version = (await self.read(database, [Statement("SELECT 1")], min_version=min_version)).version
            results = [await self._paged(database, statement, version) for statement in statements]
            if None not in results:
                return Reading(version, tuple(rows for rows in results if rows is not None))
        raise faults.unavailable("busy", "Your library changes faster than it can be read; try again in a moment.")

    async def _paged(self, database: str, statement: Statement, version: int) -> Rows | None:
        """The statement's rows at this version; None when the database has moved on."""
        rows: list[tuple[Scalar, ...]] = []
        limit = PAGE_ROWS
        while True:
            page = Statement(
                f"SELECT * FROM ({statement.sql}) LIMIT ? OFFSET ?", (*statement.parameters, limit, len(rows))
            )
            try:
                reading = await self.read(database, [page], min_version=version)
            except Fault as fault:
                if fault.reason != "too_large" or limit == 1:
                    raise
                limit //= 2
                continue
            if reading.version != version:
                return None
            found = reading.results[0]
            rows.extend(found.rows)
            if len(found.rows) < limit:
                return Rows(found.columns, tuple(rows))

    async def write(
        self, actor: Actor, steps: Sequence[Step], *, database: str | None = None, depends_on: Sequence[RowKey] = ()
    ) -> Written:
        """Commits as the actor, to the user's own database unless another is named."""
        commit = Commit(
            database=database or actor.user_id,
            statements=tuple(step.statement for step in steps),
            idempotency_key=actor.key,
            author=actor.client_id,
            schema_version=self._schema_version,
            base_version=actor.base_version,
            depends_on=tuple(depends_on),
        )
        try:
            done = await self.run(commit.database, lambda: self._databases.commit(commit))
        except Fault as fault:
            if fault.reason == "requirement_unmet":
                raise steps[int(fault.metadata["statement"])].unmet or faults.internal(
                    "requirement_unmet", "A rule of the library was not met."
                ) from fault
            raise await self.refusal(fault, commit.database, commit.base_version) from fault
        if not done.replayed:
            self._announce(commit.database, done.version, commit.author)
        base_version = None if actor.base_version is None else done.base_version or actor.base_version
        return Written(done.results, Stamp(done.version, base_version), done.replayed)

    def announce(self, database: str, version: int, author: str) -> None:
        """Tells the pages of a version that came about without `write`."""
        self._announce(database, version, author)

    async def system_write(self, database: str, steps: Sequence[Step], *, key: str = "") -> Written:
        """Commits as the system: conflicts with nothing, so every step guards itself."""
        return await self.write(Actor(user_id=database, client_id="", key=key or uuid7()), steps)

    async def head(self, database: str) -> tuple[int, str]:
        """The newest version and its author."""
        with sync_time.measured():
            head = await self._databases.head(database)
        return head.version, head.author

    async def run(self, database: str, call: Callable[[], Awaitable[T]]) -> T:
        """What a call that names the schema version answers, the database migrated before it when it must be."""
        for _ in range(MIGRATION_ROUNDS):
            try:
                with sync_time.measured():
                    return await call()
            except Fault as fault:
                if fault.reason != "schema_mismatch":
                    raise
            await self._migrate(database)
        raise faults.unavailable("migrating", "Your library is being brought up to date; try again in a moment.")

    async def refusal(self, fault: Fault, database: str, base_version: int | None) -> Fault:
        """dbsync's refusal of a change as what it means to the one who asked."""
        if fault.reason == "invalid_argument" and base_version is not None:
            version, _ = await self.head(database)
            if base_version > version:
                return faults.invalid(
                    "base_version_unknown", "If-Match names a version that does not exist; read again first."
                )
        return _meaning(fault)

    async def _migrate(self, database: str) -> None:
        with sync_time.measured():
            head = await self._databases.head(database)
            if head.schema_version >= self._schema_version:
                return  # somebody else has done it; a newer one answers schema_newer to the call itself
            pending = [migration for migration in self._migrations if migration.version > head.schema_version]
            commit = Commit(
                database=database,
                statements=tuple(Statement(sql) for migration in pending for sql in migration.statements),
                idempotency_key=uuid7(),
                schema_version=head.schema_version,
                set_schema_version=self._schema_version,
            )
            try:
                done = await self._databases.commit(commit)
            except Fault as fault:
                if fault.reason == "schema_mismatch":
                    return  # lost the race, and it is done
                raise
        log.info(
            "migrated",
            extra={"database": database, "from_schema": head.schema_version, "to_schema": self._schema_version},
        )
        self._announce(database, done.version, "")


def _meaning(fault: Fault) -> Fault:
    if fault.reason == "key_mismatch":
        return faults.invalid(
            "idempotency_key_reused", "This Idempotency-Key was used for another request; make a new one."
        )
    if fault.reason == "key_expired":
        return faults.invalid(
            "idempotency_key_expired", "This Idempotency-Key is too old to tell whether it was used; make a new one."
        )
    if fault.reason == "constraint":
        return Fault(Kind.EXISTS, "already_exists", "This exists already.")
    return _trouble(fault)


def _trouble(fault: Fault) -> Fault:
    """What any call may meet."""
    if fault.reason == "schema_newer":
        return faults.unavailable("updating", "A newer version of the service is taking over; try again in a moment.")
    if fault.reason == "busy":
        return faults.unavailable("busy", "Too much at once for this library; try again in a moment.")
    if fault.reason == "database_full":
        return faults.precondition("quota_reached", "Your library is full; delete something first.", quota="library")
    if fault.reason in ("too_many_rows", "too_many_bytes", "too_many_steps"):
        return faults.invalid("too_large", "This is more than the library can handle in one request.")
    if fault.kind is Kind.INVALID:
        return Fault(
            Kind.INTERNAL,
            "internal",
            "The library could not understand its own question.",
            metadata={"cause": fault.reason},
        )
    return fault
