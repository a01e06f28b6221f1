"""Conditional requests: may this read or write go ahead, given what the key holds now?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from objectstore.errors import S3Error
from objectstore.times import http_time


@dataclass(frozen=True)
class Conditions:
    """The conditional headers of a request; ETags as sent, times in whole seconds since the epoch."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None

    @property
    def any(self) -> bool:
        return self != Conditions()


def read(headers: Mapping[str, str], prefix: str = "") -> Conditions:
    """The conditions in the headers; `prefix` is "x-amz-copy-source-" for those on a copy's source."""
    return Conditions(
        if_match=headers.get(f"{prefix}if-match"),
        if_none_match=headers.get(f"{prefix}if-none-match"),
        if_modified_since=http_time(headers.get(f"{prefix}if-modified-since")),
        if_unmodified_since=http_time(headers.get(f"{prefix}if-unmodified-since")),
    )


def etag_listed(header: str, etag: str, *, weak: bool) -> bool:
    """True when the header is * or lists the ETag (with or without quotes; weak ones only where `weak`)."""
    for item in header.split(","):
        text = item.strip()
        if text == "*":
            return True
        if text.startswith("W/"):
            if not weak:
                continue
            text = text[2:]
        if text.strip('"') == etag:
            return True
    return False


def read_outcome(conditions: Conditions, etag: str, modified_s: int) -> int:
    """200 to go ahead, 304 or 412 otherwise, in the order of precedence of RFC 9110 13.2.2."""
    if conditions.if_match is not None:
        if not etag_listed(conditions.if_match, etag, weak=False):
            return 412
    elif conditions.if_unmodified_since is not None and modified_s > conditions.if_unmodified_since:
        return 412
    if conditions.if_none_match is not None:
        return 304 if etag_listed(conditions.if_none_match, etag, weak=True) else 200
    if conditions.if_modified_since is not None and modified_s <= conditions.if_modified_since:
        return 304
    return 200


def check_write(conditions: Conditions, current_etag: str | None, *, strict_r2: bool) -> None:
    """Raises PreconditionFailed (or NoSuchKey) unless the write may replace what the key holds (None: nothing)."""
    failed = S3Error("PreconditionFailed", "At least one of the preconditions you specified did not hold.")
    if conditions.if_match is not None:
        if current_etag is None:
            # S3 says 404 for If-Match on a key that is not there, R2 says 412.
            raise failed if strict_r2 else S3Error("NoSuchKey", "The specified key does not exist.")
        if not etag_listed(conditions.if_match, current_etag, weak=False):
            raise failed
    unwanted = conditions.if_none_match
    if unwanted is not None and current_etag is not None and etag_listed(unwanted, current_etag, weak=True):
        raise failed
