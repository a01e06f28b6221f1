"""Builds the browser app when its sources are newer than what was built."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from devstack.settings import ROOT, CannotStart

WEB = ROOT / "web"
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


def build(log: Path) -> bool:
    """Makes web/dist when it is missing or stale; whether it did. CannotStart when it cannot."""
    wanted = fingerprint()
    if _STAMP.exists() and _STAMP.read_text() == wanted:
        return False
    npm = shutil.which("npm")
    if npm is None:
        raise CannotStart("the app must be built, and npm is not there; start with `make run`, which brings it")
    lock = (WEB / "package-lock.json").read_bytes()
    installed = WEB / "node_modules/.installed-from"
    commands = [[npm, "run", "build"]]
    if not installed.exists() or installed.read_bytes() != hashlib.sha256(lock).digest():
        commands.insert(0, [npm, "ci", "--no-audit", "--no-fund"])
    environ = {name: value for name, value in os.environ.items() if not name.startswith("REEL_")}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        for command in commands:
            if subprocess.run(command, cwd=WEB, env=environ, stdout=out, stderr=out, timeout=900).returncode != 0:
                raise CannotStart(f"building the app failed (`{' '.join(command)}`); see {log}")
            if command[1] == "ci":
                installed.write_bytes(hashlib.sha256(lock).digest())
    _STAMP.write_text(wanted)
    return True
