"""Grants: presigned requests, one key and one method each, for somebody who holds no credentials.

1. A grant binds everything that S3 lets it bind: method, key, lifetime; for an upload its type and exact length, for a
   part its number and exact length; `If-None-Match: *` where it was asked for (tests/storage/test_grants.py,
   tests/storage/test_service.py).
2. What is put into a header of an answer cannot break out of it (test_grants.py::test_download_names).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from chassis import faults
from storage import uploads
from storage.sigv4 import Signer

MIN_LIFETIME_S = 1
MAX_LIFETIME_S = 7 * 24 * 3600
DOWNLOAD_LIFETIME_S = 3600
UPLOAD_LIFETIME_S = 15 * 60
MAX_NAME_BYTES = 255
DEFAULT_TYPE = "application/octet-stream"

_WORD = r"[A-Za-z0-9!#$&^_.+-]{1,100}"
_TYPE = re.compile(rf'{_WORD}/{_WORD}(; ?{_WORD}=({_WORD}|"[A-Za-z0-9 ,._=+-]{{0,100}}")){{0,4}}')


@dataclass(frozen=True)
class Grant:
    """Send this method and these headers to this URL before it expires.

    A bound length is no header here: an HTTP client sends Content-Length by itself, from the body, and a browser lets
    nobody set it.
    """

    url: str
    method: str
    expires_s: float  # since 1970
    headers: Mapping[str, str] = field(default_factory=dict)


class Granter:
    """Makes grants for the objects of one bucket; keys are full keys, `now_s` is the store's time."""

    def __init__(self, signer: Signer, bucket: str) -> None:
        self._signer = signer
        self._bucket = bucket

    def download(
        self, key: str, *, now_s: float, lifetime_s: int, name: str = "", content_type: str = "", head: bool = False
    ) -> Grant:
        """A GET (or HEAD) of an object, whole or by Range; `name` makes the answer an attachment of that name."""
        query: dict[str, str] = {}
        if name:
            query["response-content-disposition"] = attachment(name)
        if content_type:
            query["response-content-type"] = checked_type(content_type)
        return self._grant("HEAD" if head else "GET", key, now_s, lifetime_s, {}, {}, query)

    def upload(
        self, key: str, *, now_s: float, lifetime_s: int, content_type: str, size_bytes: int, if_absent: bool
    ) -> Grant:
        """A PUT of a whole object of this type; of exactly this size, or of any when it is 0."""
        if size_bytes < 0:
            raise faults.invalid("invalid_range", "The size must not be negative.")
        if size_bytes > uploads.MAX_PUT_BYTES:
            raise faults.invalid(
                "object_too_large", f"One PUT takes {uploads.MAX_PUT_BYTES} bytes at most; upload it in parts."
            )
        sent = {"content-type": checked_type(content_type or DEFAULT_TYPE)}
        if if_absent:
            sent["if-none-match"] = "*"
        bound = {"content-length": str(size_bytes)} if size_bytes else {}
        return self._grant("PUT", key, now_s, lifetime_s, sent, bound, {})

    def part(self, key: str, upload_id: str, number: int, *, now_s: float, lifetime_s: int, size_bytes: int) -> Grant:
        """A PUT of one part of exactly this size."""
        bound = {"content-length": str(size_bytes)}
        query = {"partNumber": str(number), "uploadId": upload_id}
        return self._grant("PUT", key, now_s, lifetime_s, {}, bound, query)

    def _grant(
        self,
        method: str,
        key: str,
        now_s: float,
        lifetime_s: int,
        sent: Mapping[str, str],
        bound: Mapping[str, str],
        query: Mapping[str, str],
    ) -> Grant:
        path = f"/{self._bucket}/{key}"
        signed = {**sent, **bound}
        url = self._signer.presign(method, path, now_s=now_s, lifetime_s=lifetime_s, headers=signed, query=query)
        return Grant(url, method, now_s + lifetime_s, sent)


def lifetime(seconds: float) -> int:
    """Whole seconds within S3's limits; raises invalid_range."""
    if not MIN_LIFETIME_S <= seconds <= MAX_LIFETIME_S:
        raise faults.invalid(
            "invalid_range", f"A lifetime is {MIN_LIFETIME_S} to {MAX_LIFETIME_S} seconds, not {seconds:g}."
        )
    return int(seconds)


def checked_type(content_type: str) -> str:
    """The content type when it is one; raises invalid_range."""
    if len(content_type) > 255 or not _TYPE.fullmatch(content_type):
        raise faults.invalid("invalid_range", "The content type must be type/subtype, with up to four parameters.")
    return content_type


def attachment(name: str) -> str:
    """A Content-Disposition (RFC 6266) that saves under `name`, in ASCII too for old clients; raises invalid_range."""
    if len(name.encode("utf-8", "replace")) > MAX_NAME_BYTES:
        raise faults.invalid("invalid_range", f"A download's name has {MAX_NAME_BYTES} bytes at most.")
    bad = any(unicodedata.category(character)[0] == "C" or character in '/\\"' for character in name)
    if bad or not name.strip(" ."):
        raise faults.invalid("invalid_range", "A download's name has no slash, backslash, quote or control character.")
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    plain = re.sub(r"[^A-Za-z0-9 ()+,._-]", "_", plain)
    plain = plain if plain.strip(" .") else "download"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
