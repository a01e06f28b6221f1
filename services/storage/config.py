"""The settings of storage, read once and checked together."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from chassis.config import Base, Reader, Secret, read_base
from storage import objects

DEFAULT_LISTEN = "127.0.0.1:8101"
DEFAULT_AREAS = "games,raw_clips,working_videos,final_videos,highlights,downloads"


@dataclass(frozen=True)
class Config:
    """Where the bucket is, and what tenants may keep in it."""

    base: Base
    endpoint_url: str
    access_key_id: str
    secret_access_key: Secret
    bucket: str
    areas: tuple[str, ...]
    threads: int = 16  # calls to the store at once
    waiting: int = 240  # and callers that wait for one of them


def read(reader: Reader) -> Config:
    """The settings; faults stay in the reader."""
    base = read_base(reader, "storage", DEFAULT_LISTEN)
    endpoint_url = reader.text("R2_ENDPOINT_URL").rstrip("/")
    fault = _endpoint_fault(endpoint_url) if endpoint_url else ""
    reader.check(not fault, f"R2_ENDPOINT_URL {fault}")
    reader.check(
        base.local or not endpoint_url.startswith("http://"),
        "R2_ENDPOINT_URL must be https:// outside of REEL_ENV=local",
    )
    areas = reader.items("STORAGE_AREAS", DEFAULT_AREAS)
    for area in areas:
        fault = objects.area_fault(area)
        reader.check(not fault, f"STORAGE_AREAS: {area!r} {fault}")
    reader.check(len(set(areas)) == len(areas), "STORAGE_AREAS names an area twice")
    return Config(
        base=base,
        endpoint_url=endpoint_url,
        access_key_id=reader.text("R2_ACCESS_KEY_ID"),
        secret_access_key=reader.secret("R2_SECRET_ACCESS_KEY"),
        bucket=reader.text("R2_BUCKET_NAME"),
        areas=areas,
    )


def _endpoint_fault(url: str) -> str:
    try:
        parts = urlsplit(url)
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        whole = False
        parts = urlsplit("")
    if whole and not (parts.path or parts.query or parts.fragment or parts.username):
        return ""
    return "must be https://host or https://host:port, with neither bucket nor path"
