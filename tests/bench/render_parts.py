"""The further tables of the measurements of render: bytes read, chunks, memory, one encode against two."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import av

from render import draw
from render.chunk import Sources
from render.engines.capacity import PRICES
from render.spec import Clip, Mode, Output, Quality, Source, Spec
from tests.bench.render_runs import FFMPEG, SECOND, Cost, footage, lengthened, rendered
from tests.fakes.file_server import FileServer

HOURS = 2


def reading(film: Path, server: FileServer, folder: Path, seconds: int) -> Iterator[str]:
    """How much is read of long footage, against the bytes of the clips' own packets, and against what has to be read:
    a clip is decoded from the key frame before it on.
    """
    long = lengthened(film, folder / "long.mp4", HOURS * 3600 // seconds)
    size_mb = long.stat().st_size / 1e6
    yield f"bytes read by Range out of {HOURS} h, {size_mb:.0f} MB (goal: 1.20 times the clips' own)"
    for name, mode, starts, length in (
        ("one clip of 10 s, exact", Mode.EXACT, [3601.37], 10),
        ("ten clips of 6 s, instant", Mode.INSTANT, [60 + 700.03 * i for i in range(10)], 6),
        ("ten clips of 6 s, exact", Mode.EXACT, [60 + 700.03 * i for i in range(10)], 6),
    ):
        source = Source(long.name)
        output = Output("out", "out.mp4", 320, 180, quality=Quality.DRAFT)
        clips = tuple(Clip(source, round(at * SECOND), round((at + length) * SECOND)) for at in starts)
        before = server.sent_bytes
        cost = rendered(Spec(clips, output, mode=mode), server.url, folder)
        read = server.sent_bytes - before
        own = sum(clip_bytes(long, at, at + length) for at in starts)
        due = sum(clip_bytes(long, key_frame_s(long, at), at + length) for at in starts)
        index = index_bytes(long)
        sizes = f"{own / 1e6:>5.1f} MB of clips, {due / 1e6:.1f} from key frames on, {index / 1e6:.1f} of index"
        ratios = (
            f"{read / own:.2f}; without the index {(read - index) / own:.2f}, of what is due {read / (due + index):.2f}"
        )
        yield f"  {name:<27}{sizes}, {read / 1e6:.1f} read: {ratios}; {cost.wall_s:.1f} s"
    long.unlink()


def clip_bytes(path: Path, start_s: float, end_s: float) -> int:
    """The bytes of the packets that are shown and heard between two times."""
    total = 0
    with av.open(str(path)) as container:
        container.seek(int((start_s - 2) * 1_000_000))
        for packet in container.demux():
            if packet.pts is None or packet.time_base is None:
                continue
            at = float(packet.pts * packet.time_base)
            if start_s <= at < end_s:
                total += packet.size
            if at > end_s + 2:
                break
    return total


def key_frame_s(path: Path, at_s: float) -> float:
    """When the last key frame at or before a time is shown."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        assert video.time_base is not None
        container.seek(int(at_s / video.time_base), stream=video)
        packet = next(one for one in container.demux(video) if one.pts is not None and one.is_keyframe)
        return float((packet.pts or 0) * video.time_base)


def index_bytes(path: Path) -> int:
    """The size of an MP4 file's index."""
    with path.open("rb") as file:
        while head := file.read(8):
            size = int.from_bytes(head[:4], "big")
            if head[4:] == b"moov":
                return size
            if size == 1:
                file.seek(int.from_bytes(file.read(8), "big") - 16, os.SEEK_CUR)
            else:
                file.seek(size - 8, os.SEEK_CUR)
    return 0


def scaling(framed: Spec, server: FileServer, folder: Path) -> Iterator[str]:
    """One export of a minute at veryfast and 720p by 1, 2, … processes, up to one for each core."""
    clip = framed.clips[0]
    clips = tuple(clip for _ in range(max(1, 40 * SECOND // (clip.out_us - clip.in_us))))
    spec = Spec(clips, Output("out", "out.mp4", 720, 1280, quality=Quality.STANDARD))
    length_s = sum(one.out_us - one.in_us for one in clips) / SECOND
    yield f"chunks: {length_s:.0f} s framed to 720x1280, {os.cpu_count()} cores (goal: CPU of N = 2 at most 3% more)"
    counts = [n for n in (1, 2, 4, 8, 16) if n <= (os.cpu_count() or 1)]
    alone: Cost | None = None
    for count in counts:
        cost = rendered(spec, server.url, folder, at_once=count)
        alone = alone or cost
        gain = f"{alone.wall_s / cost.wall_s:.2f} times as fast, CPU {100 * (cost.cpu_s / alone.cpu_s - 1):+.1f}%"
        spent = f"{cost.wall_s:>6.1f} s, {cost.cpu_s:>6.1f} s of CPU"
        yield f"  N = {count:<3} {spent}: {gain}, largest process {cost.peak_mb:.0f} MB"
    yield "  with a core for each, as containers have their own (goal: 0.8 N times as fast)"
    walls = {}
    for count in counts:
        with on_cores(count):
            walls[count] = rendered(spec, server.url, folder, at_once=count).wall_s
        yield f"  N = {count:<3} on {count} cores {walls[count]:>6.1f} s: {walls[1] / walls[count]:.2f} times as fast"


@contextmanager
def on_cores(count: int) -> Iterator[None]:
    """What is begun meanwhile has so many cores. Of this thread alone: the server of sources keeps all."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def memory(server: FileServer, folder: Path, quality: Quality) -> Iterator[str]:
    """Peaks with 4K footage."""
    film = footage(folder / "film4k.mp4", (3840, 2160), 2)
    clip = Clip(Source(film.name), 0, 2 * SECOND)
    yield f"memory of the largest process, {quality} (goals: 1080p 400 MB, 4K to 9:16 600 MB)"
    for name, width, height in (("4K to 1080x1920", 1080, 1920), ("4K to 4K", 3840, 2160)):
        cost = rendered(Spec((clip,), Output("out", "out.mp4", width, height, quality=quality)), server.url, folder)
        yield f"  {name:<18}{cost.peak_mb:>6.0f} MB"


def one_or_two(framing: Spec, both: Spec, server: FileServer, folder: Path) -> Iterator[str]:
    """Framing and overlay in one encode, or one after the other, against the same pictures without loss."""
    yield "framing + overlay in one encode against two"
    reference = folder / "reference.mp4"
    encode_without_loss(both, server, reference)
    once, twice, between = folder / "once.mp4", folder / "twice.mp4", folder / "between.mp4"
    one = rendered(both, server.url, folder, once)
    first = rendered(framing, server.url, folder, between)
    again = replace(framing.clips[0], source=Source(between.name), crop=None)
    second = rendered(replace(both, clips=(again,)), server.url, folder, twice)
    for name, path, cpu_s in (("one encode", once, one.cpu_s), ("two encodes", twice, first.cpu_s + second.cpu_s)):
        cents = cpu_s * PRICES.core_s * 100
        alike = ssim(path, reference)
        yield f"  {name:<12} SSIM {alike:.5f}, {cpu_s:>6.1f} s of CPU, {cents:.3f} cents on Modal's list"


def encode_without_loss(spec: Spec, server: FileServer, target: Path) -> None:
    """The export's pictures as they are drawn."""
    sources = Sources({clip.source: f"{server.url}/{clip.source.key}" for clip in spec.clips})
    made = sources.survey(spec).plan()
    command = [FFMPEG, "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    command += ["-s", f"{made.width}x{made.height}", "-framerate", str(made.fps), "-i", "pipe:0"]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0", str(target)]
    clips = draw.Clips(made, lambda clip: sources.open(clip.clip.source), lambda *_: None, heard=False)
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        for number, frame in enumerate(clips.frames(0, made.frames)):
            for plane in clips.finished(frame, number).planes:
                child.stdin.write(plane.tobytes())
    sources.close()


def ssim(path: Path, reference: Path) -> float:
    """Structural similarity of all planes, 1 when they are the same."""
    command = [FFMPEG, "-hide_banner", "-nostdin", "-i", str(path), "-i", str(reference), "-lavfi", "ssim"]
    told = subprocess.run([*command, "-f", "null", "-"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"All:([0-9.]+)", told)
    return float(found[1]) if found else float("nan")
