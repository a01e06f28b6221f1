"""Our check of Signature Version 4 against botocore's signer, on requests of every shape."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from objectstore import signing
from objectstore.errors import S3Error
from objectstore.signing import Incoming, Verified
from tests.contract.signer import presign, sign_headers

ACCESS, SECRET = "access/key", "secret+/="
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
QUERY = st.dictionaries(
    TEXT.filter(lambda name: not name.startswith("X-Amz")), st.text("aé &=+%/~", max_size=6), max_size=3
)
VALUES = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=8)
HEADERS = st.dictionaries(
    st.sampled_from(["x-amz-meta-a", "x-amz-meta-b", "Content-Type", "Range"]), VALUES, max_size=3
)
METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD"])


def _incoming(method: str, url: str, headers: dict[str, str]) -> Incoming:
    parts = urlsplit(url)
    named = [("host", parts.netloc), *((name.lower(), value) for name, value in headers.items())]
    return Incoming(method, parts.path, signing.parse_query(parts.query), named)


def _url(key: str, query: dict[str, str]) -> str:
    pairs = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query.items())
    return f"http://store.example:9000/bucket/{quote(key, safe='/-_.~')}" + (f"?{pairs}" if pairs else "")


def _verify(incoming: Incoming, now_s: float | None = None) -> Verified:
    return signing.verify(incoming, ACCESS, SECRET, time.time() if now_s is None else now_s)


@settings(max_examples=150, deadline=None)
@given(METHODS, TEXT, QUERY, HEADERS, st.binary(max_size=20))
def test_what_botocore_signs_in_the_header_holds(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    url = _url(key, query)
    signed = sign_headers(method, url, access_key=ACCESS, secret_key=SECRET, headers=headers, body=body)
    incoming = _incoming(method, url, signed)
    assert not _verify(incoming).presigned
    for changed in (
        _incoming("PATCH", url, signed),
        _incoming(method, _url(key + "x", query), signed),
        _incoming(method, _url(key, {**query, "extra": ""}), signed),
        _incoming(method, url, {**signed, "x-amz-meta-other": "1"}),
        _incoming(method, url, {**signed, "X-Amz-Content-SHA256": "0" * 64}),
        _incoming(method, url.replace("9000", "9001"), signed),
        *(_incoming(method, url, {**signed, name: f"{value}x"}) for name, value in headers.items()),
    ):
        with pytest.raises(S3Error) as refused:
            _verify(changed)
        assert refused.value.status in (400, 403)


@settings(max_examples=150, deadline=None)
@given(METHODS, TEXT, QUERY, HEADERS, st.integers(1, 604_800))
def test_what_botocore_presigns_holds(
    method: str, key: str, query: dict[str, str], headers: dict[str, str], expires_s: int
) -> None:
    # botocore drops empty parameters from a URL that it presigns only in its parsing: give it none.
    kept = {name: value for name, value in query.items() if value}
    url = presign(method, _url(key, kept), access_key=ACCESS, secret_key=SECRET, headers=headers, expires_s=expires_s)
    date = urlsplit(url).query.partition("X-Amz-Date=")[2][:16]
    now_s = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    assert _verify(_incoming(method, url, headers), now_s).payload == signing.UNSIGNED
    changed = [_incoming(method, f"{url}&a=b", headers), _incoming(method, url.replace("bucket", "other", 1), headers)]
    changed += [_incoming(method, url, {**headers, name: f"{value}x"}) for name, value in headers.items()]
    changed += [_incoming(method, url, {**headers, "x-amz-meta-other": "1"})]
    for incoming in changed:
        with pytest.raises(S3Error) as refused:
            _verify(incoming, now_s)
        assert refused.value.status == 403
    assert _verify(_incoming(method, url, headers), now_s + expires_s).presigned
    with pytest.raises(S3Error) as late:
        _verify(_incoming(method, url, headers), now_s + expires_s + 1)
    assert late.value.status == 403


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.text(max_size=40))
def test_nothing_in_an_authorization_breaks_the_check(authorization: str, amz_date: str) -> None:
    headers = [("host", "a"), ("authorization", authorization), ("x-amz-date", amz_date), ("x-amz-content-sha256", "")]
    with pytest.raises(S3Error) as refused:
        _verify(Incoming("GET", "/bucket/key", [], headers))
    assert refused.value.status in (400, 403)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from([*signing._QUERY_NAMES, "X-Amz-Signature"]), st.text(max_size=40)))
def test_nothing_in_a_query_breaks_the_check(query: dict[str, str]) -> None:
    with pytest.raises(S3Error) as refused:
        _verify(Incoming("GET", "/bucket/key", list(query.items()), [("host", "a")]))
    assert refused.value.status in (400, 403)


def test_a_date_of_no_calendar_is_refused() -> None:
    url = presign("GET", _url("key", {}), access_key=ACCESS, secret_key=SECRET)
    date = urlsplit(url).query.partition("X-Amz-Date=")[2][:8]
    with pytest.raises(S3Error) as refused:
        _verify(_incoming("GET", url.replace(date, "20269999"), {}))
    assert refused.value.code == "AuthorizationQueryParametersError"


def test_a_plus_in_a_query_is_a_space() -> None:
    url = presign("GET", _url("key", {"prefix": "a b"}), access_key=ACCESS, secret_key=SECRET)
    assert _verify(_incoming("GET", url.replace("prefix=a%20b", "prefix=a+b"), {})).presigned


def test_a_path_in_another_encoding_is_the_same_path() -> None:
    url = presign("GET", _url("it's", {}), access_key=ACCESS, secret_key=SECRET)
    assert _verify(_incoming("GET", url.replace("it%27s", "it's"), {})).presigned
