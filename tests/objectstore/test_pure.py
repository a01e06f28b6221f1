"""The pure parts: ranges, conditions, listings, checksums, CORS and lifecycle rules, each against a plain model."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from objectstore import checksums, conditions, cors, documents, lifecycle, listing, ranges
from objectstore.conditions import Conditions
from objectstore.errors import STATUS, S3Error
from objectstore.faults import CODES
from objectstore.records import Stored

KEYS = st.text(st.sampled_from("ab/é\ud7ff\ue000\U0010ffff"), min_size=1, max_size=5)


@given(st.integers(0, 30), st.integers(0, 40), st.integers(0, 40))
def test_a_range_is_that_slice(size: int, start: int, last: int) -> None:
    whole = bytes(range(size))
    for header, expected in (
        (f"bytes={start}-{last}", whole[start : last + 1]),
        (f"bytes={start}-", whole[start:]),
        (f"bytes=-{last}", whole[max(0, size - last) :] if last else b""),
    ):
        try:
            found = ranges.resolve(header, size)
        except S3Error as fault:
            assert (fault.code, expected) == ("InvalidRange", b"")
            assert fault.headers["Content-Range"] == f"bytes */{size}"
            continue
        if found is None:
            assert last < start
        else:
            assert whole[found[0] : found[0] + found[1]] == expected


@given(st.lists(st.binary(max_size=6), max_size=6), st.integers(0, 40), st.integers(0, 40))
def test_pieces_of_segments_join_to_the_range(segments: list[bytes], offset: int, length: int) -> None:
    found = ranges.pieces([len(segment) for segment in segments], offset, length)
    joined = b"".join(segments[index][start : start + count] for index, start, count in found)
    assert joined == b"".join(segments)[offset : offset + length]
    assert all(count > 0 for _, _, count in found)


def _stored(key: str) -> Stored:
    return Stored(0, key, "", 0, 0, {}, {})


def _model(keys: list[str], prefix: str, delimiter: str) -> list[tuple[str, str]]:
    """Objects and common prefixes in order, by the definition."""
    found: list[tuple[str, str]] = []
    for key in sorted(keys, key=str.encode):
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            item = ("prefix", key[: cut + len(delimiter)]) if cut >= 0 else ("object", key)
            if item not in found:
                found.append(item)
    return found


@given(
    st.sets(KEYS, max_size=20), st.text("ab/é", max_size=2), st.sampled_from(["", "/", "a", "b/"]), st.integers(1, 5)
)
def test_pages_join_to_the_listing(keys: set[str], prefix: str, delimiter: str, limit: int) -> None:
    ordered = sorted(keys, key=str.encode)

    def scan(lower: str, count: int) -> list[Stored]:
        return [_stored(key) for key in ordered if key.encode() >= lower.encode()][:count]

    found: list[tuple[str, str]] = []
    start = ""
    for _ in range(100):
        page = listing.page(scan, prefix=prefix, delimiter=delimiter, start=start, limit=limit)
        items = [("object", stored.key) for stored in page.objects] + [("prefix", text) for text in page.prefixes]
        found += sorted(items, key=lambda item: item[1].encode())
        assert page.count <= limit
        assert page.last == max((text for _, text in items), default="")
        if page.resume is None:
            break
        assert page.count == limit
        start = listing.resume_of(listing.token_of(page.resume))
    assert found == _model(ordered, prefix, delimiter)


@given(KEYS)
def test_beyond_a_prefix_is_beyond_all_of_it(prefix: str) -> None:
    found = listing.beyond(prefix)
    if found is None:
        assert set(prefix) == {"\U0010ffff"}
    else:
        assert found.encode() > (prefix + "\U0010ffff" * 3).encode()
        assert not found.startswith(prefix)


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        ("CRC32", "cbf43926"),
        ("CRC32C", "e3069283"),
        ("CRC64NVME", "ae8b14860a799888"),
        ("SHA1", "f7c3bc1d808e04732adf679965ccc34ca7ae3441"),
        ("SHA256", "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"),
    ],
)
def test_checksums_of_the_check_string(algorithm: str, expected: str) -> None:
    digest = checksums.create(algorithm)
    for piece in (b"1234", b"", b"56789"):
        digest.update(piece)
    assert digest.digest().hex() == expected


def test_a_table_crc_agrees_with_zlib() -> None:
    table = checksums.TableCrc(0xEDB88320, 4)
    table.update(b"some bytes" * 100)
    assert table.digest() == zlib.crc32(b"some bytes" * 100).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("header", "etag", "weak", "listed"),
    [
        ('"a"', "a", False, True),
        ("a", "a", False, True),
        ('"b", "a"', "a", False, True),
        ('W/"a"', "a", False, False),
        ('W/"a"', "a", True, True),
        ("*", "a", False, True),
        ('"A"', "a", True, False),
        ("", "a", True, False),
    ],
)
def test_etags_in_a_header(header: str, etag: str, weak: bool, listed: bool) -> None:
    assert conditions.etag_listed(header, etag, weak=weak) is listed


@pytest.mark.parametrize(
    ("wanted", "outcome"),
    [
        (Conditions(), 200),
        (Conditions(if_match='"a"', if_unmodified_since=5), 200),
        (Conditions(if_unmodified_since=5), 412),
        (Conditions(if_none_match='"b"', if_modified_since=20), 200),
        (Conditions(if_modified_since=10), 304),
        (Conditions(if_match='"a"', if_none_match='"a"'), 304),
        (Conditions(if_match='"b"', if_none_match='"a"'), 412),
    ],
)
def test_the_precedence_of_conditions(wanted: Conditions, outcome: int) -> None:
    assert conditions.read_outcome(wanted, "a", 10) == outcome


@pytest.mark.parametrize(
    ("wanted", "current", "strict", "code"),
    [
        (Conditions(if_none_match="*"), None, False, ""),
        (Conditions(if_none_match="*"), "a", False, "PreconditionFailed"),
        (Conditions(if_none_match='"a"'), "a", False, "PreconditionFailed"),
        (Conditions(if_none_match='"a"'), "b", False, ""),
        (Conditions(if_match='"a"'), "a", False, ""),
        (Conditions(if_match="*"), "a", False, ""),
        (Conditions(if_match='"a"'), "b", False, "PreconditionFailed"),
        (Conditions(if_match="*"), None, False, "NoSuchKey"),
        (Conditions(if_match='"a"'), None, True, "PreconditionFailed"),
        (Conditions(if_match='"a"', if_none_match="*"), "a", False, "PreconditionFailed"),
    ],
)
def test_the_conditions_of_a_write(wanted: Conditions, current: str | None, strict: bool, code: str) -> None:
    if code:
        with pytest.raises(S3Error) as refused:
            conditions.check_write(wanted, current, strict_r2=strict)
        assert refused.value.code == code
    else:
        conditions.check_write(wanted, current, strict_r2=strict)


RULE = cors.Rule(("https://*.example.com", "https://one.example"), ("GET", "PUT"), ("x-amz-*", "Range"), ("ETag",), 60)


@pytest.mark.parametrize(
    ("origin", "method", "asked", "allowed"),
    [
        ("https://a.example.com", "GET", "", True),
        ("https://one.example", "PUT", "X-Amz-Date, RANGE", True),
        ("https://example.com", "GET", "", False),
        ("http://a.example.com", "GET", "", False),
        ("https://a.example.com.evil.org", "GET", "", False),
        ("https://a.example.com", "POST", "", False),
        ("https://a.example.com", "GET", "x-other", False),
        ("null", "GET", "", False),
    ],
)
def test_cors_rules(origin: str, method: str, asked: str, allowed: bool) -> None:
    rules = cors.from_text(cors.to_text([RULE]))
    assert rules == [RULE]
    if allowed:
        headers = cors.preflight_headers(rules, origin, method, asked)
        assert headers["Access-Control-Allow-Origin"] == origin
        assert headers["Access-Control-Max-Age"] == "60"
    else:
        with pytest.raises(S3Error):
            cors.preflight_headers(rules, origin, method, asked)


def test_an_open_cors_rule_gives_no_credentials() -> None:
    headers = cors.answer_headers([cors.Rule(("*",), ("GET",))], "https://any.example", "GET")
    assert headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in headers


def test_cors_reads_what_it_writes() -> None:
    assert cors.parse(cors.to_xml([RULE])) == [RULE]


@pytest.mark.parametrize(
    "rule",
    [
        "",
        "<AllowedOrigin>*</AllowedOrigin>",
        "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>PATCH</AllowedMethod>",
        "<AllowedOrigin>*.*</AllowedOrigin><AllowedMethod>GET</AllowedMethod>",
        "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><MaxAgeSeconds>x</MaxAgeSeconds>",
        "<AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod><ExposeHeader>a&#13;b</ExposeHeader>",
    ],
)
def test_a_cors_rule_that_makes_no_sense(rule: str) -> None:
    with pytest.raises(S3Error):
        cors.parse(f"<CORSConfiguration><CORSRule>{rule}</CORSRule></CORSConfiguration>".encode())


def test_lifecycle_reads_what_it_writes() -> None:
    rules = [lifecycle.Rule("a", True, "p/", 3, 1), lifecycle.Rule("b", False, "", None, 2)]
    assert lifecycle.parse(lifecycle.to_xml(rules)) == rules
    assert lifecycle.from_text(lifecycle.to_text(rules)) == rules


@pytest.mark.parametrize(
    ("rule", "code"),
    [
        ("<Status>Enabled</Status>", "MalformedXML"),
        ("<Status>On</Status><Expiration><Days>1</Days></Expiration>", "MalformedXML"),
        ("<Status>Enabled</Status><Expiration><Days>0</Days></Expiration>", "InvalidArgument"),
        ("<Status>Enabled</Status><Expiration><Date>2030-01-01</Date></Expiration>", "NotImplemented"),
        ("<Status>Enabled</Status><Transition><Days>1</Days></Transition>", "NotImplemented"),
        (
            "<Status>Enabled</Status><Filter><Tag/></Filter><Expiration><Days>1</Days></Expiration>",
            "NotImplemented",
        ),
    ],
)
def test_a_lifecycle_rule_that_would_not_be_done(rule: str, code: str) -> None:
    with pytest.raises(S3Error) as refused:
        lifecycle.parse(f"<LifecycleConfiguration><Rule>{rule}</Rule></LifecycleConfiguration>".encode())
    assert refused.value.code == code


def test_the_soonest_rule_ends_an_upload() -> None:
    rules = [
        lifecycle.Rule("", True, "a/", None, 2),
        lifecycle.Rule("", True, "a/b/", None, 1),
        lifecycle.Rule("", False, "", None, 1),
    ]
    for key, days in (("x", 7), ("a/x", 2), ("a/b/x", 1)):
        assert lifecycle.upload_ends_ms(rules, key, 7) == days * lifecycle.DAY_MS


@given(st.text(max_size=20))
def test_written_text_is_read_back(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        return
    body = documents.document("Root", (documents.tag("Key", text),))
    control = any(character < " " and character not in "\t\n\r" for character in text)
    if control or "\ufffe" in text or "\uffff" in text:
        return  # XML 1.0 has no such characters: clients ask for encoding-type=url
    found = documents.parse(body, "Root").findtext("Key")
    assert found == text


def test_every_code_has_a_status() -> None:
    assert set(CODES.values()) <= set(STATUS)
    for code in STATUS:
        assert 400 <= S3Error(code, "words").status < 600
