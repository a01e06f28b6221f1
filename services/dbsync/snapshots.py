"""Snapshots: a whole database in one object, so that a cold open reads few entries.

1. A snapshot is only a faster way to what the log says: it is believed when its hash, its checksum, its name and its
   version agree, and otherwise the log is read from its beginning (test_snapshots.py::test_a_bad_snapshot_is_ignored).
2. Compaction never races: a snapshot replaces the very object that was seen, if that was older, and no slot is ever
   removed (test_snapshots.py::test_two_compactions).

The object is a plain database file with a rollback journal, which any SQLite opens.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping

from dbsync import pages
from dbsync.pages import BadDelta, PageSums
from dbsync.replica import Image
from dbsync.slots import Blob, Store

log = logging.getLogger(__name__)

FORMAT = "1"
_NUMBER = re.compile(r"\d{1,19}")


def compact_after(page_count: int) -> int:
    """After how many entries since the last snapshot a new one is due: a large database is not uploaded for a few."""
    return max(32, page_count // 64)


def snapshot_key(database: str) -> str:
    """Where a database's snapshot is."""
    return f"{database}/database.sqlite"


def metadata(database: str, image: Image, body: bytes) -> dict[str, str]:
    """What the object says of itself."""
    return {
        "reel-format": FORMAT,
        "reel-database": database,
        "reel-version": str(image.version),
        "reel-checksum": f"{image.checksum:016x}",
        "reel-schema-version": str(image.schema_version),
        "reel-sha256": hashlib.sha256(body).hexdigest(),
    }


def version_of(found: Mapping[str, str]) -> int:
    """The version that the metadata names; -1 when it names none."""
    text = found.get("reel-version", "")
    return int(text) if _NUMBER.fullmatch(text) else -1


def read(database: str, blob: Blob) -> Image | None:
    """The image in the object; None, with an alarm in the log, when it cannot be believed."""
    try:
        return _read(database, blob)
    except (ValueError, BadDelta) as error:
        log.critical("ALARM snapshot refused: %s", error, extra={"database": database, "alarm": "snapshot_refused"})
        return None


def _read(database: str, blob: Blob) -> Image:
    found = blob.metadata
    if found.get("reel-format") != FORMAT or found.get("reel-database") != database:
        raise ValueError(f"it is format {found.get('reel-format')} of {found.get('reel-database')!r}")
    if hashlib.sha256(blob.body).hexdigest() != found.get("reel-sha256"):
        raise ValueError("its hash does not match its bytes")
    body = pages.canonical(blob.body)
    checksum = PageSums(pages.split(body)).checksum
    version, schema_version = version_of(found), found.get("reel-schema-version", "")
    if f"{checksum:016x}" != found.get("reel-checksum") or version < 1 or not _NUMBER.fullmatch(schema_version):
        raise ValueError("its checksum or its numbers do not match its bytes")
    return Image(version, int(schema_version), checksum, body)


def publish(store: Store, database: str, image: Image, timeout_s: float) -> bool:
    """Puts the image where the snapshot is, unless that is as new; False when another process was faster. Undecided."""
    key = snapshot_key(database)
    seen = store.head(key, timeout_s)
    if seen is not None and version_of(seen.metadata) >= image.version:
        return False
    body = pages.portable(image.body)
    return store.replace(key, body, metadata(database, image, body), seen.etag if seen else None, timeout_s)
