"""Faults on demand and R2's own rules, seen by a client."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from botocore.exceptions import BotoCoreError, ClientError, ReadTimeoutError

from objectstore.faults import Fault
from tests.contract.targets import fetch, refusal
from tests.fakes.object_store import BUCKET, ObjectStore, object_store


def _put(store: ObjectStore, key: str, body: bytes = b"x") -> None:
    store.client().put_object(Bucket=BUCKET, Key=key, Body=body)


def _exists(store: ObjectStore, key: str) -> bool:
    return store.client().list_objects_v2(Bucket=BUCKET, Prefix=key)["KeyCount"] == 1


@pytest.mark.parametrize(("status", "code"), [(429, "TooManyRequests"), (500, "InternalError"), (503, "SlowDown")])
def test_a_refusal_by_prefix_and_count(store: ObjectStore, status: int, code: str) -> None:
    number = store.faults.add(Fault(status=status, key_prefix="a/", method="PUT", count=2))
    _put(store, "b/1")
    for _ in range(2):
        with pytest.raises(ClientError) as refused:
            _put(store, "a/1")
        assert refusal(refused.value) == (code, status)
    assert not _exists(store, "a/1")
    _put(store, "a/1")
    assert _exists(store, "a/1")
    assert store.faults.struck(number) == 2


def test_a_refusal_after_the_write_took_place(store: ObjectStore) -> None:
    store.faults.add(stage="after", status=500, method="PUT")
    with pytest.raises(ClientError) as refused:
        _put(store, "key")
    assert refusal(refused.value)[1] == 500
    assert _exists(store, "key")


@pytest.mark.parametrize("body", [b"small", b"x" * 1_000_000])
def test_an_answer_lost_after_the_write_took_place(store: ObjectStore, body: bytes) -> None:
    store.faults.add(stage="after", drop=True, method="PUT")
    with pytest.raises(BotoCoreError):
        _put(store, "key", body)
    assert store.client().get_object(Bucket=BUCKET, Key="key")["Body"].read() == body


@pytest.mark.parametrize("size", [5, 1_000_000])
def test_an_answer_to_a_read_lost(store: ObjectStore, size: int) -> None:
    _put(store, "key", b"x" * size)
    store.faults.add(stage="after", drop=True, method="GET")
    with pytest.raises(BotoCoreError):
        store.client().get_object(Bucket=BUCKET, Key="key")
    assert len(store.client().get_object(Bucket=BUCKET, Key="key")["Body"].read()) == size


def test_a_request_lost_before_the_write(store: ObjectStore) -> None:
    store.faults.add(stage="before", drop=True, method="PUT")
    with pytest.raises(BotoCoreError):
        _put(store, "key")
    assert not _exists(store, "key")


def test_a_write_that_comes_late(store: ObjectStore) -> None:
    """The client is cut off at once; its write still lands, after another's."""
    client = store.client()
    store.faults.add(stage="commit", drop=True, delay_s=1.5, method="PUT", key_prefix="key")
    with pytest.raises(BotoCoreError):
        client.put_object(Bucket=BUCKET, Key="key", Body=b"late")
    client.put_object(Bucket=BUCKET, Key="key", Body=b"other")
    deadline_s = time.monotonic() + 60
    while client.get_object(Bucket=BUCKET, Key="key")["Body"].read() != b"late":
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


def test_a_late_conditional_write_loses(store: ObjectStore) -> None:
    client = store.client()
    store.faults.add(stage="commit", drop=True, delay_s=1.5, method="PUT", key_prefix="key")
    with pytest.raises(BotoCoreError):
        client.put_object(Bucket=BUCKET, Key="key", Body=b"late", IfNoneMatch="*")
    client.put_object(Bucket=BUCKET, Key="key", Body=b"first", IfNoneMatch="*")
    time.sleep(1.7)
    assert client.get_object(Bucket=BUCKET, Key="key")["Body"].read() == b"first"


def test_a_delay_for_all(store: ObjectStore) -> None:
    """Longer than its clients wait: they give up, and are answered when it is gone."""
    number = store.delay(1.0)
    hasty, patient = store.client(timeout_s=0.3), store.client()
    for attempt in (hasty.list_objects_v2, hasty.head_bucket):
        with pytest.raises(ReadTimeoutError):
            attempt(Bucket=BUCKET)
    store.faults.remove(number)
    assert patient.list_objects_v2(Bucket=BUCKET)["KeyCount"] == 0


def test_the_first_ones_left_alone(store: ObjectStore) -> None:
    store.faults.add(status=503, method="PUT", skip=2)
    _put(store, "1")
    _put(store, "2")
    with pytest.raises(ClientError):
        _put(store, "3")
    _put(store, "3")


def test_a_delay_and_a_refusal_together(store: ObjectStore) -> None:
    store.delay(1.0, method="GET")
    store.faults.add(status=429, method="GET", count=2)
    with pytest.raises(ReadTimeoutError):  # the refusal comes after the delay
        store.client(timeout_s=0.3).list_objects_v2(Bucket=BUCKET)
    with pytest.raises(ClientError) as refused:
        store.client().list_objects_v2(Bucket=BUCKET)
    assert refusal(refused.value)[1] == 429


@pytest.mark.parametrize(
    "fields",
    [
        {"stage": "never"},
        {"status": 404},
        {"status": 500, "drop": True},
        {"delay_s": -1},
        {"skip": -1},
        {"count": 0},
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must|not both"):
        Fault(**fields)  # type: ignore[arg-type]


def test_faults_by_the_admin_route(store: ObjectStore) -> None:
    url = f"{store.endpoint}/-/faults"
    as_json = {"Content-Type": "application/json"}
    answer = fetch("POST", url, headers=as_json, body=json.dumps({"status": 429, "key_prefix": "a"}).encode())
    assert answer.status == 201
    assert json.loads(fetch("GET", url).body)[0]["status"] == 429
    with pytest.raises(ClientError):
        _put(store, "a")
    for headers, body, status in (
        (as_json, b"not json", 400),
        (as_json, b'{"other": 1}', 400),
        (as_json, b'{"status": 418}', 400),
        ({"Content-Type": "text/plain"}, b"{}", 405),
    ):
        assert fetch("POST", url, headers=headers, body=body).status == status
    assert fetch("DELETE", url).status == 204
    assert json.loads(fetch("GET", url).body) == []


def test_no_admin_route_unless_asked_for(tmp_path: Path) -> None:
    with object_store(tmp_path / "data", fault_injection=False) as store:
        for method in ("GET", "POST", "DELETE"):
            assert fetch(method, f"{store.endpoint}/-/faults").status == 404


def test_strict_r2_takes_one_write_a_second_per_key(strict: ObjectStore) -> None:
    client = strict.client()
    client.put_object(Bucket=BUCKET, Key="key", Body=b"1")
    for write in (
        lambda: client.put_object(Bucket=BUCKET, Key="key", Body=b"2"),
        lambda: client.delete_object(Bucket=BUCKET, Key="key"),
        lambda: client.copy_object(Bucket=BUCKET, Key="key", CopySource={"Bucket": BUCKET, "Key": "other"}),
    ):
        with pytest.raises(ClientError) as refused:
            write()
        assert refusal(refused.value) == ("TooManyRequests", 429)
    client.put_object(Bucket=BUCKET, Key="other", Body=b"1")
    assert client.get_object(Bucket=BUCKET, Key="key")["Body"].read() == b"1"


def test_strict_r2_takes_the_next_write_a_second_later(tmp_path: Path) -> None:
    with object_store(tmp_path / "data", strict_r2=True, write_interval_s=0.05) as store:
        for body in (b"1", b"2"):
            _put(store, "key", body)
            assert store.client().get_object(Bucket=BUCKET, Key="key")["Body"].read() == body
            time.sleep(0.06)


def test_strict_r2_answers_412_for_if_match_of_nothing(strict: ObjectStore) -> None:
    with pytest.raises(ClientError) as refused:
        strict.client().put_object(Bucket=BUCKET, Key="missing", Body=b"x", IfMatch='"abc"')
    assert refusal(refused.value) == ("PreconditionFailed", 412)


@pytest.mark.parametrize(
    ("sizes", "taken"),
    [([10, 10, 3], True), ([10, 10, 10], True), ([10, 9, 3], False), ([10, 10, 11], False), ([7], True)],
)
def test_strict_r2_wants_parts_of_one_size(strict: ObjectStore, sizes: list[int], taken: bool) -> None:
    client = strict.client()
    upload_id = client.create_multipart_upload(Bucket=BUCKET, Key="key")["UploadId"]
    parts = []
    for number, size in enumerate(sizes, 1):
        sent = client.upload_part(Bucket=BUCKET, Key="key", UploadId=upload_id, PartNumber=number, Body=b"x" * size)
        parts.append({"PartNumber": number, "ETag": sent["ETag"]})
    listed = {"Parts": parts}
    if taken:
        client.complete_multipart_upload(Bucket=BUCKET, Key="key", UploadId=upload_id, MultipartUpload=listed)  # type: ignore[arg-type]
        assert client.head_object(Bucket=BUCKET, Key="key")["ContentLength"] == sum(sizes)
    else:
        with pytest.raises(ClientError) as refused:
            client.complete_multipart_upload(Bucket=BUCKET, Key="key", UploadId=upload_id, MultipartUpload=listed)  # type: ignore[arg-type]
        assert refusal(refused.value) == ("InvalidPart", 400)
