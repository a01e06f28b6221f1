"""Snapshots: a whole database in one object, so that a cold open and a restore read few entries.

1. A snapshot is only a faster way to what the log says: it is believed when its hash, its checksum, its name and its
   version agree; otherwise it is quarantined, an older one or the log itself is read, and the next compaction replaces
   it (test_snapshots.py::test_a_bad_snapshot_is_ignored, test_maintenance.py::test_a_bad_snapshot_is_replaced).
2. Compaction never races: a snapshot replaces the very object that was seen, if that was older, and no slot is ever
   removed (test_snapshots.py::test_two_compactions).
3. One snapshot of every so many versions is kept, under a key that such a number of versions names: it is created
   once, and the tombstone of a deleted database keeps a late one out
   (test_maintenance.py::test_one_is_kept_of_every_era, test_deletion.py::test_a_late_compaction_leaves_nothing).

The object is a plain database file with a rollback journal, which any SQLite opens.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from dbsync import pages
from dbsync.log_format import read_tombstone
from dbsync.pages import BadDelta, PageSums
from dbsync.replica import Image
from dbsync.slots import SLOTS, Blob, DatabaseDeleted, Slots, Store

log = logging.getLogger(__name__)

FORMAT = "1"
EVERY = 1000  # versions
DELETED, WIPED = "reel-deleted", "reel-wiped"  # of a tombstone: the last version, and up to which one slots are wiped
_NUMBER = re.compile(r"\d{1,19}")


@dataclass(frozen=True, slots=True)
class Download:
    """Where a whole database can be fetched until when (Unix milliseconds)."""

    url: str
    expires_ms: int
    version: int
    size_bytes: int


def compact_after(page_count: int) -> int:
    """After how many entries since the last snapshot a new one is due: a large database is not uploaded for a few."""
    return max(32, page_count // 64)


def snapshot_key(database: str) -> str:
    """Where a database's newest snapshot is."""
    return f"{database}/database.sqlite"


def kept_prefix(database: str) -> str:
    """Where the snapshots are that are kept."""
    return f"{database}/snap/"


def kept_key(database: str, first: int) -> str:
    """Where the snapshot is kept of the versions from `first` on: newer ones sort first."""
    return f"{kept_prefix(database)}{SLOTS - 1 - first:010x}"


def metadata(database: str, image: Image) -> dict[str, str]:
    """What the object says of itself."""
    return {
        "reel-format": FORMAT,
        "reel-database": database,
        "reel-version": str(image.version),
        "reel-checksum": f"{image.checksum:016x}",
        "reel-schema-version": str(image.schema_version),
        "reel-sha256": hashlib.sha256(image.body).hexdigest(),
    }


def version_of(found: Mapping[str, str]) -> int:
    """The version that the metadata names; -1 when it names none. A tombstone's is above all others."""
    return _number(found, "reel-version")


def deleted_by(found: Mapping[str, str]) -> int:
    """The version that ended the database, of which the metadata is a tombstone's; -1 when it is none."""
    return _number(found, DELETED)


def wiped_to(found: Mapping[str, str]) -> int:
    """Up to which version a deletion has got."""
    return max(0, _number(found, WIPED))


def _number(found: Mapping[str, str], name: str) -> int:
    text = found.get(name, "")
    return int(text) if _NUMBER.fullmatch(text) else -1


def believed(slots: Slots, key: str, blob: Blob | None, deadline_s: float) -> Image | None:
    """The image in the object; None when there is none. What cannot be believed is read once more, then quarantined.

    DatabaseDeleted when a tombstone is there; StoreUnavailable.
    """
    if blob is None:
        return None
    try:
        return read(slots.database, blob)
    except (ValueError, BadDelta):
        blob = slots.ask(lambda left: slots.store.get(key, left), deadline_s)
    if blob is None:
        return None
    try:
        return read(slots.database, blob)
    except (ValueError, BadDelta) as error:
        slots.quarantine.take(key, blob.body, str(error), "snapshot_refused")
        return None


def read(database: str, blob: Blob) -> Image:
    """The image in the object; ValueError, BadDelta, DatabaseDeleted."""
    found = blob.metadata
    if (terminal := read_tombstone(blob.body, database=database, version=0)) is not None:
        raise DatabaseDeleted(terminal)
    if found.get("reel-format") != FORMAT or found.get("reel-database") != database:
        raise ValueError(f"it is format {found.get('reel-format')} of {found.get('reel-database')!r}")
    if hashlib.sha256(blob.body).hexdigest() != found.get("reel-sha256"):
        raise ValueError("its hash does not match its bytes")
    checksum = PageSums(pages.split(blob.body)).checksum
    version, schema_version = version_of(found), found.get("reel-schema-version", "")
    if f"{checksum:016x}" != found.get("reel-checksum") or version < 1 or not _NUMBER.fullmatch(schema_version):
        raise ValueError("its checksum or its numbers do not match its bytes")
    return Image(version, int(schema_version), checksum, blob.body)


def up_to(slots: Slots, version: int, deadline_s: float) -> Iterator[tuple[str, Image]]:
    """The snapshots of that version or older ones with their keys, newest first, each fetched when it is asked for.

    DatabaseDeleted, StoreUnavailable.
    """
    keys = [snapshot_key(slots.database)]
    prefix, after = kept_prefix(slots.database), kept_key(slots.database, version + 1)
    keys += slots.ask(lambda left: slots.store.list_keys(prefix, after, left), deadline_s)
    for key in keys:
        looked = slots.ask(lambda left, key=key: slots.store.head(key, left), deadline_s)  # type: ignore[misc]
        if looked is None or version_of(looked.metadata) > version:
            continue
        blob = slots.ask(lambda left, key=key: slots.store.get(key, left), deadline_s)  # type: ignore[misc]
        image = believed(slots, key, blob, deadline_s)
        if image is not None and image.version <= version:
            yield key, image


def publish(store: Store, database: str, image: Image, timeout_s: float, *, refused: str = "") -> bool:
    """Puts the image where the newest snapshot is, unless that is as new; False when another process was faster.

    `refused` is the ETag of one that could not be believed, whatever version it names. Undecided, DatabaseDeleted.
    """
    key = snapshot_key(database)
    seen = store.head(key, timeout_s)
    if seen is not None and deleted_by(seen.metadata) > 0:
        raise DatabaseDeleted(deleted_by(seen.metadata))
    if seen is not None and seen.etag != refused and version_of(seen.metadata) >= image.version:
        return False
    return store.replace(key, image.body, metadata(database, image), seen.etag if seen else None, timeout_s)


def keep(store: Store, database: str, image: Image, every: int, timeout_s: float) -> None:
    """Puts the image where the one of its versions is kept, unless there is one. Undecided."""
    key = kept_key(database, image.version - image.version % every)
    if store.head(key, timeout_s) is None:
        store.replace(key, image.body, metadata(database, image), None, timeout_s)
