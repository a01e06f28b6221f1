"""Uploads in parts: resumed from the store's list, completed once, given up, swept."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration

from chassis.faults import Fault, Kind
from reel.storage.v1 import storage_pb2 as pb
from tests.fakes.object_store import client_for
from tests.fakes.object_store import object_store as started_store
from tests.storage.running import Address, Running, running

PART = 5 << 20
SIZE = 2 * PART + 1234
BODY = bytes(range(251)) * (SIZE // 251 + 1)


def body_of(number: int) -> bytes:
    return BODY[:SIZE][(number - 1) * PART : number * PART]


async def begin(service: Running, key: str = "games/g/video.mp4") -> pb.UploadRef:
    """An upload in parts of 5 MiB, the least that S3 takes; the service itself would choose 8."""
    made = await service.call("CreateMultipartUpload", key=key, content_type="video/mp4", size_bytes=SIZE)
    assert (made.part_size_bytes, made.part_count) == (8 << 20, 2)
    return pb.UploadRef(key=key, upload_id=made.upload_id, size_bytes=SIZE, part_size_bytes=PART)


async def send_parts(service: Running, upload: pb.UploadRef, *numbers: int) -> None:
    signed = await service.call("SignParts", upload=upload, part_numbers=numbers)
    assert [part.number for part in signed.parts] == list(numbers)
    for part in signed.parts:
        assert part.size_bytes == len(body_of(part.number))
        status, headers, text = await service.send(part.grant, body_of(part.number))
        assert status == 200, text
        assert headers["etag"].strip('"') == hashlib.md5(body_of(part.number)).hexdigest()


async def refusal(service: Running, method: str, **fields: Any) -> Fault:
    with pytest.raises(Fault) as caught:
        await service.call(method, **fields)
    return caught.value


async def test_an_upload_is_resumed_from_the_stores_list(service: Running) -> None:
    upload = await begin(service)
    await send_parts(service, upload, 3, 1)
    # Here the browser was closed. What it knows comes from the store.
    listed = await service.call("ListParts", upload=upload)
    assert [(part.number, part.size_bytes) for part in listed.parts] == [(1, PART), (3, 1234)]
    assert listed.received_bytes == PART + 1234
    fault = await refusal(service, "CompleteMultipartUpload", upload=upload)
    assert (fault.kind, fault.reason) == (Kind.PRECONDITION, "upload_incomplete")
    assert (fault.metadata["missing"], fault.metadata["missing_count"]) == ("2", "1")
    await send_parts(service, upload, 2)
    done = (await service.call("CompleteMultipartUpload", upload=upload)).object
    assert (done.key, done.size_bytes, done.content_type) == (upload.key, SIZE, "video/mp4")
    # The answer was lost, and the client asks again; and once more.
    for _ in range(2):
        assert (await service.call("CompleteMultipartUpload", upload=upload)).object == done
    wanted = pb.GrantDownloadsRequest.Object(key=upload.key)
    (grant,) = (await service.call("GrantDownloads", objects=[wanted])).grants
    assert hashlib.md5((await service.send(grant))[2]).digest() == hashlib.md5(BODY[:SIZE]).digest()
    await service.call("AbortMultipartUpload", upload=upload)
    assert (await service.call("Stat", key=upload.key)).object == done


async def test_a_part_binds_its_length_and_number(service: Running) -> None:
    upload = await begin(service)
    signed = await service.call("SignParts", upload=upload, part_numbers=[3])
    (part,) = signed.parts
    assert (await service.send(part.grant, body_of(3) + b"x"))[0] == 403
    assert (await service.send(part.grant, body_of(3)[:-1]))[0] == 403
    part.grant.url = part.grant.url.replace("partNumber=3", "partNumber=4")
    assert (await service.send(part.grant, body_of(3)))[0] == 403
    assert not (await service.call("ListParts", upload=upload)).parts
    for number in (0, 4, -1):
        fault = await refusal(service, "SignParts", upload=upload, part_numbers=[number])
        assert fault.reason == "invalid_range"
    await service.call("AbortMultipartUpload", upload=upload)


async def test_an_upload_that_is_gone(service: Running) -> None:
    upload = await begin(service)
    await send_parts(service, upload, 3)
    for _ in range(2):
        await service.call("AbortMultipartUpload", upload=upload)
    for method in ("ListParts", "CompleteMultipartUpload"):
        fault = await refusal(service, method, upload=upload)
        assert (fault.kind, fault.reason) == (Kind.NOT_FOUND, "upload_not_found")
    # An object of another size under the same key is not what this upload would have made.
    await service.put(upload.key, b"short")
    assert (await refusal(service, "CompleteMultipartUpload", upload=upload)).reason == "upload_not_found"


async def test_an_upload_belongs_to_its_key_and_tenant(service: Running) -> None:
    upload = await begin(service)
    other_key = pb.UploadRef(**{**as_fields(upload), "key": "games/other"})
    assert (await refusal(service, "ListParts", upload=other_key)).reason == "upload_not_found"
    assert (await refusal(service, "ListParts", tenant="somebody-else", upload=upload)).reason == "upload_not_found"
    await service.call("AbortMultipartUpload", tenant="somebody-else", upload=upload)
    assert not (await service.call("ListParts", upload=upload)).parts  # it is still there
    await service.call("AbortMultipartUpload", upload=upload)


async def test_sweeping_by_age(service: Running) -> None:
    uploads = [await begin(service, f"games/{number}") for number in range(6)]
    assert (await service.call("SweepUploads", older_than=Duration(seconds=3600))).aborted == 0
    assert (await service.call("SweepUploads", tenant="somebody-else", older_than=Duration())).aborted == 0
    assert not (await service.call("ListParts", upload=uploads[0])).parts
    assert (await service.call("SweepUploads", older_than=Duration())).aborted == 6
    for upload in uploads:
        assert (await refusal(service, "ListParts", upload=upload)).reason == "upload_not_found"


async def test_sweeping_leaves_the_databases_alone(service: Running, object_store: Address) -> None:
    client = client_for(object_store.url, object_store.access_key_id, object_store.secret_access_key)
    key = f"{service.tenant}/db/00000001"
    begun = await asyncio.to_thread(client.create_multipart_upload, Bucket=object_store.bucket, Key=key)
    await begin(service)
    assert (await service.call("SweepUploads", older_than=Duration())).aborted == 1
    await asyncio.to_thread(
        client.abort_multipart_upload, Bucket=object_store.bucket, Key=key, UploadId=begun["UploadId"]
    )


async def test_a_completion_whose_answer_is_lost() -> None:
    """The store does it and the connection breaks: the chassis repeats the call, and the object is answered."""
    with started_store(strict_r2=True, write_interval_s=0.0) as store:
        async with running(Address(store.endpoint, store.bucket, store.access_key, store.secret_key)) as service:
            upload = await begin(service)
            await send_parts(service, upload, 1, 2, 3)
            store.faults.add(stage="after", drop=True, method="POST")
            done = (await service.call("CompleteMultipartUpload", upload=upload)).object
            assert (done.size_bytes, done.content_type) == (SIZE, "video/mp4")


def as_fields(upload: pb.UploadRef) -> dict[str, Any]:
    return {field.name: value for field, value in upload.ListFields()}
