"""The log's object store over S3: the only module of dbsync that speaks HTTP.

Each request is sent once, by urllib3 with its retries off: whoever sends a conditional PUT again on his own answers "it
exists" to the second of two tries of ours, and only the layer above can tell the two apart. What is no clear answer is
Undecided, a body of the wrong length too.
"""

from __future__ import annotations

import hashlib
import html
import logging
import re
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextvars import copy_context
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote, urlsplit

import certifi
from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.exceptions import HTTPError

from chassis import tracing
from dbsync.pages import Body
from dbsync.scratch import room
from dbsync.sigv4 import UNSIGNED, Signer, quoted, quoted_query
from dbsync.slots import LIST_PAGE, Blob, Hopeless, Undecided

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_S = 3.0
MISTIMED_S = 100.0  # the store takes a time that is off by up to 15 minutes; longer than any request takes
LARGE_BYTES, PIECE_BYTES = 1 << 20, 1 << 18
SLOWEST_BYTES_S = 1 << 20  # of a large body: it gets that much more time
REGION = "auto"
_METADATA = "x-amz-meta-"
# Without NODELAY a PUT's body waits 40 ms for the acknowledgement of its headers.
_SOCKET_OPTIONS = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
# 409: another conditional write to the key is under way, and either may win.
_UNCLEAR_STATUS = {408, 409, 425, 429}
_SKEWED = "RequestTimeTooSkewed"
_PASSING = {_SKEWED, "RequestTimeout"}
_KEY, _CODE = re.compile(rb"<Key>([^<]*)</Key>"), re.compile(rb"<Code>([^<]*)</Code>")


@dataclass(frozen=True)
class Answer:
    """What the store said: a status that is an answer, headers by lower-case name, the whole body."""

    status: int
    headers: Mapping[str, str]
    body: Body


class Wire:
    """Signed requests to one bucket, each sent once. Made for threads."""

    def __init__(
        self,
        *,
        endpoint_url: str,
        bucket: str,
        access_key_id: str,
        secret_access_key: str,
        attempt_s: float,
        connections: int,
        spool: Path | None = None,
    ) -> None:
        """`attempt_s` is how long the store may be silent; what is large is received into files of `spool`."""
        where = urlsplit(endpoint_url)
        self._attempt_s = attempt_s
        self._spool = spool
        self._heard: tuple[str, float] | None = None  # the newest answer's Date, and this machine's time of it
        self._tls = where.scheme == "https"
        self._bucket = quoted(f"{where.path.rstrip('/')}/{bucket}")
        self._pool = _pool(where.hostname or "", where.port, self._tls, attempt_s, connections)
        host = where.netloc.rpartition("@")[2].removesuffix(":443" if self._tls else ":80")
        self.signer = Signer(access_key_id, secret_access_key, host=host, region=REGION)

    def ask(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: Body = b"",
    ) -> Answer:
        """The answer: 2xx, 404 or 412. Undecided for everything else, Hopeless when it will stay so."""
        path = f"{self._bucket}/{quoted(key)}" if key else self._bucket
        text = quoted_query(query or {})
        # Over TLS the bytes are guarded already, and Content-MD5 guards what the store makes of them.
        payload = UNSIGNED if body and self._tls else hashlib.sha256(body).hexdigest()
        signed = self.signer.headers(method, path, text, headers or {}, payload)
        # What is mapped into memory can be read, too: as a small body it would go in chunks, without its length.
        sent: bytes | _Sending | None = bytes(body) if method == "PUT" and len(body) <= LARGE_BYTES else None
        if len(body) > LARGE_BYTES:
            sent, signed["Content-Length"] = _Sending(body, self._patience_s(len(body))), str(len(body))
        try:
            answer = self._pool.urlopen(
                method,
                f"{path}?{text}" if text else path,
                body=sent,  # type: ignore[arg-type]  # whatever can be read
                headers=signed,
                retries=False,
                redirect=False,
                preload_content=False,
                decode_content=False,
            )
            try:
                received = self._received(answer, method)
            finally:
                answer.release_conn()
        except (HTTPError, OSError) as error:
            raise Undecided(f"{type(error).__name__}: {error}") from error
        found = Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, received)
        self._heard = found.headers.get("date", ""), time.time()
        return self._answered(method, found)

    def presigned(self, key: str, query: Mapping[str, str], lifetime_s: int) -> tuple[str, int]:
        """A URL that reads the object with that query, and when it expires (Unix milliseconds)."""
        date, at_s = self._heard or ("", 0.0)
        if date:
            self._follow(date, at_s)
        return self.signer.presigned(f"{self._bucket}/{quoted(key)}", query, lifetime_s, tls=self._tls)

    def _received(self, answer: BaseHTTPResponse, method: str) -> Body:
        size_bytes = int(answer.headers.get("content-length") or 0)
        if method != "GET" or answer.status != 200 or size_bytes <= LARGE_BYTES or self._spool is None:
            return answer.data
        body, at, until_s = room(self._spool, size_bytes), 0, time.monotonic() + self._patience_s(size_bytes)
        while piece := answer.read(PIECE_BYTES):
            if time.monotonic() > until_s:
                answer.close()
                raise TimeoutError(f"{at} of {size_bytes} bytes came in time")
            body[at : at + len(piece)] = piece
            at += len(piece)
        if at != size_bytes:
            raise Undecided(f"{at} of {size_bytes} bytes came")
        return body

    def _patience_s(self, size_bytes: int) -> float:
        return self._attempt_s + size_bytes / SLOWEST_BYTES_S

    def close(self) -> None:
        """Ends the connections."""
        self._pool.close()

    def _answered(self, method: str, found: Answer) -> Answer:
        expected = found.headers.get("content-length")
        if method != "HEAD" and expected is not None and expected != str(len(found.body)):
            raise Undecided(f"{len(found.body)} of {expected} bytes came")
        if 200 <= found.status < 300 or found.status == 412:
            return found
        match = _CODE.search(found.body)
        code = match[1].decode(errors="replace") if match else ""
        if found.status == 404 and code in ("", "NoSuchKey"):
            return found
        date = found.headers.get("date", "")
        # An answer to HEAD has no code: that our time was wrong is seen by the store's.
        if code == _SKEWED or (method == "HEAD" and found.status == 403 and self.signer.off_s(date) > MISTIMED_S):
            code = _SKEWED
            self._follow(date, time.time())
        if found.status >= 500 or found.status in _UNCLEAR_STATUS or found.status < 400 or code in _PASSING:
            raise Undecided(f"{found.status} {code}")
        log.error("the store refuses us: %s %s", found.status, code, extra={"status": found.status, "code": code})
        raise Hopeless(f"{found.status} {code}")

    def _follow(self, date: str, at_s: float) -> None:
        try:
            self.signer.follow(date, at_s)
        except ValueError:
            log.warning("the store's answer has no date", extra={"date": date})


class _Sending:
    """A large body on its way, in pieces of our size, until the time for it is up."""

    def __init__(self, body: Body, patience_s: float) -> None:
        self._body = body
        self._at = 0
        self._until_s = time.monotonic() + patience_s

    def read(self, size_bytes: int = -1) -> bytes:
        """The next piece; TimeoutError."""
        if time.monotonic() > self._until_s:
            raise TimeoutError(f"{self._at} of {len(self._body)} bytes went in time")
        piece = self._body[self._at : self._at + PIECE_BYTES]
        self._at += len(piece)
        return piece


def _pool(host: str, port: int | None, tls: bool, attempt_s: float, connections: int) -> HTTPConnectionPool:
    timeout = Timeout(connect=min(attempt_s, CONNECT_S), read=attempt_s)
    if tls:
        return HTTPSConnectionPool(
            host, port, timeout=timeout, maxsize=connections, socket_options=_SOCKET_OPTIONS, ca_certs=certifi.where()
        )
    return HTTPConnectionPool(host, port, timeout=timeout, maxsize=connections, socket_options=_SOCKET_OPTIONS)


class S3Store:
    """A bucket, as `dbsync.slots.Store`. Methods block; `fetchers` run what is read beside each other."""

    def __init__(self, wire: Wire, fetchers: ThreadPoolExecutor) -> None:
        self._wire = wire
        self._fetchers = fetchers

    def create(self, key: str, body: Body, timeout_s: float) -> bool:
        """Puts the object if there is none."""
        return self._put(key, body, {"If-None-Match": "*"})

    def replace(
        self, key: str, body: Body, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        """Puts the object if its ETag is still `expected` (None: if there is none)."""
        condition = {"If-None-Match": "*"} if expected is None else {"If-Match": expected}
        return self._put(key, body, {**condition, **_named(metadata)})

    def overwrite(self, objects: Mapping[str, bytes], metadata: Mapping[str, str], timeout_s: float) -> None:
        """Puts the objects, beside each other, whatever is there."""
        running = [self._beside(self._put, key, body, _named(metadata)) for key, body in objects.items()]
        wait(running)
        for one in running:
            if not one.result():
                raise Undecided("412 to a PUT without a condition")

    def remove(self, keys: Sequence[str], timeout_s: float) -> None:
        """Removes the objects that are there."""
        for key in keys:
            with tracing.span("store DELETE", kind="client", attributes={"key": key}):
                self._wire.ask("DELETE", key)

    def presign(self, key: str, name: str, lifetime_s: int) -> tuple[str, int]:
        """A URL that downloads the object as a file of that name, and when it expires (Unix milliseconds)."""
        kept = "".join(one if one.isascii() and (one.isalnum() or one in " ()+,._-") else "_" for one in name)
        disposition = f"attachment; filename=\"{kept}\"; filename*=UTF-8''{quote(name, safe='')}"
        return self._wire.presigned(key, {"response-content-disposition": disposition}, lifetime_s)

    def get(self, key: str, timeout_s: float) -> Blob | None:
        """The object, or None."""
        with tracing.span("store GET", kind="client", attributes={"key": key}) as span:
            found = _blob(self._wire.ask("GET", key))
            span.set("found", found is not None)
            return found

    def head(self, key: str, timeout_s: float) -> Blob | None:
        """The object without its body, or None."""
        with tracing.span("store HEAD", kind="client", attributes={"key": key}):
            return _blob(self._wire.ask("HEAD", key))

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        """The objects, fetched beside each other."""
        if len(keys) == 1:
            return [self.get(keys[0], timeout_s)]
        running = [self._beside(self.get, key, timeout_s) for key in keys]
        return [one.result() for one in running]

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        """Up to LIST_PAGE keys that sort after `after`."""
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(LIST_PAGE)}
        if after:
            query["start-after"] = after
        with tracing.span("store LIST", kind="client", attributes={"prefix": prefix}):
            answer = self._wire.ask("GET", "", query=query)
            if answer.status != 200 or b"</ListBucketResult>" not in answer.body:
                raise Undecided(f"{answer.status}, and no list")
            return [html.unescape(key.decode()) for key in _KEY.findall(answer.body)]

    def get_and_list(self, key: str, prefix: str, timeout_s: float) -> tuple[Blob | None, list[str]]:
        """An object and the first keys of a list, beside each other."""
        listing = self._beside(self.list_keys, prefix, "", timeout_s)
        blob = self.get(key, timeout_s)
        return blob, listing.result()

    def _beside(self, call: Callable[..., T], *arguments: object) -> Future[T]:
        return self._fetchers.submit(copy_context().run, call, *arguments)

    def _put(self, key: str, body: Body, headers: Mapping[str, str]) -> bool:
        # What arrives otherwise than it was sent is refused, instead of being the version for ever.
        digest = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        attributes: dict[str, str | int] = {"key": key, "size_bytes": len(body)}
        with tracing.span("store PUT", kind="client", attributes=attributes) as span:
            answer = self._wire.ask("PUT", key, headers={**headers, "Content-MD5": digest}, body=body)
            span.set("status", answer.status)
            if answer.status == 404:
                raise Undecided("404 to a PUT")  # R2's answer to If-Match when the object is gone
            return answer.status != 412


def _named(metadata: Mapping[str, str]) -> dict[str, str]:
    return {f"{_METADATA}{name}": value for name, value in metadata.items()}


def _blob(answer: Answer) -> Blob | None:
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise Undecided(f"{answer.status} to a read")
    metadata = {
        name.removeprefix(_METADATA): value for name, value in answer.headers.items() if name.startswith(_METADATA)
    }
    size_bytes = int(answer.headers.get("content-length") or len(answer.body))
    return Blob(answer.body, metadata, answer.headers.get("etag", ""), size_bytes)
