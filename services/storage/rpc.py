"""The RPCs of storage, the only module with protobuf: each checks its request, calls store or granter, and replies.

1. Every key of a request is read by `Keys` together with the request's tenant, which the chassis has held against the
   caller's token (tests/storage/test_service.py::test_another_tenant_is_refused).
2. Every list and number of a request has a bound (test_bounds).
3. Many grants do not hold up the event loop: it is let go after every GRANTS_AT_A_TIME
   (test_many_grants_let_others_run).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from chassis import faults
from chassis.credentials import Caller
from reel.storage.v1 import storage_pb2 as pb
from reel.storage.v1 import storage_pb2_grpc
from storage import grants, uploads
from storage.grants import Grant, Granter
from storage.objects import Keys
from storage.store import PAGE, Store, Stored

SERVICE = "reel.storage.v1.StorageService"
ISSUERS = frozenset({"gateway", "render"})
MAX_OBJECTS = 1000
MAX_SIGNED_PARTS = 100
MAX_UPLOAD_ID_LENGTH = 1024
GRANTS_AT_A_TIME = 100

T = TypeVar("T")
Context = Any


def authorize(caller: Caller, request: Any) -> None:
    """Lets the gateway and render in, nobody else."""
    if caller.issuer not in ISSUERS:
        raise faults.forbidden("not_allowed", f"{caller.issuer} may not call storage.")


class StorageService(storage_pb2_grpc.StorageServiceServicer):
    """Answers the RPCs."""

    def __init__(self, keys: Keys, granter: Granter, store: Store) -> None:
        self._keys = keys
        self._granter = granter
        self._store = store

    async def GrantDownloads(self, request: pb.GrantDownloadsRequest, context: Context) -> pb.GrantDownloadsResponse:
        _count("objects", request.objects, MAX_OBJECTS)
        lifetime_s = _lifetime(request, grants.DOWNLOAD_LIFETIME_S)
        keys = [self._keys.key(request.tenant, wanted.key) for wanted in request.objects]
        now_s = await self._store.now_s()

        def grant(index: int) -> pb.Grant:
            wanted = request.objects[index]
            made = self._granter.download(
                keys[index],
                now_s=now_s,
                lifetime_s=lifetime_s,
                name=wanted.download_name,
                content_type=wanted.content_type,
                head=request.head,
            )
            return _grant(made)

        return pb.GrantDownloadsResponse(grants=await _each(grant, range(len(keys))))

    async def GrantUpload(self, request: pb.GrantUploadRequest, context: Context) -> pb.GrantUploadResponse:
        made = self._granter.upload(
            self._keys.key(request.tenant, request.key),
            lifetime_s=_lifetime(request, grants.UPLOAD_LIFETIME_S),
            content_type=request.content_type,
            size_bytes=request.size_bytes,
            if_absent=request.if_absent,
            now_s=await self._store.now_s(),
        )
        return pb.GrantUploadResponse(grant=_grant(made))

    async def CreateMultipartUpload(
        self, request: pb.CreateMultipartUploadRequest, context: Context
    ) -> pb.CreateMultipartUploadResponse:
        key = self._keys.key(request.tenant, request.key)
        plan = uploads.plan(request.size_bytes)
        content_type = grants.checked_type(request.content_type or grants.DEFAULT_TYPE)
        upload_id = await self._store.begin_upload(key, content_type)
        return pb.CreateMultipartUploadResponse(
            upload_id=upload_id, part_size_bytes=plan.part_size_bytes, part_count=plan.part_count
        )

    async def SignParts(self, request: pb.SignPartsRequest, context: Context) -> pb.SignPartsResponse:
        key, upload_id = self._upload(request.tenant, request.upload)
        plan = uploads.existing(request.upload.size_bytes, request.upload.part_size_bytes)
        _count("part_numbers", request.part_numbers, MAX_SIGNED_PARTS)
        lifetime_s = _lifetime(request, grants.UPLOAD_LIFETIME_S)
        sizes = {number: plan.size_of(number) for number in request.part_numbers}
        now_s = await self._store.now_s()

        def sign(number: int) -> pb.SignPartsResponse.Part:
            size_bytes = sizes[number]
            made = self._granter.part(key, upload_id, number, now_s=now_s, lifetime_s=lifetime_s, size_bytes=size_bytes)
            return pb.SignPartsResponse.Part(number=number, size_bytes=size_bytes, grant=_grant(made))

        return pb.SignPartsResponse(parts=await _each(sign, request.part_numbers))

    async def ListParts(self, request: pb.ListPartsRequest, context: Context) -> pb.ListPartsResponse:
        key, upload_id = self._upload(request.tenant, request.upload)
        parts = await self._store.parts(key, upload_id)
        found = [
            pb.ListPartsResponse.Part(number=part.number, size_bytes=part.size_bytes, etag=part.etag.strip('"'))
            for part in parts
        ]
        return pb.ListPartsResponse(parts=found, received_bytes=sum(part.size_bytes for part in parts))

    async def CompleteMultipartUpload(
        self, request: pb.CompleteMultipartUploadRequest, context: Context
    ) -> pb.CompleteMultipartUploadResponse:
        key, upload_id = self._upload(request.tenant, request.upload)
        plan = uploads.existing(request.upload.size_bytes, request.upload.part_size_bytes)
        stored = await self._store.finish_upload(key, upload_id, plan)
        return pb.CompleteMultipartUploadResponse(object=self._info(request.tenant, stored))

    async def AbortMultipartUpload(
        self, request: pb.AbortMultipartUploadRequest, context: Context
    ) -> pb.AbortMultipartUploadResponse:
        key, upload_id = self._upload(request.tenant, request.upload)
        await self._store.abort_upload(key, upload_id)
        return pb.AbortMultipartUploadResponse()

    async def SweepUploads(self, request: pb.SweepUploadsRequest, context: Context) -> pb.SweepUploadsResponse:
        home = self._keys.home(request.tenant)
        if not request.HasField("older_than") or request.older_than.ToTimedelta().total_seconds() < 0:
            raise faults.invalid(
                "invalid_range", "Say how old an upload must be (older_than, 0 or more) to be aborted."
            )
        aborted = await self._store.sweep(
            home, lambda key: self._keys.in_area(request.tenant, key), request.older_than.ToTimedelta().total_seconds()
        )
        return pb.SweepUploadsResponse(aborted=aborted)

    async def Stat(self, request: pb.StatRequest, context: Context) -> pb.StatResponse:
        stored = await self._store.stat(self._keys.key(request.tenant, request.key))
        return pb.StatResponse(object=self._info(request.tenant, stored))

    async def List(self, request: pb.ListRequest, context: Context) -> pb.ListResponse:
        folder = self._keys.folder(request.tenant, request.prefix)
        limit = request.page_size or PAGE
        if not 1 <= limit <= PAGE:
            raise faults.invalid("invalid_range", f"A page has 1 to {PAGE} objects, not {limit}.")
        after = folder + _from_token(request.page_token) if request.page_token else ""
        found, more = await self._store.page(folder, after=after, limit=limit)
        token = _to_token(found[-1].key.removeprefix(folder)) if more else ""
        return pb.ListResponse(objects=[self._info(request.tenant, stored) for stored in found], next_page_token=token)

    async def Copy(self, request: pb.CopyRequest, context: Context) -> pb.CopyResponse:
        source = self._keys.key(request.tenant, request.source_key)
        target = self._keys.key(request.tenant, request.target_key)
        if source == target:
            raise faults.invalid("invalid_key", "An object cannot be copied onto itself.")
        return pb.CopyResponse(object=self._info(request.tenant, await self._store.copy(source, target)))

    async def DeleteObjects(self, request: pb.DeleteObjectsRequest, context: Context) -> pb.DeleteObjectsResponse:
        _count("keys", request.keys, MAX_OBJECTS)
        await self._store.delete([self._keys.key(request.tenant, key) for key in request.keys])
        return pb.DeleteObjectsResponse()

    async def DeletePrefix(self, request: pb.DeletePrefixRequest, context: Context) -> pb.DeletePrefixResponse:
        folder = self._keys.folder(request.tenant, request.prefix)
        return pb.DeletePrefixResponse(deleted=await self._store.delete_folder(folder))

    async def GetUsage(self, request: pb.GetUsageRequest, context: Context) -> pb.GetUsageResponse:
        folders = [self._keys.folder(request.tenant, area) for area in self._keys.areas]
        used = await asyncio.gather(*(self._store.usage(folder) for folder in folders))
        areas = [
            pb.GetUsageResponse.Area(area=area, size_bytes=size_bytes, objects=objects)
            for area, (size_bytes, objects) in zip(self._keys.areas, used, strict=True)
        ]
        return pb.GetUsageResponse(
            size_bytes=sum(area.size_bytes for area in areas), objects=sum(area.objects for area in areas), areas=areas
        )

    def _upload(self, tenant: str, upload: pb.UploadRef) -> tuple[str, str]:
        key = self._keys.key(tenant, upload.key)
        upload_id = upload.upload_id
        if not 0 < len(upload_id) <= MAX_UPLOAD_ID_LENGTH or not upload_id.isascii() or not upload_id.isprintable():
            raise faults.invalid("invalid_range", "The upload id is not one that CreateMultipartUpload answered.")
        return key, upload_id

    def _info(self, tenant: str, stored: Stored) -> pb.ObjectInfo:
        modified = Timestamp()
        modified.FromDatetime(stored.modified)
        return pb.ObjectInfo(
            key=self._keys.relative(tenant, stored.key),
            size_bytes=stored.size_bytes,
            etag=stored.etag,
            content_type=stored.content_type,
            modified=modified,
        )


async def _each(make: Callable[[int], T], numbers: Iterable[int]) -> list[T]:
    made: list[T] = []
    for number in numbers:
        made.append(make(number))
        if len(made) % GRANTS_AT_A_TIME == 0:
            await asyncio.sleep(0)
    return made


def _grant(made: Grant) -> pb.Grant:
    expires = Timestamp(seconds=int(made.expires_s))
    return pb.Grant(url=made.url, method=made.method, headers=made.headers, expires=expires)


def _lifetime(request: Any, default_s: int) -> int:
    duration: Duration = request.lifetime
    return grants.lifetime(duration.ToTimedelta().total_seconds()) if request.HasField("lifetime") else default_s


def _count(name: str, items: Sequence[Any], most: int) -> None:
    if not 1 <= len(items) <= most:
        raise faults.invalid("invalid_range", f"{name}: 1 to {most} in one call, not {len(items)}.")


def _to_token(last: str) -> str:
    return base64.urlsafe_b64encode(last.encode()).decode()


def _from_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise faults.invalid("invalid_range", "The page token is not one that List answered.") from error
