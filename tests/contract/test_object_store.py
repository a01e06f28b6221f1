"""The contract of an object store, held by ours and, as a second opinion, by moto's server: objects one at a time."""

from __future__ import annotations

import hashlib
import inspect
import time
from email.utils import formatdate
from types import ModuleType

import pytest
from botocore.exceptions import ClientError

from tests.contract import test_object_store_buckets, test_object_store_multipart
from tests.contract.targets import MOTO_DIFFERS, Target, fetch, pattern, refusal

ODD_KEYS = (
    "plain",
    "with space",
    "plus+sign",
    "per%20cent",
    "question?mark&amp=1",
    "ünïcödé/日本/🎬.mp4",
    "a//b/./c/../d",
    "trailing/",
    "'quotes\"(and)*~!",
    "hash#tag;semi:colon,comma@at$dollar",
    "k" * 1024,
)


def test_what_was_put_is_got(store: Target) -> None:
    body = pattern(100_000)
    etag = store.put("a/b.bin", body, ContentType="video/mp4", Metadata={"one": "1", "two-words": "zwei"})
    assert etag == f'"{hashlib.md5(body).hexdigest()}"'
    found = store.client.get_object(Bucket=store.bucket, Key="a/b.bin")
    assert found["Body"].read() == body
    assert found["ETag"] == etag
    assert found["ContentLength"] == len(body)
    assert found["ContentType"] == "video/mp4"
    assert found["Metadata"] == {"one": "1", "two-words": "zwei"}
    assert abs(found["LastModified"].timestamp() - time.time()) < 60


def test_head_tells_what_get_would(store: Target) -> None:
    store.put("key", b"12345", ContentType="text/plain", CacheControl="max-age=60", ContentDisposition="inline")
    head = store.client.head_object(Bucket=store.bucket, Key="key")
    got = store.client.get_object(Bucket=store.bucket, Key="key")
    for name in ("ContentLength", "ETag", "ContentType", "CacheControl", "ContentDisposition", "LastModified"):
        assert head[name] == got[name]
    assert head["ContentLength"] == 5


def test_a_stored_encoding_is_told_and_the_bytes_left_alone(store: Target) -> None:
    body = bytes.fromhex("1f8b08000000000002ffcb48cdc9c907008610a63605000000")
    store.put("hello.gz", body, ContentEncoding="gzip")
    answer = fetch("GET", store.signed("get_object", "hello.gz"))
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.body == body


def test_an_empty_object_is_an_object(store: Target) -> None:
    assert store.put("empty") == '"d41d8cd98f00b204e9800998ecf8427e"'
    assert store.get("empty") == b""
    assert store.client.head_object(Bucket=store.bucket, Key="empty")["ContentLength"] == 0


@pytest.mark.parametrize("key", ODD_KEYS)
def test_odd_keys(store: Target, key: str) -> None:
    store.put(key, key.encode())
    assert store.get(key) == key.encode()
    assert store.keys() == [key]
    answer = fetch("GET", store.signed("get_object", key))
    assert (answer.status, answer.body) == (200, key.encode())
    store.client.delete_object(Bucket=store.bucket, Key=key)
    assert store.keys() == []


def test_a_put_replaces(store: Target) -> None:
    store.put("key", pattern(50_000), Metadata={"old": "1"})
    store.put("key", b"new")
    found = store.client.get_object(Bucket=store.bucket, Key="key")
    assert (found["Body"].read(), found["Metadata"]) == (b"new", {})


def test_what_is_not_there(store: Target) -> None:
    with pytest.raises(ClientError) as missing:
        store.get("missing")
    assert refusal(missing.value) == ("NoSuchKey", 404)
    with pytest.raises(ClientError) as head:
        store.client.head_object(Bucket=store.bucket, Key="missing")
    assert refusal(head.value)[1] == 404
    with pytest.raises(ClientError) as bucket:
        store.client.get_object(Bucket="no-such-bucket-here", Key="key")
    assert refusal(bucket.value) == ("NoSuchBucket", 404)
    with pytest.raises(ClientError) as write:
        store.client.put_object(Bucket="no-such-bucket-here", Key="key", Body=b"x")
    assert refusal(write.value) == ("NoSuchBucket", 404)


@pytest.mark.parametrize(
    ("header", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=5-9", 5, 10),
        ("bytes=99990-", 99_990, 100_000),
        ("bytes=-7", 99_993, 100_000),
        ("bytes=-200000", 0, 100_000),
        ("bytes=99990-200000", 99_990, 100_000),
        ("bytes=0-99999", 0, 100_000),
    ],
)
def test_a_range_is_answered_206(store: Target, header: str, start: int, stop: int) -> None:
    body = pattern(100_000)
    store.put("key", body)
    answer = fetch("GET", store.signed("get_object", "key"), headers={"Range": header})
    assert answer.status == 206
    assert answer.body == body[start:stop]
    assert answer.headers["content-range"] == f"bytes {start}-{stop - 1}/100000"
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_beyond_the_end_is_answered_416(store: Target, header: str) -> None:
    store.put("key", pattern(100))
    answer = fetch("GET", store.signed("get_object", "key"), headers={"Range": header})
    assert answer.status == 416
    assert b"<Code>InvalidRange</Code>" in answer.body


def test_a_range_that_is_none_is_ignored(store: Target) -> None:
    store.put("key", b"0123456789")
    for header in ("bytes=5-2", "lines=1-2", "bytes=a-b", "bytes=-", "bytes=0-1,4-5"):
        answer = fetch("GET", store.signed("get_object", "key"), headers={"Range": header})
        assert (answer.status, answer.body) == (200, b"0123456789"), header


def test_a_conditional_get(store: Target) -> None:
    etag = store.put("key", b"body")
    for headers, status in (
        ({"If-None-Match": etag}, 304),
        ({"If-None-Match": '"other"'}, 200),
        ({"If-None-Match": "*"}, 304),
        ({"If-Match": etag}, 200),
        ({"If-Match": '"other"'}, 412),
        ({"If-Modified-Since": formatdate(time.time() + 60, usegmt=True)}, 304),
        ({"If-Modified-Since": formatdate(time.time() - 3600, usegmt=True)}, 200),
        ({"If-Unmodified-Since": formatdate(time.time() - 3600, usegmt=True)}, 412),
        ({"If-Unmodified-Since": formatdate(time.time() + 60, usegmt=True)}, 200),
    ):
        answer = fetch("GET", store.signed("get_object", "key"), headers=headers)
        assert answer.status == status, headers
        assert answer.body == (b"body" if status == 200 else b"") or status == 412


def test_a_list_of_etags(store: Target) -> None:
    etag = store.put("key", b"body")
    answer = fetch("GET", store.signed("get_object", "key"), headers={"If-None-Match": f'"other", W/{etag}'})
    assert answer.status == 304
    answer = fetch("GET", store.signed("get_object", "key"), headers={"If-Match": f'"other", {etag}'})
    assert answer.status == 200


def test_if_range_gives_the_whole_of_another_object(store: Target) -> None:
    etag = store.put("key", b"0123456789")
    url = store.signed("get_object", "key")
    assert fetch("GET", url, headers={"Range": "bytes=0-1", "If-Range": etag}).status == 206
    assert fetch("GET", url, headers={"Range": "bytes=0-1", "If-Range": '"other"'}).status == 200


def test_create_only_if_absent(store: Target) -> None:
    store.put("key", b"first", IfNoneMatch="*")
    with pytest.raises(ClientError) as second:
        store.put("key", b"second", IfNoneMatch="*")
    assert refusal(second.value) == ("PreconditionFailed", 412)
    assert store.get("key") == b"first"
    store.client.delete_object(Bucket=store.bucket, Key="key")
    store.put("key", b"third", IfNoneMatch="*")
    assert store.get("key") == b"third"


def test_replace_only_what_was_seen(store: Target) -> None:
    first = store.put("key", b"first")
    second = store.put("key", b"second", IfMatch=first)
    with pytest.raises(ClientError) as stale:
        store.put("key", b"third", IfMatch=first)
    assert refusal(stale.value) == ("PreconditionFailed", 412)
    assert store.get("key") == b"second"
    store.put("key", b"fourth", IfMatch=second)
    with pytest.raises(ClientError) as missing:
        store.put("missing", b"x", IfMatch=first)
    assert refusal(missing.value) == ("NoSuchKey", 404)


def test_delete(store: Target) -> None:
    store.put("key", pattern(50_000))
    store.client.delete_object(Bucket=store.bucket, Key="key")
    store.client.delete_object(Bucket=store.bucket, Key="key")
    with pytest.raises(ClientError):
        store.get("key")


def test_delete_many(store: Target) -> None:
    for number in range(5):
        store.put(f"k{number}", b"x")
    objects = {"Objects": [{"Key": "k1"}, {"Key": "k3"}, {"Key": "missing"}]}
    answer = store.client.delete_objects(Bucket=store.bucket, Delete=objects)  # type: ignore[arg-type]
    assert {entry["Key"] for entry in answer["Deleted"]} == {"k1", "k3", "missing"}
    assert not answer.get("Errors")
    assert store.keys() == ["k0", "k2", "k4"]


def test_copy(store: Target) -> None:
    body = pattern(60_000)
    etag = store.put("from", body, ContentType="video/mp4", Metadata={"a": "1"})
    source = {"Bucket": store.bucket, "Key": "from"}
    answer = store.client.copy_object(Bucket=store.bucket, Key="to", CopySource=source)  # type: ignore[arg-type]
    assert answer["CopyObjectResult"]["ETag"] == etag
    store.client.delete_object(Bucket=store.bucket, Key="from")
    found = store.client.get_object(Bucket=store.bucket, Key="to")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (body, "video/mp4", {"a": "1"})


def test_copy_with_other_metadata(store: Target) -> None:
    store.put("odd key+ü", b"small", ContentType="video/mp4", Metadata={"a": "1"})
    store.client.copy_object(
        Bucket=store.bucket,
        Key="to",
        CopySource={"Bucket": store.bucket, "Key": "odd key+ü"},
        MetadataDirective="REPLACE",
        ContentType="text/plain",
        Metadata={"b": "2"},
    )
    found = store.client.get_object(Bucket=store.bucket, Key="to")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (b"small", "text/plain", {"b": "2"})
    with pytest.raises(ClientError) as itself:
        store.client.copy_object(Bucket=store.bucket, Key="to", CopySource={"Bucket": store.bucket, "Key": "to"})
    assert refusal(itself.value) == ("InvalidRequest", 400)


def test_copy_on_conditions(store: Target) -> None:
    etag = store.put("from", b"body")
    source = {"Bucket": store.bucket, "Key": "from"}
    for arguments in ({"CopySourceIfMatch": '"other"'}, {"CopySourceIfNoneMatch": etag}):
        with pytest.raises(ClientError) as refused:
            store.client.copy_object(Bucket=store.bucket, Key="to", CopySource=source, **arguments)  # type: ignore[arg-type]
        assert refusal(refused.value) == ("PreconditionFailed", 412)
    store.client.copy_object(Bucket=store.bucket, Key="to", CopySource=source, CopySourceIfMatch=etag)  # type: ignore[arg-type]
    with pytest.raises(ClientError) as missing:
        store.client.copy_object(Bucket=store.bucket, Key="to", CopySource={"Bucket": store.bucket, "Key": "none"})
    assert refusal(missing.value) == ("NoSuchKey", 404)


def test_a_presigned_get_names_the_download(store: Target) -> None:
    store.put("key", b"video", ContentType="application/octet-stream")
    url = store.signed(
        "get_object",
        "key",
        ResponseContentDisposition="attachment; filename=\"reel 1.mp4\"; filename*=UTF-8''r%C3%A9el+1.mp4",
        ResponseContentType="video/mp4",
    )
    answer = fetch("GET", url)
    assert answer.headers["content-disposition"] == (
        "attachment; filename=\"reel 1.mp4\"; filename*=UTF-8''r%C3%A9el+1.mp4"
    )
    assert answer.headers["content-type"] == "video/mp4"


def test_a_presigned_put(store: Target) -> None:
    url = store.signed("put_object", "key", ContentType="video/mp4")
    answer = fetch("PUT", url, headers={"Content-Type": "video/mp4"}, body=b"video")
    assert answer.status == 200
    assert answer.headers["etag"] == f'"{hashlib.md5(b"video").hexdigest()}"'
    assert store.client.head_object(Bucket=store.bucket, Key="key")["ContentType"] == "video/mp4"


def test_a_digest_that_is_not_the_bodys_is_refused(store: Target) -> None:
    with pytest.raises(ClientError) as refused:
        store.put("key", b"body", ContentMD5="1B2M2Y8AsgTpgAmY7PhCfg==")
    assert refusal(refused.value) == ("BadDigest", 400)
    assert store.keys() == []


@pytest.mark.parametrize("algorithm", ["CRC32", "SHA1", "SHA256"])
def test_a_checksum_is_kept(store: Target, algorithm: str) -> None:
    put = store.client.put_object(
        Bucket=store.bucket,
        Key="key",
        Body=b"body",
        ChecksumAlgorithm=algorithm,  # type: ignore[arg-type]
    )
    head = store.client.head_object(Bucket=store.bucket, Key="key", ChecksumMode="ENABLED")
    assert put[f"Checksum{algorithm}"] == head[f"Checksum{algorithm}"]  # type: ignore[literal-required]


def test_a_checksum_that_is_not_the_bodys_is_refused(store: Target) -> None:
    with pytest.raises(ClientError) as refused:
        store.put("key", b"body", ChecksumCRC32="AAAAAA==")
    assert refusal(refused.value)[1] == 400
    assert store.keys() == []


def _checks() -> dict[str, object]:
    modules: tuple[ModuleType, ...] = (
        inspect.getmodule(_checks),  # type: ignore[assignment]
        test_object_store_buckets,
        test_object_store_multipart,
    )
    return {
        name: check
        for module in modules
        for name, check in vars(module).items()
        if name.startswith("test_") and callable(check) and list(inspect.signature(check).parameters) == ["store"]
    }


@pytest.mark.parametrize("name", sorted(MOTO_DIFFERS))
def test_the_differences_are_real(moto_store: Target, name: str) -> None:
    check = _checks()[name]
    with pytest.raises((AssertionError, ClientError, KeyError, pytest.fail.Exception)):
        check(moto_store.fresh())  # type: ignore[operator]
