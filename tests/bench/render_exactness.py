"""How exact exports are, read from their own frames and sound; and how soon a cancelled one is dead."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil

from render import draw
from render.engines.local import Engine
from render.footage import TOLERANCE_S, Footage
from render.plan import SAMPLE_RATE, Plan, SourceInfo, plan
from render.products import Task
from render.spec import Clip, Crop, CropKey, Dissolve, Output, Quality, Source, Spec, SpeedSpan
from tests.bench.render_runs import FFMPEG, SECOND
from tests.fakes.file_server import FileServer
from tests.render import golden
from tests.render.making import Making, numbers, onsets, sound

FRAMES, RATE = 240, 30
NAME = "numbered.mov"  # each frame tells its number and where it is cut; a beep begins each second
BEEPS = f"aevalsrc=exprs='0.7*sin(2*PI*1000*t)*lt(mod(t\\,1)\\,0.05)':s={SAMPLE_RATE}:d={FRAMES // RATE}"
LOSSLESS = ("-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", "-g", "30", "-c:a", "pcm_s16le")
INFO = SourceInfo(640, 360, FRAMES * SECOND // RATE, Fraction(RATE), True)
OUTPUT = Output("out", "reel.mp4", quality=Quality.DRAFT)
CANCELS = 5


def table(film: Path, server: FileServer, folder: Path) -> Iterator[str]:
    """Windows, frames, sound and cancelling, each beside its goal."""
    golden.encode(folder / NAME, range(FRAMES), before=("-f", "lavfi", "-i", BEEPS, "-shortest"), options=LOSSLESS)
    making = Making(folder, server)
    yield "exactness"
    error, jitter = windows(making)
    yield f"  a moving window, without loss: off by {error:.3f} px at most (0.05), jitter {jitter:.4f} px rms (0.01)"
    wrong, shown, off_samples, off_s = frames_and_sound(making, folder / "exact")
    yield f"  {wrong} of {shown} frames are not the planned one (0); sound is {off_samples} samples off its picture (1)"
    told = ", ".join(f"{1000 * seconds:.1f} ms at {rate} of the speed" for rate, seconds in off_s.items())
    yield f"  a beep is off from its picture by at most {told}"
    dead_s = [asyncio.run(cancelled(film, server, folder / f"cancelled{number}")) for number in range(CANCELS)]
    yield f"  cancelled and dead with all its processes after {1000 * max(dead_s):.0f} ms at most (300)"


def windows(making: Making) -> tuple[float, float]:
    """The largest error of a moving window's corners, and the spread of its left edge, in output pixels."""
    keys = (
        CropKey(0, 0.05, 0.0, 0.5, 0.95),
        CropKey(1_000_000, 0.4, 0.02, 0.51, 0.93),
        CropKey(2_500_000, 0.45, 0.1, 0.55, 0.9),
        CropKey(4_000_000, 0.3, 0.0, 0.5, 1.0),
    )
    width, height = 560, 630
    clip = Clip(making.source(NAME), 0, 4 * SECOND, crop=Crop(keys))
    made = plan(Spec((clip,), replace(OUTPUT, width=width, height=height)), {clip.source: INFO})
    errors, drift = [], []
    with (making.folder / NAME).open("rb") as file:
        footage = Footage(file, NAME)
        clips = draw.Clips(made, lambda _: footage, lambda *_: None, heard=False)
        for index, picture in enumerate(clips.frames(0, made.frames)):
            window = made.clips[0].window(index / RATE, width / height)
            seen = golden.read(picture, window).window
            errors.append(golden.worst(seen, window) * width / window.width)
            drift.append((seen.x - window.x) * width / window.width)
        footage.close()
    return max(errors), float(np.std(drift))


def frames_and_sound(making: Making, folder: Path) -> tuple[int, int, int, dict[str, float]]:
    """Over exports of every speed and a joined one: wrong frames, frames, the worst difference of lengths in samples,
    and by speed how far a beep is from its picture, in s.
    """
    wrong = shown = off_samples = 0
    off_s = {}
    for rate in ("1/4", "1/2", "1", "2", "4"):
        spans = () if rate == "1" else (SpeedSpan(1_500_000, 4_500_000, Fraction(rate)),)
        spec = Spec((Clip(making.source(NAME), 500_000, 6_500_000, spans),), OUTPUT)
        making.make(spec, folder)
        made = plan(spec, {making.source(NAME): INFO})
        seen, heard = numbers(folder / "reel.mp4"), sound(folder / "reel.mp4")
        expected = planned(made, 0)
        wrong += sum(a != b for a, b in zip(seen, expected, strict=False)) + abs(len(seen) - len(expected))
        shown += len(expected)
        off_samples = max(off_samples, abs(heard.shape[1] - len(seen) * SAMPLE_RATE // RATE))
        beeps = onsets(heard)
        off_s[rate] = max(min(abs(beep - at_s) for beep in beeps) for at_s in beginnings(made))
    joined = Spec(
        (Clip(making.source(NAME), 700_000, 2_333_000), Clip(making.source(NAME), 3_900_000, 5_217_000)), OUTPUT
    )
    for spec in (joined, replace(joined, dissolves=(Dissolve(0, 400_000),))):
        making.make(spec, folder)
        made = plan(spec, {making.source(NAME): INFO})
        off_samples = max(off_samples, abs(sound(folder / "reel.mp4").shape[1] - made.frames * SAMPLE_RATE // RATE))
        if not spec.dissolves:
            expected = planned(made, 0) + planned(made, 1)
            seen = numbers(folder / "reel.mp4")
            wrong += sum(a != b for a, b in zip(seen, expected, strict=False)) + abs(len(seen) - len(expected))
            shown += len(expected)
    return wrong, shown, off_samples, off_s


def planned(made: Plan, index: int) -> list[int]:
    """The source frames that a clip's frames must show."""
    clip = made.clips[index]
    times = [clip.source_time(frame, made.fps) for frame in range(clip.frames)]
    return [math.floor((time_s + TOLERANCE_S) * RATE) for time_s in times]


def beginnings(made: Plan) -> list[float]:
    """When the whole seconds of the source that a clip has are shown, in s of the output."""
    return [
        float(piece.out_from + (second - piece.source_from) / piece.rate)
        for piece in made.clips[0].pieces
        for second in range(1, FRAMES // RATE)
        if 0 <= (second - piece.source_from) / piece.rate < piece.out_to - piece.out_from
    ]


async def cancelled(film: Path, server: FileServer, folder: Path) -> float:
    """How long after a cancellation the last process of an export is gone, in s."""
    folder.mkdir()
    source = Source(film.name)
    spec = Spec((Clip(source, 0, 5 * SECOND),), Output("out", "out.mp4", quality=Quality.HIGH))
    begun = asyncio.Event()
    before = set(psutil.Process().children(recursive=True))
    task = Task(spec, {source: f"{server.url}/{film.name}"}, str(folder), FFMPEG, at_once=1)
    run = asyncio.create_task(
        Engine(300, 60, FFMPEG).produce(task, lambda phase, share: begun.set() if share > 0.05 else None)
    )
    await begun.wait()
    mine = set(psutil.Process().children(recursive=True)) - before
    began_s = time.perf_counter()
    run.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await run
    await asyncio.to_thread(psutil.wait_procs, list(mine))
    return time.perf_counter() - began_s
