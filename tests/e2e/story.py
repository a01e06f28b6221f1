"""What a user has made before a test begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devstack.api import Api

CLIPS = (
    {"start_ms": 0, "end_ms": 2000, "name": "One"},
    {"start_ms": 2000, "end_ms": 3600, "name": "Two", "notes": "After the first", "tags": ["a"], "rating": 3},
)
FRAMING = {
    "crop_keys": [
        {"time_ms": 0, "x": 0.0, "y": 0.0, "width": 0.5, "height": 0.5},
        {"time_ms": 1000, "x": 0.5, "y": 0.5, "width": 0.5, "height": 0.5},
    ],
    "trim": {"start_ms": 0, "end_ms": 1600},
    "segments": [{"start_ms": 800, "end_ms": 1600, "speed": 0.5}],
}
# The first clip: 0.8 s, then 0.8 s in half speed; the second 1.6 s.
REEL_S = 0.8 + 1.6 + 1.6
OVERLAY = {
    "regions": [
        {
            "start_ms": 200,
            "end_ms": 1200,
            "fade_ms": 100,
            "shape": "body",
            "effects": [{"kind": "dim_outside", "strength": 0.8}, {"kind": "ring", "strength": 1, "color": "#ff0000"}],
            "keys": [{"time_ms": 200, "center_x": 0.5, "center_y": 0.5, "radius_x": 0.2, "radius_y": 0.3}],
        }
    ]
}


@dataclass(frozen=True)
class Story:
    """The ids of what there is."""

    game_id: str
    video_id: str
    clip_ids: tuple[str, ...]
    reel_id: str


async def tell(api: Api, video: Path, clips: tuple[dict[str, Any], ...] = CLIPS, aspect: str = "source") -> Story:
    """Makes a game with a video, clips and a reel of all of them."""
    game = await api.post("/games", {"name": "Final"})
    uploaded = await api.upload(game["id"], video)
    assert uploaded["state"] == "ready", uploaded
    made = [await api.post(f"/games/{game['id']}/clips", {**clip, "video_id": uploaded["id"]}) for clip in clips]
    clip_ids = tuple(clip["id"] for clip in made)
    reel = await api.post("/reels", {"name": "Best of", "aspect": aspect, "clip_ids": list(clip_ids)})
    return Story(game["id"], uploaded["id"], clip_ids, reel["id"])
