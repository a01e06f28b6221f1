"""FFmpeg commands, built by ffmpeg-python, and the one runner that owns their processes.

The runner drains standard error all the time (a full pipe would stop FFmpeg) and keeps its end for error messages.
"""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg

from render.footage import Picture
from render.plan import SAMPLE_RATE
from render.spec import Quality

_X264 = {
    Quality.DRAFT: {"preset": "ultrafast", "crf": 26},
    Quality.STANDARD: {"preset": "veryfast", "crf": 19},
    Quality.HIGH: {"preset": "fast", "crf": 17},
}
_TAGS = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "color_range": "tv"}
FINISH_TIMEOUT_S = 300


class EncodeError(Exception):
    """FFmpeg failed; the message is the end of what it said."""


class Encoder:
    """Encodes pictures of one size to an H.264 file without sound."""

    def __init__(self, binary: str, path: Path, width: int, height: int, fps: Fraction, quality: Quality) -> None:
        rate = f"{fps.numerator}/{fps.denominator}"
        source = ffmpeg.input("pipe:0", format="rawvideo", pix_fmt="yuv420p", s=f"{width}x{height}", framerate=rate)
        # One time base for all pieces, or joining them would round their times.
        options = {"vcodec": "libx264", "pix_fmt": "yuv420p", "an": None, "video_track_timescale": _timescale(fps)}
        options |= {"g": max(1, round(fps * 2)), "x264-params": "colorprim=bt709:transfer=bt709:colormatrix=bt709"}
        built = source.output(str(path), format="mp4", **options, **_X264[quality], **_TAGS)
        self._process = _Process(binary, _arguments(built), stdin=subprocess.PIPE)

    def write(self, picture: Picture) -> None:
        """Adds a frame; EncodeError when FFmpeg has given up."""
        for plane in picture.planes:
            self._process.write(plane if plane.flags.c_contiguous else plane.copy())

    def finish(self) -> None:
        """Waits for the file to be whole; EncodeError."""
        self._process.finish()


def join(
    binary: str, pieces: Sequence[Path], sound: Path | None, target: Path, metadata: Mapping[str, str], work: Path
) -> None:
    """Video pieces one after the other, copied, with 16-bit sound encoded once, ready to stream from its first byte."""
    streams: list[Any] = [_listed(pieces, target, work).video]
    options: dict[str, Any] = {"vcodec": "copy"}
    if sound is not None:
        streams.append(ffmpeg.input(str(sound), format="s16le", ar=SAMPLE_RATE, ac=2).audio)
        options |= {"acodec": "aac", "audio_bitrate": "160k"}
    _write(binary, streams, options, target, metadata)


def remux(binary: str, pieces: Sequence[Path], target: Path, metadata: Mapping[str, str], work: Path) -> None:
    """Pieces with their sound one after the other, all copied, ready to stream from the first byte."""
    _write(binary, [_listed(pieces, target, work)], {"c": "copy"}, target, metadata)


def _listed(pieces: Sequence[Path], target: Path, work: Path) -> Any:
    listing = work / f"{target.stem}.ffconcat"
    listing.write_text("ffconcat version 1.0\n" + "".join(f"file '{piece.name}'\n" for piece in pieces))
    return ffmpeg.input(str(listing), format="concat", safe=1)


def _write(binary: str, streams: list[Any], options: dict[str, Any], target: Path, metadata: Mapping[str, str]) -> None:
    pairs = [f"{key}={value}" for key, value in metadata.items() if value]
    built = ffmpeg.output(*streams, str(target), format="mp4", movflags="+faststart", map_metadata=-1, **options)
    arguments = _arguments(built)
    # ffmpeg-python takes one value a name: metadata has many.
    extra = [word for pair in pairs for word in ("-metadata", pair)]
    run(binary, [*arguments[:-1], *extra, arguments[-1]])


def poster(binary: str, video: Path, target: Path, at_s: float) -> None:
    """A JPEG of the frame at a time."""
    built = ffmpeg.input(str(video), ss=f"{at_s:.3f}").output(
        str(target), vframes=1, format="image2", update=1, **{"q:v": 3}
    )
    run(binary, _arguments(built))


def run(binary: str, arguments: Sequence[str]) -> None:
    """Runs FFmpeg to its end; EncodeError."""
    _Process(binary, arguments, stdin=subprocess.DEVNULL).finish()


def _arguments(built: Any) -> list[str]:
    return ["-hide_banner", "-nostdin", "-loglevel", "error", "-y", *ffmpeg.get_args(built)]


def _timescale(fps: Fraction) -> int:
    scale = fps.numerator
    while scale < 10_000:
        scale *= 10
    return scale


class _Process:
    def __init__(self, binary: str, arguments: Sequence[str], *, stdin: int) -> None:
        self._child = subprocess.Popen(
            [binary, *arguments], stdin=stdin, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        self._said: deque[str] = deque(maxlen=20)
        self._drain = threading.Thread(target=self._listen, daemon=True)
        self._drain.start()

    def _listen(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            self._said.append(line.decode(errors="replace").rstrip())

    def write(self, data: Any) -> None:
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(memoryview(data).cast("B"))
        except BrokenPipeError as error:
            self._fail(error)

    def finish(self) -> None:
        if self._child.stdin is not None:
            try:
                self._child.stdin.close()
            except BrokenPipeError as error:
                self._fail(error)
        if self._child.wait(FINISH_TIMEOUT_S) != 0:
            self._fail(None)
        self._drain.join(5)

    def _fail(self, cause: Exception | None) -> None:
        self._child.wait(FINISH_TIMEOUT_S)
        self._drain.join(5)
        raise EncodeError(f"FFmpeg ended with {self._child.returncode}: {' / '.join(self._said)[-600:]}") from cause
