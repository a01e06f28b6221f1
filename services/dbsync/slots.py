"""The log's slots: where version n of a database lives, who won it, and what is in it.

1. A slot is created once and never deleted: of all writers in the world one wins each version
   (test_slots.py::test_one_winner).
2. An answer that does not decide (429, 5xx, a timeout, a lost connection) is never taken as failure: the same bytes
   are sent again until the slot is decided or the time is up, and then the outcome is UNKNOWN
   (test_slots.py::test_undecided_is_retried, ::test_deadline_is_unknown).
3. "It exists" is decided by reading the slot: our own bytes mean that an earlier try has won
   (test_slots.py::test_own_bytes_win).
4. Bytes that cannot be an entry are read once more before they are believed, and then quarantined
   (test_quarantine.py::test_a_flaw_of_the_wire_is_no_damage, ::test_a_damaged_slot).
5. Slots of a deleted database are overwritten, by tombstones alone and never above the version that ended it
   (test_deletion.py).
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from dbsync.log_format import BadEntry, Entry, decode, read_tombstone
from dbsync.pages import Body
from dbsync.quarantine import Quarantine

log = logging.getLogger(__name__)

T = TypeVar("T")

SLOTS = 1 << 40
LIST_PAGE = 1000
_DATABASE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class Undecided(Exception):
    """The store's answer does not tell whether the request took place."""


class Hopeless(Undecided):
    """The store refuses us: asking again will not help. Whether an earlier try took place is as unclear as before."""


class StoreUnavailable(Exception):
    """The store gave no usable answer in the time there was; nothing was changed."""


class DatabaseDeleted(Exception):
    """The log says that the database was ended, by `version`."""

    def __init__(self, version: int) -> None:
        super().__init__(f"deleted by version {version}")
        self.version = version


class Damaged(Exception):
    """An object of the log that cannot be used; nothing of it was applied."""

    def __init__(self, key: str, why: str) -> None:
        super().__init__(f"{key}: {why}")
        self.key = key
        self.why = why


@dataclass(frozen=True, slots=True)
class Blob:
    """An object with its metadata, its ETag and its size (0: not known)."""

    body: Body
    metadata: Mapping[str, str]
    etag: str
    size_bytes: int = 0


class Store(Protocol):
    """An object store. Every method blocks at most about `timeout_s`, and raises Undecided when it cannot tell."""

    def create(self, key: str, body: Body, timeout_s: float) -> bool:
        """Puts the object if there is none; False when there is one."""
        ...

    def get(self, key: str, timeout_s: float) -> Blob | None:
        """The object; None when there is none."""
        ...

    def head(self, key: str, timeout_s: float) -> Blob | None:
        """The object without its body; None when there is none."""
        ...

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        """The objects, fetched beside each other."""
        ...

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        """Up to LIST_PAGE keys with the prefix that sort after `after`, in order."""
        ...

    def get_and_list(self, key: str, prefix: str, timeout_s: float) -> tuple[Blob | None, list[str]]:
        """`get` and the first `list_keys`, beside each other."""
        ...

    def replace(
        self, key: str, body: Body, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        """Puts the object if its ETag is still `expected` (None: if there is none); False when it is not."""
        ...

    def overwrite(self, objects: Mapping[str, bytes], metadata: Mapping[str, str], timeout_s: float) -> None:
        """Puts the objects, beside each other, whatever is there; each gets the metadata."""
        ...

    def remove(self, keys: Sequence[str], timeout_s: float) -> None:
        """Removes the objects that are there."""
        ...

    def presign(self, key: str, name: str, lifetime_s: int) -> tuple[str, int]:
        """A URL that downloads the object as a file of that name, and when it expires (Unix milliseconds)."""
        ...


class Clock(Protocol):
    """Time and patience."""

    def now_s(self) -> float:
        """Monotonic seconds."""
        ...

    def wall_ms(self) -> int:
        """Unix milliseconds."""
        ...

    def sleep(self, seconds: float) -> None:
        """Waits."""
        ...

    def jitter(self) -> float:
        """A random number in [0, 1)."""
        ...


@dataclass(frozen=True)
class Patience:
    """How long one request may take and how tries are spaced, in seconds."""

    attempt_s: float = 5.0
    first_pause_s: float = 0.05
    longest_pause_s: float = 1.0


class Verdict(Enum):
    """Who has a slot."""

    WON = "won"
    LOST = "lost"
    UNKNOWN = "unknown"


def valid_database(database: str) -> bool:
    """Whether a database may have this id: it is a folder of the bucket."""
    return bool(_DATABASE.fullmatch(database)) and ".." not in database


def log_prefix(database: str) -> str:
    """Where all slots of a database are."""
    return f"{database}/db/"


def slot_key(database: str, version: int) -> str:
    """The key of a version's entry: newer versions sort first."""
    if not 0 < version < SLOTS:
        raise ValueError(f"version {version} has no slot")
    return f"{log_prefix(database)}{SLOTS - 1 - version:010x}"


def slot_version(database: str, key: str) -> int | None:
    """The version that a key is the slot of; None for a key that is none."""
    digits = key.removeprefix(log_prefix(database))
    if key == digits or not re.fullmatch(r"[0-9a-f]{10}", digits):
        return None
    version = SLOTS - 1 - int(digits, 16)
    return version if version > 0 else None


class Slots:
    """The log of one database."""

    def __init__(self, store: Store, clock: Clock, database: str, patience: Patience) -> None:
        self.database = database
        self.quarantine = Quarantine(database, self._keep)
        self._store = store
        self._clock = clock
        self._patience = patience

    @property
    def store(self) -> Store:
        """Where the log is."""
        return self._store

    def put(self, version: int, body: Body, deadline_s: float) -> tuple[Verdict, Body | None]:
        """Tries to become `version` until it is decided or `deadline_s` (monotonic) has passed.

        With LOST come the bytes that have the slot.
        """
        key = slot_key(self.database, version)
        pauses = _Pauses(self._clock, self._patience, deadline_s)
        while (left := pauses.left_s()) > 0:
            try:
                if self._store.create(key, body, left):
                    return Verdict.WON, None
                found = self._store.get(key, max(left, self._patience.first_pause_s))
            except Hopeless:
                break
            except Undecided:
                found = None
            if found is not None:
                # The commit id inside is random: equal bytes are one commit, others (damaged ones too) are not ours.
                ours = memoryview(found.body) == memoryview(body)
                return (Verdict.WON, None) if ours else (Verdict.LOST, found.body)
            pauses.wait()
        return Verdict.UNKNOWN, None

    def read(self, version: int, deadline_s: float) -> Entry | None:
        """The entry of a version, None while the slot is free; Damaged, DatabaseDeleted, StoreUnavailable."""
        return self.read_many(range(version, version + 1), deadline_s)[0]

    def read_many(self, versions: range, deadline_s: float) -> list[Entry | None]:
        """The entries of versions, None for a free slot; Damaged, DatabaseDeleted, StoreUnavailable."""
        keys = [slot_key(self.database, version) for version in versions]
        found = self.ask(lambda left: self._store.get_many(keys, left), deadline_s)
        return [
            None if blob is None else self._believed(version, blob, deadline_s)
            for version, blob in zip(versions, found, strict=True)
        ]

    def decode(self, version: int, body: Body) -> Entry:
        """The entry in a slot's bytes; Damaged, DatabaseDeleted."""
        terminal = read_tombstone(body, database=self.database, version=version)
        if terminal is not None:
            raise DatabaseDeleted(terminal)
        try:
            entry = decode(body, database=self.database, version=version)
        except BadEntry as error:
            raise Damaged(slot_key(self.database, version), str(error)) from error
        if entry.terminal:
            raise DatabaseDeleted(version)
        return entry

    def missing(self, version: int) -> Damaged:
        """To be raised: the slot is free, and a newer one is not."""
        error = Damaged(slot_key(self.database, version), "the slot is missing below a newer one")
        self.quarantine.take(error.key, None, error.why, "database_corrupt")
        return error

    def refuse(self, version: int, why: str, deadline_s: float) -> None:
        """The entry of that version is whole and cannot be applied: quarantines it."""
        key = slot_key(self.database, version)
        try:
            blob = self.ask(lambda left: self._store.get(key, left), deadline_s)
        except StoreUnavailable:
            blob = None
        self.quarantine.take(key, blob.body if blob else None, why, "database_corrupt")

    def _believed(self, version: int, blob: Blob, deadline_s: float) -> Entry:
        """The entry; bytes that are none are read once more first, for the way here may have spoilt them."""
        key = slot_key(self.database, version)
        try:
            return self.decode(version, blob.body)
        except Damaged:
            again = self.ask(lambda left: self._store.get(key, left), deadline_s)
            if again is None:
                raise
        try:
            return self.decode(version, again.body)
        except Damaged as error:
            self.quarantine.take(key, again.body, error.why, "database_corrupt")
            raise

    def _keep(self, key: str, body: Body) -> None:
        """The copy of something damaged: best effort, and none stays of a database that is being deleted."""
        try:
            self._store.replace(key, body, {}, None, self._patience.attempt_s)
            newest = self._store.list_keys(log_prefix(self.database), "", self._patience.attempt_s)[:1]
            for version in self._versions(newest):
                blob = self._store.get(slot_key(self.database, version), self._patience.attempt_s)
                if blob is not None:
                    self.decode(version, blob.body)
        except DatabaseDeleted:
            self._discard(key)
        except (Undecided, Damaged) as error:
            log.warning("not looked after: %s: %s", key, error, extra={"database": self.database})

    def _discard(self, key: str) -> None:
        try:
            self._store.remove([key], self._patience.attempt_s)
        except Undecided as error:
            log.warning("left behind: %s: %s", key, error, extra={"database": self.database})

    def survey(self, snapshot_key: str, deadline_s: float) -> tuple[Blob | None, list[int]]:
        """The snapshot object and, read beside it, the newest versions of the log in falling order (at most LIST_PAGE).

        The list is as new as this call: what was acknowledged before is in it. StoreUnavailable.
        """
        prefix = log_prefix(self.database)
        blob, keys = self.ask(lambda left: self._store.get_and_list(snapshot_key, prefix, left), deadline_s)
        return blob, self._versions(keys)

    def newest(self, deadline_s: float) -> int:
        """The newest version of the log, as of this call; 0 when it is empty. StoreUnavailable."""
        return next(iter(self._list_below(SLOTS - 1, deadline_s)), 0)

    def head_above(self, version: int, listed: list[int], deadline_s: float) -> int:
        """The newest version, when all slots between it and `version` are there; Damaged when one is missing.

        `listed` begins the list; more is read when it does not reach down to `version`.
        """
        head = listed[0] if listed else 0
        expected = head
        while expected > version:
            for found in listed:
                if found != expected:
                    raise self.missing(expected)
                expected -= 1
                if expected <= version:
                    return head
            listed = self._list_below(expected + 1, deadline_s)
            if not listed:
                raise self.missing(expected)
        return max(head, version)

    def _list_below(self, version: int, deadline_s: float) -> list[int]:
        after = slot_key(self.database, version)
        prefix = log_prefix(self.database)
        return self._versions(self.ask(lambda left: self._store.list_keys(prefix, after, left), deadline_s))

    def ask(self, call: Callable[[float], T], deadline_s: float) -> T:
        """Asks again until there is an answer; what is asked may be asked twice. StoreUnavailable."""
        pauses = _Pauses(self._clock, self._patience, deadline_s)
        last: Exception | None = None
        while (left := pauses.left_s()) > 0:
            try:
                return call(left)
            except Hopeless as error:
                raise StoreUnavailable(str(error)) from error
            except Undecided as error:
                last = error
                pauses.wait()
        raise StoreUnavailable(f"no answer in time ({last})")

    def _versions(self, keys: Sequence[str]) -> list[int]:
        # What is not named as a slot is no part of the log.
        return [version for key in keys if (version := slot_version(self.database, key)) is not None]


class _Pauses:
    """Spaces tries: a random wait that doubles, within the deadline."""

    def __init__(self, clock: Clock, patience: Patience, deadline_s: float) -> None:
        self._clock = clock
        self._patience = patience
        self._deadline_s = deadline_s
        self._pause_s = patience.first_pause_s

    def left_s(self) -> float:
        """How long the next try may take."""
        return min(self._patience.attempt_s, self._deadline_s - self._clock.now_s())

    def wait(self) -> None:
        """Waits before the next try."""
        pause = self._pause_s * (0.5 + self._clock.jitter() / 2)
        self._pause_s = min(self._pause_s * 2, self._patience.longest_pause_s)
        self._clock.sleep(max(0.0, min(pause, self._deadline_s - self._clock.now_s())))
