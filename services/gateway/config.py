"""The gateway's settings."""

from __future__ import annotations

import re
from dataclasses import dataclass

from chassis.config import Base, Reader, read_base

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:\d{1,5})?|https?://\[::1\](:\d{1,5})?")


@dataclass(frozen=True)
class Config:
    """What the gateway is told."""

    base: Base
    storage_address: str
    dbsync_addresses: tuple[str, ...]
    render_address: str
    app_origins: tuple[str, ...]
    max_upload_bytes: int
    rate_per_s: float  # requests of one user, in the long run
    rate_burst: int  # and at once
    head_poll_s: float
    max_pages: int  # WebSockets
    max_watches: int


def read(reader: Reader) -> Config:
    """The settings; their faults are the reader's to report."""
    base = read_base(reader, "gateway", "127.0.0.1:8000")
    origins = reader.items("APP_ORIGINS", "http://localhost:5173")
    for origin in origins:
        reader.check(
            _ORIGIN.fullmatch(origin) is not None,
            f"APP_ORIGINS holds {origin!r}, which is no origin such as https://app.reelballers.com",
        )
        reader.check(
            base.local or origin.startswith("https://"), f"APP_ORIGINS holds {origin}, which must be https here"
        )
    reader.check(bool(origins), "APP_ORIGINS names no origin: no page could call the API")
    rate_per_s = reader.number("RATE_PER_S", 100, low=0.1, high=100_000)
    rate_burst = reader.integer("RATE_BURST", 600, low=1, high=1_000_000)
    reader.check(
        rate_burst >= rate_per_s, "RATE_BURST must be at least RATE_PER_S: what comes in one second comes at once"
    )
    return Config(
        base=base,
        storage_address=reader.address("STORAGE_ADDRESS", "127.0.0.1:8101"),
        dbsync_addresses=reader.addresses("DBSYNC_ADDRESS", "127.0.0.1:8102"),
        render_address=reader.address("RENDER_ADDRESS", "127.0.0.1:8103"),
        app_origins=origins,
        max_upload_bytes=reader.integer("MAX_UPLOAD_GIB", 64, low=1, high=1024) << 30,
        rate_per_s=rate_per_s,
        rate_burst=rate_burst,
        head_poll_s=reader.number("HEAD_POLL_S", 3, low=0.05, high=60),
        max_pages=reader.integer("MAX_PAGES", 2000, low=1, high=100_000),
        max_watches=reader.integer("MAX_WATCHES", 500, low=1, high=100_000),
    )
