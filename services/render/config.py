"""The settings of render."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import imageio_ffmpeg

from chassis.config import Base, Reader, read_base


@dataclass(frozen=True)
class Config:
    """What render is told."""

    base: Base
    storage_address: str
    dbsync_address: str
    work_dir: Path  # attempts' files; emptied at start
    ffmpeg_path: str
    workers: int  # attempts at once
    tenant_jobs_max: int  # unfinished jobs of one tenant
    attempts_max: int  # of one job
    attempt_timeout_s: float
    stall_timeout_s: float  # without a sign of progress

    @property
    def database(self) -> str:
        """The job ledger's database."""
        return f"_jobs.{self.base.environment}"


def read(reader: Reader) -> Config:
    """Reads and checks them; faults stay in the reader."""
    config = Config(
        base=read_base(reader, "render", "127.0.0.1:8103"),
        storage_address=reader.address("STORAGE_ADDRESS"),
        dbsync_address=reader.address("DBSYNC_ADDRESS"),
        work_dir=reader.path("WORK_DIR"),
        ffmpeg_path=reader.text("FFMPEG_PATH", "") or imageio_ffmpeg.get_ffmpeg_exe(),
        workers=reader.integer("RENDER_WORKERS", max(1, (os.cpu_count() or 2) // 2), low=1, high=64),
        tenant_jobs_max=reader.integer("RENDER_TENANT_JOBS_MAX", 20, low=1, high=1000),
        attempts_max=reader.integer("RENDER_ATTEMPTS_MAX", 3, low=1, high=10),
        attempt_timeout_s=reader.number("RENDER_ATTEMPT_TIMEOUT_S", 3600, low=10, high=6 * 3600),
        stall_timeout_s=reader.number("RENDER_STALL_TIMEOUT_S", 180, low=5, high=3600),
    )
    reader.check(
        not reader.flag("MODAL_ENABLED", False),
        "MODAL_ENABLED=true: this version renders with local FFmpeg only; set it to false",
    )
    reader.check(
        config.stall_timeout_s <= config.attempt_timeout_s,
        "RENDER_STALL_TIMEOUT_S must not exceed RENDER_ATTEMPT_TIMEOUT_S",
    )
    reader.check(Path(config.ffmpeg_path).exists(), f"FFMPEG_PATH: there is no program at {config.ffmpeg_path}")
    return config
