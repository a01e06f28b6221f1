"""What every handler works with: the index, the blobs, the threads that may block, the clock."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from objectstore import records
from objectstore.blobs import Blobs
from objectstore.faults import Faults
from objectstore.index import Index
from objectstore.settings import Settings, SettingsError

T = TypeVar("T")
THREADS = 8
log = logging.getLogger(__name__)


class Store:
    """One data folder, held by one process. Opening and closing block."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = Faults()
        settings.data.mkdir(parents=True, exist_ok=True)
        self._lock = _lock_folder(settings.data)
        self.blobs = Blobs(settings.data / "blobs", fsync=settings.fsync)
        self.index = Index(settings.data / "index.sqlite", fsync=settings.fsync)
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="objectstore")
        swept = self.index.read(lambda db: self.blobs.sweep(lambda name: records.named(db, name)))
        if swept:
            log.info("swept %d blobs that no object names", swept)

    @property
    def now_ms(self) -> int:
        return int(self.clock() * 1000)

    async def offload(self, function: Callable[..., T], *arguments: Any) -> T:
        """Runs blocking work in one of the store's threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def start_offload(self, function: Callable[..., T], *arguments: Any) -> asyncio.Future[T]:
        """As `offload`, to be awaited later."""
        return asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What a query of the index returns."""
        return await self.offload(self.index.read, query)

    async def remove_blobs(self, names: Iterable[str]) -> None:
        """Removes blobs that a committed change freed."""
        doomed = list(names)
        if doomed:
            await self.offload(self.blobs.remove, doomed)

    def close(self) -> None:
        self._threads.shutdown(wait=True)
        self.index.close()
        os.close(self._lock)


def _lock_folder(folder: Path) -> int:
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as fault:
        os.close(descriptor)
        raise SettingsError(f"OBJECTSTORE_DATA: another object store is running on {folder}") from fault
    return descriptor
