"""What the service is told, read once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chassis.config import Base, Reader, Secret, read_base
from dbsync.databases import Bounds
from dbsync.slots import Patience
from dbsync.sqlguard import Limits

MIB = 1 << 20


@dataclass(frozen=True)
class Bucket:
    """Where the log is."""

    endpoint_url: str
    access_key_id: Secret
    secret_access_key: Secret
    name: str


@dataclass(frozen=True)
class Config:
    """Everything that dbsync needs to start."""

    base: Base
    bucket: Bucket
    cache_dir: Path
    owners: Mapping[str, str]
    limits: Limits
    bounds: Bounds
    patience: Patience
    writer_threads: int
    reader_threads: int
    fetcher_threads: int
    sqlite_memory_bytes: int


def read(reader: Reader) -> Config:
    """The configuration; faults stay in the reader."""
    base = read_base(reader, "dbsync", "127.0.0.1:8102")
    bucket = Bucket(
        endpoint_url=reader.text("R2_ENDPOINT_URL"),
        access_key_id=reader.secret("R2_ACCESS_KEY_ID"),
        secret_access_key=reader.secret("R2_SECRET_ACCESS_KEY"),
        name=reader.text("R2_BUCKET_NAME"),
    )
    limits = Limits(
        rows=reader.integer("MAX_ROWS", 10_000, low=1, high=1_000_000),
        steps=reader.integer("MAX_STEPS", 50_000_000, low=10_000, high=10_000_000_000),
        seconds=reader.number("MAX_SQL_SECONDS", 5.0, low=0.05, high=60.0),
        database_bytes=reader.integer("MAX_DATABASE_MIB", 128, low=1, high=1000) * MIB,
    )
    bounds = Bounds(
        open_databases=reader.integer("MAX_OPEN_DATABASES", 200, low=1, high=10_000),
        waiting_commits=reader.integer("MAX_WAITING_COMMITS", 256, low=1, high=10_000),
        group=reader.integer("MAX_GROUP", 64, low=1, high=1000),
        commit_s=reader.number("COMMIT_SECONDS", 15.0, low=0.5, high=120.0),
        catch_up_s=reader.number("CATCH_UP_SECONDS", 15.0, low=0.5, high=120.0),
        whole_s=reader.number("WHOLE_SECONDS", 60.0, low=1.0, high=600.0),
        whole_at_once=reader.integer("WHOLE_AT_ONCE", 2, low=1, high=64),
        snapshot_every=reader.integer("SNAPSHOT_EVERY", 1000, low=1, high=1_000_000),
    )
    patience = Patience(attempt_s=reader.number("STORE_ATTEMPT_SECONDS", 5.0, low=0.1, high=60.0))
    sqlite_memory_bytes = reader.integer("SQLITE_MEMORY_MIB", 160, low=16, high=16_384) * MIB
    reader.check(
        patience.attempt_s <= bounds.commit_s,
        "STORE_ATTEMPT_SECONDS must not be above COMMIT_SECONDS: one try would outlive the commit",
    )
    reader.check(
        limits.value_bytes * 4 <= sqlite_memory_bytes,
        f"SQLITE_MEMORY_MIB must be at least {limits.value_bytes * 4 // MIB}: four of the largest values",
    )
    return Config(
        base=base,
        bucket=bucket,
        cache_dir=reader.path("CACHE_DIR"),
        owners=reader.pairs("DATABASE_OWNERS", "_directory=gateway,_jobs=render,*=gateway"),
        limits=limits,
        bounds=bounds,
        patience=patience,
        writer_threads=reader.integer("WRITER_THREADS", 16, low=1, high=512),
        reader_threads=reader.integer("READER_THREADS", 4, low=1, high=128),
        fetcher_threads=reader.integer("FETCHER_THREADS", 32, low=2, high=256),
        sqlite_memory_bytes=sqlite_memory_bytes,
    )
