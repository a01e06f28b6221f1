"""Measures render and prints one table: `python -m tests.bench.render [--seconds 8] [--rounds 3] [--only framing]`.

Each kind of export runs as it does in the service: the worker's child process, its source behind HTTP Range requests on
loopback. Its floor is one bare FFmpeg that decodes the same file, crops and scales statically and encodes with the same
x264 settings and sound. What counts is the ratio of the two within one round; the table holds the median round's. The
source is synthetic: grass with fine noise, eight players, a panning camera, a tone.
"""

from __future__ import annotations

import argparse
import json
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import imageio_ffmpeg

from render.products import Task
from render.spec import (
    Clip,
    Crop,
    CropKey,
    Dissolve,
    Effect,
    EffectKind,
    EllipseKey,
    Mode,
    Output,
    Overlay,
    Quality,
    Source,
    Spec,
    SpeedSpan,
    Spotlight,
)
from tests.fakes import file_server

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
ROOT = Path(__file__).resolve().parents[2]
# The goals were set against x264's preset fast, which is Quality.HIGH here.
X264 = {
    Quality.HIGH: ("-c:v", "libx264", "-preset", "fast", "-crf", "17", "-g", "60", "-pix_fmt", "yuv420p"),
    Quality.STANDARD: ("-c:v", "libx264", "-preset", "veryfast", "-crf", "19", "-g", "60", "-pix_fmt", "yuv420p"),
}
SOUND = ("-c:a", "aac", "-b:a", "160k", "-ac", "2", "-ar", "48000")
SECOND = 1_000_000


@dataclass(frozen=True)
class Cost:
    """What a run took: wall and CPU seconds, its largest process's memory, and what it told."""

    wall_s: float
    cpu_s: float
    peak_mb: float
    told: str = ""


@dataclass(frozen=True)
class Kind:
    """An export beside its floor; a goal is a ratio of wall times."""

    name: str
    spec: Spec
    floor: tuple[str, ...]
    goal: float | None


def main() -> int:
    """Runs everything."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=8)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--height", type=int, default=1080)
    options.add_argument("--minutes", type=int, default=20, help="length of the footage that clips are cut out of")
    options.add_argument("--quality", choices=[one.value for one in X264], default=Quality.HIGH.value)
    options.add_argument("--only", default="", help="kinds whose name has this in it")
    asked = options.parse_args()
    quality = Quality(asked.quality)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = (asked.height * 16 // 9 // 2 * 2, asked.height)
        film = footage(folder / "film.mp4", size, asked.seconds)
        print(f"source {size[0]}x{size[1]}, 30 fps, {asked.seconds} s, {film.stat().st_size / 1e6:.1f} MB;", end=" ")
        print(
            f"{os.cpu_count()} cores, quality {quality}, {asked.rounds} rounds; ratios to the floor of the same round\n"
        )
        print(f"{'export':<34}{'floor s':>9}{'ours s':>9}{'wall':>7}{'goal':>7}{'CPU':>7}{'memory':>9}")
        with file_server.serve(folder) as server:
            for kind in kinds(film, size, asked.seconds, quality):
                if asked.only in kind.name:
                    print(measured(kind, film, server.url, folder, asked.rounds), flush=True)
            if asked.only:
                return 0
            print(f"\nclips of {asked.minutes} min of footage, by Range")
            long = lengthened(film, folder / "long.mp4", asked.minutes * 60 // asked.seconds)
            for mode in (Mode.EXACT, Mode.INSTANT):
                print(reading(long, server, folder, mode, asked.minutes * 60), flush=True)
    return 0


def footage(path: Path, size: tuple[int, int], seconds: int) -> Path:
    """Writes the source."""
    width, height = size
    wide = f"{width * 5 // 4 // 2 * 2}x{height}"
    grass = f"color=c=0x3f7a35:s={wide}:r=30:d={seconds},noise=c0s=34:c0f=p,gblur=sigma=1.1,noise=c0s=10:c0f=p"
    boxes = ",".join(
        f"drawbox=x={(i * 2 + 1) * width // 14}:y={height * (30 + 9 * (i % 5)) // 100}:w={width // 60}:h={height // 14}"
        f":c={('red', 'white', 'blue', 'yellow')[i % 4]}:t=fill"
        for i in range(8)
    )
    pan = f"crop={width}:{height}:x='(iw-ow)/2*(1+sin(t*0.7))':y=0,noise=c0s=3:c0f=t"
    tone = f"sine=frequency=330:sample_rate=48000:duration={seconds}"
    command = ("-f", "lavfi", "-i", f"{grass},{boxes},{pan}", "-f", "lavfi", "-i", tone)
    encode = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "21", "-g", "30", "-pix_fmt", "yuv420p")
    ran([FFMPEG, "-y", "-loglevel", "error", *command, *encode, *SOUND, "-movflags", "+faststart", str(path)])
    return path


def lengthened(film: Path, path: Path, times: int) -> Path:
    """The same over and over, as a camera writes it: an index behind everything."""
    ran([FFMPEG, "-y", "-loglevel", "error", "-stream_loop", str(times - 1), "-i", str(film), "-c", "copy", str(path)])
    return path


def kinds(film: Path, size: tuple[int, int], seconds: int, quality: Quality) -> list[Kind]:
    """The exports of the product, each with what FFmpeg alone would do at least."""
    width, height = size
    tall = Output("out", "out.mp4", height, width, quality=quality)
    end = seconds * SECOND
    clip = Clip(Source(film.name), 0, end, crop=moving_crop(size, end))
    light = overlay(end)
    own = Clip(Source(film.name), 0, end)
    same = Output("out", "out.mp4", width, height, quality=quality)
    chopped = f"crop={height * 9 // 16 // 2 * 2}:{height},scale={height}:{width}"
    thirds = [replace(own, in_us=i * end // 3, out_us=(i + 1) * end // 3, output_name=f"c{i}.mp4") for i in range(3)]
    captioned = [replace(one, caption_title="Goal ★★★★★", caption_text="left foot, from 20 m") for one in thirds]
    slow = replace(own, speed_spans=(SpeedSpan(end // 4, end // 2, Fraction(1, 2)),))
    halves = (replace(own, out_us=end // 2), replace(own, in_us=end // 2))
    return [
        Kind("framing 9:16, moving and zooming", Spec((clip,), tall), ("-vf", chopped), 1.20),
        Kind("overlay: dim outside, ring", Spec((own,), same, overlays=(light,)), (), 1.06),
        Kind("framing + overlay, one encode", Spec((clip,), tall, overlays=(light,)), ("-vf", chopped), 1.25),
        Kind("annotate: 3 clips and joined", Spec(tuple(thirds), same), (), 1.05),
        Kind("annotate with captions", Spec(tuple(captioned), same), (), 1.05),
        Kind("annotate instant", Spec(tuple(thirds), same, mode=Mode.INSTANT), (), 0.02),
        Kind("a quarter at half speed", Spec((slow,), same), (), None),
        Kind("dissolve of 1 s", Spec(halves, same, dissolves=(Dissolve(0, SECOND),)), (), None),
    ]


def moving_crop(size: tuple[int, int], end_us: int) -> Crop:
    """A window of 9:16 that wanders and zooms."""
    share = size[1] * 9 / 16 / size[0]
    keys = [(0.0, 0.10, 1.0), (0.3, 0.34, 0.8), (0.6, 0.45, 0.7), (1.0, 0.60, 0.95)]
    return Crop(tuple(CropKey(round(at * end_us), x, (1 - z) / 2, share * z, z) for at, x, z in keys))


def overlay(end_us: int) -> Overlay:
    """A spotlight that follows somebody over the whole video."""
    effects = (Effect(EffectKind.DIM_OUTSIDE, 0.7), Effect(EffectKind.RING, 0.9, "#ffd400"))
    keys = tuple(EllipseKey(round(at * end_us), 0.2 + 0.6 * at, 0.5, 0.08, 0.16) for at in (0.0, 0.4, 1.0))
    return Overlay(0, end_us, Spotlight(keys, effects), 300_000)


def measured(kind: Kind, film: Path, url: str, folder: Path, rounds: int) -> str:
    """A line of the table."""
    pairs: list[tuple[Cost, Cost]] = []
    for number in range(rounds):

        def floor() -> Cost:
            command = ["-i", str(film), *kind.floor, *X264[kind.spec.output.quality], *SOUND, "-movflags", "+faststart"]
            return ran([FFMPEG, "-y", "-loglevel", "error", *command, str(folder / "floor.mp4")])

        def ours() -> Cost:
            return rendered(kind.spec, url, folder)

        first: Callable[[], Cost] = ours if number % 2 else floor
        one = first()
        other = floor() if number % 2 else ours()
        pairs.append((other, one) if number % 2 else (one, other))
    low, own = sorted(pairs, key=lambda pair: pair[1].wall_s / pair[0].wall_s)[len(pairs) // 2]
    cpu = statistics.median(b.cpu_s / a.cpu_s for a, b in pairs)
    goal = f"{kind.goal:.2f}" if kind.goal else ""
    ratio = own.wall_s / low.wall_s
    return f"{kind.name:<34}{low.wall_s:>9.2f}{own.wall_s:>9.2f}{ratio:>7.2f}{goal:>7}{cpu:>7.2f}{own.peak_mb:>6.0f} MB"


def reading(film: Path, server: file_server.FileServer, folder: Path, mode: Mode, seconds: int) -> str:
    """How much is read for ten clips of 6 s out of long footage, against the clips' own bytes."""
    source = Source(film.name)
    clips = tuple(
        Clip(source, at, at + 6 * SECOND, output_name=f"c{i}.mp4")
        for i, at in enumerate((i * 2 + 1) * seconds * SECOND // 20 for i in range(10))
    )
    before = server.sent_bytes
    cost = rendered(Spec(clips, Output("out", "out.mp4"), mode=mode), server.url, folder)
    read = (server.sent_bytes - before) / 1e6
    own = film.stat().st_size * 60 / seconds / 1e6
    return (
        f"{mode.value:<8} {film.stat().st_size / 1e6:.0f} MB of footage, ten clips of 6 s are {own:.1f} MB: "
        f"{read:.1f} MB read, ratio {read / own:.2f} (goal 1.20), {cost.wall_s:.1f} s"
    )


def rendered(spec: Spec, url: str, folder: Path) -> Cost:
    """One attempt, in the worker's own process."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        sources = {clip.source: f"{url}/{clip.source.key}" for clip in spec.clips}
        task = pickle.dumps(Task(spec, sources, work, FFMPEG))
        cost = ran([sys.executable, "-m", "render.worker"], task)
        last = json.loads(cost.told.splitlines()[-1])
        if "products" not in last:
            raise SystemExit(f"the export failed: {last}")
        return cost


def ran(command: list[str], data: bytes = b"") -> Cost:
    """Runs a command to its end, its children included."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as task:
        task.write(data)
        task.seek(0)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        child = subprocess.Popen(command, stdin=task, stdout=told, env=environment, cwd=ROOT)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - began
        told.seek(0)
        text = told.read().decode(errors="replace")
    if child.returncode:
        raise SystemExit(f"{command[0]} ended with {child.returncode}: {text[-500:]}")
    return Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, text)


if __name__ == "__main__":
    sys.exit(main())
