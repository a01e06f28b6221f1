"""The JSON of the API, field for field, with every bound: what is refused here never reaches an action.

A request's types forbid unknown fields. Times are milliseconds on the video's own clock; coordinates are fractions of
the displayed frame.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

MAX_TIME_MS = 12 * 3600 * 1000
_LINE = r"^[^\u0000-\u001f\u007f-\u009f\u2028\u2029]*$"
_UUID7 = r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"

Id = Annotated[str, Meta(pattern=_UUID7, max_length=36)]
Name = Annotated[str, Meta(max_length=200, pattern=_LINE)]
FullName = Annotated[str, Meta(min_length=1, max_length=200, pattern=_LINE)]
Word = Annotated[str, Meta(max_length=50, pattern=_LINE)]
Notes = Annotated[str, Meta(max_length=2000, pattern=r"^[^\u0000-\u0008\u000b-\u001f\u007f]*$")]
Tags = Annotated[list[Annotated[str, Meta(min_length=1, max_length=40, pattern=_LINE)]], Meta(max_length=20)]
Rating = Annotated[int, Meta(ge=1, le=5)]
TimeMs = Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]
Side = Annotated[int, Meta(ge=1, le=16384)]
Fraction = Annotated[float, Meta(ge=0, le=1)]
Extent = Annotated[float, Meta(ge=0.001, le=1)]
Moment = Annotated[datetime, Meta(tz=True)]
Day = Annotated[date, Meta(description="YYYY-MM-DD")]
AspectName = Literal["source", "16:9", "9:16", "1:1", "4:5"]


class NewGame(Struct, frozen=True, forbid_unknown_fields=True):
    name: FullName
    opponent: Name = ""
    sport: Word = ""
    played_on: Day | None = None


class GameChanges(Struct, frozen=True, forbid_unknown_fields=True):
    name: FullName | UnsetType = UNSET
    opponent: Name | UnsetType = UNSET
    sport: Word | UnsetType = UNSET
    played_on: Day | UnsetType | None = UNSET


class NewVideo(Struct, frozen=True, forbid_unknown_fields=True):
    file_name: FullName
    size_bytes: Annotated[int, Meta(ge=1, le=1 << 40)]
    content_type: Annotated[
        str, Meta(pattern=r"^(video/[a-z0-9][a-z0-9.+-]{0,60}|application/octet-stream)$", max_length=80)
    ]
    duration_ms: TimeMs | None = None
    width: Side | None = None
    height: Side | None = None
    fps: Annotated[float, Meta(gt=0, le=1000)] | None = None
    fingerprint: Annotated[str, Meta(max_length=200, pattern=r"^[\x21-\x7e]*$")] = ""


class PartNumbers(Struct, frozen=True, forbid_unknown_fields=True):
    part_numbers: Annotated[list[Annotated[int, Meta(ge=1, le=10_000)]], Meta(min_length=1, max_length=100)]


class NewClip(Struct, frozen=True, forbid_unknown_fields=True):
    video_id: Id
    start_ms: TimeMs
    end_ms: TimeMs
    name: Name = ""
    notes: Notes = ""
    tags: Tags = []
    rating: Rating | None = None


class ClipChanges(Struct, frozen=True, forbid_unknown_fields=True):
    start_ms: TimeMs | UnsetType = UNSET
    end_ms: TimeMs | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    notes: Notes | UnsetType = UNSET
    tags: Tags | UnsetType = UNSET
    rating: Rating | UnsetType | None = UNSET


ReelClipIds = Annotated[list[Id], Meta(max_length=100)]


class NewReel(Struct, frozen=True, forbid_unknown_fields=True):
    name: FullName
    aspect: AspectName = "source"
    clip_ids: ReelClipIds = []


class ReelChanges(Struct, frozen=True, forbid_unknown_fields=True):
    name: FullName | UnsetType = UNSET
    aspect: AspectName | UnsetType = UNSET


class ClipOrder(Struct, frozen=True, forbid_unknown_fields=True):
    clip_ids: ReelClipIds


class CropKey(Struct, frozen=True, forbid_unknown_fields=True):
    time_ms: TimeMs
    x: Fraction
    y: Fraction
    width: Annotated[float, Meta(ge=0.02, le=1)]
    height: Annotated[float, Meta(ge=0.02, le=1)]


class Trim(Struct, frozen=True, forbid_unknown_fields=True):
    start_ms: TimeMs
    end_ms: TimeMs


class Segment(Struct, frozen=True, forbid_unknown_fields=True):
    start_ms: TimeMs
    end_ms: TimeMs
    speed: Annotated[float, Meta(ge=0.25, le=4)]


class Framing(Struct, frozen=True, forbid_unknown_fields=True):
    crop_keys: Annotated[list[CropKey], Meta(max_length=300)] = []
    trim: Trim | None = None
    segments: Annotated[list[Segment], Meta(max_length=50)] = []


class Effect(Struct, frozen=True, forbid_unknown_fields=True):
    kind: Literal["dim_outside", "brighten_inside", "ring"]
    strength: Fraction
    color: Annotated[str, Meta(pattern=r"^#[0-9a-fA-F]{6}$", max_length=7)] | None = None


class EllipseKey(Struct, frozen=True, forbid_unknown_fields=True):
    time_ms: TimeMs
    center_x: Fraction
    center_y: Fraction
    radius_x: Extent
    radius_y: Extent


class Region(Struct, frozen=True, forbid_unknown_fields=True):
    start_ms: TimeMs
    end_ms: TimeMs
    effects: Annotated[list[Effect], Meta(min_length=1, max_length=4)]
    keys: Annotated[list[EllipseKey], Meta(min_length=1, max_length=300)]
    fade_ms: Annotated[int, Meta(ge=0, le=10_000)] = 0
    shape: Literal["body", "ground"] = "body"


class Overlay(Struct, frozen=True, forbid_unknown_fields=True):
    regions: Annotated[list[Region], Meta(max_length=20)]


class NewAnnotateExport(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="annotate"):
    game_id: Id
    clip_ids: Annotated[list[Id], Meta(min_length=1, max_length=100)] | None = None
    captions: bool = False
    mode: Literal["exact", "instant"] = "exact"


class NewFramingExport(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="framing"):
    reel_id: Id


class NewOverlayExport(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="overlay"):
    reel_id: Id


class NewReelExport(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="reel"):
    reel_id: Id


NewExport = NewAnnotateExport | NewFramingExport | NewOverlayExport | NewReelExport


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """An empty body or query."""


class Download(Struct, frozen=True, forbid_unknown_fields=True):
    """A query: ?download=1 saves under a good name instead of playing."""

    download: bool = False


class ExportFilter(Struct, frozen=True, forbid_unknown_fields=True):
    """A query: the exports of one game, or of one reel."""

    game_id: Id | None = None
    reel_id: Id | None = None


class Health(Struct, frozen=True):
    status: str


class Readiness(Struct, frozen=True):
    ready: bool
    services: dict[str, Literal["ready", "unreachable"]]


class Session(Struct, frozen=True):
    user_id: str
    kind: Literal["development", "anonymous"]
    environment: Literal["local", "staging", "production"]


class Video(Struct, frozen=True):
    id: str
    game_id: str
    position: int
    file_name: str
    size_bytes: int
    content_type: str
    state: Literal["uploading", "ready", "rejected"]
    reject_reason: str
    duration_ms: int | None
    width: int | None
    height: int | None
    fps: float | None
    has_audio: bool | None
    fingerprint: str


class Game(Struct, frozen=True):
    id: str
    name: str
    opponent: str
    sport: str
    played_on: Day | None
    created_at: Moment
    videos: list[Video]


class Games(Struct, frozen=True):
    version: int
    games: list[Game]


class Upload(Struct, frozen=True):
    part_size_bytes: int
    part_count: int
    parts_done: list[int]
    bytes_done: int


class VideoWithUpload(Struct, frozen=True):
    video: Video
    upload: Upload


class SignedPart(Struct, frozen=True):
    number: int
    url: str
    size_bytes: int
    headers: dict[str, str]


class SignedParts(Struct, frozen=True):
    parts: list[SignedPart]
    expires_at: Moment


class Clip(Struct, frozen=True):
    id: str
    game_id: str
    video_id: str
    start_ms: int
    end_ms: int
    name: str
    notes: str
    tags: list[str]
    rating: int | None
    created_at: Moment


class Output(Struct, frozen=True):
    id: str
    name: str
    role: Literal["clip", "compilation", "annotations", "working", "final"]
    clip_id: str | None
    size_bytes: int
    duration_ms: int
    width: int
    height: int
    fps: float
    url: str
    poster_url: str | None


class ReelClip(Struct, frozen=True):
    clip_id: str
    framing: Framing | None


class Reel(Struct, frozen=True):
    id: str
    name: str
    aspect: AspectName
    clips: list[ReelClip]
    overlay: Overlay
    working_video: Output | None
    final_video: Output | None
    created_at: Moment


class Reels(Struct, frozen=True):
    version: int
    reels: list[Reel]


class ExportError(Struct, frozen=True):
    code: str
    message: str
    retryable: bool


class Export(Struct, frozen=True):
    id: str
    kind: Literal["annotate", "framing", "overlay", "reel"]
    game_id: str | None
    reel_id: str | None
    state: Literal["queued", "running", "succeeded", "failed", "cancelled"]
    progress: float
    eta_s: float | None
    phase: str
    error: ExportError | None
    outputs: list[Output]
    created_at: Moment
    finished_at: Moment | None
    sequence: int
    trace_id: str


class Exports(Struct, frozen=True):
    version: int
    exports: list[Export]


class Library(Struct, frozen=True):
    version: int
    games: list[Game]
    clips: list[Clip]
    reels: list[Reel]
    exports: list[Export]


class Conflict(Struct, frozen=True):
    table: str
    key: list[str | int | float | None]


class Problem(Struct, frozen=True, omit_defaults=True):
    """RFC 9457; beside these fields a problem may carry others that its type names (field, what, limit, …)."""

    type: str
    title: str
    status: int
    detail: str
    trace_id: str
    local_version: int | None = None
    remote_version: int | None = None
    conflicts: list[Conflict] | None = None


class Hello(Struct, frozen=True):
    """A page's first message on the WebSocket; fields of later releases are ignored."""

    type: Literal["hello"]
    client_id: Annotated[str, Meta(max_length=100, pattern=r"^[\x21-\x7e]*$")] = ""
    traceparent: Annotated[str, Meta(max_length=100)] = ""
    version: Annotated[int, Meta(ge=0, le=(1 << 53))] = 0
    exports: Annotated[dict[str, int], Meta(max_length=200)] = {}
