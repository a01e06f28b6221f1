"""Whether the bucket still is as deploy/r2/setup.py left it: asking costs milliseconds, running that a second."""

from __future__ import annotations

import hashlib
import json
import urllib.error
import urllib.request
from pathlib import Path

from devstack import table
from devstack.keys import Keys
from devstack.settings import HOST, ROOT, Settings

_SETUP = ROOT / "deploy/r2/setup.py"
# This machine's own bucket serves this machine's app alone: an earlier port's origin may go.
COMMAND = (str(_SETUP), "--replace")


def is_set_up(settings: Settings, keys: Keys) -> bool:
    """Whether it was set up so before, and a browser's preflight from the app's origins is let through now."""
    mark = _mark(settings)
    remembered = mark.read_text() if mark.exists() else ""
    return remembered == _fingerprint(settings, keys) and all(
        _lets_in(settings, origin) for origin in table.origins(settings).split(",")
    )


def remember(settings: Settings, keys: Keys) -> None:
    """The bucket was set up with these settings."""
    _mark(settings).write_text(_fingerprint(settings, keys))


def _mark(settings: Settings) -> Path:
    return settings.data / "bucket-set-up"


def _fingerprint(settings: Settings, keys: Keys) -> str:
    told = json.dumps([sorted(table.bucket_environ(settings, keys).items()), COMMAND])
    return hashlib.sha256(told.encode() + _SETUP.read_bytes()).hexdigest()


def _lets_in(settings: Settings, origin: str) -> bool:
    asked = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
    url = f"http://{HOST}:{settings.ports['objectstore']}/{table.BUCKET}/preflight"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=asked, method="OPTIONS"), timeout=5) as answer:
            return bool(answer.headers.get("Access-Control-Allow-Origin") == origin)
    except (OSError, urllib.error.URLError):
        return False
