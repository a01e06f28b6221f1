"""The store as an HTTP server: 100-continue, unread and endless bodies, error answers, addresses, what it refuses."""

from __future__ import annotations

import logging
import socket
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from botocore.exceptions import ClientError

from objectstore.settings import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY
from tests.contract.signer import presign, sign_headers
from tests.contract.targets import fetch, refusal
from tests.fakes.object_store import BUCKET, ObjectStore


def _presign(method: str, url: str) -> str:
    return presign(method, url, access_key=DEFAULT_ACCESS_KEY, secret_key=DEFAULT_SECRET_KEY)


def _connect(store: ObjectStore) -> socket.socket:
    address = urlsplit(store.endpoint)
    return socket.create_connection((address.hostname or "", address.port or 0), timeout=60)


def _request(method: str, url: str, headers: dict[str, str]) -> bytes:
    address = urlsplit(url)
    named = {"Host": address.netloc, **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"{method} {address.path}?{address.query} HTTP/1.1\r\n{lines}\r\n".encode()


def _head(connection: socket.socket) -> bytes:
    """One answer's head, and not a byte more."""
    found = b""
    while not found.endswith(b"\r\n\r\n"):
        found += connection.recv(1)
        assert found, "the connection was closed"
    return found


def _url(store: ObjectStore, path: str) -> str:
    return f"{store.endpoint}/{path}"


def test_a_body_is_asked_for_after_the_signature_held(store: ObjectStore) -> None:
    url = _presign("PUT", _url(store, f"{BUCKET}/key"))
    with _connect(store) as connection:
        connection.sendall(_request("PUT", url, {"Content-Length": "5", "Expect": "100-continue"}))
        assert _head(connection) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"hello")
        assert _head(connection).startswith(b"HTTP/1.1 200 ")
        # The connection lives on.
        get = _presign("GET", _url(store, f"{BUCKET}/key"))
        connection.sendall(_request("GET", get, {}))
        assert _head(connection).startswith(b"HTTP/1.1 200 ")
        assert connection.recv(100) == b"hello"


@pytest.mark.parametrize("path", [f"{BUCKET}/key", "no-such-bucket-here/key"])
def test_a_refused_body_is_never_asked_for(store: ObjectStore, path: str) -> None:
    url = _presign("PUT", _url(store, path))
    if path.startswith(BUCKET):
        url = url[:-1]
    with _connect(store) as connection:
        connection.sendall(_request("PUT", url, {"Content-Length": "5000000", "Expect": "100-continue"}))
        head = _head(connection)
        assert head.startswith((b"HTTP/1.1 403 ", b"HTTP/1.1 404 "))
        assert b"connection: close" in head.lower()


def test_a_body_that_stalls_is_given_up(impatient: ObjectStore) -> None:
    url = _presign("PUT", _url(impatient, f"{BUCKET}/key"))
    with _connect(impatient) as connection:
        connection.sendall(_request("PUT", url, {"Content-Length": "500000"}) + b"x" * 1000)
        assert _head(connection).startswith(b"HTTP/1.1 400 ")
        assert b"<Code>RequestTimeout</Code>" in connection.recv(1000)
    assert _keys(impatient) == []
    assert not list((impatient.data / "blobs").glob("*/*"))


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: a\r\nX-Slow: "])
def test_a_connection_without_a_request_is_given_up(impatient: ObjectStore, sent: bytes) -> None:
    with _connect(impatient) as connection:
        connection.sendall(sent)
        assert connection.recv(100) == b""


def test_a_client_that_hangs_up_leaves_nothing(store: ObjectStore, caplog: pytest.LogCaptureFixture) -> None:
    url = _presign("PUT", _url(store, f"{BUCKET}/key"))
    for sent in (b"", b"x" * 1000, b"x" * 3_000_000):
        with _connect(store) as connection:
            connection.sendall(_request("PUT", url, {"Content-Length": "5000000"}) + sent)
    _settle(store)
    assert _keys(store) == []
    assert not list((store.data / "blobs").glob("*/*"))
    store.client().put_object(Bucket=BUCKET, Key="large", Body=bytes(20_000_000))
    get = _presign("GET", _url(store, f"{BUCKET}/large"))
    for read in (1, 100_000):
        with _connect(store) as connection:
            connection.sendall(_request("GET", get, {}))
            connection.recv(read)
    store.client().delete_object(Bucket=BUCKET, Key="large")
    _settle(store)
    assert not list((store.data / "blobs").glob("*/*"))
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def _settle(store: ObjectStore) -> None:
    """Until the store has seen that the clients are gone: a larger upload of our own comes after them."""
    client = store.client()
    for _ in range(3000):
        client.put_object(Bucket=BUCKET, Key="settle", Body=b"x" * 100_000)
        client.delete_object(Bucket=BUCKET, Key="settle")
        if not list((store.data / "blobs").glob("*/*")):
            return


def _keys(store: ObjectStore) -> list[str]:
    answer = store.client().list_objects_v2(Bucket=BUCKET)
    return [entry["Key"] for entry in answer.get("Contents", [])]


def test_a_body_without_a_length_is_refused(store: ObjectStore) -> None:
    url = _presign("PUT", _url(store, f"{BUCKET}/key"))
    with _connect(store) as connection:
        connection.sendall(_request("PUT", url, {"Transfer-Encoding": "chunked"}) + b"5\r\nhello\r\n0\r\n\r\n")
        assert _head(connection).startswith(b"HTTP/1.1 411 ")
    assert _keys(store) == []


def test_a_body_too_large_for_one_put_is_refused_unread(store: ObjectStore) -> None:
    url = _presign("PUT", _url(store, f"{BUCKET}/key"))
    with _connect(store) as connection:
        connection.sendall(_request("PUT", url, {"Content-Length": str(5 * 2**30 + 1)}))
        assert _head(connection).startswith(b"HTTP/1.1 400 ")
        assert b"<Code>EntityTooLarge</Code>" in connection.recv(1000)


def test_a_document_too_large_is_refused_unread(store: ObjectStore) -> None:
    url = _presign("POST", _url(store, f"{BUCKET}?delete"))
    with _connect(store) as connection:
        connection.sendall(_request("POST", url, {"Content-Length": str(5 * 2**20)}))
        assert _head(connection).startswith(b"HTTP/1.1 400 ")
        assert b"<Code>MaxMessageLengthExceeded</Code>" in connection.recv(1000)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<Delete>",
        b"<Other/>",
        b"<Delete></Delete>",
        b"<Delete><Object><Key></Key></Object></Delete>",
        b"<Delete>" + b"<a>" * 100 + b"</a>" * 100 + b"</Delete>",
        b'<!DOCTYPE d [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b'<!DOCTYPE d SYSTEM "file:///etc/passwd"><Delete><Object><Key>a</Key></Object></Delete>',
        b"<Delete>" + b"<Object><Key>a</Key></Object>" * 1001 + b"</Delete>",
        b"\xff\xfe<\x00D\x00",
    ],
)
def test_a_hostile_document_is_refused(store: ObjectStore, body: bytes) -> None:
    answer = fetch("POST", _presign("POST", _url(store, f"{BUCKET}?delete")), body=body)
    assert answer.status == 400
    assert b"<Code>MalformedXML</Code>" in answer.body


def test_an_error_answer_has_its_request_id(store: ObjectStore) -> None:
    answer = fetch("GET", _presign("GET", _url(store, f"{BUCKET}/a<b>&c")))
    assert answer.status in (403, 404)
    answer = fetch("GET", _presign("GET", _url(store, f"{BUCKET}/missing%3Ckey%3E")))
    assert (answer.status, answer.headers["content-type"]) == (404, "application/xml")
    request_id = answer.headers["x-amz-request-id"]
    assert f"<RequestId>{request_id}</RequestId>".encode() in answer.body
    assert b"<Resource>/reel-ballers-users/missing%3Ckey%3E</Resource>" in answer.body


def test_an_error_answer_to_head_has_no_body(store: ObjectStore) -> None:
    answer = fetch("HEAD", _presign("HEAD", _url(store, f"{BUCKET}/missing")))
    assert (answer.status, answer.body) == (404, b"")


@pytest.mark.parametrize(
    "name", ["acl", "tagging", "torrent", "versionId=1", "retention", "partNumber=1", "attributes"]
)
def test_a_subresource_is_not_the_object(store: ObjectStore, name: str) -> None:
    store.client().put_object(Bucket=BUCKET, Key="key", Body=b"body")
    for method in ("GET", "PUT", "DELETE"):
        answer = fetch(method, _presign(method, _url(store, f"{BUCKET}/key?{name}")), body=b"x")
        assert answer.status == 501, method
    assert store.client().get_object(Bucket=BUCKET, Key="key")["Body"].read() == b"body"


@pytest.mark.parametrize("name", ["x-amz-tagging", "x-amz-website-redirect-location", "x-amz-object-lock-mode"])
def test_a_header_that_would_be_ignored_is_refused(store: ObjectStore, name: str) -> None:
    url = _url(store, f"{BUCKET}/key")
    headers = sign_headers(
        "PUT",
        url,
        access_key=DEFAULT_ACCESS_KEY,
        secret_key=DEFAULT_SECRET_KEY,
        headers={name: "a=b"},
        body=b"x",
    )
    assert fetch("PUT", url, headers=headers, body=b"x").status == 501


def test_bad_addresses(store: ObjectStore) -> None:
    client = store.client()
    with pytest.raises(ClientError) as long:
        client.put_object(Bucket=BUCKET, Key="k" * 1025, Body=b"")
    assert refusal(long.value) == ("KeyTooLongError", 400)
    for path in (f"{BUCKET}/%ff", f"{BUCKET}/a%00b", "/key"):
        answer = fetch("GET", _presign("GET", _url(store, path)))
        assert answer.status == 400, path
    for bucket in ("ab", "UPPER", "under_score", "a..b"):
        assert fetch("PUT", _presign("PUT", _url(store, bucket))).status == 400, bucket
    assert fetch("PATCH", _presign("PATCH", _url(store, f"{BUCKET}/key"))).status == 405


def test_a_bucket_may_be_in_the_host(store: ObjectStore) -> None:
    store.client().put_object(Bucket=BUCKET, Key="a/b", Body=b"body")
    port = urlsplit(store.endpoint).port
    signed = _presign("GET", f"http://{BUCKET}.localhost:{port}/a/b")
    url = signed.replace(f"{BUCKET}.localhost", "127.0.0.1")
    assert fetch("GET", url, headers={"Host": f"{BUCKET}.localhost:{port}"}).body == b"body"


def test_metadata_has_a_bound(store: ObjectStore) -> None:
    client = store.client()
    client.put_object(Bucket=BUCKET, Key="key", Body=b"", Metadata={"a": "x" * 7000})
    assert client.head_object(Bucket=BUCKET, Key="key")["Metadata"] == {"a": "x" * 7000}
    with pytest.raises(ClientError) as refused:
        client.put_object(Bucket=BUCKET, Key="key", Body=b"", Metadata={"a": "x" * 5000, "b": "x" * 5000})
    assert refusal(refused.value) == ("MetadataTooLarge", 400)


def test_a_header_override_cannot_split_the_answer(store: ObjectStore) -> None:
    store.client().put_object(Bucket=BUCKET, Key="key", Body=b"body")
    override = "response-content-disposition=a%0D%0ASet-Cookie:%20x"
    answer = fetch("GET", _presign("GET", _url(store, f"{BUCKET}/key?{override}")))
    assert answer.status == 400
    assert "set-cookie" not in answer.headers


def test_more_requests_than_allowed_are_told_to_slow_down(store: ObjectStore) -> None:
    store.faults.add(delay_s=0.5, count=None, method="HEAD")
    url = _presign("HEAD", _url(store, f"{BUCKET}/key"))
    with ThreadPoolExecutor(80) as pool:
        statuses = [answer.status for answer in pool.map(lambda _: fetch("HEAD", url), range(80))]
    assert set(statuses) <= {404, 503}
    assert statuses.count(404) >= 64
    assert fetch("HEAD", url).status == 404


def test_health_needs_no_signature(store: ObjectStore) -> None:
    answer = fetch("GET", _url(store, "-/health"))
    assert (answer.status, answer.body) == (200, b'{"status": "ok"}')
