"""The main job with every kind of export, on real processes: each result is downloaded and looked at."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devstack.api import Api
from devstack.checks import difference, look, pictures
from tests.e2e.story import FRAMING, OVERLAY, REEL_S, Story

FPS = 25


async def outputs(api: Api, wanted: dict[str, object], folder: Path) -> dict[str, list[Path]]:
    """Exports, follows it to its end, downloads what came of it: files by their role."""
    shares: list[float] = []
    accepted = await api.export(wanted)
    export = await api.finished(accepted["id"], lambda seen: shares.append(seen["progress"]))
    assert export["state"] == "succeeded", export
    assert shares == sorted(shares) and export["progress"] == 1
    assert (await api.get(f"/exports/{export['id']}")) == export
    found: dict[str, list[Path]] = {}
    for output in export["outputs"]:
        path = folder / f"{export['kind']}-{output['name']}"
        disposition = await api.download(output["url"], path)
        assert disposition.startswith("attachment") and output["name"].removesuffix(".mp4") in disposition
        assert path.stat().st_size == output["size_bytes"]
        found.setdefault(output["role"], []).append(path)
        if output["role"] == "annotations":
            continue
        seen = look(path)
        assert (seen.width, seen.height, seen.fps) == (output["width"], output["height"], output["fps"])
        assert seen.video_s == pytest.approx(output["duration_ms"] / 1000, abs=0.001)
        assert seen.sound_s == pytest.approx(seen.video_s, abs=0.05) and max(seen.loudness) > 0.01
        assert seen.faststart and seen.bright > 40 and seen.moved > 1
    return found


async def test_from_footage_to_a_finished_reel(api: Api, story: Story, tmp_path: Path) -> None:
    await api.put(f"/reels/{story.reel_id}/clips/{story.clip_ids[0]}/framing", FRAMING)
    await api.put(f"/reels/{story.reel_id}/overlay", OVERLAY)

    cut = await outputs(api, {"kind": "annotate", "game_id": story.game_id, "captions": True}, tmp_path)
    assert [look(path).frames for path in cut["clip"]] == [50, 40]
    assert [look(path).frames for path in cut["compilation"]] == [90]
    tsv, told = cut["annotations"]
    assert tsv.read_text("utf-8-sig").startswith("name\tstart\tend\t")
    rows = json.loads(told.read_text())["clips"]
    assert [row["file"] for row in rows] == [path.name.removeprefix("annotate-") for path in cut["clip"]]
    assert [(row["joined_start_ms"], row["joined_end_ms"]) for row in rows] == [(0, 2000), (2000, 3600)]

    [working] = (await outputs(api, {"kind": "framing", "reel_id": story.reel_id}, tmp_path))["working"]
    assert look(working).frames == round(REEL_S * FPS)
    [final] = (await outputs(api, {"kind": "overlay", "reel_id": story.reel_id}, tmp_path))["final"]
    [at_once] = (await outputs(api, {"kind": "reel", "reel_id": story.reel_id}, tmp_path))["final"]
    times_s = [0.04, 0.6, 3.0]
    plain, lit, both = (pictures(path, times_s) for path in (working, final, at_once))
    assert [difference(one, other) < 4 for one, other in zip(lit, both, strict=True)] == [True] * 3
    assert [difference(one, other) > 10 for one, other in zip(plain, lit, strict=True)] == [False, True, False]

    reel = await api.get(f"/reels/{story.reel_id}")
    assert reel["working_video"]["role"] == "working" and reel["final_video"]["role"] == "final"
    library = await api.get("/library")
    assert len(library["exports"]) == 4 and {export["state"] for export in library["exports"]} == {"succeeded"}


async def test_instant_clips_are_cut_without_encoding(api: Api, story: Story, tmp_path: Path) -> None:
    accepted = await api.export({"kind": "annotate", "game_id": story.game_id, "mode": "instant"})
    export = await api.finished(accepted["id"])
    assert export["state"] == "succeeded", export
    await api.download(export["outputs"][0]["url"], tmp_path / "clip.mp4")
    assert look(tmp_path / "clip.mp4").frames >= 50


async def test_a_cancelled_export_ends_cancelled_and_can_be_asked_again(api: Api, story: Story) -> None:
    export = await api.export({"kind": "framing", "reel_id": story.reel_id})
    cancelled = await api.post(f"/exports/{export['id']}/cancel")
    assert cancelled["state"] == "cancelled"
    again = await api.post(f"/exports/{export['id']}/retry")
    assert again["id"] != export["id"]
    assert (await api.finished(again["id"]))["state"] == "succeeded"
    assert (await api.get(f"/exports/{export['id']}"))["state"] == "cancelled"


async def test_a_file_that_is_no_video_is_rejected_in_words(api: Api, tmp_path: Path) -> None:
    game = await api.post("/games", {"name": "Final"})
    file = tmp_path / "notes.mp4"
    file.write_bytes(b"not a video, whatever its name says\n" * 2000)
    video = await api.upload(game["id"], file)
    assert video["state"] == "rejected" and len(video["reject_reason"]) > 10
