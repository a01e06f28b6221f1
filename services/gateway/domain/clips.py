"""Clips: ranges of a game's video."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from chassis import faults
from chassis.faults import Fault

MIN_CLIP_MS = 100
MAX_CLIP_MS = 30 * 60 * 1000
END_SLACK_MS = 1000  # a player's idea of the length and a probe's may differ; an export stops at the last frame


@dataclass(frozen=True)
class Clip:
    """A range of a video, with what was said about it."""

    id: str
    game_id: str
    video_id: str
    start_ms: int
    end_ms: int
    name: str
    notes: str
    tags: tuple[str, ...]
    rating: int | None
    created_at: datetime


def bad_range() -> Fault:
    """The fault of a range that no clip can have."""
    return faults.invalid(
        "invalid_range",
        f"A clip must end after it starts and last from {MIN_CLIP_MS} ms to {MAX_CLIP_MS // 60_000} minutes.",
        field="end_ms",
    )


def outside_video() -> Fault:
    """The fault of a clip beyond its video's end."""
    return faults.invalid("clip_outside_video", "The clip ends after its video does.", field="end_ms")


def check_range(start_ms: int, end_ms: int) -> None:
    """Raises `invalid_range` unless the range is one a clip can have."""
    if not MIN_CLIP_MS <= end_ms - start_ms <= MAX_CLIP_MS:
        raise bad_range()
