"""Times as S3 writes and reads them; inside the store they are whole milliseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime


def http_date(time_ms: int) -> str:
    """The form of Last-Modified."""
    return formatdate(time_ms // 1000, usegmt=True)


def iso_time(time_ms: int) -> str:
    """The form in XML documents."""
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def http_time(text: str | None) -> int | None:
    """Seconds since the epoch of an HTTP date; None when absent or not a date, which HTTP says to ignore."""
    if not text:
        return None
    try:
        return int(parsedate_to_datetime(text).timestamp())
    except (TypeError, ValueError, OverflowError):
        return None
