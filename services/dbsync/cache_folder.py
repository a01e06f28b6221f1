"""The folder of local copies: one process's alone, and empty when it starts.

A rejected commit can leave frames in a WAL that a killed process did not cut, so no file of an earlier process is ever
opened (test_process.py::test_a_cache_is_wiped).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from pathlib import Path


class CacheFolder:
    """Holds the folder until it is closed, or the process ends."""

    def __init__(self, path: Path) -> None:
        """Takes the folder and empties it; OSError when another process has it."""
        path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise OSError(f"CACHE_DIR {path} is used by another process; give each its own") from error
        self.copies, self.spool = path / "copies", path / "spool"
        for folder in (self.copies, self.spool):
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()

    def close(self) -> None:
        """Removes the copies and lets go."""
        for folder in (self.copies, self.spool):
            shutil.rmtree(folder, ignore_errors=True)
        os.close(self._lock)
