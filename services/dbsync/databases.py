"""The databases that this process has open: at most so many, each with one writer, the least used closed first."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from chassis.faults import exhausted
from dbsync import snapshots
from dbsync.database import Database
from dbsync.gate import GateVfs
from dbsync.local_copy import Parts, Pools
from dbsync.slots import Clock, Patience, Slots, Store
from dbsync.sqlguard import Limits

log = logging.getLogger(__name__)

Spawn = Callable[[Coroutine[Any, Any, None], str], Any]


@dataclass(frozen=True)
class Bounds:
    """How much of everything."""

    open_databases: int = 200
    waiting_commits: int = 256  # for one database
    group: int = 64  # commits in one version
    commit_s: float = 15.0  # until a commit's outcome is called unknown
    catch_up_s: float = 15.0
    whole_s: float = 60.0  # until a restore, a snapshot or a step of a deletion is given up
    whole_at_once: int = 2  # databases that are handled whole in this process: compacted or restored
    snapshot_every: int = snapshots.EVERY  # versions, of which one snapshot is kept


class Databases:
    """Finds, opens and closes databases by id."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        vfs: GateVfs,
        folder: Path,
        pools: Pools,
        *,
        limits: Limits,
        bounds: Bounds,
        patience: Patience,
        spawn: Spawn,
    ) -> None:
        self._store = store
        self._folder = folder
        self._bounds = bounds
        self._patience = patience
        self._parts = Parts(clock, vfs, self._new_folder, pools, limits, bounds)
        self._whole = asyncio.Semaphore(bounds.whole_at_once)
        self._spawn = spawn
        self._open: OrderedDict[str, Database] = OrderedDict()  # the least recently used first
        self._serial = itertools.count(1)

    @asynccontextmanager
    async def use(self, database: str) -> AsyncIterator[Database]:
        """The database, which stays open while it is used. RESOURCE_EXHAUSTED when too many are in use."""
        found = self._open.get(database)
        if found is None:
            self._make_room()
            slots = Slots(self._store, self._parts.clock, database, self._patience)
            found = self._open[database] = Database(slots, self._parts, self._whole, self._spawn)
        self._open.move_to_end(database)
        found.users += 1
        try:
            yield found
        finally:
            found.users -= 1

    async def close(self) -> None:
        """Closes all; commits under way end first."""
        while self._open:
            _, database = self._open.popitem()
            await database.close()

    @property
    def count(self) -> int:
        """How many are open."""
        return len(self._open)

    def _make_room(self) -> None:
        if len(self._open) < self._bounds.open_databases:
            return
        for name, database in self._open.items():
            if database.idle:
                del self._open[name]
                self._spawn(database.close(), f"close {name}")
                return
        raise exhausted("busy", "Too many databases are in use; try again in a moment.")

    def _new_folder(self) -> Path:
        return self._folder / f"{next(self._serial):08d}"
