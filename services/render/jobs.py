"""Jobs in this process: who waits, who runs, what is known of each, and how each ends.

1. A job is made terminal by one conditional ledger change, and only for its newest attempt
   (tests/render/test_jobs.py::test_a_zombie_cannot_finish).
2. Progress never goes back within a job, and a watcher sees every change's latest state (test_watching).
3. An answer that is lost is asked again with the same key; it never fails a job whose outcome is unknown
   (test_lost_answers_change_nothing).
4. What a dead process left behind is begun again at start; a stopping process puts its jobs back
   (test_a_stopping_process_hands_over). A job that ends its process each time is given up after INTERRUPTIONS_MAX.
5. An attempt on a remote engine is taken up again, not begun again
   (tests/render/test_modal_jobs.py::test_a_restart_takes_the_call_up_again); one that nobody waits for any more is
   ended, by whichever process comes first to it (test_what_was_left_to_run_is_ended).
6. Whose turn it is, turns.py says; a job that pauses before it is tried again keeps no worker
   (tests/render/test_jobs.py::test_a_pause_keeps_no_worker).

One process works on the ledger at a time, apart from the minutes of a deploy: the newer one takes unfinished jobs over
at its start, and the older one's attempts can no longer finish.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from chassis import deadlines, tracing
from chassis.faults import Fault, not_found, precondition, unavailable
from chassis.ids import uuid7
from chassis.process import Life
from render.engines.port import AttemptFailed, Calls, Progress
from render.job import ENGINE_AWAY, Ended, Failure, Job, Live, State, retry_delay_s
from render.ledger import Ledger
from render.pace import Pace
from render.patience import PASSING, sure
from render.strays import KeptCalls, Strays
from render.turns import Key, Turns, Waiting

log = logging.getLogger(__name__)

KEPT_FINISHED = 200
INTERRUPTIONS_MAX = 10  # attempts beyond those that may fail: restarts and deploys
_ELSEWHERE_S = 1.0  # between looks at a job that another process works on
PUT_BACK_S = 4.0


@dataclass
class Known:
    """A job of which this process knows more than the ledger; `changed` is set and replaced at every change."""

    job: Job
    live: Live
    changed: asyncio.Event
    task: asyncio.Task[None] | None = None
    last: Ended | None = None  # how the attempt ended that is tried again, no sooner than `ready_s`
    ready_s: float = 0.0


class Attempts(Protocol):
    """How attempts are made, by engines of which some are remote."""

    def choose(self) -> str:
        """The engine for a new attempt."""
        ...

    def remote(self, engine: str) -> bool:
        """Whether an engine's attempts outlive this process, and it is here to take them up again."""
        ...

    async def run(self, job: Job, spec_bytes: bytes, calls: Calls, progress: Progress) -> Ended:
        """The outputs, standing in the store; AttemptFailed, Fault. Cancelling it ends what it began here."""
        ...

    async def end(self, engine: str, key: str, calls: Mapping[int, str]) -> None:
        """Ends an attempt on a remote engine; Fault while that cannot be done."""
        ...

    async def forget(self, job: Job) -> None:
        """Nothing of a job that is over is kept any more."""
        ...

    async def forget_all_but(self, unfinished: Sequence[Job]) -> None:
        """Nothing that earlier processes kept of other jobs is any more."""
        ...


class Jobs:
    """All jobs of this process."""

    def __init__(
        self,
        ledger: Ledger,
        attempts: Attempts,
        life: Life,
        *,
        workers: int,
        attempts_max: int,
        tenant_running_max: int = 1000,
    ) -> None:
        self._ledger = ledger
        self._attempts = attempts
        self._life = life
        self._strays = Strays(ledger, attempts.end, life)
        self._workers = asyncio.Semaphore(workers)
        self._attempts_max = attempts_max
        self._known: dict[Key, Known] = {}
        self._turns = Turns(tenant_running_max)
        self._arrived = asyncio.Event()
        self._leaving = False

    async def take_over(self) -> None:
        """Queues what the ledger says is unfinished: for the start of the process. Waits until the ledger answers."""
        unfinished = await sure(lambda key: self._ledger.unfinished())
        await self._attempts.forget_all_but(unfinished)
        for job in unfinished:
            if (job.tenant, job.job_id) not in self._known:
                self._enqueue(job)
        for stray in await sure(lambda key: self._ledger.strays()):
            if self._attempts.remote(stray.engine):
                self._strays.end(stray, "interrupted")

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
        if job.state is State.CANCELLED:
            known = self._known.get((tenant, job_id))
            if known is not None:
                self._turns.drop((tenant, job_id))
                self._tell(known, job)
                if known.task is not None:
                    known.task.cancel()
                    await asyncio.wait([known.task], timeout=5)
            await self._attempts.forget(job)
            if job.attempt and self._attempts.remote(job.engine):
                await self._strays.end_newest(job, "cancelled")
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
        """Begins waiting jobs, each in its turn, as workers are free; never returns."""
        while True:
            await self._workers.acquire()
            key = await self._next()
            known = self._known.get(key)
            if known is None or known.job.state.final or known.task is not None:
                self._workers.release()
                self._turns.ended(key[0])
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
        paused = [known for known in self._known.values() if known.task is None and known.last is not None]
        begun = [
            known.job
            for known in running + paused
            if known.job.state is State.RUNNING and not self._attempts.remote(known.job.engine)
        ]
        with deadlines.scope(PUT_BACK_S):
            putting = (self._ledger.put_back(job, uuid7()) for job in begun)
            answers = await asyncio.gather(*putting, return_exceptions=True)
        for back in answers:
            if isinstance(back, BaseException):
                log.warning("a job was not put back: %s", back)

    async def _next(self) -> Key:
        """The job whose turn it is; waits until there is one."""
        while True:
            self._arrived.clear()
            now_s = time.monotonic()  # one for both: a pause that ended between them would be waited for for ever
            key = self._turns.take(now_s, _now_ms())
            if key is not None:
                return key
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._turns.pause_s(now_s)):
                    await self._arrived.wait()

    async def _work(self, known: Known) -> None:
        """An attempt at a job, unless it is over or somebody else's."""
        _, carrier = await sure(lambda key: self._ledger.work(known.job.tenant, known.job.job_id))
        with tracing.span("render.job", kind="consumer", parent=carrier) as span:
            span.set("job.id", known.job.job_id)
            await self._once(known)
        if known.job.state.final:
            await self._attempts.forget(known.job)

    def _ended(self, known: Known, task: asyncio.Task[None]) -> None:
        """Frees the worker: also of a task that was cancelled before its first step, which no `finally` would see."""
        known.task = None
        self._workers.release()
        self._turns.ended(known.job.tenant)
        if known.last is not None and not known.job.state.final:
            self._wait_for_turn(known)
        self._arrived.set()
        self._forget_old()

    async def _once(self, known: Known) -> None:
        last, known.last = known.last, None
        calls: Mapping[int, str] = {}
        if last is not None:
            begun = await self._begin(known.job, last)
        else:
            begun, calls = await self._take_up(known.job)
        if begun is None:
            await self._give_way(known)
            return
        self._tell(known, begun)
        ended = await self._attempt(known, calls)
        if ended.failure is not None and self._again(begun, ended.failure):
            log.warning("attempt failed, again soon", extra={"job": begun.job_id, "code": ended.failure.code})
            self._pause(known, ended)
            return
        done = await self._finish(begun, ended)
        if done is None:
            log.warning("attempt was overtaken", extra={"job": begun.job_id, "attempt": begun.attempt})
            await self._give_way(known)
        else:
            self._tell(known, done)

    def _pause(self, known: Known, ended: Ended) -> None:
        """The job waits for its turn again, and no worker for it."""
        pause_s = retry_delay_s(min(known.job.attempt, self._attempts_max))
        known.last, known.ready_s = ended, time.monotonic() + pause_s
        known.live = replace(known.live, phase="queued", eta_s=None, ticks=known.live.ticks + 1)
        self._wake(known)

    def _again(self, job: Job, failure: Failure) -> bool:
        if failure.code == ENGINE_AWAY:
            return job.attempt < self._attempts_max + INTERRUPTIONS_MAX
        return failure.retryable and job.attempt < self._attempts_max

    async def _take_up(self, job: Job) -> tuple[Job | None, Mapping[int, str]]:
        """The attempt that goes on with a job, and the calls that it has made; None when the job is somebody else's."""
        if job.attempt and self._attempts.remote(job.engine):
            resumed = await sure(lambda key: self._ledger.resume(job, key))
            return resumed, await sure(lambda key: self._ledger.calls(job)) if resumed is not None else {}
        interrupted = Ended(failure=Failure("interrupted", "The process ended.", True))
        return await self._begin(job, interrupted if job.attempt else None), {}

    async def _begin(self, job: Job, last: Ended | None) -> Job | None:
        now_ms = _now_ms()
        engine = self._attempts.choose()
        away = last is not None and last.failure is not None and last.failure.code == ENGINE_AWAY
        told = None if away else last  # what an engine that was away has begun of it is not known
        begun = await sure(lambda key: self._ledger.begin(job, engine, now_ms, key, told))
        if away and begun is not None and self._attempts.remote(job.engine):
            await self._strays.end_newest(job, ENGINE_AWAY)
        return begun

    async def _finish(self, job: Job, ended: Ended) -> Job | None:
        now_ms = _now_ms()
        return await sure(lambda key: self._ledger.finish(job, now_ms, ended, key))

    async def _attempt(self, known: Known, calls: Mapping[int, str]) -> Ended:
        job = known.job
        if job.attempt > self._attempts_max + INTERRUPTIONS_MAX:
            return Ended(failure=Failure("render_failed", "The work was interrupted too many times.", False))
        spec, _ = await sure(lambda key: self._ledger.work(job.tenant, job.job_id))
        pace = Pace()
        cost_micros = 0

        def progress(phase: str, share: float) -> None:
            self._progress(known, phase, share, pace.eta_s(time.monotonic(), phase, share))

        with tracing.span("render.attempt", attributes={"job.attempt": job.attempt, "engine": job.engine}) as span:
            try:
                return await self._attempts.run(job, spec, KeptCalls(self._ledger, job, calls), progress)
            except AttemptFailed as error:
                failure, cost_micros = error.failure, error.cost_micros
            except Fault as fault:
                again = fault.kind in PASSING
                failure = Failure("store_unavailable" if again else fault.reason, fault.message, again)
            except Exception as error:
                log.error("attempt failed: %s", error, exc_info=error, extra={"job": job.job_id})
                failure = Failure("render_failed", "Something went wrong inside the renderer.", True)
            span.fail(failure.code)
            return Ended(failure=failure, cost_micros=cost_micros)

    async def _give_way(self, known: Known) -> None:
        """The job is somebody else's now: what the ledger says of it is what is told."""
        job = await sure(lambda key: self._ledger.get(known.job.tenant, known.job.job_id))
        if job is not None and job.state.final:
            self._tell(known, job)
        else:
            self._known.pop((known.job.tenant, known.job.job_id), None)
            self._wake(known)

    def _progress(self, known: Known, phase: str, share: float, eta_s: float | None) -> None:
        live = known.live
        share = max(live.progress, min(share, 0.99))
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
        self._wait_for_turn(self._known[key])

    def _wait_for_turn(self, known: Known) -> None:
        job = known.job
        self._turns.add(Waiting(job.tenant, job.job_id, job.priority, job.submitted_ms, known.ready_s))
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
