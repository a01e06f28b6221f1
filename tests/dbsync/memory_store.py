"""An object store in memory, held to the port's contract: put-if-absent, get, list, replace-if-unchanged."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence

from dbsync.log_format import TOMBSTONE_MAGIC, BadEntry, decode
from dbsync.pages import Body
from dbsync.slots import LIST_PAGE, Blob, slot_key, slot_version


class MemoryStore:
    """Objects by key; `counts` says how often each operation was asked for, `journal` what was ever put, in order.

    `heads` is the newest version in each database's log.
    """

    def __init__(self, list_page: int = LIST_PAGE) -> None:
        self.list_page = list_page
        self.objects: dict[str, Blob] = {}
        self.counts: Counter[str] = Counter()
        self.journal: list[tuple[str, Blob]] = []
        self.heads: Counter[str] = Counter()
        self._lock = threading.Lock()

    def create(self, key: str, body: Body, timeout_s: float) -> bool:
        with self._lock:
            self.counts["put"] += 1
            if key in self.objects:
                return False
            self._store(key, body, {})
            return True

    def replace(
        self, key: str, body: Body, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        with self._lock:
            self.counts["put"] += 1
            found = self.objects.get(key)
            if (found.etag if found else None) != expected:
                return False
            self._store(key, body, metadata)
            return True

    def overwrite(self, objects: Mapping[str, bytes], metadata: Mapping[str, str], timeout_s: float) -> None:
        with self._lock:
            for key, body in objects.items():
                self.counts["put"] += 1
                self._store(key, body, metadata)

    def remove(self, keys: Sequence[str], timeout_s: float) -> None:
        with self._lock:
            for key in keys:
                self.counts["delete"] += 1
                self.objects.pop(key, None)

    def presign(self, key: str, name: str, lifetime_s: int) -> tuple[str, int]:
        return f"memory:{key}?name={name}", time.time_ns() // 1_000_000 + lifetime_s * 1000

    def get(self, key: str, timeout_s: float) -> Blob | None:
        with self._lock:
            self.counts["get"] += 1
            return self.objects.get(key)

    def head(self, key: str, timeout_s: float) -> Blob | None:
        with self._lock:
            self.counts["head"] += 1
            found = self.objects.get(key)
            return None if found is None else Blob(b"", found.metadata, found.etag, found.size_bytes)

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        return [self.get(key, timeout_s) for key in keys]

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        with self._lock:
            self.counts["list"] += 1
            return sorted(key for key in self.objects if key.startswith(prefix) and key > after)[: self.list_page]

    def get_and_list(self, key: str, prefix: str, timeout_s: float) -> tuple[Blob | None, list[str]]:
        return self.get(key, timeout_s), self.list_keys(prefix, "", timeout_s)

    def ended(self, database: str) -> bool:
        """Whether the newest slot of the database's log says that it has ended."""
        blob = self.objects.get(slot_key(database, self.heads[database]))
        return blob is not None and self._terminal(database, blob)

    def left(self, database: str) -> list[str]:
        """The objects of a deleted database that are not its terminal entry or a tombstone, or nothing of ours."""
        prefix, newest = f"{database}/", slot_key(database, self.heads[database])
        return [
            key
            for key, blob in self.objects.items()
            if key.startswith(prefix)
            and key != newest
            and not bytes(blob.body).startswith(TOMBSTONE_MAGIC)
            and (slot_version(database, key) is not None or not key.startswith(f"{prefix}db/"))
        ]

    def _terminal(self, database: str, blob: Blob) -> bool:
        try:
            return decode(blob.body, database=database, version=self.heads[database]).terminal
        except BadEntry:
            return False

    def _store(self, key: str, body: Body, metadata: Mapping[str, str]) -> None:
        database = key.partition("/")[0]
        self.heads[database] = max(self.heads[database], slot_version(database, key) or 0)
        blob = Blob(bytes(body), dict(metadata), f'"{hashlib.md5(body).hexdigest()}"', len(body))
        self.objects[key] = blob
        self.journal.append((key, blob))
