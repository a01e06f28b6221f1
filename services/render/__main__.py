"""Starts render."""

from __future__ import annotations

import shutil
import sys

import aiohttp

from chassis import process, rpc_server
from chassis.ids import uuid7
from chassis.process import Life
from chassis.rpc_client import Channel
from reel.render.v1 import render_pb2_grpc
from render import config as settings
from render.attempts import Attempts
from render.clients.dbsync import DbSyncDatabase
from render.clients.storage import Storage
from render.config import Config
from render.engines.local import Engine
from render.jobs import Jobs
from render.ledger import Ledger
from render.rpc import messages, service


async def serve(config: Config, life: Life) -> None:
    """Builds everything, takes unfinished jobs over, and serves until told to stop."""
    shutil.rmtree(config.work_dir, ignore_errors=True)
    config.work_dir.mkdir(parents=True)
    storage_channel = Channel(config.storage_address, audience="storage", base=config.base)
    dbsync_channel = Channel(config.dbsync_address, audience="dbsync", base=config.base)
    life.on_stop("storage channel", storage_channel.close)
    life.on_stop("dbsync channel", dbsync_channel.close)
    http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=16))
    life.on_stop("http", http.close)
    storage = Storage(storage_channel, http)
    engine = Engine(config.attempt_timeout_s, config.stall_timeout_s)
    ledger = Ledger(
        DbSyncDatabase(dbsync_channel, config.database), owner=uuid7(), tenant_jobs_max=config.tenant_jobs_max
    )
    attempts = Attempts(storage, engine, messages.decode_spec, config.work_dir, config.ffmpeg_path)
    jobs = Jobs(ledger, attempts, life, workers=config.workers, attempts_max=config.attempts_max)
    server = rpc_server.create(config.base, authorize=service.authorize, services=[service.SERVICE])
    render_pb2_grpc.add_RenderServiceServicer_to_server(service.RenderRpc(jobs, ledger, storage, engine), server.grpc)
    life.on_stop("jobs", jobs.stop)
    life.on_stop("server", server.stop)
    life.on_stop("watches", jobs.let_go)
    background = life.spawn(jobs.take_over(), "take over"), life.spawn(jobs.run(), "run jobs")
    await server.start()
    await life.stopping.wait()
    for task in background:
        task.cancel()


if __name__ == "__main__":
    sys.exit(process.run("render", settings.read, serve))
