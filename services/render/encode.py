"""FFmpeg commands, built by ffmpeg-python, and the one runner that owns their processes.

The runner drains standard error all the time (a full pipe would stop FFmpeg) and keeps its end for error messages.
"""

from __future__ import annotations

import contextlib
import fcntl
import queue
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
# What the pictures are, said before the encoder: said to the encoder alone, FFmpeg would convert them from a guess.
_COLORS = {"colorspace": "bt709", "color_primaries": "bt709", "color_trc": "bt709", "range": "tv"}
FINISH_TIMEOUT_S = 300
AHEAD_FRAMES = 4  # drawn while FFmpeg is still busy
PIPE_BYTES = 1 << 20
# Edit lists count in it: whole samples at 48 kHz and whole frames at the usual rates.
MOVIE_TIMESCALE = 240_000


@dataclass(frozen=True)
class Tags:
    """What a file says of itself; chapters are (start in microseconds, title) in order, the last ends at the end."""

    title: str = ""
    notes: str = ""
    chapters: tuple[tuple[int, str], ...] = ()
    duration_us: int = 0


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
        built = source.filter("setparams", **_COLORS).output(str(path), format="mp4", **options, **_X264[quality])
        self._process = _Process(binary, _arguments(built), stdin=subprocess.PIPE)
        self._queue: queue.Queue[Picture | None] = queue.Queue(AHEAD_FRAMES)
        self._failure: EncodeError | None = None
        self._writer = threading.Thread(target=self._write_on, daemon=True)
        self._writer.start()

    def write(self, picture: Picture) -> None:
        """Adds a frame, which must not change any more; EncodeError when FFmpeg has given up."""
        self._queue.put(picture)
        if self._failure is not None:
            raise self._failure

    def finish(self) -> None:
        """Waits for the file to be whole; EncodeError."""
        self._queue.put(None)
        self._writer.join()
        if self._failure is not None:
            raise self._failure
        self._process.finish()

    def _write_on(self) -> None:
        """Writes while the next frames are drawn; what comes after a failure is dropped."""
        while (picture := self._queue.get()) is not None:
            if self._failure is not None:
                continue
            try:
                for plane in picture.planes:
                    self._process.write(plane if plane.flags.c_contiguous else plane.copy())
            except EncodeError as error:
                self._failure = error


def join(
    binary: str,
    pieces: Sequence[Path],
    sound: Path | None,
    target: Path,
    tags: Tags,
    work: Path,
    beat: Callable[[], None],
) -> None:
    """Video pieces one after the other, copied, with 16-bit sound encoded once, ready to stream from its first byte."""
    streams: list[Any] = [_listed(pieces, target, work).video]
    options: dict[str, Any] = {"vcodec": "copy"}
    if sound is not None:
        streams.append(ffmpeg.input(str(sound), format="s16le", ar=SAMPLE_RATE, ac=2).audio)
        options |= {"acodec": "aac", "audio_bitrate": "160k"}
    _write(binary, streams, options, target, tags, work, beat)


def _listed(pieces: Sequence[Path], target: Path, work: Path) -> Any:
    listing = work / f"{target.stem}.ffconcat"
    listing.write_text("ffconcat version 1.0\n" + "".join(f"file '{piece.name}'\n" for piece in pieces))
    return ffmpeg.input(str(listing), format="concat", safe=1)


def _write(
    binary: str,
    streams: list[Any],
    options: dict[str, Any],
    target: Path,
    tags: Tags,
    work: Path,
    beat: Callable[[], None],
) -> None:
    told = work / f"{target.stem}.ffmetadata"
    told.write_text(_told(tags))
    options |= {"format": "mp4", "movflags": "+faststart", "movie_timescale": MOVIE_TIMESCALE}
    options |= {"map_metadata": len(streams), "map_chapters": len(streams)}
    arguments = _arguments(ffmpeg.output(*streams, str(target), **options))
    # An input without a stream, which ffmpeg-python cannot say: after the others.
    after = len(arguments) - arguments[::-1].index("-i") + 1
    run(binary, [*arguments[:after], "-f", "ffmetadata", "-i", str(told), *arguments[after:]], beat)


def _told(tags: Tags) -> str:
    lines = [";FFMETADATA1"]
    lines += [f"{key}={_escaped(text)}" for key, text in (("title", tags.title), ("comment", tags.notes)) if text]
    ends = [*(start for start, _ in tags.chapters[1:]), tags.duration_us]
    for (start, title), end in zip(tags.chapters, ends, strict=False):
        lines += ["[CHAPTER]", "TIMEBASE=1/1000000", f"START={start}", f"END={max(start, end)}"]
        lines.append(f"title={_escaped(title)}")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    # FFmpeg takes a backslash before a line's end for an escape of it, escaped or not.
    text = text.rstrip("\\")
    return "".join(f"\\{one}" if one in "=;#\\\n" else one for one in text)


def poster(binary: str, video: Path, target: Path, at_s: float) -> None:
    """A JPEG of the frame at a time."""
    built = ffmpeg.input(str(video), ss=f"{at_s:.3f}").output(
        str(target), vframes=1, format="image2", update=1, **{"q:v": 3}
    )
    run(binary, _arguments(built))


def run(binary: str, arguments: Sequence[str], beat: Callable[[], None] = lambda: None) -> None:
    """Runs FFmpeg to its end, with a `beat` for each of its own; EncodeError."""
    process = _Process(binary, ["-progress", "pipe:1", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    process.follow(beat)
    process.finish()


def _arguments(built: Any) -> list[str]:
    return ["-hide_banner", "-nostdin", "-loglevel", "error", "-y", *ffmpeg.get_args(built)]


def _timescale(fps: Fraction) -> int:
    scale = fps.numerator
    while scale < 10_000:
        scale *= 10
    return scale


class _Process:
    def __init__(self, binary: str, arguments: Sequence[str], *, stdin: int, stdout: int = subprocess.DEVNULL) -> None:
        self._child = subprocess.Popen([binary, *arguments], stdin=stdin, stdout=stdout, stderr=subprocess.PIPE)
        if self._child.stdin is not None:
            with contextlib.suppress(OSError):  # the system may allow no more than it gave
                fcntl.fcntl(self._child.stdin, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._said: deque[str] = deque(maxlen=20)
        self._drain = threading.Thread(target=self._listen, daemon=True)
        self._drain.start()

    def _listen(self) -> None:
        assert self._child.stderr is not None
        for line in self._child.stderr:
            self._said.append(line.decode(errors="replace").rstrip())

    def follow(self, beat: Callable[[], None]) -> None:
        """Listens to its reports of progress until it closes them, each of which tells whether it came on."""
        assert self._child.stdout is not None
        before = b""
        for line in self._child.stdout:
            if line.startswith((b"out_time_us=", b"total_size=")) and line != before:
                before = line
                beat()

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
