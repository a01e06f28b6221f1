"""Instant exports: packets copied from the key frame before a clip's start, nothing decoded or encoded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av

from chassis.faults import invalid
from render import encode
from render.footage import CONTAINERS
from render.plan import MICRO, ClipPlan, Plan
from render.products import Product
from render.remote import RemoteFile, SourceError
from render.spec import Source, Spec


def copy(
    spec: Spec, plan: Plan, urls: Mapping[Source, str], folder: str, binary: str, report: Callable[[str, float], None]
) -> list[Product]:
    """Copies each clip and, when it has a name, all of them joined."""
    if spec.output.name and len({clip.source for clip in spec.clips}) > 1:
        message = "mode: an instant compilation copies, so all of its clips must come from one source; use exact."
        raise invalid("invalid_spec", message, field="mode")
    work = Path(folder)
    pieces: list[Path] = []
    products = []
    for number, clip in enumerate(plan.clips):
        piece = work / f"piece-{number}.mp4"
        duration_us, frames = _remux(clip, urls[clip.clip.source], piece)
        pieces.append(piece)
        shape = Product("", "", duration_us, clip.info.width, clip.info.height, clip.info.fps, frames)
        products.append(shape)
        if clip.clip.output_name:
            metadata = {"title": clip.clip.title or spec.title, "comment": clip.clip.notes}
            encode.remux(binary, [piece], work / clip.clip.output_name, metadata, work)
        report("rendering", 0.02 + 0.88 * (number + 1) / len(plan.clips))
    named = [
        replace(p, name=c.clip.output_name) for p, c in zip(products, plan.clips, strict=True) if c.clip.output_name
    ]
    if spec.output.name:
        metadata = {"title": spec.title, "comment": spec.notes}
        encode.remux(binary, pieces, work / spec.output.name, metadata, work)
        total = replace(
            products[0],
            name=spec.output.name,
            duration_us=sum(p.duration_us for p in products),
            frames=sum(p.frames for p in products),
        )
        named.append(total)
    report("joining", 0.95)
    return named


def _remux(clip: ClipPlan, url: str, target: Path) -> tuple[int, int]:
    """Copies the clip's packets; its duration in microseconds and its frames."""
    name = clip.clip.source.key.rpartition("/")[2]
    options = {"format_whitelist": CONTAINERS, "protocol_whitelist": ""}
    frames, first, last = 0, None, Fraction(0)
    with (
        av.open(RemoteFile(url, name, clip.clip.source.etag), mode="r", options=options) as source,
        av.open(str(target), "w") as out,
    ):
        video = source.streams.video[0]
        audio = source.streams.audio[0] if source.streams.audio else None
        kept: dict[int, av.VideoStream | av.AudioStream] = {video.index: out.add_stream_from_template(video)}
        if audio is not None:
            kept[audio.index] = out.add_stream_from_template(audio)
        base = video.time_base or Fraction(1, MICRO)
        origin = (video.start_time or 0) * base
        begin, end = Fraction(clip.clip.in_us, MICRO) + origin, Fraction(clip.clip.out_us, MICRO) + origin
        source.seek(int(begin / base), stream=video, backward=True)
        for packet in source.demux([s for s in (video, audio) if s is not None]):
            if packet.pts is None or packet.dts is None or packet.time_base is None:
                continue
            at = packet.pts * packet.time_base
            if packet.stream is video:
                if first is None:
                    if not packet.is_keyframe:
                        continue
                    first = packet.dts * packet.time_base
                if packet.dts * packet.time_base >= end:
                    break
                frames += 1
                last = max(last, at + (packet.duration or 0) * packet.time_base)
            elif first is None or at < first or at >= end:
                continue
            packet.stream = kept[packet.stream.index]
            out.mux(packet)
    if first is None:
        raise SourceError("source_unreadable", f"{name} has no key frame in the clip.")
    return round((last - first) * MICRO), frames
