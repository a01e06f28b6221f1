"""Chunks: laid end to end they are the whole, what is done stays done, and a crew ends with its worker."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import psutil
import pytest

from render import draw, encode, plan, produce
from render.chunk import Sources, render_chunks
from render.engines.local import Engine
from render.engines.port import AttemptFailed
from render.footage import Footage
from render.plan import Chunk
from render.products import ChunkTask, Survey, Task
from render.spec import (
    Clip,
    Crop,
    CropKey,
    Dissolve,
    Effect,
    EffectKind,
    EllipseKey,
    Output,
    Overlay,
    Quality,
    Source,
    Spec,
    SpeedSpan,
    Spotlight,
)
from tests.render import golden
from tests.render.making import Making, numbers, onsets, pictures, sound
from tests.render.test_engine import gone

OUTPUT = Output("x", "reel.mp4", quality=Quality.DRAFT)


def everything(making: Making, output: Output = OUTPUT) -> Spec:
    """Two clips with a moving window, a speed, a dissolve and a spotlight."""
    beeps, other = making.source("beeps.mov"), making.source("plain.mp4")
    keys = (CropKey(0, 0.1, 0.1, 0.6, 0.6), CropKey(3_000_000, 0.3, 0.2, 0.5, 0.5))
    light = Spotlight((EllipseKey(0, 0.4, 0.5, 0.1, 0.2),), (Effect(EffectKind.DIM_OUTSIDE, 0.5),))
    first = Clip(beeps, 500_000, 2_500_000, (SpeedSpan(1_000_000, 1_500_000, Fraction(1, 2)),), Crop(keys))
    second = Clip(other, 333_000, 2_333_000)
    return Spec((first, second), output, (Dissolve(0, 500_000),), (Overlay(700_000, 3_100_000, light, 200_000),))


def survey(making: Making, spec: Spec) -> Survey:
    sources = Sources(urls(making, spec))
    try:
        return sources.survey(spec)
    finally:
        sources.close()


def urls(making: Making, spec: Spec) -> dict[Source, str]:
    return {clip.source: making.url(clip.source.key.rpartition("/")[2]) for clip in spec.clips}


def cut(frames: int, count: int) -> list[Chunk]:
    """Unequal chunks."""
    edges = sorted({0, frames, *(frames * i // count + i % 2 for i in range(1, count))})
    return [Chunk(a, b) for a, b in pairwise(edges)]


def drawn(making: Making, made: plan.Plan, chunk: Chunk) -> Iterator[bytes]:
    opened: list[Footage] = []

    def footage(clip: plan.ClipPlan) -> Footage:
        name = clip.clip.source.key.rpartition("/")[2]
        opened.append(Footage((making.folder / name).open("rb"), name))
        return opened[-1]

    clips = draw.Clips(made, footage, lambda *_: None, heard=False)
    for number, picture in enumerate(clips.frames(chunk.first, chunk.end), chunk.first):
        yield b"".join(plane.tobytes() for plane in clips.finished(picture, number).planes)
    for one in opened:
        one.close()


def test_a_frame_is_the_same_in_whatever_chunk_it_is_drawn(making: Making) -> None:
    made = survey(making, everything(making)).plan()
    whole = [hashlib.md5(frame).digest() for frame in drawn(making, made, Chunk(0, made.frames))]
    assert len(whole) == made.frames
    for count in (2, 4, 7):
        parts = [
            hashlib.md5(frame).digest() for chunk in cut(made.frames, count) for frame in drawn(making, made, chunk)
        ]
        assert parts == whole


def test_chunks_without_loss_are_joined_to_the_same_pictures(
    making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(encode._X264, Quality.DRAFT, {"preset": "ultrafast", "qp": "0"})
    spec = everything(making)
    found = survey(making, spec)
    made = found.plan()
    decoded = []
    for count in (1, 2, 4):
        folder = tmp_path / str(count)
        folder.mkdir()
        chunks = cut(made.frames, count)
        # In any order, as machines of their own would.
        for chunk in reversed(chunks):
            (one,) = render_chunks(ChunkTask(found, (chunk,), urls(making, spec), str(folder), 2), lambda frames: None)
            assert (one.name, one.first, one.end) == (found.chunk_name(chunk), chunk.first, chunk.end)
        task = Task(spec, urls(making, spec), str(folder), golden.FFMPEG)
        monkeypatch.setattr(produce, "chunks", lambda made, together, cut=chunks: cut)
        (product,) = produce.produce(task, lambda phase, share: None)
        assert product.frames == made.frames
        digest = hashlib.md5()
        for index, (at, picture) in enumerate(pictures(folder / "reel.mp4")):
            assert abs(at - index / made.fps) < Fraction(1, 20_000)
            digest.update(b"".join(plane.tobytes() for plane in picture.planes))
        decoded.append((digest.hexdigest(), sound(folder / "reel.mp4").tobytes()))
        headers = set()
        for chunk in chunks:
            with av.open(str(folder / found.chunk_name(chunk))) as container:
                headers.add(container.streams.video[0].codec_context.extradata)
                assert next(container.decode(video=0)).key_frame
        assert len(headers) == 1
    assert decoded[0] == decoded[1] == decoded[2]


@pytest.fixture
def divided(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even short exports are rendered by a crew."""
    monkeypatch.setattr(plan, "CHUNK_MIN_S", 1)
    monkeypatch.setattr(plan, "CHUNK_START_S", 0.0)
    monkeypatch.setattr(plan, "CHUNK_JOIN_S", 0.0)


def test_a_crew_makes_the_same_film_with_its_sound(
    making: Making, tmp_path: Path, divided: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also a crew of one, whose chunks are there so that a restart need not do all of them again."""
    beeps, other = making.source("beeps.mov"), making.source("plain.mp4")
    clips = (
        Clip(beeps, 700_000, 4_333_000, output_name="a.mp4"),
        Clip(other, 0, 2_111_000),
        Clip(beeps, 3_900_000, 5_217_000, output_name="c.mp4"),
    )
    spec = Spec(clips, replace(OUTPUT, poster=True))
    frames = [109, 63, 40]
    for at_once, again_max_s, pieces in ((1, 120.0, 3), (1, 0.0, 5), (2, 120.0, 5), (3, 120.0, 6)):
        monkeypatch.setattr(plan, "AGAIN_MAX_S", again_max_s)
        monkeypatch.setattr(plan, "CHUNK_MAX_S", 60 if again_max_s else 2)
        folder = tmp_path / f"{at_once}-{again_max_s}"
        folder.mkdir()
        told: list[float] = []
        task = Task(spec, urls(making, spec), str(folder), golden.FFMPEG, at_once=at_once)
        products = produce.produce(task, lambda phase, share, told=told: told.append(share))  # type: ignore[misc]
        assert [(one.name, one.frames) for one in products] == [("a.mp4", 109), ("c.mp4", 40), ("reel.mp4", 212)]
        assert told == sorted(told) and told[-1] <= 0.95
        shown = [*range(21, 130), *range(1000, 1063), *range(117, 157)]
        assert numbers(folder / "reel.mp4") == shown
        assert numbers(folder / "a.mp4") == shown[:109]
        heard = sound(folder / "reel.mp4")
        assert heard.shape[1] == sum(frames) * 1600
        start = (109 + 63) / 30
        assert np.allclose(onsets(heard), [0.3, 1.3, 2.3, 3.3, start + 0.1, start + 1.1], atol=0.007)
        assert (sound(folder / "c.mp4").shape[1], len(list(folder.glob("*.jpg")))) == (40 * 1600, 3)
        assert len(list(folder.glob("*.mp4"))) - len(products) == pieces


def test_what_is_done_stays_done(making: Making, tmp_path: Path, divided: None) -> None:
    """Chunks of an attempt that failed are taken by the next one, with the sound of all; others are made."""
    spec = Spec((Clip(making.source("beeps.mov"), 500_000, 6_500_000),), OUTPUT)
    kept = tmp_path / "kept"
    kept.mkdir()
    for at_once, missing in ((3, 3), (3, 1), (1, 1), (1, 0)):
        folder = tmp_path / f"{at_once}-{missing}"
        folder.mkdir()
        task = Task(spec, urls(making, spec), str(folder), golden.FFMPEG, str(kept), at_once)
        before = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
        produce.produce(task, lambda phase, share: None)
        after = {path.name: path.stat().st_mtime_ns for path in kept.iterdir()}
        assert {name: after[name] for name in before} == before
        assert len(after) - len(before) == missing and not list(kept.glob("*.part"))
        assert numbers(folder / "reel.mp4") == list(range(15, 195))
        assert np.allclose(onsets(sound(folder / "reel.mp4")), [0.5, 1.5, 2.5, 3.5, 4.5, 5.5], atol=0.007)
        if missing == 3:
            sorted(kept.iterdir())[1].unlink()


def test_a_chunk_of_another_version_or_specification_has_another_name(making: Making) -> None:
    spec = everything(making)
    found = survey(making, spec)
    names = {found.chunk_name(chunk) for chunk in (Chunk(0, 30), Chunk(0, 31), Chunk(1, 30))}
    source, known = next(iter(found.known.items()))
    names.add(replace(found, known={**found.known, source: replace(known, etag="another")}).chunk_name(Chunk(0, 30)))
    names.add(replace(found, spec=replace(spec, overlays=())).chunk_name(Chunk(0, 30)))
    assert len(names) == 5
    assert survey(making, everything(making)).chunk_name(Chunk(0, 30)) in names


def test_the_first_failure_is_the_exports(making: Making, tmp_path: Path, divided: None) -> None:
    path = making.folder / "half.mp4"
    golden.encode(path, range(240), options=["-c:v", "libx264", "-g", "30", "-movflags", "+faststart"])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    spec = Spec((Clip(making.source("half.mp4"), 0, 8_000_000),), OUTPUT)
    task = Task(spec, urls(making, spec), str(tmp_path), golden.FFMPEG, at_once=2)
    before = set(psutil.Process().children())
    with pytest.raises(Exception, match=r"half\.mp4 has no picture at") as failed:
        produce.produce(task, lambda phase, share: None)
    assert failed.value.code == "source_unreadable"  # type: ignore[attr-defined]
    mine = set(psutil.Process().children()) - before
    assert not [one for one in mine if one.status() != psutil.STATUS_ZOMBIE]


async def test_a_crew_dies_with_its_worker(making: Making, tmp_path: Path) -> None:
    output = Output("x", "reel.mp4", width=1920, height=1080, quality=Quality.HIGH)
    clips = tuple(Clip(making.source("beeps.mov"), 0, 8_000_000) for _ in range(3))
    spec = Spec(clips, output)
    task = Task(spec, urls(making, spec), str(tmp_path), golden.FFMPEG, at_once=2)
    before = set(psutil.Process().children(recursive=True))
    run = asyncio.create_task(Engine(60, 30).produce(task, lambda phase, share: None))
    async with asyncio.timeout(60):
        while len(list(tmp_path.glob("*.part"))) < 2:
            assert not run.done(), run
            await asyncio.sleep(0.01)
    mine = [one for one in psutil.Process().children(recursive=True) if one not in before]
    (worker,) = [one for one in mine if one.ppid() == psutil.Process().pid]
    assert len(mine) >= 3
    worker.kill()
    with pytest.raises(AttemptFailed):
        await run
    await gone(mine)
