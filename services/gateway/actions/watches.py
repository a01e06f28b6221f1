"""Watches on unfinished exports: one task each, which tells the pages, re-opens a lost stream, and ends the export.

A watch is an optimisation: without one (a restart, another gateway) the next read of the export does the same work.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Coroutine
from contextlib import aclosing
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

Spawn = Callable[[Coroutine[Any, Any, None], str], object]


class Watches:
    """The watches of this process, at most `limit` at once."""

    def __init__(self, renderer: Renderer, finaliser: Finaliser, hub: Hub, spawn: Spawn, *, limit: int) -> None:
        self._renderer = renderer
        self._finaliser = finaliser
        self._hub = hub
        self._spawn = spawn
        self._limit = limit
        self._jobs: dict[tuple[str, str], Job | None] = {}

    def job(self, user_id: str, export_id: str) -> Job | None:
        """What the watch on an export saw last; None when there is no watch, or it has seen nothing yet."""
        return self._jobs.get((user_id, export_id))

    def start(self, user_id: str, export: Export, traceparent: str = "") -> None:
        """Watches an unfinished export, unless it is watched already or there is no room: then its reads do the
        work.
        """
        key = (user_id, export.id)
        if export.terminal or key in self._jobs or len(self._jobs) >= self._limit:
            return
        self._jobs[key] = None
        self._spawn(self._watch(user_id, export, traceparent), f"watch {export.id}")

    async def _watch(self, user_id: str, export: Export, traceparent: str) -> None:
        try:
            with tracing.attached({"traceparent": traceparent} if traceparent else {}):
                await self._until_finished(user_id, export)
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                raise
            log.info("export %s was deleted while it ran", export.id)
        finally:
            self._jobs.pop((user_id, export.id), None)

    async def _until_finished(self, user_id: str, export: Export) -> None:
        wait_s = BACKOFF_S[0]
        while True:
            try:
                job = await self._finaliser.job(user_id, export.id)
                if job is None or await self._follow(user_id, export, job):
                    return
                wait_s = BACKOFF_S[0]
            except Fault as fault:
                if fault.kind is Kind.NOT_FOUND and fault.reason == "not_found":
                    raise
                log.warning("watch on export %s lost: %s", export.id, fault, extra={"reason": fault.reason})
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
        self._jobs[user_id, export.id] = job
        self._hub.export(user_id, with_job(export, job))
