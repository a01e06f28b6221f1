"""Opening a database from nothing but the bucket: its snapshot, beside a list of its log, then what came after."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from dbsync import snapshots
from dbsync.commit import Committer
from dbsync.gate import GateVfs
from dbsync.history import History
from dbsync.log_format import Entry
from dbsync.replica import Image, NotNext, Replica
from dbsync.slots import Clock, Damaged, Slots, slot_key
from dbsync.sqlguard import Limits

log = logging.getLogger(__name__)

FETCH_AT_ONCE = 64
PAGES_AT_ONCE = 4096


@dataclass(frozen=True)
class Opened:
    """A database that was opened, and the version of the snapshot that it began from (0: none)."""

    committer: Committer
    snapshot_version: int


def cold_open(
    slots: Slots, clock: Clock, limits: Limits, vfs: GateVfs, new_folder: Callable[[], Path], deadline_s: float
) -> Opened:
    """A copy at the head of the log, as of this call. Damaged, NotNext, StoreUnavailable."""
    blob, listed = slots.survey(snapshots.snapshot_key(slots.database), deadline_s)
    image = None if blob is None else snapshots.read(slots.database, blob)
    if image is not None:
        try:
            return _open(slots, clock, limits, vfs, new_folder(), image, listed, deadline_s)
        except NotNext as error:
            # The snapshot and the log disagree; the log is the truth.
            log.critical(
                "ALARM snapshot disagrees with the log: %s",
                error,
                extra={"database": slots.database, "alarm": "snapshot_refused"},
            )
    return _open(slots, clock, limits, vfs, new_folder(), None, listed, deadline_s)


def _open(
    slots: Slots,
    clock: Clock,
    limits: Limits,
    vfs: GateVfs,
    folder: Path,
    image: Image | None,
    listed: list[int],
    deadline_s: float,
) -> Opened:
    history = History()
    replica = Replica(folder, vfs, limits)
    start = 0 if image is None else image.version
    try:
        replica.load(image)
        head = slots.head_above(start, listed, deadline_s)
        step = FETCH_AT_ONCE
        while replica.version < head:
            first = replica.version + 1
            entries = _present(slots, range(first, min(first + step, head + 1)), deadline_s)
            replica.apply(entries)
            for entry in entries:
                history.add(entry)
            # Entries of many pages are fetched few at a time, so that opening has a bound on its memory.
            pages = 1 + sum(len(entry.pages.numbers) for entry in entries)
            step = max(1, min(FETCH_AT_ONCE, len(entries) * PAGES_AT_ONCE // pages))
    except BaseException:
        replica.close()
        raise
    return Opened(Committer(replica, slots, clock, limits, history), start)


def _present(slots: Slots, versions: range, deadline_s: float) -> list[Entry]:
    found = slots.read_many(versions, deadline_s)
    entries = [entry for entry in found if entry is not None]
    if len(entries) < len(versions):
        missing = versions[found.index(None)]
        raise Damaged(slot_key(slots.database, missing), "the slot is missing below a newer one")
    return entries
