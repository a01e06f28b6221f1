"""Broken reads, undos, restores, deletions, and trust in what is spoilt."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar

import apsw

from chassis.faults import precondition
from dbsync import carry, conflicts, pages, restore, snapshots, transaction, undo
from dbsync import log_format as format_module
from dbsync import replica as replica_module
from dbsync.commit import Committer, Spent
from dbsync.conflicts import Earlier
from dbsync.database import Database
from dbsync.deletion import Ended, _Wiping
from dbsync.log_format import Entry, SubCommit
from dbsync.pages import Body, Delta, PageSums
from dbsync.replica import Image, Replica
from dbsync.requests import RowKey
from dbsync.restore import Migration, RestoreRequest, Workshop
from dbsync.slots import Blob, Clock, Slots
from dbsync.sqlguard import Guard
from dbsync.undo import Found

T = TypeVar("T")

NO_KEYS = "SELECT key, request, version, result FROM _dbsync_keys WHERE key > ? AND 0 LIMIT ?"
_READ_ONCE, _EARLIER, _PREPARE, _OVERWRITE = Database._read_once, conflicts.earlier, restore.prepare, _Wiping._overwrite


async def read_the_copy(self: Database, read: Callable[[Replica], T], min_version: int | None, spent: Spent) -> T:
    """A read without a bound is answered from the copy."""
    return await _READ_ONCE(self, read, min_version or 0, spent)


async def read_below(
    self: Database, replica: Replica, read: Callable[[Replica], T], min_version: int, arrived_s: float, spent: Spent
) -> T:
    """A bound is no reason to catch up."""
    return await self._run(replica, read, spent)


def apply_blindly(guard: Guard, changeset: bytes, keys: Mapping[str, Sequence[int]]) -> tuple[RowKey, ...]:
    """Whatever the rows hold now, they get what they held before."""

    def meet(reason: int, change: apsw.TableChange) -> int:
        replaceable = (apsw.SQLITE_CHANGESET_DATA, apsw.SQLITE_CHANGESET_CONFLICT)
        return apsw.SQLITE_CHANGESET_REPLACE if reason in replaceable else apsw.SQLITE_CHANGESET_OMIT

    guard.apply(changeset, meet, triggers=False)
    return ()


def check_kind(found: Found, schema_version: int) -> None:
    """The schema of then is not compared."""
    if why := undo.why_not(found.sub):
        raise precondition("not_undoable", "It cannot be undone.", why=why)


def why_not_changeset(sub: SubCommit) -> str:
    """Whatever has a changeset can be undone."""
    return "" if sub.changeset else "unrecorded"


def plain_restore(version: int, sub: SubCommit) -> Earlier:
    """A restore changes no row."""
    return replace(_EARLIER(version, sub), everything=False)


def check_version(committer: Committer, request: RestoreRequest, deadline_s: float) -> None:
    """A restore looks only whether its version is there."""
    transaction.check_schema(request.schema_version, committer.replica.schema_version)


def without_rows(reading: Guard, guard: Guard, table: str) -> None:
    """Present rows are not kept."""


def migrate_by_name(built: Replica, migration: Migration) -> None:
    """Only the number of the schema is set."""
    guard = built.begin(foreign_keys=False)
    guard.own(f"PRAGMA user_version = {int(migration.to_schema_version)}")
    carry.commit(built, migration.to_schema_version)


def prepare_one_less(
    slots: Slots, workshop: Workshop, request: RestoreRequest, deadline_s: float, spent: Spent
) -> Replica:
    """Off by one."""
    return _PREPARE(slots, workshop, replace(request, version=max(1, request.version - 1)), deadline_s, spent)


def end_without_entry(slots: Slots, clock: Clock, commit_id: bytes, deadline_s: float) -> Ended:
    """Nothing is written that says that the database ended."""
    return Ended(slots.newest(deadline_s))


def remove_all(slots: Slots, clock: Clock, ended: Ended, every: int, deadline_s: float) -> None:
    """Every object is removed."""
    prefix = f"{slots.database}/"
    while keys := slots.ask(lambda left: slots.store.list_keys(prefix, "", left), deadline_s):
        slots.ask(lambda left, keys=keys: slots.store.remove(keys, left), deadline_s)  # type: ignore[misc]


def remove_instead(self: _Wiping, objects: Mapping[str, bytes], metadata: Mapping[str, str] | None = None) -> None:
    """Slots are removed; only what says that the database has ended stays."""
    if metadata is not None:
        _OVERWRITE(self, objects, metadata)
    else:
        self._slots.ask(lambda left: self._slots.store.remove(list(objects), left), self._deadline_s)


def decode_without_end(data: Body, *, database: str, version: int) -> Entry:
    """An entry that ends the database is one as any other."""
    entry = format_module.decode(data, database=database, version=version)
    return replace(entry, subs=tuple(replace(sub, terminal=False) for sub in entry.subs))


def decode_any_name(data: Body, *, database: str, version: int) -> Entry:
    """Whose entry it is, and of which version, is not looked at."""
    for name in (database, *(f"user-{number}" for number in range(4))):
        for number in range(1, 200):
            try:
                entry = format_module.decode(data, database=name, version=number)
            except format_module.BadEntry:
                continue
            return replace(entry, database=database, version=version)
    return format_module.decode(data, database=database, version=version)


def through_without_checksums(self: Replica, entries: Sequence[Entry]) -> tuple[PageSums, dict[int, bytes]]:
    """Pages are applied as they come."""
    sums, changed = self._sums.copy(), dict[int, bytes]()

    def old(number: int) -> bytes:
        if number > sums.page_count:
            return b""
        return changed[number] if number in changed else self.old_page(number)

    for entry in entries:
        delta: Delta = pages.unpack(entry.pages, old)
        sums.take(sums.step(delta))
        changed.update(delta.pages)
    return sums, changed


WITHOUT_CHECKSUMS = ((replica_module.Replica, "_through", through_without_checksums),)


def read_without_hash(database: str, blob: Blob) -> Image:
    """A snapshot is what it says."""
    sums = PageSums(pages.split(blob.body))
    return Image(
        snapshots.version_of(blob.metadata), int(blob.metadata["reel-schema-version"]), sums.checksum, blob.body
    )
