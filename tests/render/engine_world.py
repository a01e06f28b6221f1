"""What engines need in tests: sources and outputs in the embedded object store, and an attempt to make of them."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import psutil
from botocore.exceptions import ClientError

from chassis.faults import not_found
from reel.render.v1 import render_pb2 as pb
from render.attempts import Attempts
from render.clients.storage import Storage, Stored
from render.engines import local, modal
from render.engines.modal import Terms
from render.engines.port import Engine
from render.job import Ended, Job, State
from render.kept import Kept
from render.produce import PROBED
from render.rpc import messages
from tests.fakes.modal_plane import Plane
from tests.fakes.object_store import BUCKET, ObjectStore
from tests.render import golden

TENANT = "dev-local"
GUARD_S = 90


def terms(**more: Any) -> Terms:
    """How the fake Modal is used; stalls are noticed after seconds."""
    values: dict[str, Any] = {
        "token_id": "ak-fake",
        "token_secret": "as-fake",
        "app": "reel-ballers-video",
        "environment": "staging",
        "attempt_timeout_s": 120.0,
        "stall_timeout_s": 60.0,
        "queue_s": 120.0,
        "fallback": "wait",
        "fallback_after_s": 0.0,
        "service_environment": "local",
        "otlp_endpoint": "",
    }
    return Terms(**{**values, **more})


class StoreAccess:
    """The storage client's part towards an attempt, by presigning for the embedded store; `spoilt` URLs are refused."""

    def __init__(self, store: ObjectStore) -> None:
        self._s3 = store.client()
        self.spoilt = False

    async def download_urls(
        self, tenant: str, keys: Sequence[str], lifetime_s: int, *, patience_s: float = 0
    ) -> list[str]:
        spoil = "0" if self.spoilt else ""
        return [self._url("get_object", f"{tenant}/{key}", lifetime_s) + spoil for key in keys]

    async def upload_url(
        self, tenant: str, key: str, content_type: str, lifetime_s: int, *, patience_s: float = 0
    ) -> tuple[str, dict[str, str]]:
        url = self._url("put_object", f"{tenant}/{key}", lifetime_s, ContentType=content_type)
        return url, {"Content-Type": content_type}

    async def upload(self, tenant: str, key: str, path: Path, content_type: str, *, patience_s: float = 0) -> Stored:
        body = path.read_bytes()
        await asyncio.to_thread(
            self._s3.put_object, Bucket=BUCKET, Key=f"{tenant}/{key}", Body=body, ContentType=content_type
        )
        return await self.stat(tenant, key)

    async def stat(self, tenant: str, key: str, *, patience_s: float = 0) -> Stored:
        try:
            head = await asyncio.to_thread(self._s3.head_object, Bucket=BUCKET, Key=f"{tenant}/{key}")
        except ClientError as error:
            raise not_found("object_not_found", "It is not there.") from error
        return Stored(head["ContentLength"], head["ETag"].strip('"'))

    async def delete_folder(self, tenant: str, folder: str) -> None:
        for one in self.listed(folder):
            self._s3.delete_object(Bucket=BUCKET, Key=f"{tenant}/{one}")

    def listed(self, folder: str) -> list[str]:
        """The tenant's keys below a folder."""
        answer = self._s3.list_objects_v2(Bucket=BUCKET, Prefix=f"{TENANT}/{folder}/")
        return [one["Key"].removeprefix(f"{TENANT}/") for one in answer.get("Contents", [])]

    def put(self, key: str, body: bytes) -> None:
        """Puts an object of the tenant."""
        self._s3.put_object(Bucket=BUCKET, Key=f"{TENANT}/{key}", Body=body)

    def get(self, key: str) -> bytes:
        """An object of the tenant."""
        return self._s3.get_object(Bucket=BUCKET, Key=f"{TENANT}/{key}")["Body"].read()

    def _url(self, method: str, key: str, lifetime_s: int, **more: str) -> str:
        return self._s3.generate_presigned_url(method, {"Bucket": BUCKET, "Key": key, **more}, ExpiresIn=lifetime_s)


@dataclass
class KnownCalls:
    """An attempt's calls in memory, and every id that was kept."""

    known: Mapping[int, str] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    async def keep(self, part: int, call_id: str) -> None:
        self.known = {**self.known, part: call_id}
        self.kept.append(call_id)


@dataclass
class Trying:
    """An attempt under way."""

    attempts: Attempts
    job: Job
    calls: KnownCalls
    told: list[tuple[str, float]]
    task: asyncio.Task[Ended]

    @property
    def key(self) -> str:
        """What the attempt is called on the board."""
        return f"{self.job.tenant}/{self.job.job_id}/{self.job.attempt}"

    async def ended(self) -> Ended:
        """How it ended; what it raised."""
        async with asyncio.timeout(GUARD_S):
            return await self.task

    async def shown(self, phase: str, above: float = -1.0) -> None:
        """Waits until it has told of a phase, and of more than a share in it."""
        async with asyncio.timeout(GUARD_S):
            while not any(told == phase and share > above for told, share in self.told):
                assert not self.task.done(), self.task
                await asyncio.sleep(0.01)

    async def encoding(self) -> None:
        """Waits until it has made pictures."""
        await self.shown("rendering", PROBED)

    async def let_go(self) -> None:
        """The process that followed it is gone."""
        self.task.cancel()
        await asyncio.wait([self.task])


@dataclass
class World:
    """A store with a source, and engines over it."""

    access: StoreAccess
    folder: Path
    kept: Kept
    numbers: int = 0

    def attempt(self, engine: Engine, spec: pb.RenderSpec, *, again: Trying | None = None) -> Trying:
        """Begins an attempt of a new job, or takes one up again as the next process would."""
        self.numbers += 1
        calls = KnownCalls(again.calls.known) if again is not None else KnownCalls()
        job_id = again.job.job_id if again is not None else f"job-{self.numbers}-{self.folder.name}"
        job = Job(TENANT, job_id, State.RUNNING, 1, 2, 0, 1000, engine=engine.name)
        prober = local.Engine(attempt_timeout_s=60, stall_timeout_s=60)
        attempts = Attempts(cast(Storage, self.access), (engine,), prober, messages.decode_spec, self.folder, self.kept)
        told: list[tuple[str, float]] = []
        work = attempts.run(job, messages.encode_spec(spec), calls, lambda phase, share: told.append((phase, share)))
        return Trying(attempts, job, calls, told, asyncio.create_task(work))


def short(folder: str, source: str = "beeps.mov", *, until_us: int = 300_000, **output: Any) -> pb.RenderSpec:
    """A clip of a third of a second with its sound."""
    clip = pb.Clip(source=pb.Source(key=f"games/{source}"), in_us=0, out_us=until_us)
    made = pb.Output(folder=folder, name="all.mp4", **{"quality": pb.QUALITY_DRAFT, **output})
    return pb.RenderSpec(spec_version=1, clips=[clip], output=made, audio=pb.Audio(include=True))


def slow(folder: str, **output: Any) -> pb.RenderSpec:
    """Eight seconds at a quarter of their speed: 960 frames."""
    spec = short(folder, until_us=8_000_000, **{"quality": pb.QUALITY_HIGH, **output})
    spec.clips[0].speed_spans.add(from_us=0, to_us=8_000_000, rate=pb.Rational(num=1, den=4))
    return spec


def long(folder: str) -> pb.RenderSpec:
    """What no machine does at once."""
    return slow(folder, width=1920, height=1080)


def decoded(data: bytes, folder: Path) -> str:
    """A digest of every picture and every sample of a file."""
    path = folder / f"{hashlib.sha256(data).hexdigest()}.mp4"
    path.write_bytes(data)
    command = [golden.FFMPEG, "-v", "error", "-i", str(path), "-f", "streamhash", "-hash", "md5", "-"]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


async def eventually(true: Callable[[], object]) -> None:
    """Waits until something holds."""
    async with asyncio.timeout(GUARD_S):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


async def gone(processes: Sequence[psutil.Process]) -> None:
    """Waits until none of them runs."""
    await eventually(lambda: not any(_runs(one) for one in processes))


def _runs(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def inside(plane: Plane, trying: Trying) -> list[psutil.Process]:
    """The processes of an attempt's container that do its work."""
    containers = [plane.container(call) for call in plane.calls() if call.call_id == trying.calls.known[0]]
    assert containers and containers[0] is not None
    return psutil.Process(containers[0].process.pid).children(recursive=True)


def modal_engine(**more: Any) -> modal.Engine:
    """The engine over the fake Modal."""
    return modal.Engine(terms(**more))
