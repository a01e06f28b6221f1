"""What a run of the simulation is like: every seed draws another mixture, so that rare ones come about, too.

A run in which everything happens at once hides what needs a long quiet of one kind; so each has few or many processes,
pages and faults, and wants some operations often and others never.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.dbsync.sim_store import NO_FAULTS, Faults

WEIGHTS: dict[str, float] = {
    "write": 40,
    "strict": 4,
    "system": 8,
    "blind": 3,
    "needs": 6,
    "idle": 2,
    "migrate": 2,
    "migrate badly": 1,
    "read here": 14,
    "read the newest": 12,
    "head": 3,
    "undo": 6,
    "restore": 3,
    "delete": 0.1,
    "history": 3,
    "snapshot": 1,
    "again": 5,
    "twist": 1,
}


@dataclass(frozen=True)
class Shape:
    """The parameters of a run. Times are of the world, in seconds."""

    faults: Faults = field(default_factory=Faults)
    processes: int = 3
    users: int = 1  # databases
    pages: int = 4  # of each user: authors
    operations: int = 40  # of all pages together
    think_s: float = 0.5  # between two operations of a page
    sticky: float = 0.5  # how often a page asks the process that it prefers
    hasty: float = 0.05  # how often a page gives up before the service does
    weights: Mapping[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    compact_after: int = 8
    kept_rows: int = 600
    checkpoint_frames: int = 1000
    list_page: int = 1000
    at_once: int = 64  # entries that are fetched together
    group: int = 8
    open_databases: int = 8
    snapshot_every: int = 1000
    end_s: float = 0.0  # mean time between the ends of processes that no request brings about; 0: never
    damage_s: float = 0.0  # mean time between damages to the log; 0: never

    @property
    def peaceful(self) -> bool:
        """Whether nothing goes wrong."""
        return self.faults == NO_FAULTS and not self.end_s and not self.damage_s


def shape_of(seed: int) -> Shape:
    """The shape that a seed draws."""
    rng = random.Random(f"shape {seed}")
    level = rng.choice((0.0, 0.3, 1.0, 1.0, 1.0, 2.0, 4.0))

    def often(chance: float) -> float:
        return min(0.3, chance * level * rng.choice((0.0, 1.0, 1.0, 2.0)))

    weights = {kind: weight * rng.choice((0, 1, 1, 1, 3)) for kind, weight in WEIGHTS.items()}
    weights["write"] = weights["write"] or WEIGHTS["write"]
    users = rng.choice((1, 1, 1, 2, 3))
    return Shape(
        faults=Faults(
            refused=often(0.06),
            lost_answer=often(0.04),
            late=often(0.05),
            suspended=often(0.02),
            crash=often(0.004),
            denied=often(0.004),
        ),
        processes=rng.choice((1, 2, 2, 3, 3, 4)),
        users=users,
        pages=rng.choice((1, 2, 3, 4, 8, 16)),
        operations=rng.choice((100, 200, 400, 800)),
        think_s=rng.choice((0.01, 0.03, 0.1, 0.3, 1.0)),
        sticky=rng.choice((0.0, 0.5, 0.9, 0.9, 1.0)),
        hasty=rng.choice((0.0, 0.05, 0.2)),
        weights=weights,
        compact_after=rng.choice((3, 8, 16, 32)),
        kept_rows=rng.choice((3, 30, 600)),
        checkpoint_frames=rng.choice((8, 60, 1000)),
        list_page=rng.choice((3, 20, 1000)),
        at_once=rng.choice((2, 8, 64)),
        group=rng.choice((1, 2, 8, 64)),
        snapshot_every=rng.choice((4, 16, 1000)),
        open_databases=rng.choice((1, 2, 8, 8, 8, 8)),
        end_s=rng.choice((0.0, 0.0, 30.0, 90.0)) if level else 0.0,
        damage_s=rng.choice((0.0, 0.0, 0.0, 15.0)) if level else 0.0,
    )
