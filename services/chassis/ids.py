"""UUIDv7 (RFC 9562): unique ids that sort by the millisecond in which they were made."""

from __future__ import annotations

import re
import secrets
import time

_CANONICAL = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def uuid7(now_ms: int | None = None) -> str:
    """A new id in its canonical lower-case form; `now_ms` is Unix time in milliseconds."""
    millis = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    random = secrets.randbits(74)
    value = (millis & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def uuid7_time_ms(text: str) -> int:
    """The Unix time in milliseconds inside a canonical UUIDv7; ValueError for any other text."""
    if not _CANONICAL.fullmatch(text):
        raise ValueError(f"{text!r} is not a UUIDv7 in lower case")
    return int(text[:8] + text[9:13], 16)
