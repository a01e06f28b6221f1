"""The ledger's guarantees: idempotent submissions, conditional changes, one end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction

import pytest

from chassis.faults import Fault
from chassis.ids import uuid7
from render.job import Ended, Failure, Finished, Job, State
from render.ledger import Ledger
from render.ledger_schema import MIGRATIONS, VERSION
from tests.fakes.render_database import FakeDatabase

OUTPUT = Finished(
    "a.mp4", "out/1/a.mp4", 9, "e", "video/mp4", 1_001_000, 640, 360, Fraction(30000, 1001), 30, "out/1/a.jpg"
)
FAILURE = Failure("render_failed", "It broke.", True)


def job(name: str = "one", tenant: str = "anna", **more: int) -> Job:
    return replace(Job(tenant, name, State.QUEUED, 0, 1, 0, 1000), **more)  # type: ignore[arg-type]


@pytest.fixture
def database() -> Iterator[FakeDatabase]:
    database = FakeDatabase()
    yield database
    database.close()


@pytest.fixture
def ledger(database: FakeDatabase) -> Ledger:
    return Ledger(database, owner="here", tenant_jobs_max=3)


async def test_the_first_call_makes_the_tables_and_two_processes_may_race_for_it(database: FakeDatabase) -> None:
    one, other = (Ledger(database, owner=owner, tenant_jobs_max=3) for owner in "ab")
    assert list(await asyncio.gather(one.get("anna", "x"), other.get("anna", "x"))) == [None, None]


async def test_an_older_ledger_is_brought_up_to_date_with_what_is_in_it(database: FakeDatabase) -> None:
    await database.migrate(0, MIGRATIONS[0], 1)
    row = ("anna", "one", "running", 1, 3, 0, "gone", b"spec", "{}", 1000, 1500, 0, "", "[]")
    sql = f"INSERT INTO jobs VALUES ({', '.join('?' * len(row))})"
    await database.commit(1, [(sql, row)], uuid7())
    one, other = (Ledger(database, owner=owner, tenant_jobs_max=3) for owner in "ab")
    (kept,), _ = await asyncio.gather(one.unfinished(), other.get("anna", "one"))
    assert kept == replace(job(), state=State.RUNNING, attempt=1, transitions=3, started_ms=1500)
    begun = await one.begin(kept, "modal", 10, uuid7(), Ended(failure=FAILURE))
    assert begun is not None and (begun.attempt, begun.engine) == (2, "modal")
    assert (await other.get("anna", "one")) == begun


async def test_a_newer_ledger_is_used_as_it_is(database: FakeDatabase) -> None:
    for version, statements in enumerate(MIGRATIONS):
        await database.migrate(version, statements, version + 1)
    await database.migrate(VERSION, ["CREATE TABLE later (x INTEGER)"], VERSION + 1)
    newer = Ledger(database, owner="here", tenant_jobs_max=3)
    assert (await newer.submit(job(), b"", {}))[0] == job()


async def test_an_attempt_keeps_its_engine_its_calls_and_what_it_cost(ledger: Ledger) -> None:
    await ledger.submit(job(), b"", {})
    first = await ledger.begin(job(), "modal", 10, uuid7())
    assert first is not None and await ledger.calls(first) == {}
    await ledger.keep_call(first, 0, "fc-1", uuid7())
    await ledger.keep_call(first, 1, "fc-2", uuid7())
    await ledger.keep_call(first, 0, "fc-3", uuid7())
    assert await ledger.calls(first) == {0: "fc-3", 1: "fc-2"}
    resumed = await ledger.resume(first, uuid7())
    assert resumed is not None
    assert (resumed.attempt, resumed.engine, resumed.transitions) == (1, "modal", first.transitions + 1)
    assert await ledger.begin(first, "local", 20, uuid7()) is None
    assert await ledger.strays() == []
    second = await ledger.begin(resumed, "local", 30, uuid7())
    assert second is not None and await ledger.calls(second) == {}
    (stray,) = await ledger.strays()
    assert (stray.attempt, stray.calls) == (1, {0: "fc-3", 1: "fc-2"})
    await ledger.ended(stray, Ended(cost_micros=300), 40, uuid7())
    await ledger.finish(second, 50, Ended((OUTPUT,), cost_micros=20), uuid7())
    assert await ledger.strays() == [] and await ledger.cost_micros("anna", "one") == 320


async def test_a_submission_is_idempotent_and_keeps_the_first_specification(ledger: Ledger) -> None:
    first, spec = await ledger.submit(job(), b"spec", {"traceparent": "00-a-b-01"})
    assert (first, spec) == (job(), b"spec")
    again, spec = await ledger.submit(job(submitted_ms=2000), b"other", {})
    assert (again.submitted_ms, spec) == (1000, b"spec")
    assert await ledger.work("anna", "one") == (b"spec", {"traceparent": "00-a-b-01"})
    assert await ledger.get("anna", "one") == first
    assert await ledger.get("berta", "one") is None


async def test_a_tenant_has_a_bound_on_unfinished_jobs_and_known_ids_still_answer(ledger: Ledger) -> None:
    for name in ("one", "two", "three"):
        await ledger.submit(job(name), b"", {})
    with pytest.raises(Fault) as refused:
        await ledger.submit(job("four"), b"", {})
    assert refused.value.reason == "too_many_jobs"
    assert (await ledger.submit(job("three"), b"", {}))[0] == job("three")
    await ledger.submit(job("four", tenant="berta"), b"", {})
    await ledger.cancel("anna", "one", 5)
    await ledger.submit(job("four"), b"", {})


async def test_only_the_newest_attempt_can_finish(ledger: Ledger, database: FakeDatabase) -> None:
    newer = Ledger(database, owner="there", tenant_jobs_max=3)
    await ledger.submit(job(), b"", {})
    old = await ledger.begin(job(), "local", 10, uuid7())
    assert old is not None and (old.state, old.attempt, old.started_ms) == (State.RUNNING, 1, 10)
    (seen,) = await newer.unfinished()
    young = await newer.begin(seen, "local", 20, uuid7())
    assert young is not None and (young.attempt, young.started_ms) == (2, 10)
    assert await ledger.finish(old, 30, Ended(failure=FAILURE), uuid7()) is None
    assert await ledger.put_back(old, uuid7()) is None
    done = await newer.finish(young, 40, Ended((OUTPUT,)), uuid7())
    assert done is not None and (done.state, done.outputs) == (State.SUCCEEDED, (OUTPUT,))
    assert await ledger.finish(old, 50, Ended(failure=FAILURE), uuid7()) is None
    assert await newer.finish(young, 60, Ended(failure=FAILURE), uuid7()) is None
    assert await ledger.get("anna", "one") == done


async def test_of_two_that_begin_the_same_job_one_gets_it(ledger: Ledger) -> None:
    await ledger.submit(job(), b"", {})
    begun = await asyncio.gather(*(ledger.begin(job(), "local", 10, uuid7()) for _ in range(5)))
    assert sum(one is not None for one in begun) == 1


async def test_a_lost_answer_asked_again_with_its_key_is_the_same_answer(
    ledger: Ledger, database: FakeDatabase
) -> None:
    await ledger.submit(job(), b"", {})
    key = uuid7()
    database.lose_answers = 1
    with pytest.raises(Fault):
        await ledger.begin(job(), "local", 10, key)
    begun = await ledger.begin(job(), "local", 10, key)
    assert begun is not None and begun.attempt == 1


async def test_a_cancelled_job_stays_cancelled_and_a_finished_one_finished(ledger: Ledger) -> None:
    for name in ("one", "two"):
        await ledger.submit(job(name), b"", {})
    running = await ledger.begin(job(), "local", 10, uuid7())
    assert running is not None
    cancelled = await ledger.cancel("anna", "one", 20)
    assert cancelled is not None and (cancelled.state, cancelled.finished_ms) == (State.CANCELLED, 20)
    assert await ledger.finish(running, 30, Ended((OUTPUT,)), uuid7()) is None
    assert await ledger.begin(cancelled, "local", 40, uuid7()) is None
    other = await ledger.begin(job("two"), "local", 10, uuid7())
    assert other is not None
    failed = await ledger.finish(other, 20, Ended(failure=FAILURE), uuid7())
    assert failed is not None and failed.failure == FAILURE
    assert await ledger.cancel("anna", "two", 30) == failed
    assert await ledger.cancel("anna", "none", 30) is None


async def test_pages_go_from_the_newest_to_the_oldest(ledger: Ledger) -> None:
    wide = Ledger(ledger._database, owner="here", tenant_jobs_max=100)
    for number in range(7):
        await wide.submit(job(f"j{number}", submitted_ms=1000 + number // 2), b"", {})
    await wide.cancel("anna", "j3", 5)
    await wide.submit(job("strange", tenant="berta"), b"", {})
    names: list[str] = []
    before = None
    while page := await wide.page("anna", unfinished_only=False, before=before, size=3):
        names += [one.job_id for one in page]
        before = page[-1].submitted_ms, page[-1].job_id
    assert names == ["j6", "j5", "j4", "j3", "j2", "j1", "j0"]
    unfinished = await wide.page("anna", unfinished_only=True, before=None, size=10)
    assert [one.job_id for one in unfinished] == ["j6", "j5", "j4", "j2", "j1", "j0"]


async def test_the_unfinished_come_most_urgent_first(ledger: Ledger) -> None:
    await ledger.submit(job("late", submitted_ms=3000), b"", {})
    await ledger.submit(job("early", submitted_ms=1000), b"", {})
    await ledger.submit(job("urgent", submitted_ms=9000, priority=5), b"", {})
    assert [one.job_id for one in await ledger.unfinished()] == ["urgent", "early", "late"]
