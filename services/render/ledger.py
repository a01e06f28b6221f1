"""The durable ledger of jobs: rows of a dbsync database, and the only SQL of render.

1. A submitted job is in the bucket before its submission is answered (tests/render/test_ledger.py).
2. Each change is conditional on the state and the attempt that it starts from, so that of two processes only one makes
   it, and only the newest attempt can finish a job.
3. URLs are never stored; percent neither.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from fractions import Fraction
from typing import Any, Protocol

from chassis.faults import Fault, Kind, exhausted
from chassis.ids import uuid7
from render.job import Failure, Finished, Job, State

SCHEMA_VERSION = 1
MIGRATION = (
    """CREATE TABLE jobs (
        tenant TEXT NOT NULL, job_id TEXT NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
        transitions INTEGER NOT NULL, priority INTEGER NOT NULL, owner TEXT NOT NULL,
        spec BLOB NOT NULL, carrier TEXT NOT NULL,
        submitted_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, finished_ms INTEGER NOT NULL,
        failure TEXT NOT NULL, outputs TEXT NOT NULL,
        PRIMARY KEY (tenant, job_id)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX jobs_unfinished ON jobs (tenant) WHERE state IN ('queued', 'running')",
    "CREATE INDEX jobs_by_time ON jobs (tenant, submitted_ms, job_id)",
)
_COLUMNS = (
    "tenant, job_id, state, attempt, transitions, priority, submitted_ms, started_ms, finished_ms, failure, outputs"
)
_SELECT = " ".join(("SELECT", _COLUMNS, "FROM jobs"))
_THIS = " WHERE tenant = ? AND job_id = ?"
_UPDATE = "UPDATE jobs SET transitions = transitions + 1, "
Cell = None | int | float | str | bytes
Cells = Sequence[Cell]


class Database(Protocol):
    """What the ledger needs of dbsync: statements with their parameters, rows back."""

    async def query(self, schema_version: int, sql: str, parameters: Cells) -> list[list[Any]]:
        """Rows; a Fault."""
        ...

    async def commit(
        self, schema_version: int, statements: Sequence[tuple[str, Cells]], key: str
    ) -> list[list[list[Any]]]:
        """One transaction, durable when it returns: the rows of each statement. Done once for a key; a Fault."""
        ...

    async def migrate(self, schema_version: int, statements: Sequence[str], new_version: int) -> None:
        """A transaction that sets the schema version; a Fault."""
        ...


class Ledger:
    """Jobs of all tenants."""

    def __init__(self, database: Database, *, owner: str, tenant_jobs_max: int) -> None:
        self._database = database
        self._owner = owner
        self._tenant_jobs_max = tenant_jobs_max

    async def submit(self, job: Job, spec: bytes, carrier: dict[str, str]) -> tuple[Job, bytes]:
        """The job as it stands with its specification: the new row, or the one that was there.

        EXHAUSTED too_many_jobs when the tenant has too many unfinished ones.
        """
        values = (job.tenant, job.job_id, State.QUEUED, job.priority, spec, json.dumps(carrier), job.submitted_ms)
        insert = (
            "INSERT INTO jobs (tenant, job_id, state, attempt, transitions, priority, owner, spec, carrier,"
            " submitted_ms, started_ms, finished_ms, failure, outputs)"
            " SELECT ?1, ?2, ?3, 0, 1, ?4, '', ?5, ?6, ?7, 0, 0, '', '[]'"
            " WHERE (SELECT count(*) FROM jobs WHERE tenant = ?1 AND state IN ('queued', 'running')) < ?8"
            " AND NOT EXISTS (SELECT 1 FROM jobs WHERE tenant = ?1 AND job_id = ?2)"
        )
        select = (_SELECT + _THIS, (job.tenant, job.job_id))
        stored = ("SELECT spec FROM jobs WHERE tenant = ? AND job_id = ?", (job.tenant, job.job_id))
        insertion = (insert, (*values, self._tenant_jobs_max))
        _, rows, specs = await self._commit([insertion, select, stored], uuid7())
        if not rows:
            raise exhausted(
                "too_many_jobs",
                f"{self._tenant_jobs_max} exports are waiting or running already; try again when one has ended.",
            )
        return _job(rows[0]), bytes(specs[0][0])

    async def get(self, tenant: str, job_id: str) -> Job | None:
        """The job, None when there is none."""
        rows = await self._query(_SELECT + _THIS, (tenant, job_id))
        return _job(rows[0]) if rows else None

    async def work(self, tenant: str, job_id: str) -> tuple[bytes, dict[str, str]]:
        """The specification and the trace carrier of a job that exists."""
        rows = await self._query("SELECT spec, carrier FROM jobs WHERE tenant = ? AND job_id = ?", (tenant, job_id))
        return bytes(rows[0][0]), json.loads(rows[0][1])

    async def page(self, tenant: str, *, unfinished_only: bool, before: tuple[int, str] | None, size: int) -> list[Job]:
        """At most `size` jobs, newest first, after the (submitted_ms, job_id) of the last one seen."""
        submitted_ms, job_id = before or (2**62, "")
        only = " AND state IN ('queued', 'running')" if unfinished_only else ""
        order = " ORDER BY submitted_ms DESC, job_id DESC LIMIT ?"
        sql = _SELECT + " WHERE tenant = ? AND (submitted_ms, job_id) < (?, ?)" + only + order
        return [_job(row) for row in await self._query(sql, (tenant, submitted_ms, job_id, size))]

    async def unfinished(self) -> list[Job]:
        """All jobs that are not over, the most urgent first."""
        rest = " WHERE state IN ('queued', 'running') ORDER BY priority DESC, submitted_ms LIMIT 10000"
        return [_job(row) for row in await self._query(_SELECT + rest, ())]

    async def begin(self, job: Job, now_ms: int, key: str) -> Job | None:
        """A new attempt of an unfinished job, by this process; None when somebody changed it since."""
        if job.state.final:
            return None
        return await self._change(
            job,
            "state = 'running', attempt = attempt + 1, owner = ?, "
            "started_ms = CASE started_ms WHEN 0 THEN ? ELSE started_ms END",
            (self._owner, now_ms),
            key,
        )

    async def finish(
        self, job: Job, now_ms: int, outputs: Sequence[Finished], failure: Failure | None, key: str
    ) -> Job | None:
        """The end of a running attempt; None when it is no longer the job's newest."""
        state = State.FAILED if failure else State.SUCCEEDED
        told = json.dumps(asdict(failure)) if failure else ""
        listed = json.dumps([asdict(one) for one in outputs], default=str)
        change = "state = ?, finished_ms = ?, failure = ?, outputs = ?"
        return await self._change(job, change, (state, now_ms, told, listed), key)

    async def put_back(self, job: Job, key: str) -> Job | None:
        """A running attempt that was given up: the job waits again."""
        return await self._change(job, "state = 'queued'", (), key)

    async def cancel(self, tenant: str, job_id: str, now_ms: int) -> Job | None:
        """The job after its cancellation, or as it ended before; None when there is none."""
        update = (
            "UPDATE jobs SET state = 'cancelled', transitions = transitions + 1, finished_ms = ?"
            " WHERE tenant = ? AND job_id = ? AND state IN ('queued', 'running')"
        )
        select = (_SELECT + _THIS, (tenant, job_id))
        _, rows = await self._commit([(update, (now_ms, tenant, job_id)), select], uuid7())
        return _job(rows[0]) if rows else None

    async def _change(self, job: Job, change: str, values: Cells, key: str) -> Job | None:
        same = " WHERE tenant = ? AND job_id = ? AND state = ? AND attempt = ? AND transitions = ? RETURNING "
        sql = _UPDATE + change + same + _COLUMNS
        where = (job.tenant, job.job_id, job.state, job.attempt, job.transitions)
        (rows,) = await self._commit([(sql, (*values, *where))], key)
        return _job(rows[0]) if rows else None

    async def _query(self, sql: str, parameters: Cells) -> list[list[Any]]:
        try:
            return await self._database.query(SCHEMA_VERSION, sql, parameters)
        except Fault as fault:
            await self._migrate(fault)
            return await self._database.query(SCHEMA_VERSION, sql, parameters)

    async def _commit(self, statements: Sequence[tuple[str, Cells]], key: str) -> list[list[list[Any]]]:
        try:
            return await self._database.commit(SCHEMA_VERSION, statements, key)
        except Fault as fault:
            await self._migrate(fault)
            return await self._database.commit(SCHEMA_VERSION, statements, key)

    async def _migrate(self, fault: Fault) -> None:
        """Makes the tables of a database that has none; any other fault goes on."""
        if fault.reason != "schema_mismatch" or fault.metadata.get("actual") != "0":
            raise fault
        try:
            await self._database.migrate(0, MIGRATION, SCHEMA_VERSION)
        except Fault as raced:
            # Another process made them first: then the call that follows finds them.
            if raced.kind is not Kind.PRECONDITION:
                raise


def _job(row: Sequence[Any]) -> Job:
    tenant, job_id, state, attempt, transitions, priority, submitted_ms, started_ms, finished_ms, failure, outputs = (
        row[:11]
    )
    return Job(
        tenant=tenant,
        job_id=job_id,
        state=State(state),
        attempt=attempt,
        transitions=transitions,
        priority=priority,
        submitted_ms=submitted_ms,
        started_ms=started_ms,
        finished_ms=finished_ms,
        failure=Failure(**json.loads(failure)) if failure else None,
        outputs=tuple(Finished(**{**one, "fps": Fraction(one["fps"])}) for one in json.loads(outputs)),
    )
