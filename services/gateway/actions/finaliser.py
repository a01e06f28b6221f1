"""One finaliser: what render ends, this commits, once.

1. The export's row precedes its submission and holds its plan; whoever finds a row that render does not know submits
   it again, with the same id and the same plan (tests/gateway/test_finaliser.py).
2. Ending an export is one commit whose statements ask whether it is still open, under a key derived from its id: run
   any number of times, at once, from anywhere, its outputs become visible once (test_finaliser.py).
3. Unknown is not failed: only render's own verdict, or its refusal of the plan, ends an export.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from chassis import tracing
from chassis.faults import Fault, Kind
from gateway.domain.exports import Export, Plan, Role
from gateway.domain.ids import derive
from gateway.domain.jobs import Job, JobError, JobState
from gateway.library import exports as rows
from gateway.library.steps import missing
from gateway.library.store import Store
from gateway.ports import Renderer

log = logging.getLogger(__name__)

REFUSED = frozenset({Kind.INVALID, Kind.NOT_FOUND, Kind.PRECONDITION, Kind.CONFLICT, Kind.EXISTS})


class Finaliser:
    """Submits open exports and ends finished ones."""

    def __init__(self, store: Store, renderer: Renderer) -> None:
        self._store = store
        self._renderer = renderer

    async def job(self, user_id: str, export_id: str) -> Job | None:
        """The job of an open export, submitted now if render does not know it; None when the export is finished or
        gone.

        A plan that render refuses is a failed job. Raises Fault when render or the database cannot be reached.
        """
        try:
            return await self._renderer.job(user_id, export_id)
        except Fault as fault:
            if fault.reason != "job_not_found":
                raise
        return await self.submit(user_id, export_id)

    async def current(self, user_id: str, export_id: str) -> Export:
        """The export as its row says; `not_found` when it was deleted."""
        reading = await self._store.read(user_id, rows.one_export(export_id))
        found = rows.read_exports(*reading.results)
        if not found:
            raise missing("export")
        return found[0]

    async def traceparent(self, user_id: str, export_id: str) -> str:
        """The trace in which an open export was asked for; empty for a finished one."""
        reading = await self._store.read(user_id, [rows.traceparent_of(export_id)])
        return rows.read_traceparent(reading.results[0])

    async def submit(self, user_id: str, export_id: str) -> Job | None:
        """As `job`, for an export that render is not known to know."""
        reading = await self._store.read(user_id, [rows.plan_of(export_id)])
        found = rows.read_plan(reading.results[0])
        if found is None:
            return None
        return await self.submit_plan(user_id, export_id, found)

    async def submit_plan(self, user_id: str, export_id: str, plan: Plan) -> Job:
        """Submits a plan; a refusal for good is a failed job, anything else is raised."""
        try:
            return await self._renderer.submit(user_id, export_id, plan.spec)
        except Fault as fault:
            if fault.kind not in REFUSED:
                raise
            log.warning(
                "render refused export %s: %s", export_id, fault, extra={"reason": fault.reason, **fault.metadata}
            )
            error = JobError(fault.reason, fault.message, retryable=False)
            return Job(export_id, JobState.FAILED, 0.0, None, "", sequence=1, error=error)

    async def finish(self, user_id: str, export_id: str, job: Job) -> Export:
        """The export with its finished job committed, by this call or an earlier one; `not_found` when it was
        deleted.
        """
        reading = await self._store.read(user_id, [*rows.one_export(export_id), rows.plan_of(export_id)])
        found = rows.read_exports(*reading.results[:2])
        if not found:
            raise missing("export")
        opened = rows.read_plan(reading.results[2])
        if opened is None:
            return found[0]
        with tracing.span("finish export", attributes={"export.id": export_id, "export.state": job.state.value}):
            return await self._commit(user_id, export_id, _sound(job, opened), opened)

    async def _commit(self, user_id: str, export_id: str, job: Job, plan: Plan) -> Export:
        steps = rows.finish_export(export_id, job, plan)
        try:
            written = await self._store.system_write(user_id, steps, key=derive(export_id, user_id, "finish"))
        except Fault as fault:
            # Of a long-lived export the key may be too old to remember; the statements guard themselves as well.
            if fault.reason not in ("idempotency_key_expired", "idempotency_key_reused"):
                raise
            written = await self._store.system_write(user_id, steps)
        found = await self._row(user_id, export_id, written.stamp.version)
        if written.replayed and not found.terminal:
            # A restore has brought back the time before it ended; what the key remembers is not in that.
            written = await self._store.system_write(user_id, steps)
            found = await self._row(user_id, export_id, written.stamp.version)
        return found

    async def _row(self, user_id: str, export_id: str, min_version: int) -> Export:
        reading = await self._store.read(user_id, rows.one_export(export_id), min_version=min_version)
        found = rows.read_exports(*reading.results)
        if not found:
            raise missing("export")
        return found[0]


def _sound(job: Job, plan: Plan) -> Job:
    """The job, failed when it did not make what was planned: never an export that succeeded without its videos."""
    if job.state is not JobState.SUCCEEDED:
        return job
    made, planned = {output.name for output in job.outputs}, {output.name for output in plan.outputs}
    # A render from before there were annotations makes none.
    videos = {output.name for output in plan.outputs if output.role is not Role.ANNOTATIONS}
    if videos <= made <= planned and len(job.outputs) == len(made):
        return job
    error = JobError("outputs_missing", "The renderer did not make all videos; try again.", retryable=True)
    return replace(job, state=JobState.FAILED, outputs=(), error=error)
