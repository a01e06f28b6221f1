"""Long exports on Modal: chunks in calls of their own, joined by one more; done once, whatever happens in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from render.engines import capacity, modal
from render.engines.port import AttemptFailed
from tests.fakes.modal_plane import Plane
from tests.fakes.modal_state import Call
from tests.render import golden
from tests.render.engine_world import Trying, World, eventually, modal_engine, slow
from tests.render.making import FULL, pictures, sound

pytestmark = pytest.mark.xdist_group("modal")


@pytest.fixture
async def engine(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[modal.Engine]:
    """Spreads everything over two calls at least."""
    monkeypatch.setattr(capacity, "CHUNK_ABOVE_S", 0.0)
    made = modal_engine()
    yield made
    await made.close()


def functions(plane: Plane) -> Counter[str]:
    """How often each function was called."""
    return Counter(plane.state.functions[call.function_id].function_name for call in plane.calls())


async def two_calls(plane: Plane, trying: Trying) -> list[Call]:
    """The calls for an attempt's two chunks, which wait for containers."""
    await eventually(lambda: set(trying.calls.known) == {1, 2})
    return [call for part in (1, 2) for call in plane.calls() if call.call_id == trying.calls.known[part]]


async def test_chunks_that_are_done_are_not_done_again(
    engine: modal.Engine, plane: Plane, world: World, tmp_path: Path
) -> None:
    """The second of two fails when the first is done: the next attempt renders that one, and joins both."""
    plane.hold(True)
    first = world.attempt(engine, slow("raw_clips/chunks"))
    one, other = await two_calls(plane, first)
    plane.let(one)
    await eventually(lambda: one.output)
    (kept,) = world.access.listed("raw_clips/chunks/chunks")
    plane.time_out(other)
    with pytest.raises(AttemptFailed) as failed:
        await first.ended()
    assert failed.value.failure.code == "timed_out"
    plane.hold(False)
    second = world.attempt(engine, slow("raw_clips/chunks"))
    done = await second.ended()
    assert functions(plane) == {"render_chunk": 3, "render_export": 1}
    assert set(second.calls.known) in ({0, 1}, {0, 2})
    assert world.access.listed("raw_clips/chunks/chunks") == [] and kept
    assert done.cost_micros > 2 * capacity.cost_micros(capacity.Usage(0.0), capacity.CHUNK)
    assert max(share for phase, share in second.told if phase == "rendering") > 0.5
    (output,) = done.outputs
    assert (output.frames, output.duration_us) == (960, 32_000_000)
    path = tmp_path / "all.mp4"
    path.write_bytes(world.access.get(output.key))
    shown = {at: picture for at, (_, picture) in enumerate(pictures(path)) if at % 40 == 0 or 476 <= at <= 484}
    assert {at: golden.number(picture, FULL) for at, picture in shown.items()} == {at: at // 4 for at in shown}
    assert max(shown) == 920 and sound(path).shape[1] == 32 * 48_000


async def test_a_restart_takes_every_call_up_again(engine: modal.Engine, plane: Plane, world: World) -> None:
    plane.hold(True)
    first = world.attempt(engine, slow("raw_clips/again"))
    calls = await two_calls(plane, first)
    await first.let_go()
    again = world.attempt(engine, slow("raw_clips/again"), again=first)
    await again.shown("queued")
    assert plane.calls() == calls and again.calls.kept == []
    await again.let_go()
    await engine.end(again.key, {})
    plane.hold(False)
    await eventually(lambda: all(call.output for call in calls))
    assert world.access.listed("raw_clips/again/chunks") == []


async def test_when_one_call_fails_the_others_are_ended(engine: modal.Engine, plane: Plane, world: World) -> None:
    plane.hold(True)
    trying = world.attempt(engine, slow("raw_clips/fails"))
    one, other = await two_calls(plane, trying)
    plane.time_out(one)
    with pytest.raises(AttemptFailed):
        await trying.ended()
    assert other.output is not None and len(plane.calls()) == 2


async def test_what_is_soon_done_takes_one_call(plane: Plane, world: World) -> None:
    engine = modal_engine()
    plane.hold(True)
    trying = world.attempt(engine, slow("raw_clips/soon"))
    await trying.shown("queued")
    assert functions(plane) == {"render_export": 1}
    await trying.let_go()
    await engine.close()
