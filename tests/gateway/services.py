"""The real dbsync and storage in this process over the embedded object store, and channels of the gateway's to them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dbsync.__main__
import dbsync.config
import storage.__main__
import storage.config
from chassis.config import Base, Reader, Secret
from chassis.credentials import new_key
from chassis.process import Life
from chassis.rpc_client import Channel
from gateway.clients.databases import DbSync
from gateway.clients.objects import Storage
from tests.fakes.object_store import ObjectStore

GATEWAY_SEED, GATEWAY_PUBLIC = new_key()
SERVICE_SEED, _ = new_key()
BASE = Base("gateway", "local", "127.0.0.1:0", "info", Secret(GATEWAY_SEED), {}, "", None)


@dataclass(frozen=True)
class Services:
    """The gateway's two ports over gRPC."""

    databases: DbSync
    objects: Storage


@asynccontextmanager
async def services(store: ObjectStore, folder: Path) -> AsyncIterator[Services]:
    """Both services, answering."""
    async with AsyncExitStack() as stack:
        channels = {}
        for name, read, serve in (
            ("dbsync", dbsync.config.read, dbsync.__main__.serve),
            ("storage", storage.config.read, storage.__main__.serve),
        ):
            port = await stack.enter_async_context(_serving(store, folder, read, serve))
            channels[name] = Channel(f"127.0.0.1:{port}", audience=name, base=BASE)
            stack.push_async_callback(channels[name].close)
        for channel in channels.values():
            assert await channel.ready(20.0)
        yield Services(DbSync(channels["dbsync"]), Storage(channels["storage"]))


@asynccontextmanager
async def _serving(
    store: ObjectStore,
    folder: Path,
    read: Callable[[Reader], Any],
    serve: Callable[[Any, Life], Coroutine[Any, Any, None]],
) -> AsyncIterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    environment = {
        "REEL_ENV": "local",
        "LISTEN": f"127.0.0.1:{port}",
        "SIGNING_KEY": SERVICE_SEED,
        "TRUSTED_KEYS": f"gateway={GATEWAY_PUBLIC}",
        "CACHE_DIR": str(folder),
        **store.environment(),
    }
    reader, life = Reader(environment), Life()
    settings = read(reader)
    reader.finish()
    task = asyncio.create_task(serve(settings, life))
    try:
        yield port
    finally:
        life.stopping.set()
        await task
        await life.end()
