"""Attempts that a test moves on by hand."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from fractions import Fraction

from render.engines.local import AttemptFailed, Progress
from render.job import Failure, Finished, Job


def output(job: Job) -> Finished:
    """What an attempt makes."""
    key = f"out/{job.attempt}/reel.mp4"
    return Finished("reel.mp4", key, 1000, "etag", "video/mp4", 1_000_000, 640, 360, Fraction(30), 30, "")


@dataclass
class Attempt:
    """An attempt under way: `end` it with outputs, a failure, or any exception."""

    job: Job
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
    """Every attempt that was begun, in order."""

    def __init__(self) -> None:
        self.begun: asyncio.Queue[Attempt] = asyncio.Queue()
        self.running = 0
        self.most_running = 0

    async def run(self, job: Job, spec_bytes: bytes, progress: Progress) -> list[Finished]:
        attempt = Attempt(job, progress)
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
        return [output(job)]

    async def next(self) -> Attempt:
        """The next attempt that begins."""
        async with asyncio.timeout(5):
            return await self.begun.get()
