"""From a specification and what its sources are to every output frame's source time, window and overlays. Pure.

1. Output frame k of the timeline is at k / fps, exactly; times are rational (tests/render/test_plan.py).
2. A clip of duration d has round(d * fps) frames, at least one; its sound has exactly the samples of its frames.
3. Each output frame shows the latest source frame whose time is not after the frame's own source time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from chassis.faults import invalid
from render import keyframes
from render.keyframes import Curve
from render.spec import Clip, Interpolation, Overlay, Source, Spec, Spotlight

SAMPLE_RATE = 48_000
FPS_KEPT_MAX = Fraction(60)
SIDE_DEFAULT_MAX = 1920
MICRO = 1_000_000


@dataclass(frozen=True)
class SourceInfo:
    """What a source is: displayed size in pixels, duration, average frame rate."""

    width: int
    height: int
    duration_us: int
    fps: Fraction
    has_audio: bool


@dataclass(frozen=True)
class Piece:
    """A stretch of a clip at one speed; output times count from the clip's start."""

    out_from: Fraction  # s
    out_to: Fraction
    source_from: Fraction  # s
    rate: Fraction


@dataclass(frozen=True)
class Window:
    """A crop in source pixels, fractions of a pixel allowed."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Framing:
    """The window over source time, in fractions of the frame; None: the largest centred one of the output's aspect."""

    curves: tuple[Curve, Curve, Curve, Curve] | None  # center x, center y, width, height over seconds


@dataclass(frozen=True)
class ClipPlan:
    """A clip on the timeline; `first` is the timeline's frame of its first frame."""

    index: int
    clip: Clip
    first: int
    frames: int
    pieces: tuple[Piece, ...]
    info: SourceInfo
    framing: Framing

    def source_time(self, frame: int, fps: Fraction) -> Fraction:
        """The source time in seconds that frame `frame` (from 0, of this clip) shows."""
        at = Fraction(frame) / fps
        for piece in self.pieces:
            if at < piece.out_to:
                break
        return piece.source_from + (at - piece.out_from) * piece.rate

    def window(self, source_s: float, aspect: float) -> Window:
        """The window at a source time, widened or narrowed to the output's aspect ratio inside the frame."""
        width, height = self.info.width, self.info.height
        if self.framing.curves is None:
            cx, cy, w, h = width / 2, height / 2, float(width), float(height)
        else:
            x, y, w, h = (curve.at(source_s) for curve in self.framing.curves)
            cx, cy, w, h = x * width, y * height, w * width, h * height
        # The picture is never distorted: the window shrinks to the output's aspect about its centre.
        if w / h > aspect:
            w = h * aspect
        else:
            h = w / aspect
        x = min(max(cx - w / 2, 0.0), width - w)
        y = min(max(cy - h / 2, 0.0), height - h)
        return Window(x, y, w, h)


@dataclass(frozen=True)
class DrawnSpotlight:
    """A spotlight with its curves: center x, y, radius x, y as fractions over seconds of its own space."""

    overlay: Overlay
    spotlight: Spotlight
    curves: tuple[Curve, Curve, Curve, Curve]


@dataclass(frozen=True)
class Joint:
    """Frames [first, first + frames) of the timeline where clip `after` dissolves into the next."""

    after: int
    first: int
    frames: int


@dataclass(frozen=True)
class Plan:
    """Everything that is drawn, on one timeline."""

    spec: Spec
    width: int
    height: int
    fps: Fraction
    clips: tuple[ClipPlan, ...]
    joints: tuple[Joint, ...]
    spotlights: tuple[DrawnSpotlight, ...]
    frames: int

    def samples(self, frames: int) -> int:
        """How many samples of sound go with so many frames from the start of something."""
        return round(Fraction(frames * SAMPLE_RATE) / self.fps)


def plan(spec: Spec, sources: Mapping[Source, SourceInfo]) -> Plan:
    """The plan of a validated specification; a Fault invalid_spec when a clip asks for what its source has not."""
    for index, clip in enumerate(spec.clips):
        info = sources[clip.source]
        if clip.in_us >= info.duration_us:
            seconds = info.duration_us / MICRO
            message = (
                f"clips[{index}]: the clip begins at {clip.in_us / MICRO:g} s, after the source's end ({seconds:g} s)."
            )
            raise invalid("invalid_spec", message, field=f"clips[{index}].in_us")
    fps = spec.output.fps or min(sources[spec.clips[0].source].fps, FPS_KEPT_MAX)
    framings = [_framing(clip) for clip in spec.clips]
    first_info = sources[spec.clips[0].source]
    width, height = spec.output.width, spec.output.height
    if not width:
        width, height = _default_size(framings[0], first_info, spec.clips[0])
    clips, joints, at = [], [], 0
    dissolves = {one.after_clip: one for one in spec.dissolves}
    for index, clip in enumerate(spec.clips):
        info = sources[clip.source]
        pieces = _pieces(clip, min(clip.out_us, info.duration_us))
        frames = max(1, round(pieces[-1].out_to * fps))
        clips.append(ClipPlan(index, clip, at, frames, pieces, info, framings[index]))
        at += frames
        if index in dissolves:
            overlap = min(max(1, round(Fraction(dissolves[index].duration_us, MICRO) * fps)), frames)
            joints.append(Joint(index, at - overlap, overlap))
            at -= overlap
    return Plan(spec, width, height, fps, tuple(clips), tuple(joints), _spotlights(spec), at)


def _pieces(clip: Clip, out_us: int) -> tuple[Piece, ...]:
    cuts: list[tuple[int, int, Fraction]] = []
    at = clip.in_us
    for span in clip.speed_spans:
        cuts += [(at, span.from_us, Fraction(1)), (span.from_us, span.to_us, span.rate)]
        at = span.to_us
    cuts.append((at, clip.out_us, Fraction(1)))
    pieces: list[Piece] = []
    out = Fraction(0)
    for begin, end, rate in cuts:
        length = Fraction(min(end, out_us) - begin, MICRO) / rate
        if length > 0:
            pieces.append(Piece(out, out + length, Fraction(begin, MICRO), rate))
            out += length
    return tuple(pieces)


def _framing(clip: Clip) -> Framing:
    if clip.crop is None:
        return Framing(None)
    keys, smooth = clip.crop.keys, clip.crop.interpolation is Interpolation.SMOOTH
    times = [key.time_us / MICRO for key in keys]

    def over(values: list[float]) -> Curve:
        return keyframes.curve(times, values, smooth=smooth)

    # Centres move, not corners: a window that grows in place keeps its subject in the middle.
    curves = (
        over([key.x + key.width / 2 for key in keys]),
        over([key.y + key.height / 2 for key in keys]),
        over([key.width for key in keys]),
        over([key.height for key in keys]),
    )
    return Framing(curves)


def _default_size(framing: Framing, info: SourceInfo, clip: Clip) -> tuple[int, int]:
    width, height = float(info.width), float(info.height)
    if framing.curves is not None:
        at = clip.in_us / MICRO
        width, height = width * framing.curves[2].at(at), height * framing.curves[3].at(at)
    scale = min(1.0, SIDE_DEFAULT_MAX / max(width, height))
    return max(16, round(width * scale / 2) * 2), max(16, round(height * scale / 2) * 2)


def _spotlights(spec: Spec) -> tuple[DrawnSpotlight, ...]:
    drawn = []
    for overlay in spec.overlays:
        content = overlay.content
        if isinstance(content, Spotlight):
            smooth = content.interpolation is Interpolation.SMOOTH
            times = [key.time_us / MICRO for key in content.keys]
            values = zip(*((k.center_x, k.center_y, k.radius_x, k.radius_y) for k in content.keys), strict=True)
            cx, cy, rx, ry = (keyframes.curve(times, list(column), smooth=smooth) for column in values)
            drawn.append(DrawnSpotlight(overlay, content, (cx, cy, rx, ry)))
    return tuple(drawn)


def strength(overlay: Overlay, time_s: float) -> float:
    """How much of an overlay shows at a time of its own space: 0 outside, 1 inside, a straight ramp over its fade."""
    begin, end, fade = overlay.from_us / MICRO, overlay.to_us / MICRO, overlay.fade_us / MICRO
    if not begin <= time_s < end:
        return 0.0
    if not fade:
        return 1.0
    return min(1.0, (time_s - begin) / fade, (end - time_s) / fade)
