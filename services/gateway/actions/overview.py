"""The whole library in one consistent read: what a page needs to begin."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.actions.exports import Exports
from gateway.domain.actor import Actor, Stamp
from gateway.domain.clips import Clip
from gateway.domain.exports import Export
from gateway.domain.footage import Game
from gateway.domain.reels import Reel
from gateway.library import clips as clip_rows
from gateway.library import exports as export_rows
from gateway.library import games as game_rows
from gateway.library import reels as reel_rows
from gateway.library.store import Store


@dataclass(frozen=True)
class Overview:
    """Everything of a user, at one version."""

    version: int
    games: list[Game]
    clips: list[Clip]
    reels: list[Reel]
    exports: list[Export]


async def read(store: Store, exports: Exports, actor: Actor) -> tuple[Overview, Stamp]:
    """Everything of a user."""
    statements = [*game_rows.all_games(), clip_rows.all_clips(), *reel_rows.all_reels(), *export_rows.all_exports()]
    reading = await store.read_whole(actor.user_id, statements, min_version=actor.min_version)
    found = Overview(
        version=reading.version,
        games=game_rows.read_games(*reading.results[:2]),
        clips=clip_rows.read_clips(reading.results[2]),
        reels=reel_rows.read_reels(*reading.results[3:7]),
        exports=exports.live(actor.user_id, export_rows.read_exports(*reading.results[7:9])),
    )
    return found, Stamp(reading.version, reading.version)
