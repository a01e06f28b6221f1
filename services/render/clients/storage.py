"""URLs to read sources and to write outputs, through storage; uploads of finished files by them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from google.protobuf.duration_pb2 import Duration

from chassis import tracing
from chassis.faults import unavailable
from chassis.rpc_client import Channel
from reel.storage.v1 import storage_pb2, storage_pb2_grpc

log = logging.getLogger(__name__)

TIMEOUT_S = 15.0
UPLOAD_ATTEMPTS = 5
UPLOAD_STALL_S = 60.0
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

    async def download_urls(self, tenant: str, keys: Sequence[str], lifetime_s: int) -> list[str]:
        """A URL for each key, good for `lifetime_s`; Fault."""
        request = storage_pb2.GrantDownloadsRequest(
            tenant=tenant,
            objects=[storage_pb2.GrantDownloadsRequest.Object(key=key) for key in keys],
            lifetime=Duration(seconds=lifetime_s),
        )
        response = await self._call(self._stub.GrantDownloads, request)
        return [grant.url for grant in response.grants]

    async def upload(self, tenant: str, key: str, path: Path, content_type: str) -> Stored:
        """Puts a file and looks that it stands there whole; Fault UNAVAILABLE when it cannot be done now.

        The key is the attempt's own, so that putting it again can overwrite nothing else.
        """
        size_bytes = (await asyncio.to_thread(path.stat)).st_size
        for attempt in range(UPLOAD_ATTEMPTS):
            request = storage_pb2.GrantUploadRequest(
                tenant=tenant,
                key=key,
                content_type=content_type,
                size_bytes=size_bytes,
                lifetime=Duration(seconds=3600),
            )
            grant = (await self._call(self._stub.GrantUpload, request)).grant
            if await self._put(grant, path, size_bytes):
                stat = await self._call(self._stub.Stat, storage_pb2.StatRequest(tenant=tenant, key=key))
                if stat.object.size_bytes == size_bytes:
                    return Stored(size_bytes, stat.object.etag)
            await asyncio.sleep(min(8.0, 0.5 * 2**attempt))
        raise unavailable("store_unavailable", "The finished video could not be stored; it will be tried again.")

    async def _put(self, grant: Any, path: Path, size_bytes: int) -> bool:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=UPLOAD_STALL_S)
        with tracing.span("store.put", kind="client", attributes={"size_bytes": size_bytes}) as span:
            try:
                headers = {**dict(grant.headers), "Content-Length": str(size_bytes)}
                async with self._http.put(grant.url, data=_blocks(path), headers=headers, timeout=timeout) as answer:
                    span.set("http.response.status_code", answer.status)
                    if answer.status in (200, 204):
                        return True
                    log.warning("upload refused", extra={"status": answer.status, "body": (await answer.text())[:300]})
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                log.warning("upload broke off: %s", error)
            span.fail("not stored")
            return False

    async def _call(self, method: Any, request: Any) -> Any:
        return await self._channel.call(method, request, tenant=request.tenant, timeout_s=TIMEOUT_S)


async def _blocks(path: Path) -> AsyncIterator[bytes]:
    file = await asyncio.to_thread(path.open, "rb")
    try:
        while block := await asyncio.to_thread(file.read, _BLOCK_BYTES):
            yield block
    finally:
        file.close()
