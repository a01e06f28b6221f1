"""What an export is: plain values and the rules that they keep. Pure.

Times are microseconds of the source's clock, which begins at its first presented frame. Coordinates are fractions of
the displayed frame (rotation applied), origin top left.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import pairwise

from chassis.faults import Fault, invalid

VERSION = 1
CLIPS_MAX = 100
KEYS_MAX = 2000
OVERLAYS_MAX = 200
CHAPTERS_MAX = 1000
DURATION_MAX_US = 4 * 3600 * 1_000_000
SIDE_MAX = 4096
FPS_MAX = Fraction(120)
SPEED_MIN, SPEED_MAX = Fraction(1, 4), Fraction(4)
TEXT_MAX = 2000
CROP_SIDE_MIN = 0.02
FIELDS_MAX = 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_FOLDER = re.compile(r"(?=.{1,400}$)[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
_FIELD = re.compile(r"[a-z][a-z0-9_]{0,39}")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")

Cell = str | int | tuple[str, ...] | None  # of a clip's row in the sheet


class Interpolation(StrEnum):
    """How a value moves between its keys."""

    LINEAR = "linear"
    SMOOTH = "smooth"


class Space(StrEnum):
    """Whose times and coordinates an overlay has."""

    OUTPUT = "output"
    SOURCE = "source"


class Shape(StrEnum):
    """What an ellipse stands for."""

    BODY = "body"
    GROUND = "ground"


class EffectKind(StrEnum):
    """What a spotlight does to the picture."""

    DIM_OUTSIDE = "dim_outside"
    BRIGHTEN_INSIDE = "brighten_inside"
    RING = "ring"


class Quality(StrEnum):
    """How much is kept for the bytes."""

    DRAFT = "draft"
    STANDARD = "standard"
    HIGH = "high"


class Mode(StrEnum):
    """Encoded anew and exact, or copied from the key frame before."""

    EXACT = "exact"
    INSTANT = "instant"


@dataclass(frozen=True)
class Source:
    """An object of the tenant; `etag` empty when it may be any version."""

    key: str
    etag: str = ""


@dataclass(frozen=True)
class SpeedSpan:
    """Source time [from_us, to_us) played at `rate`."""

    from_us: int
    to_us: int
    rate: Fraction


@dataclass(frozen=True)
class CropKey:
    """The window at a source time."""

    time_us: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Crop:
    """A moving window."""

    keys: tuple[CropKey, ...]
    interpolation: Interpolation = Interpolation.SMOOTH


@dataclass(frozen=True)
class Clip:
    """A range of a source with its retiming, window and caption."""

    source: Source
    in_us: int
    out_us: int
    speed_spans: tuple[SpeedSpan, ...] = ()
    crop: Crop | None = None
    output_name: str = ""
    caption_title: str = ""
    caption_text: str = ""
    title: str = ""
    notes: str = ""
    fields: tuple[tuple[str, Cell], ...] = ()  # by the names of their columns


@dataclass(frozen=True)
class Dissolve:
    """Clip `after_clip` and the next one overlap for `duration_us`."""

    after_clip: int
    duration_us: int


@dataclass(frozen=True)
class EllipseKey:
    """The ellipse at a time; radii are fractions of width and height."""

    time_us: int
    center_x: float
    center_y: float
    radius_x: float
    radius_y: float


@dataclass(frozen=True)
class Effect:
    """One effect of a spotlight; strength 0 to 1, `color` "#rrggbb" of a ring."""

    kind: EffectKind
    strength: float
    color: str = "#ffffff"


@dataclass(frozen=True)
class Spotlight:
    """A moving ellipse and what it does."""

    keys: tuple[EllipseKey, ...]
    effects: tuple[Effect, ...]
    shape: Shape = Shape.BODY
    interpolation: Interpolation = Interpolation.SMOOTH


@dataclass(frozen=True)
class Text:
    """Words at a place; `height` is a fraction of the frame's."""

    text: str
    x: float
    y: float
    height: float
    color: str = "#ffffff"


@dataclass(frozen=True)
class Overlay:
    """Something drawn over [from_us, to_us)."""

    from_us: int
    to_us: int
    content: Spotlight | Text
    fade_us: int = 0
    space: Space = Space.OUTPUT
    clip_index: int = 0


@dataclass(frozen=True)
class Output:
    """Where and how the result is written; width and height 0 take the first clip's window."""

    folder: str
    name: str = ""
    width: int = 0
    height: int = 0
    fps: Fraction | None = None
    quality: Quality = Quality.STANDARD
    poster: bool = False
    sheet: str = ""  # the name, without its ending, of a sheet of the clips' fields and times


@dataclass(frozen=True)
class Spec:
    """An export."""

    clips: tuple[Clip, ...]
    output: Output
    dissolves: tuple[Dissolve, ...] = ()
    overlays: tuple[Overlay, ...] = ()
    audio: bool = True
    gain_db: float = 0.0
    title: str = ""
    notes: str = ""
    chapters: tuple[tuple[int, str], ...] = ()
    mode: Mode = Mode.EXACT

    @property
    def names(self) -> tuple[str, ...]:
        """The videos that it makes, the joined one last."""
        own = tuple(clip.output_name for clip in self.clips if clip.output_name)
        return (*own, self.output.name) if self.output.name else own


def validate(spec: Spec) -> Spec:
    """The specification itself; a Fault invalid_spec whose metadata names the field that breaks a rule."""
    _need(0 < len(spec.clips) <= CLIPS_MAX, "clips", f"an export has 1 to {CLIPS_MAX} clips")
    for index, clip in enumerate(spec.clips):
        _clip(f"clips[{index}]", clip)
    _output(spec.output)
    names = spec.names
    _need(bool(names), "output.name", "an export writes at least one video: name the output, or a clip's own")
    for name in names:
        _need(
            _NAME.fullmatch(name) is not None and name.endswith(".mp4"), "output.name", f"{name!r} is no file name.mp4"
        )
    _need(len(set(names)) == len(names), "output.name", "two videos have the same name")
    _dissolves(spec)
    _need(len(spec.overlays) <= OVERLAYS_MAX, "overlays", f"at most {OVERLAYS_MAX} overlays")
    for index, overlay in enumerate(spec.overlays):
        _overlay(f"overlays[{index}]", overlay, len(spec.clips))
    _words(spec)
    _sheet(spec)
    _need(math.isfinite(spec.gain_db) and -60 <= spec.gain_db <= 30, "audio.gain_db", "the gain is -60 to 30 dB")
    total_us = sum(duration_us(clip) for clip in spec.clips)
    _need(total_us <= DURATION_MAX_US, "clips", f"an export lasts at most {DURATION_MAX_US // 3_600_000_000} h")
    if spec.mode is Mode.INSTANT:
        plain = (
            not spec.overlays
            and not spec.dissolves
            and all(
                clip.crop is None and not clip.speed_spans and not clip.caption_title and not clip.caption_text
                for clip in spec.clips
            )
        )
        _need(plain, "mode", "an instant export copies: it cannot crop, change speed, dissolve, or draw anything")
    return spec


def duration_us(clip: Clip) -> Fraction:
    """How long the clip plays after its retiming, in microseconds."""
    total = Fraction(clip.out_us - clip.in_us)
    for span in clip.speed_spans:
        length = span.to_us - span.from_us
        total += length / span.rate - length
    return total


def _clip(field: str, clip: Clip) -> None:
    _need(bool(clip.source.key), f"{field}.source.key", "a clip names its source")
    _need(0 <= clip.in_us < clip.out_us, f"{field}.out_us", "a clip ends after it begins, and begins at 0 or later")
    _need(clip.out_us < 2**53, f"{field}.out_us", "a clip ends within the source")
    at = clip.in_us
    for index, span in enumerate(clip.speed_spans):
        name = f"{field}.speed_spans[{index}]"
        _need(
            at <= span.from_us < span.to_us <= clip.out_us, name, "spans lie inside the clip, in order, not overlapping"
        )
        _need(SPEED_MIN <= span.rate <= SPEED_MAX, f"{name}.rate", "a speed is 1/4 to 4")
        at = span.to_us
    if clip.crop is not None:
        _times(f"{field}.crop.keys", [key.time_us for key in clip.crop.keys])
        for index, key in enumerate(clip.crop.keys):
            ok = all(math.isfinite(v) for v in (key.x, key.y, key.width, key.height))
            ok = ok and CROP_SIDE_MIN <= key.width <= 1.0001 and CROP_SIDE_MIN <= key.height <= 1.0001
            ok = ok and -0.0001 <= key.x <= 1.0001 - key.width and -0.0001 <= key.y <= 1.0001 - key.height
            _need(
                ok, f"{field}.crop.keys[{index}]", f"a window lies inside the frame, {CROP_SIDE_MIN} to 1 wide and high"
            )


def _output(output: Output) -> None:
    _need(_FOLDER.fullmatch(output.folder) is not None, "output.folder", "a folder is names joined by slashes")
    _need((output.width == 0) == (output.height == 0), "output.width", "give both width and height, or neither")
    for name, side in (("width", output.width), ("height", output.height)):
        ok = side == 0 or (16 <= side <= SIDE_MAX and side % 2 == 0)
        _need(ok, f"output.{name}", f"a side is even, 16 to {SIDE_MAX} pixels")
    _need(output.fps is None or 1 <= output.fps <= FPS_MAX, "output.fps", f"a frame rate is 1 to {FPS_MAX}")


def _dissolves(spec: Spec) -> None:
    alone = any(clip.output_name for clip in spec.clips)
    _need(not (spec.dissolves and alone), "transitions", "clips that are also written alone are joined by cuts")
    at = -1
    for index, one in enumerate(spec.dissolves):
        name = f"transitions[{index}]"
        _need(
            at < one.after_clip < len(spec.clips) - 1,
            f"{name}.after_clip",
            "transitions are in order, between two clips",
        )
        shorter = min(duration_us(spec.clips[one.after_clip]), duration_us(spec.clips[one.after_clip + 1]))
        _need(0 < one.duration_us <= shorter / 2, f"{name}.duration_us", "a dissolve lasts at most half of either clip")
        at = one.after_clip


def _words(spec: Spec) -> None:
    texts = [("metadata.title", spec.title), ("metadata.notes", spec.notes)]
    for index, clip in enumerate(spec.clips):
        texts += [(f"clips[{index}].metadata.title", clip.title), (f"clips[{index}].metadata.notes", clip.notes)]
        caption = (("title", clip.caption_title), ("text", clip.caption_text))
        texts += [(f"clips[{index}].caption.{name}", text) for name, text in caption]
    texts += [(f"metadata.chapters[{index}].title", title) for index, (_, title) in enumerate(spec.chapters)]
    for field, text in texts:
        _need(len(text) <= TEXT_MAX and "\0" not in text, field, f"a text has at most {TEXT_MAX} characters")
    starts = [start for start, _ in spec.chapters]
    _need(len(starts) <= CHAPTERS_MAX, "metadata.chapters", f"at most {CHAPTERS_MAX} chapters")
    ordered = all(0 <= a < b for a, b in pairwise([*starts, 2**53]))
    _need(ordered, "metadata.chapters", "chapters are in order of time, no two at one")


def _sheet(spec: Spec) -> None:
    for index, clip in enumerate(spec.clips):
        name, columns = f"clips[{index}].metadata.fields", [column for column, _ in clip.fields]
        known = all(map(_FIELD.fullmatch, columns)) and len(set(columns)) == len(columns) <= FIELDS_MAX
        _need(known, name, f"at most {FIELDS_MAX} fields, each with another name in small letters")
        texts = ["".join(cell) if isinstance(cell, tuple) else str(cell) for _, cell in clip.fields]
        said = all(len(text) <= TEXT_MAX and "\0" not in text for text in texts)
        _need(said, name, f"a field has at most {TEXT_MAX} characters")
    if spec.output.sheet:
        _need(_NAME.fullmatch(f"{spec.output.sheet}.json") is not None, "output.sheet", "it is no name of a file")
        _need(all(clip.output_name for clip in spec.clips), "output.sheet", "every clip in it is also written alone")


def _overlay(field: str, overlay: Overlay, clips: int) -> None:
    _need(0 <= overlay.from_us < overlay.to_us, f"{field}.to_us", "an overlay ends after it begins")
    longest = (overlay.to_us - overlay.from_us) // 2
    _need(0 <= overlay.fade_us <= longest, f"{field}.fade_us", "a fade lasts at most half of the overlay")
    _need(0 <= overlay.clip_index < clips, f"{field}.clip_index", "the overlay names a clip of this export")
    content = overlay.content
    if isinstance(content, Text):
        _need(0 < len(content.text) <= TEXT_MAX, f"{field}.text", f"text has 1 to {TEXT_MAX} characters")
        _need(_COLOR.fullmatch(content.color) is not None, f"{field}.text.color", "a colour is #rrggbb")
        _need(
            0 <= content.x <= 1 and 0 <= content.y <= 1 and 0.005 <= content.height <= 0.5,
            f"{field}.text",
            "out of frame",
        )
        return
    _times(f"{field}.spotlight.keys", [key.time_us for key in content.keys])
    for index, key in enumerate(content.keys):
        values = (key.center_x, key.center_y, key.radius_x, key.radius_y)
        ok = all(math.isfinite(value) for value in values) and -1 <= key.center_x <= 2 and -1 <= key.center_y <= 2
        ok = ok and 0.001 <= key.radius_x <= 2 and 0.001 <= key.radius_y <= 2
        _need(ok, f"{field}.spotlight.keys[{index}]", "an ellipse lies near the frame, with radii of 0.001 to 2")
    _need(0 < len(content.effects) <= 8, f"{field}.spotlight.effects", "a spotlight has 1 to 8 effects")
    for index, effect in enumerate(content.effects):
        name = f"{field}.spotlight.effects[{index}]"
        _need(0 <= effect.strength <= 1, f"{name}.strength", "a strength is 0 to 1")
        _need(_COLOR.fullmatch(effect.color) is not None, f"{name}.color", "a colour is #rrggbb")


def _times(field: str, times_us: Sequence[int]) -> None:
    _need(0 < len(times_us) <= KEYS_MAX, field, f"1 to {KEYS_MAX} keys are needed")
    _need(
        all(a < b for a, b in pairwise(times_us)),
        field,
        "keys are in order of time, no two at one",
    )


def _need(ok: bool, field: str, rule: str) -> None:
    if not ok:
        raise _fault(field, rule)


def _fault(field: str, rule: str) -> Fault:
    return invalid("invalid_spec", f"{field}: {rule}.", field=field)
