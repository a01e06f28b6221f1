"""Workers are never lost, whenever a job is cancelled."""

from __future__ import annotations

import asyncio

from render.job import State
from tests.fakes.render_database import FakeDatabase
from tests.render.test_jobs import Process


async def test_a_job_cancelled_before_its_first_step_gives_its_worker_back() -> None:
    database = FakeDatabase()
    process = Process(database, workers=1)
    await process.submit("one")
    for _ in range(100):
        known = process.jobs._known["anna", "one"]
        if known.task is not None:
            known.task.cancel()  # as a cancellation does whose answer came in the same turn of the loop
            break
        await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    await process.submit("two")
    (await process.attempts.next()).succeed()
    assert (await process.final("two")).state is State.SUCCEEDED
    await process.kill()
    database.close()
