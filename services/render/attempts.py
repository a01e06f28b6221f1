"""One attempt at a job: grants, the engine's work, outputs at the attempt's own keys.

1. An output's key holds the attempt's number: two attempts never write one object (tests/render/test_jobs.py).
2. URLs live as long as the attempt may and are kept nowhere. A remote engine gets URLs for its outputs too, and what it
   says that it put there is looked at before it counts (tests/render/test_engine_contract.py).
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from chassis import tracing
from chassis.faults import Fault, Kind
from render import sheet
from render.clients.storage import Storage, Stored
from render.engines.order import file_names
from render.engines.port import AttemptFailed, Calls, Engine, Progress, Put, Work
from render.job import Ended, Failure, Finished, Job, attempt_key
from render.kept import Kept
from render.plan import SourceInfo
from render.products import Known, Product, Survey
from render.sheet import SheetFile
from render.spec import Source, Spec

log = logging.getLogger(__name__)

VIDEO_TYPE = "video/mp4"
POSTER_TYPE = "image/jpeg"
UPLOADING_FROM = 0.95
CHUNKS = "chunks"  # the folder of finished chunks below an output's
PATIENCE_S = 900.0  # with a store that is away: what is rendered is not thrown away for it


class Prober(Protocol):
    """Finds out what a source is."""

    async def probe(self, url: str, source: Source) -> tuple[SourceInfo, dict[str, Any]]:
        """What it is, and further facts; AttemptFailed."""
        ...


@dataclass(frozen=True)
class Attempts:
    """How attempts are made; `decode` reads a stored specification, the first of `engines` that is not away is used."""

    storage: Storage
    engines: tuple[Engine, ...]
    prober: Prober
    decode: Callable[[bytes], Spec]
    work_dir: Path
    kept: Kept

    def choose(self) -> str:
        """The engine for a new attempt: the first that can be reached, or else the last."""
        return next((one.name for one in self.engines if not one.away), self.engines[-1].name)

    def remote(self, engine: str) -> bool:
        """Whether an engine's attempts outlive this process, and it is here to take them up again."""
        return any(one.name == engine and one.remote for one in self.engines)

    async def run(self, job: Job, spec_bytes: bytes, calls: Calls, progress: Progress) -> Ended:
        """The outputs of a job's attempt, standing in the store; AttemptFailed, Fault."""
        engine = self._engine(job.engine)
        spec = self.decode(spec_bytes)
        folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=f"{job.job_id}-", dir=self.work_dir))
        try:
            sources = list(dict.fromkeys(clip.source for clip in spec.clips))
            keys = [source.key for source in sources]
            urls = await self.storage.download_urls(job.tenant, keys, engine.grant_s, patience_s=PATIENCE_S)
            puts = await self._puts(job, spec, engine.grant_s) if engine.remote else {}
            key = attempt_key(job.tenant, job.job_id, job.attempt)
            work = Work(key, spec, spec_bytes, dict(zip(sources, urls, strict=True)), folder, puts=puts)
            work = replace(work, first=job.attempt == 1)
            if not engine.remote:
                work = replace(work, kept=await asyncio.to_thread(self.kept.folder, job))
            else:
                shelf = Shelf(self.storage, job.tenant, f"{spec.output.folder}/{CHUNKS}", engine.grant_s)
                work = replace(work, shelf=shelf, survey=partial(self._survey, job.tenant, work))
            with _PhaseSpans(progress) as told:
                made = await engine.run(work, calls, told)
            with tracing.span("render.uploading"):
                outputs = []
                for number, product in enumerate(made.products):
                    progress("uploading", UPLOADING_FROM + (1 - UPLOADING_FROM) * number / len(made.products))
                    outputs.append(await self._finished(job, spec, product, None if engine.remote else folder))
                outputs += [await self._written(job, spec, one, folder) for one in sheet.files(spec, made.products)]
            if work.shelf is not None:
                await self._clear(job, spec)
            return Ended(tuple(outputs), cost_micros=made.cost_micros)
        finally:
            await asyncio.shield(asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True))

    async def end(self, engine: str, key: str, calls: Mapping[int, str]) -> None:
        """Ends an attempt on a remote engine; Fault while that cannot be done."""
        await self._engine(engine).end(key, calls)

    async def forget(self, job: Job) -> None:
        """Nothing of a job that is over is kept here any more."""
        await asyncio.to_thread(self.kept.forget, job)

    async def forget_all_but(self, unfinished: Sequence[Job]) -> None:
        """Nothing that earlier processes kept here of other jobs is any more."""
        await asyncio.to_thread(self.kept.forget_all_but, unfinished)

    async def _survey(self, tenant: str, work: Work) -> Survey:
        """What an attempt's sources are; AttemptFailed, Fault."""
        known = {}
        for source, url in work.urls.items():
            info, _ = await self.prober.probe(url, source)
            etag = source.etag or (await self.storage.stat(tenant, source.key, patience_s=PATIENCE_S)).etag
            known[source] = Known(info, etag.strip('"'))
        return Survey(work.spec, known)

    async def _clear(self, job: Job, spec: Spec) -> None:
        try:
            await self.storage.delete_folder(job.tenant, f"{spec.output.folder}/{CHUNKS}")
        except Fault as fault:
            log.warning("chunks were left: %s", fault.message, extra={"job": job.job_id})

    def _engine(self, name: str) -> Engine:
        return next(one for one in self.engines if one.name == name)

    async def _puts(self, job: Job, spec: Spec, lifetime_s: int) -> dict[str, Put]:
        puts = {}
        for name in file_names(spec):
            kind = POSTER_TYPE if name.endswith(".jpg") else VIDEO_TYPE
            key = _key(job, spec, name)
            where = await self.storage.upload_url(job.tenant, key, kind, lifetime_s, patience_s=PATIENCE_S)
            puts[name] = Put(*where)
        return puts

    async def _finished(self, job: Job, spec: Spec, product: Product, folder: Path | None) -> Finished:
        """An output that stands in the store: put there from a folder now, or by a remote engine before."""
        poster_key = _key(job, spec, product.poster) if product.poster else ""
        if poster_key:
            await self._stored(job, poster_key, POSTER_TYPE, folder and folder / product.poster)
        key = _key(job, spec, product.name)
        stored = await self._stored(job, key, VIDEO_TYPE, folder and folder / product.name)
        return Finished(
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

    async def _written(self, job: Job, spec: Spec, file: SheetFile, folder: Path) -> Finished:
        """A file of the sheet, made here whatever the engine is."""
        path, key = folder / file.name, _key(job, spec, file.name)
        await asyncio.to_thread(path.write_bytes, file.body)
        stored = await self.storage.upload(job.tenant, key, path, file.content_type, patience_s=PATIENCE_S)
        return Finished(
            name=file.name,
            key=key,
            size_bytes=stored.size_bytes,
            etag=stored.etag,
            content_type=file.content_type,
            duration_us=0,
            width=0,
            height=0,
            fps=Fraction(0),
            frames=0,
            poster_key="",
        )

    async def _stored(self, job: Job, key: str, kind: str, path: Path | None) -> Stored:
        if path is not None:
            return await self.storage.upload(job.tenant, key, path, kind, patience_s=PATIENCE_S)
        try:
            return await self.storage.stat(job.tenant, key, patience_s=PATIENCE_S)
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                raise
            failure = Failure("store_unavailable", "What was rendered does not stand in the store.", True)
            raise AttemptFailed(failure) from fault


def _key(job: Job, spec: Spec, name: str) -> str:
    return f"{spec.output.folder}/{job.attempt}/{name}"


@dataclass(frozen=True)
class Shelf:
    """A job's finished chunks in the store: the same for all of its attempts, for their names say what they are."""

    storage: Storage
    tenant: str
    folder: str
    lifetime_s: int

    async def there(self, names: Sequence[str]) -> set[str]:
        """Which of them stand there."""
        found = await asyncio.gather(*(self._stands(name) for name in names))
        return {name for name, stands in zip(names, found, strict=True) if stands}

    async def puts(self, names: Sequence[str]) -> dict[str, Put]:
        """Where they may be put."""
        out = {}
        for name in names:
            where = await self.storage.upload_url(
                self.tenant, f"{self.folder}/{name}", VIDEO_TYPE, self.lifetime_s, patience_s=PATIENCE_S
            )
            out[name] = Put(*where)
        return out

    async def urls(self, names: Sequence[str]) -> dict[str, str]:
        """Where they may be read."""
        keys = [f"{self.folder}/{name}" for name in names]
        urls = await self.storage.download_urls(self.tenant, keys, self.lifetime_s, patience_s=PATIENCE_S)
        return dict(zip(names, urls, strict=True))

    async def _stands(self, name: str) -> bool:
        try:
            await self.storage.stat(self.tenant, f"{self.folder}/{name}", patience_s=PATIENCE_S)
        except Fault as fault:
            if fault.kind is not Kind.NOT_FOUND:
                raise
            return False
        return True


class _PhaseSpans:
    """Passes progress on, with a span around each phase of the work, which may be told from any task."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phase = ""
        self._span: tracing.OpenSpan | None = None

    def __enter__(self) -> Progress:
        return self._told

    def __exit__(self, *exception: object) -> None:
        if self._span is not None:
            self._span.end()

    def _told(self, phase: str, share: float) -> None:
        if phase != self._phase:
            if self._span is not None:
                self._span.end()
            self._span = tracing.start(f"render.{phase}")
            self._phase = phase
        self._progress(phase, share)
