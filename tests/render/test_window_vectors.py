"""What an export shows of a clip against the vectors that the browser's preview tests too: from what a user saved, by
the gateway's specification, to the renderer's window.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from gateway.clients import specs as gateway_specs
from gateway.domain import specs
from gateway.domain.clips import Clip
from gateway.domain.footage import StoredVideo, Video, VideoState
from gateway.domain.reels import Aspect, CropKey, Framing
from gateway.domain.specs import Cut
from render import plan
from render.rpc import messages

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "windows.json"
CASES = json.loads(VECTORS.read_text(encoding="utf-8"))["cases"]
LONG_MS = 20_000


def cut(name: str, size: list[int], keys: list[dict[str, Any]]) -> Cut:
    """A clip that is all of a video of a displayed size, with its saved windows."""
    clip = Clip(name, "g", name, 0, LONG_MS, name, "", (), 0, datetime(2026, 1, 1, tzinfo=UTC))
    video = Video(
        name, "g", 0, "a.mp4", 1, "video/mp4", VideoState.READY, "", LONG_MS, size[0], size[1], 30.0, False, ""
    )
    framing = Framing(tuple(CropKey(**key) for key in keys), None, ()) if keys else None
    return Cut(clip, StoredVideo(video, f"games/{name}.mp4", "etag", "u", 1, 1), framing)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_vectors(case: dict[str, Any]) -> None:
    cuts = [cut("first", case["first"], [])] if "first" in case else []
    cuts.append(cut("shown", case["source"], case["crop_keys"]))
    told = specs.framing("x", "Reel", Aspect(case["aspect"]), cuts).spec
    assert [told.width, told.height] == case["output"]
    spec = messages.spec_from(gateway_specs.message(told))
    sizes = {clip.source: one.source.video for clip, one in zip(spec.clips, cuts, strict=True)}
    infos = {
        source: plan.SourceInfo(video.width or 0, video.height or 0, LONG_MS * 1000, Fraction(30), has_audio=False)
        for source, video in sizes.items()
    }
    made = plan.plan(spec, infos)
    width, height = case["source"]
    for time_ms, *expected in case["samples"]:
        window = made.clips[-1].window(time_ms / 1000, made.width / made.height)
        found = (window.x / width, window.y / height, window.width / width, window.height / height)
        assert found == pytest.approx(expected, abs=1e-9), time_ms
