"""Clips: make, read, change, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.domain.actor import Actor, Stamp
from gateway.domain.clips import Clip, check_range
from gateway.domain.ids import derive
from gateway.library import clips as rows
from gateway.library.steps import Step, missing
from gateway.library.store import Store
from gateway.ports import Rows


async def get(store: Store, actor: Actor, clip_id: str) -> tuple[Clip, Stamp]:
    """A clip."""
    reading = await store.read(actor.user_id, [rows.one_clip(clip_id)], min_version=actor.min_version)
    return _only(reading.results[0]), Stamp(reading.version, reading.version)


async def create(
    store: Store,
    actor: Actor,
    game_id: str,
    video_id: str,
    start_ms: int,
    end_ms: int,
    *,
    name: str,
    notes: str,
    tags: Sequence[str],
    rating: int | None,
) -> tuple[Clip, Stamp]:
    """A new clip of a video of the game; repeated with the same key, the same clip."""
    check_range(start_ms, end_ms)
    clip_id = derive(actor.key, actor.user_id, "clip")
    insert = rows.insert_clip(clip_id, game_id, video_id, start_ms, end_ms, name, notes, tags, rating)
    written = await store.write(actor, [*insert, Step(rows.one_clip(clip_id))])
    return _only(written.results[-1]), written.stamp


async def change(store: Store, actor: Actor, clip_id: str, changes: Mapping[str, object]) -> tuple[Clip, Stamp]:
    """A clip with some fields changed."""
    written = await store.write(actor, [*rows.update_clip(clip_id, changes), Step(rows.one_clip(clip_id))])
    return _only(written.results[-1]), written.stamp


async def delete(store: Store, actor: Actor, clip_id: str) -> Stamp:
    """Deletes a clip and its places in reels; what was exported from it stays."""
    return (await store.write(actor, rows.delete_clip(clip_id))).stamp


def _only(result: Rows) -> Clip:
    found = rows.read_clips(result)
    if not found:
        raise missing("clip")
    return found[0]
