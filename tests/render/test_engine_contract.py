"""What every engine must do, on each of them: the same files, honest progress, typed failures, and a clean end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import psutil
import pytest

from reel.render.v1 import render_pb2 as pb
from render.engines import local, modal
from render.engines.port import AttemptFailed, Engine
from tests.fakes.modal_plane import Plane
from tests.render import golden
from tests.render.engine_world import Trying, World, decoded, gone, inside, long, modal_engine, short

pytestmark = pytest.mark.xdist_group("modal")
ENGINES = ("local", "modal")


def local_engine() -> local.Engine:
    return local.Engine(attempt_timeout_s=120, stall_timeout_s=60, ffmpeg_path=golden.FFMPEG)


@dataclass
class Tried:
    """An engine, and how to see the processes that it works by."""

    engine: Engine
    working: Callable[[Trying], list[psutil.Process]]


@pytest.fixture
async def tried(request: pytest.FixtureRequest, plane: Plane) -> AsyncIterator[Tried]:
    if request.param == "local":
        before = set(psutil.Process().children(recursive=True))
        mine = lambda trying: [  # noqa: E731
            one for one in psutil.Process().children(recursive=True) if one not in before
        ]
        yield Tried(local_engine(), mine)
        return
    engine: modal.Engine = modal_engine()
    yield Tried(engine, lambda trying: inside(plane, trying))
    await engine.close()


async def test_engines_make_the_same_files(world: World, plane: Plane) -> None:
    remote = modal_engine()
    clips = [
        pb.Clip(source=pb.Source(key="games/beeps.mov"), in_us=500_000, out_us=900_000, output_name="a.mp4"),
        pb.Clip(
            source=pb.Source(key="games/beeps.mov"),
            in_us=4_000_000,
            out_us=4_500_000,
            caption=pb.Caption(title="Goal"),
            speed_spans=[pb.SpeedSpan(from_us=4_100_000, to_us=4_300_000, rate=pb.Rational(num=1, den=2))],
        ),
    ]
    digests, ends, keys = [], [], []
    for engine in (local_engine(), remote):
        output = pb.Output(folder=f"raw_clips/{engine.name}", name="all.mp4", poster=True)
        spec = pb.RenderSpec(spec_version=1, clips=clips, output=output, audio=pb.Audio(include=True))
        trying = world.attempt(engine, spec)
        ended = await trying.ended()
        ends.append(ended)
        keys.append(trying.key)
        digests.append([decoded(world.access.get(one.key), world.folder) for one in ended.outputs])
        for one in ended.outputs:
            assert one.key == f"raw_clips/{engine.name}/1/{one.name}"
            assert len(world.access.get(one.key)) == one.size_bytes
            assert world.access.get(one.poster_key)[:3] == b"\xff\xd8\xff"
        shares = [share for _, share in trying.told]
        assert shares == sorted(shares) and shares[-1] < 1
        phases = list(dict.fromkeys(phase for phase, _ in trying.told))
        assert [one for one in phases if one != "queued"][-1] == "uploading"
    assert digests[0] == digests[1] and len(digests[0]) == 2
    facts = [[(one.name, one.frames, one.fps, one.duration_us, one.width) for one in end.outputs] for end in ends]
    assert facts[0] == facts[1]
    assert ends[0].cost_micros == 0 and 100 < ends[1].cost_micros < 100_000
    assert plane.board()[f"starts:{keys[1]}"] == {"starts": 1}
    await remote.close()


@pytest.mark.parametrize("tried", ENGINES, indirect=True)
async def test_what_cannot_be_rendered_is_told_by_its_code(tried: Tried, world: World) -> None:
    for source, code in (("none.mp4", "source_not_found"), ("text.mp4", "source_unreadable")):
        with pytest.raises(AttemptFailed) as failed:
            await world.attempt(tried.engine, short("raw_clips/x", source)).ended()
        assert (failed.value.failure.code, failed.value.failure.retryable) == (code, False)
        assert source in failed.value.failure.message
    world.access.spoilt = True
    with pytest.raises(AttemptFailed) as refused:
        await world.attempt(tried.engine, short("raw_clips/x")).ended()
    assert (refused.value.failure.code, refused.value.failure.retryable) == ("store_unavailable", True)


@pytest.mark.parametrize("tried", ENGINES, indirect=True)
async def test_a_killed_process_is_a_failure_that_may_pass(tried: Tried, world: World) -> None:
    trying = world.attempt(tried.engine, long("raw_clips/killed"))
    await trying.encoding()
    for process in tried.working(trying):
        if "python" in process.name():
            process.kill()
    with pytest.raises(AttemptFailed) as failed:
        await trying.ended()
    assert (failed.value.failure.code, failed.value.failure.retryable) == ("out_of_memory", True)


@pytest.mark.parametrize("tried", ENGINES, indirect=True)
async def test_ending_an_attempt_leaves_no_process(tried: Tried, world: World) -> None:
    trying = world.attempt(tried.engine, long("raw_clips/ended"))
    await trying.encoding()
    working = tried.working(trying)
    assert working
    await trying.let_go()
    await trying.attempts.end(tried.engine.name, trying.key, trying.calls.known)
    await gone(working)
