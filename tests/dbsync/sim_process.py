"""A server of a simulation: the service's real databases on real files, in a process that ends at any moment.

What dies with a process is its memory and its disk. Its threads and coroutines are unwound here, because they must be,
but nothing that they still do reaches the store or a client.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from chassis.faults import Fault
from dbsync.conflicts import Conflict
from dbsync.database import Database
from dbsync.databases import Bounds, Databases
from dbsync.gate import GateVfs
from dbsync.local_copy import Pools
from dbsync.replica import Replica
from dbsync.slots import Patience
from dbsync.sqlguard import Limits
from tests.dbsync.sim_record import Violation
from tests.dbsync.sim_store import NO_FAULTS, Bucket, Crash, Faults, SimStore
from tests.dbsync.sim_world import START_MS, Pool, World

T = TypeVar("T")

PATIENCE = Patience(attempt_s=3.0)
BOUNDS = Bounds(commit_s=12.0, catch_up_s=12.0, whole_s=30.0)


class Gone(Exception):
    """The server ended, or cannot be reached: the client does not know."""


class Life:
    """One life of a process, from its start to its end. It is a `dbsync.slots.Clock`."""

    def __init__(self, world: World, skew_ms: int) -> None:
        self.world = world
        self.dead = False
        self.death: asyncio.Future[None] = world.loop.create_future()
        self.tasks: dict[asyncio.Task[Any], None] = {}  # in their order, which a set would not keep
        self._skew_ms = skew_ms

    def now_s(self) -> float:
        return self.world.now_s()

    def wall_ms(self) -> int:
        return START_MS + self._skew_ms + int(self.world.now_s() * 1000)

    def jitter(self) -> float:
        return self.world.random.random()

    def sleep(self, seconds: float) -> None:
        self.world.sleep(seconds)
        if self.dead:
            raise Crash

    def spawn(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """A task that ends with the process."""
        task = self.world.loop.create_task(work, name=name)
        self.tasks[task] = None
        task.add_done_callback(self._let_go)
        return task

    def ended(self) -> bool:
        """Whether the process is no more."""
        return self.dead

    def end(self) -> None:
        """The process ends here and now."""
        if self.dead:
            return
        self.dead = True
        self.world.wake(self)
        self.world.loop.call_soon_threadsafe(self._bury)

    def _bury(self) -> None:
        self.death.set_result(None)
        for task in list(self.tasks):
            task.cancel()

    def _let_go(self, task: asyncio.Task[Any]) -> None:
        self.tasks.pop(task, None)
        if not task.cancelled():
            task.exception()  # it belongs to whoever waits


@dataclass
class Process:
    """A server that is started again whenever it ended."""

    name: str
    world: World
    bucket: Bucket
    vfs: GateVfs
    folder: Path
    faults: Faults = NO_FAULTS
    bounds: Bounds = BOUNDS
    mortal: bool = True
    life: Life | None = None
    databases: Databases | None = None
    _rising: asyncio.Task[None] | None = None
    _folders: itertools.count[int] = field(default_factory=itertools.count)

    def begin(self) -> None:
        """Starts it, with an empty disk and a clock of its own."""
        world = self.world
        life = Life(world, world.random.randint(-2000, 2000))
        die = life.end if self.mortal else None
        self.life = life
        self.databases = Databases(
            SimStore(world, self.bucket, self.faults, self.name, die, lambda: life.dead),
            life,
            self.vfs,
            self.folder / str(next(self._folders)),
            Pools(Pool(world, life), Pool(world, life), Pool(world, life)),
            limits=Limits(),
            bounds=self.bounds,
            patience=PATIENCE,
            spawn=lambda work, name: self._spawned(life, work, name),
        )
        if self.mortal:
            self._rising = world.loop.create_task(self._rise(life, self.databases))

    def _spawned(self, life: Life, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[Any]:
        if name.startswith("close "):
            self.bucket.seen["evictions"] += 1
        return life.spawn(work, name)

    async def ask(self, database: str, call: Callable[[Database], Awaitable[T]]) -> T:
        """What the service answers; Gone when its process ends first, or is not there."""
        life, databases = self.life, self.databases
        if life is None or databases is None or life.ended():
            raise Gone

        task = asyncio.current_task()
        assert task is not None
        life.tasks[task] = None  # which is cancelled when the life ends
        try:
            async with databases.use(database) as found:
                answer = await call(found)
        except (Crash, asyncio.CancelledError) as error:
            if not life.ended():
                raise
            if isinstance(error, asyncio.CancelledError):
                task.uncancel()
            raise Gone from None
        except (Fault, Conflict):
            raise
        except Exception as error:
            raise Violation(f"the service failed: {error!r}") from error
        finally:
            life.tasks.pop(task, None)
        if life.ended():
            raise Gone
        return answer

    def kill(self) -> None:
        """kill -9."""
        if self.life is not None:
            self.life.end()

    async def stop(self) -> None:
        """Lets what is under way end, as at a deploy; then the process ends."""
        life, databases = self.life, self.databases
        if life is None or databases is None or life.ended():
            return
        closing = life.spawn(databases.close(), "close")
        await asyncio.wait({closing, life.death}, return_when=asyncio.FIRST_COMPLETED)
        life.end()

    async def leave(self) -> None:
        """Ends it for good, and waits until nothing of it is left."""
        life, databases, self.life = self.life, self.databases, None
        if life is not None and databases is not None:
            life.end()
            await _unwind(life, databases)
        if self._rising is not None:
            await self._rising

    def copies(self) -> dict[str, Replica]:
        """Its open copies, by database."""
        return {} if self.databases is None else _copies(self.databases)

    async def _rise(self, life: Life, databases: Databases) -> None:
        """Removes what a dead process left, and starts the next."""
        await life.death
        await _unwind(life, databases)
        await asyncio.sleep(self.world.random.uniform(0.1, 3.0))
        if self.life is life:  # and not left for good
            self.begin()


def _copies(databases: Databases) -> dict[str, Replica]:
    opened = {name: one.opened for name, one in databases._open.items()}
    return {name: one.committer.replica for name, one in opened.items() if one is not None}


async def _unwind(life: Life, databases: Databases) -> None:
    while life.world.working(life):  # noqa: ASYNC110 - threads of the world set no events
        await asyncio.sleep(0.001)
    for replica in _copies(databases).values():
        if Path(replica._path).parent.exists():
            replica.close()
    databases._open.clear()
