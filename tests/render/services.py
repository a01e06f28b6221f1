"""render, storage and dbsync as real processes over the embedded store, and a client of render."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chassis import ids, tracing
from chassis.config import Base, Secret
from chassis.credentials import new_key
from chassis.rpc_client import Channel
from reel.render.v1 import render_pb2 as pb
from reel.render.v1 import render_pb2_grpc
from tests.fakes.object_store import ObjectStore

ROOT = Path(__file__).resolve().parents[2]
SEEDS: dict[str, str] = {}
PUBLIC: dict[str, str] = {}
for _name in ("gateway", "render", "other"):
    SEEDS[_name], PUBLIC[_name] = new_key()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Services:
    """The processes by name; `render` can be ended and started again."""

    store: ObjectStore
    folder: Path
    ports: dict[str, int] = field(default_factory=lambda: {n: free_port() for n in ("storage", "dbsync", "render")})
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)  # beyond those below

    def start(self, name: str) -> None:
        """Starts a service; it answers when this returns."""
        trusted = ",".join(f"{issuer}={key}" for issuer, key in PUBLIC.items())
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(str(ROOT / part) for part in ("services", "protos/gen")),
            "REEL_ENV": "local",
            "LISTEN": f"127.0.0.1:{self.ports[name]}",
            "SIGNING_KEY": SEEDS["render"],
            "TRUSTED_KEYS": trusted,
            "TRACE_DIR": str(self.folder / "traces"),
            "CACHE_DIR": str(self.folder / "cache"),
            "WORK_DIR": str(self.folder / "work"),
            "STORAGE_ADDRESS": f"127.0.0.1:{self.ports['storage']}",
            "DBSYNC_ADDRESS": f"127.0.0.1:{self.ports['dbsync']}",
            "RENDER_WORKERS": "2",
            **self.store.environment(),
            **self.settings,
        }
        with (self.folder / f"{name}.log").open("ab") as log:
            command = [sys.executable, "-m", name]
            self.running[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=self.folder)
        self._wait(name)

    def _wait(self, name: str) -> None:
        for _ in range(3000):
            assert self.running[name].poll() is None, (self.folder / f"{name}.log").read_text()[-3000:]
            try:
                with socket.create_connection(("127.0.0.1", self.ports[name]), timeout=1):
                    return
            except OSError:
                time.sleep(0.02)
        raise AssertionError(f"{name} did not start")

    def end(self, name: str, number: signal.Signals) -> int:
        """Ends a service; its exit status."""
        self.running[name].send_signal(number)
        return self.running[name].wait(60)

    def spans(self, trace_id: str) -> list[dict[str, Any]]:
        """The spans of a trace, from all services."""
        lines = [line for path in (self.folder / "traces").glob("*.jsonl") for line in path.read_text().splitlines()]
        return [span for span in map(json.loads, lines) if span["trace_id"] == trace_id]


@contextmanager
def services(store: ObjectStore, folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[Services]:
    """All three, answering; ended when the context ends."""
    made = Services(store, folder, settings=settings or {})
    try:
        for name in ("storage", "dbsync", "render"):
            made.start(name)
        yield made
    finally:
        for name in ("render", "dbsync", "storage"):
            if name in made.running and made.running[name].poll() is None:
                made.end(name, signal.SIGTERM)


@dataclass(frozen=True)
class Client:
    """Calls render in the name of a tenant."""

    channel: Channel
    stub: render_pb2_grpc.RenderServiceStub
    tenant: str
    timeout_s: float = 60.0

    async def submit(self, spec: pb.RenderSpec, job_id: str = "", **more: Any) -> pb.Job:
        """Submits; the job."""
        request = pb.SubmitRequest(tenant=self.tenant, job_id=job_id or ids.uuid7(), spec=spec, **more)
        return (await self.call(self.stub.Submit, request)).job  # type: ignore[no-any-return]

    async def job(self, job_id: str) -> pb.Job:
        """The job as it stands."""
        request = pb.GetJobRequest(tenant=self.tenant, job_id=job_id)
        return (await self.call(self.stub.GetJob, request)).job  # type: ignore[no-any-return]

    async def watch(self, job_id: str, after: int = 0) -> AsyncIterator[pb.Job]:
        """Its states, to the last."""
        request = pb.WatchJobRequest(tenant=self.tenant, job_id=job_id, after_sequence=after)
        async for answer in self.channel.stream(self.stub.WatchJob, request, tenant=self.tenant, timeout_s=60):
            yield answer.job

    async def final(self, job_id: str) -> pb.Job:
        """Its last state."""
        return [job async for job in self.watch(job_id)][-1]

    async def call(self, method: Any, request: Any) -> Any:
        """Any call, inside a trace of its own unless there is one."""
        with tracing.span("test"):
            return await self.channel.call(method, request, tenant=self.tenant, timeout_s=self.timeout_s)


@asynccontextmanager
async def client(made: Services, tenant: str, issuer: str = "gateway") -> AsyncIterator[Client]:
    """A client of the running render."""
    base = Base(issuer, "local", "127.0.0.1:0", "info", Secret(SEEDS[issuer]), {}, "", None)
    channel = Channel(f"127.0.0.1:{made.ports['render']}", audience="render", base=base)
    try:
        yield Client(channel, render_pb2_grpc.RenderServiceStub(channel.grpc), tenant)
    finally:
        await channel.close()
