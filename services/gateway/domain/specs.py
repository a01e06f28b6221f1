"""From what the database holds to what render is told: one plan for each kind of export.

1. A plan depends on its arguments only, so the same rows give the same plan (tests/gateway/test_specs.py).
2. Every window of a crop has the output's shape: nothing is ever stretched.
3. Source times stay source times: moving a clip's start does not move its crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

from chassis import faults
from gateway.domain import annotation
from gateway.domain.clips import Clip
from gateway.domain.exports import Output, Plan, PlannedOutput, Role
from gateway.domain.footage import StoredVideo, VideoState
from gateway.domain.names import slug
from gateway.domain.reels import Aspect, CropKey, Framing, Overlay
from gateway.domain.render_spec import (
    Rate,
    RenderSpec,
    SpecClip,
    SpecCropKey,
    SpecEffect,
    SpecEllipseKey,
    SpecSpotlight,
    SpeedSpan,
)

SHAPES = {Aspect.WIDE: (16, 9), Aspect.TALL: (9, 16), Aspect.SQUARE: (1, 1), Aspect.PORTRAIT: (4, 5)}
FULL_SHORT_SIDE_PX = 1080
SMALL_SHORT_SIDE_PX = 720  # for sources below 1080 lines: enlarging further would only cost
MAX_SOURCE_SIDE_PX = 3840
SHAPE_TOLERANCE = 0.01
RING_COLOR = "#ffd400"
MIN_SIDE = 0.02  # of a window, as a fraction
MAX_LENGTH_US = 4 * 3600 * 1_000_000
MAX_CAPTION_CHARS = 1500
MAX_NOTES_CHARS = 2000  # in a video file: render's bound
SHEET_ENDINGS = (".tsv", ".json")


@dataclass(frozen=True)
class Cut:
    """A clip with its footage and its framing."""

    clip: Clip
    source: StoredVideo
    framing: Framing | None = None
    video_at_ms: int | None = None  # when the video begins on the game's clock, where that is known


def annotate(export_id: str, game_name: str, cuts: Sequence[Cut], *, captions: bool, instant: bool) -> Plan:
    """Each clip alone, a compilation of all, and what was said of them beside it."""
    if not cuts:
        raise faults.precondition("no_clips", "There is no clip to export yet; mark one first.")
    clips, outputs = [], []
    for number, cut in enumerate(cuts, 1):
        start_us, end_us = _range_us(cut)
        name = f"{number:03d}-{slug(cut.clip.name, 'clip')}.mp4"
        stars = f"{'★' * cut.clip.rating}{'☆' * (5 - cut.clip.rating)}" if cut.clip.rating else ""
        notes = "\n".join(
            part for part in (cut.clip.notes, " ".join(f"#{tag}" for tag in cut.clip.tags), stars) if part
        )
        clip = SpecClip(
            key=cut.source.key,
            etag=cut.source.etag,
            in_us=start_us,
            out_us=end_us,
            output_name=name,
            caption_title=cut.clip.name if captions else "",
            caption_text=cut.clip.notes[:MAX_CAPTION_CHARS] if captions else "",
            title=cut.clip.name,
            notes=notes[:MAX_NOTES_CHARS],  # all of it stands in the sheet
            fields=annotation.fields(cut.clip, cut.source, cut.video_at_ms),
        )
        clips.append(clip)
        outputs.append(PlannedOutput(name, Role.CLIP, cut.clip.id))
    joined = f"{slug(game_name, 'game')}-clips"
    outputs.append(PlannedOutput(f"{joined}.mp4", Role.COMPILATION))
    outputs += [PlannedOutput(f"{joined}{ending}", Role.ANNOTATIONS) for ending in SHEET_ENDINGS]
    spec = RenderSpec(
        clips=tuple(clips),
        folder=f"raw_clips/{export_id}",
        name=f"{joined}.mp4",
        instant=instant,
        title=game_name,
        sheet=joined,
    )
    return Plan(spec, tuple(outputs))


def framing(export_id: str, reel_name: str, aspect: Aspect, cuts: Sequence[Cut]) -> Plan:
    """The reel's clips cropped, retimed, scaled and joined: the working video."""
    name = f"{slug(reel_name, 'reel')}-working.mp4"
    width, height = output_size(aspect, cuts)
    clips = tuple(_framed(cut, width / height if width and height else 0.0) for cut in _some(cuts))
    spec = RenderSpec(
        clips=clips, folder=f"working_videos/{export_id}", name=name, width=width, height=height, title=reel_name
    )
    return Plan(spec, (PlannedOutput(name, Role.WORKING),))


def overlay(export_id: str, reel_name: str, working: Output, spots: Overlay) -> Plan:
    """The spotlights burnt into the working video: the final video."""
    name = f"{slug(reel_name, 'reel')}.mp4"
    length_us = working.duration_ms * 1000
    clip = SpecClip(key=working.key, etag=working.etag, in_us=0, out_us=length_us)
    spec = RenderSpec(
        clips=(clip,),
        folder=f"final_videos/{export_id}",
        name=name,
        width=working.width,
        height=working.height,
        spotlights=_spotlights(spots, length_us),
        title=reel_name,
    )
    return Plan(spec, (PlannedOutput(name, Role.FINAL),))


def reel(export_id: str, reel_name: str, aspect: Aspect, cuts: Sequence[Cut], spots: Overlay) -> Plan:
    """Framing and overlay in one encode: the final video."""
    name = f"{slug(reel_name, 'reel')}.mp4"
    width, height = output_size(aspect, cuts)
    clips = tuple(_framed(cut, width / height if width and height else 0.0) for cut in _some(cuts))
    spec = RenderSpec(
        clips=clips,
        folder=f"final_videos/{export_id}",
        name=name,
        width=width,
        height=height,
        spotlights=_spotlights(spots, sum(_output_us(clip) for clip in clips)),
        title=reel_name,
    )
    return Plan(spec, (PlannedOutput(name, Role.FINAL),))


def output_size(aspect: Aspect, cuts: Sequence[Cut]) -> tuple[int, int]:
    """Even width and height of a reel's picture in pixels; (0, 0) leaves it to the first clip's picture."""
    sizes = [(cut.source.video.width or 0, cut.source.video.height or 0) for cut in cuts]
    if aspect is Aspect.SOURCE:
        width, height = sizes[0] if sizes else (0, 0)
        shrink = min(1.0, MAX_SOURCE_SIDE_PX / max(width, height, 1))
        return _even(width * shrink), _even(height * shrink)
    across, down = SHAPES[aspect]
    short_px = (
        FULL_SHORT_SIDE_PX
        if max((min(size) for size in sizes), default=0) >= FULL_SHORT_SIDE_PX
        else SMALL_SHORT_SIDE_PX
    )
    return _even(short_px * across / min(across, down)), _even(short_px * down / min(across, down))


def check_length(spec: RenderSpec) -> None:
    """Raises `export_too_long` for a timeline that render would refuse."""
    if sum(_output_us(clip) for clip in spec.clips) > MAX_LENGTH_US:
        raise faults.invalid("export_too_long", "An export lasts at most 4 hours; choose fewer or shorter clips.")


def fit_window(key: CropKey, source_ratio: float, output_ratio: float) -> CropKey:
    """The window with the output's shape about the same centre and, where the picture allows it, the same height.

    A window that already has the shape stays as it is. Ratios are width over height in pixels.
    """
    if output_ratio <= 0 or source_ratio <= 0:
        return key
    wanted = output_ratio / source_ratio  # of the fractions
    if abs(key.width / key.height - wanted) <= SHAPE_TOLERANCE * wanted:
        return key
    height = min(max(key.height, MIN_SIDE, MIN_SIDE / wanted), 1.0, 1.0 / wanted)
    width = height * wanted
    x = min(max(key.x + key.width / 2 - width / 2, 0.0), 1.0 - width)
    y = min(max(key.y + key.height / 2 - height / 2, 0.0), 1.0 - height)
    return CropKey(key.time_ms, x, y, width, height)


def _some(cuts: Sequence[Cut]) -> Sequence[Cut]:
    if not cuts:
        raise faults.precondition("reel_empty", "The reel has no clips yet; add one first.")
    return cuts


def _range_us(cut: Cut) -> tuple[int, int]:
    """The part of the source that is shown: the clip, within its trim, within its video."""
    video = cut.source.video
    if video.state is not VideoState.READY:
        detail = "is still uploading" if video.state is VideoState.UPLOADING else "could not be used"
        raise faults.precondition(
            "video_not_ready", f"The video of the clip “{cut.clip.name}” {detail}.", video_id=video.id
        )
    start_ms, end_ms = cut.clip.start_ms, cut.clip.end_ms
    if cut.framing is not None and cut.framing.trim is not None:
        start_ms, end_ms = max(start_ms, cut.framing.trim.start_ms), min(end_ms, cut.framing.trim.end_ms)
    if video.duration_ms is not None:
        end_ms = min(end_ms, video.duration_ms)
    if end_ms <= start_ms:
        raise faults.precondition(
            "clip_empty",
            f"Nothing is left of the clip “{cut.clip.name}”: its trim or its video ends before it starts.",
            clip_id=cut.clip.id,
        )
    return start_ms * 1000, end_ms * 1000


def _framed(cut: Cut, output_ratio: float) -> SpecClip:
    start_us, end_us = _range_us(cut)
    shown = cut.framing or Framing((), None, ())
    video = cut.source.video
    source_ratio = video.width / video.height if video.width and video.height else 0.0
    keys = (fit_window(key, source_ratio, output_ratio) for key in shown.crop_keys)
    return SpecClip(
        key=cut.source.key,
        etag=cut.source.etag,
        in_us=start_us,
        out_us=end_us,
        speed_spans=tuple(_spans(shown, start_us, end_us)),
        crop_keys=tuple(SpecCropKey(key.time_ms * 1000, key.x, key.y, key.width, key.height) for key in keys),
        title=cut.clip.name,
    )


def _spans(shown: Framing, start_us: int, end_us: int) -> list[SpeedSpan]:
    spans = []
    for segment in shown.segments:
        from_us, to_us = max(segment.start_ms * 1000, start_us), min(segment.end_ms * 1000, end_us)
        rate = Fraction(segment.speed).limit_denominator(1000)
        if from_us < to_us and rate != 1:
            spans.append(SpeedSpan(from_us, to_us, Rate(rate.numerator, rate.denominator)))
    return spans


def _output_us(clip: SpecClip) -> int:
    """A clip's length on the timeline."""
    plain_us = clip.out_us - clip.in_us - sum(span.to_us - span.from_us for span in clip.speed_spans)
    return plain_us + sum((span.to_us - span.from_us) * span.rate.den // span.rate.num for span in clip.speed_spans)


def _spotlights(spots: Overlay, length_us: int) -> tuple[SpecSpotlight, ...]:
    found = []
    for region in spots.regions:
        from_us, to_us = region.start_ms * 1000, min(region.end_ms * 1000, length_us)
        if from_us >= to_us:
            continue  # beyond the reel's end: it became shorter since
        keys = tuple(
            SpecEllipseKey(key.time_ms * 1000, key.center_x, key.center_y, key.radius_x, key.radius_y)
            for key in region.keys
        )
        effects = tuple(
            SpecEffect(effect.kind, effect.strength, (effect.color or RING_COLOR) if effect.kind == "ring" else "")
            for effect in region.effects
        )
        found.append(
            SpecSpotlight(
                from_us, to_us, min(region.fade_ms * 1000, (to_us - from_us) // 2), region.shape, effects, keys
            )
        )
    return tuple(found)


def _even(size_px: float) -> int:
    return int(size_px) // 2 * 2
