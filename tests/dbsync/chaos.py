"""Seeded chaos: `python -m tests.dbsync.chaos --seed 7 --operations 100000` runs it and prints what it saw.

A run is a few clients on a few servers over one store that fails in every known way; then the judge reads the log.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path

from dbsync.gate import GateVfs
from dbsync.replica import NotNext
from dbsync.requests import CommitRequest, CommitResult, Statement
from dbsync.slots import Damaged
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.sim_record import Meaning, Read, Record, State, Violation, Write, expect, judge, read_log
from tests.dbsync.sim_run import COUNTERS, DATABASE, Client, Parts, Server, new_key
from tests.dbsync.sim_world import NO_FAULTS, Faults, SimStore, World

OPERATIONS = 40  # in one run
_SCHEMA = (
    Statement("CREATE TABLE marks (id TEXT NOT NULL PRIMARY KEY)"),
    Statement("CREATE TABLE counters (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"),
    *(Statement("INSERT INTO counters VALUES (?, 0)", (number,)) for number in range(COUNTERS)),
)


@dataclass(frozen=True)
class Seen:
    """What a run did."""

    operations: int
    acknowledged: int
    refused: int
    unknown: int
    reads: int
    versions: int


def run(seed: int, parts: Parts | None = None, *, faults: Faults | None = None, operations: int = OPERATIONS) -> Seen:
    """One run; Violation when a promise was broken. The same seed and parts give the same run."""
    world, raw, record, rng = World(seed), MemoryStore(), Record(), random.Random(seed)
    parts = parts or Parts()
    with tempfile.TemporaryDirectory(prefix="chaos-", dir=_memory()) as scratch, _patched(parts):
        vfs = GateVfs()

        def server(name: str, strikes: Faults, changed: Parts) -> Server:
            store = SimStore(world, raw, strikes)
            return Server(world, store, raw, vfs, Path(scratch) / name, changed)

        servers = [server(f"s{number}", faults or Faults(), parts) for number in range(rng.randint(2, 3))]
        witness = server("witness", NO_FAULTS, Parts())
        try:
            world.spawn(lambda: _found(witness, world, record))
            world.run()
            witness.crash()
            pages = rng.randint(2, 5)
            schema_version = [1]
            for number in range(pages):
                client = Client(f"c{number}", world, servers, record, schema_version, operations // pages)
                world.spawn(client.live)
            world.run()
            world.spawn(lambda: _look(witness, world, record))
            world.run()
        except (Damaged, NotNext) as error:
            raise Violation(f"the log is damaged: {error}") from error
        else:
            judge(record, read_log(raw, DATABASE), State(frozenset(), dict.fromkeys(range(COUNTERS), 0), 0))
        finally:
            for one in (*servers, witness):
                one.close()
            vfs.unregister()
    return _seen(record, raw)


@contextmanager
def _patched(parts: Parts) -> Iterator[None]:
    """Applies a mutant's patches."""
    before = [(place, name, getattr(place, name)) for place, name, _ in parts.patches]
    try:
        for place, name, value in parts.patches:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def _found(witness: Server, world: World, record: Record) -> None:
    """The first version: the schema, made in peace."""
    request = CommitRequest(DATABASE, _SCHEMA, new_key(world), schema_version=0, set_schema_version=1)
    answer = witness.commit(request)
    expect(isinstance(answer, CommitResult), f"the schema was refused: {answer!r}")
    record.writes.append(Write(request, Meaning(migrate=1), 0, 1, answer))  # type: ignore[arg-type]


def _look(witness: Server, world: World, record: Record) -> None:
    """A last look from an empty disk, in peace: everything that was acknowledged must be there."""
    began = world.steps
    record.reads.append(Read(None, began, began + 1, witness.read(None)))


def _seen(record: Record, raw: MemoryStore) -> Seen:
    answers = [write.answer for write in record.writes]
    return Seen(
        operations=len(record.writes) + len(record.reads),
        acknowledged=sum(isinstance(answer, CommitResult) for answer in answers),
        refused=sum(not isinstance(answer, CommitResult) and answer is not None for answer in answers),
        unknown=sum(answer is None for answer in answers),
        reads=len(record.reads),
        versions=sum(1 for key in raw.objects if "/db/" in key),
    )


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None


def _share(first: int, seeds: int) -> tuple[Seen, list[str]]:
    total, broken = Seen(0, 0, 0, 0, 0, 0), []
    for seed in range(first, first + seeds):
        try:
            seen = run(seed)
        except Violation as violation:
            broken.append(f"seed {seed}: {violation}")
            continue
        total = Seen(*(a + b for a, b in zip(astuple(total), astuple(seen), strict=True)))
    return total, broken


def main(arguments: list[str]) -> int:
    """Runs seeds until so many operations were done; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.dbsync.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="the first seed")
    parser.add_argument("--operations", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=1)
    chosen = parser.parse_args(arguments)
    seeds = max(1, chosen.operations // OPERATIONS)
    chunk = max(1, min(50, seeds // chosen.processes))
    began = time.monotonic()
    firsts = range(chosen.seed, chosen.seed + seeds, chunk)
    # Spawned: a fork of a process with threads can hang on a lock that one of them held.
    with ProcessPoolExecutor(chosen.processes, multiprocessing.get_context("spawn")) as pool:
        parts = list(pool.map(_share, firsts, [min(chunk, chosen.seed + seeds - first) for first in firsts]))
    total = [sum(column) for column in zip(*(astuple(seen) for seen, _ in parts), strict=True)]
    broken = [text for _, texts in parts for text in texts]
    took_s = time.monotonic() - began
    print(f"seeds {chosen.seed}..{chosen.seed + seeds - 1}: {Seen(*total)} in {took_s:.1f} s")
    for text in broken:
        print(f"VIOLATION {text}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
