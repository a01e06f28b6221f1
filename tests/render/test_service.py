"""The service as the gateway sees it: real processes, real objects, restarts and kill -9 in the middle of a job."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

import pytest

from chassis import ids, tracing
from chassis.faults import Fault, Kind
from reel.render.v1 import render_pb2 as pb
from tests.fakes.object_store import BUCKET, object_store
from tests.fakes.object_store import Fault as StoreFault
from tests.render.making import Making
from tests.render.services import Client, Services, client, services

TENANT = "dev-local"
SOURCE = pb.Source(key="games/beeps.mov")


@pytest.fixture(scope="module")
def running(making: Making, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    with object_store() as store, services(store, tmp_path_factory.mktemp("services")) as made:
        film = (making.folder / "beeps.mov").read_bytes()
        for name, data in (("beeps.mov", film), ("slow.mov", film), ("text.mp4", b"not a video" * 99)):
            store.client().put_object(Bucket=BUCKET, Key=f"{TENANT}/games/{name}", Body=data)
        yield made


@pytest.fixture
async def render(running: Services) -> AsyncIterator[Client]:
    async with client(running, TENANT) as made:
        yield made


def short(folder: str) -> pb.RenderSpec:
    """Two clips alone and joined, of a second together."""
    clips = [
        pb.Clip(source=SOURCE, in_us=500_000, out_us=1_000_000, output_name="a.mp4"),
        pb.Clip(source=SOURCE, in_us=4_000_000, out_us=4_500_000, output_name="b.mp4"),
    ]
    output = pb.Output(folder=folder, name="all.mp4", quality=pb.QUALITY_DRAFT, poster=True)
    return pb.RenderSpec(spec_version=1, clips=clips, output=output, audio=pb.Audio(include=True))


@asynccontextmanager
async def stuck(running: Services, render: Client, folder: str) -> AsyncIterator[str]:
    """The id of a job that runs, and stands still inside the context because the store does not hand out its source."""
    source = pb.Source(key="games/slow.mov")
    clips = [pb.Clip(source=source, in_us=0, out_us=500_000)]
    spec = pb.RenderSpec(spec_version=1, clips=clips, output=pb.Output(folder=folder, name="all.mp4"))
    delay = running.store.delay(3600, method="GET", key_prefix=f"{TENANT}/games/slow.mov")
    try:
        job_id = (await render.submit(spec)).job_id
        async with asyncio.timeout(60), aclosing(render.watch(job_id)) as states:  # type: ignore[type-var]
            async for job in states:
                assert job.state in (pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING), job
                if job.phase == "reading":
                    break
            while True:
                if running.store.faults.struck(delay):
                    break
                await asyncio.sleep(0.01)
        yield job_id
    finally:
        running.store.faults.remove(delay)


async def test_a_job_from_submission_to_objects(running: Services, render: Client) -> None:
    job_id = ids.uuid7()
    with tracing.span("export"):
        trace_id = tracing.trace_id()
        first = await render.submit(short("raw_clips/x"), job_id)
    assert (first.state, first.attempt, first.progress) == (pb.JOB_STATE_QUEUED, 0, 0) or first.attempt == 1
    states = [job async for job in render.watch(job_id)]
    done = states[-1]
    assert done.state == pb.JOB_STATE_SUCCEEDED and done == await render.job(job_id)
    assert [one.sequence for one in states] == sorted({one.sequence for one in states})
    assert [one.progress for one in states] == sorted(one.progress for one in states) and done.progress == 1
    assert [one.name for one in done.outputs] == ["a.mp4", "b.mp4", "all.mp4"]
    bucket = running.store.client()
    for one in done.outputs:
        assert one.key == f"raw_clips/x/1/{one.name}"
        head = bucket.head_object(Bucket=BUCKET, Key=f"{TENANT}/{one.key}")
        assert (head["ContentLength"], head["ContentType"]) == (one.size_bytes, "video/mp4")
        assert head["ETag"].strip('"') == one.etag
        still = bucket.head_object(Bucket=BUCKET, Key=f"{TENANT}/{one.poster_key}")
        assert still["ContentType"] == "image/jpeg" and still["ContentLength"] > 500
        assert (one.width, one.height, one.fps.num, one.fps.den) == (640, 360, 30, 1)
    assert [one.frames for one in done.outputs] == [15, 15, 30]
    again = await render.submit(short("raw_clips/x"), job_id)
    assert again == done
    with pytest.raises(Fault) as mismatch:
        await render.submit(short("raw_clips/y"), job_id)
    assert mismatch.value.reason == "job_mismatch"
    _check_tree(running, trace_id)


def _check_tree(running: Services, trace_id: str) -> None:
    """One tree: the submission, the job that continues it, and what storage and dbsync did for it."""
    spans = {span["span_id"]: span for span in running.spans(trace_id)}
    names = [span["name"] for span in spans.values()]
    for name in ("render.job", "render.attempt", "render.reading", "render.rendering", "render.joining"):
        assert names.count(name) == 1, (name, names)
    assert names.count("store.put") == 6
    for span in spans.values():
        inside = span["name"].startswith("render.") or span["name"] == "store.put"
        if inside and span["name"] != "render.job":
            assert span["parent_id"] in spans, span["name"]
    assert {span["service"] for span in spans.values()} >= {"render", "storage", "dbsync"}
    assert not [span["name"] for span in spans.values() if span["status"] == "error"]


async def test_cancelling_does_not_wait_for_the_source(running: Services, render: Client) -> None:
    async with stuck(running, render, "raw_clips/cancelled") as job_id:
        request = pb.CancelRequest(tenant=TENANT, job_id=job_id)
        answer = await render.call(render.stub.Cancel, request)
    assert answer.job.state == pb.JOB_STATE_CANCELLED
    assert (await render.final(job_id)).state == pb.JOB_STATE_CANCELLED
    again = await render.call(render.stub.Cancel, request)
    assert again.job == answer.job


async def test_killed_and_started_again_a_job_ends_once_in_its_second_attempt(
    running: Services, render: Client
) -> None:
    async with stuck(running, render, "raw_clips/killed") as job_id:
        running.end("render", signal.SIGKILL)
    running.start("render")
    done = await render.final(job_id)
    assert (done.state, done.attempt) == (pb.JOB_STATE_SUCCEEDED, 2)
    assert [one.key for one in done.outputs] == ["raw_clips/killed/2/all.mp4"]
    listed = running.store.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{TENANT}/raw_clips/killed/")
    assert [one["Key"] for one in listed["Contents"]] == [f"{TENANT}/raw_clips/killed/2/all.mp4"]


async def test_told_to_stop_it_hands_over_soon_though_somebody_watches(running: Services, render: Client) -> None:
    async with stuck(running, render, "raw_clips/stopped") as job_id:
        begun = asyncio.Event()

        async def watch() -> None:
            async for _ in render.watch(job_id):
                begun.set()

        watching = asyncio.create_task(watch())
        async with asyncio.timeout(60):
            await begun.wait()
        assert await asyncio.to_thread(running.end, "render", signal.SIGTERM) == 0
        with pytest.raises(Fault) as ended:
            await watching
        # It was let go: a server that only stops waiting for it would cut it off with another reason.
        assert (ended.value.kind, ended.value.reason) == (Kind.UNAVAILABLE, "stopping")
    await asyncio.to_thread(running.start, "render")
    done = await render.final(job_id)
    assert (done.state, done.attempt) == (pb.JOB_STATE_SUCCEEDED, 2)


async def test_a_store_that_stumbles_at_the_upload_costs_no_attempt(running: Services, render: Client) -> None:
    put = f"{TENANT}/raw_clips/stumbled/"
    faults = (
        StoreFault(status=503, method="PUT", key_prefix=put, count=1),
        StoreFault(stage="after", drop=True, method="PUT", key_prefix=put, skip=1, count=1),
        StoreFault(drop=True, method="GET", key_prefix=f"{TENANT}/games/beeps.mov", skip=1, count=1),
    )
    for fault in faults:
        running.store.faults.add(fault)
    done = await render.final((await render.submit(short("raw_clips/stumbled"))).job_id)
    assert (done.state, done.attempt, len(done.outputs)) == (pb.JOB_STATE_SUCCEEDED, 1, 3)


async def test_what_cannot_be_is_refused_and_says_why(running: Services, render: Client) -> None:
    broken = short("raw_clips/x")
    broken.clips[1].out_us = 1
    with pytest.raises(Fault) as invalid:
        await render.submit(broken)
    assert (invalid.value.reason, invalid.value.metadata["field"]) == ("invalid_spec", "clips[1].out_us")
    with pytest.raises(Fault) as unknown:
        await render.job("nobody")
    assert unknown.value.reason == "job_not_found"
    with pytest.raises(Fault) as missing:
        await render.call(render.stub.Probe, pb.ProbeRequest(tenant=TENANT, source=pb.Source(key="games/none.mp4")))
    assert missing.value.reason == "source_not_found"
    with pytest.raises(Fault) as unreadable:
        await render.call(render.stub.Probe, pb.ProbeRequest(tenant=TENANT, source=pb.Source(key="games/text.mp4")))
    assert unreadable.value.reason == "source_unreadable" and "text.mp4" in unreadable.value.message
    async with client(running, TENANT, issuer="other") as stranger:
        with pytest.raises(Fault) as forbidden:
            await stranger.submit(short("raw_clips/x"))
    assert forbidden.value.kind is Kind.FORBIDDEN


async def test_jobs_of_another_tenant_are_not_there(running: Services, render: Client) -> None:
    mine = await render.submit(short("raw_clips/mine"))
    async with client(running, "somebody") as other:
        with pytest.raises(Fault) as unknown:
            await other.job(mine.job_id)
        assert unknown.value.kind is Kind.NOT_FOUND
        listed = await other.call(other.stub.ListJobs, pb.ListJobsRequest(tenant="somebody"))
        assert not listed.jobs
        theirs = await other.submit(short("raw_clips/mine"), mine.job_id)
        failed = await other.final(theirs.job_id)
        assert (failed.state, failed.error.code) == (pb.JOB_STATE_FAILED, "source_not_found")
    assert (await render.final(mine.job_id)).state == pb.JOB_STATE_SUCCEEDED


async def test_jobs_are_listed_newest_first_in_pages(running: Services) -> None:
    async with client(running, "lister") as lister:
        wanted = [(await lister.submit(short("raw_clips/z"))).job_id for _ in range(5)]
        listed: list[str] = []
        token = ""
        while True:
            request = pb.ListJobsRequest(tenant="lister", page_size=2, page_token=token)
            page = await lister.call(lister.stub.ListJobs, request)
            listed += [job.job_id for job in page.jobs]
            token = page.next_page_token
            if not token:
                break
        assert sorted(listed) == sorted(wanted) and len(listed) == 5
        with pytest.raises(Fault):
            await lister.call(lister.stub.ListJobs, pb.ListJobsRequest(tenant="lister", page_token="x"))


async def test_a_probe_tells_what_a_source_is(render: Client) -> None:
    answer = await render.call(render.stub.Probe, pb.ProbeRequest(tenant=TENANT, source=SOURCE))
    assert (answer.width, answer.height, answer.duration_us) == (640, 360, 8_000_000)
    assert (answer.fps.num, answer.fps.den, answer.video_codec) == (30, 1, "h264")
    assert answer.audio_codec and not answer.hdr and not answer.variable_frame_rate
