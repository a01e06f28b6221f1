"""Blob files: immutable bytes under random names, which nothing refers to until the index does.

1. A blob that the index names is whole and, with fsync on, on disk: it is closed and synced before the index commits.
2. A blob that a reader streams stays until the reader is done, though its object was replaced or deleted meanwhile.
3. What a crash leaves behind (written, never named) is swept when the store starts.
All of it blocks: call it off the event loop.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Writer:
    """One blob being written."""

    def __init__(self, blobs: Blobs, name: str) -> None:
        self.name = name
        self.size_bytes = 0
        self._blobs = blobs
        self._file = os.open(blobs.path(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self.size_bytes += len(data)

    def finish(self) -> None:
        """Closes the blob, synced when the store syncs."""
        try:
            if self._blobs.fsync:
                os.fsync(self._file)
        finally:
            os.close(self._file)
            self._file = -1
        if self._blobs.fsync:
            self._blobs.sync_folder(self.name)

    def abandon(self) -> None:
        """Closes and removes the blob."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._blobs.path(self.name).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Blobs:
    """The folder of blobs, spread over 256 folders."""

    def __init__(self, folder: Path, *, fsync: bool) -> None:
        self.fsync = fsync
        self._folder = folder
        self._lock = threading.Lock()
        self._pins: Counter[str] = Counter()
        self._doomed: set[str] = set()
        for number in range(256):
            (folder / f"{number:02x}").mkdir(parents=True, exist_ok=True)
        if fsync:
            _sync(folder)
            _sync(folder.parent)

    def path(self, name: str) -> Path:
        return self._folder / name[:2] / name

    def sync_folder(self, name: str) -> None:
        """Makes the directory entry of a blob durable, not only its bytes."""
        _sync(self._folder / name[:2])

    def create(self) -> Writer:
        return Writer(self, secrets.token_hex(16))

    def pin(self, look_up: Callable[[], T], names_of: Callable[[T], Iterable[str]]) -> T:
        """What `look_up` finds in the index at one moment, its blobs kept until unpinned.

        Look-up and pin are one step under the lock that `remove` takes after its commit: either the look-up sees that
        commit, or the removal sees the pin.
        """
        with self._lock:
            found = look_up()
            self._pins.update(names_of(found))
            return found

    def unpin(self, names: Iterable[str]) -> None:
        gone = []
        with self._lock:
            for name in names:
                self._pins[name] -= 1
                if self._pins[name] <= 0:
                    del self._pins[name]
                    if name in self._doomed:
                        self._doomed.discard(name)
                        gone.append(name)
        for name in gone:
            self.path(name).unlink(missing_ok=True)

    def remove(self, names: Collection[str]) -> None:
        """Removes blobs that the index no longer names, pinned ones when their last reader is done."""
        with self._lock:
            pinned = {name for name in names if name in self._pins}
            self._doomed |= pinned
        for name in names:
            if name not in pinned:
                self.path(name).unlink(missing_ok=True)

    def sweep(self, named: Callable[[str], bool]) -> int:
        """Removes every blob that `named` does not know; how many. Only while nothing is being written."""
        count = 0
        for folder in self._folder.iterdir():
            for blob in folder.iterdir():
                if not named(blob.name):
                    blob.unlink()
                    count += 1
        return count
