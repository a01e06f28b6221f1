"""Finds a Chromium for the browser tests: one that is there, else Debian's package as root, else Playwright's own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
)
INSTALL_LIMIT_S = 600


def chromium() -> str | None:
    """The path of a Chromium, installed when there is none; None leaves it to Playwright, which then has its own.

    The setting REEL_CHROMIUM names one. Raises RuntimeError when none can be had.
    """
    found = _present()
    if found:
        return found
    if os.geteuid() == 0 and shutil.which("apt-get"):
        _try(["apt-get", "update", "-qq"])
        _try(["apt-get", "install", "-y", "-qq", "--no-install-recommends", "chromium"])
        found = _present()
        if found:
            return found
    if _try([sys.executable, "-m", "playwright", "install", "chromium"]):
        return None
    raise RuntimeError("no Chromium: install one (apt-get install chromium) or name it with REEL_CHROMIUM")


def _present() -> str | None:
    named = os.environ.get("REEL_CHROMIUM", "")
    if named:
        if not Path(named).is_file():
            raise RuntimeError(f"REEL_CHROMIUM names {named}, which is not there")
        return named
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def _try(command: list[str]) -> bool:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    try:
        return (
            subprocess.run(
                command, env=environment, capture_output=True, timeout=INSTALL_LIMIT_S, check=False
            ).returncode
            == 0
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
