"""The RPCs of render: check, call, reply."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

from chassis.credentials import Caller
from chassis.faults import Fault, forbidden, invalid, not_found, unavailable
from reel.render.v1 import render_pb2 as pb
from reel.render.v1 import render_pb2_grpc
from render.clients.storage import Storage
from render.engines.local import Engine
from render.engines.port import AttemptFailed
from render.job import Job, State
from render.jobs import Jobs
from render.ledger import Ledger
from render.rpc import messages

SERVICE = "reel.render.v1.RenderService"
PAGE_MAX = 200
SPEC_MAX_BYTES = 1 << 20
PROBE_GRANT_S = 120
PROBES_MAX = 4  # children at once, apart from attempts; more wait for as long as their callers do
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,63}")


def authorize(caller: Caller, request: Any) -> None:
    """Jobs are asked for by the gateway alone."""
    if caller.issuer != "gateway":
        raise forbidden("not_allowed", f"{caller.issuer} may not call render.")


class RenderRpc(render_pb2_grpc.RenderServiceServicer):
    """The service over a process's jobs."""

    def __init__(self, jobs: Jobs, ledger: Ledger, storage: Storage, engine: Engine) -> None:
        self._jobs = jobs
        self._ledger = ledger
        self._storage = storage
        self._engine = engine
        self._probing = asyncio.Semaphore(PROBES_MAX)

    async def Submit(self, request: pb.SubmitRequest, context: Any) -> pb.SubmitResponse:
        if request.spec.ByteSize() > SPEC_MAX_BYTES:
            raise invalid("invalid_spec", f"spec: a specification has at most {SPEC_MAX_BYTES} bytes.", field="spec")
        messages.spec_from(request.spec)
        now_ms = time.time_ns() // 1_000_000
        priority = max(-100, min(100, request.priority))
        job = Job(request.tenant, _job_id(request), State.QUEUED, 0, 1, priority, now_ms)
        done, live = await self._jobs.submit(job, messages.encode_spec(request.spec))
        return pb.SubmitResponse(job=messages.job_to(done, live))

    async def GetJob(self, request: pb.GetJobRequest, context: Any) -> pb.GetJobResponse:
        job, live = await self._jobs.get(request.tenant, _job_id(request))
        return pb.GetJobResponse(job=messages.job_to(job, live))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Any) -> pb.ListJobsResponse:
        size = request.page_size or PAGE_MAX
        if not 1 <= size <= PAGE_MAX:
            raise invalid("invalid_argument", f"page_size is 1 to {PAGE_MAX}.")
        before = _token(request.page_token)
        jobs = await self._ledger.page(
            request.tenant, unfinished_only=request.unfinished_only, before=before, size=size
        )
        more = f"{jobs[-1].submitted_ms}.{jobs[-1].job_id}" if len(jobs) == size else ""
        listed = [messages.job_to(job, self._jobs.live(job)) for job in jobs]
        return pb.ListJobsResponse(jobs=listed, next_page_token=more)

    async def Cancel(self, request: pb.CancelRequest, context: Any) -> pb.CancelResponse:
        job, live = await self._jobs.cancel(request.tenant, _job_id(request))
        return pb.CancelResponse(job=messages.job_to(job, live))

    async def WatchJob(self, request: pb.WatchJobRequest, context: Any) -> AsyncIterator[pb.WatchJobResponse]:
        async for job, live in self._jobs.watch(request.tenant, _job_id(request), request.after_sequence):
            yield pb.WatchJobResponse(job=messages.job_to(job, live))

    async def Probe(self, request: pb.ProbeRequest, context: Any) -> pb.ProbeResponse:
        source = messages.source_from(request.source)
        (url,) = await self._storage.download_urls(request.tenant, [source.key], PROBE_GRANT_S)
        try:
            async with self._probing:
                info, facts = await self._engine.probe(url, source)
        except AttemptFailed as error:
            raise _probe_fault(error) from error
        return pb.ProbeResponse(
            duration_us=info.duration_us,
            width=info.width,
            height=info.height,
            fps=messages.rational_to(info.fps),
            variable_frame_rate=facts["variable"],
            video_codec=facts["video_codec"],
            audio_codec=facts["audio_codec"],
            rotation=facts["rotation"],
            container=facts["container"],
            hdr=facts["hdr"],
        )


def _probe_fault(error: AttemptFailed) -> Fault:
    failure = error.failure
    if failure.code == "source_not_found":
        return not_found(failure.code, failure.message)
    if failure.retryable:
        return unavailable(failure.code, failure.message)
    return invalid(failure.code, failure.message)


def _job_id(request: Any) -> str:
    if not _JOB_ID.fullmatch(request.job_id):
        raise invalid("invalid_argument", "A job id is 1 to 64 letters, digits and dashes.")
    return str(request.job_id)


def _token(token: str) -> tuple[int, str] | None:
    if not token:
        return None
    millis, _, job_id = token.partition(".")
    if not millis.isdigit() or len(millis) > 15:
        raise invalid("invalid_argument", "The page token is not one that was given.")
    return int(millis), job_id
