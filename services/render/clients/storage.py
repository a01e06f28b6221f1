"""URLs to read sources and to write outputs, through storage; uploads of finished files by them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from google.protobuf.duration_pb2 import Duration

from chassis import tracing
from chassis.faults import Fault, Kind, unavailable
from chassis.rpc_client import Channel
from reel.storage.v1 import storage_pb2, storage_pb2_grpc

log = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT_S = 15.0
UPLOAD_LIFETIME_S = 3600
UPLOAD_STALL_S = 60.0
PAUSE_MAX_S = 15.0
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Stored:
    """An object that stands in the store."""

    size_bytes: int
    etag: str


class Storage:
    """Objects of tenants."""

    def __init__(self, channel: Channel, http: aiohttp.ClientSession) -> None:
        self._channel = channel
        self._http = http
        self._stub = storage_pb2_grpc.StorageServiceStub(channel.grpc)

    async def download_urls(
        self, tenant: str, keys: Sequence[str], lifetime_s: int, *, patience_s: float = 0
    ) -> list[str]:
        """A URL for each key, good for `lifetime_s`; Fault.

        While storage is away it is asked again for `patience_s`.
        """
        request = storage_pb2.GrantDownloadsRequest(
            tenant=tenant,
            objects=[storage_pb2.GrantDownloadsRequest.Object(key=key) for key in keys],
            lifetime=Duration(seconds=lifetime_s),
        )

        async def ask() -> list[str]:
            response = await self._call(self._stub.GrantDownloads, request)
            return [grant.url for grant in response.grants]

        return await _patiently(ask, patience_s)

    async def upload(self, tenant: str, key: str, path: Path, content_type: str, *, patience_s: float = 0) -> Stored:
        """Puts a file and looks that it stands there whole; Fault UNAVAILABLE when that did not come about within
        `patience_s`.

        The key is the attempt's own, so that putting it again can overwrite nothing else.
        """
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        wanted = storage_pb2.GrantUploadRequest(
            tenant=tenant,
            key=key,
            content_type=content_type,
            size_bytes=size_bytes,
            lifetime=Duration(seconds=UPLOAD_LIFETIME_S),
        )

        async def put() -> Stored:
            grant = (await self._call(self._stub.GrantUpload, wanted)).grant
            await self._put(grant, path, size_bytes)
            stat = await self._call(self._stub.Stat, storage_pb2.StatRequest(tenant=tenant, key=key))
            if stat.object.size_bytes != size_bytes:
                raise unavailable("store_unavailable", "The store holds another size than was sent.")
            return Stored(size_bytes, stat.object.etag)

        return await _patiently(put, patience_s)

    async def _put(self, grant: Any, path: Path, size_bytes: int) -> None:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=UPLOAD_STALL_S)
        with tracing.span("store.put", kind="client", attributes={"size_bytes": size_bytes}) as span:
            headers = {**dict(grant.headers), "Content-Length": str(size_bytes)}
            try:
                async with self._http.put(grant.url, data=_blocks(path), headers=headers, timeout=timeout) as answer:
                    span.set("http.response.status_code", answer.status)
                    if answer.status not in (200, 204):
                        log.warning("upload refused: %s %s", answer.status, (await answer.text())[:300])
                        raise unavailable("store_unavailable", "The store did not take the finished video.")
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise unavailable("store_unavailable", f"The upload broke off: {type(error).__name__}.") from error

    async def _call(self, method: Any, request: Any) -> Any:
        return await self._channel.call(method, request, tenant=request.tenant, timeout_s=TIMEOUT_S)


async def _patiently(ask: Callable[[], Awaitable[T]], patience_s: float) -> T:
    began = time.monotonic()
    for attempt in itertools.count():
        try:
            return await ask()
        except Fault as fault:
            passing = fault.kind in (Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.EXHAUSTED)
            if not passing or time.monotonic() - began >= patience_s:
                raise
            log.warning("storage is asked again: %s", fault.message, extra={"reason": fault.reason})
        await asyncio.sleep(min(PAUSE_MAX_S, 0.5 * 2 ** min(attempt, 6)))
    raise AssertionError("counting never ends")


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
            yield block
    finally:
        file.close()
