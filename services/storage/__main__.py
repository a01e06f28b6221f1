"""Starts storage: builds every object once, opens the store while the server already listens, and stops in order."""

from __future__ import annotations

import logging
import sys

from chassis import process, rpc_server
from chassis.faults import Fault
from reel.storage.v1 import storage_pb2_grpc
from storage import config
from storage.config import Config
from storage.grants import Granter
from storage.objects import Keys
from storage.rpc import SERVICE, StorageService, authorize
from storage.sigv4 import Signer
from storage.store import Store
from storage.store_clock import StoreClock

log = logging.getLogger(__name__)


async def serve(settings: Config, life: process.Life) -> None:
    """Serves until told to stop."""
    signer = Signer(settings.endpoint_url, settings.access_key_id, settings.secret_access_key)
    store = Store(
        settings.endpoint_url,
        settings.bucket,
        signer,
        threads=settings.threads,
        waiting=settings.waiting,
        clock=StoreClock(),
    )
    life.on_stop("store", store.close)
    service = StorageService(Keys(settings.areas), Granter(signer, settings.bucket), store)
    server = rpc_server.create(settings.base, authorize=authorize, services=[SERVICE])
    storage_pb2_grpc.add_StorageServiceServicer_to_server(service, server.grpc)
    life.on_stop("server", server.stop)
    await server.start()
    _ = life.spawn(_open(store), "open store")
    await life.stopping.wait()


async def _open(store: Store) -> None:
    """Pays for the store's client before the first request does; a store that is down is for the requests to say."""
    try:
        await store.open()
    except Fault as fault:
        log.warning("the store is not there yet: %s", fault.message, extra={"reason": fault.reason, **fault.metadata})


if __name__ == "__main__":
    sys.exit(process.run("storage", config.read, serve))
