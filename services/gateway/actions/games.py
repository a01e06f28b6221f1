"""Games: make, read, change, delete."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from gateway.domain.actor import Actor, Stamp
from gateway.domain.footage import Game
from gateway.domain.ids import derive
from gateway.library import games as rows
from gateway.library.steps import Step, missing
from gateway.library.store import Store
from gateway.ports import Rows


async def listed(store: Store, actor: Actor) -> tuple[list[Game], Stamp]:
    """Every game, oldest first."""
    reading = await store.read_whole(actor.user_id, rows.all_games(), min_version=actor.min_version)
    return rows.read_games(*reading.results), Stamp(reading.version, reading.version)


async def get(store: Store, actor: Actor, game_id: str) -> tuple[Game, Stamp]:
    """A game."""
    reading = await store.read(actor.user_id, rows.one_game(game_id), min_version=actor.min_version)
    return _only(reading.results), Stamp(reading.version, reading.version)


async def create(
    store: Store, actor: Actor, name: str, opponent: str, sport: str, played_on: date | None
) -> tuple[Game, Stamp]:
    """A new game; repeated with the same key, the same game."""
    game_id = derive(actor.key, actor.user_id, "game")
    selects = rows.one_game(game_id)
    steps = [*rows.insert_game(game_id, name, opponent, sport, played_on), *(Step(statement) for statement in selects)]
    written = await store.write(actor, steps)
    return _only(written.results[-2:]), written.stamp


async def change(store: Store, actor: Actor, game_id: str, changes: Mapping[str, object]) -> tuple[Game, Stamp]:
    """A game with some fields changed."""
    selects = rows.one_game(game_id)
    written = await store.write(
        actor, [*rows.update_game(game_id, changes), *(Step(statement) for statement in selects)]
    )
    return _only(written.results[-2:]), written.stamp


async def delete(store: Store, actor: Actor, game_id: str) -> Stamp:
    """Deletes a game with its videos and clips. Only rows go: media that a version of the last 30 days names stays
    (rule 13).
    """
    return (await store.write(actor, rows.delete_game(game_id))).stamp


def _only(results: tuple[Rows, ...]) -> Game:
    found = rows.read_games(*results)
    if not found:
        raise missing("game")
    return found[0]
