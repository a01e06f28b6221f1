"""Builds the browser app when its sources are newer than what was built."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from devstack.settings import ROOT, CannotStart

WEB = ROOT / "web"
OLDEST_NODE = (20, 19)
_STAMP = WEB / "dist/.built-from"
_SOURCES = (
    "src",
    "public",
    "index.html",
    "404.html",
    "package.json",
    "package-lock.json",
    "tsconfig.json",
    "vite.config.ts",
)


def fingerprint() -> str:
    """A hash over everything that the build is made from."""
    digest = hashlib.sha256()
    for name in _SOURCES:
        top = WEB / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file():
                digest.update(str(path.relative_to(WEB)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def is_stale() -> bool:
    """Whether web/dist is missing, or was built from other sources."""
    return not _STAMP.exists() or _STAMP.read_text() != fingerprint()


def build(log: Path) -> bool:
    """Makes web/dist when it is stale; whether it did. CannotStart when it cannot. One at a time on a machine."""
    folder = os.open(WEB, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        return _build(log)
    finally:
        os.close(folder)


def _build(log: Path) -> bool:
    wanted = fingerprint()
    if not is_stale():
        return False
    npm = _npm()
    commands = [[npm, "run", "build"]]
    if not _is_installed():
        commands.insert(0, [npm, "ci", "--no-audit", "--no-fund"])
    # The build has settings of its own, for the origins of staging and production: here it is always the plain one.
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("REEL_", "VITE_"))}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        for command in commands:
            if subprocess.run(command, cwd=WEB, env=environ, stdout=out, stderr=out, timeout=900).returncode != 0:
                raise CannotStart(f"building the app failed (`{' '.join(command)}`); see {log}")
    _STAMP.write_text(wanted)
    return True


def _is_installed() -> bool:
    """As make sees it: what npm wrote at its end is newer than the lock."""
    installed = WEB / "node_modules/.package-lock.json"
    return installed.exists() and installed.stat().st_mtime >= (WEB / "package-lock.json").stat().st_mtime


def _npm() -> str:
    """The npm of PATH, beside a Node that is new enough; CannotStart."""
    npm, node = shutil.which("npm"), shutil.which("node")
    said = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=30).stdout if node else ""
    numbers = said.strip().removeprefix("v").split(".")[:2]
    version = tuple(int(number) for number in numbers if number.isdigit())
    if npm is None or version < OLDEST_NODE:
        raise CannotStart(
            f"the app must be built, which needs npm and Node {OLDEST_NODE[0]}.{OLDEST_NODE[1]} or newer"
            f" (found: {said.strip() or 'none'}); start with `make run`, which brings it"
        )
    return npm
