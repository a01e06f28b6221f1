"""Decoding of footage as it comes from phones and cameras: 8-bit planes in display orientation, at asked times, and
its sound.

1. `frames` yields, for each asked time, the latest frame whose time is not after it, and the first frame before that
   (tests/render/test_footage.py, with variable frame rates too).
2. Only real containers are opened: a playlist or a session description under another name is unreadable and causes no
   connection (tests/render/test_hostile.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, BinaryIO

import av
import numpy as np
from av.stream import Discard
from av.video.reformatter import ColorRange, Colorspace
from numpy.typing import NDArray

from render import orientation, tonemap
from render.plan import MICRO, SourceInfo
from render.recorded import Sound
from render.remote import RemoteFile, SourceError
from render.weave import Unweaver

Plane = NDArray[np.uint8]
CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,avi,flv,asf,mpeg,ogg"
PIXELS_MAX = 8192 * 4608
# A frame's time is rounded to its container's ticks (1 ms in Matroska): a frame that begins within this after the asked
# time is the one that was meant. Not a whole millisecond: at 29.97 fps frame 30 begins 1 ms after the first second, and
# is not what a player shows there.
TOLERANCE_S = Fraction(999, 1_000_000)
HELD_MAX_S = 2  # how long the last picture may stand for what footage should have had
# Sound is decoded from before the asked time, for its decoder to settle. Packets of other containers than MP4 lie in
# the order of the file, sound up to this far before its picture.
_SETTLE_S, _SKEW_S = Fraction(1, 10), Fraction(1)
# A picture comes out of its decoder some packets after its own. What lies further is read a little at a time.
_AHEAD_S = Fraction(1, 10)
_BAD_PACKETS_MAX = 1000
_HDR_TRANSFERS = (16, 18)  # PQ, HLG (ITU-T H.273)
_UNSPECIFIED = 2  # of the colour codes of ITU-T H.273
_HD_ROWS = 720  # from here on untagged colours are BT.709
_USUAL_RATES = tuple(Fraction(n) for n in (24, 25, 30, 48, 50, 60, 100, 120)) + tuple(
    Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)
)


@dataclass(frozen=True)
class Picture:
    """One frame: full-size luma, half-size chroma, limited range BT.709; `frame` when these planes are all of one, so
    that it can be encoded as it is.
    """

    y: Plane
    u: Plane
    v: Plane
    frame: av.VideoFrame | None = field(default=None, kw_only=True)

    @property
    def planes(self) -> tuple[Plane, Plane, Plane]:
        """Y, U, V."""
        return self.y, self.u, self.v


@dataclass(frozen=True)
class Facts:
    """What a probe tells."""

    info: SourceInfo
    video_codec: str
    audio_codec: str
    container: str
    rotation: int
    variable: bool
    hdr: bool


class Footage:
    """One opened source; `beat` is called at each decoded frame, as a sign of life. Its `container` with the streams
    `video` and `audio` stands wherever it was read last.
    """

    def __init__(self, file: BinaryIO | Any, name: str, beat: Callable[[], None] = lambda: None) -> None:
        self._name = name
        self._beat = beat
        self._file = file
        try:
            self.container = open_container(file, name)
            self.video = picture_stream(self.container, name)
            self.audio = self.container.streams.audio[0] if self.container.streams.audio else None
            self.video.thread_type = "AUTO"
            first = next((frame for frame in self.container.decode(self.video) if frame.pts is not None), None)
        except (av.FFmpegError, ValueError, IndexError) as error:
            message = f"{name}: its picture cannot be decoded: {why(error)}."
            raise SourceError("source_unreadable", message) from error
        if first is None or first.pts is None:
            raise SourceError("source_unreadable", f"{name}: its picture cannot be decoded.")
        self._base: Fraction = first.time_base or Fraction(1, MICRO)
        self.origin: Fraction = first.pts * self._base
        self._orientation = orientation.of(first)
        self._woven = bool(first.interlaced_frame)
        self.facts = self._read_facts(first)
        self.info = self.facts.info
        self._tone: tonemap.Graph | None = None

    def close(self) -> None:
        """Ends reading."""
        self.container.close()

    def frames(self, times_s: Sequence[Fraction], sound: Sound | None = None) -> Iterator[Picture]:
        """A picture for each of the rising times, in seconds from the first frame; the last one stays when footage
        ends.

        Sound packets that come by are handed to `sound`, whose end is read up to after the last picture.
        """
        reader: _Reader | None = None
        current: _Timed | None = None
        upcoming: _Timed | None = None
        picture: tuple[_Timed, Picture] | None = None
        self.expect(times_s[-1] + _AHEAD_S if times_s else None)
        for time_s in times_s:
            if reader is None:
                reader, upcoming = self._begin(time_s, sound)
            while upcoming is not None and (current is None or upcoming.at_s <= time_s + TOLERANCE_S):
                current, upcoming = upcoming, reader.next_frame()
            if current is None or (upcoming is None and time_s > current.end_s + HELD_MAX_S):
                ends = "" if current is None else f", it ends at {float(current.end_s):.3f} s"
                message = f"{self._name} has no picture at {float(time_s):.3f} s{ends}: the file may be cut off."
                raise SourceError("source_unreadable", message)
            if picture is None or picture[0] is not current:
                picture = current, self._picture(current.frame)
            yield picture[1]
        if reader is not None and sound is not None:
            reader.finish_sound(sound.end_s + float(self.origin) + 3)
        self.expect(None)

    def sound(self, start_s: Fraction, end_s: Fraction) -> Sound | None:
        """Where the sound of a range gathers; None without a sound track."""
        return None if self.audio is None else Sound(self.origin, float(start_s), float(end_s))

    def hear(self, sound: Sound) -> None:
        """Gathers a range of sound alone; what of the picture lies between is not read where the container allows."""
        assert self.audio is not None
        indexed = "mp4" in self.facts.container
        from_s = Fraction(sound.start_s).limit_denominator(MICRO) - (_SETTLE_S if indexed else _SKEW_S)
        stream = self.audio if indexed else self.video
        asked_s = from_s + self.origin if from_s > 0 else self.origin - 10
        self.video.discard = Discard.all if indexed else Discard.default
        try:
            self.container.seek(int(asked_s / (stream.time_base or self._base)), stream=stream)
            sound.restart()
            streams = [self.audio] if indexed else [self.video, self.audio]
            reader = _Reader(self.container, streams, sound, self._name, self._beat, self._timed, False)
            reader.finish_sound(sound.end_s + float(self.origin) + 3)
        finally:
            self.video.discard = Discard.default

    def expect(self, until_s: Fraction | None) -> None:
        """Tells the file how far it will be read, where its index says where the picture of a time lies."""
        if not isinstance(self._file, RemoteFile):
            return
        end = -1
        index = self.video.index_entries
        if until_s is not None and "mp4" in self.facts.container and len(index):
            ticks = int((until_s + self.origin) / (self.video.time_base or self._base))
            found = index.search_timestamp(ticks, backward=False, any_frame=True)
            end = index[found].pos if found >= 0 else self._file.size_bytes
        self._file.expect(end)

    def _begin(self, time_s: Fraction, sound: Sound | None) -> tuple[_Reader, _Timed | None]:
        """A reader whose first frame is not after the time. Some containers seek to where they should not: then from
        further back."""
        settle_s = Fraction(0)
        if sound is not None and self.audio is not None:
            settle_s = _SETTLE_S if "mp4" in self.facts.container else _SKEW_S
        streams = [self.video] if sound is None or self.audio is None else [self.video, self.audio]
        back_s = settle_s
        while True:
            from_s = max(Fraction(0), time_s - back_s)
            # A transport stream's start is found only by asking for what is before it.
            asked_s = from_s + self.origin if from_s else self.origin - 10
            self.container.seek(int(asked_s / (self.video.time_base or self._base)), stream=self.video)
            if sound is not None:
                sound.restart()
            reader = _Reader(self.container, streams, sound, self._name, self._beat, self._timed, self._woven)
            first = reader.next_frame()
            if from_s == 0 or (first is not None and first.at_s <= time_s + TOLERANCE_S):
                return reader, first
            back_s = max(Fraction(2), back_s * 4)

    def _timed(self, frame: av.VideoFrame) -> _Timed:
        base = frame.time_base or self._base
        at_s = (frame.pts or 0) * base - self.origin
        return _Timed(frame, at_s, at_s + (frame.duration or 0) * base)

    def _read_facts(self, first: av.VideoFrame) -> Facts:
        video = self.video
        ratio = video.sample_aspect_ratio or Fraction(1)
        width, height = round(first.width * ratio), first.height
        if self._orientation is not None and self._orientation.swapped:
            width, height = height, width
        duration = Fraction(0)
        if video.duration and video.time_base:
            duration = Fraction(video.duration) * video.time_base
        elif self.container.duration:
            # From the earliest stream's start to the latest one's end; ours begins at its first picture.
            started = Fraction(self.container.start_time or 0, av.time_base)
            duration = Fraction(self.container.duration, av.time_base) - max(Fraction(0), self.origin - started)
        average = Fraction(video.average_rate or video.guessed_rate or 30)
        base = Fraction(video.base_rate or average)
        info = SourceInfo(width, height, max(1, round(duration * MICRO)), usual_rate(average), self.audio is not None)
        return Facts(
            info=info,
            video_codec=video.codec_context.name,
            audio_codec=self.audio.codec_context.name if self.audio is not None else "",
            container=self.container.format.name,
            rotation=round(-first.rotation / 90) * 90 % 360,
            variable=abs(base - average) > average / 50,
            hdr=int(first.color_trc) in _HDR_TRANSFERS,
        )

    def _picture(self, frame: av.VideoFrame) -> Picture:
        if self.facts.hdr:
            if self._tone is None:
                self._tone = tonemap.Graph(frame)
            converted = self._tone.convert(frame)
        else:
            converted = frame.reformat(
                format="yuv420p",
                src_colorspace=_matrix(frame),
                dst_colorspace=Colorspace.ITU709,
                src_color_range=ColorRange.JPEG if _full_range(frame) else ColorRange.MPEG,
                dst_color_range=ColorRange.MPEG,
            )
        planes = [_plane(plane) for plane in converted.planes]
        if self._orientation is not None:
            return Picture(*(self._orientation.shown(plane) for plane in planes))
        return Picture(*planes, frame=converted)


@dataclass(frozen=True)
class _Timed:
    """A decoded frame with its times in s from the first one: an encoder that is given the frame sets its own on it."""

    frame: av.VideoFrame
    at_s: Fraction
    end_s: Fraction


class _Reader:
    """Packets of a container from where it stands, decoded as they come: pictures in order, sound to its gatherer."""

    def __init__(
        self,
        container: Any,
        streams: list[Any],
        sound: Sound | None,
        name: str,
        beat: Callable[[], None],
        timed: Callable[[av.VideoFrame], _Timed],
        woven: bool,
    ) -> None:
        self._packets = container.demux(streams)
        self._video = streams[0]
        self._sound = sound
        self._name = name
        self._beat = beat
        self._timed = timed
        self._unweaver = Unweaver() if woven else None
        self._ready: deque[_Timed] = deque()
        self._bad = 0

    def next_frame(self) -> _Timed | None:
        """The next picture; None at the end."""
        while not self._ready:
            packet = self._next_packet()
            if packet is not None:
                self._decode(packet)
                continue
            self._take(None)
            if not self._ready:
                return None
        return self._ready.popleft()

    def finish_sound(self, until_s: float) -> None:
        """Reads on until the sound is whole, not past a picture of that time in the container's clock."""
        assert self._sound is not None
        while not self._sound.complete:
            packet = self._next_packet()
            if packet is None:
                break
            if packet.stream.type == "audio":
                self._beat()
                self._decode(packet)
            elif packet.dts is not None and float(packet.dts * packet.time_base) > until_s:
                break
        self._sound.finish()

    def _next_packet(self) -> Any:
        while True:
            try:
                return next(self._packets, None)
            except av.EOFError:
                return None
            except av.FFmpegError as error:
                self._count_bad(error)

    def _decode(self, packet: Any) -> None:
        try:
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    self._beat()
                    if frame.pts is not None:
                        self._take(frame)
                elif self._sound is not None and isinstance(frame, av.AudioFrame):
                    self._sound.add(frame)
        except av.FFmpegError as error:  # a broken packet costs its own frames only
            self._count_bad(error)

    def _take(self, frame: av.VideoFrame | None) -> None:
        """A decoded frame, or None at the end; woven ones come back whole, and later."""
        if self._unweaver is not None:
            self._ready.extend(map(self._timed, self._unweaver.through(frame)))
            self._unweaver = self._unweaver if frame is not None else None
        elif frame is not None:
            self._ready.append(self._timed(frame))

    def _count_bad(self, error: Exception) -> None:
        self._bad += 1
        if self._bad > _BAD_PACKETS_MAX:
            raise SourceError("source_unreadable", f"{self._name} is damaged: {why(error)}.") from error


def open_container(file: BinaryIO | Any, name: str) -> Any:
    """An opened container of the kinds that are allowed; SourceError."""
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
    try:
        return av.open(file, mode="r", options=options, metadata_errors="replace")
    except SourceError:
        raise
    except (av.FFmpegError, ValueError) as error:
        raise SourceError("source_unreadable", f"{name} is not a video that can be read: {why(error)}.") from error


def picture_stream(container: Any, name: str) -> Any:
    """Its first stream of moving pictures, of a size that is allowed; SourceError."""
    video = [one for one in container.streams.video if not one.disposition & 0x400]  # cover pictures
    if not video:
        raise SourceError("source_unreadable", f"{name} holds no picture.")
    if not 0 < video[0].width * video[0].height <= PIXELS_MAX:
        raise SourceError("source_unreadable", f"{name} has {video[0].width}x{video[0].height} pixels, more than 8K.")
    video[0].codec_context.options = {"max_pixels": str(PIXELS_MAX)}
    return video[0]


def usual_rate(average: Fraction) -> Fraction:
    """The customary frame rate that a measured average stands for, or the average."""
    nearest = min(_USUAL_RATES, key=lambda rate: abs(rate - average))
    return nearest if abs(nearest - average) <= nearest * 3 / 1000 else max(Fraction(1), average)


def why(error: Exception) -> str:
    """What FFmpeg says of a failure."""
    return str(getattr(error, "strerror", None) or error)


def _matrix(frame: av.VideoFrame) -> Colorspace | None:
    """The matrix of untagged pictures, by their size; None where it is tagged."""
    if int(frame.colorspace) != _UNSPECIFIED or frame.format.is_rgb:
        return None
    return Colorspace.ITU709 if min(frame.width, frame.height) >= _HD_ROWS else Colorspace.ITU601


def _full_range(frame: av.VideoFrame) -> bool:
    return frame.color_range == ColorRange.JPEG or frame.format.name.startswith("yuvj") or bool(frame.format.is_rgb)


def _plane(plane: Any) -> Plane:
    rows = np.frombuffer(plane, dtype=np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width]
