"""Who kills render: at any moment, in a phase of a job, while it starts, and when it wakes up from a sleep in which
another took over from it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Mapping

import psutil

from tests.chaos.render_storm.customers import Line
from tests.chaos.render_storm.town import Render, Town

DIE_S = 30.0  # a child is dead at once; on a machine with too much to do, later
AIM_S = 8.0
WORK_EVERY = 3  # kills, a job must have ended: one that is interrupted too often is given up
END_S = 60.0
MOMENTS = {"any": 4, "reading": 2, "rendering": 4, "joining": 2, "uploading": 5, "starting": 2, "taking over": 4}


class Killer:
    """Kills, as many times as it is told."""

    def __init__(self, town: Town, line: Line, rng: random.Random, moments: Mapping[str, int] = MOMENTS) -> None:
        self._town, self._line, self._rng, self._moments = town, line, rng, moments
        self.killed: Counter[str] = Counter()
        self.faults: list[str] = []

    async def kill(self, count: int) -> None:
        """So many kills."""
        ended = 0
        while self.killed.total() < count:
            if self.killed.total() % WORK_EVERY == WORK_EVERY - 1:
                ended = await self._ended(ended)
            moment = self._rng.choices(list(self._moments), weights=list(self._moments.values()))[0]
            render = self._town.now
            assert render is not None
            if moment == "any":
                await asyncio.sleep(self._rng.uniform(0, 2))
            elif moment == "starting":
                await asyncio.sleep(self._rng.uniform(0, 0.8))
            elif moment == "taking over":
                await self._reaches("rendering")
                with self._town.asleep(render):
                    self._town.launch()
                    await self._speaks()
                # It wakes up to a job that is somebody else's, and may come to an end with it.
                await asyncio.sleep(self._rng.uniform(0.5, 2))
            else:
                await self._reaches(moment)
            await self._strike(render, moment)

    async def _strike(self, render: Render, moment: str) -> None:
        family = self._town.kill(render)
        if self._town.now is render:
            self._town.launch()
        if family is None:
            self.faults.append(f"render {render.life} had died by itself")
            return
        self.killed[moment] += 1
        _, alive = await asyncio.to_thread(psutil.wait_procs, family, DIE_S)
        self.faults += [f"a child outlived render {render.life}: {process}" for process in alive]

    async def _reaches(self, phase: str) -> None:
        """Until a job of the render that is asked is told to be in a phase, or for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AIM_S), self._line.phase:
                await self._line.phase.wait_for(lambda: self._in(phase))

    def _in(self, phase: str) -> bool:
        last, now = self._line.last, self._town.now
        return last is not None and now is not None and (last.life, last.phase) == (now.life, phase)

    async def _speaks(self) -> None:
        """Until the newest render has told that it works on a job."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AIM_S), self._line.phase:
                await self._line.phase.wait_for(lambda: self._in("reading") or self._in("rendering"))

    async def _ended(self, before: int) -> int:
        """Until a job has ended since, or for a while."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_S), self._line.phase:
                await self._line.phase.wait_for(lambda: self._line.endings > before)
        return self._line.endings
