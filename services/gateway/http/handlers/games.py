"""Games over HTTP."""

from __future__ import annotations

from gateway.actions import games
from gateway.http import types
from gateway.http.changes import changed
from gateway.http.routes import Call, Reply, Route, done, reply


async def list_games(call: Call[types.Nothing]) -> Reply[types.Games]:
    found, stamp = await games.listed(call.parts.library, call.actor)
    return Reply(types.Games(stamp.version, [reply(types.Game, game).value for game in found]), stamp)


async def create_game(call: Call[types.NewGame]) -> Reply[types.Game]:
    new = call.asked
    game, stamp = await games.create(call.parts.library, call.actor, new.name, new.opponent, new.sport, new.played_on)
    return reply(types.Game, game, stamp)


async def get_game(call: Call[types.Nothing]) -> Reply[types.Game]:
    game, stamp = await games.get(call.parts.library, call.actor, call.path["game_id"])
    return reply(types.Game, game, stamp)


async def change_game(call: Call[types.GameChanges]) -> Reply[types.Game]:
    game, stamp = await games.change(call.parts.library, call.actor, call.path["game_id"], changed(call.asked))
    return reply(types.Game, game, stamp)


async def delete_game(call: Call[types.Nothing]) -> Reply[None]:
    return done(await games.delete(call.parts.library, call.actor, call.path["game_id"]))


GAME = "/api/games/{game_id}"

ROUTES = (
    Route("GET", "/api/games", list_games, "Every game, oldest first", "games"),
    Route("POST", "/api/games", create_game, "Make a game", "games", 201, (409,)),
    Route("GET", GAME, get_game, "A game with its videos", "games", errors=(404,)),
    Route("PATCH", GAME, change_game, "Change a game", "games", errors=(404, 409), versioned=True),
    Route(
        "DELETE", GAME, delete_game, "Delete a game with its videos and clips", "games", 204, (404, 409), versioned=True
    ),
)
