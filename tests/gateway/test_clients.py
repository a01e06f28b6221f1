"""The ports over gRPC: against the real dbsync and storage, and against render's own reading of a specification."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from chassis import faults, rpc_server
from chassis.config import Secret
from chassis.credentials import new_key
from chassis.faults import Fault, Kind
from chassis.ids import uuid7
from chassis.rpc_client import Channel
from gateway.clients import specs as messages
from gateway.clients.renderer import Render
from gateway.domain import specs
from gateway.domain.exports import Role
from gateway.domain.jobs import JobState
from gateway.domain.reels import Aspect, CropKey, Effect, EllipseKey, Framing, Overlay, Region, Segment, Trim
from gateway.library import games
from gateway.library.steps import step
from reel.render.v1 import render_pb2 as pb
from reel.render.v1 import render_pb2_grpc
from render.rpc.messages import spec_from
from render.spec import Mode
from tests.fakes.gateway_renderer import FakeRenderer
from tests.fakes.object_store import ObjectStore, object_store
from tests.gateway.api import USER, Client, Serving, config, serving
from tests.gateway.services import BASE, Services, services
from tests.gateway.test_specs import CUT, WORKING


@pytest.fixture(scope="module")
def store() -> Iterator[ObjectStore]:
    """An embedded store for this module; users are new ones in each test."""
    with object_store() as started:
        yield started


@pytest.fixture
async def real(store: ObjectStore, tmp_path: Path) -> AsyncIterator[Services]:
    """dbsync and storage."""
    async with services(store, tmp_path) as started:
        yield started


@pytest.fixture
async def gateway(real: Services) -> AsyncIterator[Serving]:
    """The gateway over them; render is a fake."""
    async with serving(config(), real.databases, real.archive, real.objects, FakeRenderer()) as started:
        yield started


async def member(gateway: Serving) -> tuple[Client, str]:
    """A page of a new user, and who that is."""
    page = Client(gateway.url)
    made = await page.post("/api/session")
    assert made.status == 201, made
    return page, str(made.body["user_id"])


async def test_the_whole_story_over_the_real_services(gateway: Serving) -> None:
    page, user = await member(gateway)
    renderer = gateway.gateway.parts.renderer
    assert isinstance(renderer, FakeRenderer)
    async with page, aiohttp.ClientSession() as outside:
        game = (await page.post("/api/games", {"name": "Final"})).body
        new = {"file_name": "half.mp4", "size_bytes": 11, "content_type": "video/mp4"}
        made = await page.post(f"/api/games/{game['id']}/videos", new)
        assert made.status == 201, made
        video_id = made.body["video"]["id"]
        early = await page.post(f"/api/videos/{video_id}/upload/complete")
        assert (early.status, early.problem) == (409, "upload_incomplete")
        (part,) = (await page.post(f"/api/videos/{video_id}/upload/parts", {"part_numbers": [1]})).body["parts"]
        put = await outside.put(URL(part["url"], encoded=True), data=b"hello video", headers=part["headers"])
        assert put.status == 200, await put.text()
        seen = (await page.get(f"/api/videos/{video_id}/upload")).body
        assert (seen["parts_done"], seen["bytes_done"]) == ([1], 11)
        done = await page.post(f"/api/videos/{video_id}/upload/complete")
        assert done.status == 200 and done.body["state"] == "ready", done
        assert (await page.post(f"/api/videos/{video_id}/upload/complete")).body == done.body
        file = await page.get(f"/api/videos/{video_id}/file?download=1")
        got = await outside.get(URL(file.headers["Location"], encoded=True))
        assert await got.read() == b"hello video" and "half.mp4" in got.headers["Content-Disposition"]
        clip = {"video_id": video_id, "start_ms": 0, "end_ms": 5000, "name": "Goal", "tags": ["a", "b"], "rating": 5}
        clip_id = (await page.post(f"/api/games/{game['id']}/clips", clip)).body["id"]
        reel = await page.post("/api/reels", {"name": "Best", "aspect": "9:16", "clip_ids": [clip_id]})
        reel_id = reel.body["id"]
        framing = {"crop_keys": [{"time_ms": 0, "x": 0, "y": 0, "width": 0.3, "height": 1}]}
        framed = await page.put(f"/api/reels/{reel_id}/clips/{clip_id}/framing", framing, match=reel.version)
        assert framed.status == 200 and framed.body["clips"][0]["framing"]["crop_keys"] == framing["crop_keys"], framed
        export = (await page.post("/api/exports", {"kind": "reel", "reel_id": reel_id})).body
        await renderer.succeed(user, export["id"])
        shown = (await page.get(f"/api/exports/{export['id']}")).body
        assert shown["state"] == "succeeded" and len(shown["outputs"]) == 1, shown
        library = (await page.get("/api/library")).body
        assert [len(library[name]) for name in ("games", "clips", "reels", "exports")] == [1, 1, 1, 1]
        assert library["reels"][0]["final_video"]["id"] == shown["outputs"][0]["id"]


async def test_conflicts_and_repetitions_over_the_real_dbsync(gateway: Serving) -> None:
    page, _ = await member(gateway)
    async with page, Client(gateway.url) as other:
        other.session.cookie_jar.update_cookies(
            {cookie.key: cookie.value for cookie in page.session.cookie_jar}, URL(gateway.url)
        )
        key = uuid7()
        answers = await asyncio.gather(*(page.post("/api/games", {"name": "A"}, key=key) for _ in range(5)))
        assert {answer.status for answer in answers} == {201}
        (game_id,) = {answer.body["id"] for answer in answers}
        reused = await page.post("/api/games", {"name": "B"}, key=key)
        assert (reused.status, reused.problem) == (422, "idempotency_key_reused")
        base = (await page.get("/api/library")).version
        assert (await other.patch(f"/api/games/{game_id}", {"name": "Theirs"}, match=base)).status == 200
        stale = await page.patch(f"/api/games/{game_id}", {"name": "Mine"}, match=base)
        assert (stale.status, stale.problem) == (409, "stale_session")
        assert stale.body["conflicts"] == [{"table": "games", "key": [game_id]}]
        assert stale.body["remote_version"] == int(base.strip('"')) + 1 == stale.body["local_version"] + 1
        gone = await page.patch(f"/api/games/{uuid7()}", {"name": "x"}, match=base)
        assert gone.status == 404
        ahead = await page.patch(f"/api/games/{game_id}", {"name": "x"}, match='"999"')
        assert (ahead.status, ahead.problem) == (422, "base_version_unknown")
        assert (await page.get("/api/games", X_Min_Version="999")).problem == "min_version_unknown"


async def test_a_library_larger_than_one_answer_is_read_whole(gateway: Serving) -> None:
    page, user = await member(gateway)
    async with page:
        await page.get("/api/library")
        store = gateway.gateway.parts.library
        rows = [(uuid7(), "x" * 9000, number) for number in range(400)]
        for start in range(0, 400, 100):
            many = ", ".join("(?, ?, '', '', ?)" for _ in range(100))
            values = [value for row in rows[start : start + 100] for value in row]
            insert = f"INSERT INTO games (id, name, opponent, sport, created_ms) VALUES {many}"
            await store.system_write(user, [step(insert, *values)])
        reading = await store.read_whole(user, games.all_games())
        assert [game.id for game in games.read_games(*reading.results)] == [row[0] for row in rows]


async def test_a_race_to_migrate_a_new_database_has_no_losers(gateway: Serving) -> None:
    page, _ = await member(gateway)
    async with page:
        answers = await asyncio.gather(*(page.get("/api/library") for _ in range(8)))
        assert {(answer.status, answer.body["version"]) for answer in answers} == {(200, 1)}


def framing() -> Framing:
    """A framing with everything in it."""
    keys = (CropKey(0, 0.1, 0, 0.316, 1), CropKey(9_000, 0.6, 0.1, 0.02, 0.02))
    return Framing(keys, Trim(2_000, 9_000), (Segment(0, 3_000, 0.25), Segment(3_000, 4_000, 4.0)))


def test_render_accepts_every_plan() -> None:
    effects = (Effect("ring", 1.0, "#00ff00"), Effect("dim_outside", 0.5), Effect("brighten_inside", 0.0))
    keys = (EllipseKey(0, 0.5, 0.5, 0.001, 1.0), EllipseKey(500, 0, 1, 0.1, 0.1))
    spots = Overlay((Region(0, 1_000, 10_000, "ground", effects, keys), Region(500, 90_000, 0, "body", effects, keys)))
    cut = replace(CUT, framing=framing())
    for aspect in Aspect:
        for plan in (
            specs.framing("x", "Best", aspect, [cut, CUT]),
            specs.reel("x", "Best", aspect, [cut, CUT], spots),
            specs.overlay("x", "Best", WORKING, spots),
            specs.annotate("x", "Final", [CUT, CUT], captions=True, instant=False),
        ):
            read = spec_from(messages.message(plan.spec))
            assert read.names == tuple(one.name for one in plan.outputs if one.role is not Role.ANNOTATIONS)
    instant = spec_from(messages.message(specs.annotate("x", "Final", [CUT], captions=False, instant=True).spec))
    assert instant.mode is Mode.INSTANT


class RenderServicer(render_pb2_grpc.RenderServiceServicer):
    """Answers as render might."""

    def __init__(self) -> None:
        self.submitted: list[pb.SubmitRequest] = []

    async def Submit(self, request: pb.SubmitRequest, context: Any) -> pb.SubmitResponse:
        self.submitted.append(request)
        return pb.SubmitResponse(job=pb.Job(job_id=request.job_id, state=pb.JOB_STATE_QUEUED, sequence=1))

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        raise faults.not_found("job_not_found", "There is no such job.")

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        return pb.ListJobsResponse()

    async def Cancel(self, request: pb.CancelRequest, context: Any) -> pb.CancelResponse:
        return pb.CancelResponse(job=pb.Job(job_id=request.job_id, state=pb.JOB_STATE_CANCELLED, sequence=4))

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        yield pb.WatchJobResponse(job=pb.Job(state=pb.JOB_STATE_RUNNING, progress=0.5, eta_s=2, sequence=2))
        output = pb.JobOutput(name="a.mp4", key="k", fps=pb.Rational(num=30000, den=1001), duration_us=5)
        yield pb.WatchJobResponse(job=pb.Job(state=pb.JOB_STATE_SUCCEEDED, outputs=[output], sequence=3))

    async def Probe(self, request: pb.ProbeRequest, context: Any) -> pb.ProbeResponse:
        if request.source.key == "bad":
            raise faults.precondition("source_unreadable", "This is no video.")
        return pb.ProbeResponse(duration_us=7, width=2, height=3, fps=pb.Rational(num=25, den=1), audio_codec="aac")


async def test_render_over_the_wire() -> None:
    seed, public = new_key()
    server_base = replace(BASE, service="render", trusted_keys={"gateway": public})
    server = rpc_server.create(server_base, authorize=lambda caller, request: None, services=("render",))
    servicer = RenderServicer()
    render_pb2_grpc.add_RenderServiceServicer_to_server(servicer, server.grpc)
    port = await server.start()
    channel = Channel(f"127.0.0.1:{port}", audience="render", base=replace(BASE, signing_key=Secret(seed)))
    render = Render(channel)
    try:
        assert await render.ready(2.0)
        job = await render.submit(USER, "job", specs.framing("x", "Best", Aspect.TALL, [CUT]).spec)
        assert (job.state, job.sequence, job.eta_s, job.error) == (JobState.QUEUED, 1, None, None)
        assert servicer.submitted[0].spec.output.poster
        with pytest.raises(Fault) as caught:
            await render.job(USER, "job")
        assert (caught.value.kind, caught.value.reason) == (Kind.NOT_FOUND, "job_not_found")
        seen = [job async for job in render.watch(USER, "job", 1)]
        assert [(job.state, job.eta_s) for job in seen] == [(JobState.RUNNING, 2.0), (JobState.SUCCEEDED, None)]
        assert seen[1].outputs[0].fps == 29.97
        assert (await render.cancel(USER, "job")).state is JobState.CANCELLED
        probe = await render.probe(USER, "good", "")
        assert (probe.width, probe.height, probe.fps, probe.has_audio) == (2, 3, 25.0, True)
        with pytest.raises(Fault, match="no video"):
            await render.probe(USER, "bad", "")
        await server.grpc.stop(None)
        assert not await render.ready(0.2)
    finally:
        await channel.close()
        await server.grpc.stop(None)
