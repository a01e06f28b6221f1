"""Builds the browser app for the tests, and serves it as the local runner does: by Cloudflare Pages' own files."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
from pathlib import Path

from aiohttp import web

from devstack.site import BUILT_API, BUILT_MEDIA, Site

ROOT = Path(__file__).resolve().parents[2]
APP = ROOT / "web"
BUILD_LIMIT_S = 120


def build(folder: Path) -> Path:
    """Builds the app into `folder` once, however many test processes ask; returns the folder."""
    with (folder.parent / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "_headers").exists():
            vite = APP / "node_modules" / ".bin" / "vite"
            command = [str(vite), "build", "--logLevel", "warn", "--emptyOutDir", "--outDir", str(folder)]
            node = shutil.which("node")
            if node is None or not vite.exists():
                raise RuntimeError("the browser app cannot be built: run `npm ci` in web/ with Node 20.19 or newer")
            done = subprocess.run(
                [node, *command], cwd=APP, capture_output=True, text=True, timeout=BUILD_LIMIT_S, check=False
            )
            if done.returncode != 0:
                raise RuntimeError(f"vite build failed: {done.stderr or done.stdout}")
    return folder


def application(folder: Path, api: str, media: str) -> web.Application:
    """The built app for a gateway at `api` and a store at `media`."""
    replaced = {BUILT_API: api.removeprefix("http://"), BUILT_MEDIA: media.removeprefix("http://")}
    app = web.Application()
    app.router.add_get("/{path:.*}", Site(folder, replaced).answer)
    return app
