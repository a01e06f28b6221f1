"""Finished chunks on this machine's disk: taken by the next attempt, gone with their job."""

from __future__ import annotations

from pathlib import Path

import pytest

from reel.render.v1 import render_pb2 as pb
from render.engines import local
from render.job import Job, State
from render.kept import Kept
from tests.render import golden
from tests.render.engine_world import TENANT, World, eventually, short
from tests.render.making import numbers


def job(name: str) -> Job:
    return Job(TENANT, name, State.RUNNING, 1, 2, 0, 1000)


async def test_what_was_finished_before_a_kill_is_not_done_again(world: World) -> None:
    spec = short("raw_clips/kept", width=640, height=360, quality=pb.QUALITY_HIGH)
    spec.clips[0].output_name = "a.mp4"
    rest = pb.Clip(source=spec.clips[0].source, in_us=0, out_us=8_000_000, output_name="b.mp4")
    spec.clips.append(rest)
    engine = local.Engine(120, 60, golden.FFMPEG)
    first = world.attempt(engine, spec)
    folder = world.kept.folder(first.job)
    await eventually(lambda: list(folder.glob("*.mp4")))
    await first.let_go()
    (chunk,) = folder.glob("*.mp4")
    before = chunk.stat()
    (folder / f"{chunk.stem}.999.part").write_bytes(b"half a chunk")
    second = world.attempt(engine, spec, again=first)
    ended = await second.ended()
    after = chunk.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert len(list(folder.iterdir())) == 2, "a chunk of each clip, and nothing unfinished"
    for output in ended.outputs:
        (world.folder / output.name).write_bytes(world.access.get(output.key))
    assert numbers(world.folder / "all.mp4") == [*range(9), *range(240)]
    await second.attempts.forget(second.job)
    assert not folder.exists()


def test_nothing_stays_of_jobs_that_are_over(tmp_path: Path) -> None:
    (tmp_path / "one-attempt").mkdir()
    kept = Kept(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["chunks"]
    folders = [kept.folder(job(name)) for name in ("going on", "over", "cancelled")]
    for folder in folders:
        (folder / "chunk.mp4").write_bytes(b"pictures")
    kept.forget(job("cancelled"))
    Kept(tmp_path).forget_all_but([job("going on")])
    assert [folder.exists() for folder in folders] == [True, False, False]
    assert (folders[0] / "chunk.mp4").read_bytes() == b"pictures"


@pytest.mark.parametrize("known", [False, True])
def test_a_new_job_keeps_its_own(tmp_path: Path, known: bool) -> None:
    """One that was submitted after the ledger was asked what is unfinished."""
    kept = Kept(tmp_path)
    folder = kept.folder(job("new"))
    kept.forget_all_but([job("new")] if known else [])
    assert folder.exists()
