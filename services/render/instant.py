"""Instant exports: packets copied from the key frame before a clip's start, nothing decoded or encoded.

1. A file begins at 0 with a key frame, its sound in step, and its pictures follow one another without a gap: those that
   the clip's last ones are decoded from come along (tests/render/test_instant.py).
2. A compilation's clips follow one another the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from chassis.faults import invalid
from render.chunk import Sources
from render.footage import TOLERANCE_S, Footage, why
from render.join import MOVIE_TIMESCALE
from render.plan import MICRO, ClipPlan, Plan
from render.products import Product
from render.remote import SourceError
from render.spec import Source, Spec

_SETTLE_S = Fraction(1, 20)  # of sound before the first picture, for its decoder
_AHEAD_S = Fraction(1, 10)  # of pictures after a clip: what it is decoded from may be stored behind it
_MP4 = {"movflags": "+faststart", "movie_timescale": str(MOVIE_TIMESCALE)}
_COPIED = ("h264", "hevc", "av1", "mpeg4", "vp9"), ("aac", "mp3", "ac3", "eac3", "opus", "alac")


def copy(spec: Spec, plan: Plan, sources: Sources, folder: str, report: Callable[[str, float], None]) -> list[Product]:
    """Copies each clip that has a name and, when the export has one, all of them joined."""
    if spec.output.name and len({clip.source for clip in spec.clips}) > 1:
        message = "mode: an instant compilation copies, so all of its clips must come from one source; use exact."
        raise invalid("invalid_spec", message, field="mode")
    work = Path(folder)
    products = []
    joined: _Target | None = None
    for number, clip in enumerate(plan.clips):
        footage = sources.open(clip.clip.source)
        origin = _origin(footage, clip.clip.source)
        targets = []
        if clip.clip.output_name:
            title = clip.clip.title or spec.title
            targets.append(_Target(work / clip.clip.output_name, origin, title, clip.clip.notes))
        if spec.output.name:
            joined = joined or _Target(work / spec.output.name, origin, spec.title, spec.notes)
            targets.append(joined)
        footage.expect(Fraction(clip.clip.out_us, MICRO) + _AHEAD_S)
        _copy_clip(origin, clip, targets)
        footage.expect(None)
        sources.rest(clip.clip.source, footage)
        if clip.clip.output_name:
            products.append(targets[0].finish(clip))
        report("rendering", 0.02 + 0.88 * (number + 1) / len(plan.clips))
    if joined is not None:
        products.append(joined.finish(plan.clips[0]))
    report("joining", 0.95)
    return products


@dataclass(frozen=True)
class _Origin:
    """A source to copy from."""

    name: str
    container: Any
    video: Any
    audio: Any

    def packets_from(self, at_s: Fraction) -> Iterator[Any]:
        """Packets from the key frame at or before a time of the container's clock, further back if need be."""
        start_s = (self.video.start_time or 0) * self.video.time_base
        back_s = Fraction(0)
        while True:
            from_s = max(start_s, at_s - back_s)
            asked_s = from_s if from_s > start_s else start_s - 10  # as footage does
            self.container.seek(int(asked_s / self.video.time_base), stream=self.video)
            streams = [self.video] if self.audio is None else [self.video, self.audio]
            packets = (one for one in self.container.demux(streams) if None not in (one.pts, one.dts, one.time_base))
            early = []
            for packet in packets:
                early.append(packet)
                if packet.stream is self.video and packet.is_keyframe:
                    break
            key = early[-1] if early and early[-1].stream is self.video else None
            if from_s == start_s or (key is not None and key.pts * key.time_base <= at_s + TOLERANCE_S):
                yield from early
                yield from packets
                return
            back_s = max(Fraction(2), back_s * 4)


def _origin(footage: Footage, source: Source) -> _Origin:
    name = source.key.rpartition("/")[2]
    if footage.audio is not None and footage.audio.codec_context.name not in _COPIED[1]:
        raise _cannot(name, footage.audio.codec_context.name)
    if footage.video.codec_context.name not in _COPIED[0]:
        raise _cannot(name, footage.video.codec_context.name)
    return _Origin(name, footage.container, footage.video, footage.audio)


class _Target:
    """A file that is written; clips are laid end to end."""

    def __init__(self, path: Path, origin: _Origin, title: str, notes: str) -> None:
        self._name = path.name
        self._origin = origin
        self._out = av.open(str(path), "w", format="mp4", options=_MP4)
        self._out.metadata.update({key: text for key, text in (("title", title), ("comment", notes)) if text})
        self._streams = {}
        for stream in (origin.video, origin.audio):
            if stream is not None:
                self._streams[stream.index] = self._out.add_stream_from_template(stream)
        if origin.video.codec_context.name == "hevc":
            self._streams[origin.video.index].codec_context.codec_tag = "hvc1"  # Apple's players want it
        self._frames = 0
        self._clip_at = self._end = self._sound_end = Fraction(0)

    def begin_clip(self) -> None:
        """What comes next follows what is there."""
        self._clip_at = self._end

    def add(self, packet: Any, start: Fraction) -> None:
        """Copies a packet of the present clip, which starts at `start` of the source's clock."""
        base = packet.time_base
        shift = round((self._clip_at - start) / base)
        twin = av.Packet(bytes(packet))
        twin.pts, twin.dts = packet.pts + shift, packet.dts + shift
        twin.time_base, twin.duration, twin.is_keyframe = base, packet.duration or 0, packet.is_keyframe
        end = (twin.pts + twin.duration) * base
        if packet.stream is self._origin.video:
            self._frames += 1
            self._end = max(self._end, end)
        elif self._clip_at and twin.pts * base < self._sound_end - twin.duration * base / 2:
            return  # the sound of the clip before lasts until here
        else:
            self._sound_end = end
        twin.stream = self._streams[packet.stream.index]
        try:
            self._out.mux(twin)
        except av.FFmpegError as error:
            raise _cannot(self._origin.name, why(error)) from error

    def finish(self, clip: ClipPlan) -> Product:
        """The finished file."""
        self._out.close()
        info = clip.info
        return Product(self._name, "", round(self._end * MICRO), info.width, info.height, info.fps, self._frames)


def _copy_clip(origin: _Origin, clip: ClipPlan, targets: list[_Target]) -> None:
    zero = (origin.video.start_time or 0) * origin.video.time_base
    begin, end = Fraction(clip.clip.in_us, MICRO) + zero, Fraction(clip.clip.out_us, MICRO) + zero
    for target in targets:
        target.begin_clip()
    for packet, start in _needed(origin, begin, end):
        for target in targets:
            target.add(packet, start)


def _needed(origin: _Origin, begin: Fraction, end: Fraction) -> Iterator[tuple[Any, Fraction]]:
    """The packets of a range of the container's clock, from the key frame before it, each with that frame's time."""
    packets = origin.packets_from(begin)
    early = []
    for packet in packets:
        early.append(packet)
        if packet.stream is origin.video and packet.is_keyframe:
            break
    if not early or early[-1].stream is not origin.video:
        raise SourceError("source_unreadable", f"{origin.name} has no key frame in the clip.")
    key = early.pop()
    start = last = key.pts * key.time_base

    def heard(packet: Any) -> bool:
        return bool(packet.stream is not origin.video and start - _SETTLE_S < packet.pts * packet.time_base < end)

    for packet in (*filter(heard, early), key):
        yield packet, start
    held: list[Any] = []  # pictures after the end, which may turn out to be needed
    for packet in packets:
        at = packet.pts * packet.time_base
        if packet.stream is not origin.video:
            if heard(packet):
                yield packet, start
            continue
        if packet.dts * packet.time_base >= max(end, last):
            break
        if at < start:
            continue  # shown before the key frame, decoded from what is not here
        held.append(packet)
        if at < end or at < last:
            last = max(last, *(one.pts * one.time_base for one in held))
            for one in held:
                yield one, start
            held.clear()


def _cannot(name: str, what: str) -> Exception:
    message = f"mode: {name} cannot be copied into an MP4 file ({what}); use exact."
    return invalid("invalid_spec", message, field="mode")
