"""Starts the service: the only module that builds its objects."""

from __future__ import annotations

import asyncio
import sys
from concurrent.futures import ThreadPoolExecutor

import apsw

from chassis import process, rpc_server
from chassis.process import Life
from dbsync.cache_folder import CacheFolder
from dbsync.clock import SystemClock
from dbsync.config import Config, read
from dbsync.databases import Databases
from dbsync.gate import GateVfs
from dbsync.ledger import S3Store, Wire
from dbsync.local_copy import Pools
from dbsync.rpc.service import SERVICE, DbSync, authorizer
from dbsync.sqlguard import prepare_process
from reel.dbsync.v1 import dbsync_pb2_grpc


async def serve(config: Config, life: Life) -> None:
    """Serves until told to stop."""
    apsw.hard_heap_limit(config.sqlite_memory_bytes)
    cache = await asyncio.to_thread(CacheFolder, config.cache_dir)

    async def leave() -> None:
        await asyncio.to_thread(cache.close)

    life.on_stop("cache", leave)
    pools = Pools(
        writers=ThreadPoolExecutor(config.writer_threads, "writer"),
        readers=ThreadPoolExecutor(config.reader_threads, "reader"),
        fetchers=ThreadPoolExecutor(config.fetcher_threads, "fetcher"),
    )
    wire = Wire(
        endpoint_url=config.bucket.endpoint_url,
        bucket=config.bucket.name,
        access_key_id=config.bucket.access_key_id.reveal(),
        secret_access_key=config.bucket.secret_access_key.reveal(),
        attempt_s=config.patience.attempt_s,
        connections=config.writer_threads + config.fetcher_threads,
        spool=cache.spool,
    )
    clock = SystemClock()
    databases = Databases(
        S3Store(wire, pools.fetchers),
        clock,
        GateVfs(),
        cache.copies,
        pools,
        limits=config.limits,
        bounds=config.bounds,
        patience=config.patience,
        spawn=life.spawn,
    )
    life.on_stop("databases", databases.close)
    server = rpc_server.create(config.base, authorize=authorizer(config.owners), services=(SERVICE,))
    dbsync_pb2_grpc.add_DbSyncServiceServicer_to_server(DbSync(databases, config.limits, clock), server.grpc)
    life.on_stop("server", server.stop)
    await server.start()
    await life.stopping.wait()


if __name__ == "__main__":
    prepare_process()
    sys.exit(process.run("dbsync", read, serve))
