"""The sample game: made once for the first visit, through the API as a user would."""

from __future__ import annotations

from pathlib import Path

from devstack import footage
from devstack.api import Api

NAME = "Sample: street race"
CLIPS = (
    {"start_ms": 800, "end_ms": 4200, "name": "The leader comes by", "rating": 5, "tags": ["sprint"]},
    {"start_ms": 5200, "end_ms": 8600, "name": "The chase", "rating": 4, "notes": "Watch the left side."},
)


async def seed(api: Api, data: Path) -> bool:
    """Makes the game unless the user has one already, or deleted it; whether it did.

    A mark in the data folder says that it was made: a sample that was deleted stays deleted.
    """
    mark = data / "sample-seeded"
    if mark.exists():
        return False
    library = await api.get("/library")
    if not library["games"]:
        game = await api.post("/games", {"name": NAME, "opponent": "the clock", "sport": "cycling"})
        video = await api.upload(game["id"], footage.with_sound(data / "sample"))
        for clip in CLIPS:
            await api.post(f"/games/{game['id']}/clips", {**clip, "video_id": video["id"]})
    mark.touch()
    return True
