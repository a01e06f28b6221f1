"""The store's port where whole databases are concerned: large objects, overwriting, removing, URLs."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from mmap import mmap
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from dbsync import ledger, sigv4
from dbsync.ledger import LARGE_BYTES, S3Store, Wire
from dbsync.scratch import room
from dbsync.sigv4 import Signer, quoted
from dbsync.slots import Store, Undecided
from tests.dbsync.memory_store import MemoryStore
from tests.fakes.object_store import Fault, ObjectStore

STORES = ("memory", "embedded", "moto")
NOW_S = 1_800_000_123.5


@contextmanager
def s3(store: ObjectStore, spool: Path | None, attempt_s: float = 5.0) -> Iterator[S3Store]:
    """A store over S3 that receives what is large into files."""
    wire = Wire(
        endpoint_url=store.endpoint,
        bucket=store.bucket,
        access_key_id=store.access_key,
        secret_access_key=store.secret_key,
        attempt_s=attempt_s,
        connections=8,
        spool=spool,
    )
    with ThreadPoolExecutor(4) as fetchers:
        yield S3Store(wire, fetchers)
    wire.close()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each implementation of the port."""
    if request.param == "memory":
        yield MemoryStore()
        return
    with s3(request.getfixturevalue(f"{request.param}_bucket"), tmp_path) as real:
        yield real


@pytest.fixture
def real(embedded_bucket: ObjectStore, tmp_path: Path) -> Iterator[S3Store]:
    """S3, as the embedded store speaks it."""
    with s3(embedded_bucket, tmp_path) as made:
        yield made


def large(folder: Path, size_bytes: int) -> mmap:
    """Bytes in a file, no two pages the same."""
    body = room(folder, size_bytes)
    for at in range(0, size_bytes, 4096):
        body[at : at + 8] = at.to_bytes(8, "big")
    return body


@pytest.mark.parametrize("size_bytes", [8192, LARGE_BYTES, LARGE_BYTES + 4096, 3 * LARGE_BYTES + 4096])
def test_there_and_back(store: Store, database: str, tmp_path: Path, size_bytes: int) -> None:
    body = large(tmp_path, size_bytes)
    key = f"{database}/database.sqlite"
    assert store.replace(key, body, {"reel-version": "1"}, None, 5)
    looked, found = store.head(key, 5), store.get(key, 5)
    assert looked is not None and found is not None
    assert (looked.body, looked.size_bytes, found.size_bytes) == (b"", size_bytes, size_bytes)
    assert hashlib.sha256(found.body).digest() == hashlib.sha256(body).digest()
    assert found.metadata == {"reel-version": "1"} and found.etag == looked.etag
    assert store.create(f"{database}/db/x", bytes(body), 5)
    blob, listed = store.get_and_list(key, f"{database}/db/", 5)
    assert blob is not None and len(blob.body) == size_bytes and listed == [f"{database}/db/x"]
    assert not list(tmp_path.iterdir())  # what it was received into has no name


def test_what_is_large_is_not_in_memory(real: S3Store, database: str, tmp_path: Path) -> None:
    body = large(tmp_path, 2 * LARGE_BYTES)
    real.replace(f"{database}/x", body, {}, None, 5)
    found = real.get(f"{database}/x", 5)
    assert found is not None and isinstance(found.body, mmap)


def test_without_a_folder(embedded_bucket: ObjectStore, database: str) -> None:
    with s3(embedded_bucket, None) as store:
        store.create(f"{database}/x", bytes(2 * LARGE_BYTES), 5)
        found = store.get(f"{database}/x", 5)
        assert found is not None and found.body == bytes(2 * LARGE_BYTES)


def test_overwritten(store: Store, database: str) -> None:
    keys = [f"{database}/db/{number}" for number in range(9)]
    for key in keys[::2]:
        store.create(key, b"before", 5)
    store.overwrite({key: key.encode() for key in keys}, {"reel-deleted": "7"}, 5)
    for key in keys:
        found = store.get(key, 5)
        assert found is not None and (found.body, found.metadata) == (key.encode(), {"reel-deleted": "7"})
        assert not store.create(key, b"late", 5)


def test_an_overwrite_that_is_unclear(real: S3Store, embedded_bucket: ObjectStore, database: str) -> None:
    number = embedded_bucket.faults.add(Fault(status=503, key_prefix=f"{database}/db/3", count=1))
    with pytest.raises(Undecided):
        real.overwrite({f"{database}/db/{n}": b"x" for n in range(6)}, {}, 5)
    assert embedded_bucket.faults.struck(number) == 1
    assert len(real.list_keys(f"{database}/db/", "", 5)) == 5


def test_removed(store: Store, database: str) -> None:
    keys = [f"{database}/quarantine/{number}" for number in range(3)]
    for key in keys:
        store.create(key, b"x", 5)
    store.remove([keys[0], keys[2], f"{database}/quarantine/none"], 5)
    assert store.list_keys(f"{database}/", "", 5) == [keys[1]]


def test_a_url(real: S3Store, database: str) -> None:
    key = f"{database}/database.sqlite"
    real.create(key, b"whole", 5)
    url, expires_ms = real.presign(key, "mine.sqlite", 60)
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"whole"
        assert answer.headers["Content-Disposition"].startswith('attachment; filename="mine.sqlite";')
    assert expires_ms > 60_000
    for changed in (url.replace("Expires=60", "Expires=600"), url.replace("mine", "mime"), url[:-1] + "x"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(changed, timeout=10)
        assert caught.value.code == 403


def test_as_botocore_presigns(monkeypatch: pytest.MonkeyPatch) -> None:
    now = datetime.fromtimestamp(NOW_S, UTC).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: now)
    monkeypatch.setattr("dbsync.sigv4.time.time", lambda: NOW_S)
    query = {"response-content-disposition": "attachment; filename=\"a b.sqlite\"; filename*=UTF-8''a%20b.sqlite"}
    path = quoted("/bucket/user-1/database.sqlite")
    mine, expires_ms = Signer("AKID", "secret", host="127.0.0.1:9000", region="auto").presigned(
        path, query, 900, tls=False
    )
    request = AWSRequest("GET", f"http://127.0.0.1:9000{path}", params=dict(query))
    botocore.auth.S3SigV4QueryAuth(Credentials("AKID", "secret"), "s3", "auto", expires=900).add_auth(request)
    theirs = str(request.url)
    assert parse_qs(urlsplit(mine).query) == parse_qs(urlsplit(theirs).query)
    assert mine.split("?")[0] == theirs.split("?")[0] and expires_ms == int((NOW_S + 900) * 1000)


def test_a_url_by_the_stores_clock(
    real: S3Store, embedded_bucket: ObjectStore, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This machine's clock is an hour behind: the URL works all the same, as soon as the store was heard once."""
    key = f"{database}/x"
    real.create(key, b"x", 5)
    behind = SimpleNamespace(time=lambda: time.time() - 3600, monotonic=time.monotonic)
    monkeypatch.setattr(ledger, "time", behind)
    monkeypatch.setattr(sigv4, "time", behind)
    with pytest.raises(Undecided):  # an answer to HEAD does not say why it is refused
        real.head(key, 5)
    assert real.head(key, 5) is not None
    url, _ = real.presign(key, "x", 60)
    monkeypatch.undo()
    with urllib.request.urlopen(url, timeout=10) as answer:
        assert answer.read() == b"x"


@contextmanager
def stingy(body: bytes, pieces: int) -> Iterator[str]:
    """A server that announces a large body and stops after so many bytes, the connection open."""
    stop = threading.Event()

    def serve() -> None:
        connection, _ = listening.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:pieces])
            stop.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            stop.set()
            thread.join()


def test_a_body_that_stops(tmp_path: Path) -> None:
    with stingy(bytes(2 * LARGE_BYTES), LARGE_BYTES) as endpoint:
        cut = ObjectStore(endpoint, "none", "none", "bucket", tmp_path, None)  # type: ignore[arg-type]
        with s3(cut, tmp_path, attempt_s=0.2) as store, pytest.raises(Undecided):
            store.get("user-1/x", 5)


def test_a_body_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However steadily it comes or goes: a large body has an end."""
    monkeypatch.setattr(Wire, "_patience_s", lambda self, size_bytes: -1.0)
    with stingy(bytes(2 * LARGE_BYTES), 2 * LARGE_BYTES) as endpoint:
        slow = ObjectStore(endpoint, "none", "none", "bucket", tmp_path, None)  # type: ignore[arg-type]
        with s3(slow, tmp_path) as store, pytest.raises(Undecided, match="came in time"):
            store.get("user-1/x", 5)
    with stingy(b"", 0) as endpoint:
        slow = ObjectStore(endpoint, "none", "none", "bucket", tmp_path, None)  # type: ignore[arg-type]
        with s3(slow, tmp_path) as store, pytest.raises(Undecided, match="went in time"):
            store.create("user-1/x", bytes(2 * LARGE_BYTES), 5)
