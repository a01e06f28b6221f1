"""Watches on unfinished exports: one task each, which tells the pages, re-opens a lost stream, and ends the export.

A watch is an optimisation: without one (a restart, another gateway) the next read of the export does the same work.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from chassis import tracing
from chassis.faults import Fault, Kind
from gateway.actions.events import Hub
from gateway.actions.finaliser import Finaliser
from gateway.domain.exports import Export, with_job
from gateway.domain.jobs import Job
from gateway.ports import Renderer

log = logging.getLogger(__name__)

BACKOFF_S = (0.2, 10.0)

Spawn = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]


class Watches:
    """The watches of this process, at most `limit` at once."""

    def __init__(self, renderer: Renderer, finaliser: Finaliser, hub: Hub, spawn: Spawn, *, limit: int) -> None:
        self._renderer = renderer
        self._finaliser = finaliser
        self._hub = hub
        self._spawn = spawn
        self._limit = limit
        self._jobs: dict[tuple[str, str], Job | None] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}

    def job(self, user_id: str, export_id: str) -> Job | None:
        """What the watch on an export saw last; None when there is no watch, or it has seen nothing yet."""
        return self._jobs.get((user_id, export_id))

    def risen(self, user_id: str, export_id: str, job: Job) -> Job:
        """The job with the most progress that was seen of it: one that begins again is not shown going back."""
        last = self._jobs.get((user_id, export_id))
        if last is None or job.terminal or last.progress <= job.progress:
            return job
        return replace(job, progress=last.progress)

    def start(self, user_id: str, export: Export, job: Job | None = None) -> None:
        """Watches an unfinished export, unless it is watched already or there is no room: then its reads do the
        work.
        """
        key = (user_id, export.id)
        if export.terminal or key in self._jobs or len(self._jobs) >= self._limit:
            return
        self._jobs[key] = job
        self._tasks[key] = self._spawn(self._watch(user_id, export, job), f"watch {export.id}")

    async def stop(self) -> None:
        """Ends every watch; the exports go on, and their next reads or another gateway's watches see to them."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _watch(self, user_id: str, export: Export, job: Job | None) -> None:
        try:
            # A watch that a later read began belongs to the trace of the click that asked for the export.
            with tracing.attached(await self._carrier(user_id, export)):
                await self._until_finished(user_id, export, job)
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                raise
            log.info("export %s was deleted while it ran", export.id)
        finally:
            self._jobs.pop((user_id, export.id), None)
            self._tasks.pop((user_id, export.id), None)

    async def _carrier(self, user_id: str, export: Export) -> dict[str, str]:
        if tracing.trace_id() == export.trace_id:
            return tracing.carrier()
        try:
            return {"traceparent": await self._finaliser.traceparent(user_id, export.id)}
        except Fault as fault:
            log.info("the trace of export %s is not known: %s", export.id, fault, extra={"reason": fault.reason})
            return {}

    async def _until_finished(self, user_id: str, export: Export, job: Job | None) -> None:
        wait_s = BACKOFF_S[0]
        while True:
            try:
                job = job or await self._finaliser.job(user_id, export.id)
                if job is None:  # ended elsewhere
                    self._hub.export(user_id, await self._finaliser.current(user_id, export.id))
                    return
                if await self._follow(user_id, export, job):
                    return
                wait_s = BACKOFF_S[0]
            except Fault as fault:
                if fault.kind is Kind.NOT_FOUND and fault.reason == "not_found":
                    raise
                log.warning("watch on export %s lost: %s", export.id, fault, extra={"reason": fault.reason})
            job = None  # the stream was lost: ask anew
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311 (spreads retries, guards nothing)
            wait_s = min(wait_s * 2, BACKOFF_S[1])

    async def _follow(self, user_id: str, export: Export, job: Job) -> bool:
        """Tells of every change from `job` on; whether it came to an end that was committed."""
        if not job.terminal:
            self._saw(user_id, export, job)
            async with aclosing(self._renderer.watch(user_id, export.id, job.sequence)) as changes:
                async for job in changes:
                    self._saw(user_id, export, job)
                    if job.terminal:
                        break
        if not job.terminal:
            return False
        self._hub.export(user_id, await self._finaliser.finish(user_id, export.id, job))
        return True

    def _saw(self, user_id: str, export: Export, job: Job) -> None:
        job = self.risen(user_id, export.id, job)
        self._jobs[user_id, export.id] = job
        self._hub.export(user_id, with_job(export, job))
