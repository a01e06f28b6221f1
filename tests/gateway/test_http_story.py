"""The whole job over HTTP, from footage to a finished reel, and what each step answers."""

from __future__ import annotations

from tests.gateway.api import USER, Api


async def test_from_footage_to_a_reel(api: Api) -> None:
    story = await api.story()
    framed = await api.page.put(
        f"/api/reels/{story.reel_id}/clips/{story.clip_id}/framing",
        {
            "crop_keys": [{"time_ms": 2000, "x": 0.1, "y": 0, "width": 0.316, "height": 1}],
            "trim": {"start_ms": 1500, "end_ms": 5000},
        },
        match=(await api.page.get("/api/library")).version,
    )
    assert framed.status == 200 and framed.body["clips"][0]["framing"]["trim"] == {"start_ms": 1500, "end_ms": 5000}
    annotate = await api.finished(None, USER, {"kind": "annotate", "game_id": story.game_id})
    assert [output["role"] for output in annotate["outputs"]] == ["clip", "compilation"]
    assert annotate["outputs"][0]["clip_id"] == story.clip_id
    working = await api.finished(None, USER, {"kind": "framing", "reel_id": story.reel_id})
    assert working["outputs"][0]["role"] == "working"
    region = {
        "start_ms": 0, "end_ms": 2000, "fade_ms": 200, "shape": "ground",
        "effects": [{"kind": "ring", "strength": 0.8, "color": "#ff0000"}],
        "keys": [{"time_ms": 0, "center_x": 0.5, "center_y": 0.5, "radius_x": 0.1, "radius_y": 0.2}],
    }  # fmt: skip
    version = (await api.page.get("/api/library")).version
    spotted = await api.page.put(f"/api/reels/{story.reel_id}/overlay", {"regions": [region]}, match=version)
    assert spotted.status == 200 and spotted.body["overlay"]["regions"] == [region]
    final = await api.finished(None, USER, {"kind": "overlay", "reel_id": story.reel_id})
    reel = (await api.page.get(f"/api/reels/{story.reel_id}")).body
    assert reel["working_video"]["id"] == working["outputs"][0]["id"]
    assert reel["final_video"]["id"] == final["outputs"][0]["id"]
    file = await api.page.get(reel["final_video"]["url"] + "?download=1")
    assert file.status == 302 and "best-of.mp4" in file.headers["Location"]
    poster = await api.page.get(reel["final_video"]["poster_url"])
    assert poster.status == 302 and ".jpg" in poster.headers["Location"]
    library = (await api.page.get("/api/library")).body
    assert [len(library[name]) for name in ("games", "clips", "reels", "exports")] == [1, 1, 1, 3]
