"""Makes a failing run of the simulation smaller, so that a person can read it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from tests.dbsync.sim_record import Violation
from tests.dbsync.sim_run import Patch, run
from tests.dbsync.sim_shape import Shape

TRIES = 40  # runs that may be spent


@dataclass(frozen=True)
class Small:
    """A run that still fails: its shape, how many faults struck, and what it broke."""

    shape: Shape
    struck_max: int
    broken: str
    lines: tuple[str, ...]


def shrink(seed: int, shape: Shape, patches: tuple[Patch, ...] = ()) -> Small | None:
    """A smaller run of that seed that fails, in one way or another; None when the run as it is does not fail."""
    best = _fails(seed, shape, patches, None)
    tries = 0
    while best is not None and tries < TRIES:
        found: Small | None = None
        for smaller, struck_max in _smaller(best):
            tries += 1
            found = _fails(seed, smaller, patches, struck_max)
            if found is not None or tries >= TRIES:
                break
        if found is None:
            break
        best = found
    return best


def _smaller(small: Small) -> list[tuple[Shape, int]]:
    shape, faults = small.shape, small.struck_max
    shapes = [
        replace(shape, operations=shape.operations // 2),
        replace(shape, operations=shape.operations * 3 // 4),
        replace(shape, users=1),
        replace(shape, processes=max(1, shape.processes - 1)),
        replace(shape, pages=max(1, shape.pages // 2)),
        replace(shape, damage_s=0.0),
        replace(shape, end_s=0.0),
        replace(shape, hasty=0.0),
    ]
    smaller = [(one, faults) for one in shapes if one != shape and one.operations > 0]
    return smaller + [(shape, some) for some in (0, faults // 2, faults * 3 // 4, faults - 1) if 0 <= some < faults]


def _fails(seed: int, shape: Shape, patches: tuple[Patch, ...], struck_max: int | None) -> Small | None:
    lines: list[str] = []
    seen: Counter[str] = Counter()
    try:
        run(seed, patches, shape=shape, struck_max=struck_max, seen=seen, lines=lines)
    except Violation as violation:
        return Small(shape, seen["faults"], str(violation), tuple(lines))
    return None
