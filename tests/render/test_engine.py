"""Attempts in child processes: what they are given, how they end, and that nothing of them outlives the wait."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import psutil
import pytest

from render.engines.local import Engine
from render.engines.port import AttemptFailed
from render.products import Task
from render.spec import Clip, Output, Quality, Source, Spec
from tests.render import golden
from tests.render.making import Making

ENGINE = Engine(attempt_timeout_s=60, stall_timeout_s=30)


def task(making: Making, folder: Path, *, size: int = 0, until_s: int = 1) -> Task:
    source = making.source("beeps.mov")
    output = Output("x", "reel.mp4", width=size * 16 // 9 // 2 * 2, height=size, quality=Quality.HIGH)
    spec = Spec((Clip(source, 0, until_s * 1_000_000),), output)
    return Task(spec, {source: making.url("beeps.mov")}, str(folder), golden.FFMPEG)


async def rendering(task: Task, *, engine: Engine = ENGINE) -> tuple[asyncio.Task[object], list[psutil.Process]]:
    """A run that encodes, and all of its processes."""
    told: list[tuple[str, float]] = []
    before = set(psutil.Process().children(recursive=True))
    run = asyncio.create_task(engine.produce(task, lambda phase, share: told.append((phase, share))))
    async with asyncio.timeout(60):
        while not any(share > 0.02 for _, share in told):
            await asyncio.sleep(0.005)
            assert not run.done(), run
    mine = [one for one in psutil.Process().children(recursive=True) if one not in before]
    assert mine
    return run, mine


async def gone(processes: list[psutil.Process]) -> None:
    """Returns when none of them runs."""
    async with asyncio.timeout(60):
        while True:
            if not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in processes):
                return
            await asyncio.sleep(0.002)


@contextmanager
def stopped(processes: list[psutil.Process]) -> Iterator[None]:
    """They stand still inside, and can neither end by themselves nor hear of anything but SIGKILL."""
    for one in processes:
        one.suspend()
    try:
        yield
    finally:
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                one.resume()


async def test_a_task_is_done_and_its_progress_only_rises(making: Making, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    (product,) = await ENGINE.produce(task(making, tmp_path), lambda phase, share: told.append((phase, share)))
    assert (product.name, product.frames, product.fps) == ("reel.mp4", 30, Fraction(30))
    assert (tmp_path / "reel.mp4").stat().st_size > 1000
    shares = [share for _, share in told]
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] < 1
    assert list(dict.fromkeys(phase for phase, _ in told)) == ["reading", "rendering", "joining"]


async def test_a_probe_tells_what_a_source_is(making: Making) -> None:
    info, facts = await ENGINE.probe(making.url("beeps.mov"), making.source("beeps.mov"))
    assert (info.width, info.height, info.duration_us, info.has_audio) == (640, 360, 8_000_000, True)
    assert info.fps == 30
    assert (facts["video_codec"], facts["variable"], facts["hdr"], facts["rotation"]) == ("h264", False, False, 0)


async def test_cancelling_kills_the_whole_group_at_once(making: Making, tmp_path: Path) -> None:
    run, processes = await rendering(task(making, tmp_path, size=1080, until_s=8))
    with stopped(processes):
        run.cancel()
        async with asyncio.timeout(60):
            with pytest.raises(asyncio.CancelledError):
                await run
        await gone(processes)


async def test_a_child_has_no_secret_and_no_way_to_one(
    making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNING_KEY", "a secret")
    run, processes = await rendering(task(making, tmp_path, size=1080, until_s=8))
    for process in processes:
        assert not {"SIGNING_KEY", "PATH", "HOME"} & set(process.environ())
        assert making.server.url not in " ".join(process.cmdline())
    run.cancel()
    await asyncio.wait([run])


async def test_a_killed_process_is_a_failure_that_may_pass(making: Making, tmp_path: Path) -> None:
    run, processes = await rendering(task(making, tmp_path, size=1080, until_s=8))
    for process in processes:
        os.kill(process.pid, signal.SIGKILL)
    with pytest.raises(AttemptFailed) as failed:
        await run
    assert (failed.value.failure.code, failed.value.failure.retryable) == ("out_of_memory", True)
    await gone(processes)


async def test_a_store_that_says_nothing_is_a_stall(making: Making, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        stuck = task(making, tmp_path)
        urls: dict[Source, str] = dict.fromkeys(stuck.urls, f"http://127.0.0.1:{silent.getsockname()[1]}/film.mp4")
        engine = Engine(attempt_timeout_s=3600, stall_timeout_s=1.5)
        with pytest.raises(AttemptFailed) as failed:
            async with asyncio.timeout(60):
                await engine.produce(replace(stuck, urls=urls), lambda phase, share: None)
    assert (failed.value.failure.code, failed.value.failure.retryable) == ("timed_out", True)


async def test_an_attempt_has_a_limit(making: Making, tmp_path: Path) -> None:
    engine = replace(ENGINE, attempt_timeout_s=2.5)
    run = asyncio.create_task(engine.produce(task(making, tmp_path, size=2160, until_s=8), lambda phase, share: None))
    with pytest.raises(AttemptFailed) as failed:
        await run
    assert failed.value.failure.code == "timed_out"


async def test_what_the_child_tells_is_passed_on(making: Making, tmp_path: Path) -> None:
    clip = Clip(Source("games/none.mp4"), 0, 1_000_000)
    missing = Task(Spec((clip,), Output("x", "a.mp4")), {clip.source: making.url("none.mp4")}, str(tmp_path), "ffmpeg")
    with pytest.raises(AttemptFailed) as failed:
        await ENGINE.produce(missing, lambda phase, share: None)
    assert (failed.value.failure.code, failed.value.failure.retryable) == ("source_not_found", False)
    late = task(making, tmp_path)
    beyond = replace(late.spec, clips=(replace(late.spec.clips[0], in_us=9_000_000, out_us=9_500_000),))
    with pytest.raises(AttemptFailed) as invalid:
        await ENGINE.produce(replace(late, spec=beyond), lambda phase, share: None)
    assert (invalid.value.failure.code, invalid.value.failure.retryable) == ("invalid_spec", False)


@pytest.fixture
def spawn() -> Iterator[Callable[[str], psutil.Popen]]:
    children: list[psutil.Popen] = []

    def start(script: str) -> psutil.Popen:
        child = psutil.Popen(
            [sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()


async def test_a_killed_service_takes_its_children_with_it(
    making: Making, tmp_path: Path, spawn: Callable[[str], psutil.Popen]
) -> None:
    script = f"""
import asyncio, pickle
from render.engines.local import Engine
task = pickle.loads({pickle.dumps(task(making, tmp_path, size=1080, until_s=8))!r})
asyncio.run(Engine(60, 30).produce(task, lambda phase, share: None))
"""
    service = spawn(script)
    for _ in range(3000):
        processes = service.children(recursive=True)
        if any(tmp_path.glob("*.part")):
            break
        await asyncio.sleep(0.01)
    else:
        raise AssertionError("it never encoded")
    with stopped(processes):
        service.kill()
        await gone(processes)
