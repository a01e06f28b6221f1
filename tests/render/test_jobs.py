"""Jobs in a process and across processes: one end each, whatever is lost, killed, cancelled or handed over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from types import SimpleNamespace

import pytest

from chassis import faults
from chassis.faults import Fault
from chassis.process import Life
from render import jobs as jobs_module
from render import patience
from render.job import Job, Live, State
from render.jobs import INTERRUPTIONS_MAX, Jobs, sequence
from render.ledger import Ledger
from tests.fakes.render_attempts import Attempt, FakeAttempts, output
from tests.fakes.render_database import FakeDatabase


class Process:
    """One process of render over a database; `kill` ends it as SIGKILL would."""

    def __init__(self, database: FakeDatabase, workers: int = 1, quota: int = 1000) -> None:
        self.life = Life()
        self.attempts = FakeAttempts()
        self.ledger = Ledger(database, owner="process", tenant_jobs_max=20)
        self.jobs = Jobs(
            self.ledger, self.attempts, self.life, workers=workers, attempts_max=3, tenant_running_max=quota
        )
        self.running = self.life.spawn(self.jobs.run(), "run")

    async def submit(
        self, name: str = "one", *, spec: bytes = b"spec", priority: int = 0, at: int = 1000, tenant: str = "anna"
    ) -> Job:
        return (await self.jobs.submit(Job(tenant, name, State.QUEUED, 0, 1, priority, at), spec))[0]

    async def kill(self) -> None:
        await self.life.end()

    async def final(self, name: str = "one") -> Job:
        async with asyncio.timeout(60), aclosing(self.jobs.watch("anna", name, 0)) as states:  # type: ignore[type-var]
            async for job, _ in states:
                if job.state.final:
                    return job
        raise AssertionError("a watch ends with a final state")


Start = Callable[..., Process]


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> FakeDatabase:
    monkeypatch.setattr(patience, "AGAIN_S", (0.001,))
    monkeypatch.setattr(jobs_module, "_ELSEWHERE_S", 0.005)
    monkeypatch.setattr(jobs_module, "retry_delay_s", lambda attempt: 0.001)
    return FakeDatabase()


@pytest.fixture
async def start(database: FakeDatabase) -> AsyncIterator[Start]:
    async with AsyncExitStack() as stack:

        def begin(workers: int = 1, quota: int = 1000) -> Process:
            process = Process(database, workers, quota)
            stack.push_async_callback(process.kill)
            return process

        yield begin
    database.close()


async def test_a_job_runs_and_ends_with_its_outputs(start: Start) -> None:
    process = start()
    assert (await process.submit()).state is State.QUEUED
    attempt = await process.attempts.next()
    assert (attempt.job.state, attempt.job.attempt) == (State.RUNNING, 1)
    attempt.succeed()
    done = await process.final()
    assert (done.state, done.outputs) == (State.SUCCEEDED, (output(done),))
    assert await process.ledger.get("anna", "one") == done
    live = (await process.jobs.get("anna", "one"))[1]
    assert (live.phase, live.progress, live.eta_s) == ("", 1.0, None)


async def test_a_submission_again_is_the_same_job_and_another_specification_is_refused(start: Start) -> None:
    process = start()
    first = await process.submit()
    await process.attempts.next()
    again = await process.submit()
    assert (again.job_id, again.submitted_ms, again.attempt) == (first.job_id, first.submitted_ms, 1)
    with pytest.raises(Fault) as refused:
        await process.submit(spec=b"other")
    assert refused.value.reason == "job_mismatch"
    assert process.attempts.begun.empty()


async def test_what_may_be_retried_is_until_attempts_run_out(start: Start) -> None:
    process = start()
    await process.submit()
    for number in (1, 2, 3):
        attempt = await process.attempts.next()
        assert attempt.job.attempt == number
        attempt.fail("timed_out")
    done = await process.final()
    assert done.failure is not None
    assert (done.state, done.attempt, done.failure.code) == (State.FAILED, 3, "timed_out")
    assert process.attempts.begun.empty()


async def test_what_will_not_get_better_fails_at_once(start: Start) -> None:
    process = start()
    await process.submit()
    (await process.attempts.next()).fail("source_unreadable", retryable=False)
    done = await process.final()
    assert done.failure is not None and (done.attempt, done.failure.code) == (1, "source_unreadable")


async def test_a_bug_and_a_store_that_is_away_are_tried_again(start: Start) -> None:
    process = start()
    await process.submit()
    (await process.attempts.next()).raise_(KeyError("a bug"))
    (await process.attempts.next()).raise_(faults.unavailable("peer_gone", "Nobody there."))
    (await process.attempts.next()).raise_(faults.unavailable("peer_gone", "Nobody there."))
    done = await process.final()
    assert done.failure is not None and (done.failure.code, done.failure.retryable) == ("store_unavailable", True)


async def test_watching(start: Start) -> None:
    process = start()
    await process.submit()
    attempt = await process.attempts.next()
    seen: list[tuple[Job, Live]] = []

    async def watch() -> None:
        async for job, live in process.jobs.watch("anna", "one", 0):
            seen.append((job, live))

    watching = asyncio.create_task(watch())
    for phase, share in (("reading", 0.0), ("rendering", 0.3), ("rendering", 0.2), ("rendering", 0.6)):
        await asyncio.sleep(0.01)
        attempt.progress(phase, share)
    await asyncio.sleep(0.01)
    attempt.fail()
    second = await process.attempts.next()
    second.progress("rendering", 0.1)
    await asyncio.sleep(0.01)
    second.succeed()
    async with asyncio.timeout(60):
        await watching
    shares = [live.progress for _, live in seen]
    assert shares == sorted(shares) and shares[-1] == 1.0
    numbers = [sequence(job, live) for job, live in seen]
    assert numbers == sorted(set(numbers))
    assert seen[-1][0].state is State.SUCCEEDED and {live.phase for _, live in seen} >= {"rendering", ""}
    last = sequence(*seen[-1])
    again = [job.state async for job, _ in process.jobs.watch("anna", "one", last)]
    assert again == [State.SUCCEEDED]


async def test_lost_answers_change_nothing(start: Start, database: FakeDatabase) -> None:
    process = start()
    await process.submit()
    database.lose_answers, database.refuse = 1, 2
    attempt = await process.attempts.next()
    assert attempt.job.attempt == 1
    database.lose_answers, database.refuse = 3, 3
    attempt.succeed()
    await database.recovered()
    done = await process.final()
    assert (done.state, done.attempt, done.outputs) == (State.SUCCEEDED, 1, (output(attempt.job),))


async def test_a_zombie_cannot_finish(start: Start) -> None:
    old, new = start(), start()
    await old.submit()
    zombie = await old.attempts.next()
    await new.jobs.take_over()
    attempt = await new.attempts.next()
    assert attempt.job.attempt == 2
    watching = asyncio.create_task(old.final())
    zombie.succeed()
    await asyncio.sleep(0.02)
    assert (await new.jobs.get("anna", "one"))[0].state is State.RUNNING
    attempt.succeed()
    done = await new.final()
    assert [one.key for one in done.outputs] == ["out/2/reel.mp4"]
    assert await watching == await old.final() == done


async def test_what_a_killed_process_left_is_taken_up_again(start: Start) -> None:
    old = start(workers=2)
    for name in ("one", "two", "three"):
        await old.submit(name)
    await old.attempts.next()
    await old.attempts.next()
    await old.kill()
    new = start(workers=3)
    await new.jobs.take_over()
    for _ in range(3):
        (await new.attempts.next()).succeed()
    for name in ("one", "two", "three"):
        assert (await new.final(name)).state is State.SUCCEEDED


async def test_a_stopping_process_hands_over(start: Start) -> None:
    old = start()
    await old.submit()
    attempt = await old.attempts.next()
    watching = asyncio.create_task(old.final())
    await asyncio.sleep(0.01)
    await old.jobs.let_go()
    with pytest.raises(Fault) as let_go:
        await watching
    assert let_go.value.reason == "stopping"
    await old.jobs.stop()
    assert attempt.cancelled
    job = await old.ledger.get("anna", "one")
    assert job is not None and job.state is State.QUEUED
    new = start()
    await new.jobs.take_over()
    (await new.attempts.next()).succeed()
    assert (await new.final()).attempt == 2


async def test_a_job_that_ends_its_process_each_time_is_given_up(start: Start) -> None:
    process = start()
    await process.submit()
    for _ in range(3 + INTERRUPTIONS_MAX):
        await process.attempts.next()
        await process.kill()
        process = start()
        await process.jobs.take_over()
    done = await process.final()
    assert done.failure is not None and done.failure.code == "render_failed"


async def test_cancelling_ends_the_attempt_before_it_answers(start: Start) -> None:
    process = start()
    await process.submit()
    attempt = await process.attempts.next()
    job, _ = await process.jobs.cancel("anna", "one")
    assert job.state is State.CANCELLED and attempt.cancelled
    assert (await process.final()).state is State.CANCELLED
    assert (await process.jobs.cancel("anna", "one"))[0] == job
    with pytest.raises(Fault) as unknown:
        await process.jobs.cancel("anna", "none")
    assert unknown.value.reason == "job_not_found"


async def test_a_cancelled_job_that_waits_never_begins_and_the_worker_goes_on(start: Start) -> None:
    process = start()
    for name in ("one", "two", "three"):
        await process.submit(name)
    first = await process.attempts.next()
    await process.jobs.cancel("anna", "two")
    await process.jobs.cancel("anna", "one")
    assert first.cancelled
    third = await process.attempts.next()
    assert third.job.job_id == "three"
    third.succeed()
    assert (await process.final("three")).state is State.SUCCEEDED
    assert process.attempts.begun.empty()


async def test_a_finished_job_cannot_be_cancelled(start: Start) -> None:
    process = start()
    await process.submit()
    (await process.attempts.next()).succeed()
    done = await process.final()
    assert (await process.jobs.cancel("anna", "one"))[0] == done


async def test_workers_are_bounded_and_the_urgent_go_first(start: Start) -> None:
    process = start(workers=2)
    for number in range(4):
        await process.submit(f"j{number}", at=1000 + number)
    begun = [await process.attempts.next() for _ in range(2)]
    await process.submit("urgent", priority=9, at=9000)
    begun[0].succeed()
    urgent = await process.attempts.next()
    assert urgent.job.job_id == "urgent"
    for attempt in (begun[1], urgent):
        attempt.succeed()
    for _ in range(2):
        (await process.attempts.next()).succeed()
    for name in ("j0", "j1", "j2", "j3", "urgent"):
        assert (await process.final(name)).state is State.SUCCEEDED
    assert process.attempts.most_running == 2


async def test_a_tenant_beyond_its_quota_waits_and_others_go_on(start: Start) -> None:
    process = start(workers=3, quota=2)
    for name in ("one", "two", "three"):
        await process.submit(name)
    first, second = await process.attempts.next(), await process.attempts.next()
    await process.submit("other", tenant="bert", at=9000)
    other = await process.attempts.next()
    assert [one.job.tenant for one in (first, second, other)] == ["anna", "anna", "bert"]
    assert process.attempts.running == 3
    other.succeed()
    await asyncio.sleep(0.02)
    assert process.attempts.begun.empty()
    first.succeed()
    assert (await process.attempts.next()).job.job_id == "three"


async def test_a_pause_keeps_no_worker(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs_module, "retry_delay_s", lambda attempt: 3600.0)
    process = start(workers=1)
    await process.submit("one")
    await process.submit("two", at=2000)
    (await process.attempts.next()).fail()
    second = await process.attempts.next()
    assert second.job.job_id == "two"
    job, live = await process.jobs.get("anna", "one")
    assert (job.state, job.attempt, live.phase, live.eta_s) == (State.RUNNING, 1, "queued", None)
    second.succeed()
    cancelled, _ = await process.jobs.cancel("anna", "one")
    assert cancelled.state is State.CANCELLED
    await process.submit("three")
    assert (await process.attempts.next()).job.job_id == "three"


async def test_what_is_kept_of_a_job_is_forgotten_at_its_end_and_not_before(start: Start) -> None:
    process = start(workers=2)
    for at, name in enumerate(("done", "failed", "cancelled", "stopped")):
        await process.submit(name, at=1000 + at)
    done, failed = await process.attempts.next(), await process.attempts.next()
    failed.fail()
    cancelled = await process.attempts.next()
    assert process.attempts.forgotten == []
    await process.jobs.cancel("anna", "cancelled")
    assert cancelled.cancelled and process.attempts.forgotten == ["cancelled"]
    done.succeed()
    await process.final("done")
    stopped, again = sorted([await process.attempts.next() for _ in range(2)], key=lambda one: one.job.attempt)
    again.fail(retryable=False)
    assert (await process.final("failed")).state is State.FAILED and stopped.job.job_id == "stopped"
    await process.jobs.stop()
    assert process.attempts.forgotten == ["cancelled", "done", "failed"]
    new = start()
    await new.jobs.take_over()
    assert new.attempts.left == ["stopped"]


async def test_a_process_that_stops_in_a_pause_hands_over_too(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    old = start()
    monkeypatch.setattr(jobs_module, "retry_delay_s", lambda attempt: 3600.0)
    await old.submit("one")
    await old.submit("two", at=2000)
    (await old.attempts.next()).fail()
    await old.attempts.next()
    await old.jobs.stop()
    for name in ("one", "two"):
        job = await old.ledger.get("anna", name)
        assert job is not None and job.state is State.QUEUED
    new = start()
    await new.jobs.take_over()
    assert [(await new.attempts.next()).job.attempt] == [2]


async def test_the_time_left_is_that_of_the_attempt(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress does not go back with a new attempt; what it still takes is reckoned anew."""
    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], time_ns=time.time_ns)
    process = start()

    def go(attempt: Attempt, until_s: float) -> list[float | None]:
        begin_s, etas = now[0], []
        while now[0] - begin_s < until_s:
            attempt.progress("rendering", (now[0] - begin_s) / 100)
            etas.append(process.jobs.live(attempt.job).eta_s)
            now[0] += 1
        return etas

    await process.submit()
    first = await process.attempts.next()
    with monkeypatch.context() as patch:
        patch.setattr("render.jobs.time", clock)
        assert go(first, 80)[-1] == pytest.approx(21)
    first.fail()
    second = await process.attempts.next()
    with monkeypatch.context() as patch:
        patch.setattr("render.jobs.time", clock)
        etas = go(second, 20)
    assert etas[0] is None and etas[-1] == pytest.approx(81)
    assert process.jobs.live(second.job).progress == pytest.approx(0.79)
