"""A source behind a presigned URL as a seekable file: few large Range reads, a bound on what is kept.

1. Little more than what is asked for is read: after a jump RUN_MIN blocks, then twice as many each time while reading
   goes on, up to RUN_MAX (tests/render/test_remote.py::test_little_more_is_read_than_asked_for); all that is needed,
   and no more, where the reader could say where that ends (test_what_is_needed_is_read_in_few_requests).
2. A lost connection is tried again; a source that changed meanwhile is an error, never a mixture of two
   (test_a_store_that_stumbles, test_a_source_that_changes).
"""

from __future__ import annotations

import http.client
import io
import time
from collections import OrderedDict
from urllib.parse import urlsplit

BLOCK_BYTES = 1 << 16
RUN_MIN, RUN_MAX = 2, 16
BLOCKS_KEPT = 640
PATIENCE_S = 60.0  # with a store that is away: what was rendered so far is not thrown away for it
PAUSE_MAX_S = 5.0
TIMEOUT_S = 20.0
_REFUSED = (400, 401, 405, 411, 414)  # asking again changes nothing


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
        self._run = RUN_MIN
        self._next = -1  # the block after the last one fetched
        self._needed_to = -1  # the last block that is known to be needed
        self._size = -1
        self.fetched_bytes = 0
        self._fetch(0)

    @property
    def size_bytes(self) -> int:
        """The size of the whole object."""
        return self._size

    @property
    def etag(self) -> str:
        """The version that is read."""
        return self._etag

    def expect(self, end: int) -> None:
        """From here on what lies before the byte `end` is needed, and hardly more; -1 takes that back."""
        self._needed_to = (end - 1) // BLOCK_BYTES if end > 0 else -1

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
        if number <= self._needed_to:
            self._run = min(RUN_MAX, self._needed_to - number + 1)
        elif self._needed_to >= 0:
            self._run = 1
        else:
            self._run = min(RUN_MAX, self._run * 2) if number == self._next else RUN_MIN
        count = next((i for i in range(1, self._run) if number + i in self._blocks), self._run)
        body = self._patiently(number, count)
        for i in range(-(-len(body) // BLOCK_BYTES)):
            self._blocks[number + i] = body[i * BLOCK_BYTES : (i + 1) * BLOCK_BYTES]
            self._next = number + i + 1
        while len(self._blocks) > BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return body[:BLOCK_BYTES]

    def _patiently(self, number: int, count: int) -> bytes:
        began = time.monotonic()
        pause_s = 0.1
        while True:
            try:
                return self._request(number, count)
            except (OSError, http.client.HTTPException) as error:
                self._drop()
                if time.monotonic() - began > PATIENCE_S:
                    message = f"{self._name}: reading stopped: {type(error).__name__} {error}."
                    raise SourceError("store_unavailable", message, retryable=True) from error
            time.sleep(pause_s)
            pause_s = min(PAUSE_MAX_S, pause_s * 2)

    def _request(self, number: int, count: int) -> bytes:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
            self._connection = kind(self._host, timeout=TIMEOUT_S)
        first, length = number * BLOCK_BYTES, count * BLOCK_BYTES
        wanted = {"Range": f"bytes={first}-{first + length - 1}"}
        self._connection.request("GET", self._target, headers=wanted)
        response = self._connection.getresponse()
        body = response.read(length + 1) if response.status in (200, 206) else response.read(4096)
        self._check(response, whole_asked=number == 0, fits=len(body) <= length)
        etag = response.headers.get("ETag", "").strip('"')
        if self._etag and etag != self._etag:
            raise SourceError("source_changed", f"{self._name} changed since the export was asked for.")
        self._etag = etag
        if self._size < 0:
            total = response.headers.get("Content-Range", "").rpartition("/")[2]
            self._size = int(total) if response.status == 206 else len(body)
        expected = min(length, self._size - first)
        if len(body) != expected:
            raise http.client.IncompleteRead(body, expected - len(body))
        self.fetched_bytes += len(body)
        return body

    def _check(self, response: http.client.HTTPResponse, *, whole_asked: bool, fits: bool) -> None:
        status = response.status
        if status == 200 and not (whole_asked and fits):
            self._drop()
            raise SourceError("source_unreadable", f"{self._name}: the store does not answer ranges.")
        if status == 404:
            raise SourceError("source_not_found", f"{self._name} is not in the store.")
        if status == 416 and whole_asked:
            raise SourceError("source_unreadable", f"{self._name} is empty.")
        if status == 403:
            raise SourceError("store_unavailable", f"{self._name}: the grant to read it has expired.", retryable=True)
        if status in _REFUSED:
            message = f"{self._name}: the store refuses to hand it out ({status})."
            raise SourceError("store_unavailable", message, retryable=True)
        if status not in (200, 206):
            raise http.client.HTTPException(f"status {status}")

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
