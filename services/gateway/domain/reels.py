"""Reels: clips in order, each framed, with spotlights over them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from chassis import faults
from gateway.domain.exports import Output

EPSILON = 1e-6
MIN_SPEED, MAX_SPEED = 0.25, 4.0


class Aspect(StrEnum):
    """The shape of a reel's picture; SOURCE is that of its first clip."""

    SOURCE = "source"
    WIDE = "16:9"
    TALL = "9:16"
    SQUARE = "1:1"
    PORTRAIT = "4:5"


@dataclass(frozen=True)
class CropKey:
    """The crop window at a moment of the source: fractions of the displayed frame, origin top left."""

    time_ms: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Trim:
    """The part of a clip that is shown, in source time."""

    start_ms: int
    end_ms: int


@dataclass(frozen=True)
class Segment:
    """A stretch of the source with its own speed."""

    start_ms: int
    end_ms: int
    speed: float


@dataclass(frozen=True)
class Framing:
    """How one clip is shown in one reel."""

    crop_keys: tuple[CropKey, ...]
    trim: Trim | None
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class EllipseKey:
    """The spotlight at a moment of the reel."""

    time_ms: int
    center_x: float
    center_y: float
    radius_x: float
    radius_y: float


@dataclass(frozen=True)
class Effect:
    """What a spotlight does; `color` ("#rrggbb") is for the ring."""

    kind: str
    strength: float
    color: str | None = None


@dataclass(frozen=True)
class Region:
    """A spotlight in time, of the reel's working video."""

    start_ms: int
    end_ms: int
    fade_ms: int
    shape: str
    effects: tuple[Effect, ...]
    keys: tuple[EllipseKey, ...]


@dataclass(frozen=True)
class Overlay:
    """A reel's spotlights."""

    regions: tuple[Region, ...] = ()


@dataclass(frozen=True)
class ReelClip:
    """A clip's place in a reel."""

    clip_id: str
    framing: Framing | None


@dataclass(frozen=True)
class Reel:
    """What a user makes."""

    id: str
    name: str
    aspect: Aspect
    clips: tuple[ReelClip, ...]
    overlay: Overlay
    working_video: Output | None
    final_video: Output | None
    created_at: datetime


def check_clip_ids(clip_ids: Sequence[str]) -> None:
    """Raises `duplicate_clip` when a clip is named twice: a reel shows each of its clips once."""
    if len(set(clip_ids)) != len(clip_ids):
        raise faults.invalid(
            "duplicate_clip", "A reel names each clip once; remove the repeated one.", field="clip_ids"
        )


def check_framing(framing: Framing) -> None:
    """Raises `invalid_framing` with the field that cannot be."""
    _check_rising([key.time_ms for key in framing.crop_keys], "crop_keys", "invalid_framing")
    for key in framing.crop_keys:
        if key.x + key.width > 1 + EPSILON or key.y + key.height > 1 + EPSILON:
            raise faults.invalid("invalid_framing", "A crop window reaches outside of the picture.", field="crop_keys")
    if framing.trim is not None and framing.trim.end_ms <= framing.trim.start_ms:
        raise faults.invalid("invalid_framing", "The trimmed part must end after it starts.", field="trim")
    last_ms = -1
    for segment in framing.segments:
        if segment.start_ms < last_ms or segment.end_ms <= segment.start_ms:
            raise faults.invalid(
                "invalid_framing", "Segments must follow each other without overlapping.", field="segments"
            )
        last_ms = segment.end_ms


def check_overlay(overlay: Overlay) -> None:
    """Raises `invalid_overlay` with the field that cannot be."""
    for region in overlay.regions:
        if region.end_ms <= region.start_ms:
            raise faults.invalid("invalid_overlay", "A spotlight must end after it starts.", field="regions")
        _check_rising([key.time_ms for key in region.keys], "keys", "invalid_overlay")


def _check_rising(times_ms: Sequence[int], field: str, reason: str) -> None:
    if any(later <= earlier for earlier, later in pairwise(times_ms)):
        raise faults.invalid(reason, "Keys must be in order of time, each later than the one before.", field=field)
