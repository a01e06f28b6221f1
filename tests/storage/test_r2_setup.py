"""The bucket's set-up over the embedded store: applied once, checked, and seen as a browser sees it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from deploy.r2 import setup
from tests.fakes.object_store import ObjectStore, object_store

ORIGINS = "https://app.reelballers.com,http://localhost:5173"


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store() as started:
        yield started


def run(store: ObjectStore, *arguments: str, **changes: str) -> int:
    environ = {**store.environment(), "APP_ORIGINS": ORIGINS, **changes}
    return setup.main(arguments, environ, propagation_s=2)


def test_twice_is_once(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "--check") == 1
    assert "CORS is" in capsys.readouterr().out
    assert run(store) == 0
    assert "wrote CORS" in capsys.readouterr().out
    assert run(store) == 0
    assert capsys.readouterr().out == f"{store.bucket} is as it should be\n"
    assert run(store, "--check") == 0


def test_a_browser_may_do_what_the_app_needs(store: ObjectStore) -> None:
    settings, faults = setup.read({**store.environment(), "APP_ORIGINS": ORIGINS})
    assert not faults
    bucket = setup.Bucket(settings)
    bucket.write_cors([{"AllowedOrigins": ["http://localhost:5173"], "AllowedMethods": ["GET"]}])
    found = setup.browser_faults(bucket)
    assert "a preflight from https://app.reelballers.com is refused" in found
    assert "an answer to http://localhost:5173 does not expose its ETag" in found
    bucket.write_cors([{"AllowedOrigins": ["*"], "AllowedMethods": ["GET", "PUT"], "ExposeHeaders": ["ETag"]}])
    assert "any origin may read by presigned URL" in setup.browser_faults(bucket)
    setup.apply(bucket, replace=True)
    assert not setup.browser_faults(bucket)


def test_a_missing_bucket_is_created(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "--check", R2_BUCKET_NAME="new-bucket") == 1
    assert "does not exist" in capsys.readouterr().out
    assert run(store, R2_BUCKET_NAME="new-bucket") == 0


def test_origins_are_not_lost_by_accident(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store) == 0
    assert run(store, APP_ORIGINS="http://localhost:5173") == 1
    assert "https://app.reelballers.com" in capsys.readouterr().err
    assert run(store, "--check") == 0
    assert run(store, "--replace", APP_ORIGINS="http://localhost:5173") == 0
    assert run(store, "--check") == 1


def test_a_rule_that_deletes_objects(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store) == 0
    rule: Any = {"ID": "tidy", "Status": "Enabled", "Filter": {"Prefix": "x"}, "Expiration": {"Days": 30}}
    rules: Any = {"Rules": [rule]}
    store.client().put_bucket_lifecycle_configuration(Bucket=store.bucket, LifecycleConfiguration=rules)
    capsys.readouterr()
    assert run(store, "--check") == 1
    out = capsys.readouterr().out
    assert "'tidy' has Expiration" in out
    assert "unfinished uploads end after no days" in out
    assert run(store) == 0
    assert run(store, "--check") == 0


def test_wrong_settings_are_all_said(capsys: pytest.CaptureFixture[str]) -> None:
    origins = "https://a/b,http://b,*,https://*.c,ftp://d,https://u:p@e,https://f:x"
    assert setup.main([], {"APP_ORIGINS": origins}) == 2
    err = capsys.readouterr().err
    for name in ("R2_ENDPOINT_URL", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_BUCKET_NAME"):
        assert f"{name} is not set" in err
    for origin in origins.split(","):
        assert repr(origin) in err


def test_credentials_that_do_not_fit(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "--check", R2_SECRET_ACCESS_KEY="wrong-secret") == 1
    assert "wrong-secret" not in "".join(capsys.readouterr())
    assert run(store, "--check", R2_ENDPOINT_URL="http://127.0.0.1:1") == 1
