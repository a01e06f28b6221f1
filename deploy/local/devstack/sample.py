"""The sample game: made once for the first visit, through the API as a user would."""

from __future__ import annotations

from pathlib import Path

from devstack import footage
from devstack.api import Api
from devstack.settings import SAMPLE_MARK

NAME = "Sample: the visitor"
CLIPS = (
    {"start_ms": 300, "end_ms": 3200, "name": "Up to the camera", "rating": 4, "tags": ["run"]},
    {"start_ms": 9000, "end_ms": 13000, "name": "The turn", "rating": 5, "notes": "Follow the head to the right."},
)


async def seed(api: Api, data: Path) -> bool:
    """Makes the game unless there is one of its name; whether it did. ApiError, OSError.

    A mark in the data folder says that it was made: a sample that was deleted stays deleted. A start that was
    interrupted between goes on where the game lacks something.
    """
    library = await api.get("/library")
    games = [game for game in library["games"] if game["name"] == NAME]
    game = games[0] if games else await api.post("/games", {"name": NAME, "sport": "wildlife"})
    ready = [video for video in game["videos"] if video["state"] == "ready"]
    video = ready[0] if ready else await api.upload(game["id"], footage.with_sound(data / "sample"))
    marked = {clip["name"] for clip in library["clips"] if clip["game_id"] == game["id"]}
    for clip in CLIPS:
        if clip["name"] not in marked:
            await api.post(f"/games/{game['id']}/clips", {**clip, "video_id": video["id"]})
    (data / SAMPLE_MARK).touch()
    return not games
