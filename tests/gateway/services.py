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
from chassis.peers import Peers
from chassis.process import Life
from chassis.rpc_client import Channel
from gateway.clients.archive import DbSyncArchive
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
    archive: DbSyncArchive
    objects: Storage


@asynccontextmanager
async def services(store: ObjectStore, folder: Path) -> AsyncIterator[Services]:
    """Both services, answering."""
    async with AsyncExitStack() as stack:
        addresses = [
            f"127.0.0.1:{await stack.enter_async_context(_serving(store, folder, read, serve))}"
            for read, serve in (
                (dbsync.config.read, dbsync.__main__.serve),
                (storage.config.read, storage.__main__.serve),
            )
        ]
        databases = Peers(addresses[:1], audience="dbsync", base=BASE)
        objects = Channel(addresses[1], audience="storage", base=BASE)
        for channel in (databases, objects):
            stack.push_async_callback(channel.close)
            assert await channel.ready(60.0)
        yield Services(DbSync(databases), DbSyncArchive(databases), Storage(objects))


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
