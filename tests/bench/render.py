"""Measures render and prints its table: `python -m tests.bench.render [--seconds 10] [--rounds 1] [--only framing]`.

Each kind of export runs as it does in the service: the worker's child process, its source behind HTTP Range requests on
loopback. It stands beside two runs of bare FFmpeg with the same x264 settings and sound:

- the floor, that the goals were set against: the same file decoded, cropped and scaled without moving, encoded;
- the same pictures: our own result decoded and encoded again. A window that moves and zooms costs x264 more bits and
  time than one that stands still, whoever draws it; this leaves only what our drawing costs.

Framing also stands beside FFmpeg's own filters for the same moving window, which place it to a pixel.

What counts is the ratio within one round; with several rounds the table holds the median one's.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

from render.engines.capacity import PRICES
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
from tests.bench import render_exactness, render_parts, render_rivals
from tests.bench.render_runs import SECOND, X264, Cost, floor, footage, lengthened, rendered
from tests.fakes import file_server

MINUTE = "annotate instant: a minute"


@dataclass(frozen=True)
class Kind:
    """An export beside its floor; a goal is a ratio of wall times."""

    name: str
    spec: Spec
    filters: tuple[str, ...]
    goal: float | None
    moving: tuple[str, ...] = ()  # FFmpeg's filters for the same edit, to a pixel


def main() -> int:
    """Runs everything."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--seconds", type=int, default=10)
    options.add_argument("--rounds", type=int, default=1)
    options.add_argument("--height", type=int, default=1080)
    options.add_argument("--quality", choices=[one.value for one in X264], default=Quality.HIGH.value)
    options.add_argument("--only", default="", help="kinds and parts whose name has this in it")
    asked = options.parse_args()
    quality = Quality(asked.quality)
    with tempfile.TemporaryDirectory() as name, file_server.serve(Path(name)) as server:
        folder = Path(name)
        size = (asked.height * 16 // 9 // 2 * 2, asked.height)
        film = footage(folder / "film.mp4", size, asked.seconds)
        print(
            f"{size[0]}x{size[1]}, 30 fps, {asked.seconds} s, {film.stat().st_size / 1e6:.1f} MB; {os.cpu_count()}",
            end=" ",
        )
        print(f"cores, load {os.getloadavg()[0]:.1f}, quality {quality}, {asked.rounds} rounds\n")
        print(f"{'':<34}{'to the floor':>25}{'to the same':>15}")
        named = f"{'export':<34}{'wall':>7}{'goal':>7}{'CPU':>7}{'wall':>9}{'CPU':>7}{'ours s':>8}{'CPU s':>7}"
        print(f"{named}{'memory':>9}  Modal, a minute of it")
        for kind in kinds(film, size, asked.seconds, quality):
            if asked.only in kind.name:
                print(measured(kind, film, server.url, folder, asked.rounds, asked.seconds), flush=True)
        if asked.only in MINUTE:
            times = max(1, 60 // asked.seconds)
            minute = lengthened(film, folder / "minute.mp4", times)
            clip = Clip(Source(minute.name), 0, times * asked.seconds * SECOND)
            instant = Kind(
                MINUTE, Spec((clip,), Output("out", "out.mp4", quality=quality), mode=Mode.INSTANT), (), 0.02
            )
            print(measured(instant, minute, server.url, folder, 1, times * asked.seconds), flush=True)
        exports = kinds(film, size, asked.seconds, quality)
        parts: dict[str, Callable[[], Iterator[str]]] = {
            "rivals": lambda: render_rivals.table(exports[0].spec, film, server.url, folder),
            "reading": lambda: render_parts.reading(film, server, folder, asked.seconds),
            "chunks": lambda: render_parts.scaling(exports[0].spec, server, folder),
            "memory": lambda: render_parts.memory(server, folder, quality),
            "exactness": lambda: render_exactness.table(film, server, folder),
            "one encode": lambda: render_parts.one_or_two(exports[0].spec, exports[2].spec, server, folder),
        }
        for name, part in parts.items():
            if asked.only in name:
                print()
                for line in part():
                    print(line, flush=True)
    return 0


def kinds(film: Path, size: tuple[int, int], seconds: int, quality: Quality) -> list[Kind]:
    """The exports of the product, each with what FFmpeg alone would do at least."""
    width, height = size
    tall = Output("out", "out.mp4", height, width, quality=quality)
    end = seconds * SECOND
    clip = Clip(Source(film.name), 0, end, crop=moving_crop(size, end))
    light = overlay(end)
    own = Clip(Source(film.name), 0, end)
    bare = Output("out", "out.mp4", quality=quality)
    same = Output("out", "out.mp4", width, height, quality=quality)
    chopped = f"crop={height * 9 // 16 // 2 * 2}:{height},scale={height}:{width}"
    thirds = [replace(own, in_us=i * end // 3, out_us=(i + 1) * end // 3, output_name=f"c{i}.mp4") for i in range(3)]
    captioned = replace(own, caption_title="Goal ★★★★★", caption_text="left foot, from 20 m")
    slow = replace(own, speed_spans=(SpeedSpan(end // 4, end // 2, Fraction(1, 2)),))
    halves = (replace(own, out_us=end // 2), replace(own, in_us=end // 2))
    return [
        Kind(
            "framing 9:16, moving and zooming", Spec((clip,), tall), ("-vf", chopped), 1.20, moving_filters(size, end)
        ),
        Kind("overlay: dim outside, ring", Spec((own,), same, overlays=(light,)), (), 1.06),
        Kind("framing + overlay, one encode", Spec((clip,), tall, overlays=(light,)), ("-vf", chopped), 1.25),
        Kind("annotate: 3 clips and joined", Spec(tuple(thirds), same), (), None),
        Kind("annotate: a clip with its caption", Spec((captioned,), same), (), 1.05),
        Kind("annotate instant: a clip", Spec((own,), bare, mode=Mode.INSTANT), (), None),
        Kind("a quarter at half speed", Spec((slow,), same), (), None),
        Kind("dissolve of 1 s", Spec(halves, same, dissolves=(Dissolve(0, SECOND),)), (), None),
    ]


MOVES = (
    (0.0, 0.10, 1.0),
    (0.3, 0.34, 0.8),
    (0.6, 0.45, 0.7),
    (1.0, 0.60, 0.95),
)  # share of the time, left edge, height


def moving_crop(size: tuple[int, int], end_us: int) -> Crop:
    """A window of 9:16 that wanders and zooms."""
    share = size[1] * 9 / 16 / size[0]
    return Crop(tuple(CropKey(round(at * end_us), x, (1 - z) / 2, share * z, z) for at, x, z in MOVES))


def moving_filters(size: tuple[int, int], end_us: int) -> tuple[str, ...]:
    """About the same by FFmpeg: straight from key to key, the whole frame scaled and the window cut out of that."""
    width, height = size

    def between(which: int) -> str:
        told = f"{MOVES[-1][which]}"
        for a, b in reversed(list(pairwise(MOVES))):
            from_s, to_s = a[0] * end_us / SECOND, b[0] * end_us / SECOND
            slope = (b[which] - a[which]) / (to_s - from_s)
            told = f"if(lt(t,{to_s}),{a[which]}+({slope})*(t-{from_s}),{told})"
        return told

    left, tall = between(1), between(2)
    scaled = f"scale=w='trunc({width}*{width}/({height}*({tall}))/2)*2':h='trunc({width}/({tall})/2)*2':eval=frame"
    at = f"x='({left})*{width}*{width}/({height}*({tall}))':y='({width}/({tall})-{width})/2'"
    return "-vf", f"{scaled}:flags=bicubic,crop={height}:{width}:{at}:exact=1"


def overlay(end_us: int) -> Overlay:
    """A spotlight that follows somebody over the whole video."""
    effects = (Effect(EffectKind.DIM_OUTSIDE, 0.7), Effect(EffectKind.RING, 0.9, "#ffd400"))
    keys = tuple(EllipseKey(round(at * end_us), 0.2 + 0.6 * at, 0.5, 0.08, 0.16) for at in (0.0, 0.4, 1.0))
    return Overlay(0, end_us, Spotlight(keys, effects), 300_000)


def measured(kind: Kind, film: Path, url: str, folder: Path, rounds: int, seconds: int) -> str:
    """A line of the table."""
    quality = kind.spec.output.quality
    result, target = folder / "result.mp4", folder / "floor.mp4"
    copied = kind.spec.mode is Mode.INSTANT
    trios: list[tuple[Cost, Cost, Cost]] = []
    for number in range(rounds):
        if number % 2:
            low = floor(film, target, kind.filters, quality)
            own = rendered(kind.spec, url, folder, result)
        else:
            own = rendered(kind.spec, url, folder, result)
            low = floor(film, target, kind.filters, quality)
        same = low if copied else floor(result, target, (), quality)
        trios.append((low, own, same))
    low, own, same = sorted(trios, key=lambda trio: trio[1].cpu_s / trio[0].cpu_s)[len(trios) // 2]
    goal = f"{kind.goal:.2f}" if kind.goal else ""
    of_floor = f"{own.wall_s / low.wall_s:>7.2f}{goal:>7}{own.cpu_s / low.cpu_s:>7.2f}"
    of_same = "" if copied else f"{own.wall_s / same.wall_s:.2f}   {own.cpu_s / same.cpu_s:.2f}"
    moved = ""
    if kind.moving:
        other = floor(film, target, kind.moving, quality)
        ratios = f"{own.wall_s / other.wall_s:>7.2f}{'':>7}{own.cpu_s / other.cpu_s:>7.2f}"
        moved = f"\n{'  beside FFmpeg moving its window':<34}{ratios}"
    cents = own.cpu_s / seconds * 60 * PRICES.core_s * 100
    last = f"{own.wall_s:>8.1f}{own.cpu_s:>7.1f}{own.peak_mb:>6.0f} MB"
    return (
        f"{kind.name:<34}{of_floor}{of_same:>16}{last}  {own.cpu_s / seconds * 60:.0f} core s, {cents:.2f} cents{moved}"
    )


if __name__ == "__main__":
    raise SystemExit(main())
