"""What runs of the simulation exercised, as a table; a run that misses a kind proves nothing about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

# Every kind that a long run must have met, as it is counted while it happens.
KINDS = (
    "operations",
    "versions",
    "commits: done",
    "commits: answered from the table of keys",
    "writes: tried again",
    "writes: given up without an answer",
    "writes: answered outcome_unknown",
    "writes: answered requirement_unmet",
    "writes: answered constraint",
    "writes: answered key_mismatch",
    "writes: answered database_corrupt",
    "writes: answered database_deleted",
    "conflicts: rows",
    "conflicts: the whole database",
    "conflicts: an undo's values",
    "migrations: done",
    "writes: answered schema_mismatch",
    "writes: answered schema_newer",
    "writes: answered invalid_argument",
    "undos: done",
    "undos: answered from the table of keys",
    "writes: answered not_undoable",
    "writes: answered no_such_commit",
    "restores: done",
    "restores: answered from the table of keys",
    "writes: answered no_such_version",
    "deletions",
    "databases ended",
    "reads: read here",
    "reads: read the newest",
    "reads: head",
    "reads: history",
    "reads: snapshot",
    "reads: unanswered",
    "reads: answered database_corrupt",
    "reads: answered database_deleted",
    "copies compared",
    "opens",
    "evictions",
    "snapshots",
    "group: 1",
    "group: 2",
    "group: 3",
    "group: 4 to 7",
    "group: 8 or more",
    "fault: PUT refused",
    "fault: PUT denied",
    "fault: PUT done without an answer",
    "fault: PUT lost and answered 429",
    "fault: PUT that takes place late",
    "fault: 404 after a PUT without an answer",
    "fault: GET refused",
    "fault: GET without an answer",
    "fault: LIST refused",
    "fault: HEAD refused",
    "fault: a suspended process",
    "late: a PUT that takes its slot",
    "late: a PUT that finds its slot taken",
    "late: a PUT below the newest version",
    "kill: before a commit's PUT",
    "kill: in a commit's PUT, sent and on its way",
    "kill: after a commit's PUT, before anything local",
    "kill: in reading the log",
    "kill: in a cold open",
    "kill: in compaction",
    "kill: before a snapshot's PUT",
    "kill: in a snapshot's PUT, sent and on its way",
    "kill: after a snapshot's PUT, before anything local",
    "kill: at any moment",
    "kill: none, stopped in peace",
    "damage: an entry is spoilt",
    "damage: an entry is from elsewhere",
    "damage: an entry does not follow",
    "damage: something has the next slot",
    "damage: a snapshot is spoilt",
    "damage: something has a name that is no slot's",
    "alarm: database_corrupt",
    "alarm: snapshot_refused",
)
NEVER = "unrelated edits answered as stale"  # the count that must stay zero, printed so that it is seen


def missed(seen: Counter[str]) -> list[str]:
    """The kinds that were never met."""
    return [kind for kind in KINDS if not seen[kind]]


def table(seen: Counter[str], violations: int) -> Iterable[str]:
    """The lines of the table: what was met how often, and what went wrong."""
    kinds = [*KINDS, *sorted(seen.keys() - set(KINDS) - {NEVER})]
    width = max(len(kind) for kind in kinds)
    for kind in kinds:
        yield f"{kind:<{width}} {seen[kind]:>10,}"
    yield f"{NEVER:<{width}} {seen[NEVER]:>10,}"
    yield f"{'violations':<{width}} {violations:>10,}"
