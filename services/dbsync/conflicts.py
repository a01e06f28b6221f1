"""When a commit is stale: first committer wins, row by row.

1. A commit conflicts only with commits after its base, of another author (test_conflicts.py::test_own_author,
   ::test_base_bounds).
2. It conflicts only over a row that it changes or depends on; with the database's scope over any version
   (test_conflicts.py::test_rows, ::test_scope_database).
3. Migrations and the system's own writes make nobody stale (test_conflicts.py::test_system_and_migration).
4. A commit without a base conflicts with nothing (test_conflicts.py::test_no_base).
5. A restore makes every older base stale, its own author's too, whatever the rows (test_conflicts.py::test_restore).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dbsync.log_format import SubCommit
from dbsync.requests import RowKey

NAMED_MAX = 100  # rows that an answer names


@dataclass(frozen=True, slots=True)
class Earlier:
    """What one commit of the past touched."""

    version: int
    author: str
    quiet: bool  # a migration or a write of the system: never a reason for a conflict
    rows: frozenset[RowKey]
    everything: bool = False  # a restore: every row may be another


@dataclass(frozen=True, slots=True)
class Clash:
    """A row that somebody else changed first."""

    row: RowKey
    version: int
    author: str


class Conflict(Exception):
    """The commit is stale: `clashes` names the rows, and is empty when it is the whole database that changed."""

    def __init__(self, base_version: int, head_version: int, clashes: Sequence[Clash]) -> None:
        super().__init__(f"base {base_version} is behind {head_version}: {len(clashes)} rows changed")
        self.base_version = base_version
        self.head_version = head_version
        self.clashes = tuple(clashes)


def earlier(version: int, sub: SubCommit) -> Earlier:
    """A sub-commit of the log as the rules see it."""
    rows = frozenset(folded(row) for row in sub.rows)
    restores = sub.restores > 0
    return Earlier(version, sub.author, (sub.system or sub.migration) and not restores, rows, restores)


def folded(row: RowKey) -> RowKey:
    """The row with its table's name as SQLite compares it."""
    return RowKey(row.table.lower(), row.key)


def others(past: Iterable[Earlier], base_version: int, author: str) -> list[Earlier]:
    """The commits after the base that could make this author stale. An empty author is nobody's, not even its own."""
    return [
        e
        for e in past
        if e.version > base_version and not e.quiet and (e.everything or not author or e.author != author)
    ]


def check(
    past: Iterable[Earlier],
    *,
    base_version: int | None,
    head_version: int,
    author: str,
    rows: Iterable[RowKey],
    scope_database: bool = False,
) -> None:
    """Raises Conflict when a commit of `author` that read up to the base and touches or needs `rows` is stale."""
    if base_version is None:
        return
    newer = others(past, base_version, author)
    if newer and (scope_database or any(one.everything for one in newer)):
        raise Conflict(base_version, head_version, ())
    wanted = {folded(row) for row in rows}
    clashes: dict[RowKey, Clash] = {}
    for one in newer:
        for row in wanted & one.rows if len(wanted) < len(one.rows) else one.rows & wanted:
            clashes[row] = Clash(row, one.version, one.author)  # the newest change of a row is named
    if clashes:
        ordered = sorted(clashes.values(), key=lambda clash: (clash.version, clash.row.table, repr(clash.row.key)))
        raise Conflict(base_version, head_version, ordered[:NAMED_MAX])


def last_changes(past: Iterable[Earlier], rows: Iterable[RowKey]) -> list[Clash]:
    """The rows with who changed each last; version 0 for one that nobody changed as far as `past`, in order, knows."""
    clashes = {folded(row): Clash(folded(row), 0, "") for row in rows}
    for one in past:
        for row in clashes if one.everything else one.rows & clashes.keys():
            clashes[row] = Clash(row, one.version, one.author)
    ordered = sorted(clashes.values(), key=lambda clash: (clash.version, clash.row.table, repr(clash.row.key)))
    return ordered[:NAMED_MAX]


def next_base(past: Iterable[Earlier], *, base_version: int | None, version: int, author: str) -> int:
    """Up to where the author has read, after a commit of its own made `version`: all of it, unless others came between.

    0 without a base: what it has read is not known.
    """
    if base_version is None:
        return 0
    between = [e for e in others(past, base_version, author) if e.version <= version]
    return base_version if between else version
