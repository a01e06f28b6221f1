"""The local copy of one database: a file, a writer's connection behind the gate, and readers' connections.

1. The copy is exactly one version: pages are written only by a transaction that the gate passed, or from entries whose
   checksums prove that they follow (test_replica.py::test_entries_must_follow, ::test_a_bad_entry_changes_nothing).
2. A reader sees one version from its first statement to its last, and knows which: the version is a row of the
   database itself (test_replica.py::test_a_reader_keeps_its_version).
3. A copy that may be wrong is given up, never used again (test_replica.py::test_a_broken_copy_is_refused).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from dbsync import own_tables, pages, schema_rules, scratch
from dbsync.doors import Doors
from dbsync.gate import Gate, GateVfs, Refused
from dbsync.log_format import Entry
from dbsync.pages import CANONICAL, FORMAT_BYTES, PAGE_SIZE_BYTES, PORTABLE, BadDelta, Body, Delta, PageSums, Step
from dbsync.requests import Head
from dbsync.schema_rules import Tables
from dbsync.scratch import PageBox
from dbsync.sqlguard import Broken, Guard, Limits

Seal = Callable[[Delta, Step], bool]  # whether the version is durable

CHECKPOINT_FRAMES = 1000
IDLE_READERS = 1
IMAGE_TRIES, SETTLING_S = 20, 0.002
PAGES_AT_ONCE = 64
BUSY_MS = 2000  # a reader may meet the writer folding the WAL
_READER_CACHE_KIB, _WRITER_CACHE_KIB = 48, 192
_READER_STATEMENTS, _WRITER_STATEMENTS = 12, 32


class NotNext(Exception):
    """An entry, of `version`, that does not follow the one that the copy has: the log is damaged.

    Version 0: it is the image that is not what it says.
    """

    def __init__(self, version: int, why: str) -> None:
        super().__init__(why)
        self.version = version


@dataclass(frozen=True)
class Image:
    """A whole database at one version, as a file that any SQLite opens; its checksum is that of the canonical pages."""

    version: int
    schema_version: int
    checksum: int
    body: Body = field(compare=False, repr=False)  # the checksum stands for it


class Replica:
    """One database's local copy. One writer at a time; any number of readers."""

    def __init__(self, folder: Path, vfs: GateVfs, limits: Limits) -> None:
        self.folder = folder.absolute()
        self._path = str(self.folder / "db")
        self._vfs = vfs
        self._limits = limits
        self._gate = Gate()
        self._writer: tuple[apsw.Connection, Guard] | None = None
        self._doors = Doors()
        self._readers: list[tuple[apsw.Connection, Guard]] = []
        self._sums = PageSums()
        self._settled = (
            0,
            0,
            0,
        )  # a version, its checksum, and how many commits the gate had passed when it came to be
        self._frames = 0
        self._broken = False
        self._foreign_keys = True
        self._tables: tuple[int, Tables] = (0, Tables())  # the schema version that they are of
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
                raise NotNext(0, f"the image of version {image.version} does not have its checksum")
            with Path(self._path).open("w+b") as file:
                file.write(image.body)
                file.seek(FORMAT_BYTES.start)
                file.write(CANONICAL)
            self._sums = sums
            self._moved(image.version, image.schema_version)
        _, guard = self.writer()
        if image is not None and own_tables.head(guard).version != image.version:
            raise NotNext(0, f"the image of version {image.version} holds another version")

    def apply(self, entries: Sequence[Entry]) -> None:
        """Moves the copy through the next versions. NotNext, with nothing changed, when the entries do not follow.

        Waits until the readers that have begun are done.
        """
        if not entries:
            return
        sums, changed = self._through(entries)
        restored = any(sub.restores for entry in entries for sub in entry.subs)
        self._turn(Delta(changed, sums.page_count), sums, entries[-1].version, entries[-1].schema_version, restored)

    def become(self, delta: Delta, step: Step, version: int, schema_version: int) -> None:
        """Moves the copy to a version that is durable, and that another copy holds. Waits as `apply` does."""
        sums = self._sums.copy()
        sums.take(step)
        self._turn(delta, sums, version, schema_version, True)

    def _turn(self, delta: Delta, sums: PageSums, version: int, schema_version: int, restored: bool) -> None:
        with self._doors.closed():
            try:
                self._close_connections()
                self._write_pages(delta)
            except BaseException:
                self._broken = True
                raise
            self._sums = sums
            self._moved(version, schema_version)
            if restored:
                self._tables = 0, Tables()
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
            connection.release_memory()  # SQLite took 87 KB for pages before it was told how few they are
            connection.pragma("foreign_keys", True)
            self._foreign_keys = True
            connection.pragma(
                "max_page_count", min(self._limits.database_bytes // PAGE_SIZE_BYTES, pages.PAGE_COUNT_MAX)
            )
            connection.wal_autocheckpoint(0)
            connection.set_wal_hook(self._published)
            self._writer = connection, guard
        return self._writer

    def tables(self) -> Tables:
        """What is recorded by row, and what stands behind virtual tables; it changes only with the schema version."""
        known, tables = self._tables
        if known != self.schema_version:
            tables = schema_rules.tables(self.writer()[1])
            self._tables = self.schema_version, tables
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
            for statement in own_tables.CREATE:
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
        self._settled = version, self._sums.checksum, self._gate.passes
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

    def _through(self, entries: Sequence[Entry]) -> tuple[PageSums, PageBox]:
        """The checksums after the entries, and the pages that they change; NotNext."""
        sums, version = self._sums.copy(), self.version
        changed = PageBox(self.folder, sum(len(one.pages.numbers) for one in entries))

        def old(number: int) -> bytes:
            if number > sums.page_count:
                return b""
            return changed[number] if number in changed else self.old_page(number)

        for entry in entries:
            if entry.version != version + 1:
                raise NotNext(entry.version, f"version {entry.version} does not follow {version}")
            if entry.before != sums.checksum:
                why = f"version {entry.version} follows another version {version} than the one that is here"
                raise NotNext(entry.version, why)
            try:
                packed = entry.pages
                for number, page in pages.unpack_each(packed, old):
                    changed.put(number, page)
                step = sums.step(Delta(pages.OnDemand(packed.numbers, changed.__getitem__), packed.page_count))
                if step.checksum != entry.after:
                    raise BadDelta("they do not have their checksum")
            except BadDelta as error:
                raise NotNext(entry.version, f"the pages of version {entry.version}: {error}") from error
            sums.take(step)
            version = entry.version
        return sums, changed

    def differing(self, other: Replica) -> list[int]:
        """The numbers of the pages that are not the same in the other."""
        return self._sums.differing(other._sums)

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
                yield guard, own_tables.head(guard)
            finally:
                if connection.in_transaction:
                    guard.own("ROLLBACK")
                if len(self._readers) < IDLE_READERS:
                    self._readers.append((connection, guard))
                else:
                    connection.close()

    def image(self) -> Image:
        """The whole database at its newest version, while commits go on; Broken when the file is not that version.

        It is in a file, not in memory. OSError when there is no space for it.
        """
        for _ in range(IMAGE_TRIES):
            with self.reader() as (_, head):  # what it sees stays where it is: in the file, or in the WAL
                places, sums = self._gate.places(), self._sums.copy()
                # A commit may be on its way from the gate to us: then another try finds it done.
                if (head.version, sums.whole(), self._gate.passes) == self._settled:
                    if sums.page_count == 0:
                        return Image(0, 0, 0, b"")
                    if (body := self._image(places, sums)) is not None:
                        return Image(head.version, head.schema_version, sums.checksum, body)
                    self.give_up()
                    raise Broken(f"the local file does not have the checksum of version {head.version}")
            time.sleep(SETTLING_S)
        raise Broken(f"version {self.version} does not settle")

    def _image(self, places: Mapping[int, int], sums: PageSums) -> Body | None:
        """The pages that have those sums, as a portable file; None when one is nowhere."""
        body = scratch.room(self.folder, sums.page_count * PAGE_SIZE_BYTES)
        for first in range(1, sums.page_count + 1, PAGES_AT_ONCE):
            count, start = min(PAGES_AT_ONCE, sums.page_count + 1 - first), (first - 1) * PAGE_SIZE_BYTES
            body[start : start + count * PAGE_SIZE_BYTES] = filed = self._gate.filed(first, count)
            for place, number in enumerate(range(first, first + count)):
                at = place * PAGE_SIZE_BYTES
                if number in places and sums.holds(number, page := self._gate.logged(places[number])):
                    body[start + at : start + at + PAGE_SIZE_BYTES] = page
                # What the WAL held is in the file once the WAL begins anew.
                elif not sums.holds(number, filed[at : at + PAGE_SIZE_BYTES]):
                    return None
        body[FORMAT_BYTES] = PORTABLE
        return body

    def close(self) -> None:
        """Ends all connections and removes the files."""
        with self._doors.closed():
            self._broken = True
            self._close_connections()
            self._vfs.remove(self._path)
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(self._path + suffix).unlink(missing_ok=True)
            self.folder.rmdir()

    def _open_reader(self) -> tuple[apsw.Connection, Guard]:
        flags = apsw.SQLITE_OPEN_READONLY
        connection = apsw.Connection(self._path, flags=flags, statementcachesize=_READER_STATEMENTS)
        connection.set_busy_timeout(BUSY_MS)
        connection.pragma("cache_size", -_READER_CACHE_KIB)
        connection.release_memory()
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
