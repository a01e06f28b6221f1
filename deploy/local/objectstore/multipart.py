"""Multipart uploads: parts are blobs, and completing one is a single transaction of the index, whatever its size."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from xml.etree.ElementTree import Element

from aiohttp import web

from objectstore import checksums, documents, records
from objectstore.call import Call, empty_answer, xml_answer
from objectstore.documents import group, tag, text_of
from objectstore.errors import S3Error
from objectstore.objects import commit_blob, kept_headers, receive, replaceable
from objectstore.records import Content, Part, Upload
from objectstore.times import iso_time

MOST_PARTS = 10_000
PAGE = 1000


@dataclass(frozen=True)
class _Named:
    """A part as the client names it when it completes the upload."""

    number: int
    etag: str
    checksums: dict[str, str]


async def create(call: Call) -> web.StreamResponse:
    """CreateMultipartUpload."""
    headers = kept_headers(call)
    await call.document()
    algorithm = call.headers.get("x-amz-checksum-algorithm", "").upper()
    if algorithm and algorithm not in checksums.HEADERS:
        raise S3Error("InvalidRequest", f"The checksum algorithm must be one of {', '.join(checksums.HEADERS)}.")
    # Ids sort by time, as S3's do within one key.
    upload_id = f"{call.store.now_ms:012x}{secrets.token_hex(16)}"
    upload = Upload(upload_id, call.key, call.store.now_ms, headers, algorithm)

    def change(db: sqlite3.Connection) -> None:
        records.require_bucket(db, call.bucket)
        records.create_upload(db, call.bucket, upload)

    await call.commit(change)
    parts = (tag("Bucket", call.bucket), tag("Key", call.key), tag("UploadId", upload_id))
    extra = {"x-amz-checksum-algorithm": algorithm} if algorithm else None
    return xml_answer(documents.document("InitiateMultipartUploadResult", parts), extra)


async def put_part(call: Call) -> web.StreamResponse:
    """UploadPart; a part sent again replaces the first."""
    number = call.number("partNumber", 0, 1, MOST_PARTS)
    if number == 0:
        raise S3Error("InvalidArgument", f"partNumber must be 1 to {MOST_PARTS}.")
    if "x-amz-copy-source" in call.headers:
        raise S3Error("NotImplemented", "UploadPartCopy is not implemented.")
    upload_id = call.query.get("uploadId", "")
    await call.store.read(lambda db: records.require_upload(db, call.bucket, call.key, upload_id))
    received = await receive(call, inline=False)

    def change(db: sqlite3.Connection) -> list[str]:
        records.require_upload(db, call.bucket, call.key, upload_id)
        part = Part(number, received.segment, received.etag, call.store.now_ms, received.checksums)
        return records.put_part(db, upload_id, part)

    await commit_blob(call, received, change)
    return empty_answer(headers={"ETag": f'"{received.etag}"', **received.checksums})


async def list_parts(call: Call) -> web.StreamResponse:
    """ListParts, a page at a time."""
    upload_id = call.query.get("uploadId", "")
    marker = call.number("part-number-marker", 0, 0, 2**31 - 1)
    limit = min(call.number("max-parts", PAGE, 0, 2**31 - 1), PAGE)

    def query(db: sqlite3.Connection) -> tuple[Upload, list[Part]]:
        upload = records.require_upload(db, call.bucket, call.key, upload_id)
        return upload, records.parts_after(db, upload_id, marker, limit + 1)

    upload, parts = await call.store.read(query)
    truncated = len(parts) > limit > 0
    parts = parts[:limit]
    children = [
        tag("Bucket", call.bucket),
        tag("Key", call.key),
        tag("UploadId", upload_id),
        tag("PartNumberMarker", marker),
        tag("NextPartNumberMarker", parts[-1].number if parts else marker),
        tag("MaxParts", limit),
        tag("IsTruncated", truncated),
        tag("StorageClass", "STANDARD"),
    ]
    if upload.algorithm:
        children.append(tag("ChecksumAlgorithm", upload.algorithm))
    children += [_part_xml(part) for part in parts]
    return xml_answer(documents.document("ListPartsResult", children))


def _part_xml(part: Part) -> str:
    children = [
        tag("PartNumber", part.number),
        tag("LastModified", iso_time(part.modified_ms)),
        tag("ETag", f'"{part.etag}"'),
        tag("Size", part.segment.size_bytes),
    ]
    children += [_checksum_xml(name, value) for name, value in part.checksums.items()]
    return group("Part", children)


def _checksum_xml(header: str, value: str) -> str:
    return tag(f"Checksum{checksums.ALGORITHMS[header]}", value)


async def list_uploads(call: Call) -> web.StreamResponse:
    """ListMultipartUploads, a page at a time, in the order of keys and then of beginning."""
    if call.query.get("delimiter"):
        raise S3Error("NotImplemented", "ListMultipartUploads with a delimiter is not implemented.")
    prefix = call.query.get("prefix", "")
    key_marker = call.query.get("key-marker", "")
    # Without an upload id the marker's own uploads are left out: no id is greater than this one.
    id_marker = call.query.get("upload-id-marker", "") or ("\U0010ffff" if key_marker else "")
    limit = min(call.number("max-uploads", PAGE, 0, 2**31 - 1), PAGE)

    def query(db: sqlite3.Connection) -> list[Upload]:
        records.require_bucket(db, call.bucket)
        return records.uploads_after(db, call.bucket, prefix, key_marker, id_marker, limit + 1)

    uploads = await call.store.read(query)
    truncated = len(uploads) > limit > 0
    uploads = uploads[:limit]
    encode = documents.encoder(call.query.get("encoding-type"))
    children = [
        tag("Bucket", call.bucket),
        tag("Prefix", encode(prefix)),
        tag("KeyMarker", encode(key_marker)),
        tag("UploadIdMarker", call.query.get("upload-id-marker", "")),
        tag("MaxUploads", limit),
        tag("IsTruncated", truncated),
    ]
    if call.query.get("encoding-type"):
        children.append(tag("EncodingType", "url"))
    if truncated:
        children += [tag("NextKeyMarker", encode(uploads[-1].key)), tag("NextUploadIdMarker", uploads[-1].id)]
    for upload in uploads:
        fields = (
            tag("Key", encode(upload.key)),
            tag("UploadId", upload.id),
            tag("Initiated", iso_time(upload.created_ms)),
        )
        children.append(group("Upload", (*fields, tag("StorageClass", "STANDARD"))))
    return xml_answer(documents.document("ListMultipartUploadsResult", children))


async def abort(call: Call) -> web.StreamResponse:
    """AbortMultipartUpload."""
    upload_id = call.query.get("uploadId", "")

    def change(db: sqlite3.Connection) -> list[str]:
        records.require_upload(db, call.bucket, call.key, upload_id)
        return records.remove_upload(db, upload_id)

    await call.store.remove_blobs(await call.commit(change))
    return empty_answer(204)


async def complete(call: Call) -> web.StreamResponse:
    """CompleteMultipartUpload, with If-Match and If-None-Match; on a refusal the upload stays as it is."""
    upload_id = call.query.get("uploadId", "")
    named = _named_parts(documents.parse(await call.document(), "CompleteMultipartUpload"))

    def change(db: sqlite3.Connection) -> tuple[Content, list[str]]:
        upload = records.require_upload(db, call.bucket, call.key, upload_id)
        replaceable(call, db)
        parts = _chosen_parts(call, named, records.parts_after(db, upload_id, 0, MOST_PARTS))
        content = Content(
            etag=checksums.multipart_etag([part.etag for part in parts]),
            segments=tuple(part.segment for part in parts),
            headers=upload.headers,
            checksums=_composite(upload.algorithm, parts),
        )
        freed = records.put_object(db, call.bucket, call.key, content, call.store.now_ms)
        return content, freed + records.remove_upload(db, upload_id)

    content, freed = await call.commit(change)
    await call.store.remove_blobs(freed)
    location = f"{call.request.scheme}://{call.headers.get('host', '')}/{call.bucket}/{call.key}"
    fields = [
        tag("Location", location),
        tag("Bucket", call.bucket),
        tag("Key", call.key),
        tag("ETag", f'"{content.etag}"'),
    ]
    fields += [_checksum_xml(name, value) for name, value in content.checksums.items()]
    return xml_answer(documents.document("CompleteMultipartUploadResult", fields))


def _named_parts(tree: Element) -> list[_Named]:
    named = []
    for element in tree.findall("Part"):
        number = text_of(element, "PartNumber") or ""
        etag = (text_of(element, "ETag") or "").strip('"')
        if not (number.isascii() and number.isdigit() and len(number) < 6 and etag):
            raise S3Error("MalformedXML", "Every Part needs a PartNumber and an ETag.")
        sums = {
            header: value
            for algorithm, header in checksums.HEADERS.items()
            if (value := text_of(element, f"Checksum{algorithm}"))
        }
        named.append(_Named(int(number), etag, sums))
    if not named:
        raise S3Error("MalformedXML", "Name at least one part.")
    if any(former.number >= latter.number for former, latter in pairwise(named)):
        raise S3Error("InvalidPartOrder", "The parts must be listed in ascending order.")
    return named


def _chosen_parts(call: Call, named: Sequence[_Named], stored: Sequence[Part]) -> list[Part]:
    """The stored parts that the client names; raises unless each is as it says and of a size that is allowed."""
    by_number = {part.number: part for part in stored}
    chosen = []
    for name in named:
        part = by_number.get(name.number)
        if part is None or part.etag != name.etag:
            raise S3Error("InvalidPart", f"Part {name.number} was not uploaded, or its ETag is another.")
        if any(part.checksums.get(header, value) != value for header, value in name.checksums.items()):
            raise S3Error("InvalidPart", f"The checksum of part {name.number} is another.")
        chosen.append(part)
    sizes = [part.segment.size_bytes for part in chosen]
    settings = call.store.settings
    if any(size < settings.min_part_bytes for size in sizes[:-1]):
        raise S3Error("EntityTooSmall", f"Every part but the last must have {settings.min_part_bytes} bytes at least.")
    if settings.strict_r2 and (len(set(sizes[:-1])) > 1 or sizes[-1] > sizes[0]):
        raise S3Error("InvalidPart", "All non-trailing parts must have the same length.")
    return chosen


def _composite(algorithm: str, parts: Sequence[Part]) -> dict[str, str]:
    header = checksums.HEADERS.get(algorithm, "")
    values = [part.checksums[header] for part in parts if header in part.checksums]
    if not header or len(values) != len(parts):
        return {}
    return {header: checksums.composite(algorithm, values)}
