"""Deletes what attempts left in the store that did not finish their job.

1. Nothing of the attempt that finished a job is deleted, nor of a job that is not over, nor anything in a folder that
   another job has outputs in or still works on (tests/render/test_sweep.py).
2. A job is swept some time after its end, when nobody holds a URL to write there any more; once, and again where a
   process was killed meanwhile: deleting twice changes nothing (test_a_killed_sweep_is_done_again).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Protocol

from chassis import tracing
from chassis.faults import Fault
from chassis.ids import uuid7
from render.attempts import CHUNKS
from render.job import Job, State
from render.ledger import Ledger
from render.patience import PASSING
from render.spec import Spec

log = logging.getLogger(__name__)

EVERY_S = 600.0
PAGE = 50
PAGES_MAX = 40  # of one round: what is left then is the next one's


class Store(Protocol):
    """What a sweep needs of storage."""

    async def delete_folder(self, tenant: str, folder: str) -> None:
        """Deletes what stands below a folder; Fault. What is not there is deleted already."""
        ...


class Sweeper:
    """Sweeps jobs that ended at least `after_s` ago; `decode` reads a stored specification."""

    def __init__(self, ledger: Ledger, store: Store, decode: Callable[[bytes], Spec], *, after_s: float) -> None:
        self._ledger = ledger
        self._store = store
        self._decode = decode
        self._after_s = after_s

    async def run(self) -> None:
        """A round now and then; never returns."""
        while True:
            try:
                with tracing.span("render.sweep"):
                    await self.round(time.time_ns() // 1_000_000)
            except Fault as fault:
                log.warning("a sweep broke off, and is done again later: %s", fault.message)
            await asyncio.sleep(min(EVERY_S, self._after_s))

    async def round(self, now_ms: int) -> int:
        """Sweeps what is due; how many jobs were swept. Fault while storage or the ledger is away."""
        before_ms = now_ms - round(self._after_s * 1000)
        last: Job | None = None
        count = 0
        for _ in range(PAGES_MAX):
            jobs = await self._ledger.unswept(before_ms, after=last, size=PAGE)
            for job in jobs:
                count += await self._sweep(job, now_ms)
            if len(jobs) < PAGE:
                break
            last = jobs[-1]
        return count

    async def _sweep(self, job: Job, now_ms: int) -> bool:
        spec_bytes, _ = await self._ledger.work(job.tenant, job.job_id)
        try:
            folder = self._decode(spec_bytes).output.folder
        except Fault as fault:
            log.warning("a job's folder is not known: %s", fault.message, extra={"job": job.job_id})
        else:
            if await self._ledger.shares(job, folder):
                return False
            try:
                await self._delete(job, folder)
            except Fault as fault:
                if fault.kind in PASSING:
                    raise
                log.warning("a job cannot be swept: %s", fault.message, extra={"job": job.job_id})
        await self._ledger.swept(job, now_ms, uuid7())
        return True

    async def _delete(self, job: Job, folder: str) -> None:
        last = job.attempt - 1 if job.state is State.SUCCEEDED else job.attempt
        for name in (*range(1, last + 1), CHUNKS):
            await self._store.delete_folder(job.tenant, f"{folder}/{name}")
