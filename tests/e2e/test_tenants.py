"""Another user's ids, in every endpoint that takes one: 404, never data, and nothing of theirs changes."""

from __future__ import annotations

from typing import Any

import aiohttp

from chassis.ids import uuid7
from devstack.api import Answer, Api
from devstack.stack import Stack
from tests.e2e.owner import Made

PREFIX = "/api"
COOKIE = "reel_session"
BODIES: dict[str, Any] = {
    "POST /api/games/{game_id}/videos": {"file_name": "a.mp4", "size_bytes": 9, "content_type": "video/mp4"},
    "POST /api/videos/{video_id}/upload/parts": {"part_numbers": [1]},
    "POST /api/games/{game_id}/clips": {"video_id": "{video_id}", "start_ms": 0, "end_ms": 1000},
    "PATCH /api/games/{game_id}": {"name": "mine now"},
    "PATCH /api/clips/{clip_id}": {"name": "mine now"},
    "PATCH /api/reels/{reel_id}": {"name": "mine now"},
    "PUT /api/reels/{reel_id}/clips": {"clip_ids": []},
    "PUT /api/reels/{reel_id}/clips/{clip_id}/framing": {"trim": None},
    "PUT /api/reels/{reel_id}/overlay": {"regions": []},
}
# Ids that a body names.
INSIDE: tuple[tuple[str, dict[str, Any]], ...] = (
    ("/reels", {"name": "theirs", "clip_ids": ["{clip_id}"]}),
    ("/exports", {"kind": "annotate", "game_id": "{game_id}"}),
    ("/exports", {"kind": "framing", "reel_id": "{reel_id}"}),
    ("/exports", {"kind": "overlay", "reel_id": "{reel_id}"}),
    ("/exports", {"kind": "reel", "reel_id": "{reel_id}"}),
)


def filled(value: Any, ids: dict[str, str]) -> Any:
    """A path or body with the ids in their places."""
    if isinstance(value, str):
        for name, given in ids.items():
            value = value.replace(f"{{{name}}}", given)
        return value
    if isinstance(value, dict):
        return {key: filled(inner, ids) for key, inner in value.items()}
    return [filled(inner, ids) for inner in value] if isinstance(value, list) else value


def is_nothing(answer: Answer, ids: dict[str, str], what: str) -> None:
    """404 as a problem that repeats none of the ids."""
    assert answer.status == 404, (what, answer)
    assert answer.headers["Content-Type"].startswith("application/problem+json"), what
    assert answer.body["type"].endswith("/not_found") and len(answer.body["trace_id"]) == 32, what
    assert "Location" not in answer.headers and "ETag" not in answer.headers, what
    assert not [given for given in ids.values() if given in str(answer.body)], what


async def test_every_endpoint_hides_what_belongs_to_somebody_else(mine: Api, api: Api, made: Made) -> None:
    before, ids = await mine.get("/library"), made.ids()
    await api.get("/library")  # its ETag goes along as If-Match
    paths = (await api.get("/openapi.json"))["paths"]
    asked = 0
    for path, operations in paths.items():
        if "{" not in path:
            continue
        assert path.startswith(PREFIX)
        for method in operations:
            route = f"{method.upper()} {path}"
            where = filled(path, ids).removeprefix(PREFIX)
            is_nothing(await api.ask(method.upper(), where, filled(BODIES.get(route, {}), ids)), ids, route)
            asked += 1
    assert asked >= 26
    assert await mine.get("/library") == before


async def test_ids_inside_bodies_are_hidden_as_well(api: Api, made: Made) -> None:
    ids = made.ids()
    for path, body in INSIDE:
        is_nothing(await api.ask("POST", path, filled(body, ids)), ids, path)
    game = await api.post("/games", {"name": "My own"})
    clip = {"video_id": ids["video_id"], "start_ms": 0, "end_ms": 500}
    is_nothing(await api.ask("POST", f"/games/{game['id']}/clips", clip), ids, "a clip of their video")
    reel = await api.post("/reels", {"name": "My own"})
    mixed = await api.ask("PUT", f"/reels/{reel['id']}/clips", {"clip_ids": [ids["clip_id"]]})
    is_nothing(mixed, ids, "their clip in my reel")
    library = await api.get("/library")
    assert (len(library["games"]), library["clips"], library["exports"]) == (1, [], [])


async def test_a_list_shows_only_one_s_own(api: Api, made: Made) -> None:
    ids = made.ids()
    for query in (f"game_id={ids['game_id']}", f"reel_id={ids['reel_id']}"):
        found = await api.ask("GET", f"/exports?{query}")
        assert found.status == 404 or found.body["exports"] == [], query
    assert (await api.get("/library"))["games"] == []


async def test_the_socket_tells_nobody_of_another_s_exports(api: Api, made: Made) -> None:
    theirs = made.export
    told = []
    async with api.socket({theirs["id"]: 0}) as messages:
        await api.post("/games", {"name": "Wakes the socket"})
        async for message in messages:
            told.append(message)
            if message["type"] == "version":
                break
    assert theirs["id"] not in str(told)


async def test_a_made_up_session_is_nobody(stack: Stack) -> None:
    async with (
        aiohttp.ClientSession(cookies={COOKIE: uuid7()}) as http,
        http.get(f"{stack.settings.api_origin}/api/library") as answer,
    ):
        assert answer.status == 401
        assert (await answer.json(content_type=None))["type"].endswith("/no_session")


async def test_a_session_s_cookie_is_kept_from_scripts_and_ends_with_it(stack: Stack, api: Api) -> None:
    cookie = next(one for one in api.http.cookie_jar if one.key == COOKIE)
    assert cookie["httponly"] and cookie["samesite"] == "Lax"
    mine = (await api.get("/session"))["user_id"]
    assert mine != "dev-local"
    assert (await api.ask("DELETE", "/session")).status == 204
    async with (
        aiohttp.ClientSession(cookies={COOKIE: cookie.value}) as http,
        http.get(f"{stack.settings.api_origin}/api/library") as answer,
    ):
        assert answer.status == 401
