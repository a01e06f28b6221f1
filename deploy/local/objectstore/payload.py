"""Request bodies: read as a stream, un-chunked (aws-chunked, signed or not), and held to every digest claimed for them.

Nothing here decides; a body that does not match its claims raises before its last byte is acted on.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from aiohttp import StreamReader
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.web import RequestPayloadError

from objectstore import checksums
from objectstore.errors import S3Error
from objectstore.signing import (
    CHUNK_ALGORITHM,
    EMPTY_SHA256,
    TRAILER_ALGORITHM,
    UNSIGNED,
    Verified,
    sign,
)

READ_BYTES = 256 * 1024
SIGNED_STREAM = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_STREAM_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
UNSIGNED_STREAM_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
STREAMS = (SIGNED_STREAM, SIGNED_STREAM_TRAILER, UNSIGNED_STREAM_TRAILER)
_HEX_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK_LINE = re.compile(rb"([0-9a-fA-F]{1,16})(?:;chunk-signature=([0-9a-f]{64}))?\r\n")
_LONGEST_TRAILER_BYTES = 4096


@dataclass(frozen=True)
class Claims:
    """What a request says about its body. `digests`: algorithm (also MD5, PAYLOAD) to the digest it must have."""

    length: int
    stream: str = ""
    trailer: str = ""
    digests: Mapping[str, bytes] = field(default_factory=dict)


def claims_of(headers: Mapping[str, str], verified: Verified) -> Claims:
    """The claims in the headers; raises an S3Error when they are missing or contradict each other."""
    stream = verified.payload if verified.payload in STREAMS else ""
    digests: dict[str, bytes] = {}
    if not stream and verified.payload != UNSIGNED:
        if not _HEX_SHA256.fullmatch(verified.payload):
            raise S3Error("InvalidArgument", "x-amz-content-sha256 must be a SHA-256 in hex or one of S3's keywords.")
        digests["PAYLOAD"] = bytes.fromhex(verified.payload)
    if (text := headers.get("content-md5")) is not None:
        digests["MD5"] = _digest(text, 16, "Content-MD5")
    for name, algorithm in checksums.ALGORITHMS.items():
        if (text := headers.get(name)) is not None:
            digests[algorithm] = _digest(text, len(checksums.create(algorithm).digest()), name)
    trailer = headers.get("x-amz-trailer", "").strip().lower()
    if trailer and (trailer not in checksums.ALGORITHMS or stream in ("", SIGNED_STREAM)):
        raise S3Error("InvalidRequest", "x-amz-trailer must name one checksum header of an aws-chunked body.")
    return Claims(_length(headers, bool(stream)), stream, trailer, digests)


def _digest(text: str, size: int, name: str) -> bytes:
    value = checksums.decode(text)
    if value is None or len(value) != size:
        raise S3Error("InvalidDigest", f"The {name} you specified is not valid.")
    return value


def _length(headers: Mapping[str, str], chunked: bool) -> int:
    text = headers.get("x-amz-decoded-content-length" if chunked else "content-length")
    if text is None:
        raise S3Error("MissingContentLength", "You must provide the Content-Length header.")
    if not re.fullmatch(r"[0-9]{1,15}", text):
        raise S3Error("InvalidArgument", "The content length must be a number.")
    return int(text)


class Checks:
    """The digests of a body as it passes; blocks, so big updates belong off the event loop."""

    def __init__(self, claims: Claims, *, etag: bool) -> None:
        self.claims = claims
        self.size_bytes = 0
        self.trailers: dict[str, str] = {}
        self._digests: dict[str, checksums.Digest] = {}
        algorithms = set(claims.digests)
        if etag:
            algorithms.add("MD5")
        if claims.trailer:
            algorithms.add(checksums.ALGORITHMS[claims.trailer])
        for algorithm in algorithms:
            self._digests[algorithm] = checksums.md5() if algorithm == "MD5" else checksums.create(algorithm)

    def update(self, data: bytes) -> None:
        self.size_bytes += len(data)
        for digest in self._digests.values():
            digest.update(data)

    def finish(self) -> None:
        """Raises unless the body was as long as said and every digest is as claimed."""
        if self.size_bytes != self.claims.length:
            raise S3Error("IncompleteBody", "The body is not as long as its length header says.")
        expected = dict(self.claims.digests)
        if self.claims.trailer:
            algorithm = checksums.ALGORITHMS[self.claims.trailer]
            text = self.trailers.get(self.claims.trailer, "")
            expected[algorithm] = _digest(text, len(checksums.create(algorithm).digest()), self.claims.trailer)
        for algorithm, digest in expected.items():
            if not hmac.compare_digest(self._digests[algorithm].digest(), digest):
                if algorithm == "PAYLOAD":
                    raise S3Error("XAmzContentSHA256Mismatch", "The body does not match x-amz-content-sha256.")
                raise S3Error("BadDigest", f"The {algorithm} you specified did not match what we received.")

    @property
    def etag(self) -> str:
        return self._digests["MD5"].digest().hex()

    @property
    def checksums(self) -> dict[str, str]:
        """The verified S3 checksums, by header name."""
        return {
            checksums.HEADERS[algorithm]: checksums.encode(digest.digest())
            for algorithm, digest in self._digests.items()
            if algorithm in checksums.HEADERS
        }


async def stream(content: StreamReader, checks: Checks, verified: Verified, idle_s: float) -> AsyncIterator[bytes]:
    """The body's own bytes in pieces of at most READ_BYTES or so; fills in the trailers at the end."""
    try:
        if checks.claims.stream:
            async for data in _unchunked(content, checks, verified, idle_s):
                yield data
        else:
            left = checks.claims.length
            while left:
                data = await _read(content, left, idle_s)
                left -= len(data)
                yield data
    except TimeoutError as fault:
        raise S3Error("RequestTimeout", "The body did not arrive in time.") from fault
    except RequestPayloadError as fault:
        raise S3Error("IncompleteBody", "The body is not framed as its headers say.") from fault


async def _read(content: StreamReader, most: int, idle_s: float) -> bytes:
    async with asyncio.timeout(idle_s):
        data = await content.read(min(most, READ_BYTES))
    if not data:
        raise S3Error("IncompleteBody", "The body ended before the length that its header says.")
    return data


async def _line(content: StreamReader, idle_s: float) -> bytes:
    try:
        async with asyncio.timeout(idle_s):
            return await content.readline()
    except (ValueError, HttpProcessingError) as fault:
        raise S3Error("InvalidRequest", "A line of the aws-chunked body is too long.") from fault


async def _unchunked(content: StreamReader, checks: Checks, verified: Verified, idle_s: float) -> AsyncIterator[bytes]:
    claims = checks.claims
    signed = claims.stream != UNSIGNED_STREAM_TRAILER
    previous = verified.signature
    left = claims.length
    while True:
        match = _CHUNK_LINE.fullmatch(await _line(content, idle_s))
        if match is None or signed != (match[2] is not None):
            raise S3Error("IncompleteBody", "The body is not aws-chunked as its headers say.")
        size = int(match[1], 16)
        if size > left:
            raise S3Error("IncompleteBody", "The body is longer than x-amz-decoded-content-length.")
        left -= size
        digest = hashlib.sha256()
        unread = size
        while unread:
            data = await _read(content, unread, idle_s)
            unread -= len(data)
            if signed:
                digest.update(data)
            yield data
        if signed:
            previous = _check_chunk(verified, previous, digest.hexdigest(), match[2].decode("ascii"))
        if size == 0:
            break
        if await _line(content, idle_s) != b"\r\n":
            raise S3Error("IncompleteBody", "A chunk of the body does not end where it says.")
    await _read_trailers(content, checks, verified, previous, idle_s)


def _check_chunk(verified: Verified, previous: str, digest: str, claimed: str) -> str:
    lines = (CHUNK_ALGORITHM, verified.amz_date, verified.scope, previous, EMPTY_SHA256, digest)
    expected = sign(verified.signing_key, lines)
    if not hmac.compare_digest(expected, claimed):
        raise S3Error("SignatureDoesNotMatch", "The signature of a chunk does not match.")
    return expected


async def _read_trailers(
    content: StreamReader, checks: Checks, verified: Verified, previous: str, idle_s: float
) -> None:
    signature = ""
    size_bytes = 0
    while (line := await _line(content, idle_s)) not in (b"\r\n", b""):
        size_bytes += len(line)
        if size_bytes > _LONGEST_TRAILER_BYTES:
            raise S3Error("InvalidRequest", "The trailers are too long.")
        name, _, value = line.decode("utf-8", "replace").strip().partition(":")
        if name.lower() == "x-amz-trailer-signature":
            signature = value.strip()
        else:
            checks.trailers[name.strip().lower()] = value.strip()
    if set(checks.trailers) != ({checks.claims.trailer} if checks.claims.trailer else set()):
        raise S3Error("InvalidRequest", "The trailers are not those that x-amz-trailer announces.")
    if checks.claims.stream == SIGNED_STREAM_TRAILER:
        text = "".join(f"{name}:{value}\n" for name, value in sorted(checks.trailers.items()))
        digest = hashlib.sha256(text.encode()).hexdigest()
        lines = (TRAILER_ALGORITHM, verified.amz_date, verified.scope, previous, digest)
        if not hmac.compare_digest(sign(verified.signing_key, lines).encode(), signature.encode()):
            raise S3Error("SignatureDoesNotMatch", "The signature of the trailers does not match.")
