"""What the measurements of render share: synthetic footage, and runs of which wall, CPU and memory are known."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

from render.products import Task
from render.spec import Quality, Spec

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
ROOT = Path(__file__).resolve().parents[2]
# The goals were set against x264's preset fast, which is Quality.HIGH here.
X264 = {
    Quality.HIGH: ("-c:v", "libx264", "-preset", "fast", "-crf", "17", "-rc-lookahead", "10", "-g", "60"),
    Quality.STANDARD: ("-c:v", "libx264", "-preset", "veryfast", "-crf", "19", "-g", "60"),
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


def footage(path: Path, size: tuple[int, int], seconds: float) -> Path:
    """Writes the source: grass with fine noise, eight players, a panning camera, a tone; a key frame each second."""
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
    ffmpeg(*command, *encode, *SOUND, "-movflags", "+faststart", str(path))
    return path


def lengthened(film: Path, path: Path, times: int) -> Path:
    """The same over and over, as a camera writes it: an index behind everything."""
    ffmpeg("-stream_loop", str(times - 1), "-i", str(film), "-c", "copy", str(path))
    return path


def ffmpeg(*arguments: str) -> Cost:
    """Runs bare FFmpeg."""
    return ran([FFMPEG, "-y", "-hide_banner", "-nostdin", "-loglevel", "error", *arguments])


def floor(source: Path, target: Path, filters: Sequence[str], quality: Quality) -> Cost:
    """Bare FFmpeg: the file decoded, filtered and encoded with the same settings and sound."""
    encode = [*X264[quality], "-pix_fmt", "yuv420p", *SOUND, "-movflags", "+faststart"]
    return ffmpeg("-i", str(source), *filters, *encode, str(target))


def rendered(spec: Spec, url: str, folder: Path, keep: Path | None = None, at_once: int = 1) -> Cost:
    """One attempt, in the worker's own process; its joined video is moved to `keep`."""
    with tempfile.TemporaryDirectory(dir=folder) as work:
        sources = {clip.source: f"{url}/{clip.source.key}" for clip in spec.clips}
        task = pickle.dumps(Task(spec, sources, work, FFMPEG, at_once=at_once))
        cost = ran([sys.executable, "-m", "render.worker"], task)
        last = json.loads(cost.told.splitlines()[-1])
        if "products" not in last:
            raise SystemExit(f"the export failed: {last}")
        if keep is not None:
            (Path(work) / spec.output.name).rename(keep)
        return cost


def ran(command: Sequence[str], data: bytes = b"", paths: Sequence[str] = ()) -> Cost:
    """Runs a command to its end, its children included."""
    began = time.perf_counter()
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as task:
        task.write(data)
        task.seek(0)
        searched = [*paths, *(path for path in sys.path if path)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(searched)}
        child = subprocess.Popen(command, stdin=task, stdout=told, env=environment, cwd=ROOT)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        wall_s = time.perf_counter() - began
        told.seek(0)
        text = told.read().decode(errors="replace")
    if child.returncode:
        raise SystemExit(f"{command[0]} ended with {child.returncode}: {text[-500:]}")
    return Cost(wall_s, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, text)
