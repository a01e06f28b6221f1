"""Seeded chaos: `python -m tests.dbsync.chaos --seed 7 --operations 1000000` runs it and prints what it met.

A run is some users' pages on some servers over one store that fails in every known way; then the judge reads the log.
`--seed 7 --replay` runs that seed alone and prints what happens; `--mutants` lists the broken variants of the service
and how soon each is caught.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import multiprocessing
import os
import sys
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass

from tests.dbsync.mutants import MUTANTS, Mutant
from tests.dbsync.sim_coverage import missed, table
from tests.dbsync.sim_record import Violation
from tests.dbsync.sim_run import Patch, run
from tests.dbsync.sim_shape import shape_of
from tests.dbsync.sim_shrink import shrink

SEEDS_AT_ONCE = 8
SHARES_OF_A_PROCESS = 100  # after which another goes on: memory stays bounded
LONG = 200_000  # operations, after which every kind must have been met
LINES = 60  # of a small run that fails
SEEDS_FOR_A_MUTANT = 200


@dataclass(frozen=True)
class Caught:
    """How soon the judge caught a mutant."""

    seed: int
    operations: int  # of that run and those before it
    why: str


def share(first: int, count: int, mutant: str = "") -> tuple[Counter[str], list[str]]:
    """Runs some seeds, of the service as it is or of a mutant; what they met, and what they broke."""
    patches = named(mutant)
    total: Counter[str] = Counter()
    broken: list[str] = []
    for seed in range(first, first + count):
        seen: Counter[str] = Counter()
        gc.disable()  # a run leaves little behind
        try:
            run(seed, patches, seen=seen)
        except Violation as violation:
            broken.append(f"seed {seed}: {violation}")
        finally:
            gc.enable()
        total += seen
    return total, broken


def named(mutant: str) -> tuple[Patch, ...]:
    """The patches of the mutant of that name; none for none. KeyError."""
    return {one.name: one.patches for one in MUTANTS}[mutant] if mutant else ()


def many(first: int, operations: int, processes: int, mutant: str = "") -> tuple[Counter[str], list[str], int]:
    """Runs seeds until so many operations were done; what they met, what they broke, and how many there were."""
    total: Counter[str] = Counter()
    broken: list[str] = []
    at_once = SEEDS_AT_ONCE if operations >= LONG else 1
    starts = itertools.count(first, at_once)
    done = told = 0
    # Spawned: a fork of a process with threads can hang on a lock that one of them held.
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, spawn, gc.freeze, max_tasks_per_child=SHARES_OF_A_PROCESS) as pool:
        running: set[Future[tuple[Counter[str], list[str]]]] = set()
        while running or total["operations"] < operations:
            while total["operations"] < operations and len(running) < processes:
                running.add(pool.submit(share, next(starts), at_once, mutant))
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for one in ended:
                seen, texts = one.result()
                total += seen
                broken += texts
                for text in texts:
                    print(f"VIOLATION {text}", flush=True)
                done += at_once
            if total["operations"] - told >= 100_000:
                told = total["operations"]
                print(f"... {told:,} operations, {len(broken)} violations", flush=True)
    return total, broken, done


def catch(mutant: Mutant, seeds: int = SEEDS_FOR_A_MUTANT, first: int | None = None) -> Caught | None:
    """The first seed, from `first` on (its own when None), that catches the mutant."""
    operations = 0
    for seed in itertools.islice(itertools.count(mutant.seed if first is None else first), seeds):
        seen: Counter[str] = Counter()
        try:
            run(seed, mutant.patches, shape=mutant.shape, seen=seen)
        except Violation as violation:
            return Caught(seed, operations + seen["operations"], str(violation))
        operations += seen["operations"]
    return None


def _mutants() -> int:
    """Prints the table of mutants; 1 when one was not caught."""
    width = max(len(mutant.name) for mutant in MUTANTS)
    missed = 0
    print(f"{'mutant':<{width}} {'seed':>4} {'operations':>10}  what it breaks / what the judge said")
    for mutant in MUTANTS:
        caught = catch(mutant, first=1)
        missed += caught is None
        seed, operations = ("-", "-") if caught is None else (caught.seed, caught.operations)
        print(f"{mutant.name:<{width}} {seed:>4} {operations:>10}  {mutant.breaks}", flush=True)
        print(f"{'':<{width + 17}}{'NOT CAUGHT' if caught is None else caught.why[:100]}")
    return 1 if missed else 0


def _replay(seed: int, mutant: str) -> int:
    lines: list[str] = []
    try:
        run(seed, named(mutant), lines=lines)
    except Violation as violation:
        print("\n".join(lines))
        print(f"VIOLATION seed {seed}: {violation}")
        return 1
    print("\n".join(lines))
    return 0


def _explain(seed: int, mutant: str) -> None:
    """Prints the smallest run of the seed that was found and still fails."""
    small = shrink(seed, shape_of(seed), named(mutant))
    if small is not None:
        print(f"seed {seed} made smaller: {small.shape}, {small.struck_max} faults: {small.broken}")
        for line in small.lines[-LINES:]:
            print(f"  {line}")


def main(arguments: list[str]) -> int:
    """Runs what is asked for; 1 when a promise was broken, or a long run missed a kind of event."""
    parser = argparse.ArgumentParser(prog="python -m tests.dbsync.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first seed")
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--replay", action="store_true", help="run that seed alone, and print what happens")
    parser.add_argument("--mutants", action="store_true", help="list the broken variants, and how soon each is caught")
    parser.add_argument("--mutant", default="", metavar="NAME", help="run a broken variant instead")
    chosen = parser.parse_args(arguments)
    if chosen.mutants:
        return _mutants()
    if chosen.replay:
        return _replay(chosen.seed, chosen.mutant)
    began_s = time.monotonic()
    seen, broken, seeds = many(chosen.seed, chosen.operations, chosen.processes, chosen.mutant)
    took_s = time.monotonic() - began_s
    for line in table(seen, len(broken)):
        print(line)
    never = missed(seen) if seen["operations"] >= LONG else []
    for kind in never:
        print(f"NEVER MET: {kind}")
    for text in broken[:1]:
        _explain(int(text.split()[1].rstrip(":")), chosen.mutant)
    last = chosen.seed + seeds - 1
    print(f"seeds {chosen.seed}..{last}: {seen['operations']:,} operations in {took_s:.0f} s, {len(broken)} violations")
    return 1 if broken or never else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
