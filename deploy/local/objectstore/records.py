"""The index's rows as values, and the statements that read and change them; each takes a connection and blocks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from objectstore.errors import S3Error


@dataclass(frozen=True)
class Segment:
    """A stretch of an object: a whole blob, or, when small, `data` kept in the index itself (and no blob)."""

    blob: str
    size_bytes: int
    data: bytes | None = None


@dataclass(frozen=True)
class Content:
    """What a key is to hold: `headers` are repeated to whoever reads it, `checksums` on request; both lower case."""

    etag: str
    segments: tuple[Segment, ...]
    headers: Mapping[str, str]
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class Stored:
    """An object as the index has it."""

    id: int
    key: str
    etag: str
    size_bytes: int
    modified_ms: int
    headers: Mapping[str, str]
    checksums: Mapping[str, str]


@dataclass(frozen=True)
class Upload:
    """A multipart upload under way; `algorithm` is the checksum it was created with, or empty."""

    id: str
    key: str
    created_ms: int
    headers: Mapping[str, str]
    algorithm: str


@dataclass(frozen=True)
class Part:
    """An uploaded part."""

    number: int
    segment: Segment
    etag: str
    modified_ms: int
    checksums: Mapping[str, str]


_FIND = """
SELECT id, key, etag, size_bytes, modified_ms, headers, checksums FROM objects WHERE bucket = ? AND key = ?
"""
_SCAN = """
SELECT id, key, etag, size_bytes, modified_ms, headers, checksums FROM objects WHERE bucket = ? AND key >= ?
ORDER BY key LIMIT ?
"""
_UPLOADS = """
SELECT id, key, created_ms, headers, algorithm FROM uploads
WHERE bucket = ?1 AND key >= ?2 AND (key, id) > (?3, ?4) AND substr(key, 1, length(?2)) = ?2
ORDER BY key, id LIMIT ?5
"""


def _stored(row: tuple[int, str, str, int, int, str, str]) -> Stored:
    return Stored(*row[:5], json.loads(row[5]), json.loads(row[6]))


def _upload(row: tuple[str, str, int, str, str]) -> Upload:
    return Upload(row[0], row[1], row[2], json.loads(row[3]), row[4])


def require_bucket(db: sqlite3.Connection, bucket: str) -> None:
    """Raises NoSuchBucket unless the bucket is there."""
    if db.execute("SELECT 1 FROM buckets WHERE name = ?", (bucket,)).fetchone() is None:
        raise S3Error("NoSuchBucket", "The specified bucket does not exist.")


def find_object(db: sqlite3.Connection, bucket: str, key: str) -> Stored | None:
    """The object under a key, without its segments."""
    row = db.execute(_FIND, (bucket, key)).fetchone()
    return _stored(row) if row else None


def require_object(db: sqlite3.Connection, bucket: str, key: str) -> Stored:
    """The object under a key; raises NoSuchBucket or NoSuchKey."""
    found = find_object(db, bucket, key)
    if found is None:
        require_bucket(db, bucket)
        raise S3Error("NoSuchKey", "The specified key does not exist.")
    return found


def segments_of(db: sqlite3.Connection, object_id: int) -> tuple[Segment, ...]:
    """An object's blobs in order."""
    rows = db.execute("SELECT blob, size_bytes, data FROM segments WHERE object = ? ORDER BY position", (object_id,))
    return tuple(Segment(*row) for row in rows)


def scan(db: sqlite3.Connection, bucket: str, lower: str, limit: int) -> list[Stored]:
    """Objects from the key `lower` on (included), in the order of their UTF-8."""
    rows = db.execute(_SCAN, (bucket, lower, limit))
    return [_stored(row) for row in rows]


def unnamed(db: sqlite3.Connection, blobs: Iterable[str]) -> list[str]:
    """Those of the blobs that no object and no part holds any more."""
    return [blob for blob in blobs if not named(db, blob)]


def named(db: sqlite3.Connection, blob: str) -> bool:
    """True when an object or a part holds the blob."""
    statement = (
        "SELECT 1 FROM segments WHERE blob = ?1 AND blob <> '' UNION ALL SELECT 1 FROM parts WHERE blob = ?1 LIMIT 1"
    )
    return db.execute(statement, (blob,)).fetchone() is not None


def put_object(db: sqlite3.Connection, bucket: str, key: str, content: Content, now_ms: int) -> list[str]:
    """Makes the key hold the content; returns the blobs that nothing names any more."""
    freed = remove_object(db, bucket, key, keep=frozenset(segment.blob for segment in content.segments))
    size_bytes = sum(segment.size_bytes for segment in content.segments)
    cursor = db.execute(
        "INSERT INTO objects (bucket, key, etag, size_bytes, modified_ms, headers, checksums) VALUES (?,?,?,?,?,?,?)",
        (bucket, key, content.etag, size_bytes, now_ms, json.dumps(content.headers), json.dumps(content.checksums)),
    )
    db.executemany(
        "INSERT INTO segments VALUES (?,?,?,?,?)",
        [(cursor.lastrowid, position, s.blob, s.size_bytes, s.data) for position, s in enumerate(content.segments)],
    )
    return freed


def remove_object(db: sqlite3.Connection, bucket: str, key: str, *, keep: frozenset[str] = frozenset()) -> list[str]:
    """Makes the key hold nothing; returns the blobs that nothing names any more, but for those to keep."""
    found = find_object(db, bucket, key)
    if found is None:
        return []
    rows = db.execute("SELECT blob FROM segments WHERE object = ? AND blob <> ''", (found.id,)).fetchall()
    blobs = [blob for (blob,) in rows if blob not in keep]
    db.execute("DELETE FROM objects WHERE id = ?", (found.id,))
    return unnamed(db, blobs)


def create_upload(db: sqlite3.Connection, bucket: str, upload: Upload) -> None:
    """Records a new multipart upload."""
    db.execute(
        "INSERT INTO uploads VALUES (?,?,?,?,?,?)",
        (upload.id, bucket, upload.key, upload.created_ms, json.dumps(upload.headers), upload.algorithm),
    )


def require_upload(db: sqlite3.Connection, bucket: str, key: str, upload_id: str) -> Upload:
    """The upload; raises NoSuchUpload unless it is one of this key."""
    row = db.execute(
        "SELECT id, key, created_ms, headers, algorithm FROM uploads WHERE id = ? AND bucket = ? AND key = ?",
        (upload_id, bucket, key),
    ).fetchone()
    if row is None:
        require_bucket(db, bucket)
        raise S3Error("NoSuchUpload", "The upload does not exist: it was completed, aborted, or never begun.")
    return _upload(row)


def uploads_after(
    db: sqlite3.Connection, bucket: str, prefix: str, key: str, upload_id: str, limit: int
) -> list[Upload]:
    """Uploads whose (key, id) is greater than the given one and whose key has the prefix, in order."""
    rows = db.execute(_UPLOADS, (bucket, prefix, key, upload_id, limit))
    return [_upload(row) for row in rows]


def put_part(db: sqlite3.Connection, upload_id: str, part: Part) -> list[str]:
    """Records a part, in place of one of the same number; returns the blob freed by that."""
    old = db.execute("SELECT blob FROM parts WHERE upload = ? AND number = ?", (upload_id, part.number)).fetchone()
    db.execute(
        "INSERT OR REPLACE INTO parts VALUES (?,?,?,?,?,?,?)",
        (
            upload_id, part.number, part.segment.blob, part.segment.size_bytes, part.etag, part.modified_ms,
            json.dumps(part.checksums),
        ),
    )  # fmt: skip
    return unnamed(db, [old[0]]) if old else []


def parts_after(db: sqlite3.Connection, upload_id: str, number: int, limit: int) -> list[Part]:
    """Parts with a greater number, in order."""
    rows = db.execute(
        "SELECT number, blob, size_bytes, etag, modified_ms, checksums FROM parts"
        " WHERE upload = ? AND number > ? ORDER BY number LIMIT ?",
        (upload_id, number, limit),
    )
    return [Part(row[0], Segment(row[1], row[2]), row[3], row[4], json.loads(row[5])) for row in rows]


def remove_upload(db: sqlite3.Connection, upload_id: str) -> list[str]:
    """Forgets an upload and its parts; returns the blobs that nothing names any more."""
    blobs = [row[0] for row in db.execute("SELECT blob FROM parts WHERE upload = ?", (upload_id,))]
    db.execute("DELETE FROM uploads WHERE id = ?", (upload_id,))
    return unnamed(db, blobs)


def configuration(db: sqlite3.Connection, bucket: str, column: str) -> str | None:
    """A bucket's "cors" or "lifecycle" text; None without bucket or configuration."""
    statement = "SELECT cors FROM buckets" if column == "cors" else "SELECT lifecycle FROM buckets"
    row = db.execute(f"{statement} WHERE name = ?", (bucket,)).fetchone()
    return row[0] if row else None


def configure(db: sqlite3.Connection, bucket: str, column: str, text: str | None) -> None:
    """Sets a bucket's "cors" or "lifecycle" text; None removes it."""
    statement = "UPDATE buckets SET cors = ?" if column == "cors" else "UPDATE buckets SET lifecycle = ?"
    db.execute(f"{statement} WHERE name = ?", (text, bucket))


def holds_anything(db: sqlite3.Connection, bucket: str) -> bool:
    """True when a bucket has an object or an unfinished upload."""
    statement = "SELECT 1 FROM objects WHERE bucket = ?1 UNION ALL SELECT 1 FROM uploads WHERE bucket = ?1 LIMIT 1"
    return db.execute(statement, (bucket,)).fetchone() is not None
