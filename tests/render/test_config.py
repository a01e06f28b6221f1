"""The settings of render: their defaults, and every fault at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from chassis.config import ConfigError, Reader
from chassis.credentials import new_key
from render.config import Config, read

SEED, PUBLIC = new_key()
GOOD = {
    "REEL_ENV": "staging",
    "SIGNING_KEY": SEED,
    "TRUSTED_KEYS": f"gateway={PUBLIC}",
    "STORAGE_ADDRESS": "storage:8101",
    "DBSYNC_ADDRESS": "dbsync:8102",
    "WORK_DIR": "work",
}


def configured(**more: str) -> Config:
    reader = Reader({**GOOD, **more})
    config = read(reader)
    reader.finish()
    return config


def test_defaults() -> None:
    config = configured()
    assert config.database == "_jobs.staging"
    assert config.workers >= 1 and config.attempts_max == 3
    assert Path(config.ffmpeg_path).is_file()
    assert SEED not in repr(config)
    assert config.modal is None


def test_modal() -> None:
    config = configured(MODAL_ENABLED="true", MODAL_TOKEN_ID="ak-1", MODAL_TOKEN_SECRET="as-1")
    assert config.modal is not None
    assert (config.modal.app, config.modal.environment, config.modal.fallback) == ("reel-ballers-video", "", "wait")
    assert "as-1" not in repr(config)


def test_dbsync_may_be_several() -> None:
    assert configured().dbsync_addresses == ("dbsync:8102",)
    assert configured(DBSYNC_ADDRESS="one:8102, two:8102").dbsync_addresses == ("one:8102", "two:8102")


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as failed:
        configured(
            MODAL_ENABLED="true",
            STORAGE_ADDRESS="nowhere",
            RENDER_WORKERS="0",
            FFMPEG_PATH=str(tmp_path / "none"),
            RENDER_STALL_TIMEOUT_S="3000",
            RENDER_ATTEMPT_TIMEOUT_S="100",
        )
    told = "\n".join(failed.value.faults)
    names = ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET", "STORAGE_ADDRESS", "RENDER_WORKERS", "FFMPEG_PATH")
    for name in (*names, "RENDER_STALL_TIMEOUT_S"):
        assert name in told
