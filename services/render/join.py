"""FFmpeg commands, built by ffmpeg-python, and the one runner that owns their processes: pieces joined, stills.

The runner drains standard error all the time (a full pipe would stop FFmpeg) and keeps its end for error messages.
"""

from __future__ import annotations

import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ffmpeg

from render.encode import EncodeError
from render.plan import SAMPLE_RATE

FINISH_TIMEOUT_S = 300
# Edit lists count in it: whole samples at 48 kHz and whole frames at the usual rates.
MOVIE_TIMESCALE = 240_000


@dataclass(frozen=True)
class Tags:
    """What a file says of itself; chapters are (start in microseconds, title) in order, the last ends at the end."""

    title: str = ""
    notes: str = ""
    chapters: tuple[tuple[int, str], ...] = ()
    duration_us: int = 0


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
    listing.write_text("ffconcat version 1.0\n" + "".join(f"file '{_quoted(piece)}'\n" for piece in pieces))
    return ffmpeg.input(str(listing), format="concat", safe=0)  # the paths are ours


def _quoted(piece: Path) -> str:
    return str(piece.absolute()).replace("'", "'\\''")


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
    process = _Process(binary, ["-progress", "pipe:1", *arguments])
    process.follow(beat)
    process.finish()


def _arguments(built: Any) -> list[str]:
    return ["-hide_banner", "-nostdin", "-loglevel", "error", "-y", *ffmpeg.get_args(built)]


class _Process:
    def __init__(self, binary: str, arguments: Sequence[str]) -> None:
        self._child = subprocess.Popen(
            [binary, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
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

    def finish(self) -> None:
        status = self._child.wait(FINISH_TIMEOUT_S)
        self._drain.join(5)
        if status != 0:
            raise EncodeError(f"FFmpeg ended with {status}: {' / '.join(self._said)[-600:]}")
