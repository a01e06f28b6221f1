"""Opening a database from nothing but the bucket: a snapshot, beside a list of its log, then what came after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dbsync import snapshots
from dbsync.commit import Committer
from dbsync.gate import GateVfs
from dbsync.history import History
from dbsync.log_format import Entry
from dbsync.replica import Image, NotNext, Replica
from dbsync.slots import Clock, Slots
from dbsync.sqlguard import Limits

FETCH_AT_ONCE = 64
PAGES_AT_ONCE = 4096


@dataclass(frozen=True)
class Opened:
    """A database that was opened, and the version of the snapshot that it began from (0: none).

    `refused` is the ETag of a newest snapshot that could not be used.
    """

    committer: Committer
    snapshot_version: int
    refused: str = ""


def cold_open(
    slots: Slots, clock: Clock, limits: Limits, vfs: GateVfs, new_folder: Callable[[], Path], deadline_s: float
) -> Opened:
    """A copy at the head of the log, as of this call. Damaged, NotNext, DatabaseDeleted, StoreUnavailable."""
    key = snapshots.snapshot_key(slots.database)
    blob, listed = slots.survey(key, deadline_s)
    image = snapshots.believed(slots, key, blob, deadline_s)
    etag = "" if blob is None else blob.etag
    del blob  # it may be as large as the database
    head = listed[0] if listed else 0
    try:
        if image is not None or not etag:
            return _opened(slots, clock, limits, vfs, new_folder(), image, listed, deadline_s)
    except NotNext as error:
        _doubt(slots, key, image, error)
    newest = head if image is None else image.version - 1
    image = None
    for older_key, older in snapshots.up_to(slots, newest, deadline_s):
        try:
            return _opened(slots, clock, limits, vfs, new_folder(), older, listed, deadline_s, etag)
        except NotNext as error:
            _doubt(slots, older_key, older, error)
    return _opened(slots, clock, limits, vfs, new_folder(), None, listed, deadline_s, etag)


def open_at(
    slots: Slots, limits: Limits, vfs: GateVfs, new_folder: Callable[[], Path], version: int, deadline_s: float
) -> Replica:
    """A copy at an old version, to be closed by the caller. Damaged, NotNext, DatabaseDeleted, StoreUnavailable."""
    for key, image in snapshots.up_to(slots, version, deadline_s):
        try:
            return _filled(slots, limits, vfs, new_folder(), image, version, deadline_s)
        except NotNext as error:
            _doubt(slots, key, image, error)
    return _filled(slots, limits, vfs, new_folder(), None, version, deadline_s)


def _doubt(slots: Slots, key: str, image: Image | None, error: NotNext) -> None:
    """Quarantines a snapshot that the log disagrees with; raises the error when the log disagrees with itself."""
    if image is None or error.version > image.version + 1:
        raise error
    slots.quarantine.take(key, image.body, f"it disagrees with the log: {error}", "snapshot_refused")


def _opened(
    slots: Slots,
    clock: Clock,
    limits: Limits,
    vfs: GateVfs,
    folder: Path,
    image: Image | None,
    listed: list[int],
    deadline_s: float,
    refused: str = "",
) -> Opened:
    history = History()
    start = 0 if image is None else image.version
    head = slots.head_above(start, listed, deadline_s)
    replica = _filled(slots, limits, vfs, folder, image, head, deadline_s, history)
    return Opened(Committer(replica, slots, clock, limits, history), start, refused)


def _filled(
    slots: Slots,
    limits: Limits,
    vfs: GateVfs,
    folder: Path,
    image: Image | None,
    head: int,
    deadline_s: float,
    history: History | None = None,
) -> Replica:
    """A copy made of the image and the entries after it, up to the head."""
    replica = Replica(folder, vfs, limits)
    try:
        replica.load(image)
        start, image = replica.version, None  # what it was read into may go
        step = FETCH_AT_ONCE
        while replica.version < head:
            first = replica.version + 1
            entries = _present(slots, range(first, min(first + step, head + 1)), deadline_s)
            try:
                replica.apply(entries)
            except NotNext as error:
                if error.version > start + 1 or start == 0:
                    slots.refuse(error.version, str(error), deadline_s)
                raise
            if history is not None:
                for entry in entries:
                    history.add(entry)
            # Entries of many pages are fetched few at a time, so that opening has a bound on its memory.
            pages = 1 + sum(len(entry.pages.numbers) for entry in entries)
            step = max(1, min(FETCH_AT_ONCE, len(entries) * PAGES_AT_ONCE // pages))
    except BaseException:
        replica.close()
        raise
    return replica


def _present(slots: Slots, versions: range, deadline_s: float) -> list[Entry]:
    found = slots.read_many(versions, deadline_s)
    entries = [entry for entry in found if entry is not None]
    if len(entries) < len(versions):
        raise slots.missing(versions[found.index(None)])
    return entries
