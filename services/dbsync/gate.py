"""The gate: a VFS that makes the object store SQLite's fsync.

In WAL mode with synchronous=FULL, SQLite syncs the WAL after a transaction's frames and before it publishes the commit.
The gate hands those frames to the transaction's `seal` and lets the sync succeed only when it says that the version is
durable. Readers see the old snapshot until then.

1. Nothing is published that the seal did not pass: an error rolls the transaction back (test_gate.py::test_refused).
2. The seal gets every page of the transaction, also those that SQLite wrote before the commit because its cache was
   full (test_gate.py::test_a_transaction_that_spills_is_whole).
3. The frames of a refused transaction are cut off the WAL: no later recovery finds them
   (test_gate.py::test_refused_frames_are_cut).
4. A transaction that commits without a seal, or past one that was not asked, is noticed in the WAL hook and the copy is
   given up (test_gate.py::test_ungated_commit_is_noticed).

No other sync does anything: the local file is a cache, wiped when the process starts.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable

import apsw

from dbsync.pages import FRAME_BYTES, PAGE_SIZE_BYTES, WAL_HEADER_BYTES, Delta, from_frames, in_log

Seal = Callable[[Delta], bool]

LARGE_BYTES = 4 << 20  # of a transaction: from there on its pages are not read into memory


class Refused(Exception):
    """The seal did not pass the transaction; it was rolled back."""


class Gate:
    """What stands between one database's transactions and their publication. Used by one writer at a time."""

    def __init__(self) -> None:
        self._seal: Seal | None = None
        self._tracking = False
        self._first: int | None = None  # where this transaction's frames begin in the WAL
        self._end = 0
        self.passes = 0  # how many transactions have passed
        self._published = 0
        self.failure: BaseException | None = None  # what went wrong inside the seal
        self._main: UnsyncedFile | None = None
        self._wal: GateFile | None = None
        self._places: dict[int, int] = {}  # where in the WAL the newest durable bytes of a page are

    def opened(self, file: UnsyncedFile | GateFile) -> None:
        """SQLite opened the database's file or its WAL."""
        if isinstance(file, GateFile):
            self._wal, self._places = file, {}
        else:
            self._main = file

    def page(self, number: int) -> bytes:
        """A page as of the last durable version; only for one that the database then had."""
        place = self._places.get(number)
        if place is not None and self._wal is not None:
            return self._wal.read_back(place, PAGE_SIZE_BYTES)
        if self._main is None:
            raise AssertionError("the database is not open")
        return self._main.xRead(PAGE_SIZE_BYTES, (number - 1) * PAGE_SIZE_BYTES)

    def places(self) -> dict[int, int]:
        """Where in the WAL the newest durable bytes of the pages are that are in it."""
        return dict(self._places)

    def logged(self, place: int) -> bytes:
        """What the WAL holds there."""
        if self._wal is None:
            raise AssertionError("the WAL is not open")
        return self._wal.read_back(place, PAGE_SIZE_BYTES)

    def filed(self, first: int, count: int) -> bytes:
        """What the file holds as the pages from `first` on; zeros where it ends."""
        if self._main is None:
            raise AssertionError("the database is not open")
        size_bytes = count * PAGE_SIZE_BYTES
        return self._main.xRead(size_bytes, (first - 1) * PAGE_SIZE_BYTES).ljust(size_bytes, b"\0")

    def begin(self) -> None:
        """A transaction begins: what SQLite writes to the WAL from now on, also before the commit, is its own."""
        self._tracking, self._first, self._end = True, None, 0
        self._seal, self.failure = None, None

    def arm(self, seal: Seal) -> None:
        """The transaction is about to commit, which is asked of `seal`."""
        self._seal = seal

    def end(self) -> None:
        """The transaction is over."""
        self._tracking, self._first, self._seal = False, None, None

    @property
    def passed(self) -> bool:
        """Whether a transaction passed that SQLite has not yet published."""
        return self.passes != self._published

    def published(self) -> bool:
        """To be called when SQLite has published a commit; whether the gate had passed it."""
        if self.passes == self._published:
            return False
        self._published = self.passes
        return True

    def forget(self) -> None:
        """The copy is given up with a transaction passed and not published."""
        self._published = self.passes

    def wrote(self, offset: int, size: int) -> None:
        """SQLite wrote a piece of the WAL."""
        if offset < WAL_HEADER_BYTES:
            self._places = {}  # the WAL begins anew: all that was in it is in the file
        if self._tracking and offset >= WAL_HEADER_BYTES:
            if self._first is None:
                self._first = offset
            self._end = max(self._end, offset + size)

    def cut(self, size: int) -> None:
        """The WAL is cut to that size: what was beyond is in the file, or was refused."""
        self._places = {number: place for number, place in self._places.items() if place < size}

    def sync(self, file: GateFile) -> None:
        """SQLite wants the WAL durable. With the frames of a whole transaction there, the seal decides."""
        first = self._first
        if self._seal is None or first is None or self._end - first < FRAME_BYTES:
            return
        seal, self._seal = self._seal, None
        places: dict[int, int] = {}
        try:
            size = self._end - first
            if size > LARGE_BYTES:
                delta, places = in_log(lambda at, length: file.read_back(first + at, length), size)
            else:
                delta, places = from_frames(file.read_back(first, size))
            passed = seal(delta)
        except BaseException as error:  # it must not cross SQLite: kept for the writer, who raises it
            self.failure, passed = error, False
        if not passed:
            file.xTruncate(first)
            raise apsw.IOError("the gate refused the commit")
        self.passes += 1
        self._places.update((number, first + place) for number, place in places.items())


class GateFile(apsw.VFSFile):
    """A WAL behind its gate."""

    def __init__(self, base: str, name: str | apsw.URIFilename | None, flags: list[int], gate: Gate) -> None:
        super().__init__(base, name, flags)
        self._gate = gate

    def xWrite(self, data: bytes, offset: int) -> None:
        self._gate.wrote(offset, len(data))
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._gate.sync(self)

    def xTruncate(self, newsize: int) -> None:
        self._gate.cut(newsize)
        super().xTruncate(newsize)

    def read_back(self, offset: int, size: int) -> bytes:
        """What SQLite wrote there."""
        return super().xRead(size, offset)


class UnsyncedFile(apsw.VFSFile):
    """Any other file of a cache: never worth a sync."""

    def xSync(self, flags: int) -> None:
        return None


class GateVfs(apsw.VFS):
    """The VFS of the writers' connections; a gate is found by the path of its database."""

    def __init__(self, base: str = "unix") -> None:
        self.name = f"gate-{secrets.token_hex(8)}"
        self._base = base
        self._gates: dict[str, Gate] = {}
        super().__init__(self.name, base)

    def add(self, path: str, gate: Gate) -> None:
        """Puts the gate before the WAL of the database at `path` (absolute)."""
        self._gates[path] = gate

    def remove(self, path: str) -> None:
        """Takes it away, once the database is closed."""
        self._gates.pop(path, None)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        if flags[0] & apsw.SQLITE_OPEN_WAL:
            gate = self._gates[path.removesuffix("-wal")]
            wal = GateFile(self._base, name, flags, gate)
            gate.opened(wal)
            return wal
        file = UnsyncedFile(self._base, name, flags)
        if flags[0] & apsw.SQLITE_OPEN_MAIN_DB:
            self._gates[path].opened(file)
        return file
