"""A source behind a presigned URL as a seekable file: few large Range reads, a bound on what is kept.

1. Only bytes that are asked for, rounded up to BLOCK_BYTES, are read (tests/render/test_remote.py).
2. A lost connection is tried again; a source that changed meanwhile is an error, never a mixture of two.
"""

from __future__ import annotations

import http.client
import io
import time
from collections import OrderedDict
from urllib.parse import urlsplit

BLOCK_BYTES = 1 << 20
BLOCKS_KEPT = 48
ATTEMPTS = 4
TIMEOUT_S = 20.0


class SourceError(Exception):
    """A source that cannot be used; `code` is the job error's."""

    def __init__(self, code: str, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class RemoteFile(io.RawIOBase):
    """A read-only file over HTTP Range requests; not for several threads."""

    def __init__(self, url: str, name: str, etag: str = "") -> None:
        super().__init__()
        parts = urlsplit(url)
        self._secure = parts.scheme == "https"
        self._host = parts.netloc
        self._target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        self._name = name
        self._etag = etag.strip('"')
        self._connection: http.client.HTTPConnection | None = None
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self._size = -1
        self.fetched_bytes = 0
        self._fetch(0)

    @property
    def size_bytes(self) -> int:
        """The size of the whole object."""
        return self._size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def read(self, size: int = -1) -> bytes:
        if self._position >= self._size:
            return b""
        number, start = divmod(self._position, BLOCK_BYTES)
        block = self._block(number)
        end = len(block) if size < 0 else min(len(block), start + size)
        self._position += end - start
        return block[start:end]

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        super().close()

    def _block(self, number: int) -> bytes:
        if number in self._blocks:
            self._blocks.move_to_end(number)
            return self._blocks[number]
        return self._fetch(number)

    def _fetch(self, number: int) -> bytes:
        block = b""
        for attempt in range(ATTEMPTS):
            try:
                block = self._request(number)
                break
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if attempt + 1 == ATTEMPTS:
                    message = f"{self._name}: reading stopped: {type(error).__name__} {error}."
                    raise SourceError("store_unavailable", message, retryable=True) from error
                time.sleep(0.2 * 2**attempt)
        self._blocks[number] = block
        if len(self._blocks) > BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return block

    def _request(self, number: int) -> bytes:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, timeout=TIMEOUT_S)
        first = number * BLOCK_BYTES
        last = first + BLOCK_BYTES - 1
        self._connection.request("GET", self._target, headers={"Range": f"bytes={first}-{last}"})
        response = self._connection.getresponse()
        body = response.read(BLOCK_BYTES + 1) if response.status in (200, 206) else response.read(4096)
        if response.status == 200 and (number or len(body) > BLOCK_BYTES):
            raise SourceError("source_unreadable", f"{self._name}: the store does not answer ranges.")
        if response.status == 404:
            raise SourceError("source_not_found", f"{self._name} is not in the store.")
        if response.status == 416 and number == 0:
            raise SourceError("source_unreadable", f"{self._name} is empty.")
        if response.status == 403:
            raise SourceError("store_unavailable", f"{self._name}: the grant to read it has expired.", retryable=True)
        if response.status not in (200, 206):
            raise http.client.HTTPException(f"status {response.status}")
        etag = response.headers.get("ETag", "").strip('"')
        if self._etag and etag != self._etag:
            raise SourceError("source_changed", f"{self._name} changed since the export was asked for.")
        self._etag = etag
        if self._size < 0:
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            self._size = int(total) if response.status == 206 else len(body)
        expected = min(BLOCK_BYTES, self._size - first)
        if len(body) != expected:
            raise http.client.IncompleteRead(body, expected - len(body))
        self.fetched_bytes += len(body)
        return body

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
