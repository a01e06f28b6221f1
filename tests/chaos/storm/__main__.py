"""A storm over dbsync: `python -m tests.chaos.storm [--seed 1] [--kills 1000]`.

Real dbsync processes over a real store: killed -9 at random and at chosen moments while several authors of several
databases write, the store killed and failing too. After every so many kills a judge reads the logs from the bucket.
The seed chooses who does what when; how processes interleave is the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from chassis.faults import Fault
from tests.chaos.storm import judge as judges
from tests.chaos.storm import wire
from tests.chaos.storm.authors import Author, Line
from tests.chaos.storm.deeds import Book, Done, Refused
from tests.chaos.storm.fleet import Fleet
from tests.chaos.storm.judge import Judge
from tests.chaos.storm.killer import Killer, weather

PROCESSES = 3
AUTHORS = 4
DATABASES = 3
EPOCH_KILLS = 80
CALM_BEGINNINGS = 0.5  # of the epochs: nobody is killed until the new databases have their schema
LIVES = 3  # epochs, after which a database's place is taken by a new one


@dataclass
class Stage:
    """A database with those who work on it."""

    book: Book
    judge: Judge
    authors: list[Author]
    epochs: int = 0


@dataclass
class Storm:
    """A storm on a started fleet."""

    fleet: Fleet
    line: Line
    seed: int
    killer: Killer
    stages: list[Stage] = field(default_factory=list)
    made: int = 0
    weather: Counter[str] = field(default_factory=Counter)
    totals: Counter[str] = field(default_factory=Counter)

    async def epoch(self, kills: int) -> list[str]:
        """Some kills and their judgement."""
        ending = [stage for stage in self.stages if stage.epochs >= LIVES]
        self.stages = [stage for stage in self.stages if stage.epochs < LIVES]
        while len(self.stages) < DATABASES + 2:
            self.stages.append(self._new_stage())
        *crowd, aim, pack = self.stages
        stopping = asyncio.Event()
        chance = random.Random(f"{self.seed} weather {self.made}")
        names = [stage.book.database for stage in crowd]
        blowing = asyncio.create_task(weather(self.fleet, chance, names, self.weather))
        founding = [asyncio.create_task(a.found()) for stage in self.stages for a in stage.authors if not a.base]
        working = [asyncio.create_task(author.work(stopping)) for stage in crowd for author in stage.authors]
        if not self.killer.killed or chance.random() < CALM_BEGINNINGS:
            await asyncio.gather(*founding)
        deleting = [asyncio.create_task(stage.authors[0].delete()) for stage in ending]
        await self.killer.kill(kills, aim.authors[0], pack.authors[0])
        stopping.set()
        blowing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await blowing
        await self.killer.peace()
        await asyncio.gather(*founding, *working, *deleting)
        faults = [fault for stage in self.stages for fault in await self._agree(stage)]
        for stage in self.stages:
            faults += await asyncio.to_thread(self._judge, stage)
            stage.epochs += 1
        for stage in ending:
            faults += await self._gone(stage.book)
        return faults + self.fleet.complaints()

    async def _agree(self, stage: Stage) -> list[str]:
        """What every process says now, when nobody writes."""
        author = stage.authors[0]
        said = [await author.read(number, patience_s=30.0) for number in range(PROCESSES)]
        if None in said:
            return [f"{stage.book.database}: a process does not answer though nothing is wrong"]
        different = {(one.version, str(one.content)) for one in said if one is not None}
        if len(different) != 1:
            return [f"{stage.book.database}: the processes read different things: {different}"]
        return []

    async def _gone(self, book: Book) -> list[str]:
        """Whether a deleted database is gone, for every process and in the bucket."""
        self.totals["databases deleted"] += 1
        faults = []
        for number in range(PROCESSES):
            try:
                await self.line.call(number, "Query", wire.read(book.database, None), 30.0)
                faults.append(f"{book.database}: process {number} reads it after it was deleted")
            except Fault as fault:
                if fault.reason != "database_deleted":
                    faults.append(f"{book.database}: process {number} answered {fault!r} after it was deleted")
        log = await asyncio.to_thread(self.fleet.log_of, book.database, 0, judges.slot_key)
        return faults + judges.ended(log, book)

    def _judge(self, stage: Stage) -> list[str]:
        book, judge = stage.book, stage.judge
        before, shared = judge.version, judge.shared
        faults = judge.judge(self.fleet.log_of(book.database, before, judges.slot_key))
        if self.fleet.slots_of(book.database) != judge.version:
            faults.append(f"{book.database}: the log has slots beyond {judge.version}")
        newest = max((one.version for one in book.readings), default=0)
        if newest != judge.version:
            faults.append(f"{book.database}: the processes read version {newest}, the log ends at {judge.version}")
        self.totals["versions"] += judge.version - before
        self.totals["versions of several commits"] += judge.shared - shared
        return faults

    def _new_stage(self) -> Stage:
        self.made += 1
        book = Book(f"storm-{self.made}")
        authors = [
            Author(self.line, book, f"author {name}", random.Random(f"{self.seed} {self.made} {name}"))
            for name in range(AUTHORS)
        ]
        return Stage(book, Judge(book), authors, epochs=self.made % LIVES if self.made <= DATABASES else 0)

    def count(self, books: Sequence[Book]) -> Counter[str]:
        """What happened, in numbers."""
        found = Counter(self.totals)
        for book in books:
            found["reads"] += len(book.readings)
            for deed in book.deeds.values():
                if isinstance(deed.answer, Done):
                    found["acknowledged"] += 1
                    found["found by its key"] += deed.answer.replayed
                    found[f"acknowledged: {deed.kind.value}"] += 1
                elif isinstance(deed.answer, Refused):
                    found[f"refused: {deed.answer.reason}"] += 1
                else:
                    found["never answered"] += 1
                found["tried again"] += deed.attempts > 1
        return found


async def run(fleet: Fleet, seed: int, kills: int, epoch_kills: int = EPOCH_KILLS) -> tuple[list[str], Counter[str]]:
    """The whole storm; what was wrong, and what happened. Ends at the first epoch in which something was wrong."""
    line = Line(fleet)
    storm = Storm(fleet, line, seed, Killer(fleet, line, random.Random(f"{seed} killer")))
    books: dict[str, Book] = {}
    faults: list[str] = []
    try:
        fleet.start()
        await storm.killer.peace()
        while storm.killer.killed.total() < kills and not faults:
            faults = await storm.epoch(min(epoch_kills, kills - storm.killer.killed.total()))
            books |= {stage.book.database: stage.book for stage in storm.stages}
            done = storm.count(list(books.values()))
            print(f"  {storm.killer.killed.total()} kills, {done['acknowledged']} acknowledged", flush=True)
    finally:
        await line.close()
    counts = storm.count(list(books.values()))
    counts["kills of the store"] = storm.killer.store_killed
    counts.update({f"killed: {moment}": number for moment, number in storm.killer.killed.items()})
    counts["kills"] = storm.killer.killed.total()
    counts["faults of the store"] = storm.weather.total()
    return faults, counts


def main(arguments: list[str]) -> int:
    """Runs; 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=1000)
    chosen = parser.parse_args(arguments)
    logging.getLogger("chassis.peers").setLevel(logging.ERROR)  # that processes are away is no news here
    print(f"storm over dbsync: --seed {chosen.seed} --kills {chosen.kills}", flush=True)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reel-storm-") as name:
        fleet = Fleet(Path(name), PROCESSES)
        try:
            faults, counts = asyncio.run(run(fleet, chosen.seed, chosen.kills))
        finally:
            fleet.close()
    for fault in faults[:50]:
        print(f"BROKEN: {fault}")
    for what, number in sorted(counts.items()):
        print(f"  {number:7,}  {what}")
    print(f"{counts['kills']} kills, {len(faults)} faults, {time.monotonic() - began_s:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
