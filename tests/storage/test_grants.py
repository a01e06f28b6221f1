"""What a grant binds, and what may stand in the headers of an answer."""

from __future__ import annotations

from email.message import Message
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chassis.config import Secret
from chassis.faults import Fault
from storage import grants
from storage.grants import Grant, Granter
from storage.sigv4 import Signer

GRANTER = Granter(Signer("https://h.example", "id", Secret("secret")), "bucket")
NOW_S = 1_800_000_000.25


def query(grant: Grant) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(grant.url).query).items()}


def test_an_upload_signs_type_length_and_condition() -> None:
    made = GRANTER.upload(
        "t/games/x", now_s=NOW_S, lifetime_s=60, content_type="video/mp4", size_bytes=7, if_absent=True
    )
    assert (made.method, made.expires_s) == ("PUT", NOW_S + 60)
    assert made.headers == {"content-type": "video/mp4", "if-none-match": "*"}
    assert query(made)["X-Amz-SignedHeaders"] == "content-length;content-type;host;if-none-match"
    assert query(made)["X-Amz-Date"] == "20270115T080000Z"


def test_an_upload_of_open_length_signs_no_length() -> None:
    made = GRANTER.upload("t/games/x", now_s=NOW_S, lifetime_s=60, content_type="", size_bytes=0, if_absent=False)
    assert made.headers == {"content-type": grants.DEFAULT_TYPE}
    assert query(made)["X-Amz-SignedHeaders"] == "content-type;host"


def test_a_part_signs_number_upload_and_length() -> None:
    made = GRANTER.part("t/games/x", "an/id+=", 3, now_s=NOW_S, lifetime_s=60, size_bytes=5)
    assert made.headers == {}
    found = query(made)
    assert (found["partNumber"], found["uploadId"]) == ("3", "an/id+=")
    assert found["X-Amz-SignedHeaders"] == "content-length;host"


@given(st.text(max_size=40))
@example('x"; filename="y.exe')
@example("a\r\nSet-Cookie: x")
@example("試合.mp4")
@example("½ ﬁnal.mp4")
def test_download_names(name: str) -> None:
    try:
        header = grants.attachment(name)
    except Fault as fault:
        assert fault.reason == "invalid_range"
        return
    assert header.isascii()
    assert header.isprintable()
    message = Message()
    message["Content-Disposition"] = header
    assert message.get_content_disposition() == "attachment"
    plain, extended = header.removeprefix("attachment; ").split("; ")
    assert plain.startswith('filename="')
    assert plain.count('"') == 2
    assert unquote(extended.removeprefix("filename*=UTF-8''")) == name


def test_plain_names_stay_readable() -> None:
    assert 'filename="Emma_s goal (2).mp4"' in grants.attachment("Emma's goal (2).mp4")
    assert 'filename="hauslich.mp4"' in grants.attachment("häuslich.mp4")


@pytest.mark.parametrize("name", ["a/b", "a\\b", 'a"b', "a\nb", "a\x00", " ", "..", "x" * 256, "é" * 128, "a\u202eb"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(Fault):
        grants.attachment(name)


@pytest.mark.parametrize(
    "text",
    ["video/mp4", "application/vnd.apple.mpegurl", "text/plain; charset=utf-8", 'video/mp4; codecs="avc1.4d, mp4a"'],
)
def test_types(text: str) -> None:
    assert grants.checked_type(text) == text


@pytest.mark.parametrize(
    "text", ["", "video", "video/", "/mp4", "video/mp4\r\nx: y", "a b/c", "video/mp4;", "ä/b", "x/" + "y" * 300]
)
def test_what_is_no_type(text: str) -> None:
    with pytest.raises(Fault):
        grants.checked_type(text)


@pytest.mark.parametrize("seconds", [0, 0.5, -1, 604800.5, 1e9])
def test_lifetimes_are_bounded(seconds: float) -> None:
    assert grants.lifetime(1.9) == 1
    assert grants.lifetime(604800) == 604800
    with pytest.raises(Fault):
        grants.lifetime(seconds)
