"""One attempt at a job: grants, the engine's work, uploads to the attempt's own keys.

1. An output's key holds the attempt's number: two attempts never write one object (tests/render/test_jobs.py).
2. URLs live as long as the attempt may and are kept nowhere.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from chassis import tracing
from render.clients.storage import Storage
from render.engines.local import Engine, Progress
from render.job import Finished, Job
from render.products import Product, Task
from render.spec import Spec

VIDEO_TYPE = "video/mp4"
POSTER_TYPE = "image/jpeg"
GRANT_SPARE_S = 600
UPLOADING_FROM = 0.95
PATIENCE_S = 900.0  # with a store that is away: what is rendered is not thrown away for it


@dataclass(frozen=True)
class Attempts:
    """How attempts are made; `decode` reads a stored specification."""

    storage: Storage
    engine: Engine
    decode: Callable[[bytes], Spec]
    work_dir: Path
    ffmpeg_path: str

    async def run(self, job: Job, spec_bytes: bytes, progress: Progress) -> list[Finished]:
        """The outputs of a job's attempt, standing in the store; AttemptFailed, Fault."""
        spec = self.decode(spec_bytes)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=f"{job.job_id}-", dir=self.work_dir))
        try:
            sources = list(dict.fromkeys(clip.source for clip in spec.clips))
            lifetime_s = round(self.engine.attempt_timeout_s) + GRANT_SPARE_S
            keys = [source.key for source in sources]
            urls = await self.storage.download_urls(job.tenant, keys, lifetime_s, patience_s=PATIENCE_S)
            task = Task(spec, dict(zip(sources, urls, strict=True)), str(folder), self.ffmpeg_path)
            with _PhaseSpans(progress) as told:
                products = await self.engine.produce(task, told)
            with tracing.span("render.uploading"):
                return await self._upload(job, spec, folder, products, progress)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    async def _upload(
        self, job: Job, spec: Spec, folder: Path, products: list[Product], progress: Progress
    ) -> list[Finished]:
        prefix = f"{spec.output.folder}/{job.attempt}"
        out = []
        for number, product in enumerate(products):
            progress("uploading", UPLOADING_FROM + (1 - UPLOADING_FROM) * number / len(products))
            poster_key = f"{prefix}/{product.poster}" if product.poster else ""
            if poster_key:
                still = folder / product.poster
                await self.storage.upload(job.tenant, poster_key, still, POSTER_TYPE, patience_s=PATIENCE_S)
            key = f"{prefix}/{product.name}"
            video = folder / product.name
            stored = await self.storage.upload(job.tenant, key, video, VIDEO_TYPE, patience_s=PATIENCE_S)
            out.append(
                Finished(
                    name=product.name,
                    key=key,
                    size_bytes=stored.size_bytes,
                    etag=stored.etag,
                    content_type=VIDEO_TYPE,
                    duration_us=product.duration_us,
                    width=product.width,
                    height=product.height,
                    fps=product.fps,
                    frames=product.frames,
                    poster_key=poster_key,
                )
            )
        return out


class _PhaseSpans:
    """Passes progress on, with a span around each phase of the child's work."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._stack = ExitStack()
        self._phase = ""

    def __enter__(self) -> Progress:
        return self._told

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def _told(self, phase: str, share: float) -> None:
        if phase != self._phase:
            self._stack.close()
            self._stack.enter_context(tracing.span(f"render.{phase}"))
            self._phase = phase
        self._progress(phase, share)
