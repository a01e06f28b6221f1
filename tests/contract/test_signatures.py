"""Signatures over HTTP: what boto3 signs is taken; what was changed on the way is refused and leaves no trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from botocore.exceptions import ClientError

from objectstore.server import in_thread
from objectstore.settings import Settings
from tests.contract.signer import sign_headers
from tests.contract.targets import Answer, Target, fetch, refusal
from tests.fakes.object_store import BUCKET, client_for

BODY = b"0123456789"
TYPE = {"Content-Type": "video/mp4"}
Change = Callable[[str], str]


def _put_url(ours: Target) -> str:
    return ours.signed("put_object", "key", ContentType="video/mp4", ContentLength=len(BODY))


def _code(answer: Answer) -> str:
    return answer.body.decode().partition("<Code>")[2].partition("</Code>")[0]


def _replace(old: str, new: str) -> Change:
    def change(url: str) -> str:
        assert old in url
        return url.replace(old, new, 1)

    return change


def _flip_signature(url: str) -> str:
    head, _, signature = url.partition("X-Amz-Signature=")
    return f"{head}X-Amz-Signature={'1' if signature[0] == '0' else '0'}{signature[1:]}"


URL_CHANGES: dict[str, Change] = {
    "signature": _flip_signature,
    "signature cut": lambda url: url[:-1],
    "signature empty": lambda url: url.partition("X-Amz-Signature=")[0] + "X-Amz-Signature=",
    "key": _replace("/key?", "/other?"),
    "key deeper": _replace("/key?", "/key/?"),
    "key in another encoding of another key": _replace("/key?", "/ke%79%20?"),
    "longer expiry": _replace("X-Amz-Expires=900", "X-Amz-Expires=604800"),
    "later date": lambda url: url.replace("X-Amz-Date=2", "X-Amz-Date=3", 1),
    "region": _replace("%2Fauto%2F", "%2Fweur%2F"),
    "content-length unsigned": _replace("content-length%3B", ""),
    "content-type unsigned": _replace("content-type%3B", ""),
    "host unsigned": _replace("%3Bhost", ""),
    "part of an upload": lambda url: f"{url}&partNumber=1&uploadId=abc",
    "subresource": _replace("?", "?acl&"),
    "another parameter": lambda url: f"{url}&response-content-type=text/html",
    "key id": _replace("local-access-key", "other-access-key"),
}


@pytest.mark.parametrize("name", sorted(URL_CHANGES))
def test_a_changed_presigned_put_is_refused(ours: Target, name: str) -> None:
    url = URL_CHANGES[name](_put_url(ours))
    answer = fetch("PUT", url, headers=TYPE, body=BODY)
    assert answer.status in ((400, 403) if name == "later date" else (403,)), answer.body
    assert ours.keys() == []


def test_a_presigned_put_takes_its_own_length_and_type_only(ours: Target) -> None:
    url = _put_url(ours)
    for headers, body in (
        (TYPE, BODY + b"x"),
        (TYPE, BODY[:-1]),
        (TYPE, b""),
        ({"Content-Type": "text/html"}, BODY),
        ({}, BODY),
        ({**TYPE, "x-amz-meta-extra": "1"}, BODY),
        ({**TYPE, "x-amz-copy-source": f"/{ours.bucket}/secret"}, BODY),
    ):
        answer = fetch("PUT", url, headers=headers, body=body)
        assert answer.status == 403, (headers, body)
    assert ours.keys() == []
    assert fetch("PUT", url, headers=TYPE, body=BODY).status == 200


def test_a_presigned_url_is_of_one_method_and_key(ours: Target) -> None:
    ours.put("key", BODY)
    ours.put("secret", b"secret")
    url = ours.signed("get_object", "key")
    assert fetch("GET", url).body == BODY
    for method in ("PUT", "DELETE", "HEAD", "POST"):
        assert fetch(method, url).status == 403, method
    assert fetch("GET", url.replace("/key?", "/secret?")).status == 403
    assert fetch("GET", url.replace("/key?", "/")).status == 403
    assert fetch("GET", url.replace(f"/{ours.bucket}/", "/other-bucket/")).status == 403
    assert ours.keys() == ["key", "secret"]


def test_a_presigned_url_is_of_one_host(ours: Target) -> None:
    ours.put("key", BODY)
    url = ours.signed("get_object", "key")
    assert fetch("GET", url, headers={"Host": "other.example.com"}).status == 403


def test_a_presigned_parameter_given_twice_is_refused(ours: Target) -> None:
    ours.put("key", BODY)
    url = ours.signed("get_object", "key")
    for extra in ("X-Amz-Expires=604800", "X-Amz-Signature=0", "X-Amz-SignedHeaders=host"):
        assert fetch("GET", f"{url}&{extra}").status in (400, 403)
        assert fetch("GET", url.replace("?", f"?{extra}&", 1)).status in (400, 403)


@pytest.mark.parametrize("expires", ["0", "-1", "604801", "1e3", "", "９"])
def test_an_expiry_out_of_bounds_is_refused(ours: Target, expires: str) -> None:
    url = ours.signed("get_object", "key").replace("X-Amz-Expires=900", f"X-Amz-Expires={quote(expires)}")
    assert fetch("GET", url).status in (400, 403)


def test_nobody_gets_in_without_a_signature(ours: Target) -> None:
    ours.put("key", BODY)
    for method, path in (("GET", "key"), ("PUT", "key"), ("DELETE", "key"), ("GET", ""), ("POST", "?delete")):
        answer = fetch(method, f"{ours.endpoint}/{ours.bucket}/{path}")
        assert (answer.status, _code(answer)) == (403, "AccessDenied")
    assert fetch("GET", f"{ours.endpoint}/").status == 403
    assert ours.get("key") == BODY


def test_wrong_keys_are_refused(ours: Target) -> None:
    for access_key, secret_key, code in (
        ("nobody", ours.secret_key, "InvalidAccessKeyId"),
        (ours.access_key, "wrong", "SignatureDoesNotMatch"),
    ):
        client = client_for(ours.endpoint, access_key, secret_key)
        with pytest.raises(ClientError) as refused:
            client.put_object(Bucket=ours.bucket, Key="key", Body=b"x")
        assert refusal(refused.value) == (code, 403)
    assert ours.keys() == []


def _signed_put(ours: Target, **arguments: str) -> tuple[str, dict[str, str]]:
    url = f"{ours.endpoint}/{ours.bucket}/a%20b"
    headers = {"Content-Type": "video/mp4", "x-amz-meta-a": "1"}
    keys = {"access_key": ours.access_key, "secret_key": ours.secret_key}
    return url, sign_headers("PUT", url, headers=headers, body=BODY, **keys, **arguments)


def test_a_request_signed_in_its_header_is_taken(ours: Target) -> None:
    url, headers = _signed_put(ours)
    assert fetch("PUT", url, headers=headers, body=BODY).status == 200
    url, headers = _signed_put(ours, payload="UNSIGNED-PAYLOAD", region="us-east-1")
    assert fetch("PUT", url, headers=headers, body=b"another body").status == 200
    assert ours.get("a b") == b"another body"


def _without(headers: dict[str, str], name: str) -> dict[str, str]:
    return {key: value for key, value in headers.items() if key.lower() != name}


HEADER_CHANGES: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "metadata": lambda headers: {**headers, "x-amz-meta-a": "2"},
    "metadata added": lambda headers: {**headers, "x-amz-meta-b": "2"},
    "metadata removed": lambda headers: _without(headers, "x-amz-meta-a"),
    "type": lambda headers: {**headers, "Content-Type": "text/html"},
    "date": lambda headers: {**headers, "X-Amz-Date": headers["X-Amz-Date"][:-2] + "0Z"},
    "payload": lambda headers: {**headers, "X-Amz-Content-SHA256": "UNSIGNED-PAYLOAD"},
    "copy": lambda headers: {**headers, "x-amz-copy-source": "/bucket/secret"},
    "signature": lambda headers: {**headers, "Authorization": headers["Authorization"][:-1] + "g"},
    "not ascii": lambda headers: {**headers, "Authorization": headers["Authorization"][:-1] + "é"},
    "signed headers": lambda headers: {
        **headers,
        "Authorization": headers["Authorization"].replace("x-amz-meta-a", "x-amz-meta-b"),
    },
}


@pytest.mark.parametrize("name", sorted(HEADER_CHANGES))
def test_a_changed_header_is_refused(ours: Target, name: str) -> None:
    url, headers = _signed_put(ours)
    if name == "date" and headers["X-Amz-Date"].endswith("0Z"):
        headers["X-Amz-Date"] = headers["X-Amz-Date"][:-2] + "1Z"
    answer = fetch("PUT", url, headers=HEADER_CHANGES[name](headers), body=BODY)
    assert answer.status == 403, answer.body
    assert ours.keys() == []


def test_a_changed_method_path_or_query_is_refused(ours: Target) -> None:
    url, headers = _signed_put(ours)
    assert fetch("DELETE", url, headers=headers, body=BODY).status == 403
    assert fetch("PUT", url.replace("a%20b", "a%20c"), headers=headers, body=BODY).status == 403
    assert fetch("PUT", f"{url}?partNumber=1", headers=headers, body=BODY).status == 403
    assert ours.keys() == []


def test_a_changed_body_is_refused(ours: Target) -> None:
    url, headers = _signed_put(ours)
    answer = fetch("PUT", url, headers=headers, body=b"9876543210")
    assert (answer.status, _code(answer)) == (400, "XAmzContentSHA256Mismatch")
    assert ours.keys() == []


def test_a_malformed_authorization_is_a_clear_refusal(ours: Target) -> None:
    url = f"{ours.endpoint}/{ours.bucket}/key"
    for authorization in ("", "Bearer x", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b", "AWS a:b", "é" * 50):
        answer = fetch("GET", url, headers={"Authorization": authorization, "x-amz-content-sha256": "0" * 64})
        assert answer.status in (400, 403), authorization
        assert answer.headers["x-amz-request-id"]
        assert b"<RequestId>" in answer.body


def test_both_ways_at_once_are_refused(ours: Target) -> None:
    url = f"{ours.endpoint}/{ours.bucket}/key"
    headers = sign_headers("GET", url, access_key=ours.access_key, secret_key=ours.secret_key)
    answer = fetch("GET", ours.signed("get_object", "key"), headers=headers)
    assert (answer.status, _code(answer)) == (400, "InvalidArgument")


def test_an_unknown_region_is_refused(ours: Target) -> None:
    url, headers = _signed_put(ours, region="mars-1")
    answer = fetch("PUT", url, headers=headers, body=BODY)
    assert (answer.status, _code(answer)) == (400, "InvalidRegionName")


@pytest.fixture
def skewed(tmp_path: Path) -> Iterator[tuple[list[float], Target]]:
    """A store whose clock is ahead by what the list holds, in seconds."""
    ahead_s = [0.0]
    settings = Settings(data=tmp_path / "data", port=0, buckets=(BUCKET,), fsync=False, stop_s=1.0)
    with in_thread(settings, clock=lambda: time.time() + ahead_s[0]) as running:
        client = client_for(running.endpoint, settings.access_key, settings.secret_key)
        yield ahead_s, Target("skewed", running.endpoint, settings.access_key, settings.secret_key, client, BUCKET)


def test_time_is_part_of_it(skewed: tuple[list[float], Target]) -> None:
    ahead_s, store = skewed
    store.put("key", BODY)
    url = store.signed("get_object", "key", expires_s=60)
    for ahead, presigned, header in ((0, 200, 200), (-800, 200, 200), (100, 403, 200), (-1000, 403, 403)):
        ahead_s[0] = float(ahead)
        assert fetch("GET", url).status == presigned, ahead
        plain = f"{store.endpoint}/{BUCKET}/key"
        headers = sign_headers("GET", plain, access_key=store.access_key, secret_key=store.secret_key)
        assert fetch("GET", plain, headers=headers).status == header, ahead
    ahead_s[0] = 1000.0
    with pytest.raises(ClientError) as refused:
        store.put("late", BODY)
    assert refusal(refused.value) == ("RequestTimeTooSkewed", 403)
    ahead_s[0] = 0.0
    assert store.keys() == ["key"]
