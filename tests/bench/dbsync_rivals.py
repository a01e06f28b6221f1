"""What dbsync is measured against: the whole file uploaded at every write, plain and packed, and a bare PUT.

The rivals do less for a write than dbsync: they keep no keys against repeats, no record of rows, no history, and a
write that lost to another is made again on the newest file whatever it had read. Otherwise they are as good as we could
make them: no sync of the local file, no copy but the one that is sent, a conditional PUT on the version that was seen,
and nothing acknowledged before the store has it.
"""

from __future__ import annotations

import hashlib
import sqlite3
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path

import zstandard

from dbsync.ledger import Wire
from dbsync.requests import Statement

ZSTD_LEVEL = 3
VERSION = "x-amz-meta-reel-version"


class WholeFile:
    """A database that is one object with its version as metadata. Its methods block."""

    def __init__(self, wire: Wire, key: str, path: Path, *, packed: bool) -> None:
        self._wire = wire
        self._key = key
        self._path = path
        self._packed = packed
        self._etag = ""
        self._version = 0
        self._connection: sqlite3.Connection | None = None

    def found(self, body: bytes) -> None:
        """Puts the first version."""
        self._put(self._wrapped(body), 1, {"If-None-Match": "*"})
        self.refresh()

    def refresh(self) -> bool:
        """A validated read: whether the store had a newer version, which is here now."""
        if self._connection is not None:
            seen = self._wire.ask("HEAD", self._key)
            if seen.headers["etag"] == self._etag:
                return False
            self._connection.close()
        found = self._wire.ask("GET", self._key)
        body = bytes(found.body)
        self._path.write_bytes(zstandard.decompress(body) if self._packed else body)
        self._etag, self._version = found.headers["etag"], int(found.headers[VERSION])
        self._connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._connection.execute("PRAGMA journal_mode = MEMORY")
        return True

    def commit(self, statements: Sequence[Statement]) -> int:
        """The new version, once the store has it."""
        while True:
            assert self._connection is not None
            self._connection.execute("BEGIN")
            for statement in statements:
                self._connection.execute(statement.sql, statement.parameters)
            self._connection.execute("COMMIT")
            body = self._wrapped(self._path.read_bytes())
            if self._put(body, self._version + 1, {"If-Match": self._etag}):
                return self._version
            self.refresh()

    def _put(self, body: bytes, version: int, condition: dict[str, str]) -> bool:
        digest = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        headers = {**condition, VERSION: str(version), "Content-MD5": digest}
        answer = self._wire.ask("PUT", self._key, headers=headers, body=body)
        if answer.status == 412:
            return False
        self._etag, self._version = answer.headers["etag"], version
        return True

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()

    def _wrapped(self, body: bytes) -> bytes:
        return zstandard.compress(body, ZSTD_LEVEL) if self._packed else body
