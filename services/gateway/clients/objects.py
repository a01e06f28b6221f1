"""storage over gRPC: the port Objects."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.duration_pb2 import Duration

from chassis.rpc_client import Channel
from gateway.ports import CreatedUpload, PartsDone, SignedPart, StoredObject, UploadRef
from reel.storage.v1 import storage_pb2 as pb
from reel.storage.v1.storage_pb2_grpc import StorageServiceStub

QUICK_S = 10.0
COMPLETE_S = 60.0  # assembling thousands of parts


class Storage:
    """The objects of storage."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._stub = StorageServiceStub(channel.grpc)

    async def grant_download(self, tenant: str, key: str, *, download_name: str, lifetime_s: float) -> str:
        """A presigned URL; see the port."""
        wanted = pb.GrantDownloadsRequest.Object(key=key, download_name=download_name)
        request = pb.GrantDownloadsRequest(tenant=tenant, objects=[wanted], lifetime=Duration(seconds=int(lifetime_s)))
        answer = await self._channel.call(self._stub.GrantDownloads, request, tenant=tenant, timeout_s=QUICK_S)
        return str(answer.grants[0].url)

    async def create_upload(self, tenant: str, key: str, content_type: str, size_bytes: int) -> CreatedUpload:
        """Begins a multipart upload."""
        request = pb.CreateMultipartUploadRequest(
            tenant=tenant, key=key, content_type=content_type, size_bytes=size_bytes
        )
        answer = await self._channel.call(self._stub.CreateMultipartUpload, request, tenant=tenant, timeout_s=QUICK_S)
        return CreatedUpload(answer.upload_id, answer.part_size_bytes, answer.part_count)

    async def sign_parts(self, tenant: str, upload: UploadRef, numbers: Sequence[int]) -> list[SignedPart]:
        """Presigned PUTs of parts."""
        request = pb.SignPartsRequest(tenant=tenant, upload=_ref(upload), part_numbers=numbers)
        answer = await self._channel.call(self._stub.SignParts, request, tenant=tenant, timeout_s=QUICK_S)
        return [
            SignedPart(
                part.number,
                part.grant.url,
                part.size_bytes,
                dict(part.grant.headers),
                part.grant.expires.ToMilliseconds(),
            )
            for part in answer.parts
        ]

    async def list_parts(self, tenant: str, upload: UploadRef) -> PartsDone:
        """The parts that are there."""
        request = pb.ListPartsRequest(tenant=tenant, upload=_ref(upload))
        answer = await self._channel.call(self._stub.ListParts, request, tenant=tenant, timeout_s=QUICK_S)
        return PartsDone(tuple(sorted(part.number for part in answer.parts)), answer.received_bytes)

    async def complete_upload(self, tenant: str, upload: UploadRef) -> StoredObject:
        """Ends an upload; repeating it answers the same object."""
        request = pb.CompleteMultipartUploadRequest(tenant=tenant, upload=_ref(upload))
        answer = await self._channel.call(
            self._stub.CompleteMultipartUpload, request, tenant=tenant, timeout_s=COMPLETE_S
        )
        return StoredObject(answer.object.size_bytes, answer.object.etag)

    async def abort_upload(self, tenant: str, upload: UploadRef) -> None:
        """Gives an upload up."""
        request = pb.AbortMultipartUploadRequest(tenant=tenant, upload=_ref(upload))
        await self._channel.call(self._stub.AbortMultipartUpload, request, tenant=tenant, timeout_s=QUICK_S)

    async def ready(self, timeout_s: float) -> bool:
        """Whether storage answers."""
        return await self._channel.ready(timeout_s)


def _ref(upload: UploadRef) -> pb.UploadRef:
    return pb.UploadRef(
        key=upload.key,
        upload_id=upload.upload_id,
        size_bytes=upload.size_bytes,
        part_size_bytes=upload.part_size_bytes,
    )
