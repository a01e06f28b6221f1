"""The way of every request: parse, authenticate, find the handler, answer; errors as S3 XML, CORS on all of it."""

from __future__ import annotations

import errno
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import web

from objectstore import admin, buckets, cors, multipart, objects, reading, records, signing
from objectstore.call import Call
from objectstore.errors import S3Error, error_xml
from objectstore.signing import Incoming
from objectstore.store import Store

Handler = Callable[[Call], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)
LONGEST_KEY_BYTES = 1024
TRACKED_KEYS = 100_000

# (method, level, subresource): the level is how much the address names.
HANDLERS: Mapping[tuple[str, str, str], Handler] = {
    ("GET", "service", ""): buckets.list_buckets,
    ("PUT", "bucket", ""): buckets.create,
    ("HEAD", "bucket", ""): buckets.head,
    ("DELETE", "bucket", ""): buckets.delete,
    ("GET", "bucket", ""): buckets.list_objects,
    ("GET", "bucket", "location"): buckets.location,
    ("GET", "bucket", "uploads"): multipart.list_uploads,
    ("POST", "bucket", "delete"): objects.delete_many,
    ("PUT", "bucket", "cors"): buckets.put_cors,
    ("GET", "bucket", "cors"): buckets.get_cors,
    ("DELETE", "bucket", "cors"): buckets.delete_cors,
    ("PUT", "bucket", "lifecycle"): buckets.put_lifecycle,
    ("GET", "bucket", "lifecycle"): buckets.get_lifecycle,
    ("DELETE", "bucket", "lifecycle"): buckets.delete_lifecycle,
    ("GET", "object", ""): reading.get,
    ("HEAD", "object", ""): reading.head,
    ("PUT", "object", ""): objects.put,
    ("DELETE", "object", ""): objects.delete,
    ("POST", "object", "uploads"): multipart.create,
    ("PUT", "object", "uploadId"): multipart.put_part,
    ("GET", "object", "uploadId"): multipart.list_parts,
    ("POST", "object", "uploadId"): multipart.complete,
    ("DELETE", "object", "uploadId"): multipart.abort,
}
# A subresource that is not done here must not be taken for the thing itself: PUT /b/k?acl is not PUT /b/k.
SUBRESOURCES = frozenset(
    {
        "accelerate", "acl", "analytics", "attributes", "cors", "delete", "encryption", "intelligent-tiering",
        "inventory", "legal-hold", "lifecycle", "location", "logging", "metrics", "notification", "object-lock",
        "ownershipControls", "partNumber", "policy", "policyStatus", "publicAccessBlock", "replication",
        "requestPayment", "restore", "retention", "select", "tagging", "torrent", "uploadId", "uploads", "versionId",
        "versioning", "versions", "website",
    }
)  # fmt: skip
OBJECT_WRITES = (objects.put, objects.copy, objects.delete, multipart.complete)


class Router:
    """Answers the requests of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._running = 0
        self._written: OrderedDict[tuple[str, str], float] = OrderedDict()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        request_id = secrets.token_hex(8).upper()
        self._running += 1
        bucket = ""
        try:
            raw_path, _, raw_query = request.raw_path.partition("?")
            if raw_path.startswith(admin.PREFIX):
                return await admin.answer(self._store, request, raw_path)
            if self._running > self._store.settings.max_requests:
                raise S3Error("SlowDown", "Too many requests at once: try again.")
            incoming = _incoming(request, raw_path, raw_query)
            bucket, key = _address(incoming)
            if request.method == "OPTIONS":
                response = await self._preflight(incoming, bucket)
            else:
                response = await self._answer(request, incoming, bucket, key)
        except S3Error as error:
            response = _refusal(request, error, request_id)
        except ConnectionError:
            # The client is gone, or a fault cut it off: nobody hears this answer, and nobody need be told.
            if request.transport is not None:
                request.transport.abort()
            response = web.Response(status=400)
        except Exception as fault:
            response = _refusal(request, _unexpected(fault, request_id), request_id)
        finally:
            self._running -= 1
        if not response.prepared:
            response.headers.setdefault("x-amz-request-id", request_id)
            response.headers.setdefault("Server", "objectstore")
        return response

    async def _answer(self, request: web.BaseRequest, incoming: Incoming, bucket: str, key: str) -> web.StreamResponse:
        settings = self._store.settings
        allowed = await self._cors(incoming, bucket)
        try:
            verified = signing.verify(incoming, settings.access_key, settings.secret_key, self._store.clock())
            headers = dict(reversed(incoming.headers))
            query = dict(reversed(incoming.query))
            handler = _handler(request.method, bucket, key, headers, query)
            faults = self._store.faults.choose(request.method, bucket, key)
            call = Call(self._store, request, incoming, verified, bucket, key, headers, query, faults, allowed)
            await call.stage("before")
            if settings.strict_r2 and handler in OBJECT_WRITES:
                self._limit_rate(bucket, key)
            response = await handler(call)
            if not response.prepared:
                await call.stage("after")
        except S3Error as error:
            error.headers.update(allowed)
            raise
        if not response.prepared:
            response.headers.update(allowed)
        return response

    async def _rules(self, bucket: str) -> list[cors.Rule]:
        text = await self._store.read(lambda db: records.configuration(db, bucket, "cors"))
        return cors.from_text(text) if text else []

    async def _cors(self, incoming: Incoming, bucket: str) -> Mapping[str, str]:
        origin = incoming.header("origin")
        if not origin or not bucket:
            return {}
        return cors.answer_headers(await self._rules(bucket), origin, incoming.method)

    async def _preflight(self, incoming: Incoming, bucket: str) -> web.StreamResponse:
        origin, method = incoming.header("origin"), incoming.header("access-control-request-method")
        if not origin or not method:
            raise S3Error("InvalidRequest", "A preflight needs Origin and Access-Control-Request-Method.")
        asked = incoming.header("access-control-request-headers") or ""
        return web.Response(headers=cors.preflight_headers(await self._rules(bucket), origin, method, asked))

    def _limit_rate(self, bucket: str, key: str) -> None:
        """R2 takes one write a second to one key, and refuses the others."""
        now_s = time.monotonic()
        last_s = self._written.get((bucket, key))
        if last_s is not None and now_s - last_s < self._store.settings.write_interval_s:
            raise S3Error("TooManyRequests", "Reduce your concurrent request rate for the same object.")
        self._written[(bucket, key)] = now_s
        self._written.move_to_end((bucket, key))
        while len(self._written) > TRACKED_KEYS:
            self._written.popitem(last=False)


def _incoming(request: web.BaseRequest, raw_path: str, raw_query: str) -> Incoming:
    headers = [(name.lower(), value) for name, value in request.headers.items()]
    return Incoming(request.method, raw_path, signing.parse_query(raw_query), headers)


def _address(incoming: Incoming) -> tuple[str, str]:
    """Bucket and key, of a path (/bucket/key) or of a host below localhost (bucket.localhost); empty when not named."""
    if not incoming.raw_path.startswith("/"):
        raise S3Error("InvalidURI", "The address must begin with a slash.")
    path = signing.decode(incoming.raw_path)[1:]
    host = (incoming.header("host") or "").rpartition("@")[2].partition(":")[0]
    bucket = host.removesuffix(".localhost")
    key = path
    if bucket == host:
        bucket, _, key = path.partition("/")
    if len(key.encode()) > LONGEST_KEY_BYTES:
        raise S3Error("KeyTooLongError", f"A key may have {LONGEST_KEY_BYTES} bytes at most.")
    if "\0" in path:
        raise S3Error("InvalidURI", "A key may not have a NUL.")
    if key and not bucket:
        raise S3Error("InvalidBucketName", "The bucket's name is empty.")
    return bucket, key


def _handler(method: str, bucket: str, key: str, headers: Mapping[str, str], query: Mapping[str, str]) -> Handler:
    level = "object" if key else "bucket" if bucket else "service"
    named = SUBRESOURCES & query.keys()
    if level == "object" and "uploadId" in named:
        named -= {"partNumber"}
    if len(named) > 1:
        raise S3Error("InvalidRequest", "The address names more than one subresource.")
    subresource = next(iter(named), "")
    handler = HANDLERS.get((method, level, subresource))
    if handler is objects.put and "x-amz-copy-source" in headers:
        return objects.copy
    if handler is None:
        if subresource:
            raise S3Error("NotImplemented", f"{method} of {subresource} is not implemented.")
        raise S3Error("MethodNotAllowed", "The specified method is not allowed against this resource.")
    return handler


def _unexpected(fault: Exception, request_id: str) -> S3Error:
    if isinstance(fault, OSError) and fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        log.error("no space left in the data folder (request %s)", request_id)
        return S3Error("InsufficientStorage", "There is no space left to store this.")
    log.error("request %s failed", request_id, exc_info=fault)
    return S3Error("InternalError", "We encountered an internal error. Please try again.")


def _refusal(request: web.BaseRequest, error: S3Error, request_id: str) -> web.StreamResponse:
    path = request.raw_path.partition("?")[0]
    body = (
        b"" if request.method == "HEAD" else error_xml(error.code, error.message, resource=path, request_id=request_id)
    )
    headers = {"Content-Type": "application/xml", "x-amz-request-id": request_id, **error.headers}
    response = web.Response(status=error.status, headers=headers, body=body)
    if not request.content.is_eof():
        # The body was not read, perhaps never will be sent: this connection cannot carry another request.
        response.force_close()
    return response
