"""Jobs in this process: who waits, who runs, what is known of each, and how each ends.

1. A job is made terminal by one conditional ledger change, and only for its newest attempt
   (tests/render/test_jobs.py::test_a_zombie_cannot_finish).
2. Progress never goes back within a job, and a watcher sees every change's latest state (test_watching).
3. An answer that is lost is asked again with the same key; it never fails a job whose outcome is unknown
   (test_lost_answers_change_nothing).
4. What a dead process left behind is begun again at start; a stopping process puts its jobs back
   (test_a_stopping_process_hands_over). A job that ends its process each time is given up after INTERRUPTIONS_MAX.

One process works on the ledger at a time, apart from the minutes of a deploy: the newer one takes unfinished jobs over
at its start, and the older one's attempts can no longer finish.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol, TypeVar

from chassis import deadlines, tracing
from chassis.faults import Fault, Kind, not_found, precondition, unavailable
from chassis.ids import uuid7
from chassis.process import Life
from render.engines.local import AttemptFailed, Progress
from render.job import Failure, Finished, Job, Live, State, retry_delay_s
from render.ledger import Ledger

log = logging.getLogger(__name__)

T = TypeVar("T")

KEPT_FINISHED = 200
INTERRUPTIONS_MAX = 10  # attempts beyond those that may fail: restarts and deploys
_ELSEWHERE_S = 1.0  # between looks at a job that another process works on
_PASSING = (Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED)
PUT_BACK_S = 4.0
_AGAIN_S = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0)

Key = tuple[str, str]  # tenant, job id


@dataclass
class Known:
    """A job of which this process knows more than the ledger; `changed` is set and replaced at every change."""

    job: Job
    live: Live
    changed: asyncio.Event
    task: asyncio.Task[None] | None = None


class Attempts(Protocol):
    """How one attempt at a job is made."""

    async def run(self, job: Job, spec_bytes: bytes, progress: Progress) -> list[Finished]:
        """The outputs, standing in the store; AttemptFailed, Fault. Cancelling it ends what it began."""
        ...


class Jobs:
    """All jobs of this process."""

    def __init__(self, ledger: Ledger, attempts: Attempts, life: Life, *, workers: int, attempts_max: int) -> None:
        self._ledger = ledger
        self._attempts = attempts
        self._life = life
        self._workers = asyncio.Semaphore(workers)
        self._attempts_max = attempts_max
        self._known: dict[Key, Known] = {}
        self._waiting: list[tuple[int, int, Key]] = []
        self._arrived = asyncio.Event()
        self._leaving = False

    async def take_over(self) -> None:
        """Queues what the ledger says is unfinished: for the start of the process. Waits until the ledger answers."""
        for job in await self._sure(lambda key: self._ledger.unfinished()):
            if (job.tenant, job.job_id) not in self._known:
                self._enqueue(job)

    async def submit(self, job: Job, spec: bytes) -> tuple[Job, Live]:
        """The job, durable; the one that is there when the id is known. PRECONDITION job_mismatch for another spec."""
        kept, kept_spec = await self._ledger.submit(job, spec, tracing.carrier())
        if kept_spec != spec:
            raise precondition("job_mismatch", "This job id was used for another specification; use a new one.")
        key = (kept.tenant, kept.job_id)
        if kept.state is State.QUEUED and key not in self._known:
            self._enqueue(kept)
        return kept, self._live(key, kept)

    async def get(self, tenant: str, job_id: str) -> tuple[Job, Live]:
        """The job as it stands; NOT_FOUND."""
        known = self._known.get((tenant, job_id))
        if known is not None and known.job.state.final:
            return known.job, known.live
        job = await self._ledger.get(tenant, job_id)
        if job is None:
            raise not_found("job_not_found", f"There is no job {job_id}.")
        if job.state is State.QUEUED and (tenant, job_id) not in self._known:
            self._enqueue(job)  # accepted by a process that is gone
        return job, self._live((tenant, job_id), job)

    async def cancel(self, tenant: str, job_id: str) -> tuple[Job, Live]:
        """The job, cancelled unless it had ended; NOT_FOUND. Its processes are dead when this returns."""
        job = await self._ledger.cancel(tenant, job_id, _now_ms())
        if job is None:
            raise not_found("job_not_found", f"There is no job {job_id}.")
        known = self._known.get((tenant, job_id))
        if known is not None and job.state is State.CANCELLED:
            self._tell(known, job)
            if known.task is not None:
                known.task.cancel()
                await asyncio.wait([known.task], timeout=5)
        return job, self._live((tenant, job_id), job)

    async def watch(self, tenant: str, job_id: str, seen: int) -> AsyncIterator[tuple[Job, Live]]:
        """The job at each change after the sequence number `seen`, ending with its last state; NOT_FOUND."""
        job, live = await self.get(tenant, job_id)
        while True:
            known = self._known.get((tenant, job_id))
            changed = known.changed if known is not None else None
            if known is not None:
                job, live = known.job, known.live
            if sequence(job, live) > seen or job.state.final:
                seen = sequence(job, live)
                yield job, live
            if job.state.final:
                return
            if self._leaving:
                raise unavailable("stopping", "Render is being restarted; watch again.")
            if changed is None:
                await asyncio.sleep(_ELSEWHERE_S)
                job, live = await self.get(tenant, job_id)
            else:
                await changed.wait()

    def live(self, job: Job) -> Live:
        """What this process knows of a job beyond its row."""
        return self._live((job.tenant, job.job_id), job)

    async def run(self) -> None:
        """Begins waiting jobs, the most urgent first, as workers are free; never returns."""
        while True:
            await self._workers.acquire()
            while not self._waiting:
                self._arrived.clear()
                await self._arrived.wait()
            key = heapq.heappop(self._waiting)[2]
            known = self._known.get(key)
            if known is None or known.job.state.final or known.task is not None:
                self._workers.release()
                continue
            known.task = self._life.spawn(self._work(known), f"job {key[1]}")
            known.task.add_done_callback(partial(self._ended, known))

    async def let_go(self) -> None:
        """Ends the watches, so that the server need not wait for them."""
        self._leaving = True
        for known in self._known.values():
            self._wake(known)

    async def stop(self) -> None:
        """Ends running attempts and puts their jobs back for the next process, which finds them anyway."""
        running = [known for known in self._known.values() if known.task is not None]
        for known in running:
            assert known.task is not None
            known.task.cancel()
        await asyncio.gather(*(known.task for known in running if known.task), return_exceptions=True)
        begun = [known.job for known in running if known.job.state is State.RUNNING]
        with deadlines.scope(PUT_BACK_S):
            putting = (self._ledger.put_back(job, uuid7()) for job in begun)
            answers = await asyncio.gather(*putting, return_exceptions=True)
        for back in answers:
            if isinstance(back, BaseException):
                log.warning("a job was not put back: %s", back)

    async def _work(self, known: Known) -> None:
        """Attempts at a job until it is over or somebody else's."""
        _, carrier = await self._sure(lambda key: self._ledger.work(known.job.tenant, known.job.job_id))
        with tracing.span("render.job", kind="consumer", parent=carrier) as span:
            span.set("job.id", known.job.job_id)
            await self._attempt_until_over(known)

    def _ended(self, known: Known, task: asyncio.Task[None]) -> None:
        """Frees the worker: also of a task that was cancelled before its first step, which no `finally` would see."""
        known.task = None
        self._workers.release()
        self._forget_old()

    async def _attempt_until_over(self, known: Known) -> None:
        while True:
            begun = await self._begin(known.job)
            if begun is None:
                await self._give_way(known)
                return
            self._tell(known, begun)
            outputs, failure = await self._attempt(known)
            if failure is not None and failure.retryable and begun.attempt < self._attempts_max:
                log.warning("attempt failed, again soon", extra={"job": begun.job_id, "code": failure.code})
                await asyncio.sleep(retry_delay_s(begun.attempt))
                continue
            done = await self._finish(begun, outputs, failure)
            if done is None:
                log.warning("attempt was overtaken", extra={"job": begun.job_id, "attempt": begun.attempt})
                await self._give_way(known)
            else:
                self._tell(known, done)
            return

    async def _begin(self, job: Job) -> Job | None:
        now_ms = _now_ms()
        return await self._sure(lambda key: self._ledger.begin(job, now_ms, key))

    async def _finish(self, job: Job, outputs: list[Finished], failure: Failure | None) -> Job | None:
        now_ms = _now_ms()
        return await self._sure(lambda key: self._ledger.finish(job, now_ms, outputs, failure, key))

    async def _attempt(self, known: Known) -> tuple[list[Finished], Failure | None]:
        job = known.job
        if job.attempt > self._attempts_max + INTERRUPTIONS_MAX:
            return [], Failure("render_failed", "The work was interrupted too many times.", False)
        spec, _ = await self._sure(lambda key: self._ledger.work(job.tenant, job.job_id))
        began = time.monotonic()

        def progress(phase: str, share: float) -> None:
            self._progress(known, phase, share, time.monotonic() - began)

        with tracing.span("render.attempt", attributes={"job.attempt": job.attempt}) as span:
            try:
                return await self._attempts.run(job, spec, progress), None
            except AttemptFailed as error:
                failure = error.failure
            except Fault as fault:
                again = fault.kind in _PASSING
                failure = Failure("store_unavailable" if again else fault.reason, fault.message, again)
            except Exception as error:
                log.error("attempt failed: %s", error, exc_info=error, extra={"job": job.job_id})
                failure = Failure("render_failed", "Something went wrong inside the renderer.", True)
            span.fail(failure.code)
            return [], failure

    async def _give_way(self, known: Known) -> None:
        """The job is somebody else's now: what the ledger says of it is what is told."""
        job = await self._sure(lambda key: self._ledger.get(known.job.tenant, known.job.job_id))
        if job is not None and job.state.final:
            self._tell(known, job)
        else:
            self._known.pop((known.job.tenant, known.job.job_id), None)
            self._wake(known)

    async def _sure(self, ask: Callable[[str], Awaitable[T]]) -> T:
        """The answer, asked for with one idempotency key until there is one: a change whose answer was lost is not
        taken for somebody else's."""
        key = uuid7()
        for pause_s in itertools.chain(_AGAIN_S, itertools.repeat(_AGAIN_S[-1])):
            try:
                return await ask(key)
            except Fault as fault:
                if fault.kind not in _PASSING:
                    raise
                log.warning("the ledger does not answer, again in %s s: %s", pause_s, fault.message)
            await asyncio.sleep(pause_s)
        raise AssertionError("the pauses never end")

    def _progress(self, known: Known, phase: str, share: float, spent_s: float) -> None:
        live = known.live
        share = max(live.progress, min(share, 0.99))
        eta_s = spent_s * (1 - share) / share if share > 0.05 else None
        known.live = Live(phase, share, eta_s, live.ticks + 1)
        self._wake(known)

    def _tell(self, known: Known, job: Job) -> None:
        known.job = job
        phase = "" if job.state.final else "queued" if job.state is State.QUEUED else "reading"
        progress = 1.0 if job.state is State.SUCCEEDED else known.live.progress
        known.live = replace(known.live, phase=phase, progress=progress, eta_s=None)
        self._wake(known)

    def _wake(self, known: Known) -> None:
        known.changed.set()
        known.changed = asyncio.Event()

    def _enqueue(self, job: Job) -> None:
        key = (job.tenant, job.job_id)
        self._known[key] = Known(job, Live("queued", 0.0, None, 0), asyncio.Event())
        heapq.heappush(self._waiting, (-job.priority, job.submitted_ms, key))
        self._arrived.set()

    def _live(self, key: Key, job: Job) -> Live:
        known = self._known.get(key)
        if known is not None and known.job.state is job.state:
            return known.live
        return Live("", 1.0 if job.state is State.SUCCEEDED else 0.0, None, 0)

    def _forget_old(self) -> None:
        over = [key for key, known in self._known.items() if known.job.state.final and known.task is None]
        for key in over[: max(0, len(over) - KEPT_FINISHED)]:
            del self._known[key]


def sequence(job: Job, live: Live) -> int:
    """A number that rises with every change of a job, across processes: ledger changes first, then this process's."""
    return job.transitions << 32 | live.ticks


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
