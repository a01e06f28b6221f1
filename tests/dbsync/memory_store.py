"""An object store in memory, held to the port's contract: put-if-absent, get, list, replace-if-unchanged."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Mapping, Sequence

from dbsync.slots import LIST_PAGE, Blob


class MemoryStore:
    """Objects by key; `counts` says how often each operation was asked for, `journal` what was ever put, in order."""

    def __init__(self) -> None:
        self.objects: dict[str, Blob] = {}
        self.counts: Counter[str] = Counter()
        self.journal: list[tuple[str, bytes]] = []
        self._lock = threading.Lock()

    def create(self, key: str, body: bytes, timeout_s: float) -> bool:
        with self._lock:
            self.counts["put"] += 1
            if key in self.objects:
                return False
            self._store(key, body, {})
            return True

    def replace(
        self, key: str, body: bytes, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        with self._lock:
            self.counts["put"] += 1
            found = self.objects.get(key)
            if (found.etag if found else None) != expected:
                return False
            self._store(key, body, metadata)
            return True

    def get(self, key: str, timeout_s: float) -> Blob | None:
        with self._lock:
            self.counts["get"] += 1
            return self.objects.get(key)

    def head(self, key: str, timeout_s: float) -> Blob | None:
        with self._lock:
            self.counts["head"] += 1
            found = self.objects.get(key)
            return None if found is None else Blob(b"", found.metadata, found.etag)

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        return [self.get(key, timeout_s) for key in keys]

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        with self._lock:
            self.counts["list"] += 1
            return sorted(key for key in self.objects if key.startswith(prefix) and key > after)[:LIST_PAGE]

    def get_and_list(self, key: str, prefix: str, timeout_s: float) -> tuple[Blob | None, list[str]]:
        return self.get(key, timeout_s), self.list_keys(prefix, "", timeout_s)

    def _store(self, key: str, body: bytes, metadata: Mapping[str, str]) -> None:
        self.journal.append((key, body))
        self.objects[key] = Blob(body, dict(metadata), f'"{hashlib.md5(body).hexdigest()}"')
