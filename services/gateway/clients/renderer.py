"""render over gRPC: the port Renderer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from chassis.rpc_client import Channel
from gateway.clients import specs
from gateway.domain.footage import Probe
from gateway.domain.jobs import Job, JobError, JobOutput, JobState
from gateway.domain.render_spec import RenderSpec
from reel.render.v1 import render_pb2 as pb
from reel.render.v1.render_pb2_grpc import RenderServiceStub

QUICK_S = 10.0
PROBE_S = 20.0  # an index of megabytes by Range
WATCH_S = 600.0  # then the stream is opened anew

_STATES = {
    pb.JOB_STATE_UNSPECIFIED: JobState.QUEUED,
    pb.JOB_STATE_QUEUED: JobState.QUEUED,
    pb.JOB_STATE_RUNNING: JobState.RUNNING,
    pb.JOB_STATE_SUCCEEDED: JobState.SUCCEEDED,
    pb.JOB_STATE_FAILED: JobState.FAILED,
    pb.JOB_STATE_CANCELLED: JobState.CANCELLED,
}


class Render:
    """The jobs of render."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = RenderServiceStub(channel.grpc)

    async def submit(self, tenant: str, job_id: str, spec: RenderSpec) -> Job:
        """Submits a job; the same again answers the job."""
        request = pb.SubmitRequest(tenant=tenant, job_id=job_id, spec=specs.message(spec))
        return _job((await self._channel.call(self._stub.Submit, request, tenant=tenant, timeout_s=QUICK_S)).job)

    async def job(self, tenant: str, job_id: str) -> Job:
        """A job as it is; `job_not_found` when there is none."""
        request = pb.GetJobRequest(tenant=tenant, job_id=job_id)
        return _job((await self._channel.call(self._stub.GetJob, request, tenant=tenant, timeout_s=QUICK_S)).job)

    async def cancel(self, tenant: str, job_id: str) -> Job:
        """Stops a job; a finished one stays as it is."""
        request = pb.CancelRequest(tenant=tenant, job_id=job_id)
        return _job((await self._channel.call(self._stub.Cancel, request, tenant=tenant, timeout_s=QUICK_S)).job)

    async def watch(self, tenant: str, job_id: str, after_sequence: int) -> AsyncGenerator[Job, None]:
        """A job's changes to its end; see the port."""
        request = pb.WatchJobRequest(tenant=tenant, job_id=job_id, after_sequence=after_sequence)
        stream = self._channel.stream(self._stub.WatchJob, request, tenant=tenant, timeout_s=WATCH_S)
        async with aclosing(stream) as answers:
            async for answer in answers:
                yield _job(answer.job)

    async def probe(self, tenant: str, key: str, etag: str) -> Probe:
        """What a video file is; `source_unreadable` when it is none."""
        request = pb.ProbeRequest(tenant=tenant, source=pb.Source(key=key, etag=etag))
        answer = await self._channel.call(self._stub.Probe, request, tenant=tenant, timeout_s=PROBE_S)
        return Probe(answer.duration_us, answer.width, answer.height, _fps(answer.fps), bool(answer.audio_codec))

    async def ready(self, timeout_s: float) -> bool:
        """Whether render answers."""
        return await self._channel.ready(timeout_s)


def _job(job: pb.Job) -> Job:
    error = JobError(job.error.code, job.error.message, job.error.retryable) if job.HasField("error") else None
    return Job(
        job_id=job.job_id,
        state=_STATES[job.state],
        progress=job.progress,
        eta_s=job.eta_s if job.HasField("eta_s") else None,
        phase=job.phase,
        sequence=job.sequence,
        outputs=tuple(_output(output) for output in job.outputs),
        error=error,
    )


def _output(output: pb.JobOutput) -> JobOutput:
    return JobOutput(
        name=output.name,
        key=output.key,
        poster_key=output.poster_key,
        content_type=output.content_type,
        etag=output.etag,
        size_bytes=output.size_bytes,
        duration_us=output.duration_us,
        width=output.width,
        height=output.height,
        fps=_fps(output.fps),
    )


def _fps(rate: pb.Rational) -> float:
    return round(rate.num / rate.den, 3) if rate.den else 0.0
