"""The Modal engine against a Modal that loses answers, kills, takes away, forgets, stands still, or is not there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from reel.render.v1 import render_pb2 as pb
from render.engines import modal
from render.engines.container import STARTS_MAX
from render.engines.modal import GRANT_MAX_S
from render.engines.order import Order
from render.engines.port import WAITING, AttemptFailed
from render.job import ENGINE_AWAY
from tests.fakes.modal_plane import Plane
from tests.render.engine_world import Trying, World, eventually, gone, inside, long, modal_engine, short
from tests.render.otlp import OtlpReceiver, otlp_receiver

pytestmark = pytest.mark.xdist_group("modal")


@pytest.fixture
async def engine(plane: Plane) -> AsyncIterator[modal.Engine]:
    made = modal_engine()
    yield made
    await made.close()


async def failure(trying: Trying) -> tuple[str, bool]:
    """The code that an attempt failed with, and whether it may be tried again."""
    with pytest.raises(AttemptFailed) as failed:
        await trying.ended()
    return failed.value.failure.code, failed.value.failure.retryable


def rendered(plane: Plane) -> int:
    """How often containers began to render, preempted ones left aside."""
    return sum(int(value["starts"]) for key, value in plane.board().items() if key.startswith("starts:"))


async def test_a_lost_spawn_renders_once(engine: modal.Engine, plane: Plane, world: World) -> None:
    """Five answers are lost: Modal's client asks four times by itself, then we look, and ask again."""
    plane.faults.lose["FunctionMap"] = 5
    plane.hold(True)
    trying = world.attempt(engine, short("raw_clips/lost"))
    await trying.shown("queued")
    plane.hold(False)
    assert len((await trying.ended()).outputs) == 1
    first, *_, last = plane.calls()
    assert len(plane.calls()) == 6 and rendered(plane) == 1
    assert plane.board()[f"claim:{trying.key}"]["call_id"] == first.call_id
    assert trying.calls.kept == [last.call_id, first.call_id]
    assert WAITING in {phase for phase, _ in trying.told}


async def test_a_lost_spawn_is_found_by_its_claim(engine: modal.Engine, plane: Plane, world: World) -> None:
    """The process died before it kept the call's id: the next one finds the call by the attempt's claim."""
    trying = world.attempt(engine, long("raw_clips/found"))
    await trying.encoding()
    await trying.let_go()
    trying.calls.known = {}
    again = world.attempt(engine, long("raw_clips/found"), again=trying)
    await again.encoding()
    assert len(plane.calls()) == 1 and again.calls.kept == [plane.calls()[0].call_id]
    await again.let_go()
    await engine.end(again.key, again.calls.known)


async def test_a_call_is_taken_up_by_its_id(engine: modal.Engine, plane: Plane, world: World) -> None:
    plane.hold(True)
    trying = world.attempt(engine, short("raw_clips/taken"))
    await trying.shown("queued")
    await trying.let_go()
    again = world.attempt(engine, short("raw_clips/taken"), again=trying)
    plane.hold(False)
    assert len((await again.ended()).outputs) == 1
    assert len(plane.calls()) == 1 and rendered(plane) == 1


async def test_away_it_waits_and_says_so(engine: modal.Engine, plane: Plane, world: World) -> None:
    plane.faults.away = True
    trying = world.attempt(engine, long("raw_clips/away"))
    await trying.shown(WAITING)
    assert not engine.away and plane.calls() == []
    plane.faults.away = False
    await trying.encoding()
    plane.faults.away = True
    trying.told.clear()
    await trying.shown(WAITING)
    plane.faults.away = False
    trying.told.clear()
    await trying.shown("rendering")
    assert len(plane.calls()) == 1
    await trying.let_go()
    await engine.end(trying.key, trying.calls.known)


async def test_away_it_gives_way_to_a_fallback(plane: Plane, world: World) -> None:
    engine = modal_engine(fallback="local")
    plane.faults.away = True
    assert await failure(world.attempt(engine, short("raw_clips/fallback"))) == (ENGINE_AWAY, True)
    assert engine.away
    await engine.close()


async def test_nobody_listens_there(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(modal, "ASK_S", 0.5)
    engine = modal_engine()
    trying = world.attempt(engine, short("raw_clips/nobody"))
    await trying.shown(WAITING)
    await trying.let_go()


async def test_an_app_that_is_not_deployed_is_waited_for(plane: Plane, world: World) -> None:
    engine = modal_engine(app="none")
    trying = world.attempt(engine, short("raw_clips/none"))
    await trying.shown(WAITING)
    await trying.let_go()
    await engine.close()


async def test_a_container_that_dies_is_begun_again(engine: modal.Engine, plane: Plane, world: World) -> None:
    trying = world.attempt(engine, short("raw_clips/dies"))
    plane.fleet.kill_at = "starts:"
    await eventually(lambda: rendered(plane) == 1)
    plane.fleet.kill_at = ""
    assert len((await trying.ended()).outputs) == 1
    assert len(plane.calls()) == 1 and rendered(plane) >= 2


async def test_an_out_of_memory_loop_ends(engine: modal.Engine, plane: Plane, world: World) -> None:
    plane.fleet.kill_at = "starts:"
    trying = world.attempt(engine, short("raw_clips/memory"))
    assert await failure(trying) == ("out_of_memory", False)
    (call,) = plane.calls()
    assert call.starts == STARTS_MAX + 1 and rendered(plane) == STARTS_MAX


async def test_preemption_does_not_count(engine: modal.Engine, plane: Plane, world: World) -> None:
    trying = world.attempt(engine, long("raw_clips/taken-away"))
    await trying.encoding()
    (call,) = plane.calls()
    working = inside(plane, trying)
    plane.hold(True)
    plane.preempt(call)
    await gone(working)
    assert call.output is None and rendered(plane) == 0
    plane.hold(False)
    await eventually(lambda: call.starts == 2 and rendered(plane) == 1)
    await trying.let_go()
    await engine.end(trying.key, trying.calls.known)


async def test_cancelling_ends_every_process(engine: modal.Engine, plane: Plane, world: World) -> None:
    """By the cancellation that the container hears of, before its machine is taken away."""
    trying = world.attempt(engine, long("raw_clips/cancelled"))
    await trying.encoding()
    working = inside(plane, trying)
    await trying.let_go()
    assert all(one.is_running() for one in working)
    await engine.end(trying.key, {})
    await gone(working)
    await eventually(lambda: plane.calls()[0].output is not None)
    assert rendered(plane) == 0


async def test_what_is_ended_before_it_begins_never_renders(engine: modal.Engine, plane: Plane, world: World) -> None:
    plane.hold(True)
    trying = world.attempt(engine, short("raw_clips/never"))
    await trying.shown("queued")
    await trying.let_go()
    await engine.end(trying.key, {})
    plane.hold(False)
    await eventually(lambda: plane.calls()[0].output is not None)
    assert rendered(plane) == 0


async def test_an_answer_that_modal_forgot_stands_on_the_board(
    engine: modal.Engine, plane: Plane, world: World
) -> None:
    trying = world.attempt(engine, short("raw_clips/forgot"))
    await trying.shown("queued")
    await trying.let_go()
    await eventually(lambda: plane.calls()[0].output is not None)
    plane.forget(plane.calls()[0])
    again = world.attempt(engine, short("raw_clips/forgot"), again=trying)
    assert len((await again.ended()).outputs) == 1
    plane.state.dicts.clear()
    lost = world.attempt(engine, short("raw_clips/forgot"), again=trying)
    assert await failure(lost) == ("render_failed", True)


async def test_a_stall_is_ended(plane: Plane, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Order.told
    monkeypatch.setattr(Order, "told", lambda order: {**told(order), "stall_s": 60.0, "beat_s": 0.5})
    engine = modal_engine(stall_timeout_s=8.0)
    trying = world.attempt(engine, long("raw_clips/stall"))
    await trying.encoding()
    (call,) = plane.calls()
    plane.freeze(call)
    assert await failure(trying) == ("timed_out", True)
    await eventually(lambda: call.output is not None and plane.container(call) is None)
    await engine.close()


async def test_a_queue_without_end_is_left(plane: Plane, world: World) -> None:
    engine = modal_engine(queue_s=1.0)
    plane.hold(True)
    trying = world.attempt(engine, short("raw_clips/queue"))
    assert await failure(trying) == (ENGINE_AWAY, True)
    assert plane.calls()[0].output is not None
    await engine.close()


async def test_modal_s_own_limit_is_a_failure_that_may_pass(engine: modal.Engine, plane: Plane, world: World) -> None:
    plane.hold(True)
    trying = world.attempt(engine, short("raw_clips/limit"))
    await trying.shown("queued")
    plane.time_out(plane.calls()[0])
    assert await failure(trying) == ("timed_out", True)


async def test_an_exception_is_a_bug(
    engine: modal.Engine, plane: Plane, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Order.told
    monkeypatch.setattr(Order, "told", lambda order: {**told(order), "limit_s": "soon"})
    trying = world.attempt(engine, short("raw_clips/bug"))
    assert await failure(trying) == ("render_failed", True)


async def test_another_version_is_told(
    engine: modal.Engine, plane: Plane, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Order.told
    monkeypatch.setattr(Order, "told", lambda order: {**told(order), "version": 0})
    assert await failure(world.attempt(engine, short("raw_clips/version"))) == (ENGINE_AWAY, True)


async def test_a_large_order_arrives_and_one_trace_shows_the_container(plane: Plane, world: World) -> None:
    """More than 8 KiB go by Modal's blobs."""
    with otlp_receiver() as receiver:
        engine = modal_engine(otlp_endpoint=receiver.url)
        spec = short("raw_clips/large")
        keys = [pb.CropKey(time_us=i * 1000, x=i / 1000, y=1 / 3, width=0.5, height=0.5) for i in range(300)]
        spec.clips[0].crop.CopyFrom(pb.Crop(keys=keys))
        trying = world.attempt(engine, spec)
        assert len((await trying.ended()).outputs) == 1
        assert len(plane.state.blobs) >= 1
        _check_spans(receiver)
        await engine.close()


def _check_spans(receiver: OtlpReceiver) -> None:
    names = {span.name for span in receiver.spans}
    assert names >= {"render.container", "store.put"}
    assert len({span.trace_id for span in receiver.spans}) == 1
    assert receiver.services == {"render-modal"}


def test_grants_last_for_the_queue_and_every_start() -> None:
    assert modal_engine(queue_s=3600, attempt_timeout_s=3600).grant_s == 4 * 3600 + 600
    assert modal_engine(queue_s=3 * 24 * 3600, attempt_timeout_s=48 * 3600).grant_s == GRANT_MAX_S
    assert asyncio.iscoroutinefunction(modal.Engine.run)
