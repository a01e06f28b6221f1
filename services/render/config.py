"""The settings of render."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import imageio_ffmpeg

from chassis.config import Base, Reader, Secret, read_base


@dataclass(frozen=True)
class Modal:
    """How Modal is used."""

    token_id: Secret
    token_secret: Secret
    app: str
    environment: str  # Modal's own; empty for the token's
    fallback: Literal["wait", "local"]  # what a job does while Modal cannot be reached
    fallback_after_s: float
    calls_max: int  # attempts at once
    queue_s: float  # that a call may wait for a container


@dataclass(frozen=True)
class Config:
    """What render is told."""

    base: Base
    storage_address: str
    dbsync_addresses: tuple[str, ...]
    work_dir: Path  # attempts' files; emptied at start
    ffmpeg_path: str
    workers: int  # attempts at once
    tenant_jobs_max: int  # unfinished jobs of one tenant
    attempts_max: int  # of one job
    attempt_timeout_s: float
    stall_timeout_s: float  # without a sign of progress
    tenant_running_max: int  # attempts of one tenant at once
    sweep_after_s: float  # that what attempts left behind stays after the job's end
    nvenc: bool
    modal: Modal | None

    @property
    def database(self) -> str:
        """The job ledger's database."""
        return f"_jobs.{self.base.environment}"


def read(reader: Reader) -> Config:
    """Reads and checks them; faults stay in the reader."""
    config = Config(
        base=read_base(reader, "render", "127.0.0.1:8103"),
        storage_address=reader.address("STORAGE_ADDRESS"),
        dbsync_addresses=reader.addresses("DBSYNC_ADDRESS"),
        work_dir=reader.path("WORK_DIR"),
        ffmpeg_path=reader.text("FFMPEG_PATH", "") or imageio_ffmpeg.get_ffmpeg_exe(),
        workers=reader.integer("RENDER_WORKERS", max(1, (os.cpu_count() or 2) // 2), low=1, high=64),
        tenant_jobs_max=reader.integer("RENDER_TENANT_JOBS_MAX", 20, low=1, high=1000),
        attempts_max=reader.integer("RENDER_ATTEMPTS_MAX", 3, low=1, high=10),
        attempt_timeout_s=reader.number("RENDER_ATTEMPT_TIMEOUT_S", 3600, low=10, high=6 * 3600),
        stall_timeout_s=reader.number("RENDER_STALL_TIMEOUT_S", 180, low=5, high=3600),
        tenant_running_max=reader.integer("RENDER_TENANT_RUNNING_MAX", 2, low=1, high=1000),
        sweep_after_s=reader.number("RENDER_SWEEP_AFTER_S", 24 * 3600, low=1, high=30 * 24 * 3600),
        nvenc=reader.flag("RENDER_NVENC", False),
        modal=_modal(reader),
    )
    reader.check(
        config.stall_timeout_s <= config.attempt_timeout_s,
        "RENDER_STALL_TIMEOUT_S must not exceed RENDER_ATTEMPT_TIMEOUT_S",
    )
    reader.check(Path(config.ffmpeg_path).exists(), f"FFMPEG_PATH: there is no program at {config.ffmpeg_path}")
    return config


def _modal(reader: Reader) -> Modal | None:
    enabled = reader.flag("MODAL_ENABLED", False)
    modal = Modal(
        token_id=reader.secret("MODAL_TOKEN_ID", None if enabled else ""),
        token_secret=reader.secret("MODAL_TOKEN_SECRET", None if enabled else ""),
        app=reader.text("MODAL_APP", "reel-ballers-video"),
        environment=reader.text("MODAL_ENVIRONMENT", ""),
        fallback="local" if reader.choice("MODAL_FALLBACK", ("wait", "local"), "wait") == "local" else "wait",
        fallback_after_s=reader.number("MODAL_FALLBACK_AFTER_S", 60, low=0, high=24 * 3600),
        calls_max=reader.integer("MODAL_CALLS_MAX", 20, low=1, high=1000),
        queue_s=reader.number("MODAL_QUEUE_S", 2 * 3600, low=5, high=3 * 24 * 3600),
    )
    return modal if enabled else None
