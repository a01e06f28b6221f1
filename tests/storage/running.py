"""Storage in this process, on a free port: clients of it with tokens of their own, and plain HTTP to the store."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from chassis import ids, rpc_client, rpc_server
from chassis.config import Base, Secret
from chassis.credentials import new_key
from reel.storage.v1 import storage_pb2 as pb
from reel.storage.v1 import storage_pb2_grpc
from storage.grants import Granter
from storage.objects import Keys
from storage.rpc import SERVICE, StorageService, authorize
from storage.sigv4 import Signer
from storage.store import Store
from storage.store_clock import StoreClock

AREAS = ("games", "raw_clips", "downloads")
ISSUERS = {issuer: new_key() for issuer in ("gateway", "render", "dbsync")}
BASE = Base(
    service="storage",
    environment="local",
    listen="127.0.0.1:0",
    log_level="info",
    signing_key=Secret(new_key()[0]),
    trusted_keys={issuer: public for issuer, (_, public) in ISSUERS.items()},
    otlp_endpoint="",
    trace_dir=None,
)


@dataclass(frozen=True)
class Address:
    """Where an object store is, and the keys to it."""

    url: str
    bucket: str = "bucket"
    access_key_id: str = "access-key"
    secret_access_key: str = "secret-key"


@dataclass
class Running:
    """A running service with one client for each issuer; `tenant` is this test's own."""

    store: Store
    stubs: dict[str, tuple[rpc_client.Channel, Any]]
    http: aiohttp.ClientSession
    tenant: str

    async def call(
        self, method: str, issuer: str = "gateway", token_tenant: str = "", timeout_s: float = 60, **fields: Any
    ) -> Any:
        """An RPC's answer; raises Fault. `tenant` is this test's unless the fields name another."""
        channel, stub = self.stubs[issuer]
        request = getattr(pb, f"{method}Request")(**{"tenant": self.tenant, **fields})
        tenant = token_tenant or request.tenant
        return await channel.call(getattr(stub, method), request, tenant=tenant, timeout_s=timeout_s)

    async def send(self, grant: Any, body: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Uses a grant as its holder would: status, headers (lower case) and body of the store's answer."""
        sent = {**grant.headers, **{name.replace("_", "-"): value for name, value in headers.items()}}
        # aiohttp would name a type of its own for a body.
        skip = ("Content-Type",)
        async with self.http.request(
            grant.method, _exact(grant.url), data=body, headers=sent, skip_auto_headers=skip
        ) as answer:
            found = {name.lower(): value for name, value in answer.headers.items()}
            return answer.status, found, await answer.read()

    async def put(self, key: str, body: bytes, content_type: str = "text/plain") -> None:
        """Uploads an object by a grant."""
        made = await self.call("GrantUpload", key=key, size_bytes=len(body), content_type=content_type)
        status, _, text = await self.send(made.grant, body)
        assert status == 200, text


def _exact(url: str) -> Any:
    from yarl import URL

    return URL(url, encoded=True)


@contextlib.asynccontextmanager
async def running(
    address: Address, *, clock: StoreClock | None = None, threads: int = 4, waiting: int = 60, **store_options: Any
) -> AsyncIterator[Running]:
    """The service over an object store."""
    clock = clock or StoreClock()
    signer = Signer(address.url, address.access_key_id, Secret(address.secret_access_key))
    store = Store(address.url, address.bucket, signer, threads=threads, waiting=waiting, clock=clock, **store_options)
    server = rpc_server.create(BASE, authorize=authorize, services=[SERVICE])
    service = StorageService(Keys(AREAS), Granter(signer, address.bucket), store)
    storage_pb2_grpc.add_StorageServiceServicer_to_server(service, server.grpc)
    port = await server.start()
    stubs = {}
    for issuer, (seed, _) in ISSUERS.items():
        base = replace(BASE, service=issuer, signing_key=Secret(seed))
        channel = rpc_client.Channel(f"127.0.0.1:{port}", audience="storage", base=base)
        stubs[issuer] = (channel, storage_pb2_grpc.StorageServiceStub(channel.grpc))
    try:
        async with aiohttp.ClientSession() as http:
            yield Running(store, stubs, http, tenant=f"t-{ids.uuid7()}")
    finally:
        for channel, _ in stubs.values():
            await channel.close()
        await server.grpc.stop(None)
        await store.close()
