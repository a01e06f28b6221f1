"""The pool: bounded at both ends, honest about jobs that were abandoned."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar

import pytest

from chassis.faults import Fault, Kind
from storage.pool import Pool

word: ContextVar[str] = ContextVar("word", default="")


async def test_results_errors_and_context() -> None:
    pool = Pool(1, 0)
    word.set("mine")
    assert await pool.run(word.get) == "mine"
    with pytest.raises(ZeroDivisionError):
        await pool.run(lambda: 1 / 0)
    assert await pool.run(lambda: 7) == 7
    pool.close()


async def test_a_full_pool_refuses() -> None:
    pool, go = Pool(2, 3), threading.Event()
    jobs = [asyncio.create_task(pool.run(go.wait)) for _ in range(5)]
    await asyncio.sleep(0)
    with pytest.raises(Fault) as caught:
        await pool.run(lambda: None)
    assert (caught.value.kind, caught.value.reason) == (Kind.EXHAUSTED, "rate_limited")
    assert caught.value.retry_after_s
    go.set()
    assert await asyncio.gather(*jobs) == [True] * 5
    assert await pool.run(lambda: "room again") == "room again"
    pool.close()


async def test_abandoned_jobs_stay_counted() -> None:
    pool, go, began = Pool(1, 0), threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        go.wait(60)

    job = asyncio.create_task(pool.run(work))
    assert await asyncio.to_thread(began.wait, 60)
    job.cancel()
    with pytest.raises(asyncio.CancelledError):
        await job
    with pytest.raises(Fault):
        await pool.run(lambda: None)
    go.set()
    async with asyncio.timeout(60):
        while True:
            if await has_room(pool):
                break
            await asyncio.sleep(0.005)
    pool.close()


async def has_room(pool: Pool) -> bool:
    """Whether it takes a job."""
    try:
        await pool.run(lambda: None)
    except Fault:
        return False
    return True


async def test_abandoned_before_it_began() -> None:
    pool, go, ran = Pool(1, 1), threading.Event(), []
    first = asyncio.create_task(pool.run(go.wait))
    await asyncio.sleep(0)
    second = asyncio.create_task(pool.run(lambda: ran.append(1)))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    third = asyncio.create_task(pool.run(lambda: "third"))
    await asyncio.sleep(0)
    go.set()
    assert await first
    assert await third == "third"
    assert not ran
    pool.close()
