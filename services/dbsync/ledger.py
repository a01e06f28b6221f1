"""The log's object store over S3: the only module of dbsync that speaks botocore.

Requests are signed and sent by botocore's lower half: its clients would take 20 MB and a millisecond a request, and
would send a conditional PUT again on their own, whose first try answers "it exists" to the second; only the layer
above can tell the two apart. What is no clear answer is Undecided, a body of the wrong length too.
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
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session

from chassis import tracing
from dbsync.slots import LIST_PAGE, Blob, Hopeless, Undecided

log = logging.getLogger(__name__)

T = TypeVar("T")

CONNECT_S = 3.0
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
    body: bytes


class Signer(S3SigV4Auth):
    """Signs with the store's time, as far as this machine's is known to differ: after a suspend it does."""

    ahead_s = 0.0  # of this machine's clock

    def follow(self, date: str) -> None:
        """The store refused our time; this is the Date of its answer."""
        try:
            self.ahead_s = parsedate_to_datetime(date).timestamp() - time.time()
        except ValueError:
            log.warning("the store's answer has no date", extra={"date": date})

    def _modify_request_before_signing(self, request: Any) -> None:
        now = datetime.fromtimestamp(time.time() + self.ahead_s, UTC)
        request.context["timestamp"] = now.strftime("%Y%m%dT%H%M%SZ")
        super()._modify_request_before_signing(request)  # type: ignore[misc]  # not in the stubs


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
    ) -> None:
        """`attempt_s` is how long the store may be silent."""
        self._base = f"{endpoint_url.rstrip('/')}/{bucket}"
        self.signer = Signer(Credentials(access_key_id, secret_access_key), "s3", REGION)
        self._session = URLLib3Session(
            timeout=(min(attempt_s, CONNECT_S), attempt_s),  # type: ignore[arg-type]  # (connect, read) is taken too
            max_pool_connections=connections,
            socket_options=_SOCKET_OPTIONS,  # type: ignore[arg-type]  # setsockopt's arguments
        )

    def ask(
        self,
        method: str,
        key: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """The answer: 2xx, 404 or 412. Undecided for everything else, Hopeless when it will stay so."""
        url = f"{self._base}/{key}" if key else self._base
        request = AWSRequest(method=method, url=url, params=dict(query or {}), headers=dict(headers or {}), data=body)
        try:
            self.signer.add_auth(request)
            answer = self._session.send(request.prepare())
            found = Answer(answer.status_code, {k.lower(): v for k, v in answer.headers.items()}, answer.content)
        except (BotoCoreError, OSError) as error:
            raise Undecided(f"{type(error).__name__}: {error}") from error
        return self._answered(method, found)

    def close(self) -> None:
        """Ends the connections."""
        self._session.close()

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
        if code == _SKEWED:
            self.signer.follow(found.headers.get("date", ""))
        if found.status >= 500 or found.status in _UNCLEAR_STATUS or found.status < 400 or code in _PASSING:
            raise Undecided(f"{found.status} {code}")
        log.error("the store refuses us: %s %s", found.status, code, extra={"status": found.status, "code": code})
        raise Hopeless(f"{found.status} {code}")


class S3Store:
    """A bucket, as `dbsync.slots.Store`. Methods block; `fetchers` run what is read beside each other."""

    def __init__(self, wire: Wire, fetchers: ThreadPoolExecutor) -> None:
        self._wire = wire
        self._fetchers = fetchers

    def create(self, key: str, body: bytes, timeout_s: float) -> bool:
        """Puts the object if there is none."""
        return self._put(key, body, {"If-None-Match": "*"})

    def replace(
        self, key: str, body: bytes, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        """Puts the object if its ETag is still `expected` (None: if there is none)."""
        condition = {"If-None-Match": "*"} if expected is None else {"If-Match": expected}
        return self._put(key, body, {**condition, **{f"{_METADATA}{name}": value for name, value in metadata.items()}})

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

    def _put(self, key: str, body: bytes, headers: Mapping[str, str]) -> bool:
        # What arrives otherwise than it was sent is refused, instead of being the version for ever.
        digest = b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        attributes: dict[str, str | int] = {"key": key, "size_bytes": len(body)}
        with tracing.span("store PUT", kind="client", attributes=attributes) as span:
            answer = self._wire.ask("PUT", key, headers={**headers, "Content-MD5": digest}, body=body)
            span.set("status", answer.status)
            if answer.status == 404:
                raise Undecided("404 to a PUT")  # R2's answer to If-Match when the object is gone
            return answer.status != 412


def _blob(answer: Answer) -> Blob | None:
    if answer.status == 404:
        return None
    if answer.status != 200:
        raise Undecided(f"{answer.status} to a read")
    metadata = {
        name.removeprefix(_METADATA): value for name, value in answer.headers.items() if name.startswith(_METADATA)
    }
    return Blob(answer.body, metadata, answer.headers.get("etag", ""))
