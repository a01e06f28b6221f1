"""A storm over render: `python -m tests.chaos.render_storm [--seed 1] [--kills 100]`.

Real render processes, one after the other and sometimes two at once, over real storage, dbsync and object store,
killed -9 mid-job again and again while customers order, watch and cancel. In the end every job has ended once, with
one set of whole videos by its newest attempt. The seed chooses who does what; how it interleaves is the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from tests.chaos.render_storm.customers import Customer, Line
from tests.chaos.render_storm.judge import broken
from tests.chaos.render_storm.killer import MOMENTS, Killer
from tests.chaos.render_storm.town import Town

CUSTOMERS = 3
READY_S = 120.0
END_S = 300.0


async def run(
    town: Town,
    seed: int,
    kills: int,
    moments: Mapping[str, int] = MOMENTS,
    customers: int = CUSTOMERS,
    end_s: float = END_S,
) -> tuple[list[str], Counter[str]]:
    """The whole storm on a town that was not started; what was wrong, and what happened."""
    tenants = [f"customer-{number}" for number in range(customers)]
    town.start()
    async with asyncio.timeout(READY_S):
        while not all([town.answers(port) for port in ("objectstore", "storage", "dbsync")]):  # noqa: ASYNC110, C419
            await asyncio.sleep(0.05)
    town.furnish(tenants)
    line = Line(town)
    killer = Killer(town, line, random.Random(f"{seed} killer"), moments)
    crowd = [Customer(line, tenant, random.Random(f"{seed} {tenant}")) for tenant in tenants]
    stopping = asyncio.Event()
    try:
        town.launch()
        working = [asyncio.create_task(customer.work(stopping)) for customer in crowd]
        await killer.kill(kills)
        stopping.set()
        await asyncio.wait(working, timeout=end_s)
        for task in working:
            if not task.done():
                task.cancel()  # what has not ended is a fault, which the judge names
        failed = [one for one in await asyncio.gather(*working, return_exceptions=True) if isinstance(one, Exception)]
        faults = killer.faults + [f"a customer could not go on: {one!r}" for one in failed]
        faults += [f"works on though nothing is to be done: {one}" for one in town.strangers()]
        assert town.now is not None
        town.kill(town.now)
        town.launch()
        for customer in crowd:
            account = await customer.account(town.object)
            faults += [fault for order in customer.orders for fault in broken(order, account)]
    finally:
        await line.close()
    return faults + town.complaints(), _count(crowd, killer)


def _count(crowd: list[Customer], killer: Killer) -> Counter[str]:
    counts = Counter({f"killed: {moment}": number for moment, number in killer.killed.items()})
    counts["kills"] = killer.killed.total()
    for order in (order for customer in crowd for order in customer.orders):
        counts["jobs"] += 1
        counts["readings"] += len(order.readings)
        counts[f"ended: {order.ending.state if order.ending else 'not'}"] += 1
        counts["jobs of several attempts"] += order.attempts > 1
        counts["attempts at one job, at most"] = max(counts["attempts at one job, at most"], order.attempts)
    return counts


def main(arguments: list[str]) -> int:
    """Runs; 1 when something was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.render_storm", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=100)
    chosen = parser.parse_args(arguments)
    logging.getLogger("chassis").setLevel(logging.ERROR)  # that render is away is no news here
    print(f"storm over render: --seed {chosen.seed} --kills {chosen.kills}", flush=True)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reel-render-storm-") as name:
        town = Town(Path(name))
        try:
            faults, counts = asyncio.run(run(town, chosen.seed, chosen.kills))
        finally:
            town.close()
    for fault in faults[:50]:
        print(f"BROKEN: {fault}")
    for what, number in sorted(counts.items()):
        print(f"  {number:7,}  {what}")
    print(f"{counts['kills']} kills, {len(faults)} faults, {time.monotonic() - began_s:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
