"""Signatures held against botocore's own signer, and that the key of a day is derived once."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from chassis.config import Secret
from storage.sigv4 import Signer

NOW_S = 1_800_000_123.0
SECRET = "s3cret/with+signs="

endpoints = st.sampled_from(
    [
        "https://abc.r2.cloudflarestorage.com",
        "http://127.0.0.1:9000",
        "http://[::1]:9000",
        "https://s3.example:443",
        "http://h:80",
    ]
)
paths = st.lists(
    st.text(st.characters(categories=("L", "M", "N"), include_characters=" !'()+,-.=@_~"), min_size=1), min_size=1
)
header_values = st.text(st.sampled_from("abcXYZ019/*;=-"), min_size=1, max_size=12)
headers = st.dictionaries(st.sampled_from(["content-type", "content-length", "if-none-match"]), header_values)
queries = st.dictionaries(
    st.sampled_from(["uploadId", "partNumber", "response-content-disposition", "response-content-type"]),
    st.text(max_size=12),
)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore signs at NOW_S."""
    now = datetime.fromtimestamp(NOW_S, UTC).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: now)


def signer(endpoint: str) -> Signer:
    return Signer(endpoint, "AKIDEXAMPLE", Secret(SECRET))


@given(endpoints, st.sampled_from(["GET", "HEAD", "PUT"]), paths, headers, queries, st.integers(1, 604800))
def test_presigned_as_by_botocore(
    endpoint: str, method: str, path: list[str], sent: dict[str, str], query: dict[str, str], lifetime_s: int
) -> None:
    whole = "/bucket/" + "/".join(path)
    mine = signer(endpoint).presign(method, whole, now_s=NOW_S, lifetime_s=lifetime_s, headers=sent, query=query)
    request = AWSRequest(method=method, url=endpoint + quote(whole, safe="/-._~"), headers=sent, params=query)
    oracle: Any = botocore.auth.S3SigV4QueryAuth(Credentials("AKIDEXAMPLE", SECRET), "s3", "auto", expires=lifetime_s)
    oracle.add_auth(request)
    theirs = urlsplit(str(request.prepare().url))
    assert urlsplit(mine).path == theirs.path
    assert sorted(parse_qsl(urlsplit(mine).query, keep_blank_values=True)) == sorted(
        parse_qsl(theirs.query, keep_blank_values=True)
    )


@given(endpoints, st.sampled_from(["GET", "POST", "DELETE"]), paths, queries, st.binary(max_size=40))
def test_headers_as_by_botocore(
    endpoint: str, method: str, path: list[str], query: dict[str, str], body: bytes
) -> None:
    text = "&".join(f"{quote(name, safe='-._~')}={quote(value, safe='-._~')}" for name, value in query.items())
    url = endpoint + quote("/bucket/" + "/".join(path), safe="/-._~") + (f"?{text}" if text else "")
    sent = {"Content-MD5": "x==", "X-Amz-Copy-Source": "bucket/a  b", "User-Agent": "boto"}
    mine = signer(endpoint).headers(method, url, sent, body, now_s=NOW_S)
    request = AWSRequest(method=method, url=url, headers=sent, data=body)
    oracle: Any = botocore.auth.S3SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), "s3", "auto")
    oracle.add_auth(request)
    assert mine["Authorization"] == request.headers["Authorization"]
    assert mine["x-amz-date"] == request.headers["X-Amz-Date"]
    assert mine["x-amz-content-sha256"] == request.headers["X-Amz-Content-SHA256"]


def test_the_secret_is_nowhere() -> None:
    made = signer("https://h")
    url = made.presign("GET", "/bucket/t/games/x", now_s=NOW_S, lifetime_s=60)
    assert SECRET not in url
    assert SECRET not in repr(vars(made))


def test_the_key_follows_the_day() -> None:
    made = signer("https://h")
    again = [made.presign("GET", "/b/k", now_s=now_s, lifetime_s=60) for now_s in (NOW_S, NOW_S + 86400, NOW_S)]
    assert again[0] == again[2] != again[1]


def test_a_thousand_urls_share_the_key_of_their_day(monkeypatch: pytest.MonkeyPatch) -> None:
    digest, keys = hmac.digest, list[bytes]()

    def counted(key: bytes, text: bytes, name: str) -> bytes:
        keys.append(key)
        return digest(key, text, name)

    monkeypatch.setattr(hmac, "digest", counted)
    made = signer("https://abc.r2.cloudflarestorage.com")
    for number in range(1000):
        made.presign("GET", f"/bucket/tenant/games/{number}.mp4", now_s=NOW_S, lifetime_s=3600)
    assert len(keys) == 4 + 1000  # four steps to the key, and a signature each
    assert len(set(keys[4:])) == 1
