"""A render specification, field for field that of the contract: microseconds, rational rates, fractions of the
displayed frame.
"""

from __future__ import annotations

from dataclasses import dataclass

# A column and what is written there.
SpecField = tuple[str, str | int | tuple[str, ...] | None]


@dataclass(frozen=True)
class Rate:
    """A rational number."""

    num: int
    den: int


@dataclass(frozen=True)
class SpecCropKey:
    """The crop window at a time of the source."""

    time_us: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class SpeedSpan:
    """A stretch of the source with its own rate."""

    from_us: int
    to_us: int
    rate: Rate


@dataclass(frozen=True)
class SpecClip:
    """A part of a source on the timeline."""

    key: str
    etag: str
    in_us: int
    out_us: int  # exclusive
    speed_spans: tuple[SpeedSpan, ...] = ()
    crop_keys: tuple[SpecCropKey, ...] = ()  # none: the largest centred window of the output's aspect
    output_name: str = ""
    caption_title: str = ""
    caption_text: str = ""
    title: str = ""
    notes: str = ""
    fields: tuple[SpecField, ...] = ()  # of its row in the sheet


@dataclass(frozen=True)
class SpecEllipseKey:
    """A spotlight at a time of the finished timeline."""

    time_us: int
    center_x: float
    center_y: float
    radius_x: float
    radius_y: float


@dataclass(frozen=True)
class SpecEffect:
    """What a spotlight does."""

    kind: str  # dim_outside, brighten_inside, ring
    strength: float
    color: str


@dataclass(frozen=True)
class SpecSpotlight:
    """A spotlight on the finished timeline."""

    from_us: int
    to_us: int
    fade_us: int
    shape: str  # body, ground
    effects: tuple[SpecEffect, ...]
    keys: tuple[SpecEllipseKey, ...]


@dataclass(frozen=True)
class RenderSpec:
    """Everything that decides an export's pictures and sound."""

    clips: tuple[SpecClip, ...]
    folder: str
    name: str
    width: int = 0  # 0 with height 0: the first clip's window
    height: int = 0
    spotlights: tuple[SpecSpotlight, ...] = ()
    instant: bool = False
    title: str = ""
    sheet: str = ""  # the name, without its ending, of the sheet of the clips' fields
