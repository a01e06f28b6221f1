"""Attempts that a test moves on by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction

from chassis import faults
from render.engines.port import AttemptFailed, Calls, Progress
from render.job import Ended, Failure, Finished, Job


def output(job: Job) -> Finished:
    """What an attempt makes."""
    key = f"out/{job.attempt}/reel.mp4"
    return Finished("reel.mp4", key, 1000, "etag", "video/mp4", 1_000_000, 640, 360, Fraction(30), 30, "")


@dataclass
class Attempt:
    """An attempt under way: `end` it with outputs, a failure, or any exception."""

    job: Job
    calls: Calls
    progress: Progress
    ended: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    cancelled: bool = False

    def succeed(self) -> None:
        """Its outputs stand in the store."""
        self.ended.set_result(None)

    def fail(self, code: str = "render_failed", *, retryable: bool = True) -> None:
        """It tells a failure."""
        self.ended.set_exception(AttemptFailed(Failure(code, "It broke.", retryable)))

    def raise_(self, error: Exception) -> None:
        """Something else goes wrong."""
        self.ended.set_exception(error)


class FakeAttempts:
    """Every attempt that was begun, in order, on an engine that may be a remote one; what was ended on that."""

    def __init__(self, engine: str = "local") -> None:
        self.engine = engine
        self.ended: list[tuple[str, dict[int, str]]] = []
        self.refuse_ends = 0
        self.forgotten: list[str] = []
        self.left: list[str] = []
        self.begun: asyncio.Queue[Attempt] = asyncio.Queue()
        self.running = 0
        self.most_running = 0

    def choose(self) -> str:
        return self.engine

    def remote(self, engine: str) -> bool:
        return engine == "modal"

    async def end(self, engine: str, key: str, calls: Mapping[int, str]) -> None:
        await asyncio.sleep(0)
        if self.refuse_ends:
            self.refuse_ends -= 1
            raise faults.unavailable("modal_unreachable", "Nobody there.")
        self.ended.append((key, dict(calls)))

    async def forget(self, job: Job) -> None:
        self.forgotten.append(job.job_id)

    async def forget_all_but(self, unfinished: Sequence[Job]) -> None:
        self.left = [job.job_id for job in unfinished]

    async def run(self, job: Job, spec_bytes: bytes, calls: Calls, progress: Progress) -> Ended:
        attempt = Attempt(job, calls, progress)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.begun.put_nowait(attempt)
        try:
            await attempt.ended
        except asyncio.CancelledError:
            attempt.cancelled = True
            raise
        finally:
            self.running -= 1
        return Ended((output(job),), cost_micros=7)

    async def next(self) -> Attempt:
        """The next attempt that begins."""
        async with asyncio.timeout(60):
            return await self.begun.get()
