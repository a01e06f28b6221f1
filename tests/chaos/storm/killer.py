"""Who kills: dbsync processes at any moment and at chosen ones, the store now and then; and the weather, which is what
else goes wrong between a process and the store.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence

from tests.chaos.storm.authors import PATIENT, Author, Line
from tests.chaos.storm.fleet import Fleet

READY_S = 60.0
AIM_S = 6.0
WORK, WORK_S = 4, 3.0
LOOK_S = 0.02
STORE_EVERY = 12  # such moments, one of the store's own
STATUSES = (429, 500, 503)
SORTS = ("refusal", "delay", "lost request", "lost response", "failed after", "late write")
OUTAGES = 0.3  # of the choices among which an outage is
MOMENTS = {"any": 10, "starting": 4, "in a commit": 4, "compacting": 2, "several": 2}


class Killer:
    """Kills, so many as it is told. `aim` and `pack` are authors of databases that nobody else uses: what is done to
    these, only the process that is to die is doing.
    """

    def __init__(self, fleet: Fleet, line: Line, rng: random.Random) -> None:
        self._fleet, self._line, self._rng = fleet, line, rng
        self.killed: Counter[str] = Counter()
        self.store_killed = 0
        self._deeds: set[asyncio.Task[None]] = set()

    async def kill(self, count: int, aim: Author, pack: Author) -> None:
        """So many kills of dbsync processes more."""
        enough = self.killed.total() + count
        while self.killed.total() < enough:
            await self._work_done()
            moment = self._rng.choices(list(MOMENTS), weights=list(MOMENTS.values()))[0]
            victim = self._rng.randrange(self._line.count)
            if moment == "any":
                await self._any(victim)
            elif moment == "starting":
                await self._starting(victim)
            elif moment == "several":
                await self._several(enough - self.killed.total())
            elif await self._line.ready(victim):
                await self._aimed(victim, moment, aim if moment == "in a commit" else pack)
            else:
                await self._any(victim)
            if self._rng.random() < 1 / STORE_EVERY:
                await self._kill_store()
        await asyncio.gather(*self._deeds)

    async def _work_done(self) -> None:
        """Until something was acknowledged since the last kill: on a slow machine, faster kills would prove nothing."""
        enough, until_s = self._line.acknowledged + self._rng.randint(1, WORK), time.monotonic() + WORK_S
        while self._line.acknowledged < enough and time.monotonic() < until_s:  # noqa: ASYNC110 (a look is cheap)
            await asyncio.sleep(LOOK_S)

    async def peace(self) -> None:
        """Everything runs and answers, and nothing goes wrong any more."""
        async with asyncio.timeout(READY_S):
            while not await asyncio.to_thread(self._fleet.store_answers):  # noqa: ASYNC110 (another process)
                await asyncio.sleep(LOOK_S)
            await asyncio.to_thread(self._fleet.calm)
            for number in range(self._line.count):
                while not await self._line.ready(number):  # noqa: ASYNC110 (another process)
                    await asyncio.sleep(LOOK_S)

    async def _any(self, victim: int) -> None:
        """At whatever moment it is; a process has been ready for some time or is starting."""
        await asyncio.sleep(self._rng.uniform(0, 0.3))
        self._kill(victim, "any")
        await asyncio.sleep(self._rng.choice((0, 0, 0.1)))
        self._fleet.launch(victim)

    async def _starting(self, victim: int) -> None:
        """Twice: the second time it is not ready yet, or has just become so."""
        self._kill(victim, "any")
        self._fleet.launch(victim)
        await asyncio.sleep(self._rng.uniform(0, 0.7))
        ready = await self._line.ready(victim)
        self._kill(victim, "ready for a moment" if ready else "starting")
        self._fleet.launch(victim)

    async def _several(self, most: int) -> None:
        """Two or all at once."""
        await asyncio.sleep(self._rng.uniform(0, 0.3))
        victims = self._rng.sample(range(self._line.count), k=min(most, self._rng.choice((2, self._line.count))))
        for victim in victims:
            self._kill(victim, "several at once")
        for victim in victims:
            self._fleet.launch(victim)

    async def _aimed(self, victim: int, moment: str, author: Author) -> None:
        """While a write of its own is held up on its way to the store, in it, or on the way back."""
        database = author.book.database
        prefix = f"{database}/db/" if moment == "in a commit" else f"{database}/database.sqlite"
        stage = self._rng.choice(("before", "commit", "after"))
        # Dropped at "commit", a write still takes place, when the process that sent it may be long gone.
        drop = stage == "commit" and self._rng.random() < 0.5
        until_s = time.monotonic() + AIM_S
        try:
            fault = await asyncio.to_thread(
                self._fleet.arm, stage=stage, delay_s=0.4, drop=drop, method="PUT", key_prefix=prefix
            )
            writing: asyncio.Task[None] | None = None
            while not await asyncio.to_thread(self._fleet.struck, fault):
                if time.monotonic() > until_s:
                    return  # it was away itself, or the store was
                if writing is None or writing.done():
                    writing = asyncio.create_task(author.perform(author.new_write(), victim, patience=PATIENT))
                    self._deeds.add(writing)
                    writing.add_done_callback(self._deeds.discard)
                await asyncio.wait([writing], timeout=LOOK_S)
        except OSError:
            return  # the store is away
        self._kill(victim, moment)
        self._fleet.launch(victim)

    def _kill(self, victim: int, moment: str) -> None:
        if self._fleet.kill(victim):
            self.killed[moment] += 1

    async def _kill_store(self) -> None:
        self.store_killed += self._fleet.kill_store()
        await asyncio.sleep(self._rng.uniform(0, 0.3))
        self._fleet.start_store()


async def weather(fleet: Fleet, rng: random.Random, databases: Sequence[str], seen: Counter[str]) -> None:
    """Arms one fault after the other until it is cancelled; some of them make the store useless to one database for
    longer than a commit waits.
    """
    while True:
        await asyncio.sleep(rng.uniform(0.1, 0.4))
        method = rng.choice(("PUT", "PUT", "GET"))
        sort = rng.choice((*SORTS, "outage") if rng.random() < OUTAGES else SORTS)
        chosen: dict[str, object] = {"method": method, "count": rng.randint(1, 3)}
        if sort == "refusal":
            chosen |= {"status": rng.choice(STATUSES)}
        elif sort == "delay":
            chosen |= {"delay_s": rng.uniform(0.02, 1.2), "stage": rng.choice(("before", "after"))}
        elif sort == "lost request":
            chosen |= {"drop": True}
        elif sort == "lost response":
            chosen |= {"drop": True, "stage": "after"}
        elif sort == "outage":
            chosen = {"method": "PUT", "status": 503, "count": 40, "key_prefix": f"{rng.choice(databases)}/db/"}
        elif sort == "failed after":
            chosen |= {"status": rng.choice((500, 503)), "stage": "after"}
        else:
            chosen |= {"method": "PUT", "drop": True, "stage": "commit", "delay_s": rng.uniform(0.05, 1.5)}
        try:
            await asyncio.to_thread(fleet.arm, **chosen)
        except OSError:
            seen["store away"] += 1
            continue
        seen[sort] += 1
