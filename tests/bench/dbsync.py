"""Measures dbsync against its goals, beside what it replaces: `python -m tests.bench.dbsync [--only commits]`.

The store is the embedded one in a process of its own, reached over one wire by everybody, and each request takes
`--delay-ms` longer, as one to a store that is that far away does; its bandwidth is loopback's, which flatters the whole
files. A gesture is two updates and an insert. *Beyond* is the time of a commit less its own PUT.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import uvloop

from dbsync.sqlguard import prepare_process
from tests.bench.dbsync_commits import GROUP_DELAY_S, Writes, commits, cost, groups, shown
from tests.bench.dbsync_opens import cold_opens, compaction, service
from tests.bench.dbsync_world import World, percentile, world

__all__ = ["main", "percentile", "table"]

# Bytes of the database; commits of dbsync, of each rival.
SIZES = ((200_000, 200, 40), (1_000_000, 200, 40), (10_000_000, 120, 15), (100_000_000, 60, 4))
SCALE = "tests.bench.dbsync_scale"


@dataclass(frozen=True)
class Goal:
    """A goal of the design, what was measured for it, and whether that is good enough."""

    what: str
    wanted: str
    measured: str
    met: bool


@dataclass
class Report:
    """What the sections found about the goals."""

    delay_s: float
    largest: bool
    goals: list[Goal] = field(default_factory=list)

    def goal(self, what: str, wanted: str, measured: str, met: bool) -> None:
        """Adds one."""
        self.goals.append(Goal(what, wanted, measured, met))


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints it."""
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    print(f"\n{title}")
    for row in (heads, *rows):
        print("  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)), flush=True)


async def memory_section(here: World, report: Report) -> None:
    """First, while this process is small: what it forks and copies is none of the service's."""
    found = await service(here)
    p50, p99 = (percentile(found.beyond_s, share) * 1000 for share in (0.5, 0.99))
    idle_mb, each_kb = found.idle_bytes / 1e6, found.database_bytes / 1000
    table(
        "a real service",
        ("idle MB", "KB per open 1 MB database", "commit over gRPC, beyond its PUT: p50 ms", "p99 ms"),
        [[f"{idle_mb:.1f}", f"{each_kb:.0f}", f"{p50:.1f}", f"{p99:.1f}"]],
    )
    report.goal("memory, idle", "≤ 64 MB", f"{idle_mb:.1f} MB", idle_mb <= 64)
    report.goal("memory per open 1 MB database", "≤ 300 KB", f"{each_kb:.0f} KB", each_kb <= 300)


async def commits_section(here: World, report: Report) -> None:
    """One page's gestures, by the size of the database."""
    found: list[Writes] = []
    for size, count, rivals in SIZES:
        if report.largest or size < 100_000_000:
            found += await commits(here, size, report.delay_s, count, rivals)
    heads = ("database", "", "PUT", "GET", "bytes", "total p50 ms", "p99", "beyond p50 ms", "p99", "processor ms", "of")
    table(f"one gesture, store at {report.delay_s * 1000:.0f} ms", heads, [shown(one) for one in found])
    mine = [one for one in found if one.who == "dbsync"]
    exact = all(one.puts == 1 and one.gets == 0 for one in mine)
    counted = " ".join(f"{one.puts:.2f}+{one.gets:.2f}" for one in mine)
    report.goal("operations per warm commit", "1 PUT", f"PUT+GET {counted}", exact)
    for name, share, limit_ms in (("p50", 0.5, 2.0), ("p99", 0.99, 15.0)):
        values = [percentile(one.beyond, share) * 1000 for one in mine]
        text = " ".join(f"{value:.1f}" for value in values)
        report.goal(f"time beyond the PUT, {name}", f"≤ {limit_ms:.0f} ms", f"{text} ms", max(values) <= limit_ms)
    sent = [one.sent_bytes for one in mine]
    text = " ".join(f"{value:,.0f}" for value in sent)
    report.goal("bytes per gesture, at every size", "≤ 6 KB", text, max(sent) <= 6000)


async def opens_section(here: World, report: Report) -> None:
    """From an empty disk to the first answer."""
    rows = []
    for deltas, trips, seconds in await cold_opens(here, report.delay_s):
        beyond_ms = (seconds - trips * report.delay_s) * 1000
        rows.append([str(deltas), f"{seconds * 1000:.0f}", str(trips), f"{beyond_ms:.0f}"])
        if deltas in (0, 32):
            limit_ms = 40 if deltas else 20
            wanted = f"≤ {trips} round trip{'s' if trips > 1 else ''} + {limit_ms} ms"
            report.goal(f"cold open of 1 MB, {deltas} deltas", wanted, f"+ {beyond_ms:.0f} ms", beyond_ms <= limit_ms)
    heads = ("deltas", "ms", "round trips", "beyond them ms")
    table(f"cold open of 1 MB, store at {report.delay_s * 1000:.0f} ms", heads, rows)


async def cost_section(here: World, report: Report) -> None:
    """What R2 would bill."""
    rows = await cost(here)
    table(
        "1,000 commits of 1 MB with a validated read each, compaction as it is due",
        ("", "PUT", "LIST", "GET", "HEAD", "sent", "R2 operations"),
        rows,
    )
    dollars = float(rows[0][-1].removeprefix("$"))
    report.goal("1,000 commits with a read each", "≤ $0.0052", rows[0][-1], dollars <= 0.0052)


async def groups_section(here: World, report: Report) -> None:
    """Many pages on one database."""
    heads = ("pages", "commits/s", "commits per PUT", "p50 ms", "p99 ms")
    table(f"one database, many pages, store at {GROUP_DELAY_S * 1000:.0f} ms", heads, await groups(here))


async def compaction_section(here: World, report: Report) -> None:
    """The most memory that one database can need."""
    if not report.largest:
        return
    size, before, most, seconds = await compaction(here)
    row = [f"{size / 1e6:.0f} MB", f"{before / 1e6:.0f}", f"{most / 1e6:.0f}", f"{seconds:.1f}"]
    table("a real service that opens and compacts", ("database", "MB before", "MB at most", "s"), [row])


SECTIONS: dict[str, Callable[[World, Report], Awaitable[None]]] = {
    "memory": memory_section,
    "commits": commits_section,
    "opens": opens_section,
    "cost": cost_section,
    "groups": groups_section,
    "compaction": compaction_section,
}


async def measure(report: Report, only: str) -> None:
    """The sections, each over a fresh store, and then the goals."""
    for name, section in SECTIONS.items():
        if only in name:
            with world() as here:
                await section(here, report)
    rows = [[goal.what, goal.wanted, goal.measured, "met" if goal.met else "MISSED"] for goal in report.goals]
    if rows:
        table("goals", ("", "wanted", "measured", ""), rows)


def main(arguments: list[str]) -> int:
    """Prints the tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.dbsync", description=__doc__)
    parser.add_argument("--delay-ms", type=float, default=30.0)
    parser.add_argument("--only", default="", help=f"one section: {', '.join(SECTIONS)}, scale")
    parser.add_argument("--small", action="store_true", help="without 100 MB")
    chosen = parser.parse_args(arguments)
    prepare_process()
    began_s = time.perf_counter()
    uvloop.run(measure(Report(chosen.delay_ms / 1000, not chosen.small), chosen.only))
    if chosen.only in "scale" and importlib.util.find_spec(SCALE) is not None:
        subprocess.run([sys.executable, "-m", SCALE], check=True)
    load, cores = os.getloadavg()[0], os.cpu_count()
    print(f"\n{time.perf_counter() - began_s:.0f} s; load average {load:.1f} on {cores} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
