"""What was said of the clips stands beside an annotate export, of every clip and as it was said."""

from __future__ import annotations

import json
from dataclasses import replace

import msgspec

from gateway.clients import specs as messages
from gateway.domain import annotation, specs
from gateway.domain.exports import Plan
from gateway.domain.specs import Cut
from gateway.library.exports import encode
from render.rpc.messages import spec_from
from tests.gateway.api import USER, Api
from tests.gateway.test_specs import CLIP, CUT, STORED, VIDEO


def test_a_clip_is_told_by_the_games_clock_and_its_videos() -> None:
    told = dict(annotation.fields(CLIP, STORED, 2_700_000))
    assert told == {
        "name": "Goal, left foot", "start": "0:45:01.000", "end": "0:45:11.000", "start_ms": 2_701_000,
        "end_ms": 2_711_000, "rating": 4, "tags": ("goal", "left"), "notes": "what a run", "video": "a.mp4",
        "video_start_ms": 1_000, "video_end_ms": 11_000,
    }  # fmt: skip
    assert list(dict(annotation.fields(CLIP, STORED, None))) == list(told)


def test_the_games_clock_goes_through_its_videos() -> None:
    second = replace(STORED, video=replace(VIDEO, id="w", duration_ms=None))
    third = replace(STORED, video=replace(VIDEO, id="x"))
    assert annotation.begins_ms([STORED, second, third]) == {"v": 0, "w": 60_000, "x": None}


def test_render_takes_the_fields_as_they_were_said() -> None:
    clip = replace(CLIP, notes="=1+1\n\t" + "★" * 1_990, tags=tuple(f"{n:02}" + "\U000e0001" * 38 for n in range(20)))
    cuts = [Cut(clip, STORED, video_at_ms=0), replace(CUT, clip=replace(CLIP, id="d", rating=None, notes="", tags=()))]
    spec = spec_from(messages.message(specs.annotate("x", "Final", cuts, captions=False, instant=True).spec))
    assert spec.output.sheet == "final-clips"
    assert [one.fields for one in spec.clips] == [
        annotation.fields(clip, STORED, 0),
        tuple((name, () if value == () else value) for name, value in annotation.fields(cuts[1].clip, STORED, None)),
    ]


def test_a_plan_is_kept_with_its_fields() -> None:
    plan = specs.annotate("x", "Final", [replace(CUT, video_at_ms=7)], captions=True, instant=False)
    kept = encode(plan)
    assert msgspec.json.decode(kept, type=Plan) == plan
    before = json.loads(kept)
    del before["spec"]["sheet"], before["spec"]["clips"][0]["fields"]
    assert msgspec.json.decode(json.dumps(before), type=Plan).spec.sheet == ""


async def test_the_files_stand_beside_the_videos(api: Api) -> None:
    api.renderer.sheets = True
    story = await api.story()
    export = await api.finished(None, USER, {"kind": "annotate", "game_id": story.game_id})
    assert [output["role"] for output in export["outputs"]] == ["clip", "compilation", "annotations", "annotations"]
    sheets = [output for output in export["outputs"] if output["role"] == "annotations"]
    assert [name.rpartition(".")[2] for name in (sheet["name"] for sheet in sheets)] == ["tsv", "json"]
    for sheet in sheets:
        assert (sheet["poster_url"], sheet["duration_ms"], sheet["width"], sheet["clip_id"]) == (None, 0, 0, None)
        answer = await api.page.get(f"{sheet['url']}?download=true")
        assert answer.status in (302, 303, 307) and sheet["name"] in answer.headers["Location"]


async def test_a_render_that_makes_none_fails_no_export(api: Api) -> None:
    story = await api.story()
    export = await api.finished(None, USER, {"kind": "annotate", "game_id": story.game_id})
    assert export["state"] == "succeeded" and len(export["outputs"]) == 2
