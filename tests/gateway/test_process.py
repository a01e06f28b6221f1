"""The gateway as a process: it names what is wrong in its settings, lives without its services, stops when told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
KEY = "A" * 43
GOOD = {
    "REEL_ENV": "local",
    "SIGNING_KEY": KEY,
    "TRUSTED_KEYS": f"gateway={KEY}",
    "LISTEN": "127.0.0.1:0",
    # Nobody listens on port 1.
    "STORAGE_ADDRESS": "127.0.0.1:1",
    "DBSYNC_ADDRESS": "127.0.0.1:1",
    "RENDER_ADDRESS": "127.0.0.1:1",
}


def started(**changed: str) -> subprocess.Popen[str]:
    """`python -m gateway` with these settings."""
    paths = ":".join(str(ROOT / name) for name in ("services", "protos/gen"))
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": paths, **GOOD, **changed}
    return subprocess.Popen(
        [sys.executable, "-m", "gateway"], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def asked(url: str) -> tuple[int, Any]:
    """The status and body of an answer."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"FLY_APP_NAME": "reel"}, "refuses to run on Fly.io"),
        ({"SIGNING_KEY": "", "APP_ORIGINS": "nonsense"}, "SIGNING_KEY is not set"),
        ({"REEL_ENV": "production"}, "must be https"),
    ],
)
def test_settings_that_are_wrong_are_listed_and_nothing_starts(changed: dict[str, str], words: str) -> None:
    process = started(**changed)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 78 and words in errors


def test_it_lives_without_its_services_says_which_are_missing_and_stops_when_told() -> None:
    process = started()
    try:
        assert process.stdout is not None
        line = json.loads(process.stdout.readline())
        assert line["message"] == "listening"
        url = f"http://localhost:{line['port']}"
        assert asked(f"{url}/healthz") == (200, {"status": "ok"})
        status, body = asked(f"{url}/readyz")
        assert status == 503
        assert body["services"] == dict.fromkeys(("storage", "dbsync", "render"), "unreachable")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.communicate()
