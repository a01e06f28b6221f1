"""Builds the gateway and runs it: the parts over the four ports, the channels to the services, a listening socket."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from chassis import process
from chassis.peers import Peers
from chassis.process import Life
from chassis.rpc_client import Channel
from gateway.actions import heads
from gateway.actions.events import Hub
from gateway.actions.exports import Exports
from gateway.actions.finaliser import Finaliser
from gateway.actions.parts import Parts
from gateway.actions.readiness import Readiness
from gateway.actions.sessions import Sessions
from gateway.actions.watches import Spawn, Watches
from gateway.clients.archive import DbSyncArchive
from gateway.clients.databases import DbSync
from gateway.clients.objects import Storage
from gateway.clients.renderer import Render
from gateway.config import Config, read
from gateway.http import app
from gateway.http.connections import Listener
from gateway.http.identity import Identities
from gateway.http.limits import Buckets, Rate
from gateway.http.origins import Origins
from gateway.http.websocket import Sockets
from gateway.library import directory, migrations
from gateway.library.archive import Archive
from gateway.library.store import Store
from gateway.ports import Archive as ArchivePort
from gateway.ports import Databases, Objects, Renderer

log = logging.getLogger(__name__)

CHANNEL_BYTES = 8 << 20
REMEMBERED = 10_000  # clients whose rate is known
PAGES_A_USER = 20
NEW_SESSIONS = Rate(per_s=0.2, burst=20)


@dataclass(frozen=True)
class Gateway:
    """The gateway put together."""

    application: web.Application
    parts: Parts


def wall_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def assemble(
    config: Config,
    databases: Databases,
    archive: ArchivePort,
    objects: Objects,
    renderer: Renderer,
    spawn: Spawn,
    *,
    clock_s: Callable[[], float] = time.monotonic,
    now_ms: Callable[[], int] = wall_ms,
) -> Gateway:
    """Puts the gateway together over any four ports; starts nothing."""
    base = config.base
    hub = Hub(max_listeners=config.max_pages, max_listeners_a_user=PAGES_A_USER)
    library = Store(databases, migrations.MIGRATIONS, hub.committed)
    sessions = Sessions(Store(databases, directory.MIGRATIONS), base.environment, wall_ms=now_ms, clock_s=clock_s)
    finaliser = Finaliser(library, renderer)
    watches = Watches(renderer, finaliser, hub, spawn, limit=config.max_watches)
    parts = Parts(
        environment=base.environment,
        library=library,
        archive=Archive(library, archive),
        sessions=sessions,
        objects=objects,
        renderer=renderer,
        exports=Exports(library, objects, renderer, finaliser, watches),
        hub=hub,
        readiness=Readiness({"storage": objects, "dbsync": databases, "render": renderer}),
        max_upload_bytes=config.max_upload_bytes,
    )
    origins = Origins(config.app_origins)
    identities = Identities(sessions, local=base.local, loopback=base.loopback)
    rate = Rate(config.rate_per_s, config.rate_burst)
    shared = Rate(rate.per_s * app.ADDRESS_FACTOR, rate.burst * app.ADDRESS_FACTOR)
    front = app.Front(
        parts=parts,
        origins=origins,
        identities=identities,
        sockets=Sockets(parts, identities, origins),
        by_user=Buckets(rate, REMEMBERED, clock_s),
        by_address=Buckets(shared, REMEMBERED, clock_s),
        new_sessions=Buckets(NEW_SESSIONS, REMEMBERED, clock_s),
        wall_ms=now_ms,
        trusts_proxy=not base.local,
    )
    return Gateway(app.build(front), parts)


async def serve(config: Config, life: Life) -> None:
    """Starts everything and returns when the process is told to stop."""

    def channel(name: str, address: str) -> Channel:
        made = Channel(address, audience=name, base=config.base, max_message_bytes=CHANNEL_BYTES)
        life.on_stop(f"channel to {name}", made.close)
        return made

    dbsyncs = Peers(config.dbsync_addresses, audience="dbsync", base=config.base, max_message_bytes=CHANNEL_BYTES)
    life.on_stop("channels to dbsync", dbsyncs.close)
    objects = Storage(channel("storage", config.storage_address))
    renderer = Render(channel("render", config.render_address))
    gateway = assemble(config, DbSync(dbsyncs), DbSyncArchive(dbsyncs), objects, renderer, life.spawn)
    polling = life.spawn(heads.poll(gateway.parts.library, gateway.parts.hub, config.head_poll_s), "heads")

    async def stop_background() -> None:
        polling.cancel()
        await gateway.parts.exports.watches.stop()

    life.on_stop("background", stop_background)
    listener = Listener(gateway.application)
    host, _, port = config.base.listen.rpartition(":")
    bound = await listener.start(host.strip("[]"), int(port))
    life.on_stop("listener", listener.stop)
    log.info("listening", extra={"listen": config.base.listen, "port": bound})
    await life.stopping.wait()


if __name__ == "__main__":
    sys.exit(process.run("gateway", read, serve))
