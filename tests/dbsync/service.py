"""dbsync as its callers see it: the real service in this process or in one of its own, and a client of it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from chassis import deadlines, ids
from chassis.config import Base, Reader, Secret
from chassis.credentials import new_key
from chassis.process import Life
from chassis.rpc_client import Channel
from dbsync.__main__ import serve
from dbsync.config import Config, read
from dbsync.wire import Value
from reel.dbsync.v1 import dbsync_pb2 as pb
from reel.dbsync.v1 import dbsync_pb2_grpc
from tests.fakes.object_store import ObjectStore

ROOT = Path(__file__).resolve().parents[2]
_GATEWAY_SEED, _GATEWAY_PUBLIC = new_key()
_RENDER_SEED, _RENDER_PUBLIC = new_key()
_DBSYNC_SEED, _ = new_key()
SEEDS = {"gateway": _GATEWAY_SEED, "render": _RENDER_SEED}
SCHEMA = (
    "CREATE TABLE clips (id TEXT NOT NULL PRIMARY KEY, name TEXT NOT NULL, rating INTEGER)",
    "CREATE TABLE totals (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)",
    "INSERT INTO totals VALUES (1, 0), (2, 0)",
)


def environment(store: ObjectStore, cache: Path, port: int, **more: str) -> dict[str, str]:
    """The settings of a service over the store."""
    return {
        "REEL_ENV": "local",
        "LISTEN": f"127.0.0.1:{port}",
        "LOG_LEVEL": "warning",
        "SIGNING_KEY": _DBSYNC_SEED,
        "TRUSTED_KEYS": f"gateway={_GATEWAY_PUBLIC},render={_RENDER_PUBLIC}",
        "CACHE_DIR": str(cache),
        **store.environment(),
        **more,
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def value(one: Value) -> pb.Value:
    """A value on the wire."""
    if one is None:
        return pb.Value(null=pb.Null())
    if isinstance(one, int):
        return pb.Value(integer=one)
    if isinstance(one, float):
        return pb.Value(real=one)
    return pb.Value(text=one) if isinstance(one, str) else pb.Value(blob=one)


def plain(row: pb.Row) -> tuple[Any, ...]:
    """A row off the wire."""
    kinds = [(one, one.WhichOneof("kind")) for one in row.values]
    return tuple(None if kind == "null" else getattr(one, kind or "text") for one, kind in kinds)


def sql(text: str, *parameters: Value, rows: int | None = None) -> pb.Statement:
    """A statement on the wire."""
    made = pb.Statement(sql=text, parameters=[value(one) for one in parameters])
    if rows is not None:
        made.require_rows = rows
    return made


@dataclass
class Client:
    """Calls one dbsync as one service, in the name of one database."""

    channel: Channel
    database: str
    timeout_s: float = 60.0

    def __post_init__(self) -> None:
        self.stub = dbsync_pb2_grpc.DbSyncServiceStub(self.channel.grpc)

    def on(self, database: str) -> Client:
        """The same for another database."""
        return replace(self, database=database)

    async def commit(self, *statements: pb.Statement, tenant: str = "", **fields: Any) -> pb.CommitResponse:
        """A commit of schema version 1 with a fresh key; raises Fault."""
        fields.setdefault("idempotency_key", ids.uuid7())
        if "set_schema_version" not in fields:
            fields.setdefault("schema_version", 1)
        fields = {name: one for name, one in fields.items() if one is not None}
        request = pb.CommitRequest(database=self.database, statements=statements, **fields)
        return await self._call(self.stub.Commit, request, tenant)  # type: ignore[no-any-return]

    async def query(self, *statements: pb.Statement, tenant: str = "", **fields: Any) -> pb.QueryResponse:
        """A query; raises Fault."""
        request = pb.QueryRequest(database=self.database, statements=statements, **fields)
        return await self._call(self.stub.Query, request, tenant)  # type: ignore[no-any-return]

    async def rows(self, text: str, *parameters: Value, **fields: Any) -> list[tuple[Any, ...]]:
        """What one statement returns."""
        response = await self.query(sql(text, *parameters), **fields)
        return [plain(row) for row in response.results[0].rows]

    async def head(self, tenant: str = "") -> pb.HeadResponse:
        """The head; raises Fault."""
        return await self._call(self.stub.Head, pb.HeadRequest(database=self.database), tenant)  # type: ignore[no-any-return]

    async def found(self) -> pb.CommitResponse:
        """Makes the schema."""
        return await self.commit(*(sql(text) for text in SCHEMA), schema_version=0, set_schema_version=1)

    async def _call(self, method: Any, request: Any, tenant: str) -> Any:
        with deadlines.unbounded():
            return await self.channel.call(method, request, tenant=tenant or self.database, timeout_s=self.timeout_s)


@asynccontextmanager
async def client(port: int, database: str, issuer: str = "gateway", **more: Any) -> AsyncIterator[Client]:
    """A client of the service on a local port."""
    base = Base(issuer, "local", "127.0.0.1:0", "info", Secret(SEEDS[issuer]), {}, "", None)
    channel = Channel(f"127.0.0.1:{port}", audience="dbsync", base=base)
    try:
        yield Client(channel, database, **more)
    finally:
        await channel.close()


def configuration(environ: Mapping[str, str]) -> Config:
    """The service's configuration; ConfigError."""
    reader = Reader(environ)
    config = read(reader)
    reader.finish()
    return config


@asynccontextmanager
async def in_process(store: ObjectStore, cache: Path, **more: str) -> AsyncIterator[int]:
    """The service in this event loop; its port."""
    port = free_port()
    life = Life()
    task = asyncio.create_task(serve(configuration(environment(store, cache, port, **more)), life))
    try:
        await _listening(port, task)
        yield port
    finally:
        life.stopping.set()
        await task
        await life.end()


async def _listening(port: int, task: asyncio.Task[None]) -> None:
    for _ in range(6000):
        if task.done():
            task.result()
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        return
    raise AssertionError("the service did not start")


class Process:
    """The service in a process of its own."""

    def __init__(self, store: ObjectStore, cache: Path, **more: str) -> None:
        self.port = free_port()
        paths = [str(ROOT / part) for part in ("services", "protos/gen")]
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(paths),
            **environment(store, cache, self.port, **more),
        }
        self._log = (cache.parent / f"dbsync-{self.port}.log").open("wb")
        self.running = subprocess.Popen(
            [sys.executable, "-m", "dbsync"], env=environ, stdout=self._log, stderr=subprocess.STDOUT
        )

    def wait_ready(self) -> None:
        """Until it listens."""
        until = time.monotonic() + 60
        while time.monotonic() < until:
            if self.running.poll() is not None:
                raise AssertionError(f"dbsync ended with {self.running.returncode}: {self.log()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(f"dbsync did not listen: {self.log()}")

    def log(self) -> str:
        """What it wrote."""
        return Path(self._log.name).read_text(errors="replace")

    def kill(self) -> None:
        """kill -9."""
        self.running.kill()
        self.running.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        self.running.terminate()
        return self.running.wait(60)

    def close(self) -> None:
        """Whatever state it is in."""
        if self.running.poll() is None:
            self.kill()
        self._log.close()


@contextmanager
def process(store: ObjectStore, cache: Path, **more: str) -> Iterator[Process]:
    """A process that listens."""
    made = Process(store, cache, **more)
    try:
        made.wait_ready()
        yield made
    finally:
        made.close()
