"""Objects: put, copy, delete. Each change is one transaction of the index, its conditions checked inside it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from objectstore import conditions, documents, payload, records
from objectstore.blobs import Writer
from objectstore.call import Call, empty_answer, xml_answer
from objectstore.documents import group, tag
from objectstore.errors import S3Error
from objectstore.records import Content, Segment
from objectstore.signing import decode
from objectstore.times import iso_time

FLUSH_BYTES = 1024 * 1024
INLINE_BYTES = 16 * 1024
LARGEST_METADATA_BYTES = 8192
MOST_DELETES = 1000
DEFAULT_TYPE = "application/octet-stream"
KEPT = ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires")
REFUSED = (
    "x-amz-grant-",
    "x-amz-object-lock-",
    "x-amz-server-side-encryption-customer-",
    "x-amz-tagging",
    "x-amz-website-redirect-location",
    "x-amz-write-offset-bytes",
)


@dataclass(frozen=True)
class Received:
    """A body that is whole, verified, and in a blob unless it is small."""

    segment: Segment
    etag: str
    checksums: Mapping[str, str]


class Intake:
    """A body on its way into the store. Its methods block; the lock orders them even after their caller gave up."""

    def __init__(self, call: Call, checks: payload.Checks) -> None:
        self._blobs = call.store.blobs
        self._checks = checks
        self._lock = threading.Lock()
        self._writer: Writer | None = None
        self._abandoned = False

    def take(self, pieces: list[bytes]) -> None:
        """Hashes and writes what has arrived."""
        with self._lock:
            self._write(pieces)

    def finish(self, pieces: list[bytes]) -> Received:
        """The blob, once every claim about the body held."""
        with self._lock:
            writer = self._write(pieces)
            self._checks.finish()
            writer.finish()
            return Received(Segment(writer.name, writer.size_bytes), self._checks.etag, self._checks.checksums)

    def keep(self, data: bytes) -> Received:
        """A small body for the index itself: one sync instead of three."""
        self._checks.update(data)
        self._checks.finish()
        return Received(Segment("", len(data), data), self._checks.etag, self._checks.checksums)

    def abandon(self) -> None:
        """Removes what has been written."""
        with self._lock:
            self._abandoned = True
            if self._writer is not None:
                self._writer.abandon()

    def _write(self, pieces: list[bytes]) -> Writer:
        if self._abandoned:
            raise RuntimeError("the upload was abandoned")
        if self._writer is None:
            self._writer = self._blobs.create()
        for data in pieces:
            self._checks.update(data)
            self._writer.write(data)
        return self._writer


async def receive(call: Call, *, inline: bool) -> Received:
    """Streams the body into a blob, hashing in a thread while the next megabyte arrives: two are in memory at most.

    With `inline` a small body goes into the index; hashing it takes less time than handing it to a thread.
    """
    claims = payload.claims_of(call.headers, call.verified)
    if claims.length > call.store.settings.max_put_bytes:
        raise S3Error("EntityTooLarge", f"One upload may have {call.store.settings.max_put_bytes} bytes at most.")
    checks = payload.Checks(claims, etag=True)
    intake = Intake(call, checks)
    step: asyncio.Future[Any] | None = None
    pieces: list[bytes] = []
    held = 0
    try:
        async for data in call.body(checks):
            pieces.append(data)
            held += len(data)
            if held >= FLUSH_BYTES:
                if step is not None:
                    await step
                step = call.store.start_offload(intake.take, pieces)
                pieces, held = [], 0
        if inline and claims.length <= INLINE_BYTES:
            return intake.keep(b"".join(pieces))
        if step is not None:
            await step
        return await call.store.offload(intake.finish, pieces)
    except BaseException:
        call.store.start_offload(intake.abandon).add_done_callback(_heard)
        raise


def _heard(done: asyncio.Future[None]) -> None:
    # A blob that could not be removed is swept at the next start; the request's own fault is the one to report.
    if not done.cancelled():
        done.exception()


async def commit_blob(call: Call, received: Received, change: Callable[[sqlite3.Connection], list[str]]) -> None:
    """Commits a change that names a received blob, then removes what it freed; a refused blob is removed too.

    Only a refusal removes the blob: after any other fault the change may have been committed.
    """
    try:
        freed = await call.commit(change)
    except S3Error:
        if received.segment.blob:
            await call.store.remove_blobs([received.segment.blob])
        raise
    await call.store.remove_blobs(freed)


def kept_headers(call: Call) -> dict[str, str]:
    """The headers to store with an object; raises when there are too many or one asks for what is not done here."""
    for name, value in call.headers.items():
        if name.startswith(REFUSED) or (name == "x-amz-acl" and value != "private"):
            raise S3Error("NotImplemented", f"The header {name} is not implemented.")
    kept = {name: call.headers[name] for name in KEPT if name in call.headers}
    encodings = [part.strip() for part in kept.pop("content-encoding", "").split(",")]
    encoding = ",".join(part for part in encodings if part and part != "aws-chunked")
    if encoding:
        kept["content-encoding"] = encoding
    kept.setdefault("content-type", DEFAULT_TYPE)
    metadata = {name: value for name, value in call.headers.items() if name.startswith("x-amz-meta-")}
    if (
        sum(len(name) + len(value.encode("utf-8", "replace")) for name, value in metadata.items())
        > LARGEST_METADATA_BYTES
    ):
        raise S3Error("MetadataTooLarge", f"Metadata may have {LARGEST_METADATA_BYTES} bytes at most.")
    for name, value in (kept | metadata).items():
        if not _encodable(value):
            raise S3Error("InvalidArgument", f"The header {name} is not UTF-8.")
    return kept | metadata


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def replaceable(call: Call, db: sqlite3.Connection) -> None:
    """Raises unless the bucket is there and the request's conditions allow replacing what the key holds."""
    records.require_bucket(db, call.bucket)
    current = records.find_object(db, call.bucket, call.key)
    wanted = conditions.read(call.headers)
    conditions.check_write(wanted, current.etag if current else None, strict_r2=call.store.settings.strict_r2)


def _early(call: Call, db: sqlite3.Connection) -> None:
    records.require_bucket(db, call.bucket)
    # The transaction decides; this spares the client a large body when the answer is no already.
    if conditions.read(call.headers).if_none_match == "*" and records.find_object(db, call.bucket, call.key):
        raise S3Error("PreconditionFailed", "The key already holds an object.")


async def put(call: Call) -> web.StreamResponse:
    """PutObject, with If-Match and If-None-Match."""
    headers = kept_headers(call)
    if payload.claims_of(call.headers, call.verified).length > INLINE_BYTES:
        # A large body is refused before it is sent; for a small one the check in the transaction is soon enough.
        await call.store.read(lambda db: _early(call, db))
    received = await receive(call, inline=True)
    content = Content(received.etag, (received.segment,), headers, received.checksums)

    def change(db: sqlite3.Connection) -> list[str]:
        replaceable(call, db)
        return records.put_object(db, call.bucket, call.key, content, call.store.now_ms)

    await commit_blob(call, received, change)
    return empty_answer(headers={"ETag": f'"{received.etag}"', **received.checksums})


def _copy_source(call: Call) -> tuple[str, str]:
    text = call.headers["x-amz-copy-source"]
    if "?" in text:
        raise S3Error("NotImplemented", "Versions are not implemented.")
    bucket, _, key = decode(text).removeprefix("/").partition("/")
    if not bucket or not key:
        raise S3Error("InvalidArgument", "x-amz-copy-source must be /bucket/key.")
    return bucket, key


async def copy(call: Call) -> web.StreamResponse:
    """CopyObject: the copy shares the source's blobs and keeps its ETag (S3 gives a multipart one another)."""
    bucket, key = _copy_source(call)
    await call.document()
    directive = call.headers.get("x-amz-metadata-directive", "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", "x-amz-metadata-directive must be COPY or REPLACE.")
    if directive == "COPY" and (bucket, key) == (call.bucket, call.key):
        raise S3Error("InvalidRequest", "A copy onto itself must replace the metadata.")
    headers = kept_headers(call)
    wanted = conditions.read(call.headers, "x-amz-copy-source-")

    def change(db: sqlite3.Connection) -> tuple[str, int, list[str]]:
        source = records.require_object(db, bucket, key)
        if conditions.read_outcome(wanted, source.etag, source.modified_ms // 1000) != 200:
            raise S3Error("PreconditionFailed", "The source does not meet the preconditions you specified.")
        if source.size_bytes > call.store.settings.max_put_bytes:
            raise S3Error("InvalidRequest", "The source is too large for one copy.")
        replaceable(call, db)
        kept = headers if directive == "REPLACE" else source.headers
        content = Content(source.etag, records.segments_of(db, source.id), kept, source.checksums)
        now_ms = call.store.now_ms
        return source.etag, now_ms, records.put_object(db, call.bucket, call.key, content, now_ms)

    etag, now_ms, freed = await call.commit(change)
    await call.store.remove_blobs(freed)
    parts = (tag("LastModified", iso_time(now_ms)), tag("ETag", f'"{etag}"'))
    return xml_answer(documents.document("CopyObjectResult", parts))


async def delete(call: Call) -> web.StreamResponse:
    """DeleteObject, with If-Match; a key that holds nothing is no fault."""
    wanted = conditions.read(call.headers)

    def change(db: sqlite3.Connection) -> list[str]:
        records.require_bucket(db, call.bucket)
        current = records.find_object(db, call.bucket, call.key)
        if wanted.if_match is not None:
            only = conditions.Conditions(if_match=wanted.if_match)
            strict_r2 = call.store.settings.strict_r2
            conditions.check_write(only, current.etag if current else None, strict_r2=strict_r2)
        return records.remove_object(db, call.bucket, call.key)

    await call.store.remove_blobs(await call.commit(change))
    return empty_answer(204)


async def delete_many(call: Call) -> web.StreamResponse:
    """DeleteObjects: up to 1,000 keys, all or none."""
    tree = documents.parse(await call.document(), "Delete")
    entries = tree.findall("Object")
    keys = [entry.findtext("Key") for entry in entries]
    if not keys or len(keys) > MOST_DELETES or not all(keys):
        raise S3Error("MalformedXML", f"Name 1 to {MOST_DELETES} keys.")
    if any(entry.find("VersionId") is not None for entry in entries):
        raise S3Error("NotImplemented", "Versions are not implemented.")
    names = [key for key in keys if key]

    def change(db: sqlite3.Connection) -> list[str]:
        records.require_bucket(db, call.bucket)
        return [blob for key in names for blob in records.remove_object(db, call.bucket, key)]

    await call.store.remove_blobs(await call.commit(change))
    quiet = documents.text_of(tree, "Quiet") == "true"
    deleted = [] if quiet else [group("Deleted", (tag("Key", key),)) for key in names]
    return xml_answer(documents.document("DeleteResult", deleted))
