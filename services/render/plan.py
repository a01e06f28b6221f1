"""From a specification and what its sources are to every output frame's source time, window and overlays. Pure.

1. Output frame k of the timeline is at k / fps, exactly; times are rational (tests/render/test_plan.py).
2. A clip of duration d has round(d * fps) frames, at least one; its sound has exactly the samples of its frames.
3. Each output frame shows the latest source frame whose time is not after the frame's own source time.
4. Chunks cover the timeline's frames once each, in order, and none reaches over the end of a clip that is also written
   alone (test_chunks_cover_every_frame_once).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from chassis.faults import invalid
from render import keyframes
from render.keyframes import Curve
from render.spec import Clip, Interpolation, Overlay, Quality, Source, Spec, Spotlight

SAMPLE_RATE = 48_000
FPS_KEPT_MAX = Fraction(60)
SIDE_DEFAULT_MAX = 1920
MICRO = 1_000_000
# What is heard beyond a clip's end, in s of the source: by a change of tempo, and without one.
TEMPO_SPARE_S, SOUND_SPARE_S = Fraction(1, 4), Fraction(1, 50)
# A chunk costs about a second of its own: a process, the source's index, the frames from the key frame before it.
CHUNK_START_S, CHUNK_JOIN_S = 1.0, 0.5
CHUNK_MIN_S, CHUNK_MAX_S = 10, 60  # of output; what is done is kept by chunks, so they are not too long either
AGAIN_MAX_S = 120.0  # of a core's work, that one worker may have to do again after a restart
# Pixels that one core draws and encodes in a second, measured by the bench with 1080p.
PIXELS_PER_CORE_S = {Quality.DRAFT: 80e6, Quality.STANDARD: 40e6, Quality.HIGH: 22e6}


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

    @property
    def end(self) -> int:
        """The timeline's frame after its last one."""
        return self.first + self.frames

    def heard(self, fps: Fraction) -> tuple[Fraction, Fraction]:
        """The source times in seconds between which its sound lies, a little more at the end."""
        spare_s = SOUND_SPARE_S if all(piece.rate == 1 for piece in self.pieces) else TEMPO_SPARE_S
        return self.pieces[0].source_from, self.source_time(self.frames, fps) + spare_s

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

    def dissolved(self, number: int) -> float:
        """How much of the newer clip a frame of the timeline shows; 1 outside of joints."""
        for joint in self.joints:
            if joint.first <= number < joint.first + joint.frames:
                return (number - joint.first + 1) / (joint.frames + 1)
        return 1.0

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


@dataclass(frozen=True, order=True)
class Chunk:
    """Frames [first, end) of the timeline, encoded by themselves."""

    first: int
    end: int

    @property
    def frames(self) -> int:
        """How many they are."""
        return self.end - self.first


def work_s(plan: Plan) -> float:
    """How long one core draws and encodes everything, roughly."""
    return plan.frames * plan.width * plan.height / PIXELS_PER_CORE_S[plan.spec.output.quality]


def memory_bytes(plan: Plan) -> int:
    """What a process needs that renders a chunk, measured by the bench at the slowest preset, with some to spare."""
    shown = max(clip.info.width * clip.info.height for clip in plan.clips)
    return 180_000_000 + 120 * plan.width * plan.height + 16 * shown


def wholes(plan: Plan) -> tuple[Chunk, ...]:
    """The fewest chunks: each clip where clips are also written alone, else everything."""
    if any(clip.clip.output_name for clip in plan.clips):
        return tuple(Chunk(clip.first, clip.end) for clip in plan.clips)
    return (Chunk(0, plan.frames),)


def chunks(plan: Plan, at_once: int) -> tuple[Chunk, ...]:
    """The timeline in chunks for `at_once` workers; its wholes where more would save nothing: no time, and little work
    that would be done again after a restart.
    """
    least_s = 3 * (CHUNK_START_S + CHUNK_JOIN_S) * at_once if at_once > 1 else AGAIN_MAX_S
    if work_s(plan) < least_s:
        return wholes(plan)
    out: list[Chunk] = []
    for whole in wholes(plan):
        seconds = whole.frames / plan.fps
        # A multiple of the workers, so that all of them end together, where the pieces are long enough for it.
        count = at_once * max(1, math.ceil(seconds / CHUNK_MAX_S / at_once))
        count = max(1, min(count, int(seconds / CHUNK_MIN_S)))
        cuts = [whole.first + whole.frames * i // count for i in range(count + 1)]
        out += [Chunk(a, b) for a, b in pairwise(cuts)]
    return tuple(out)


def shares(chunks: Sequence[Chunk], at_once: int) -> tuple[tuple[Chunk, ...], ...]:
    """The chunks dealt out to at most `at_once` workers, each a run of neighbours, with about as many frames each."""
    total = sum(chunk.frames for chunk in chunks)
    dealt: list[list[Chunk]] = [[] for _ in range(at_once)]
    before = 0
    for chunk in chunks:
        dealt[(2 * before + chunk.frames) * at_once // (2 * total)].append(chunk)
        before += chunk.frames
    return tuple(tuple(share) for share in dealt if share)


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
