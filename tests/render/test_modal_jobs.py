"""Jobs whose attempts outlive the process that began them: taken up again, ended when nobody waits, done once."""

from __future__ import annotations

import asyncio
import itertools
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from chassis import ids
from chassis.process import Life
from reel.render.v1 import render_pb2 as pb
from render import jobs as jobs_module
from render import patience
from render.attempts import Attempts
from render.clients.storage import Storage
from render.engines import local
from render.engines.container import stamp_key
from render.engines.port import WAITING
from render.job import ENGINE_AWAY, Job, State
from render.jobs import INTERRUPTIONS_MAX, Jobs
from render.ledger import Ledger
from render.rpc import messages
from tests.fakes.modal_plane import Plane
from tests.fakes.object_store import BUCKET, object_store
from tests.fakes.render_attempts import FakeAttempts
from tests.fakes.render_database import FakeDatabase
from tests.render import golden
from tests.render.engine_world import World, eventually, long, modal_engine, short
from tests.render.making import Making
from tests.render.services import client, services

pytestmark = pytest.mark.xdist_group("modal")
GUARD_S = 90


class Process:
    """One process of render over a database; `kill` ends it as SIGKILL would."""

    def __init__(self, database: FakeDatabase, attempts: FakeAttempts | Attempts) -> None:
        self.life = Life()
        self.attempts = attempts
        self.ledger = Ledger(database, owner=ids.uuid7(), tenant_jobs_max=20)
        self.jobs = Jobs(self.ledger, attempts, self.life, workers=2, attempts_max=3)
        self.running = self.life.spawn(self.jobs.run(), "run")
        self.phases: list[str] = []

    @property
    def fake(self) -> FakeAttempts:
        assert isinstance(self.attempts, FakeAttempts)
        return self.attempts

    async def submit(self, spec: bytes = b"spec", name: str = "one") -> Job:
        return (await self.jobs.submit(Job("dev-local", name, State.QUEUED, 0, 1, 0, 1000), spec))[0]

    async def seen(self, phase: str) -> None:
        """Waits until a watcher is told of a phase."""
        async with asyncio.timeout(GUARD_S), aclosing(self.jobs.watch("dev-local", "one", 0)) as states:  # type: ignore[type-var]
            async for _, live in states:
                if live.phase == phase:
                    return
        raise AssertionError(f"the job ended, and never was {phase}")

    async def final(self) -> Job:
        async with asyncio.timeout(GUARD_S), aclosing(self.jobs.watch("dev-local", "one", 0)) as states:  # type: ignore[type-var]
            async for job, _ in states:
                if job.state.final:
                    return job
        raise AssertionError("a watch ends with a final state")

    async def kill(self) -> None:
        await self.life.end()


Start = Callable[..., Process]


@pytest.fixture
async def start(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Start]:
    monkeypatch.setattr(patience, "AGAIN_S", (0.01,))
    monkeypatch.setattr(jobs_module, "_ELSEWHERE_S", 0.005)
    monkeypatch.setattr(jobs_module, "retry_delay_s", lambda attempt: 0.001)
    database = FakeDatabase()
    async with AsyncExitStack() as stack:

        def begin(attempts: FakeAttempts | Attempts | None = None) -> Process:
            process = Process(database, attempts or FakeAttempts("modal"))
            stack.push_async_callback(process.kill)
            return process

        yield begin
    database.close()


def over_modal(world: World, **more: str) -> Attempts:
    """Attempts as a process has them with Modal enabled."""
    here = local.Engine(120, 60, golden.FFMPEG)
    engines = (modal_engine(**more), here)
    return Attempts(cast(Storage, world.access), engines, here, messages.decode_spec, world.folder, world.kept)


async def nothing_left(process: Process) -> None:
    """Waits until the ledger knows of no attempt that nobody waits for."""
    async with asyncio.timeout(GUARD_S):
        while True:
            if not await process.ledger.strays():
                return
            await asyncio.sleep(0.01)


async def test_an_attempt_goes_on_with_the_calls_that_were_kept(start: Start) -> None:
    old = start()
    await old.submit()
    attempt = await old.fake.next()
    assert (attempt.job.engine, attempt.calls.known) == ("modal", {})
    await attempt.calls.keep(0, "fc-1")
    await attempt.calls.keep(0, "fc-2")
    await old.jobs.stop()
    assert attempt.cancelled and old.fake.ended == []
    job = await old.ledger.get("dev-local", "one")
    assert job is not None and job.state is State.RUNNING
    new = start()
    await new.jobs.take_over()
    again = await new.fake.next()
    assert (again.job.attempt, again.calls.known) == (1, {0: "fc-2"})
    again.succeed()
    assert (await new.final()).attempt == 1
    assert await new.ledger.cost_micros("dev-local", "one") == 7
    assert await new.ledger.strays() == []


async def test_of_two_processes_that_follow_an_attempt_one_finishes_it(start: Start) -> None:
    old = start()
    await old.submit()
    first = await old.fake.next()
    new = start()
    await new.jobs.take_over()
    second = await new.fake.next()
    first.fail("timed_out")
    second.succeed()
    assert (await new.final()).state is State.SUCCEEDED
    assert (await old.final()).state is State.SUCCEEDED
    assert old.fake.begun.empty()


async def test_a_pause_that_ends_while_turns_are_looked_at_is_not_missed(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clock that goes on at each look, the job is not ready at the first look after its pause began."""
    looks = itertools.count()
    monkeypatch.setattr(jobs_module, "time", SimpleNamespace(monotonic=lambda: next(looks), time_ns=time.time_ns))
    monkeypatch.setattr(jobs_module, "retry_delay_s", lambda attempt: 1.5)
    process = start()
    await process.submit()
    (await process.fake.next()).fail()
    (await process.fake.next()).succeed()
    assert (await process.final()).state is State.SUCCEEDED


async def test_without_modal_its_attempts_are_begun_again_here(start: Start) -> None:
    old = start()
    await old.submit()
    await old.fake.next()
    await old.kill()
    here = FakeAttempts("local")
    here.remote = lambda engine: False  # type: ignore[method-assign]
    new = start(here)
    await new.jobs.take_over()
    again = await here.next()
    assert (again.job.attempt, again.job.engine) == (2, "local")
    again.succeed()
    await new.final()


async def test_what_was_left_to_run_is_ended(start: Start) -> None:
    """Cancelled while Modal was away; the process ended before it was back."""
    old = start()
    await old.submit()
    attempt = await old.fake.next()
    await attempt.calls.keep(0, "fc-1")
    old.fake.refuse_ends = 10**6
    job, _ = await old.jobs.cancel("dev-local", "one")
    assert job.state is State.CANCELLED and attempt.cancelled
    await old.kill()
    new = start()
    (stray,) = await new.ledger.strays()
    assert (stray.job_id, stray.attempt, stray.calls) == ("one", 1, {0: "fc-1"})
    new.fake.refuse_ends = 3
    await new.jobs.take_over()
    await eventually(lambda: new.fake.ended == [("dev-local/one/1", {0: "fc-1"})])
    await nothing_left(new)
    assert new.fake.begun.empty()


async def test_an_engine_that_was_away_uses_up_no_attempt(start: Start) -> None:
    process = start()
    await process.submit()
    for _ in range(5):
        (await process.fake.next()).fail(ENGINE_AWAY)
    attempt = await process.fake.next()
    assert attempt.job.attempt == 6
    await eventually(lambda: len(process.fake.ended) == 5)
    attempt.succeed()
    assert (await process.final()).state is State.SUCCEEDED


async def test_an_engine_that_is_always_away_ends_the_job(start: Start) -> None:
    process = start()
    await process.submit()
    for _ in range(3 + INTERRUPTIONS_MAX):
        (await process.fake.next()).fail(ENGINE_AWAY)
    done = await process.final()
    assert done.failure is not None and done.failure.code == ENGINE_AWAY


async def test_a_restart_takes_the_call_up_again(start: Start, plane: Plane, world: World) -> None:
    old = start(over_modal(world))
    await old.submit(messages.encode_spec(short("raw_clips/restart")))
    plane.hold(True)
    await eventually(plane.calls)
    await old.seen("queued")
    await old.kill()
    plane.hold(False)
    new = start(over_modal(world))
    await new.jobs.take_over()
    done = await new.final()
    assert (done.state, done.attempt, done.engine) == (State.SUCCEEDED, 1, "modal")
    assert len(plane.calls()) == 1
    assert len(world.access.get(done.outputs[0].key)) == done.outputs[0].size_bytes
    assert 100 < await new.ledger.cost_micros("dev-local", "one") < 100_000


async def test_a_watcher_is_told_that_modal_is_away(start: Start, plane: Plane, world: World) -> None:
    plane.faults.away = True
    process = start(over_modal(world))
    await process.submit(messages.encode_spec(short("raw_clips/told")))
    await process.seen(WAITING)
    job, _ = await process.jobs.cancel("dev-local", "one")
    assert job.state is State.CANCELLED and plane.calls() == []


async def test_the_fallback_renders_here_when_the_operator_chose_it(start: Start, plane: Plane, world: World) -> None:
    plane.faults.away = True
    process = start(over_modal(world, fallback="local"))
    await process.submit(messages.encode_spec(short("raw_clips/here")))
    done = await process.final()
    assert (done.state, done.attempt, done.engine) == (State.SUCCEEDED, 2, "local")
    assert done.outputs[0].key == "raw_clips/here/2/all.mp4"
    plane.faults.away = False
    await nothing_left(process)
    assert plane.board()["claim:dev-local/one/1"]["call_id"] == ""


async def test_kill_9_in_the_midst_of_a_job_on_modal(making: Making, plane: Plane, tmp_path: Path) -> None:
    """Real processes: the service dies, the container does not, and the job ends once."""
    settings = {"MODAL_ENABLED": "true", "MODAL_ENVIRONMENT": "staging", **plane.settings()}
    with object_store() as store, services(store, tmp_path, settings) as running:
        film = (making.folder / "beeps.mov").read_bytes()
        store.client().put_object(Bucket=BUCKET, Key="dev-local/games/beeps.mov", Body=film)
        async with client(running, "dev-local") as render:
            job_id = (await render.submit(long("raw_clips/killed"))).job_id
            await eventually(lambda: plane.board().get(stamp_key(f"dev-local/{job_id}/1")))
            running.end("render", signal.SIGKILL)
            running.start("render")
            job = await render.job(job_id)
            assert (job.state, job.attempt, job.engine) == (pb.JOB_STATE_RUNNING, 1, "modal")
            cancelled = await render.call(render.stub.Cancel, pb.CancelRequest(tenant="dev-local", job_id=job_id))
            assert cancelled.job.state == pb.JOB_STATE_CANCELLED
            (call,) = plane.calls()
            await eventually(lambda: call.output is not None)
            done = await render.final((await render.submit(short("raw_clips/after"))).job_id)
            assert (done.state, done.attempt, done.engine) == (pb.JOB_STATE_SUCCEEDED, 1, "modal")
