"""The gateway's Renderer port in memory: jobs that a test moves on by hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace

from chassis import faults
from chassis.faults import Fault, Kind
from gateway.domain.footage import Probe
from gateway.domain.jobs import Job, JobError, JobOutput, JobState
from gateway.domain.render_spec import RenderSpec

GOOD_PROBE = Probe(duration_us=60_000_000, width=1920, height=1080, fps=30.0, has_audio=True)


class FakeRenderer:
    """The jobs of every tenant."""

    def __init__(self) -> None:
        self.jobs: dict[tuple[str, str], Job] = {}
        self.specs: dict[tuple[str, str], RenderSpec] = {}
        self.submissions = 0
        self.watching = 0
        self.refusals: list[Fault] = []
        self.unreachable = False
        self.sheets = False  # whether it makes them, or is one from before there were any
        self.probe_answer: Probe | Fault = GOOD_PROBE
        self.is_ready = True
        self._changed = asyncio.Condition()

    async def submit(self, tenant: str, job_id: str, spec: RenderSpec) -> Job:
        self._refuse()
        self.submissions += 1
        known = self.specs.setdefault((tenant, job_id), spec)
        if known != spec:
            raise faults.conflict("job_mismatch", "The id is known with another specification.")
        return self.jobs.setdefault((tenant, job_id), Job(job_id, JobState.QUEUED, 0.0, None, "queued", 1))

    async def job(self, tenant: str, job_id: str) -> Job:
        self._refuse()
        if (tenant, job_id) not in self.jobs:
            raise faults.not_found("job_not_found", "There is no such job.")
        return self.jobs[tenant, job_id]

    async def cancel(self, tenant: str, job_id: str) -> Job:
        job = await self.job(tenant, job_id)
        if not job.terminal:
            await self._set(tenant, replace(job, state=JobState.CANCELLED, sequence=job.sequence + 1, phase=""))
        return self.jobs[tenant, job_id]

    async def watch(self, tenant: str, job_id: str, after_sequence: int) -> AsyncGenerator[Job, None]:
        self._refuse()
        self.watching += 1
        try:
            while True:
                job = await self.job(tenant, job_id)
                if job.sequence > after_sequence:
                    after_sequence = job.sequence
                    yield job
                    if job.terminal:
                        return
                    continue
                async with self._changed:
                    await self._changed.wait()
        finally:
            self.watching -= 1

    async def probe(self, tenant: str, key: str, etag: str) -> Probe:
        self._refuse()
        if isinstance(self.probe_answer, Fault):
            raise self.probe_answer
        return self.probe_answer

    async def ready(self, timeout_s: float) -> bool:
        return self.is_ready

    async def progress(self, tenant: str, job_id: str, progress: float) -> None:
        """A job goes on."""
        job = self.jobs[tenant, job_id]
        running = replace(job, state=JobState.RUNNING, progress=progress, phase="rendering", sequence=job.sequence + 1)
        await self._set(tenant, replace(running, eta_s=3.5))

    async def succeed(self, tenant: str, job_id: str) -> None:
        """A job makes everything that its specification names."""
        job, spec = self.jobs[tenant, job_id], self.specs[tenant, job_id]
        names = [clip.output_name for clip in spec.clips if clip.output_name] + ([spec.name] if spec.name else [])
        outputs = tuple(_output(spec, name) for name in names)
        if self.sheets and spec.sheet:
            kinds = {".tsv": "text/tab-separated-values; charset=utf-8", ".json": "application/json"}
            outputs += tuple(_sheet(spec, f"{spec.sheet}{ending}", kind) for ending, kind in kinds.items())
        done = replace(
            job, state=JobState.SUCCEEDED, progress=1.0, phase="", outputs=outputs, sequence=job.sequence + 1
        )
        await self._set(tenant, done)

    async def fail(self, tenant: str, job_id: str, code: str = "render_failed") -> None:
        """A job fails."""
        job = self.jobs[tenant, job_id]
        error = JobError(code, "It broke.", retryable=True)
        await self._set(tenant, replace(job, state=JobState.FAILED, error=error, phase="", sequence=job.sequence + 1))

    def lose(self, tenant: str, job_id: str) -> None:
        """The submission never arrived."""
        del self.jobs[tenant, job_id]
        del self.specs[tenant, job_id]

    async def _set(self, tenant: str, job: Job) -> None:
        self.jobs[tenant, job.job_id] = job
        async with self._changed:
            self._changed.notify_all()

    def _refuse(self) -> None:
        if self.unreachable:
            raise Fault(Kind.UNAVAILABLE, "service_unavailable", "Render cannot be reached.")
        if self.refusals:
            raise self.refusals.pop(0)


def _output(spec: RenderSpec, name: str) -> JobOutput:
    return JobOutput(
        name=name,
        key=f"{spec.folder}/1/{name}",
        poster_key=f"{spec.folder}/1/{name}.jpg",
        content_type="video/mp4",
        etag=f"etag-{name}",
        size_bytes=1234,
        duration_us=5_000_000,
        width=spec.width or 1920,
        height=spec.height or 1080,
        fps=30.0,
    )


def _sheet(spec: RenderSpec, name: str, content_type: str) -> JobOutput:
    made = _output(spec, name)
    return replace(made, content_type=content_type, poster_key="", duration_us=0, width=0, height=0, fps=0.0)
