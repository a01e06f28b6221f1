"""Puts games, clips and reels into the fake gateway, as another page or the seeding of a first visit would."""

from __future__ import annotations

import shutil

from chassis.ids import uuid7
from tests.web.conftest import World
from tests.web.fake_product import CLIP, CREATED_AT, Json

ELSEWHERE = "another-page"


def seed_game(world: World, clips: int = 0, name: str = "Sample game") -> Json:
    """A game with one ready video and `clips` clips; the game."""
    product = world.gateway.product
    game = product.add(
        "games",
        {
            "id": uuid7(),
            "name": name,
            "opponent": "",
            "sport": "",
            "played_on": "2026-05-03",
            "created_at": CREATED_AT,
        },
        ELSEWHERE,
    )
    video = {
        "id": uuid7(), "game_id": game["id"], "position": 0, "file_name": "sample.mp4", "content_type": "video/mp4",
        "size_bytes": world.footage.stat().st_size, "state": "ready", "reject_reason": "", "duration_ms": 12_000,
        "width": 640, "height": 360, "fps": 30.0, "has_audio": True, "fingerprint": "",
    }  # fmt: skip
    product.add("videos", video, ELSEWHERE)
    shutil.copy(world.footage, world.store.folder / video["id"])
    for number in range(clips):
        seed_clip(world, game, video, number)
    return game


def seed_clip(world: World, game: Json, video: Json, number: int) -> Json:
    """A clip of one second, named and rated."""
    start_ms = (number % 11) * 1000
    where = {"id": uuid7(), "game_id": game["id"], "video_id": video["id"], "created_at": CREATED_AT}
    row = {
        **CLIP,
        **where,
        "start_ms": start_ms,
        "end_ms": start_ms + 1000,
        "name": f"Moment {number + 1}",
        "rating": 1 + number % 5,
    }
    return world.gateway.product.add("clips", row, ELSEWHERE)


def seed_reel(world: World, aspect: str = "9:16") -> Json:
    """A reel of every clip that there is."""
    product = world.gateway.product
    made: Json = {"overlay": {"regions": []}, "working_video": None, "final_video": None, "created_at": CREATED_AT}
    clips = [{"clip_id": key, "framing": None} for key in product.tables["clips"]]
    return product.add(
        "reels", {"id": uuid7(), "name": "Best of spring", "aspect": aspect, "clips": clips, **made}, ELSEWHERE
    )


def only(rows: dict[str, Json]) -> Json:
    """The one row of a table."""
    [row] = rows.values()
    return row
