"""Reels: make, read, change, frame, spotlight, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.domain.actor import Actor, Stamp
from gateway.domain.ids import derive
from gateway.domain.reels import Aspect, Framing, Overlay, Reel, check_clip_ids, check_framing, check_overlay
from gateway.library import reels as rows
from gateway.library.steps import Step, missing
from gateway.library.store import Store
from gateway.ports import Rows


async def listed(store: Store, actor: Actor) -> tuple[list[Reel], Stamp]:
    """Every reel, oldest first."""
    reading = await store.read_whole(actor.user_id, rows.all_reels(), min_version=actor.min_version)
    return rows.read_reels(*reading.results), Stamp(reading.version, reading.version)


async def get(store: Store, actor: Actor, reel_id: str) -> tuple[Reel, Stamp]:
    """A reel."""
    reading = await store.read(actor.user_id, rows.one_reel(reel_id), min_version=actor.min_version)
    return _only(reading.results), Stamp(reading.version, reading.version)


async def create(store: Store, actor: Actor, name: str, aspect: Aspect, clip_ids: Sequence[str]) -> tuple[Reel, Stamp]:
    """A new reel of clips that exist; repeated with the same key, the same reel."""
    check_clip_ids(clip_ids)
    reel_id = derive(actor.key, actor.user_id, "reel")
    return await _write(store, actor, reel_id, rows.insert_reel(reel_id, name, aspect, clip_ids))


async def change(store: Store, actor: Actor, reel_id: str, changes: Mapping[str, object]) -> tuple[Reel, Stamp]:
    """A reel with its name or aspect changed."""
    return await _write(store, actor, reel_id, rows.update_reel(reel_id, changes))


async def set_clips(store: Store, actor: Actor, reel_id: str, clip_ids: Sequence[str]) -> tuple[Reel, Stamp]:
    """A reel of these clips in this order; the framing of clips that stay is kept."""
    check_clip_ids(clip_ids)
    return await _write(store, actor, reel_id, rows.set_clips(reel_id, clip_ids))


async def set_framing(store: Store, actor: Actor, reel_id: str, clip_id: str, framing: Framing) -> tuple[Reel, Stamp]:
    """A reel with one clip framed anew."""
    check_framing(framing)
    return await _write(store, actor, reel_id, rows.set_framing(reel_id, clip_id, framing))


async def clear_framing(store: Store, actor: Actor, reel_id: str, clip_id: str) -> tuple[Reel, Stamp]:
    """A reel with one clip shown by default."""
    return await _write(store, actor, reel_id, rows.clear_framing(reel_id, clip_id))


async def set_overlay(store: Store, actor: Actor, reel_id: str, overlay: Overlay) -> tuple[Reel, Stamp]:
    """A reel with its spotlights set anew."""
    check_overlay(overlay)
    return await _write(store, actor, reel_id, rows.set_overlay(reel_id, overlay))


async def delete(store: Store, actor: Actor, reel_id: str) -> Stamp:
    """Deletes a reel; its exports and their videos stay."""
    return (await store.write(actor, rows.delete_reel(reel_id))).stamp


async def _write(store: Store, actor: Actor, reel_id: str, steps: Sequence[Step]) -> tuple[Reel, Stamp]:
    written = await store.write(actor, steps)
    # Read after the commit, not in it: a commit's results are kept beside its key, and a reel may be large.
    reading = await store.read(actor.user_id, rows.one_reel(reel_id), min_version=written.stamp.version)
    return _only(reading.results), written.stamp


def _only(results: tuple[Rows, ...]) -> Reel:
    found = rows.read_reels(*results)
    if not found:
        raise missing("reel")
    return found[0]
