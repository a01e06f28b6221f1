"""kill -9 of the real process: what was acknowledged is there and whole; of anything else, nothing half is seen."""

from __future__ import annotations

import hashlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.contract.targets import MIB, pattern
from tests.fakes.object_store import BUCKET, StoreProcess, object_store_process

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WRITERS = 6
SIZES = (10, 5_000, 20_000, 400_000)


@dataclass
class _Journal:
    """What was acknowledged: key to the last sequence number; and the numbers begun."""

    acknowledged: dict[str, int] = field(default_factory=dict)
    begun: dict[str, int] = field(default_factory=dict)
    count: int = 0


def _body(key: str, number: int) -> bytes:
    """The sequence number, its digest's input and a filling that only this write has."""
    size = SIZES[(len(key) + number) % len(SIZES)]
    seed = int.from_bytes(hashlib.sha256(f"{key} {number}".encode()).digest()[:6], "big")
    return f"{number:08d}".encode() + pattern(size, seed)


def _write(client: S3Client, writer: int, journal: _Journal, stop: threading.Event) -> None:
    number = 0
    while not stop.is_set():
        number += 1
        key = f"w{writer}/{number % 7}"
        journal.begun[key] = number
        try:
            client.put_object(Bucket=BUCKET, Key=key, Body=_body(key, number))
        except (BotoCoreError, ClientError):
            return
        journal.acknowledged[key] = number
        journal.count += 1


def _storm(store: StoreProcess, writes: int) -> _Journal:
    """Writers overwrite their keys until so many writes were acknowledged; then the process is killed under them."""
    journals = [_Journal() for _ in range(WRITERS)]
    stop = threading.Event()
    client = store.client()
    with ThreadPoolExecutor(WRITERS) as pool:
        for writer, journal in enumerate(journals):
            pool.submit(_write, client, writer, journal, stop)
        deadline_s = time.monotonic() + 60
        while sum(journal.count for journal in journals) < writes and time.monotonic() < deadline_s:
            time.sleep(0.005)
        store.kill()
        stop.set()
    whole = _Journal()
    for journal in journals:
        whole.acknowledged |= journal.acknowledged
        whole.begun |= journal.begun
    return whole


def _check_and_clear(store: StoreProcess, journal: _Journal) -> None:
    client = store.client()
    found = {}
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="w"):
        for entry in page.get("Contents", []):
            answer = client.get_object(Bucket=BUCKET, Key=entry["Key"])
            body = answer["Body"].read()
            number = int(body[:8])
            assert body == _body(entry["Key"], number)
            assert answer["ETag"] == entry["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
            found[entry["Key"]] = number
    for key, number in journal.acknowledged.items():
        assert number <= found[key] <= journal.begun[key]
    assert set(found) <= set(journal.begun)
    for key in found:
        client.delete_object(Bucket=BUCKET, Key=key)


def _blobs(data: Path) -> set[str]:
    return {path.name for path in (data / "blobs").glob("*/*")}


@pytest.mark.parametrize("fsync", ["true", "false"])
def test_acknowledged_writes_survive_kill_9(tmp_path: Path, fsync: str) -> None:
    data = tmp_path / "data"
    journal = _Journal()
    for writes in (60, 91):
        with object_store_process(data, OBJECTSTORE_FSYNC=fsync) as store:
            if journal.begun:
                _check_and_clear(store, journal)
            journal = _storm(store, writes)
            assert len(journal.acknowledged) >= WRITERS
    with object_store_process(data, OBJECTSTORE_FSYNC=fsync) as store:
        _check_and_clear(store, journal)
        # Nothing is left of what was never acknowledged, nor of what was replaced.
        assert _blobs(data) == set()


def test_an_upload_goes_on_after_kill_9(tmp_path: Path) -> None:
    data = tmp_path / "data"
    bodies = [pattern(5 * MIB, seed=number) for number in range(3)] + [b"last"]
    with object_store_process(data) as store:
        client = store.client()
        upload_id = client.create_multipart_upload(Bucket=BUCKET, Key="key", ContentType="video/mp4")["UploadId"]
        for number in (1, 3):
            client.upload_part(Bucket=BUCKET, Key="key", UploadId=upload_id, PartNumber=number, Body=bodies[number - 1])
        with ThreadPoolExecutor(1) as pool:
            cut = pool.submit(_send_part, client, upload_id, bodies[1])
            time.sleep(0.02)
            store.kill()
            finished = cut.result(timeout=60)
    with object_store_process(data) as store:
        client = store.client()
        listed = client.list_parts(Bucket=BUCKET, Key="key", UploadId=upload_id)["Parts"]
        numbers = [part["PartNumber"] for part in listed]
        assert set(numbers) - {2} == {1, 3}
        assert 2 in numbers or not finished
        for part in listed:
            assert part["ETag"] == f'"{hashlib.md5(bodies[part["PartNumber"] - 1]).hexdigest()}"'
        for number in (2, 4):
            client.upload_part(Bucket=BUCKET, Key="key", UploadId=upload_id, PartNumber=number, Body=bodies[number - 1])
        listed = client.list_parts(Bucket=BUCKET, Key="key", UploadId=upload_id)["Parts"]
        client.complete_multipart_upload(
            Bucket=BUCKET,
            Key="key",
            UploadId=upload_id,
            MultipartUpload={"Parts": [{"PartNumber": p["PartNumber"], "ETag": p["ETag"]} for p in listed]},
        )
        store.kill()
    with object_store_process(data) as store:
        found = store.client().get_object(Bucket=BUCKET, Key="key")
        assert found["Body"].read() == b"".join(bodies)
        assert found["ContentType"] == "video/mp4"
        assert len(_blobs(data)) == 4


def _send_part(client: S3Client, upload_id: str, body: bytes) -> bool:
    try:
        client.upload_part(Bucket=BUCKET, Key="key", UploadId=upload_id, PartNumber=2, Body=body)
    except (BotoCoreError, ClientError):
        return False
    return True


def test_what_a_crash_leaves_is_swept(tmp_path: Path) -> None:
    """A blob whose object was never committed, as a crash between the two leaves it."""
    data = tmp_path / "data"
    with object_store_process(data) as store:
        store.client().put_object(Bucket=BUCKET, Key="key", Body=pattern(100_000))
        store.kill()
    kept = _blobs(data)
    (data / "blobs" / "00" / "00ff").write_bytes(b"half")
    with object_store_process(data) as store:
        assert _blobs(data) == kept
        assert store.client().get_object(Bucket=BUCKET, Key="key")["Body"].read() == pattern(100_000)


def test_a_stop_is_clean(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with object_store_process(data) as store:
        client = store.client()
        client.put_object(Bucket=BUCKET, Key="key", Body=b"body")
        client.put_bucket_cors(
            Bucket=BUCKET,
            CORSConfiguration={"CORSRules": [{"AllowedOrigins": ["https://a.example"], "AllowedMethods": ["GET"]}]},
        )
        store.process.send_signal(signal.SIGTERM)
        assert store.process.wait(timeout=60) == 0
    # A clean stop leaves no journal to recover from.
    assert not (data / "index.sqlite-wal").exists()
    with object_store_process(data) as store:
        client = store.client()
        assert client.get_object(Bucket=BUCKET, Key="key")["Body"].read() == b"body"
        assert client.get_bucket_cors(Bucket=BUCKET)["CORSRules"][0]["AllowedOrigins"] == ["https://a.example"]
