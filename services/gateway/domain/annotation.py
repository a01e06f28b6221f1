"""What is written of a clip in the sheet beside its export: all that was said of it, and where it is. Pure."""

from __future__ import annotations

from gateway.domain.clips import Clip
from gateway.domain.footage import StoredVideo
from gateway.domain.render_spec import SpecField


def fields(clip: Clip, source: StoredVideo, video_at_ms: int | None) -> tuple[SpecField, ...]:
    """A clip's fields by their columns; `video_at_ms` is when its video begins on the game's clock, None when the
    length of one before it is not known.
    """
    on_clock: tuple[SpecField, ...] = (("start", None), ("end", None), ("start_ms", None), ("end_ms", None))
    if video_at_ms is not None:
        start_ms, end_ms = video_at_ms + clip.start_ms, video_at_ms + clip.end_ms
        on_clock = (("start", clock(start_ms)), ("end", clock(end_ms)), ("start_ms", start_ms), ("end_ms", end_ms))
    return (
        ("name", clip.name),
        *on_clock,
        ("rating", clip.rating),
        ("tags", clip.tags),
        ("notes", clip.notes),
        ("video", source.video.file_name),
        ("video_start_ms", clip.start_ms),
        ("video_end_ms", clip.end_ms),
    )


def begins_ms(videos: list[StoredVideo]) -> dict[str, int | None]:
    """When each of a game's videos, given in their order, begins on the game's clock."""
    begins: dict[str, int | None] = {}
    at_ms: int | None = 0
    for stored in videos:
        begins[stored.video.id] = at_ms
        length_ms = stored.video.duration_ms
        at_ms = at_ms + length_ms if at_ms is not None and length_ms is not None else None
    return begins


def clock(time_ms: int) -> str:
    """A time as people read it: 1:02:03.004."""
    seconds, millis = divmod(time_ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}.{millis:03}"
