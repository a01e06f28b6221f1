"""Exports over HTTP: what is submitted, how far it is, cancel, retry, forget."""

from __future__ import annotations

import asyncio

from chassis import faults
from gateway.domain.jobs import JobState
from tests.gateway.api import USER, Api, until


async def test_an_export_reads_what_the_server_has(api: Api) -> None:
    story = await api.story()
    made = await api.page.post("/api/exports", {"kind": "annotate", "game_id": story.game_id, "captions": True})
    assert made.status == 202
    export = made.body
    assert (export["kind"], export["game_id"], export["reel_id"], export["state"]) == (
        "annotate",
        story.game_id,
        None,
        "queued",
    )
    spec = api.renderer.specs[USER, export["id"]]
    assert spec.folder == f"raw_clips/{export['id']}"
    (clip,) = spec.clips
    assert (clip.key, clip.in_us, clip.out_us) == (f"games/{story.game_id}/{story.video_id}.mp4", 1_000_000, 6_000_000)
    assert clip.etag and clip.caption_title == "Goal"


async def test_progress_does_not_go_back_when_a_render_begins_again(api: Api) -> None:
    story = await api.story()
    export_id = (await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})).body["id"]
    watches = api.gateway.parts.exports.watches
    for told, shown in ((0.4, 0.4), (0.0, 0.4), (0.5, 0.5)):
        await api.renderer.progress(USER, export_id, told)

        def seen(shown: float = shown) -> bool:
            job = watches.job(USER, export_id)
            return job is not None and job.progress == shown

        await until(seen)
        assert (await api.page.get(f"/api/exports/{export_id}")).body["progress"] == shown


async def test_progress_is_renders_and_never_an_end_before_it_is_committed(api: Api) -> None:
    story = await api.story()
    export_id = (await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})).body["id"]
    await api.renderer.progress(USER, export_id, 0.4)
    seen = (await api.page.get(f"/api/exports/{export_id}")).body
    assert (seen["state"], seen["progress"], seen["eta_s"], seen["phase"]) == ("running", 0.4, 3.5, "rendering")
    await until(lambda: api.gateway.parts.exports.watches.job(USER, export_id) is not None)
    (listed,) = (await api.page.get(f"/api/exports?reel_id={story.reel_id}")).body["exports"]
    assert listed["progress"] == 0.4
    await api.renderer.succeed(USER, export_id)
    done = (await api.page.get(f"/api/exports/{export_id}")).body
    assert (done["state"], done["progress"], done["phase"]) == ("succeeded", 1.0, "")
    assert done["sequence"] > seen["sequence"] and done["finished_at"].endswith("Z")
    assert len(done["trace_id"]) == 32


async def test_the_watch_ends_an_export_that_nobody_reads(api: Api) -> None:
    story = await api.story()
    export_id = (await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})).body["id"]
    await api.renderer.succeed(USER, export_id)
    await until(lambda: api.databases.rows(USER, "SELECT state FROM exports") == [("succeeded",)])
    await until(lambda: not api.tasks)
    assert api.renderer.watching == 0


async def test_an_export_without_render_waits_and_is_submitted_later(api: Api) -> None:
    story = await api.story()
    api.renderer.unreachable = True
    made = await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})
    assert (made.status, made.body["state"]) == (202, "queued")
    assert (await api.page.get(f"/api/exports/{made.body['id']}")).body["state"] == "queued"
    api.renderer.unreachable = False
    await until(lambda: (USER, made.body["id"]) in api.renderer.jobs)


async def test_a_plan_that_render_refuses_is_a_failed_export(api: Api) -> None:
    story = await api.story()
    api.renderer.refusals.append(faults.invalid("invalid_spec", "The crop is odd.", field="clips[0].crop"))
    made = await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})
    assert made.status == 202 and made.body["state"] == "failed"
    assert made.body["error"] == {"code": "invalid_spec", "message": "The crop is odd.", "retryable": False}


async def test_cancel_and_retry(api: Api) -> None:
    story = await api.story()
    export_id = (await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})).body["id"]
    early = await api.page.post(f"/api/exports/{export_id}/retry")
    assert (early.status, early.problem) == (409, "export_not_failed")
    cancelled = await api.page.post(f"/api/exports/{export_id}/cancel")
    assert (cancelled.status, cancelled.body["state"]) == (200, "cancelled")
    again = await api.page.post(f"/api/exports/{export_id}/cancel")
    assert again.body == cancelled.body
    retried = await api.page.post(f"/api/exports/{export_id}/retry")
    assert retried.status == 202 and retried.body["id"] != export_id and retried.body["state"] == "queued"
    assert api.renderer.specs[USER, retried.body["id"]].folder == f"working_videos/{retried.body['id']}"
    await api.renderer.fail(USER, retried.body["id"])
    failed = (await api.page.get(f"/api/exports/{retried.body['id']}")).body
    assert failed["error"] == {"code": "render_failed", "message": "It broke.", "retryable": True}


async def test_cancelling_what_was_never_submitted(api: Api) -> None:
    story = await api.story()
    api.renderer.unreachable = True
    export_id = (await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})).body["id"]
    assert (await api.page.post(f"/api/exports/{export_id}/cancel")).status == 503
    for task in list(api.tasks):
        task.cancel()
    await asyncio.gather(*api.tasks, return_exceptions=True)
    api.renderer.unreachable = False
    cancelled = await api.page.post(f"/api/exports/{export_id}/cancel")
    assert cancelled.body["state"] == "cancelled" and not api.renderer.jobs


async def test_forgetting_an_export_stops_it_and_leaves_the_others(api: Api) -> None:
    story = await api.story()
    first = await api.finished(None, USER, {"kind": "framing", "reel_id": story.reel_id})
    second = await api.finished(None, USER, {"kind": "framing", "reel_id": story.reel_id})
    reel = (await api.page.get(f"/api/reels/{story.reel_id}")).body
    assert reel["working_video"]["id"] == second["outputs"][0]["id"]
    version = (await api.page.get("/api/library")).version
    assert (await api.page.delete(f"/api/exports/{second['id']}", match=version)).status == 204
    reel = (await api.page.get(f"/api/reels/{story.reel_id}")).body
    assert reel["working_video"]["id"] == first["outputs"][0]["id"]
    running = (await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})).body["id"]
    version = (await api.page.get("/api/library")).version
    assert (await api.page.delete(f"/api/exports/{running}", match=version)).status == 204
    assert api.renderer.jobs[USER, running].state is JobState.CANCELLED
    assert (await api.page.get(f"/api/exports/{running}")).status == 404
    await until(lambda: not api.tasks)


async def test_the_newest_asked_export_is_the_reels_video_whichever_ended_last(api: Api) -> None:
    story = await api.story()
    old = (await api.page.post("/api/exports", {"kind": "framing", "reel_id": story.reel_id})).body["id"]
    new = await api.finished(None, USER, {"kind": "framing", "reel_id": story.reel_id})
    await api.renderer.succeed(USER, old)
    await api.page.get(f"/api/exports/{old}")
    reel = (await api.page.get(f"/api/reels/{story.reel_id}")).body
    assert reel["working_video"]["id"] == new["outputs"][0]["id"]


async def test_finished_videos_survive_their_reel_and_their_game(api: Api) -> None:
    story = await api.story()
    export = await api.finished(None, USER, {"kind": "reel", "reel_id": story.reel_id})
    version = (await api.page.get("/api/library")).version
    await api.page.delete(f"/api/reels/{story.reel_id}", match=version)
    await api.page.delete(f"/api/games/{story.game_id}", match=version)
    library = (await api.page.get("/api/library")).body
    assert library["games"] == library["reels"] == library["clips"] == [] and len(library["exports"]) == 1
    assert (await api.page.get(export["outputs"][0]["url"])).status == 302


async def test_clips_can_be_chosen_and_are_cut_in_that_order(api: Api) -> None:
    story = await api.story()
    second = await api.clip(story.game_id, story.video_id, start_ms=7000, end_ms=9000, name="Second")
    body = {"kind": "annotate", "game_id": story.game_id, "clip_ids": [second, story.clip_id], "mode": "instant"}
    made = await api.page.post("/api/exports", body)
    spec = api.renderer.specs[USER, made.body["id"]]
    assert [clip.output_name for clip in spec.clips] == ["001-second.mp4", "002-goal.mp4"] and spec.instant


async def test_nothing_to_export_says_so(api: Api) -> None:
    game_id = await api.game()
    assert (await api.page.post("/api/exports", {"kind": "annotate", "game_id": game_id})).problem == "no_clips"
    reel_id = await api.reel([])
    for kind, reason in (("framing", "reel_empty"), ("reel", "reel_empty"), ("overlay", "no_working_video")):
        answer = await api.page.post("/api/exports", {"kind": kind, "reel_id": reel_id})
        assert (answer.status, answer.problem) == (409, reason)
