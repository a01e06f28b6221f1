"""Ids of the product: UUIDv7, derived from a request's idempotency key so that the same request makes the same
things.
"""

from __future__ import annotations

import hashlib

from chassis.ids import uuid7_time_ms


def is_id(text: str) -> bool:
    """Whether the text is a canonical UUIDv7."""
    try:
        uuid7_time_ms(text)
    except ValueError:
        return False
    return True


def derive(seed: str, *labels: str) -> str:
    """A UUIDv7 with the time of `seed` (one itself); equal arguments give the equal id, others another."""
    millis = uuid7_time_ms(seed)
    digest = hashlib.sha256("\x00".join((seed, *labels)).encode()).digest()
    random = int.from_bytes(digest[:10], "big") & ((1 << 74) - 1)
    value = millis << 80 | 0x7 << 76 | (random >> 62) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
