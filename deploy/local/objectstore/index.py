"""The SQLite index: one writer thread that commits what waits together, and readers that never wait for it.

1. A change is answered only after its transaction is committed and, with fsync on, synced (synchronous=FULL).
2. Changes run one after the other, so a change that looks before it writes is atomic (test_races.py).
3. A query sees one moment, however many statements it has (test_races.py, a reader sees one object whole).
4. A change that raises S3Error undoes itself alone; any other fault undoes and fails its whole batch.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from objectstore.errors import S3Error

T = TypeVar("T")
SCHEMA_VERSION = 1
BATCH = 64
SCHEMA = """
CREATE TABLE buckets (
    name TEXT PRIMARY KEY, created_ms INTEGER NOT NULL, cors TEXT, lifecycle TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE objects (
    id INTEGER PRIMARY KEY, bucket TEXT NOT NULL REFERENCES buckets(name), key TEXT NOT NULL, etag TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, modified_ms INTEGER NOT NULL, headers TEXT NOT NULL, checksums TEXT NOT NULL,
    UNIQUE (bucket, key)
) STRICT;
CREATE TABLE segments (
    object INTEGER NOT NULL REFERENCES objects(id) ON DELETE CASCADE, position INTEGER NOT NULL,
    blob TEXT NOT NULL, size_bytes INTEGER NOT NULL, data BLOB, PRIMARY KEY (object, position)
) STRICT;
CREATE INDEX segments_by_blob ON segments (blob) WHERE blob <> '';
CREATE TABLE uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL REFERENCES buckets(name), key TEXT NOT NULL,
    created_ms INTEGER NOT NULL, headers TEXT NOT NULL, algorithm TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX uploads_by_key ON uploads (bucket, key, id);
CREATE TABLE parts (
    upload TEXT NOT NULL REFERENCES uploads(id) ON DELETE CASCADE, number INTEGER NOT NULL, blob TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, etag TEXT NOT NULL, modified_ms INTEGER NOT NULL, checksums TEXT NOT NULL,
    PRIMARY KEY (upload, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX parts_by_blob ON parts (blob);
"""


@dataclass(frozen=True)
class _Change:
    run: Callable[[sqlite3.Connection], Any]
    done: Future[Any]


class Index:
    """The index in one file. `read` and `close` block; `write` is awaited."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self._path = path
        self._fsync = fsync
        self._changes: queue.SimpleQueue[_Change | None] = queue.SimpleQueue()
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []
        self._writer = self._connect()
        self._prepare()
        self._thread = threading.Thread(target=self._run, name="objectstore-index", daemon=True)
        self._thread.start()

    def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """What the query returns, all of it seen at one moment, on a reader's connection of the calling thread."""
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._connect()
            connection.execute("PRAGMA query_only = ON")
            self._local.connection = connection
            self._readers.append(connection)
        connection.execute("BEGIN")
        try:
            return query(connection)
        finally:
            connection.execute("COMMIT")

    async def write(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """What the change returns, once it is committed. Bounded by the number of requests that the server takes."""
        done: Future[T] = Future()
        self._changes.put(_Change(change, done))
        return await asyncio.wrap_future(done)

    def close(self) -> None:
        """Commits what waits, then closes; no request may be running."""
        self._changes.put(None)
        self._thread.join()
        for connection in (*self._readers, self._writer):
            connection.close()

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False, timeout=30)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA synchronous = {'FULL' if self._fsync else 'OFF'}")
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    def _prepare(self) -> None:
        version = self._writer.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            self._writer.executescript(f"BEGIN;{SCHEMA}PRAGMA user_version = {SCHEMA_VERSION};COMMIT;")
        elif version != SCHEMA_VERSION:
            raise RuntimeError(f"{self._path} has index version {version}, this program knows {SCHEMA_VERSION}")

    def _run(self) -> None:
        while True:
            batch: list[_Change] = []
            last = False
            item = self._changes.get()
            while item is not None:
                if item.done.set_running_or_notify_cancel():
                    batch.append(item)
                if len(batch) >= BATCH:
                    break
                try:
                    item = self._changes.get_nowait()
                except queue.Empty:
                    break
            last = item is None
            if batch:
                self._commit(batch)
            if last:
                return

    def _commit(self, batch: list[_Change]) -> None:
        outcomes: list[tuple[_Change, Any, S3Error | None]] = []
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            for change in batch:
                self._writer.execute("SAVEPOINT change")
                try:
                    outcomes.append((change, change.run(self._writer), None))
                except S3Error as refusal:
                    self._writer.execute("ROLLBACK TO change")
                    outcomes.append((change, None, refusal))
                self._writer.execute("RELEASE change")
            self._writer.execute("COMMIT")
        except BaseException as fault:  # the thread must live on, and every waiter must hear of it
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            for change in batch:
                change.done.set_exception(fault)
            return
        for change, value, error in outcomes:
            if error is None:
                change.done.set_result(value)
            else:
                change.done.set_exception(error)
