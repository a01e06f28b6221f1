"""URLs to read sources and to write outputs, through storage; uploads of finished files by them."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from google.protobuf.duration_pb2 import Duration

from chassis.faults import Fault, Kind, unavailable
from chassis.rpc_client import Channel
from reel.storage.v1 import storage_pb2, storage_pb2_grpc
from render.clients.puts import PutFailed, put_file

log = logging.getLogger(__name__)

T = TypeVar("T")

TIMEOUT_S = 15.0
UPLOAD_LIFETIME_S = 3600
PAUSE_MAX_S = 15.0


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
            try:
                await put_file(self._http, grant.url, dict(grant.headers), path)
            except PutFailed as error:
                raise unavailable("store_unavailable", str(error)) from error
            stored = await self._stat(tenant, key)
            if stored.size_bytes != size_bytes:
                raise unavailable("store_unavailable", "The store holds another size than was sent.")
            return stored

        return await _patiently(put, patience_s)

    async def upload_url(
        self, tenant: str, key: str, content_type: str, lifetime_s: int, *, patience_s: float = 0
    ) -> tuple[str, dict[str, str]]:
        """Where a file of any length may be put for `lifetime_s`, by whoever has both; Fault."""
        wanted = storage_pb2.GrantUploadRequest(
            tenant=tenant, key=key, content_type=content_type, lifetime=Duration(seconds=lifetime_s)
        )

        async def ask() -> tuple[str, dict[str, str]]:
            grant = (await self._call(self._stub.GrantUpload, wanted)).grant
            return grant.url, dict(grant.headers)

        return await _patiently(ask, patience_s)

    async def stat(self, tenant: str, key: str, *, patience_s: float = 0) -> Stored:
        """An object as it stands; Fault, NOT_FOUND when it does not."""
        return await _patiently(lambda: self._stat(tenant, key), patience_s)

    async def delete_folder(self, tenant: str, folder: str) -> None:
        """Deletes what stands below a folder; Fault. What is not there is deleted already."""
        await self._call(self._stub.DeletePrefix, storage_pb2.DeletePrefixRequest(tenant=tenant, prefix=folder))

    async def _stat(self, tenant: str, key: str) -> Stored:
        answer = await self._call(self._stub.Stat, storage_pb2.StatRequest(tenant=tenant, key=key))
        return Stored(answer.object.size_bytes, answer.object.etag)

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
