"""Buckets: create, look, delete, list what is in them, and their CORS and lifecycle configurations."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence

from aiohttp import web

from objectstore import cors, documents, lifecycle, listing, records
from objectstore.call import Call, empty_answer, xml_answer
from objectstore.documents import group, tag
from objectstore.errors import S3Error
from objectstore.records import Stored
from objectstore.times import iso_time

PAGE = 1000
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


def check_name(name: str) -> None:
    """Raises InvalidBucketName unless S3 would take the name."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise S3Error("InvalidBucketName", "A bucket's name has 3 to 63 letters (a-z), digits, dots or hyphens.")


def insert(db: sqlite3.Connection, name: str, now_ms: int) -> bool:
    """Creates a bucket; False when it was there."""
    cursor = db.execute("INSERT OR IGNORE INTO buckets (name, created_ms) VALUES (?, ?)", (name, now_ms))
    return cursor.rowcount == 1


async def list_buckets(call: Call) -> web.StreamResponse:
    """ListBuckets."""
    rows = await call.store.read(
        lambda db: db.execute("SELECT name, created_ms FROM buckets ORDER BY name LIMIT 10000").fetchall()
    )
    buckets = [group("Bucket", (tag("Name", name), tag("CreationDate", iso_time(ms)))) for name, ms in rows]
    owner = group("Owner", (tag("ID", "owner"), tag("DisplayName", "owner")))
    return xml_answer(documents.document("ListAllMyBucketsResult", (owner, group("Buckets", buckets))))


async def create(call: Call) -> web.StreamResponse:
    """CreateBucket."""
    check_name(call.bucket)
    await call.document()
    if not await call.commit(lambda db: insert(db, call.bucket, call.store.now_ms)):
        raise S3Error("BucketAlreadyOwnedByYou", "The bucket exists, and is yours.")
    return empty_answer(headers={"Location": f"/{call.bucket}"})


async def head(call: Call) -> web.StreamResponse:
    """HeadBucket."""
    await call.store.read(lambda db: records.require_bucket(db, call.bucket))
    return empty_answer(headers={"x-amz-bucket-region": "auto"})


async def delete(call: Call) -> web.StreamResponse:
    """DeleteBucket, when nothing is in it."""

    def change(db: sqlite3.Connection) -> None:
        records.require_bucket(db, call.bucket)
        if records.holds_anything(db, call.bucket):
            raise S3Error("BucketNotEmpty", "The bucket is not empty: it has objects or unfinished uploads.")
        db.execute("DELETE FROM buckets WHERE name = ?", (call.bucket,))

    await call.commit(change)
    return empty_answer(204)


async def location(call: Call) -> web.StreamResponse:
    """GetBucketLocation."""
    await call.store.read(lambda db: records.require_bucket(db, call.bucket))
    return xml_answer(documents.document("LocationConstraint", ("auto",)))


def _scan(call: Call, db: sqlite3.Connection) -> Callable[[str, int], Sequence[Stored]]:
    return lambda lower, limit: records.scan(db, call.bucket, lower, limit)


async def list_objects(call: Call) -> web.StreamResponse:
    """ListObjectsV2, or ListObjects without list-type=2."""
    second = call.query.get("list-type") == "2"
    prefix, delimiter = call.query.get("prefix", ""), call.query.get("delimiter", "")
    encode = documents.encoder(call.query.get("encoding-type"))
    limit = min(call.number("max-keys", PAGE, 0, 2**31 - 1), PAGE)
    token = call.query.get("continuation-token") if second else None
    marker = call.query.get("start-after" if second else "marker", "")
    start = listing.resume_of(token) if token is not None else _start(marker, prefix, delimiter, folded=not second)

    def query(db: sqlite3.Connection) -> listing.Page:
        records.require_bucket(db, call.bucket)
        return listing.page(_scan(call, db), prefix=prefix, delimiter=delimiter, start=start, limit=limit)

    page = await call.store.read(query)
    truncated = page.resume is not None and limit > 0
    children = [tag("Name", call.bucket), tag("Prefix", encode(prefix)), tag("MaxKeys", limit)]
    if delimiter:
        children.append(tag("Delimiter", encode(delimiter)))
    if call.query.get("encoding-type"):
        children.append(tag("EncodingType", "url"))
    children.append(tag("IsTruncated", truncated))
    if second:
        children.append(tag("KeyCount", page.count))
        children += [tag("StartAfter", encode(marker))] if marker else []
        children += [tag("ContinuationToken", token)] if token is not None else []
        children += [tag("NextContinuationToken", listing.token_of(page.resume))] if truncated and page.resume else []
    else:
        children.append(tag("Marker", encode(marker)))
        children += [tag("NextMarker", encode(page.last))] if truncated else []
    children += [_object_xml(stored, encode) for stored in page.objects]
    children += [group("CommonPrefixes", (tag("Prefix", encode(text)),)) for text in page.prefixes]
    return xml_answer(documents.document("ListBucketResult", children))


def _start(marker: str, prefix: str, delimiter: str, *, folded: bool) -> str:
    if not marker:
        return ""
    if folded and delimiter and marker.startswith(prefix) and marker.endswith(delimiter):
        # A marker that is a common prefix stands for all that was folded into it.
        return listing.beyond(marker) or listing.after(marker)
    return listing.after(marker)


def _object_xml(stored: Stored, encode: Callable[[str], str]) -> str:
    fields = [
        tag("Key", encode(stored.key)),
        tag("LastModified", iso_time(stored.modified_ms)),
        tag("ETag", f'"{stored.etag}"'),
        tag("Size", stored.size_bytes),
        tag("StorageClass", "STANDARD"),
    ]
    return group("Contents", fields)


async def _configuration(call: Call, column: str, missing: str) -> str:
    def query(db: sqlite3.Connection) -> str | None:
        records.require_bucket(db, call.bucket)
        return records.configuration(db, call.bucket, column)

    text = await call.store.read(query)
    if text is None:
        raise S3Error(missing, "The bucket has no such configuration.")
    return text


async def _configure(call: Call, column: str, text: str | None, status: int) -> web.StreamResponse:
    def change(db: sqlite3.Connection) -> None:
        records.require_bucket(db, call.bucket)
        records.configure(db, call.bucket, column, text)

    await call.commit(change)
    return empty_answer(status)


async def put_cors(call: Call) -> web.StreamResponse:
    """PutBucketCors."""
    return await _configure(call, "cors", cors.to_text(cors.parse(await call.document())), 200)


async def get_cors(call: Call) -> web.StreamResponse:
    """GetBucketCors."""
    return xml_answer(cors.to_xml(cors.from_text(await _configuration(call, "cors", "NoSuchCORSConfiguration"))))


async def delete_cors(call: Call) -> web.StreamResponse:
    """DeleteBucketCors."""
    return await _configure(call, "cors", None, 204)


async def put_lifecycle(call: Call) -> web.StreamResponse:
    """PutBucketLifecycleConfiguration."""
    return await _configure(call, "lifecycle", lifecycle.to_text(lifecycle.parse(await call.document())), 200)


async def get_lifecycle(call: Call) -> web.StreamResponse:
    """GetBucketLifecycleConfiguration."""
    text = await _configuration(call, "lifecycle", "NoSuchLifecycleConfiguration")
    return xml_answer(lifecycle.to_xml(lifecycle.from_text(text)))


async def delete_lifecycle(call: Call) -> web.StreamResponse:
    """DeleteBucketLifecycle."""
    return await _configure(call, "lifecycle", None, 204)
