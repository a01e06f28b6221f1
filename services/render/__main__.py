"""Starts render."""

from __future__ import annotations

import asyncio
import sys

import aiohttp

from chassis import process, rpc_server
from chassis.ids import uuid7
from chassis.peers import Peers
from chassis.process import Life
from chassis.rpc_client import Channel
from reel.render.v1 import render_pb2_grpc
from render import config as settings
from render.attempts import Attempts
from render.clients.dbsync import DbSyncDatabase
from render.clients.storage import Storage
from render.config import Config
from render.engines import port
from render.engines.local import Engine
from render.jobs import Jobs
from render.kept import Kept
from render.ledger import Ledger
from render.rpc import messages, service
from render.sweep import Sweeper


async def serve(config: Config, life: Life) -> None:
    """Builds everything, takes unfinished jobs over, and serves until told to stop."""
    kept = await asyncio.to_thread(Kept, config.work_dir)
    storage_channel = Channel(config.storage_address, audience="storage", base=config.base)
    dbsyncs = Peers(config.dbsync_addresses, audience="dbsync", base=config.base)
    life.on_stop("storage channel", storage_channel.close)
    life.on_stop("dbsync channels", dbsyncs.close)
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16))
    life.on_stop("http", http.close)
    storage = Storage(storage_channel, http)
    slots = asyncio.Semaphore(config.workers)
    local = Engine(config.attempt_timeout_s, config.stall_timeout_s, config.ffmpeg_path, slots, config.nvenc)
    engines, workers = _engines(config, local, life)
    ledger = Ledger(DbSyncDatabase(dbsyncs, config.database), owner=uuid7(), tenant_jobs_max=config.tenant_jobs_max)
    attempts = Attempts(storage, engines, local, messages.decode_spec, config.work_dir, kept)
    jobs = Jobs(
        ledger,
        attempts,
        life,
        workers=workers,
        attempts_max=config.attempts_max,
        tenant_running_max=config.tenant_running_max,
    )
    sweeper = Sweeper(ledger, storage, messages.decode_spec, after_s=config.sweep_after_s)
    server = rpc_server.create(config.base, authorize=service.authorize, services=[service.SERVICE])
    render_pb2_grpc.add_RenderServiceServicer_to_server(service.RenderRpc(jobs, ledger, storage, local), server.grpc)
    life.on_stop("jobs", jobs.stop)
    life.on_stop("server", server.stop)
    life.on_stop("watches", jobs.let_go)
    background = (
        life.spawn(jobs.take_over(), "take over"),
        life.spawn(jobs.run(), "run jobs"),
        life.spawn(sweeper.run(), "sweep"),
    )
    await server.start()
    await life.stopping.wait()
    for task in background:
        task.cancel()


def _engines(config: Config, local: Engine, life: Life) -> tuple[tuple[port.Engine, ...], int]:
    """The engines, the preferred one first, and how many attempts they may make at once."""
    if config.modal is None:
        return (local,), config.workers
    # Its import takes a third of a second: now, or never.
    from render.engines import modal

    terms = modal.Terms(
        token_id=config.modal.token_id.reveal(),
        token_secret=config.modal.token_secret.reveal(),
        app=config.modal.app,
        environment=config.modal.environment,
        attempt_timeout_s=config.attempt_timeout_s,
        stall_timeout_s=config.stall_timeout_s,
        queue_s=config.modal.queue_s,
        fallback=config.modal.fallback,
        fallback_after_s=config.modal.fallback_after_s,
        service_environment=config.base.environment,
        otlp_endpoint=config.base.otlp_endpoint,
    )
    remote = modal.Engine(terms)
    life.on_stop("modal", remote.close)
    # Without a fallback an attempt on Modal waits for it. Jobs that were begun here before go on here.
    return (remote, local), config.modal.calls_max


if __name__ == "__main__":
    sys.exit(process.run("render", settings.read, serve, children=True))
