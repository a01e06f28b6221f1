"""Attempts as child processes of this machine, each the leader of its own process group.

1. A child gets no secret: its environment is empty but for import paths (tests/render/test_engine.py).
2. Whatever ends the wait for it, cancellation too, ends its group by SIGKILL.
3. A child that gives no sign of life for the stall time, or takes longer than its limit, is ended; that can be retried.

Containers on Modal do their attempts by this very engine.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import pickle
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from render.engines.port import AttemptFailed, Calls, Made, Progress, Work
from render.job import Failure
from render.plan import SourceInfo
from render.products import ChunkTask, Product, Task
from render.spec import Source

log = logging.getLogger(__name__)

PROBE_TIMEOUT_S = 30.0
LINE_MAX_BYTES = 1 << 20
GRANT_SPARE_S = 600
AT_ONCE_MAX = 64


@dataclass(frozen=True)
class Engine:
    """Runs children with limits in seconds; attempts as many at once as there are `slots`, the others wait."""

    attempt_timeout_s: float
    stall_timeout_s: float
    ffmpeg_path: str = ""
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE_MAX), compare=False)
    nvenc: bool = False  # where it works; never for a job that has failed, be it a driver that ends processes

    name = "local"
    remote = False
    away = False

    @property
    def grant_s(self) -> int:
        """How long an attempt's URLs must last."""
        return round(self.attempt_timeout_s) + GRANT_SPARE_S

    async def run(self, work: Work, calls: Calls, progress: Progress) -> Made:
        """The finished files in the work's folder; AttemptFailed. Cancelling it ends the child."""
        nvenc = self.nvenc and work.first
        kept = str(work.kept) if work.kept is not None else ""
        task = Task(work.spec, work.urls, str(work.folder), self.ffmpeg_path, kept, nvenc=nvenc)
        async with self.slots:
            return Made(await self.produce(task, progress))

    async def end(self, key: str, calls: Mapping[int, str]) -> None:
        """Nothing: an attempt ends with its run."""

    async def produce(self, task: Task, progress: Progress) -> list[Product]:
        """The finished files of a task; AttemptFailed."""
        products = await self._run(task, progress, self.attempt_timeout_s, self.stall_timeout_s)
        return [Product(**{**one, "fps": Fraction(one["fps"])}) for one in products["products"]]

    async def probe(self, url: str, source: Source) -> tuple[SourceInfo, dict[str, Any]]:
        """What a source is, and further facts by name; AttemptFailed."""
        told = await self._run((url, source), lambda phase, share: None, PROBE_TIMEOUT_S, PROBE_TIMEOUT_S)
        facts = told["facts"]
        info = facts.pop("info")
        return SourceInfo(**{**info, "fps": Fraction(info["fps"])}), facts

    async def chunks(self, task: ChunkTask, progress: Progress) -> None:
        """Encodes the chunks of a task into its folder; AttemptFailed."""
        frames = sum(chunk.frames for chunk in task.chunks)
        await self._run(task, progress, self.attempt_timeout_s, self.stall_timeout_s, frames)

    async def _run(
        self, task: object, progress: Progress, limit_s: float, stall_s: float, frames: int = 1
    ) -> dict[str, Any]:
        try:
            async with asyncio.timeout(limit_s), _child(task) as child:
                return await _listen(child, progress, stall_s, frames)
        except TimeoutError as error:
            failure = Failure("timed_out", "The work stood still or took too long, and was ended.", True)
            raise AttemptFailed(failure) from error


@asynccontextmanager
async def _child(task: object) -> AsyncIterator[asyncio.subprocess.Process]:
    # Shielded: a cancellation in the midst of it must not lose sight of a process that was begun.
    begun = asyncio.ensure_future(_begin())
    try:
        child = await asyncio.shield(begun)
    except asyncio.CancelledError:
        await _end(await begun)
        raise
    complaints = asyncio.create_task(_complaints(child))
    try:
        assert child.stdin is not None
        try:
            child.stdin.write(pickle.dumps(task))
            await child.stdin.drain()
            child.stdin.close()
        except (BrokenPipeError, ConnectionResetError):
            log.warning("a child ended before it read its task")
        yield child
    finally:
        await _end(child)
        await complaints


async def _begin() -> asyncio.subprocess.Process:
    folders = [path for path in sys.path if path]
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "render.worker",
        str(os.getpid()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": os.pathsep.join(folders), "OPENCV_LOG_LEVEL": "ERROR"},
        start_new_session=True,
        limit=LINE_MAX_BYTES,
    )


async def _end(child: asyncio.subprocess.Process) -> None:
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        log.debug("child group %s is gone already", child.pid)
    await child.wait()


async def _listen(child: asyncio.subprocess.Process, progress: Progress, stall_s: float, frames: int) -> dict[str, Any]:
    assert child.stdout is not None
    shown = -1.0
    encoded = 0
    while True:
        async with asyncio.timeout(stall_s) as patience:
            while True:
                line = await child.stdout.readline()
                if not line:
                    raise AttemptFailed(await _death(child))
                event = json.loads(line)
                if "error" in event:
                    raise AttemptFailed(Failure(**event["error"]))
                if "frames" in event:
                    encoded += event["frames"]
                    event = {"phase": "rendering", "progress": encoded / frames}
                if "progress" not in event:
                    return dict(event)
                # Told again without having risen, it is a sign of life: footage is being decoded up to a clip.
                patience.reschedule(asyncio.get_running_loop().time() + stall_s)
                if event["progress"] > shown:
                    shown = event["progress"]
                    progress(event["phase"], shown)


async def _death(child: asyncio.subprocess.Process) -> Failure:
    status = await child.wait()
    if status == -signal.SIGKILL:
        return Failure("out_of_memory", "The work was ended by the system, for want of memory most likely.", True)
    return Failure("render_failed", f"The work ended unexpectedly (status {status}).", True)


async def _complaints(child: asyncio.subprocess.Process) -> None:
    """Drains standard error, or a child that says much would stop; its end is logged."""
    assert child.stderr is not None
    end = b""
    while block := await child.stderr.read(65536):
        end = (end + block)[-4000:]
    if end.strip():
        log.warning("child said", extra={"stderr": end.decode(errors="replace")})
