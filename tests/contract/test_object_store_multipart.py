"""The contract of an object store: multipart uploads."""

from __future__ import annotations

import hashlib
import io
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.contract.targets import MIB, Target, fetch, pattern, refusal

PART = 5 * MIB


def test_parts_become_one_object(store: Target) -> None:
    upload_id, parts, whole = store.upload("key", [PART, PART, 1000], ContentType="video/mp4", Metadata={"a": "1"})
    assert store.keys() == []
    etag = store.complete("key", upload_id, parts)
    digests = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    assert etag == f'"{hashlib.md5(digests).hexdigest()}-3"'
    head = store.client.head_object(Bucket=store.bucket, Key="key")
    assert (head["ETag"], head["ContentLength"], head["ContentType"]) == (etag, len(whole), "video/mp4")
    assert head["Metadata"] == {"a": "1"}
    assert store.get("key") == whole
    # A range across the seam of two parts.
    assert store.get("key", Range=f"bytes={PART - 10}-{PART + 9}") == whole[PART - 10 : PART + 10]
    assert store.get("key", Range=f"bytes={PART - 10}-{2 * PART + 9}") == whole[PART - 10 : 2 * PART + 10]


def test_a_completed_upload_is_gone(store: Target) -> None:
    upload_id, parts, _ = store.upload("key", [1000])
    store.complete("key", upload_id, parts)
    for operation in ("complete", "abort", "list", "part"):
        with pytest.raises(ClientError) as gone:
            _try(store, operation, upload_id, parts)
        assert refusal(gone.value) == ("NoSuchUpload", 404), operation


def _try(store: Target, operation: str, upload_id: str, parts: list[dict[str, Any]]) -> None:
    arguments: Any = {"Bucket": store.bucket, "Key": "key", "UploadId": upload_id}
    if operation == "complete":
        store.complete("key", upload_id, parts)
    elif operation == "abort":
        store.client.abort_multipart_upload(**arguments)
    elif operation == "list":
        store.client.list_parts(**arguments)
    else:
        store.upload_part("key", upload_id, 1, b"x")


def test_an_aborted_upload_is_gone(store: Target) -> None:
    upload_id, parts, _ = store.upload("key", [1000])
    store.client.abort_multipart_upload(Bucket=store.bucket, Key="key", UploadId=upload_id)
    with pytest.raises(ClientError) as gone:
        store.complete("key", upload_id, parts)
    assert refusal(gone.value) == ("NoSuchUpload", 404)
    assert store.keys() == []


def test_an_upload_is_of_its_key(store: Target) -> None:
    upload_id, parts, _ = store.upload("key", [1000])
    with pytest.raises(ClientError) as other:
        store.complete("other", upload_id, parts)
    assert refusal(other.value) == ("NoSuchUpload", 404)


def test_parts_are_listed_in_pages(store: Target) -> None:
    upload_id = store.client.create_multipart_upload(Bucket=store.bucket, Key="key")["UploadId"]
    numbers = [1, 2, 3, 5, 8, 13, 21]
    etags = {number: store.upload_part("key", upload_id, number, pattern(number * 10)) for number in reversed(numbers)}
    found: list[tuple[int, str, int]] = []
    marker = 0
    for _ in range(10):
        page = store.client.list_parts(
            Bucket=store.bucket, Key="key", UploadId=upload_id, MaxParts=3, PartNumberMarker=marker
        )
        found += [(part["PartNumber"], part["ETag"], part["Size"]) for part in page.get("Parts", [])]
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
    assert found == [(number, etags[number], number * 10) for number in numbers]


def test_uploads_are_listed(store: Target) -> None:
    ids = {}
    for key in ("b", "a/1", "a/2"):
        ids[key] = store.client.create_multipart_upload(Bucket=store.bucket, Key=key)["UploadId"]
    answer = store.client.list_multipart_uploads(Bucket=store.bucket)
    assert [(entry["Key"], entry["UploadId"]) for entry in answer["Uploads"]] == sorted(ids.items())
    answer = store.client.list_multipart_uploads(Bucket=store.bucket, Prefix="a/")
    assert [entry["Key"] for entry in answer["Uploads"]] == ["a/1", "a/2"]
    store.client.abort_multipart_upload(Bucket=store.bucket, Key="a/1", UploadId=ids["a/1"])
    answer = store.client.list_multipart_uploads(Bucket=store.bucket)
    assert [entry["Key"] for entry in answer["Uploads"]] == ["a/2", "b"]


def test_uploads_are_listed_in_pages(store: Target) -> None:
    wanted = []
    for key in ("a", "a", "b", "c", "c", "c", "d"):
        answer = store.client.create_multipart_upload(Bucket=store.bucket, Key=key)
        wanted.append((key, answer["UploadId"]))
    found: list[tuple[str, str]] = []
    arguments: dict[str, str] = {}
    for _ in range(10):
        page = store.client.list_multipart_uploads(Bucket=store.bucket, MaxUploads=2, **arguments)  # type: ignore[arg-type]
        found += [(entry["Key"], entry["UploadId"]) for entry in page["Uploads"]]
        if not page["IsTruncated"]:
            break
        arguments = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}
    assert sorted(found) == sorted(wanted)
    assert [key for key, _ in found] == [key for key, _ in wanted]


def test_a_part_sent_again_replaces_the_first(store: Target) -> None:
    upload_id, parts, _ = store.upload("key", [PART, 100])
    body = pattern(200, seed=99)
    with_old = [dict(part) for part in parts]
    parts[1]["ETag"] = store.upload_part("key", upload_id, 2, body)
    with pytest.raises(ClientError) as old:
        store.complete("key", upload_id, with_old)
    assert refusal(old.value) == ("InvalidPart", 400)
    store.complete("key", upload_id, parts)
    assert store.get("key", Range="bytes=-200") == body


def test_only_the_named_parts_count(store: Target) -> None:
    upload_id, parts, whole = store.upload("key", [PART, PART, 100])
    store.complete("key", upload_id, [parts[0], parts[2]])
    assert store.get("key") == whole[:PART] + whole[2 * PART :]


def test_parts_that_do_not_fit_are_refused(store: Target) -> None:
    upload_id, parts, _ = store.upload("key", [PART, PART])
    for wrong, code in (
        ([parts[0], {"PartNumber": 3, "ETag": parts[1]["ETag"]}], "InvalidPart"),
        ([parts[0], {"PartNumber": 2, "ETag": f'"{"0" * 32}"'}], "InvalidPart"),
        ([parts[1], parts[0]], "InvalidPartOrder"),
        ([parts[0], parts[0]], "InvalidPartOrder"),
        ([], "MalformedXML"),
    ):
        with pytest.raises(ClientError) as refused:
            store.complete("key", upload_id, wrong)
        assert refusal(refused.value) == (code, 400), wrong
    store.complete("key", upload_id, parts)


def test_a_part_too_small_is_refused(store: Target) -> None:
    upload_id, parts, _ = store.upload("key", [PART - 1, 100])
    with pytest.raises(ClientError) as refused:
        store.complete("key", upload_id, parts)
    assert refusal(refused.value) == ("EntityTooSmall", 400)


def test_part_numbers_have_bounds(store: Target) -> None:
    upload_id, _, _ = store.upload("key", [])
    for number in (0, 10_001):
        with pytest.raises(ClientError) as refused:
            store.upload_part("key", upload_id, number, b"x")
        assert refusal(refused.value) == ("InvalidArgument", 400)


def test_complete_only_if_absent(store: Target) -> None:
    upload_id, parts, whole = store.upload("key", [1000])
    store.put("key", b"in the way")
    with pytest.raises(ClientError) as refused:
        store.complete("key", upload_id, parts, IfNoneMatch="*")
    assert refusal(refused.value) == ("PreconditionFailed", 412)
    assert store.get("key") == b"in the way"
    store.client.delete_object(Bucket=store.bucket, Key="key")
    store.complete("key", upload_id, parts, IfNoneMatch="*")
    assert store.get("key") == whole


def test_complete_only_what_was_seen(store: Target) -> None:
    etag = store.put("key", b"seen")
    upload_id, parts, whole = store.upload("key", [1000])
    with pytest.raises(ClientError) as refused:
        store.complete("key", upload_id, parts, IfMatch='"other"')
    assert refusal(refused.value) == ("PreconditionFailed", 412)
    store.complete("key", upload_id, parts, IfMatch=etag)
    assert store.get("key") == whole


def test_a_copy_of_parts_is_whole(store: Target) -> None:
    upload_id, parts, whole = store.upload("key", [PART, 1000])
    store.complete("key", upload_id, parts)
    store.client.copy_object(Bucket=store.bucket, Key="copy", CopySource={"Bucket": store.bucket, "Key": "key"})
    store.put("key", b"replaced")
    assert store.get("copy") == whole


def test_parts_go_by_presigned_url(store: Target) -> None:
    upload_id = store.client.create_multipart_upload(Bucket=store.bucket, Key="key")["UploadId"]
    bodies = [pattern(PART), pattern(123, seed=1)]
    parts = []
    for number, body in enumerate(bodies, 1):
        url = store.signed("upload_part", "key", UploadId=upload_id, PartNumber=number, ContentLength=len(body))
        answer = fetch("PUT", url, body=body)
        assert answer.status == 200
        parts.append({"PartNumber": number, "ETag": answer.headers["etag"]})
    store.complete("key", upload_id, parts)
    assert store.get("key") == b"".join(bodies)


def test_boto3s_own_transfers_with_its_own_settings(store: Target) -> None:
    """A client with nothing set, as anybody would make it: checksums on everything, parts in threads."""
    client = boto3.session.Session().client(
        "s3",
        endpoint_url=store.endpoint,
        aws_access_key_id=store.access_key,
        aws_secret_access_key=store.secret_key,
        region_name="us-east-1",
    )
    body = pattern(12 * MIB + 77)
    client.upload_fileobj(io.BytesIO(body), store.bucket, "large", ExtraArgs={"ContentType": "video/mp4"})
    client.upload_fileobj(io.BytesIO(body[:1000]), store.bucket, "small")
    for key, expected in (("large", body), ("small", body[:1000])):
        found = io.BytesIO()
        client.download_fileobj(store.bucket, key, found)
        assert found.getvalue() == expected


def test_a_checksum_of_parts(store: Target) -> None:
    answer = store.client.create_multipart_upload(Bucket=store.bucket, Key="key", ChecksumAlgorithm="SHA256")
    parts = []
    for number, body in enumerate((pattern(PART), b"last"), 1):
        sent: Any = store.client.upload_part(
            Bucket=store.bucket,
            Key="key",
            UploadId=answer["UploadId"],
            PartNumber=number,
            Body=body,
            ChecksumAlgorithm="SHA256",
        )
        parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumSHA256": sent["ChecksumSHA256"]})
    store.complete("key", answer["UploadId"], parts)
    head = store.client.head_object(Bucket=store.bucket, Key="key", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"].endswith("-2")
