"""Exports: ask for one, see where it stands, cancel, retry, forget.

The client sends ids; what is rendered is read from the database (rule 7). The row is committed first, then submitted
under the same id.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from chassis import faults, tracing
from chassis.faults import Fault, Kind
from gateway.actions import plans
from gateway.actions.finaliser import Finaliser
from gateway.actions.watches import Watches
from gateway.domain.actor import Actor, Stamp
from gateway.domain.exports import Export, ExportRequest, Output, Plan, with_job
from gateway.domain.ids import derive
from gateway.domain.jobs import Job, JobState
from gateway.library import exports as rows
from gateway.library.records import records
from gateway.library.steps import missing
from gateway.library.store import Store
from gateway.ports import Objects, Renderer, Rows

log = logging.getLogger(__name__)

PLAYBACK_S = 6 * 3600.0
UNREACHABLE = frozenset({Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED, Kind.CANCELLED, Kind.INTERNAL})


@dataclass(frozen=True)
class Exports:
    """What exports need."""

    store: Store
    objects: Objects
    renderer: Renderer
    finaliser: Finaliser
    watches: Watches

    async def create(self, actor: Actor, request: ExportRequest) -> tuple[Export, Stamp]:
        """A new export, submitted if render can be reached, else as soon as it can. Repeated with the same key, the
        same export.
        """
        export_id = derive(actor.key, actor.user_id, "export")
        known, seen = await self._known(actor, export_id, request)
        if known is not None:
            return known
        # What is planned is at least as new as the answer that the export is not there yet: no second look at the log.
        plan = await plans.plan(self.store, replace(actor, min_version=seen), export_id, request)
        traceparent = tracing.carrier().get("traceparent", "")
        steps = rows.insert_export(export_id, request, plan, tracing.trace_id(), traceparent)
        try:
            written = await self.store.write(actor, steps)
        except Fault as fault:
            # The same request at the same time: what it planned or its trace may differ from ours.
            if fault.reason != "idempotency_key_reused":
                raise
            known, _ = await self._known(actor, export_id, request)
            if known is None:
                raise
            return known
        return await self._submitted(actor.user_id, _only(written.results[-2:]), plan), written.stamp

    async def retry(self, actor: Actor, export_id: str) -> tuple[Export, Stamp]:
        """A new export of what a failed or cancelled one was asked for, planned from what the database has now."""
        reading = await self.store.read(
            actor.user_id, [*rows.one_export(export_id), rows.request_of(export_id)], min_version=actor.min_version
        )
        export = _only(reading.results[:2])
        request = rows.read_request(reading.results[2])
        if request is None or export.state not in (JobState.FAILED, JobState.CANCELLED):
            raise faults.precondition(
                "export_not_failed", "Only an export that failed or was cancelled can be retried."
            )
        return await self.create(actor, request)

    async def get(self, actor: Actor, export_id: str) -> tuple[Export, Stamp]:
        """An export as it is now; a finished job that was not committed yet is committed by this read."""
        export, stamp = await self._find(actor, export_id)
        if export.terminal:
            return export, stamp
        try:
            return await self._settled(actor, export), stamp
        except Fault as fault:
            if fault.kind not in UNREACHABLE:
                raise
            self.watches.start(actor.user_id, export)
            return with_job(export, self.watches.job(actor.user_id, export_id)), stamp

    async def listed(
        self, actor: Actor, column: Literal["game_id", "reel_id"] | None, value: str
    ) -> tuple[list[Export], Stamp]:
        """Exports, newest first: all, or those of a game or a reel. Unfinished ones are watched from now on."""
        selects = rows.exports_of(column, value) if column else rows.all_exports()
        reading = await self.store.read_whole(actor.user_id, selects, min_version=actor.min_version)
        return self.live(actor.user_id, rows.read_exports(*reading.results)), Stamp(reading.version, reading.version)

    def live(self, user_id: str, exports: Sequence[Export]) -> list[Export]:
        """Exports from their rows with what the watches saw last, each unfinished one watched from now on."""
        for export in exports:
            self.watches.start(user_id, export)
        return [with_job(export, self.watches.job(user_id, export.id)) for export in exports]

    async def cancel(self, actor: Actor, export_id: str) -> tuple[Export, Stamp]:
        """Stops an export; one that has ended stays as it ended."""
        export, found = await self._find(actor, export_id)
        stamp = Stamp(found.version, actor.base_version)
        if export.terminal:
            return export, stamp
        return await self._shown(actor.user_id, export, await self._cancelled(actor.user_id, export_id)), stamp

    async def delete(self, actor: Actor, export_id: str) -> Stamp:
        """Takes an export off the list and stops it if it runs; the objects it made stay (rule 13)."""
        export, _ = await self._find(actor, export_id)
        written = await self.store.write(actor, rows.delete_export(export_id))
        if not export.terminal:
            try:
                await self.renderer.cancel(actor.user_id, export_id)
            except Fault as fault:
                log.warning(
                    "a deleted export could not be cancelled: %s",
                    fault,
                    extra={"export": export_id, "reason": fault.reason},
                )
        return written.stamp

    async def file_url(
        self, actor: Actor, export_id: str, output_id: str, *, poster: bool = False, download: bool = False
    ) -> tuple[str, Stamp]:
        """A presigned URL of an output's video or its still."""
        reading = await self.store.read(
            actor.user_id, [rows.one_output(export_id, output_id)], min_version=actor.min_version
        )
        found: list[Output] = [rows.read_output(record) for record in records(reading.results[0])]
        if not found or (poster and not found[0].poster_key):
            raise missing("output")
        key = found[0].poster_key if poster else found[0].key
        name = found[0].name if not poster else f"{found[0].name.removesuffix('.mp4')}.jpg"
        url = await self.objects.grant_download(
            actor.user_id, key, download_name=name if download else "", lifetime_s=PLAYBACK_S
        )
        return url, Stamp(reading.version, reading.version)

    async def _known(
        self, actor: Actor, export_id: str, request: ExportRequest
    ) -> tuple[tuple[Export, Stamp] | None, int]:
        """The export that this very request has made before, if it has, and the version at which that was seen."""
        reading = await self.store.read(actor.user_id, [*rows.one_export(export_id), rows.request_of(export_id)])
        before = rows.read_request(reading.results[2])
        if before is None:
            return None, reading.version
        if before != request:
            raise faults.invalid(
                "idempotency_key_reused", "This Idempotency-Key was used for another request; make a new one."
            )
        exports = self.live(actor.user_id, rows.read_exports(*reading.results[:2]))
        return (exports[0], Stamp(reading.version, actor.base_version)), reading.version

    async def _submitted(self, user_id: str, export: Export, plan: Plan) -> Export:
        """The export just committed, handed to render; queued still when render cannot be reached: its watch tries
        on.
        """
        try:
            job = await self.finaliser.submit_plan(user_id, export.id, plan)
        except Fault as fault:
            log.warning("export %s could not be submitted yet: %s", export.id, fault, extra={"reason": fault.reason})
            self.watches.start(user_id, export)
            return export
        return await self._shown(user_id, export, job)

    async def _shown(self, user_id: str, export: Export, job: Job) -> Export:
        """An open export with its job: watched, or ended."""
        if job.terminal:
            return await self.finaliser.finish(user_id, export.id, job)
        job = self.watches.risen(user_id, export.id, job)
        self.watches.start(user_id, export, job)
        return with_job(export, job)

    async def _settled(self, actor: Actor, export: Export) -> Export:
        job = await self.finaliser.job(actor.user_id, export.id)
        if job is None:  # ended since it was read
            return (await self._find(replace(actor, min_version=None), export.id))[0]
        return await self._shown(actor.user_id, export, job)

    async def _find(self, actor: Actor, export_id: str) -> tuple[Export, Stamp]:
        reading = await self.store.read(actor.user_id, rows.one_export(export_id), min_version=actor.min_version)
        return _only(reading.results), Stamp(reading.version, reading.version)

    async def _cancelled(self, user_id: str, export_id: str) -> Job:
        never_submitted = Job(export_id, JobState.CANCELLED, 0.0, None, "", sequence=1)
        try:
            return await self.renderer.cancel(user_id, export_id)
        except Fault as fault:
            if fault.reason != "job_not_found":
                raise
        # The row ends first, so that nobody submits it any more; then a submission that was under way is stopped too.
        await self.finaliser.finish(user_id, export_id, never_submitted)
        try:
            await self.renderer.cancel(user_id, export_id)
        except Fault as fault:
            if fault.reason != "job_not_found":
                log.warning(
                    "a cancelled export may still run: %s", fault, extra={"export": export_id, "reason": fault.reason}
                )
        return never_submitted


def _only(results: tuple[Rows, ...]) -> Export:
    found = rows.read_exports(*results)
    if not found:
        raise missing("export")
    return found[0]
