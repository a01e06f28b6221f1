"""One database's copy in this process: opened, caught up with the log, given up, opened again.

Whoever holds the lock is the only one to use the committer. What holds it runs as a task of its own, so that a caller
who goes away does not leave a thread behind that still writes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from chassis import deadlines
from chassis.faults import unavailable
from dbsync.cold_open import Opened, cold_open
from dbsync.commit import Committer, Spent, corrupt, deleted, store_unavailable
from dbsync.gate import GateVfs
from dbsync.replica import NotNext, Replica
from dbsync.slots import Clock, Damaged, DatabaseDeleted, Slots, StoreUnavailable
from dbsync.sqlguard import Limits

log = logging.getLogger(__name__)

T = TypeVar("T")


class Bounds(Protocol):
    """The bounds that concern one database."""

    @property
    def waiting_commits(self) -> int: ...
    @property
    def group(self) -> int: ...
    @property
    def commit_s(self) -> float: ...
    @property
    def catch_up_s(self) -> float: ...
    @property
    def whole_s(self) -> float: ...
    @property
    def snapshot_every(self) -> int: ...


@dataclass(frozen=True)
class Pools:
    """Threads: writers wait for the store, readers only for SQLite, so neither holds up the other."""

    writers: ThreadPoolExecutor
    readers: ThreadPoolExecutor
    fetchers: ThreadPoolExecutor


@dataclass(frozen=True)
class Parts:
    """What the copies of all databases of one process share."""

    clock: Clock
    vfs: GateVfs
    new_folder: Callable[[], Path]
    pools: Pools
    limits: Limits
    bounds: Bounds


class LocalCopy:
    """The copy of one database, when there is one. Its methods belong to the event loop."""

    def __init__(self, slots: Slots, parts: Parts) -> None:
        self.slots = slots
        self.parts = parts
        self.opened: Opened | None = None
        self.confirmed_s = float("-inf")  # when the last request to the log began that found the copy at the head
        self.lock = asyncio.Lock()
        self._gone: DatabaseDeleted | None = None
        self._running: set[asyncio.Task[None]] = set()
        self._closed = False

    async def close(self) -> None:
        """Lets the work under way end and removes the copy; what comes later is refused."""
        self._closed = True
        async with self.lock:
            await self._drop()

    async def replica(self, spent: Spent) -> Replica:
        """The copy, opened first when it is not. Fault."""
        if self.opened is None:
            began_s = self.parts.clock.now_s()
            await self.exclusive(self.ensure_open)
            spent.catch_up_ms += (self.parts.clock.now_s() - began_s) * 1000
        return self.committer().replica

    def committer(self) -> Committer:
        """What commits to the open copy; Fault when it was closed meanwhile."""
        if self._gone is not None:
            raise deleted(self._gone)
        if self.opened is None:
            raise unavailable("store_unavailable", "The database was closed meanwhile; try again.")
        return self.opened.committer

    async def caught_up(self, arrived_s: float, spent: Spent) -> Replica:
        """The copy, as new as the log was at `arrived_s` or later. Fault."""

        async def catch_up() -> None:
            await self.ensure_open()
            if self.confirmed_s < arrived_s:
                began_s = self.parts.clock.now_s()
                committer = self.committer()
                until_s = began_s + self.parts.bounds.catch_up_s
                await self.run(self.parts.pools.writers, lambda: committer.catch_up(until_s, Spent()))
                self.confirmed_s = began_s

        began_s = self.parts.clock.now_s()
        await self.exclusive(catch_up)
        spent.catch_up_ms += (self.parts.clock.now_s() - began_s) * 1000
        return await self.replica(spent)

    async def exclusive(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs the work with the lock, to its end even when the caller goes away. What fails it becomes a Fault."""

        async def alone() -> None:
            async with self.lock:
                try:
                    await work()
                except DatabaseDeleted as error:
                    await self.forget(error)
                    raise

        with deadlines.unbounded():
            task = asyncio.create_task(alone())
        self._running.add(task)
        task.add_done_callback(self._ran)
        try:
            await asyncio.shield(task)
        except (StoreUnavailable, Damaged, NotNext, DatabaseDeleted) as error:
            raise self.fault(error) from error

    async def ensure_open(self) -> None:
        """Opens the copy if it is not open; with the lock. Damaged, NotNext, StoreUnavailable, DatabaseDeleted."""
        if self._gone is not None:
            raise self._gone
        if self.opened is not None:
            return
        if self._closed:
            raise unavailable("store_unavailable", "The service is ending; try again in a moment.")
        parts, began_s = self.parts, self.parts.clock.now_s()
        until_s = began_s + parts.bounds.catch_up_s
        try:
            self.opened = await self.run(
                parts.pools.writers,
                lambda: cold_open(self.slots, parts.clock, parts.limits, parts.vfs, parts.new_folder, until_s),
            )
        except DatabaseDeleted as error:
            self._gone = error
            raise
        self.confirmed_s = began_s

    async def reopen(self) -> None:
        """A fresh copy, unless somebody has made one already; with the lock."""
        if self.opened is not None and self.opened.committer.replica.broken:
            await self._drop()
        await self.ensure_open()

    async def end(self, gone: DatabaseDeleted) -> None:
        """As `forget`, without the lock."""
        async with self.lock:
            await self.forget(gone)

    async def forget(self, gone: DatabaseDeleted) -> None:
        """The database is known to be deleted: from now on nobody is answered anything else; with the lock."""
        self._gone = gone
        await self._drop()

    def give_up(self, replica: Replica, error: Exception) -> None:
        """The copy may be wrong: it is opened again before anybody else uses it."""
        log.error("the local copy broke: %s", error, extra={"database": self.slots.database})
        replica.give_up()

    async def run(self, pool: ThreadPoolExecutor, call: Callable[[], T]) -> T:
        """Runs what blocks in a thread of the pool, in this call's trace."""
        return await asyncio.get_running_loop().run_in_executor(pool, copy_context().run, call)

    def fault(self, error: BaseException) -> BaseException:
        """What the caller is told of it."""
        if isinstance(error, StoreUnavailable):
            return store_unavailable(error)
        if isinstance(error, Damaged | NotNext):
            return corrupt(error)
        if isinstance(error, DatabaseDeleted):
            return deleted(error)
        return error

    async def _drop(self) -> None:
        opened, self.opened = self.opened, None
        if opened is not None:
            await self.run(self.parts.pools.writers, opened.committer.replica.close)

    def _ran(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.debug("ended with %s", error, extra={"database": self.slots.database})  # its caller may be gone
