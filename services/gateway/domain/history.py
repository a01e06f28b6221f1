"""The past of a library: versions, the commits in them, and the rows that those changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ChangeKind(StrEnum):
    """Who made a commit, and to what end."""

    EDIT = "edit"  # from a page
    SYSTEM = "system"  # of the product itself: an upload probed, an export finished
    SCHEMA = "schema"
    UNDO = "undo"
    RESTORE = "restore"


class RowChange(StrEnum):
    """What became of a row."""

    INSERTED = "inserted"
    UPDATED = "updated"
    DELETED = "deleted"


@dataclass(frozen=True)
class PastRow:
    """A row that a commit changed, by its table and primary key."""

    table: str
    key: tuple[str | int | float | None, ...]
    change: RowChange


@dataclass(frozen=True)
class PastCommit:
    """One commit.

    `undoable` says what its kind allows; whether its rows still hold what it left shows when it is tried.
    """

    id: str
    author: str
    kind: ChangeKind
    rows: tuple[PastRow, ...]  # at most 100
    row_count: int  # of all
    undoable: bool
    undoes: str | None  # the commit that an undo put back
    restores: int | None  # the version that a restore brought back


@dataclass(frozen=True)
class PastVersion:
    """One version, its commits in the order in which they ran."""

    version: int
    committed_at: datetime
    commits: tuple[PastCommit, ...]


@dataclass(frozen=True)
class History:
    """A page of the past, newest first."""

    version: int  # the newest of all
    versions: tuple[PastVersion, ...]
    next_before_version: int | None  # where the next page begins; None: nothing is older
