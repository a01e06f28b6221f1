"""The local copy of one database: a file, a writer's connection behind the gate, and readers' connections.

1. The copy is exactly one version: pages are written only by a transaction that the gate passed, or from entries whose
   checksums prove that they follow (test_replica.py::test_entries_must_follow, ::test_a_bad_entry_changes_nothing).
2. A reader sees one version from its first statement to its last, and knows which: the version is a row of the
   database itself (test_replica.py::test_a_reader_keeps_its_version).
3. A copy that may be wrong is given up, never used again (test_replica.py::test_a_broken_copy_is_refused).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import apsw

from dbsync import pages, schema_rules
from dbsync.gate import Gate, GateVfs, Refused
from dbsync.log_format import Entry
from dbsync.pages import PAGE_SIZE_BYTES, BadDelta, Delta, PageSums, Step
from dbsync.requests import Head
from dbsync.sqlguard import Broken, Guard, Limits

Seal = Callable[[Delta, Step], bool]  # whether the version is durable

CHECKPOINT_FRAMES = 1000
IDLE_READERS = 1
RECENT = 64  # versions that may pass while an image is taken
BUSY_MS = 2000  # a reader may meet the writer folding the WAL
_READER_CACHE_KIB, _WRITER_CACHE_KIB = 64, 192
_READER_STATEMENTS, _WRITER_STATEMENTS = 12, 32
_STATE = "SELECT version, committed_ms, author FROM _dbsync_state"
_CREATE = (
    "CREATE TABLE _dbsync_state (id INTEGER PRIMARY KEY CHECK (id = 1), version INTEGER NOT NULL, "
    "committed_ms INTEGER NOT NULL, author TEXT NOT NULL) STRICT",
    "CREATE TABLE _dbsync_keys (key BLOB PRIMARY KEY, request BLOB NOT NULL, version INTEGER NOT NULL, "
    "result BLOB NOT NULL) STRICT, WITHOUT ROWID",
    "INSERT INTO _dbsync_state VALUES (1, 0, 0, '')",
)


class NotNext(Exception):
    """An entry that does not follow the version that the copy has: the log is damaged."""


@dataclass(frozen=True)
class Image:
    """A whole database at one version, as its canonical file."""

    version: int
    schema_version: int
    checksum: int
    body: bytes


class Replica:
    """One database's local copy. One writer at a time; any number of readers."""

    def __init__(self, folder: Path, vfs: GateVfs, limits: Limits) -> None:
        self._path = str((folder / "db").absolute())
        self._vfs = vfs
        self._limits = limits
        self._gate = Gate()
        self._writer: tuple[apsw.Connection, Guard] | None = None
        self._doors = _Doors()
        self._readers: list[tuple[apsw.Connection, Guard]] = []
        self._sums = PageSums()
        self._recent: dict[int, int] = {}  # versions and their checksums
        self._frames = 0
        self._broken = False
        self._foreign_keys = True
        self._recorded: tuple[int, frozenset[str]] = (0, frozenset())  # the schema version that they are of
        self.version = 0
        self.schema_version = 0
        folder.mkdir(parents=True, exist_ok=True)
        vfs.add(self._path, self._gate)

    @property
    def broken(self) -> bool:
        """Whether the copy was given up."""
        return self._broken

    @property
    def checksum(self) -> int:
        """Of the whole database at `version`."""
        return self._sums.checksum

    @property
    def page_count(self) -> int:
        """How many pages the database has."""
        return self._sums.page_count

    def load(self, image: Image | None) -> None:
        """Fills an empty copy with an image. NotNext when the image is not what it says."""
        if image is not None:
            sums = PageSums(pages.split(image.body))
            if sums.checksum != image.checksum:
                raise NotNext(f"the image of version {image.version} does not have its checksum")
            Path(self._path).write_bytes(image.body)
            self._sums = sums
            self._moved(image.version, image.schema_version)
        _, guard = self.writer()
        if image is not None and _head(guard).version != image.version:
            raise NotNext(f"the image of version {image.version} holds another version")

    def apply(self, entries: Sequence[Entry]) -> None:
        """Moves the copy through the next versions. NotNext, with nothing changed, when the entries do not follow.

        Waits until the readers that have begun are done.
        """
        if not entries:
            return
        sums, changed = self._through(entries)
        with self._doors.closed():
            try:
                self._close_connections()
                self._write_pages(Delta(changed, sums.page_count))
            except BaseException:
                self._broken = True
                raise
            self._sums = sums
            self._moved(entries[-1].version, entries[-1].schema_version)
            self.writer()  # first to open and last to close, so that readers find the WAL there

    def writer(self) -> tuple[apsw.Connection, Guard]:
        """The writer's connection; Broken."""
        if self._broken:
            raise Broken("the local copy was given up")
        if self._writer is None:
            connection = apsw.Connection(self._path, vfs=self._vfs.name, statementcachesize=_WRITER_STATEMENTS)
            guard = Guard(connection, self._limits)
            connection.set_busy_timeout(BUSY_MS)
            connection.pragma("page_size", PAGE_SIZE_BYTES)
            connection.pragma("journal_mode", "wal")
            connection.pragma("synchronous", "full")
            connection.pragma("cache_size", -_WRITER_CACHE_KIB)
            connection.pragma("foreign_keys", True)
            self._foreign_keys = True
            connection.pragma(
                "max_page_count", min(self._limits.database_bytes // PAGE_SIZE_BYTES, pages.PAGE_COUNT_MAX)
            )
            connection.wal_autocheckpoint(0)
            connection.set_wal_hook(self._published)
            self._writer = connection, guard
        return self._writer

    def recorded_tables(self) -> frozenset[str]:
        """The tables whose changes are recorded by row; they change only together with the schema version."""
        known, tables = self._recorded
        if known != self.schema_version:
            tables = schema_rules.recorded_tables(self.writer()[1])
            self._recorded = self.schema_version, tables
        return tables

    def begin(self, *, foreign_keys: bool = True) -> Guard:
        """Begins the transaction that may become the next version; dbsync's own tables are there when it returns.

        Migrations run without foreign keys, so that they can rebuild tables, and are checked whole instead.
        """
        connection, guard = self.writer()
        if foreign_keys != self._foreign_keys:  # setting it makes SQLite prepare every statement again
            connection.pragma("foreign_keys", foreign_keys)
            self._foreign_keys = foreign_keys
        self._gate.begin()
        guard.own("BEGIN IMMEDIATE")
        if self.version == 0:
            for statement in _CREATE:
                guard.own(statement)
        return guard

    def commit(self, seal: Seal) -> None:
        """Commits through the gate; Refused when the seal did not pass it, and what the seal raised when it raised.

        Broken when the seal passed and the copy could not follow: the version is durable all the same.
        """
        _, guard = self.writer()
        steps: list[Step] = []

        def sealing(delta: Delta) -> bool:
            steps.append(self._sums.step(delta))
            return seal(delta, steps[-1])

        self._gate.arm(sealing)
        try:
            guard.own("COMMIT")
        except apsw.Error as error:
            if self._gate.passed:
                self.give_up()
                raise Broken("a durable commit could not be published locally") from error
            self.rollback()
            if self._gate.failure is not None:
                raise self._gate.failure from error
            raise Refused from error
        finally:
            self._gate.end()
        if self._broken or not steps:
            self.give_up()
            raise Broken("a commit was published that the gate did not pass")
        self._sums.take(steps[-1])

    def advanced(self, version: int, schema_version: int) -> None:
        """After a commit: the copy is now that version."""
        self._moved(version, schema_version)
        if self._frames >= CHECKPOINT_FRAMES:
            self.writer()[0].wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)

    def _moved(self, version: int, schema_version: int) -> None:
        self._recent[version] = self._sums.checksum
        while len(self._recent) > RECENT:
            del self._recent[next(iter(self._recent))]
        self.version, self.schema_version = version, schema_version

    def rollback(self) -> None:
        """Ends the transaction under way, if there is one, without a trace."""
        if self._writer is not None and self._writer[0].in_transaction:
            self._writer[1].own("ROLLBACK")
        self._gate.end()

    def old_page(self, number: int) -> bytes:
        """A page of the present version; empty for one that it does not have. Broken when the file does not hold it."""
        if number > self._sums.page_count:
            return b""
        page = self._gate.page(number)
        if not self._sums.holds(number, page):
            self.give_up()
            raise Broken(f"the local file does not hold page {number} of version {self.version}")
        return page

    def _through(self, entries: Sequence[Entry]) -> tuple[PageSums, dict[int, bytes]]:
        """The checksums after the entries, and the pages that they change; NotNext."""
        sums, version = self._sums.copy(), self.version
        changed: dict[int, bytes] = {}

        def old(number: int) -> bytes:
            if number > sums.page_count:
                return b""
            return changed[number] if number in changed else self.old_page(number)

        for entry in entries:
            if entry.version != version + 1:
                raise NotNext(f"version {entry.version} does not follow {version}")
            if entry.before != sums.checksum:
                raise NotNext(f"version {entry.version} follows another version {version} than the one that is here")
            try:
                delta = pages.unpack(entry.pages, old)
                step = sums.step(delta)
                if step.checksum != entry.after:
                    raise BadDelta("they do not have their checksum")
            except BadDelta as error:
                raise NotNext(f"the pages of version {entry.version}: {error}") from error
            sums.take(step)
            changed.update(delta.pages)
            version = entry.version
        return sums, changed

    def step(self, delta: Delta) -> Step:
        """What the delta would do to the checksums; BadDelta."""
        return self._sums.step(delta)

    @contextmanager
    def reader(self) -> Iterator[tuple[Guard, Head]]:
        """A connection in a read transaction, and the version that it sees; Broken."""
        with self._doors.inside():
            if self._broken:
                raise Broken("the local copy was given up")
            try:
                connection, guard = self._readers.pop()
            except IndexError:
                connection, guard = self._open_reader()
            try:
                guard.own("BEGIN")
                yield guard, _head(guard)
            finally:
                if connection.in_transaction:
                    guard.own("ROLLBACK")
                if len(self._readers) < IDLE_READERS:
                    self._readers.append((connection, guard))
                else:
                    connection.close()

    def image(self) -> Image:
        """The whole database at its newest version, while commits go on; Broken when the file is not that version."""
        with self.reader() as (guard, head):
            body = guard.serialize()
        checksum = PageSums(pages.split(body)).checksum
        expected = self._recent.get(head.version)
        if expected is None:
            raise Broken(f"version {head.version} is not settled yet")  # published a moment ago: the next try will do
        if checksum != expected:
            self.give_up()
            raise Broken(f"the local file does not have the checksum of version {head.version}")
        return Image(head.version, head.schema_version, checksum, body)

    def close(self) -> None:
        """Ends all connections and removes the files."""
        with self._doors.closed():
            self._broken = True
            self._close_connections()
            self._vfs.remove(self._path)
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(self._path + suffix).unlink(missing_ok=True)
            Path(self._path).parent.rmdir()

    def _open_reader(self) -> tuple[apsw.Connection, Guard]:
        flags = apsw.SQLITE_OPEN_READONLY
        connection = apsw.Connection(self._path, flags=flags, statementcachesize=_READER_STATEMENTS)
        connection.set_busy_timeout(BUSY_MS)
        connection.pragma("cache_size", -_READER_CACHE_KIB)
        connection.pragma("query_only", True)
        return connection, Guard(connection, self._limits)

    def _published(self, connection: apsw.Connection, name: str, frames: int) -> int:
        self._frames = frames
        if not self._gate.published():
            self._broken = True
        return apsw.SQLITE_OK

    def give_up(self) -> None:
        """The copy may be wrong: whatever uses it from now on is told so."""
        self._broken = True
        self._gate.forget()

    def _close_connections(self) -> None:
        """The last one to close folds the WAL into the file; the doors are closed."""
        while self._readers:
            self._readers.pop()[0].close()
        if self._writer is not None:
            connection, guard = self._writer
            if connection.in_transaction:
                guard.own("ROLLBACK")
            self._writer = None
            connection.close()
        self._frames = 0
        wal = Path(self._path + "-wal")
        if not self._broken and wal.exists() and wal.stat().st_size:
            raise Broken("the WAL was not folded into the file")

    def _write_pages(self, delta: Delta) -> None:
        path = Path(self._path)
        with path.open("r+b" if path.exists() else "w+b") as file:
            for number in sorted(delta.pages):
                if number <= delta.page_count:
                    file.seek((number - 1) * PAGE_SIZE_BYTES)
                    file.write(delta.pages[number])
            file.truncate(delta.page_count * PAGE_SIZE_BYTES)


class _Doors:
    """Many inside, or one with the doors closed; who closes them waits for those inside and goes before the next."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._closing = 0

    @contextmanager
    def inside(self) -> Iterator[None]:
        with self._changed:
            self._changed.wait_for(lambda: self._closing == 0)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def closed(self) -> Iterator[None]:
        with self._changed:
            self._closing += 1
            self._changed.wait_for(lambda: self._inside == 0)
        try:
            yield
        finally:
            with self._changed:
                self._closing -= 1
                self._changed.notify_all()


def _head(guard: Guard) -> Head:
    schema_version = guard.own("PRAGMA user_version")[0][0]
    try:
        version, committed_ms, author = guard.own(_STATE)[0]
    except apsw.SQLError:  # before its first version a database has no tables at all
        return Head(0, 0, 0, "")
    return Head(version, schema_version, committed_ms, author)
