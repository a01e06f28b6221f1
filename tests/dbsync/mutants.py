"""Broken variants of the service, each of which the judge of the simulation must catch.

Most were tried in earnest by somebody, and lost data. A mutant patches the service itself; the shape of its runs makes
what it breaks frequent.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from dbsync import (
    carry,
    cold_open,
    commit,
    conflicts,
    database,
    databases,
    deletion,
    restore,
    snapshots,
    transaction,
    undo,
)
from dbsync import slots as slots_module
from tests.dbsync import mutants_of_commits as commits
from tests.dbsync import mutants_of_slots as of_slots
from tests.dbsync import mutants_of_the_whole as whole
from tests.dbsync.sim_run import Patch
from tests.dbsync.sim_shape import WEIGHTS, Shape
from tests.dbsync.sim_store import NO_FAULTS, Faults

RACES = Shape(processes=3, pages=4, sticky=0.0, think_s=0.3)
CALM = replace(RACES, faults=NO_FAULTS)
CROWD = replace(CALM, processes=1, pages=8, think_s=0.02)
LATE = replace(RACES, faults=Faults(late=0.3))
STORM = replace(RACES, faults=Faults(denied=0.1, late=0.1), pages=8, think_s=0.02, sticky=1.0)
SPOILT = replace(CALM, faults=replace(NO_FAULTS, crash=0.02), damage_s=1.0, users=2)


@dataclass(frozen=True)
class Mutant:
    """A broken variant, what it breaks, and a seed that catches it."""

    name: str
    breaks: str
    patches: tuple[Patch, ...]
    shape: Shape = RACES
    seed: int = 1


def _slots(kind: type[slots_module.Slots], *more: Patch) -> tuple[Patch, ...]:
    return ((databases, "Slots", kind), (cold_open, "Committer", of_slots.Telling), *more)


def _often(shape: Shape, **weights: float) -> Shape:
    return replace(shape, weights=WEIGHTS | weights)


MUTANTS = (
    Mutant(
        "exists is refused",
        "a 412 for an own earlier try is taken as a conflict",
        _slots(of_slots.ExistsIsRefused),
        seed=2,
    ),
    Mutant("free is failed", "a 404 after an unclear PUT is taken as its failure", _slots(of_slots.FreeIsFailed), LATE),
    Mutant("unclear is failed", "429, 5xx and timeouts are taken as failures", _slots(of_slots.UnclearIsFailed)),
    Mutant(
        "check, then put",
        "the slot is looked at, then written without a condition",
        _slots(of_slots.CheckThenPut),
        seed=6,
    ),
    Mutant("acknowledged first", "a write is acknowledged before its PUT", _slots(of_slots.AcknowledgeFirst)),
    Mutant(
        "unknown is won",
        "a write whose time is up is taken as done",
        _slots(of_slots.UnknownIsWon),
        seed=3,
    ),
    Mutant("lost is won", "a slot that another writer has is taken as won", _slots(of_slots.LostIsWon)),
    Mutant("slots are deleted", "the log is trimmed by DELETE", ((snapshots, "publish", of_slots.publish_and_trim),)),
    Mutant(
        "slots are deleted, with a floor",
        "the log is trimmed by DELETE, and a PUT looks afterwards whether it is below the snapshot",
        _slots(of_slots.FloorCheck, (snapshots, "publish", of_slots.publish_and_trim)),
    ),
    Mutant(
        "snapshots overwrite",
        "an older snapshot overwrites a newer one",
        ((snapshots, "publish", of_slots.publish_blindly),),
        replace(RACES, compact_after=2),
        seed=3,
    ),
    Mutant(
        "no table of keys",
        "a retry runs again",
        commits.WITHOUT_KEYS,
        seed=2,
    ),
    Mutant(
        "keys are dropped early", "a retry after some seconds runs again", commits.SHORT_KEYS, _often(RACES, again=30)
    ),
    Mutant(
        "any request has the key",
        "a key answers another request",
        ((transaction, "request_hash", commits.no_hash),),
        _often(CALM, twist=20),
    ),
    Mutant(
        "no savepoint",
        "a failed member of a group leaves a part of itself",
        ((transaction.Transaction, "run", commits.run_without_savepoint),),
        CROWD,
    ),
    Mutant(
        "members are alone",
        "a member of a group is not checked against those before it",
        ((transaction.Transaction, "_past", commits.past_without_members),),
        CROWD,
    ),
    Mutant(
        "groups move bases",
        "a base passes a member of another author in the same version",
        ((transaction.Transaction, "_settle_bases", commits.nothing),),
        CROWD,
    ),
    Mutant(
        "a group in doubt is done",
        "members of a group that is in doubt are acknowledged",
        ((commit, "_in_doubt", commits.nobody_in_doubt),),
        STORM,
    ),
    Mutant(
        "the base always moves",
        "a base passes another author's commit",
        ((conflicts, "next_base", commits.base_is_version),),
        CALM,
    ),
    Mutant("no conflicts", "a stale write is accepted", ((conflicts, "check", commits.nothing),), CALM),
    Mutant(
        "own commits conflict",
        "an author's own commit makes it stale",
        ((conflicts, "others", commits.others_and_own),),
        CALM,
        seed=2,
    ),
    Mutant(
        "the system conflicts",
        "a write of the system makes a page stale",
        ((conflicts, "earlier", commits.loud_system),),
        CALM,
    ),
    Mutant(
        "migrations conflict",
        "a migration makes bases stale",
        ((conflicts, "earlier", commits.loud_migration),),
        _often(CALM, migrate=10),
    ),
    Mutant(
        "tables by their case",
        "a row that a commit depends on is not recognised",
        ((conflicts, "folded", commits.unfolded),),
        _often(CALM, needs=30),
    ),
    Mutant(
        "nothing is depended on",
        "rows that a commit depends on are not looked at",
        ((transaction.Transaction, "_check_stale", commits.without_dependencies),),
        _often(CALM, needs=30),
    ),
    Mutant(
        "every scope is rows",
        "the scope of a whole database is not heeded",
        ((conflicts, "check", commits.without_scope),),
        _often(CALM, strict=30),
    ),
    Mutant(
        "refusals are not confirmed",
        "a refusal is answered from an old copy",
        ((commit, "_settled", commits.everything_settled),),
        CALM,
    ),
    Mutant(
        "reads from the copy",
        "a linearizable read does not ask the log",
        ((database.Database, "_read_once", whole.read_the_copy),),
        CALM,
    ),
    Mutant(
        "a bound is not heeded",
        "a read is answered from before its bound",
        ((database.Database, "_read_local", whole.read_below),),
        _often(CALM, **{"read here": 60}),
        seed=2,
    ),
    Mutant(
        "undo without comparing",
        "an undo overwrites later values",
        ((undo, "_exactly", whole.apply_blindly),),
        _often(CALM, undo=40),
    ),
    Mutant(
        "undo without a schema",
        "a commit of another schema is undone",
        ((undo, "check", whole.check_kind),),
        _often(CALM, undo=40, migrate=15),
        seed=5,
    ),
    Mutant(
        "undo of the system's",
        "a write of the system is undone",
        ((undo, "why_not", whole.why_not_changeset),),
        _often(CALM, undo=40, system=40),
    ),
    Mutant(
        "restore loses the keys",
        "after a restore a retry runs again",
        ((carry, "_NEXT_KEYS", whole.NO_KEYS),),
        _often(CALM, restore=15, again=30),
        seed=7,
    ),
    Mutant(
        "restore keeps no rows",
        "a restore overwrites the tables that were to stay",
        ((carry, "_carry_rows", whole.without_rows),),
        _often(CALM, restore=15),
    ),
    Mutant(
        "restore lets older bases through",
        "what was read before a restore overwrites it",
        ((conflicts, "earlier", whole.plain_restore),),
        _often(CALM, restore=10),
        seed=3,
    ),
    Mutant(
        "restore is never stale",
        "a restore undoes unseen commits",
        ((restore, "_check", whole.check_version),),
        _often(CALM, restore=15),
    ),
    Mutant(
        "restore misses a migration",
        "old content comes back under the new schema",
        ((restore, "_migrate", whole.migrate_by_name),),
        _often(CALM, restore=15, migrate=15),
        seed=4,
    ),
    Mutant(
        "restore of another version",
        "the version before the one that was asked for comes back",
        ((restore, "prepare", whole.prepare_one_less),),
        _often(CALM, restore=15),
        seed=2,
    ),
    Mutant(
        "deletion without an end",
        "a deleted database comes back",
        ((deletion, "end", whole.end_without_entry), (deletion, "wipe", whole.remove_all)),
        _often(RACES, delete=5),
    ),
    Mutant(
        "deletion without tombstones",
        "a late PUT takes the slot of a deleted database",
        ((deletion._Wiping, "_overwrite", whole.remove_instead),),
        _often(RACES, delete=5),
    ),
    Mutant(
        "the end is not heeded",
        "a commit follows the end of a database",
        ((slots_module, "decode", whole.decode_without_end),),
        _often(RACES, delete=5),
    ),
    Mutant(
        "deletion forgets what is kept",
        "a deleted database leaves its kept snapshots",
        ((deletion._Wiping, "_wipe_kept", commits.nothing),),
        replace(_often(CALM, delete=5), compact_after=3, snapshot_every=4),
    ),
    Mutant(
        "checksums are not compared",
        "an entry that does not follow is applied",
        whole.WITHOUT_CHECKSUMS,
        SPOILT,
        seed=17,
    ),
    Mutant(
        "names are not compared",
        "an entry from elsewhere is applied",
        ((slots_module, "decode", whole.decode_any_name), *whole.WITHOUT_CHECKSUMS),
        SPOILT,
    ),
    Mutant(
        "snapshots are believed",
        "a spoilt snapshot is loaded",
        ((snapshots, "read", whole.read_without_hash),),
        replace(SPOILT, compact_after=1, end_s=2.0, users=1),
        seed=15,
    ),
)
