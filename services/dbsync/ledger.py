"""The log's object store over S3: the only module of dbsync that speaks boto3.

boto3's own retries are off: a conditional PUT that is sent again by a layer below would be answered "it exists" by
its own first try, and only the layer above can tell. What is no clear answer is Undecided.
"""

from __future__ import annotations

import hashlib
import logging
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

import boto3
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from chassis import tracing
from dbsync.slots import LIST_PAGE, Blob, Hopeless, Undecided

log = logging.getLogger(__name__)

T = TypeVar("T")

_MISSING = {"404", "NoSuchKey", "NotFound"}
_EXISTS = {"412", "PreconditionFailed"}
# 409: another conditional write to the key is under way, and either may win.
_UNCLEAR_STATUS = {408, 409, 425, 429}
_PASSING = {"RequestTimeTooSkewed", "RequestTimeout"}  # a machine's clock is wrong for a moment after a suspend


class S3Store:
    """A bucket. Methods block; made for threads. `fetchers` run what is read beside each other."""

    def __init__(self, client: Any, bucket: str, fetchers: ThreadPoolExecutor) -> None:
        self._client = client
        self._bucket = bucket
        self._fetchers = fetchers

    def create(self, key: str, body: bytes, timeout_s: float) -> bool:
        """Puts the object if there is none."""
        with tracing.span("store PUT", kind="client", attributes={"key": key, "size_bytes": len(body)}):
            return self._put(key, body, {}, {"IfNoneMatch": "*"})

    def replace(
        self, key: str, body: bytes, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        """Puts the object if its ETag is still `expected` (None: if there is none)."""
        condition = {"IfNoneMatch": "*"} if expected is None else {"IfMatch": expected}
        with tracing.span("store PUT", kind="client", attributes={"key": key, "size_bytes": len(body)}):
            return self._put(key, body, metadata, condition)

    def get(self, key: str, timeout_s: float) -> Blob | None:
        """The object, or None."""
        with tracing.span("store GET", kind="client", attributes={"key": key}) as span:
            found = _decided(lambda: self._get(key))
            span.set("found", found is not None)
            return found

    def head(self, key: str, timeout_s: float) -> Blob | None:
        """The object without its body, or None."""
        with tracing.span("store HEAD", kind="client", attributes={"key": key}):
            return _decided(lambda: self._head(key))

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        """The objects, fetched beside each other."""
        if len(keys) == 1:
            return [self.get(keys[0], timeout_s)]
        running = [self._beside(lambda key=key: self.get(key, timeout_s)) for key in keys]  # type: ignore[misc]
        return [one.result() for one in running]

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        """Up to LIST_PAGE keys that sort after `after`."""
        with tracing.span("store LIST", kind="client", attributes={"prefix": prefix}):
            return _decided(lambda: self._list(prefix, after))

    def get_and_list(self, key: str, prefix: str, timeout_s: float) -> tuple[Blob | None, list[str]]:
        """An object and the first keys of a list, beside each other."""
        listing = self._beside(lambda: self.list_keys(prefix, "", timeout_s))
        blob = self.get(key, timeout_s)
        return blob, listing.result()

    def _beside(self, call: Callable[[], T]) -> Any:
        return self._fetchers.submit(copy_context().run, call)

    def _put(self, key: str, body: bytes, metadata: Mapping[str, str], condition: Mapping[str, str]) -> bool:
        def put() -> bool:
            try:
                self._client.put_object(
                    Bucket=self._bucket,
                    Key=key,
                    Body=body,
                    # What arrives otherwise than it was sent is refused, instead of being the version for ever.
                    ContentMD5=b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
                    Metadata=dict(metadata),
                    **condition,
                )
            except ClientError as error:
                if _code(error) in _EXISTS:
                    return False
                raise
            return True

        return _decided(put)

    def _get(self, key: str) -> Blob | None:
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise
        with answer["Body"] as body:
            return Blob(body.read(), answer["Metadata"], answer["ETag"])

    def _head(self, key: str) -> Blob | None:
        try:
            answer = self._client.head_object(Bucket=self._bucket, Key=key)
        except ClientError as error:
            if _code(error) in _MISSING:
                return None
            raise
        return Blob(b"", answer["Metadata"], answer["ETag"])

    def _list(self, prefix: str, after: str) -> list[str]:
        answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=prefix, StartAfter=after, MaxKeys=LIST_PAGE)
        return [found["Key"] for found in answer.get("Contents", ())]


def connect(
    *, endpoint_url: str, access_key_id: str, secret_access_key: str, attempt_s: float, connections: int
) -> Any:
    """A client of the store, whose every request ends within about `attempt_s` seconds of silence."""
    config = BotoConfig(
        region_name="auto",
        signature_version="s3v4",
        s3={"addressing_style": "path"},
        retries={"total_max_attempts": 1},
        connect_timeout=min(attempt_s, 3.0),
        read_timeout=attempt_s,
        max_pool_connections=connections,
        tcp_keepalive=True,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
    )
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint_url,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=config,
    )


def _decided(call: Callable[[], T]) -> T:
    try:
        return call()
    except ClientError as error:
        status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        if status >= 500 or status in _UNCLEAR_STATUS or status < 400 or _code(error) in _PASSING:
            raise Undecided(f"{status} {_code(error)}") from error
        log.error("the store refuses us: %s", error, extra={"status": status, "code": _code(error)})
        raise Hopeless(f"{status} {_code(error)}") from error
    except (HTTPClientError, BotoCoreError, OSError) as error:
        raise Undecided(f"{type(error).__name__}: {error}") from error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
