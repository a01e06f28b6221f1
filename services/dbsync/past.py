"""The history for people to read: who changed which rows when, page by page from the log.

1. A damaged entry hides nothing but itself: its version is listed without commits, and an alarm is raised
   (test_history.py::test_a_damaged_entry_hides_nothing_else).
2. A page is bounded in versions, in bytes and in time, and says where the next one begins: it may be shorter than asked
   for, never empty while something older is left (test_history.py::test_a_page_is_bounded, ::test_a_slow_store).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import apsw

from dbsync import conflicts, undo
from dbsync.conflicts import folded
from dbsync.log_format import Entry, SubCommit
from dbsync.requests import (
    CommitKind,
    Head,
    HistoryPage,
    HistoryRequest,
    PastCommit,
    PastVersion,
    RowChange,
    RowKey,
)
from dbsync.slots import Damaged, Slots, StoreUnavailable

ROWS_NAMED = 100  # of one commit
NAMED_BYTES = 1 << 20  # of a page's rows and authors, about
FETCH_AT_ONCE = 16
FETCH_BYTES = 8 << 20  # of entries held at once, about
_COMMIT_BYTES, _ROW_BYTES = 100, 16  # what each takes besides its values
_CHANGES = {"INSERT": RowChange.INSERT, "UPDATE": RowChange.UPDATE, "DELETE": RowChange.DELETE}


@dataclass
class _Room:
    """The bytes that are left of a page."""

    left: int = NAMED_BYTES
    short: bool = False  # something had no place

    def take(self, size: int) -> bool:
        """Whether there is a place for so many bytes."""
        if size > self.left:
            self.short = True
            return False
        self.left -= size
        return True


def page(slots: Slots, request: HistoryRequest, head: Head, deadline_s: float) -> HistoryPage:
    """A page of the history of a database whose newest version is `head`. Blocks; StoreUnavailable."""
    newest = min(request.before_version - 1, head.version) if request.before_version else head.version
    oldest = max(1, newest - request.page_size + 1)
    found: list[PastVersion] = []
    room = _Room()
    reached = newest + 1
    wanted = None if request.row is None else folded(request.row)
    try:
        for version, entry in _entries(slots, newest, oldest, deadline_s):
            described = _describe(version, entry, head.schema_version, room, wanted)
            if room.short and reached <= newest:
                break  # the next page begins with it
            if wanted is None or entry is None or described.commits:
                found.append(described)
            reached = version
            if room.short:
                break  # alone it is too large: not all of its rows are named
    except StoreUnavailable:
        if reached > newest:
            raise
    return HistoryPage(tuple(found), reached if reached > 1 else 0, head.version)


def _describe(version: int, entry: Entry | None, schema_version: int, room: _Room, row: RowKey | None) -> PastVersion:
    """What a version did, in a database that now has `schema_version`; with `row` only the commits that touched it."""
    if entry is None:
        return PastVersion(version, 0, 0, ())
    current = entry.schema_version == schema_version
    subs = (sub for sub in entry.subs if row is None or row in conflicts.earlier(version, sub).rows)
    commits = tuple(_commit(sub, current, room) for sub in subs)
    return PastVersion(version, entry.schema_version, entry.committed_ms, commits)


def kind(sub: SubCommit) -> CommitKind:
    """What sort of commit it was."""
    if sub.restores:
        return CommitKind.RESTORE
    if sub.undoes:
        return CommitKind.UNDO
    if sub.migration:
        return CommitKind.MIGRATION
    return CommitKind.SYSTEM if sub.system else CommitKind.WRITE


def _commit(sub: SubCommit, current: bool, room: _Room) -> PastCommit:
    room.take(_COMMIT_BYTES + len(sub.author))
    # The rows of a sub-commit are those of its changeset, in its order.
    changes = zip(sub.rows, apsw.Changeset.iter(sub.changeset), strict=True)
    rows = tuple((row, _CHANGES[change.op]) for row, change in islice(changes, ROWS_NAMED) if room.take(_size(row)))
    return PastCommit(
        commit_id=sub.commit_id,
        author=sub.author,
        kind=kind(sub),
        rows=rows,
        row_count=len(sub.rows),
        undoable=current and not undo.why_not(sub),
        undoes=sub.undoes,
        restores=sub.restores,
    )


def _entries(slots: Slots, newest: int, oldest: int, deadline_s: float) -> Iterator[tuple[int, Entry | None]]:
    """The entries from the newest to the oldest, fetched beside each other; None for one that is damaged."""
    window = FETCH_AT_ONCE // 4
    while newest >= oldest:
        versions = range(max(oldest, newest - window + 1), newest + 1)
        entries = _read(slots, versions, deadline_s)
        yield from zip(reversed(versions), reversed(entries), strict=True)
        newest -= len(versions)
        # Large entries are fetched few at a time, so that a page has a bound on its memory.
        each = max(1, sum(_weight(entry) for entry in entries) // len(versions))
        window = max(1, min(FETCH_AT_ONCE, window * 2, FETCH_BYTES // each))


def _read(slots: Slots, versions: range, deadline_s: float) -> list[Entry | None]:
    try:
        entries = slots.read_many(versions, deadline_s)
        if None not in entries:
            return entries
    except Damaged:
        pass  # which one it is, is found below
    return [_read_one(slots, version, deadline_s) for version in versions]


def _read_one(slots: Slots, version: int, deadline_s: float) -> Entry | None:
    try:
        entry = slots.read(version, deadline_s)
        if entry is None:
            raise slots.missing(version)
    except Damaged:
        return None  # it was alarmed about where it was met
    return entry


def _weight(entry: Entry | None) -> int:
    if entry is None:
        return 0
    return sum(len(chunk) for chunk in entry.pages.chunks) + sum(len(sub.changeset) for sub in entry.subs)


def _size(row: RowKey) -> int:
    values = sum(len(value) if isinstance(value, str | bytes) else 8 for value in row.key)
    return _ROW_BYTES + len(row.table) + values
