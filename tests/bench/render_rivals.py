"""The same framing by the usual ways: MoviePy, and a loop of OpenCV frames piped to FFmpeg.

MoviePy is no part of what developing needs: `make bench-render` puts it, locked, into a folder of its own, and without
that it is left out.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from render.chunk import Sources
from render.spec import Spec
from tests.bench.render_runs import FFMPEG, ROOT, X264, ran, rendered

MOVIEPY = ROOT / ".venv" / "moviepy"

_OPENCV = """
import json, subprocess, sys
import cv2
told = json.load(sys.stdin)
width, height = told["size"]
film = cv2.VideoCapture(told["film"])
encoder = subprocess.Popen([told["ffmpeg"], "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s",
    f"{width}x{height}", "-framerate", "30", "-i", "pipe:0", "-i", told["film"], "-map", "0:v", "-map", "1:a",
    *told["encode"], "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "160k", told["target"]], stdin=subprocess.PIPE)
for x, y, w, h in told["windows"]:
    ok, frame = film.read()
    if not ok:
        break
    x, y, w, h = round(x), round(y), round(w), round(h)
    encoder.stdin.write(cv2.resize(frame[y:y + h, x:x + w], (width, height), interpolation=cv2.INTER_CUBIC).tobytes())
encoder.stdin.close()
sys.exit(encoder.wait())
"""

_MOVIEPY = """
import json, os, sys
told = json.load(sys.stdin)
os.environ["FFMPEG_BINARY"] = told["ffmpeg"]
import numpy as np
from PIL import Image
from moviepy import VideoFileClip
width, height = told["size"]
film = VideoFileClip(told["film"])
windows = told["windows"]

def framed(get_frame, t):
    x, y, w, h = (round(v) for v in windows[min(len(windows) - 1, round(t * 30))])
    return np.asarray(Image.fromarray(get_frame(t)[y:y + h, x:x + w]).resize((width, height), Image.BICUBIC))

encode = told["encode"]
film.transform(framed).write_videofile(told["target"], fps=30, codec="libx264", preset=encode[3], audio_codec="aac",
    audio_bitrate="160k", ffmpeg_params=[*encode[4:]], logger=None)
"""


def table(framed: Spec, film: Path, url: str, folder: Path) -> Iterator[str]:
    """Wall and CPU of each way, against ours in the same round."""
    sources = Sources({clip.source: f"{url}/{clip.source.key}" for clip in framed.clips})
    made = sources.survey(framed).plan()
    sources.close()
    (clip,) = made.clips
    aspect = made.width / made.height
    windows = [clip.window(float(clip.source_time(k, made.fps)), aspect) for k in range(clip.frames)]
    told = {
        "film": str(film),
        "ffmpeg": FFMPEG,
        "size": [made.width, made.height],
        "encode": list(X264[framed.output.quality]),
        "windows": [[one.x, one.y, one.width, one.height] for one in windows],
        "target": str(folder / "rival.mp4"),
    }
    ours = rendered(framed, url, folder)
    yield "the same framing by other ways, against ours in the same round"
    yield f"  {'ours':<24}{ours.wall_s:>6.1f} s, CPU {ours.cpu_s:>6.1f} s; windows at parts of a pixel"
    ways: list[tuple[str, str, tuple[str, ...]]] = [("OpenCV loop, BGR pipe", _OPENCV, ())]
    if MOVIEPY.is_dir():
        ways.append(("MoviePy", _MOVIEPY, (str(MOVIEPY),)))
    for name, script, paths in ways:
        cost = ran([sys.executable, "-c", script], json.dumps(told).encode(), paths)
        ratio = f"{cost.wall_s / ours.wall_s:.2f} times our wall, {cost.cpu_s / ours.cpu_s:.2f} times our CPU"
        yield f"  {name:<24}{cost.wall_s:>6.1f} s, CPU {cost.cpu_s:>6.1f} s: {ratio}; whole pixels, colours through BGR"
    if not MOVIEPY.is_dir():
        yield "  MoviePy is not installed: `make bench-render` does"
