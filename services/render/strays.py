"""What remote engines do for jobs: the calls that are kept, and the attempts that nobody waits for any more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping

from chassis.process import Life
from render.job import Ended, Failure, Job, Stray, attempt_key
from render.ledger import Ledger
from render.patience import sure

WAIT_S = 0.5  # for an end that is done at once; it is asked for on after that
End = Callable[[str, str, Mapping[int, str]], Awaitable[None]]  # engine, attempt, calls by part


class KeptCalls:
    """The calls of an attempt, in the ledger."""

    def __init__(self, ledger: Ledger, job: Job, known: Mapping[int, str]) -> None:
        self._ledger = ledger
        self._job = job
        self.known = known

    async def keep(self, part: int, call_id: str) -> None:
        """Keeps a call; waits until the ledger answers."""
        self.known = {**self.known, part: call_id}
        await sure(lambda key: self._ledger.keep_call(self._job, part, call_id, key))


class Strays:
    """Ends attempts on remote engines, asking until it is done. What is not done in this process's life is done in
    the next one's: the ledger says that such an attempt may still run.
    """

    def __init__(self, ledger: Ledger, end: End, life: Life) -> None:
        self._ledger = ledger
        self._end = end
        self._life = life
        self._ending: set[asyncio.Task[None]] = set()

    def end(self, stray: Stray, code: str) -> None:
        """Begins to end an attempt, for a reason."""
        task = self._life.spawn(self._end_surely(stray, code), f"end {stray.job_id}/{stray.attempt}")
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def end_newest(self, job: Job, code: str) -> None:
        """Begins to end a job's newest attempt, and waits a moment for it."""
        calls = await sure(lambda key: self._ledger.calls(job))
        before = set(self._ending)
        self.end(Stray(job.tenant, job.job_id, job.attempt, job.engine, calls), code)
        await asyncio.wait(self._ending - before, timeout=WAIT_S)

    async def _end_surely(self, stray: Stray, code: str) -> None:
        attempt = attempt_key(stray.tenant, stray.job_id, stray.attempt)
        await sure(lambda _: self._end(stray.engine, attempt, stray.calls))
        ended = Ended(failure=Failure(code, "", False))
        now_ms = time.time_ns() // 1_000_000
        await sure(lambda key: self._ledger.ended(stray, ended, now_ms, key))
