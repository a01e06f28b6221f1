"""Broken transactions, keys and conflict rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from chassis.faults import Fault
from dbsync import conflicts, transaction
from dbsync.conflicts import Conflict, Earlier
from dbsync.log_format import SubCommit
from dbsync.requests import CommitRequest, RowKey
from dbsync.transaction import Answer, Member, Transaction

WITHOUT_KEYS = (
    (transaction, "_FIND_KEY", "SELECT 1 WHERE ?1 IS NULL"),
    (transaction, "_ADD_KEY", "INSERT OR REPLACE INTO _dbsync_keys VALUES (?, ?, ?, ?)"),
)
SHORT_KEYS = ((transaction, "KEY_DROPPED_MS", 4000), (transaction, "_DROPPED_EVERY", 2))
_EARLIER, _OTHERS, _CHECK, _CHECK_STALE = (
    conflicts.earlier,
    conflicts.others,
    conflicts.check,
    Transaction._check_stale,
)


def nothing(*_: object, **__: object) -> None:
    """What is left out."""


def no_hash(request: CommitRequest) -> bytes:
    """Every request is like every other."""
    return bytes(8)


def run_without_savepoint(self: Transaction, request: CommitRequest) -> Member:
    """A member that fails leaves what it did so far."""
    if self._guard is None:
        self._guard = self.replica.begin(foreign_keys=not request.migration)
    try:
        member = self._member(self._guard, request)
    except (Fault, Conflict) as error:
        member = Member(error)
    self._made.append((len(self.subs), request, member))
    return member


def past_without_members(self: Transaction, base: int) -> list[Earlier]:
    """Only versions that are durable."""
    return list(self.past(base))


def nobody_in_doubt(members: Sequence[Member], confirmed: bool) -> list[Answer]:
    """Everybody is told what would have been."""
    return [member.answer for member in members]


def everything_settled(member: Member) -> bool:
    """No answer is confirmed."""
    return True


def base_is_version(past: object, *, base_version: int | None, version: int, author: str) -> int:
    """An answer moves the base, whoever committed in between."""
    return 0 if base_version is None else version


def others_and_own(past: Iterable[Earlier], base_version: int, author: str) -> list[Earlier]:
    """An author is stale over its own commits."""
    return _OTHERS(past, base_version, "")


def loud_system(version: int, sub: SubCommit) -> Earlier:
    """A write of the system is like anybody's."""
    return replace(_EARLIER(version, sub), quiet=sub.migration)


def loud_migration(version: int, sub: SubCommit) -> Earlier:
    """A migration changes everything."""
    found = _EARLIER(version, sub)
    return replace(found, quiet=False, everything=True) if sub.migration else found


def unfolded(row: RowKey) -> RowKey:
    """Names of tables are compared letter by letter."""
    return row


def without_dependencies(self: Transaction, request: CommitRequest, rows: Sequence[RowKey]) -> None:
    """Only what a commit changes is looked at."""
    if rows is not request.depends_on:
        _CHECK_STALE(self, request, rows)


def without_scope(
    past: Iterable[Earlier],
    *,
    base_version: int | None,
    head_version: int,
    author: str,
    rows: Iterable[RowKey],
    scope_database: bool = False,
) -> None:
    """Only rows conflict."""
    _CHECK(past, base_version=base_version, head_version=head_version, author=author, rows=rows)
