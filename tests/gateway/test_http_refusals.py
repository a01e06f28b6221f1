"""What is refused, and how: always a problem+json with a stable type, plain words and the trace id; never a 5xx for
what a client did.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from chassis.ids import uuid7
from gateway.http.routes import Route
from gateway.http.table import ROUTES
from tests.gateway.api import Answer, Api, Client, config, running

OWN = [route for route in ROUTES if "{" in route.path]
GAME, VIDEO_OF, CLIP_OF = "/api/games", "/api/games/{g}/videos", "/api/games/{g}/clips"
BODIES: dict[str, Any] = {
    "create_video": {"file_name": "a.mp4", "size_bytes": 1, "content_type": "video/mp4"},
    "sign_parts": {"part_numbers": [1]},
    "create_clip": {"video_id": uuid7(), "start_ms": 0, "end_ms": 1000},
    "change_clip": {"name": "x"},
    "change_game": {"name": "x"},
    "change_reel": {"name": "x"},
    "set_reel_clips": {"clip_ids": []},
    "set_framing": {"trim": None},
    "set_overlay": {"regions": []},
}


def check_problem(answer: Answer, status: int, reason: str | None = None) -> None:
    """An answer is a well-formed problem of this status."""
    assert answer.status == status, answer
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body["status"] == status and answer.body["detail"] and answer.body["title"]
    assert answer.body["type"].startswith("https://reelballers.com/problems/")
    assert reason is None or answer.problem == reason, answer


async def ask(page: Client, route: Route, ids: dict[str, str], match: str = '"1"') -> Answer:
    """A well-formed request of a route."""
    path = route.path
    for name, value in ids.items():
        path = path.replace(f"{{{name}}}", value)
    return await page.ask(route.method, path, BODIES.get(route.operation_id), match=match if route.versioned else None)


async def test_unknown_and_impossible_ids_are_404_everywhere(api: Api) -> None:
    await api.game()
    names = ("game_id", "video_id", "clip_id", "reel_id", "export_id", "output_id")
    for route in OWN:
        for made_up in (uuid7(), "1", "..%2f..%2fetc", "0190a000-0000-4000-8000-000000000000", "%00", "x" * 300):
            check_problem(await ask(api.page, route, dict.fromkeys(names, made_up)), 404, "not_found")


async def test_another_users_ids_are_404_everywhere(api: Api) -> None:
    async with Client(api.url) as other:
        owner = await other.post("/api/session")
        assert owner.status == 201
        user = owner.body["user_id"]
        story = await api.story(other)
        export = await api.finished(other, user, {"kind": "reel", "reel_id": story.reel_id})
        ids = {
            "game_id": story.game_id, "video_id": story.video_id, "clip_id": story.clip_id, "reel_id": story.reel_id,
            "export_id": export["id"], "output_id": export["outputs"][0]["id"],
        }  # fmt: skip
        before = await other.get("/api/library")
        match = (await api.page.get("/api/library")).version
        for route in OWN:
            check_problem(await ask(api.page, route, ids, match), 404, "not_found")
        assert (await other.get("/api/library")).body == before.body


async def test_foreign_ids_inside_bodies_are_404_too(api: Api) -> None:
    story = await api.story()
    clip = {"video_id": uuid7(), "start_ms": 0, "end_ms": 1000}
    check_problem(await api.page.post(f"/api/games/{story.game_id}/clips", clip), 404, "not_found")
    second = await api.game()
    check_problem(await api.page.post(f"/api/games/{second}/clips", {**clip, "video_id": story.video_id}), 404)
    check_problem(await api.page.post("/api/reels", {"name": "x", "clip_ids": [uuid7()]}), 404)
    version = (await api.page.get("/api/reels")).version
    ids = {"clip_ids": [story.clip_id, uuid7()]}
    check_problem(await api.page.put(f"/api/reels/{story.reel_id}/clips", ids, match=version), 404)
    for body in (
        {"kind": "framing", "reel_id": uuid7()},
        {"kind": "annotate", "game_id": uuid7()},
        {"kind": "annotate", "game_id": second, "clip_ids": [story.clip_id]},
    ):
        check_problem(await api.page.post("/api/exports", body), 404, "not_found")


HOSTILE: list[tuple[str, str, Any, int, str, str]] = [
    ("POST", GAME, {}, 400, "invalid_body", "name"),
    ("POST", GAME, {"name": ""}, 400, "invalid_body", "name"),
    ("POST", GAME, {"name": "x" * 201}, 400, "invalid_body", "name"),
    ("POST", GAME, {"name": "a\x00b"}, 400, "invalid_body", "name"),
    ("POST", GAME, {"name": "a\nb"}, 400, "invalid_body", "name"),
    ("POST", GAME, {"name": 7}, 400, "invalid_body", "name"),
    ("POST", GAME, {"name": None}, 400, "invalid_body", "name"),
    ("POST", GAME, {"name": "x", "owner": "me"}, 400, "invalid_body", "owner"),
    ("POST", GAME, {"name": "x", "played_on": "yesterday"}, 400, "invalid_body", "played_on"),
    ("POST", GAME, [], 400, "invalid_body", ""),
    ("POST", GAME, "name", 400, "invalid_body", ""),
    ("POST", VIDEO_OF, {"file_name": "a", "size_bytes": 0, "content_type": "video/mp4"},
     400, "invalid_body", "size_bytes"),
    ("POST", VIDEO_OF, {"file_name": "a", "size_bytes": 2**70, "content_type": "video/mp4"},
     400, "invalid_body", "size_bytes"),
    ("POST", VIDEO_OF, {"file_name": "a", "size_bytes": 2**39, "content_type": "video/mp4"},
     422, "file_too_large", "size_bytes"),
    ("POST", VIDEO_OF, {"file_name": "a", "size_bytes": 1, "content_type": "text/html"},
     400, "invalid_body", "content_type"),
    ("POST", CLIP_OF, {"video_id": "{v}", "start_ms": -1, "end_ms": 5}, 400, "invalid_body", "start_ms"),
    ("POST", CLIP_OF, {"video_id": "{v}", "start_ms": 1.5, "end_ms": 5000}, 400, "invalid_body", "start_ms"),
    ("POST", CLIP_OF, {"video_id": "{v}", "start_ms": 10**30, "end_ms": 5}, 400, "invalid_body", "start_ms"),
    ("POST", CLIP_OF, {"video_id": "{v}", "start_ms": 5000, "end_ms": 1000}, 422, "invalid_range", "end_ms"),
    ("POST", CLIP_OF, {"video_id": "{v}", "start_ms": 5000, "end_ms": 99_000}, 422, "clip_outside_video", "end_ms"),
    ("POST", CLIP_OF, {"video_id": "{v}", "start_ms": 0, "end_ms": 1000, "rating": 6}, 400, "invalid_body", "rating"),
    ("POST", CLIP_OF, {"video_id": "{v}", "start_ms": 0, "end_ms": 1000, "tags": ["x"] * 21},
     400, "invalid_body", "tags"),
    ("POST", "/api/reels", {"name": "x", "aspect": "3:2"}, 400, "invalid_body", "aspect"),
    ("POST", "/api/reels", {"name": "x", "clip_ids": ["{c}", "{c}"]}, 422, "duplicate_clip", "clip_ids"),
    ("POST", "/api/reels", {"name": "x", "clip_ids": ["no id"]}, 400, "invalid_body", "clip_ids[0]"),
    ("PATCH", "/api/clips/{c}", {"end_ms": 500}, 422, "invalid_range", "end_ms"),
    ("PATCH", "/api/clips/{c}", {}, 400, "nothing_to_change", ""),
    ("PATCH", "/api/clips/{c}", {"video_id": "{v}"}, 400, "invalid_body", "video_id"),
    ("PUT", "/api/reels/{r}/clips/{c}/framing", {"crop_keys": [{"time_ms": 0}]}, 400, "invalid_body", "crop_keys[0].x"),
    (
        "PUT", "/api/reels/{r}/clips/{c}/framing",
        {"crop_keys": [{"time_ms": 0, "x": 0.9, "y": 0, "width": 0.5, "height": 0.5}]},
     422, "invalid_framing", "crop_keys",
    ),
    ("PUT", "/api/reels/{r}/clips/{c}/framing", {"segments": [{"start_ms": 0, "end_ms": 9, "speed": 9}]},
     400, "invalid_body",
     "segments[0].speed"),
    ("PUT", "/api/reels/{r}/overlay", {"regions": [{}]}, 400, "invalid_body", "regions[0].start_ms"),
    ("POST", "/api/exports", {"kind": "everything"}, 400, "invalid_body", "kind"),
    ("POST", "/api/exports", {"reel_id": "{r}"}, 400, "invalid_body", "kind"),
    ("POST", "/api/exports", {"kind": "framing", "reel_id": "{r}", "spec": {}}, 400, "invalid_body", "spec"),
    ("POST", "/api/exports", {"kind": "overlay", "reel_id": "{r}"}, 409, "no_working_video", ""),
    ("POST", "/api/exports", {"kind": "annotate", "game_id": "{g}", "captions": True, "mode": "instant"},
     422, "captions_need_exact", "mode"),
]  # fmt: skip


async def test_hostile_bodies_are_named(api: Api) -> None:
    story = await api.story()
    ids = {"{g}": story.game_id, "{v}": story.video_id, "{c}": story.clip_id, "{r}": story.reel_id}
    before = (await api.page.get("/api/library")).body
    version = (await api.page.get("/api/library")).version

    def filled(text: str) -> str:
        for mark, value in ids.items():
            text = text.replace(mark, value)
        return text

    for method, path, body, status, reason, field in HOSTILE:
        match = version if method != "POST" else None
        answer = await api.page.ask(method, filled(path), json.loads(filled(json.dumps(body))), match=match)
        check_problem(answer, status, reason)
        assert not field or answer.body["field"] == field, (body, answer.body)
    assert (await api.page.get("/api/library")).body == before


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe", b'{"name": "\xff"}', b'{"name": "\\ud800"}', b"[" * 50_000, b'{"name": NaN}', b"null"],
)
async def test_what_is_no_json(api: Api, body: bytes) -> None:
    headers = {"Idempotency-Key": uuid7(), "Content-Type": "application/json"}
    async with api.page.session.post(f"{api.url}/api/games", data=body, headers=headers) as response:
        answer = Answer(response.status, response.headers, await response.json(content_type=None))
    check_problem(answer, 400, "invalid_body")


@pytest.mark.parametrize(
    ("headers", "status", "reason"),
    [
        ({"Idempotency_Key": ""}, 400, "idempotency_key_missing"),
        ({"Idempotency_Key": "1"}, 400, "invalid_header"),
        ({"Idempotency_Key": uuid7(1)}, 400, "invalid_header"),
        ({"Idempotency_Key": uuid7(2**47)}, 400, "invalid_header"),
        ({"X_Client_Id": "x" * 101}, 400, "invalid_header"),
        ({"If_Match": "*"}, 400, "invalid_header"),
        ({"If_Match": '"abc"'}, 400, "invalid_header"),
        ({"If_Match": "9" * 40}, 400, "invalid_header"),
        ({"X_Min_Version": "-1"}, 400, "invalid_header"),
        ({"Content_Type": "text/plain"}, 415, "unsupported_media_type"),
        ({"Content_Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        ({"Content_Encoding": "gzip"}, 415, "unsupported_encoding"),
    ],
)
async def test_headers_that_are_missing_or_malformed(
    api: Api, headers: dict[str, str], status: int, reason: str
) -> None:
    check_problem(await api.page.post("/api/games", {"name": "x"}, **headers), status, reason)


async def test_changing_what_exists_needs_a_base(api: Api) -> None:
    names = ("game_id", "video_id", "clip_id", "reel_id", "export_id", "output_id")
    for route in [route for route in ROUTES if route.versioned]:
        path = route.path
        for name in names:
            path = path.replace(f"{{{name}}}", uuid7())
        check_problem(await api.page.ask(route.method, path, BODIES.get(route.operation_id)), 428, "if_match_missing")


async def test_every_post_needs_a_key(api: Api) -> None:
    for route in [route for route in ROUTES if route.needs_key]:
        path = route.path.replace("{game_id}", uuid7()).replace("{video_id}", uuid7()).replace("{export_id}", uuid7())
        match = "1" if route.versioned else None
        answer = await api.page.post(path, BODIES.get(route.operation_id), match=match, Idempotency_Key="")
        check_problem(answer, 400, "idempotency_key_missing")


async def test_paths_and_methods_that_are_not_there(api: Api) -> None:
    check_problem(await api.page.get("/api/nothing"), 404, "not_found")
    check_problem(await api.page.get("/"), 404, "not_found")
    wrong = await api.page.ask("PATCH", "/api/games", {"name": "x"})
    check_problem(wrong, 405, "method_not_allowed")
    assert "POST" in wrong.headers["Allow"]


async def test_queries_are_checked(api: Api) -> None:
    for query in (
        "game_id=1",
        "what=1",
        f"game_id={uuid7()}&game_id={uuid7()}",
        f"game_id={uuid7()}&reel_id={uuid7()}",
    ):
        check_problem(await api.page.get(f"/api/exports?{query}"), 400, "invalid_query")


async def test_a_body_has_a_size(api: Api) -> None:
    check_problem(await api.page.post("/api/games", {"name": "x" * (1 << 20)}), 413, "body_too_large")

    async def pieces() -> Any:
        for _ in range(40):
            yield b"x" * 65_536

    headers = {"Idempotency-Key": uuid7(), "Content-Type": "application/json"}
    async with api.page.session.post(f"{api.url}/api/games", data=pieces(), headers=headers) as response:
        answer = Answer(response.status, response.headers, await response.json(content_type=None))
    check_problem(answer, 413, "body_too_large")


async def test_quotas_are_said_in_words(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.library.games.MAX_GAMES", 1)
    await api.game()
    answer = await api.page.post("/api/games", {"name": "one too many"})
    check_problem(answer, 409, "quota_reached")
    assert (answer.body["quota"], answer.body["limit"]) == ("games", "1")


async def test_a_bug_is_masked_and_noted(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    api.databases.refusals.append(RuntimeError("secret words"))  # type: ignore[arg-type]
    answer = await api.page.get("/api/games")
    check_problem(answer, 500, "internal")
    assert "secret" not in json.dumps(answer.body) and "secret words" in caplog.text
    assert len(answer.body["trace_id"]) == 32


async def test_too_many_requests_are_told_when_to_come_back() -> None:
    async with running(config(rate_per_s=0.001, rate_burst=3)) as api:
        answers = [await api.page.get("/api/games") for _ in range(5)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
        check_problem(answers[-1], 429, "rate_limited")
        assert int(answers[-1].headers["Retry-After"]) >= 1
        assert (await api.page.get("/healthz")).status == 200
