"""A bounded set of threads for calls that block, so that the event loop never does.

1. At most `threads` jobs run and `waiting` more wait; the next is refused at once, not queued
   (tests/storage/test_pool.py::test_a_full_pool_refuses).
2. A job whose caller gave up is counted until it ends, and does not begin if it had not
   (test_abandoned_jobs_stay_counted, test_abandoned_before_it_began).
3. Nothing here blocks the event loop (tests/storage/test_service.py::test_the_event_loop_stays_free).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from storage import failures

T = TypeVar("T")


class Pool:
    """Runs blocking jobs in its own threads."""

    def __init__(self, threads: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="store")
        self._room = threading.BoundedSemaphore(threads + waiting)

    async def run(self, job: Callable[[], T]) -> T:
        """The job's result; raises what it raises, or rate_limited when there is no room.

        The job sees the caller's context (trace, deadline). Cancelling the caller lets go of the job: it ends by its
        own timeouts.
        """
        if not self._room.acquire(blocking=False):
            raise failures.busy()
        try:
            future = self._executor.submit(copy_context().run, job)
        except BaseException:
            self._room.release()
            raise
        future.add_done_callback(self._leave)
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Takes no more jobs and drops those that wait; does not wait for those that run."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _leave(self, future: Future[T]) -> None:
        self._room.release()
