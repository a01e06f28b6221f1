"""Signatures held against botocore's own signer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from dbsync import sigv4
from dbsync.ledger import Wire
from dbsync.sigv4 import Signer, quoted, quoted_query
from tests.contract.signer import sign_headers

NOW_S = 1_800_000_123.5
SECRET = "s3cret/with+signs="
HASH = "0" * 64

keys = st.text(st.characters(categories=("L", "M", "N"), include_characters=" !'()+,-./=@_~%&"), min_size=1)
queries = st.dictionaries(
    st.sampled_from(["list-type", "list", "prefix", "start-after", "max-keys"]), st.text(max_size=12)
)
headers = st.dictionaries(
    st.sampled_from(["If-None-Match", "If-Match", "Content-MD5", "x-amz-meta-reel-version"]),
    st.text(st.sampled_from('abcXYZ019/*;=-"  '), min_size=1, max_size=12),
)


@pytest.fixture(autouse=True)
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both sign at NOW_S."""
    now = datetime.fromtimestamp(NOW_S, UTC).replace(tzinfo=None)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *_: now)
    monkeypatch.setattr("dbsync.sigv4.time.time", lambda: NOW_S)


def signer(host: str = "127.0.0.1:9000") -> Signer:
    return Signer("AKIDEXAMPLE", SECRET, host=host, region="auto")


@given(st.sampled_from(["GET", "HEAD", "PUT"]), keys, queries, headers)
def test_as_botocore_signs(method: str, key: str, query: dict[str, str], sent: dict[str, str]) -> None:
    path, text = quoted(f"/bucket/{key}"), quoted_query(query)
    mine = signer().headers(method, path, text, sent, HASH)
    theirs = sign_headers(
        method,
        f"http://127.0.0.1:9000{path}" + (f"?{text}" if text else ""),
        access_key="AKIDEXAMPLE",
        secret_key=SECRET,
        headers=sent,
        payload=HASH,
    )
    assert mine["Authorization"] == theirs["Authorization"]
    assert mine["X-Amz-Date"] == theirs["X-Amz-Date"] == "20270115T080203Z"
    assert sent.items() <= mine.items() and quote("/", safe="") not in path


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        ("https://abc.r2.cloudflarestorage.com", "abc.r2.cloudflarestorage.com"),
        ("https://s3.example:443/", "s3.example"),
        ("https://s3.example:8443", "s3.example:8443"),
        ("http://[::1]:9000", "[::1]:9000"),
        ("http://h:80", "h"),
    ],
)
def test_over_tls_and_without(endpoint: str, host: str) -> None:
    wire = Wire(
        endpoint_url=endpoint,
        bucket="bucket",
        access_key_id="AKIDEXAMPLE",
        secret_access_key=SECRET,
        attempt_s=1,
        connections=1,
    )
    mine = wire.signer.headers("PUT", "/bucket/key", "", {"Content-MD5": "x=="}, sigv4.UNSIGNED)
    request = AWSRequest(method="PUT", url=f"{endpoint.rstrip('/')}/bucket/key", headers={"Content-MD5": "x=="})
    oracle: Any = botocore.auth.S3SigV4Auth(Credentials("AKIDEXAMPLE", SECRET), "s3", "auto")
    oracle.payload = lambda _: sigv4.UNSIGNED
    oracle.add_auth(request)
    assert mine["Authorization"] == request.headers["Authorization"]
    assert mine["Host"] == wire.signer.host == host
    wire.close()


def test_a_day_has_its_key() -> None:
    one, other = signer(), signer()
    before = one.headers("GET", "/b", "", {}, HASH)
    one.ahead_s = 86_400.0
    tomorrow = one.headers("GET", "/b", "", {}, HASH)
    one.ahead_s = 0.0
    assert one.headers("GET", "/b", "", {}, HASH) == before == other.headers("GET", "/b", "", {}, HASH)
    assert tomorrow["Authorization"] != before["Authorization"] and tomorrow["X-Amz-Date"] == "20270116T080203Z"


def test_the_secret_is_not_shown() -> None:
    one = signer()
    assert SECRET not in repr(one) + repr(one.headers("GET", "/b", "", {}, HASH))
