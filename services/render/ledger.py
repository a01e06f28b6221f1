"""The durable ledger of jobs: rows of a dbsync database, and the only SQL of render.

1. A submitted job is in the bucket before its submission is answered (tests/render/test_ledger.py).
2. Each change is conditional on the state and the attempt that it starts from, so that of two processes only one makes
   it, and only the newest attempt can finish a job.
3. URLs are never stored; percent neither.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any, Protocol

from chassis.faults import Fault, Kind, exhausted
from chassis.ids import uuid7
from render.job import Ended, Failure, Finished, Job, State, Stray
from render.ledger_schema import MIGRATIONS, VERSION, version_there

_COLUMNS = (
    "tenant, job_id, state, attempt, transitions, priority, submitted_ms, started_ms, finished_ms, failure, outputs"
)
# Jobs from before there were other engines have no row for their attempts.
_ENGINE = (
    "coalesce((SELECT a.engine FROM attempts a WHERE a.tenant = jobs.tenant AND a.job_id = jobs.job_id"
    " AND a.attempt = jobs.attempt), 'local')"
)
_SELECT = " ".join(("SELECT", _COLUMNS, ",", _ENGINE, "FROM jobs"))
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
        self._version = VERSION

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

    async def begin(self, job: Job, engine: str, now_ms: int, key: str, last: Ended | None = None) -> Job | None:
        """A new attempt of an unfinished job, by this process; None when somebody changed it since.

        `last` is how the attempt before ended, None when it may still run.
        """
        if job.state.final:
            return None
        change = (
            "state = 'running', attempt = attempt + 1, owner = ?, "
            "started_ms = CASE started_ms WHEN 0 THEN ? ELSE started_ms END"
        )
        row = (
            "INSERT OR IGNORE INTO attempts (tenant, job_id, attempt, engine, began_ms, ended_ms, code, cost_micros)"
            " SELECT tenant, job_id, attempt, ?, ?, 0, '', 0 FROM jobs"
            " WHERE tenant = ? AND job_id = ? AND owner = ? AND transitions = ?"
        )
        insertion = (row, (engine, now_ms, job.tenant, job.job_id, self._owner, job.transitions + 1))
        ending = [_ending(job, last, now_ms)] if last is not None else []
        begun = await self._change(job, change, (self._owner, now_ms), key, [insertion, *ending])
        return replace(begun, engine=engine) if begun is not None else None

    async def resume(self, job: Job, key: str) -> Job | None:
        """A running attempt, by this process now; None when somebody changed the job since."""
        if job.state.final:
            return None
        return await self._change(job, "state = 'running', owner = ?", (self._owner,), key)

    async def finish(self, job: Job, now_ms: int, ended: Ended, key: str) -> Job | None:
        """The end of a running attempt; None when it is no longer the job's newest."""
        state = State.FAILED if ended.failure else State.SUCCEEDED
        told = json.dumps(asdict(ended.failure)) if ended.failure else ""
        listed = json.dumps([asdict(one) for one in ended.outputs], default=str)
        change = "state = ?, finished_ms = ?, failure = ?, outputs = ?"
        return await self._change(job, change, (state, now_ms, told, listed), key, [_ending(job, ended, now_ms)])

    async def calls(self, job: Job) -> dict[int, str]:
        """The calls of a job's newest attempt, by part."""
        sql = "SELECT part, call_id FROM calls WHERE tenant = ? AND job_id = ? AND attempt = ?"
        return dict(await self._query(sql, (job.tenant, job.job_id, job.attempt)))

    async def keep_call(self, job: Job, part: int, call_id: str, key: str) -> None:
        """Keeps a call of a job's newest attempt, instead of one that was kept before."""
        sql = "INSERT OR REPLACE INTO calls (tenant, job_id, attempt, part, call_id) VALUES (?, ?, ?, ?, ?)"
        await self._commit([(sql, (job.tenant, job.job_id, job.attempt, part, call_id))], key)

    async def strays(self) -> list[Stray]:
        """Attempts on remote engines that may still run, of jobs that are over or have a newer one."""
        sql = (
            "SELECT a.tenant, a.job_id, a.attempt, a.engine, c.part, c.call_id FROM attempts a"
            " JOIN jobs j ON j.tenant = a.tenant AND j.job_id = a.job_id"
            " LEFT JOIN calls c ON c.tenant = a.tenant AND c.job_id = a.job_id AND c.attempt = a.attempt"
            " WHERE a.ended_ms = 0 AND a.engine <> 'local'"
            " AND (j.attempt <> a.attempt OR j.state NOT IN ('queued', 'running')) LIMIT 10000"
        )
        found: dict[tuple[str, str, int, str], dict[int, str]] = {}
        for tenant, job_id, attempt, engine, part, call_id in await self._query(sql, ()):
            calls = found.setdefault((tenant, job_id, attempt, engine), {})
            if call_id is not None:
                calls[part] = call_id
        return [Stray(*which, calls) for which, calls in found.items()]

    async def ended(self, stray: Stray, ended: Ended, now_ms: int, key: str) -> None:
        """How an attempt ended, where nothing else changes."""
        await self._commit([_ending(stray, ended, now_ms)], key)

    async def cost_micros(self, tenant: str, job_id: str) -> int:
        """What a job's attempts cost, about, in millionths of a dollar."""
        sql = "SELECT total(cost_micros) FROM attempts WHERE tenant = ? AND job_id = ?"
        rows = await self._query(sql, (tenant, job_id))
        return int(rows[0][0])

    async def unswept(self, before_ms: int, *, after: Job | None, size: int) -> list[Job]:
        """At most `size` jobs that ended before a time and may have left something behind, in the order of their
        ends, after the last one seen.
        """
        sql = (
            " WHERE attempt > 0 AND finished_ms > 0 AND (attempt > 1 OR state <> 'succeeded') AND NOT EXISTS"
            " (SELECT 1 FROM sweeps s WHERE s.tenant = jobs.tenant AND s.job_id = jobs.job_id)"
            " AND finished_ms < ? AND (finished_ms, tenant, job_id) > (?, ?, ?)"
            " ORDER BY finished_ms, tenant, job_id LIMIT ?"
        )
        seen: Cells = (after.finished_ms, after.tenant, after.job_id) if after is not None else (0, "", "")
        return [_job(row) for row in await self._query(_SELECT + sql, (before_ms, *seen, size))]

    async def shares(self, job: Job, folder: str) -> bool:
        """Whether another job of the tenant has outputs in a folder, or works on something that names it."""
        sql = (
            "SELECT 1 FROM jobs WHERE tenant = ? AND job_id <> ? AND (instr(outputs, ?) > 0"
            " OR (state IN ('queued', 'running') AND instr(spec, ?) > 0)) LIMIT 1"
        )
        return bool(await self._query(sql, (job.tenant, job.job_id, f'"{folder}/', folder.encode())))

    async def swept(self, job: Job, now_ms: int, key: str) -> None:
        """Nothing is left behind by a job any more."""
        sql = "INSERT OR REPLACE INTO sweeps (tenant, job_id, swept_ms) VALUES (?, ?, ?)"
        await self._commit([(sql, (job.tenant, job.job_id, now_ms))], key)

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

    async def _change(
        self, job: Job, change: str, values: Cells, key: str, further: Sequence[tuple[str, Cells]] = ()
    ) -> Job | None:
        same = " WHERE tenant = ? AND job_id = ? AND state = ? AND attempt = ? AND transitions = ? RETURNING "
        sql = _UPDATE + change + same + _COLUMNS
        where = (job.tenant, job.job_id, job.state, job.attempt, job.transitions)
        rows, *_ = await self._commit([(sql, (*values, *where)), *further], key)
        return _job([*rows[0], job.engine]) if rows else None

    async def _query(self, sql: str, parameters: Cells) -> list[list[Any]]:
        try:
            return await self._database.query(self._version, sql, parameters)
        except Fault as fault:
            await self._migrate(fault)
            return await self._database.query(self._version, sql, parameters)

    async def _commit(self, statements: Sequence[tuple[str, Cells]], key: str) -> list[list[list[Any]]]:
        try:
            return await self._database.commit(self._version, statements, key)
        except Fault as fault:
            await self._migrate(fault)
            return await self._database.commit(self._version, statements, key)

    async def _migrate(self, fault: Fault) -> None:
        """Brings the tables up to date, or takes a newer process's as they are; any other fault goes on."""
        there = version_there(fault)
        for version in range(there, VERSION):
            try:
                await self._database.migrate(version, MIGRATIONS[version], version + 1)
            except Fault as raced:
                # Another process made them first: then the call that follows finds them.
                if raced.kind is not Kind.PRECONDITION:
                    raise
        self._version = max(VERSION, there)


def _ending(job: Job | Stray, ended: Ended, now_ms: int) -> tuple[str, Cells]:
    code = ended.failure.code if ended.failure is not None else ""
    sql = (
        "UPDATE attempts SET ended_ms = ?, code = ?, cost_micros = ?"
        " WHERE tenant = ? AND job_id = ? AND attempt = ? AND ended_ms = 0"
    )
    return sql, (now_ms, code, ended.cost_micros, job.tenant, job.job_id, job.attempt)


def _job(row: Sequence[Any]) -> Job:
    tenant, job_id, state, attempt, transitions, priority, submitted_ms, started_ms, finished_ms, *rest = row
    failure, outputs, engine = rest
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
        engine=engine,
    )
