"""Games and their videos."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

MAX_DURATION_MS = 12 * 3600 * 1000
MAX_SIDE_PX = 8192


class VideoState(StrEnum):
    """Where an upload stands."""

    UPLOADING = "uploading"
    READY = "ready"
    REJECTED = "rejected"


@dataclass(frozen=True)
class Video:
    """Footage; its measures are the client's claim until the upload was probed."""

    id: str
    game_id: str
    position: int
    file_name: str
    size_bytes: int
    content_type: str
    state: VideoState
    reject_reason: str
    duration_ms: int | None
    width: int | None  # as displayed
    height: int | None
    fps: float | None
    has_audio: bool | None
    fingerprint: str


@dataclass(frozen=True)
class Game:
    """Footage of one match, its videos in order."""

    id: str
    name: str
    opponent: str
    sport: str
    played_on: date | None
    created_at: datetime
    videos: tuple[Video, ...]


@dataclass(frozen=True)
class StoredVideo:
    """A video with where its bytes are: what an upload and an export need."""

    video: Video
    key: str
    etag: str
    upload_id: str  # empty: the multipart upload was not begun, or is not known
    part_size_bytes: int
    part_count: int


@dataclass(frozen=True)
class Probe:
    """What a video file turned out to be."""

    duration_us: int
    width: int
    height: int
    fps: float
    has_audio: bool


def reject_reason(probe: Probe) -> str:
    """Why footage cannot be used, in words; empty when it can."""
    if probe.width <= 0 or probe.height <= 0:
        return "The file has no picture."
    if probe.duration_us < 100_000:
        return "The video is shorter than a tenth of a second."
    if probe.duration_us > MAX_DURATION_MS * 1000:
        return "The video is longer than 12 hours; split it and upload the parts."
    if max(probe.width, probe.height) > MAX_SIDE_PX:
        return f"The picture is larger than {MAX_SIDE_PX} pixels on a side."
    return ""
