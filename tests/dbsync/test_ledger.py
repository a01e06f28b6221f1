"""The store's port, held by the fake and by S3 alike; then what only a network can do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from dbsync.ledger import S3Store, Wire
from dbsync.slots import LIST_PAGE, Hopeless, Store, Undecided, slot_key
from tests.dbsync.conftest import STORES
from tests.dbsync.memory_store import MemoryStore
from tests.fakes.object_store import Fault, ObjectStore


@contextmanager
def s3(
    endpoint: str, bucket: str, access_key: str = "none", secret_key: str = "none", attempt_s: float = 5.0
) -> Iterator[S3Store]:
    """A store over S3."""
    wire = Wire(
        endpoint_url=endpoint,
        bucket=bucket,
        access_key_id=access_key,
        secret_access_key=secret_key,
        attempt_s=attempt_s,
        connections=40,
    )
    with ThreadPoolExecutor(8) as fetchers:
        yield S3Store(wire, fetchers)
    wire.close()


@pytest.fixture
def real(bucket: ObjectStore) -> Iterator[S3Store]:
    """S3, as a store speaks it."""
    with s3(bucket.endpoint, bucket.bucket, bucket.access_key, bucket.secret_key) as store:
        yield store


@pytest.fixture(params=["memory", *STORES])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """Each implementation of the port."""
    if request.param == "memory":
        yield MemoryStore()
        return
    found: ObjectStore = request.getfixturevalue(f"{request.param}_bucket")
    with s3(found.endpoint, found.bucket, found.access_key, found.secret_key) as real:
        yield real


def test_created_once(store: Store, database: str) -> None:
    key = slot_key(database, 1)
    assert store.get(key, 5) is None and store.head(key, 5) is None
    assert store.create(key, b"first", 5)
    assert not store.create(key, b"second", 5)
    found = store.get(key, 5)
    assert found is not None and found.body == b"first" and found.etag
    looked = store.head(key, 5)
    assert looked is not None and looked.body == b"" and looked.etag == found.etag


def test_one_of_many_creates(store: Store, database: str) -> None:
    won: list[int] = []

    def race(number: int) -> None:
        try:
            if store.create(slot_key(database, 1), b"%d" % number, 5):
                won.append(number)
        except Undecided:
            return

    threads = [threading.Thread(target=race, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = store.get(slot_key(database, 1), 5)
    assert found is not None and len(won) <= 1 and (not won or found.body == b"%d" % won[0])


def test_replaced_when_unchanged(store: Store, database: str) -> None:
    key = f"{database}/database.sqlite"
    assert store.replace(key, b"one", {"reel-version": "1"}, None, 5)
    assert not store.replace(key, b"other", {}, None, 5)
    seen = store.head(key, 5)
    assert seen is not None and seen.metadata == {"reel-version": "1"}
    assert store.replace(key, b"two", {"reel-version": "2"}, seen.etag, 5)
    assert not store.replace(key, b"late", {"reel-version": "1"}, seen.etag, 5)
    found = store.get(key, 5)
    assert found is not None and (found.body, found.metadata) == (b"two", {"reel-version": "2"})


def test_many_beside_each_other(store: Store, database: str) -> None:
    keys = [slot_key(database, version) for version in range(1, 30)]
    for key in keys[::2]:
        store.create(key, key.encode(), 5)
    found = store.get_many(keys, 5)
    assert [blob.body if blob else None for blob in found] == [
        key.encode() if place % 2 == 0 else None for place, key in enumerate(keys)
    ]
    blob, listed = store.get_and_list(keys[0], f"{database}/db/", 5)
    assert blob is not None and listed == sorted(keys[::2])


def test_listing_in_pages(store: Store, database: str) -> None:
    count = LIST_PAGE + 20 if isinstance(store, MemoryStore) else 25
    for version in range(1, count + 1):
        store.create(slot_key(database, version), b"", 5)
    store.create(f"{database}-other/db/x", b"", 5)
    store.create(f"{database}/db/odd & <name>" if isinstance(store, MemoryStore) else f"{database}/db/odd", b"", 5)
    first = store.list_keys(f"{database}/db/", "", 5)
    assert first == sorted(first) and first[0] == slot_key(database, count) and len(first) <= LIST_PAGE
    rest = store.list_keys(f"{database}/db/", slot_key(database, 3), 5)
    assert rest[:2] == [slot_key(database, 2), slot_key(database, 1)]
    assert store.list_keys(f"{database}/db/", f"{database}/db/z", 5) == []


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_unclear_status(real: S3Store, bucket: ObjectStore, database: str, status: int) -> None:
    number = bucket.faults.add(Fault(status=status, key_prefix=database, count=None))
    key = slot_key(database, 1)
    for ask in (lambda: real.create(key, b"x", 5), lambda: real.get(key, 5), lambda: real.head(key, 5)):
        with pytest.raises(Undecided) as caught:
            ask()
        assert not isinstance(caught.value, Hopeless)
    bucket.faults.remove(number)
    assert real.get(key, 5) is None


def test_an_answer_that_is_lost(real: S3Store, bucket: ObjectStore, database: str) -> None:
    key = slot_key(database, 1)
    number = bucket.faults.add(Fault(stage="after", drop=True, method="PUT", key_prefix=database))
    with pytest.raises(Undecided):
        real.create(key, b"x", 5)
    assert bucket.faults.struck(number) == 1  # sent once: nobody below sent it again
    assert not real.create(key, b"x", 5)


def test_a_silent_store(bucket: ObjectStore, database: str) -> None:
    number = bucket.faults.add(Fault(delay_s=2.0, method="PUT", key_prefix=database))
    credentials = (bucket.access_key, bucket.secret_key)
    with (
        s3(bucket.endpoint, bucket.bucket, *credentials, attempt_s=0.2) as store,
        pytest.raises(Undecided, match="Timeout"),
    ):
        store.create(slot_key(database, 1), b"x", 0.2)
    bucket.faults.remove(number)


def test_wrong_credentials(bucket: ObjectStore, database: str) -> None:
    with s3(bucket.endpoint, bucket.bucket, bucket.access_key, "wrong" * 8) as store, pytest.raises(Hopeless):
        store.get(slot_key(database, 1), 5)
    with (
        s3(bucket.endpoint, "no-such-bucket", bucket.access_key, bucket.secret_key) as store,
        pytest.raises(Hopeless, match="NoSuchBucket"),
    ):
        store.get(slot_key(database, 1), 5)


def test_a_clock_that_is_wrong(bucket: ObjectStore, database: str) -> None:
    """After a suspend: refused once, then signed with the store's time; and again when the clock is right again."""
    with s3(bucket.endpoint, bucket.bucket, bucket.access_key, bucket.secret_key) as store:
        store._wire.signer.ahead_s = 7200.0
        with pytest.raises(Undecided, match="RequestTimeTooSkewed"):
            store.create(slot_key(database, 1), b"x", 5)
        assert store.create(slot_key(database, 1), b"x", 5)
        assert abs(store._wire.signer.ahead_s) < 5


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with s3(endpoint, "b", attempt_s=0.5) as store, pytest.raises(Undecided):
            store.get("x", 1)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nETag: x\r\n\r\ncut short",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\nContent-Length: 0\r\n\r\n",
        b"not http at all\r\n\r\n",
        b"",
    ],
)
def test_an_answer_that_is_none(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        with s3(endpoint, "b", attempt_s=2) as store, pytest.raises(Undecided):
            store.get("x", 2)
        thread.join()
