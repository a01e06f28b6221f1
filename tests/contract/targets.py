"""The object stores that the contract suite runs against, and what a check needs of them."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import aiohttp
from botocore.exceptions import ClientError
from moto.server import ThreadedMotoServer
from yarl import URL

from tests.fakes.object_store import client_for, object_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

MIB = 1024 * 1024
IMPLEMENTATIONS = ("embedded", "moto")

# What moto's server does otherwise, by check, and why ours does not follow it. `test_the_differences_are_real` holds
# each line to the truth: a check that moto passes must not be listed.
MOTO_DIFFERS: Mapping[str, str] = {
    "test_a_range_that_is_none_is_ignored": "takes any unit for bytes",
    "test_a_conditional_get": "does not know If-None-Match: *",
    "test_a_list_of_etags": "compares the whole header with one ETag; RFC 9110 has lists and weak ETags",
    "test_if_range_gives_the_whole_of_another_object": "ignores If-Range, on which a resumed download depends",
    "test_copy_on_conditions": "ignores x-amz-copy-source-if-*",
    "test_a_digest_that_is_not_the_bodys_is_refused": "does not check Content-MD5",
    "test_a_checksum_that_is_not_the_bodys_is_refused": "stores the checksum it is given unchecked",
    "test_a_token_of_nobody_is_refused": "takes any token and begins anew",
    "test_the_first_version_of_a_listing": "does not count common prefixes towards max-keys in version 1",
    "test_a_bucket_with_an_upload_under_way_is_not_empty": "loses the upload with the bucket",
    "test_a_bucket_made_twice_is_one": "answers 200, as S3 does in us-east-1 alone",
    "test_a_preflight_is_answered_without_a_signature": "answers every preflight alike, not by the bucket's rules",
    "test_a_preflight_of_a_stranger_is_refused": "allows every origin, whatever the bucket's rules say",
    "test_a_web_page_may_read_the_etag": "sends no Access-Control-Expose-Headers of the bucket's",
    "test_another_page_may_not": "allows every origin, whatever the bucket's rules say",
    "test_a_completed_upload_is_gone": "completes again, and replaces what was written since",
    "test_an_aborted_upload_is_gone": "answers 500 to a completion after an abort",
    "test_an_upload_is_of_its_key": "completes an upload under the key of the address, not its own",
    "test_parts_are_listed_in_pages": "slices by marker and count as if part numbers had no gaps",
    "test_uploads_are_listed": "lists in the order of creation, S3 in the order of keys",
    "test_parts_that_do_not_fit_are_refused": "has other codes for parts out of order and for none",
    "test_part_numbers_have_bounds": "takes part 0",
    "test_complete_only_what_was_seen": "ignores If-Match on CompleteMultipartUpload",
    "test_a_checksum_of_parts": "answers the checksum of a part for that of the whole",
}


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Target:
    """An object store under test, and a bucket that only this check uses."""

    name: str
    endpoint: str
    access_key: str
    secret_key: str
    client: S3Client = field(repr=False)
    bucket: str = ""

    def fresh(self) -> Target:
        bucket = f"contract-{uuid.uuid4().hex}"
        self.client.create_bucket(Bucket=bucket)
        return replace(self, bucket=bucket)

    def put(self, key: str, body: bytes = b"", **arguments: Any) -> str:
        """PutObject; returns the ETag with its quotes."""
        return self.client.put_object(Bucket=self.bucket, Key=key, Body=body, **arguments)["ETag"]

    def get(self, key: str, **arguments: Any) -> bytes:
        """GetObject; returns the bytes."""
        return self.client.get_object(Bucket=self.bucket, Key=key, **arguments)["Body"].read()

    def keys(self, **arguments: Any) -> list[str]:
        """Every key that ListObjectsV2 names in one page."""
        answer = self.client.list_objects_v2(Bucket=self.bucket, **arguments)
        return [entry["Key"] for entry in answer.get("Contents", [])]

    def signed(self, operation: str, key: str, *, expires_s: int = 900, **parameters: Any) -> str:
        """A presigned URL."""
        arguments = {"Bucket": self.bucket, "Key": key, **parameters}
        return self.client.generate_presigned_url(operation, Params=arguments, ExpiresIn=expires_s)

    def upload(self, key: str, sizes: list[int], **arguments: Any) -> tuple[str, list[dict[str, Any]], bytes]:
        """Begins an upload and sends parts of these sizes; returns its id, the parts to complete with, the bytes."""
        upload_id = self.client.create_multipart_upload(Bucket=self.bucket, Key=key, **arguments)["UploadId"]
        parts, whole = [], b""
        for number, size in enumerate(sizes, 1):
            body = pattern(size, seed=number)
            parts.append({"PartNumber": number, "ETag": self.upload_part(key, upload_id, number, body)})
            whole += body
        return upload_id, parts, whole

    def upload_part(self, key: str, upload_id: str, number: int, body: bytes) -> str:
        answer = self.client.upload_part(Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=body)
        return answer["ETag"]

    def complete(self, key: str, upload_id: str, parts: list[dict[str, Any]], **arguments: Any) -> str:
        """CompleteMultipartUpload; returns the ETag with its quotes."""
        listed: Any = {"Parts": parts}
        return self.client.complete_multipart_upload(
            Bucket=self.bucket, Key=key, UploadId=upload_id, MultipartUpload=listed, **arguments
        )["ETag"]


def fetch(method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> Answer:
    """One plain HTTP request, the address sent exactly as given."""

    async def send() -> Answer:
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
            address = URL(url, encoded=True)
            async with session.request(
                method, address, headers=headers, data=body, skip_auto_headers=("Content-Type",)
            ) as answer:
                found = {name.lower(): value for name, value in answer.headers.items()}
                return Answer(answer.status, found, await answer.read())

    return asyncio.run(send())


def pattern(size: int, seed: int = 0) -> bytes:
    """Bytes that no other seed or offset repeats by chance."""
    block = hashlib.shake_128(seed.to_bytes(8, "big")).digest(min(size, 64 * 1024))
    return (block * (size // max(len(block), 1) + 1))[:size]


def refusal(fault: ClientError) -> tuple[str, int]:
    """The S3 code and the HTTP status of a refusal."""
    return fault.response["Error"]["Code"], fault.response["ResponseMetadata"]["HTTPStatusCode"]


@contextmanager
def embedded() -> Iterator[Target]:
    """Our own store."""
    with object_store() as store:
        yield Target("embedded", store.endpoint, store.access_key, store.secret_key, store.client())


@contextmanager
def moto() -> Iterator[Target]:
    """moto's server: another opinion of S3."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        endpoint = f"http://{host}:{port}"
        client = client_for(endpoint, "testing", "testing-secret", region="us-east-1")
        yield Target("moto", endpoint, "testing", "testing-secret", client)
    finally:
        server.stop()
