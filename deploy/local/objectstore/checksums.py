"""Digests over a body as it streams past: MD5 for the ETag, SHA-256 for the signature, and S3's x-amz-checksum-*.

CRC-32C and CRC-64/NVME have no C implementation in the standard library: they are computed here by table, correct
but some 100 times slower than CRC-32, which is what the AWS SDKs use by default.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import zlib
from functools import cache
from typing import Protocol

HEADERS = {
    "CRC32": "x-amz-checksum-crc32",
    "CRC32C": "x-amz-checksum-crc32c",
    "CRC64NVME": "x-amz-checksum-crc64nvme",
    "SHA1": "x-amz-checksum-sha1",
    "SHA256": "x-amz-checksum-sha256",
}
ALGORITHMS = {header: algorithm for algorithm, header in HEADERS.items()}


class Digest(Protocol):
    """What hashlib's objects and the checksums here have in common."""

    def update(self, data: bytes, /) -> None: ...

    def digest(self) -> bytes: ...


class Crc32:
    """CRC-32 as of zlib, 4 bytes big endian."""

    def __init__(self) -> None:
        self._value = 0

    def update(self, data: bytes, /) -> None:
        self._value = zlib.crc32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


@cache
def _table(polynomial: int) -> tuple[int, ...]:
    rows = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (polynomial if value & 1 else 0)
        rows.append(value)
    return tuple(rows)


class TableCrc:
    """A reflected CRC with all bits set at start and end; the polynomial is given reflected."""

    def __init__(self, polynomial: int, width_bytes: int) -> None:
        self._table = _table(polynomial)
        self._width_bytes = width_bytes
        self._mask = (1 << (8 * width_bytes)) - 1
        self._value = self._mask

    def update(self, data: bytes, /) -> None:
        table, value = self._table, self._value
        for byte in data:
            value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
        self._value = value

    def digest(self) -> bytes:
        return (self._value ^ self._mask).to_bytes(self._width_bytes, "big")


def create(algorithm: str) -> Digest:
    """A new digest for one of HEADERS' algorithms."""
    if algorithm == "CRC32":
        return Crc32()
    if algorithm == "CRC32C":
        return TableCrc(0x82F63B78, 4)
    if algorithm == "CRC64NVME":
        return TableCrc(0x9A6C9329AC4BC9B5, 8)
    if algorithm == "SHA1":
        return hashlib.sha1(usedforsecurity=False)
    return hashlib.sha256()


def md5() -> Digest:
    """MD5, which S3 uses as the name of a content, not as protection."""
    return hashlib.md5(usedforsecurity=False)


def encode(digest: bytes) -> str:
    """The base64 form that S3 headers carry."""
    return base64.b64encode(digest).decode("ascii")


def decode(text: str) -> bytes | None:
    """The bytes of a base64 header value; None when it is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None


def multipart_etag(part_etags: list[str]) -> str:
    """The ETag of a multipart object: the MD5 of the parts' MD5s, and their number."""
    joined = hashlib.md5(b"".join(bytes.fromhex(etag) for etag in part_etags), usedforsecurity=False)
    return f"{joined.hexdigest()}-{len(part_etags)}"


def composite(algorithm: str, part_checksums: list[str]) -> str:
    """The checksum of a multipart object: that of the parts' checksums, and their number."""
    digest = create(algorithm)
    for text in part_checksums:
        digest.update(decode(text) or b"")
    return f"{encode(digest.digest())}-{len(part_checksums)}"
