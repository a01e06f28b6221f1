"""aws-chunked bodies: as boto3 sends them over TLS (unsigned, a checksum in the trailer), and signed chunk by chunk."""

from __future__ import annotations

import base64
import hashlib
import hmac
import io
from collections.abc import Callable

import pytest
from botocore.httpchecksum import AwsChunkedWrapper, Crc32Checksum

from objectstore import signing
from tests.contract.signer import sign_headers
from tests.contract.targets import Answer, Target, fetch, pattern

UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"


def _send(ours: Target, payload: str, body: bytes, length: int, **headers: str) -> Answer:
    url = f"{ours.endpoint}/{ours.bucket}/key"
    named = {"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": str(length), **headers}
    signed = sign_headers(
        "PUT", url, access_key=ours.access_key, secret_key=ours.secret_key, headers=named, payload=payload
    )
    return fetch("PUT", url, headers=signed, body=body)


def _botocores(body: bytes, chunk_bytes: int = 64 * 1024) -> bytes:
    wrapper = AwsChunkedWrapper(
        io.BytesIO(body),
        checksum_cls=Crc32Checksum,
        checksum_name="x-amz-checksum-crc32",
        chunk_size=chunk_bytes,
    )
    return wrapper.read()


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 200_000, 3_000_000])
def test_what_botocore_streams_is_taken(ours: Target, size: int) -> None:
    body = pattern(size)
    answer = _send(ours, UNSIGNED_TRAILER, _botocores(body), size, **{"x-amz-trailer": "x-amz-checksum-crc32"})
    assert answer.status == 200, answer.body
    assert answer.headers["x-amz-checksum-crc32"]
    found = ours.client.get_object(Bucket=ours.bucket, Key="key")
    assert found["Body"].read() == body
    assert "ContentEncoding" not in found


def test_an_encoding_beside_aws_chunked_is_kept(ours: Target) -> None:
    headers = {"x-amz-trailer": "x-amz-checksum-crc32", "Content-Encoding": "gzip,aws-chunked"}
    assert _send(ours, UNSIGNED_TRAILER, _botocores(b"body"), 4, **headers).status == 200
    assert ours.client.head_object(Bucket=ours.bucket, Key="key")["ContentEncoding"] == "gzip"


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "a byte changed": lambda sent: sent.replace(b"\x00", b"\x01", 1),
    "cut in a chunk": lambda sent: sent[:50],
    "cut before the trailer": lambda sent: sent[: sent.rindex(b"x-amz-checksum")],
    "another trailer": lambda sent: sent.replace(b"x-amz-checksum-crc32:", b"x-amz-checksum-sha256:"),
    "another checksum": lambda sent: sent[: sent.rindex(b":") + 1] + b"AAAAAA==\r\n\r\n",
    "no checksum": lambda sent: sent[: sent.rindex(b":") + 1] + b"\r\n\r\n",
    "a size that is none": lambda sent: b"zz" + sent,
    "a negative size": lambda sent: b"-1" + sent,
    "a giant size": lambda sent: b"ffffffffffffffff" + sent[sent.index(b"\r\n") :],
    "no last chunk": lambda sent: sent[: sent.rindex(b"0\r\n")],
    "an endless line": lambda sent: b"1" * 2_000_000 + sent,
    "endless trailers": lambda sent: sent[:-2] + b"x-amz-other: 1\r\n" * 1000 + b"\r\n",
    "nothing": lambda _: b"",
}


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_broken_stream_is_refused(ours: Target, name: str) -> None:
    sent = BROKEN[name](_botocores(bytes(1000)))
    answer = _send(ours, UNSIGNED_TRAILER, sent, 1000, **{"x-amz-trailer": "x-amz-checksum-crc32"})
    assert 400 <= answer.status < 500, answer.body
    assert ours.keys() == []


@pytest.mark.parametrize("length", [999, 1001])
def test_a_stream_of_another_length_is_refused(ours: Target, length: int) -> None:
    sent = _botocores(bytes(1000))
    assert _send(ours, UNSIGNED_TRAILER, sent, length, **{"x-amz-trailer": "x-amz-checksum-crc32"}).status == 400
    assert ours.keys() == []


def _chunks(key: bytes, amz_date: str, scope: str, seed: str, pieces: list[bytes]) -> tuple[bytes, list[str]]:
    """A body signed chunk by chunk, written here by the documentation; with the signatures."""
    empty = hashlib.sha256(b"").hexdigest()
    sent, signatures = b"", [seed]
    for piece in [*pieces, b""]:
        lines = ("AWS4-HMAC-SHA256-PAYLOAD", amz_date, scope, signatures[-1], empty, hashlib.sha256(piece).hexdigest())
        signatures.append(hmac.new(key, "\n".join(lines).encode(), "sha256").hexdigest())
        sent += f"{len(piece):x};chunk-signature={signatures[-1]}\r\n".encode() + piece + (b"\r\n" if piece else b"")
    return sent, signatures


def test_chunk_signatures_are_those_of_the_documentation() -> None:
    """The worked example of the S3 API reference, "Transferring payload in multiple chunks"."""
    key = signing.signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1")
    seed = "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9"
    _, signatures = _chunks(
        key, "20130524T000000Z", "20130524/us-east-1/s3/aws4_request", seed, [b"a" * 65_536, b"a" * 1024]
    )
    assert signatures[1:] == [
        "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
        "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
        "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
    ]


def _send_signed(ours: Target, pieces: list[bytes], change: Callable[[bytes], bytes], trailer: bool = False) -> Answer:
    url = f"{ours.endpoint}/{ours.bucket}/key"
    length = sum(len(piece) for piece in pieces)
    headers = {"Content-Encoding": "aws-chunked", "X-Amz-Decoded-Content-Length": str(length)}
    if trailer:
        headers["x-amz-trailer"] = "x-amz-checksum-sha256"
    headers = sign_headers(
        "PUT",
        url,
        access_key=ours.access_key,
        secret_key=ours.secret_key,
        headers=headers,
        payload=SIGNED_TRAILER if trailer else SIGNED,
    )
    amz_date, seed = headers["X-Amz-Date"], headers["Authorization"].rpartition("=")[2]
    key = signing.signing_key(ours.secret_key, amz_date[:8], "auto")
    scope = f"{amz_date[:8]}/auto/s3/aws4_request"
    sent, signatures = _chunks(key, amz_date, scope, seed, pieces)
    if trailer:
        digest = hashlib.sha256(b"".join(pieces)).digest()
        line = f"x-amz-checksum-sha256:{_base64(digest)}"
        hashed = hashlib.sha256(f"{line}\n".encode()).hexdigest()
        lines = ("AWS4-HMAC-SHA256-TRAILER", amz_date, scope, signatures[-1], hashed)
        signature = hmac.new(key, "\n".join(lines).encode(), "sha256").hexdigest()
        sent += f"{line}\r\nx-amz-trailer-signature:{signature}\r\n".encode()
    return fetch("PUT", url, headers=headers, body=change(sent + b"\r\n"))


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


PIECES = [pattern(70_000), pattern(30_000, seed=1), pattern(5, seed=2)]


@pytest.mark.parametrize("trailer", [False, True])
def test_a_signed_stream_is_taken(ours: Target, trailer: bool) -> None:
    answer = _send_signed(ours, PIECES, lambda sent: sent, trailer)
    assert answer.status == 200, answer.body
    assert ours.get("key") == b"".join(PIECES)


SIGNED_BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "a byte changed": lambda sent: sent[:200] + bytes([sent[200] ^ 1]) + sent[201:],
    "a signature changed": lambda sent: sent.replace(b"chunk-signature=", b"chunk-signature=0", 1),
    "chunks unsigned": lambda sent: sent.partition(b";")[0] + sent[sent.index(b"\r\n") :],
    "the last chunk unsigned": lambda sent: sent[: sent.rindex(b"0;chunk")] + b"0\r\n\r\n",
}


@pytest.mark.parametrize("name", sorted(SIGNED_BROKEN))
def test_a_changed_signed_stream_is_refused(ours: Target, name: str) -> None:
    assert _send_signed(ours, PIECES, SIGNED_BROKEN[name]).status in (400, 403)
    assert ours.keys() == []


def test_a_changed_signed_trailer_is_refused(ours: Target) -> None:
    def change(sent: bytes) -> bytes:
        head, _, signature = sent.rpartition(b"x-amz-trailer-signature:")
        return head + b"x-amz-trailer-signature:" + (b"1" if signature[:1] == b"0" else b"0") + signature[1:]

    assert _send_signed(ours, PIECES, change, trailer=True).status == 403
    assert ours.keys() == []
