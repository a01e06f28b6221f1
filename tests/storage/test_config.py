"""The settings: defaults, every fault at once, secrets hidden."""

from __future__ import annotations

import pytest

from chassis.config import ConfigError, Reader
from chassis.credentials import new_key
from storage import config

GOOD = {
    "REEL_ENV": "local",
    "SIGNING_KEY": new_key()[0],
    "TRUSTED_KEYS": f"gateway={new_key()[1]}",
    "R2_ENDPOINT_URL": "http://127.0.0.1:9000/",
    "R2_ACCESS_KEY_ID": "key-id",
    "R2_SECRET_ACCESS_KEY": "very-secret",
    "R2_BUCKET_NAME": "reel-ballers-users",
}


def read(**changes: str) -> config.Config:
    reader = Reader({**GOOD, **changes})
    found = config.read(reader)
    reader.finish()
    return found


def test_defaults() -> None:
    found = read()
    assert found.base.listen == "127.0.0.1:8101"
    assert found.endpoint_url == "http://127.0.0.1:9000"
    assert found.areas == ("games", "raw_clips", "working_videos", "final_videos", "highlights", "downloads")
    assert "very-secret" not in repr(found)


def test_every_fault_at_once() -> None:
    reader = Reader({"REEL_ENV": "local", "STORAGE_AREAS": "games,db,Bad,games"})
    config.read(reader)
    with pytest.raises(ConfigError) as caught:
        reader.finish()
    text = str(caught.value)
    for name in ("R2_ENDPOINT_URL", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_BUCKET_NAME", "SIGNING_KEY"):
        assert f"{name} is not set" in text
    assert "'db' belongs to the databases" in text
    assert "'Bad' must be" in text
    assert "twice" in text


@pytest.mark.parametrize(
    "url",
    [
        "r2.example",
        "ftp://h",
        "https://",
        "https://h/bucket",
        "https://h?x=1",
        "https://h:x",
        "https://u:p@h",
        "https://[",
    ],
)
def test_what_is_no_endpoint(url: str) -> None:
    with pytest.raises(ConfigError, match="R2_ENDPOINT_URL must be"):
        read(R2_ENDPOINT_URL=url)


def test_only_the_local_store_is_spoken_to_in_the_clear() -> None:
    with pytest.raises(ConfigError, match="https:// outside"):
        read(REEL_ENV="staging")
    url = "https://a.r2.cloudflarestorage.com"
    assert read(REEL_ENV="staging", R2_ENDPOINT_URL=url).endpoint_url == url
