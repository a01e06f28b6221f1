"""Releases one part: a service to Fly.io, the browser app to Cloudflare Pages, or the renderer's containers to Modal.

    python deploy/release.py gateway staging
    python deploy/release.py web production
    python deploy/release.py modal staging

1. What runs is what is committed (tests/deploy/test_release.py: test_refuses_uncommitted_changes).
2. A misspelt setting never reaches Fly: plain `fly config validate` accepts it (test_validates_strictly_first).
3. Only the gateway is public: a public address exposes every port of its app (test_inner_services_stay_private).
4. The app that is uploaded was just built for that environment's gateway (test_builds_the_app_for_its_gateway).
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
SERVICES = ("gateway", "storage", "dbsync", "render")
ENVIRONMENTS = ("staging", "production")
PUBLIC = "gateway"
WEB = "web"
MODAL = "modal"
# Modal's own environments; "main" is the one that an account begins with.
MODAL_ENVIRONMENTS = {"staging": "staging", "production": "main"}
# A build without a cache installs OpenCV and its friends.
DEPLOY_S = 1800
QUESTION_S = 60


class ReleaseError(Exception):
    """Why nothing was released, or what is wrong with what was."""


def require_tools(part: str) -> None:
    """ReleaseError when a program that the release needs is not on PATH."""
    tools = {"wrangler": "`npm install --global wrangler`, then `wrangler login`", "npm": "install Node 20.19 or newer"}
    if part == MODAL:
        return  # its command line is among the locked packages
    for program, advice in (tools if part == WEB else {"fly": "install flyctl, then `fly auth login`"}).items():
        if shutil.which(program) is None:
            raise ReleaseError(f"`{program}` is not on PATH: {advice}")


def run(command: Sequence[str], folder: Path, timeout_s: float, extra: Mapping[str, str] | None = None) -> None:
    """Runs a command that prints for itself; ReleaseError when it fails."""
    ask(command, folder, timeout_s, extra, capture=False)


def ask(
    command: Sequence[str],
    folder: Path,
    timeout_s: float = QUESTION_S,
    extra: Mapping[str, str] | None = None,
    *,
    capture: bool = True,
) -> str:
    """Runs a command and answers its standard output; ReleaseError when it fails or takes longer."""
    output = subprocess.PIPE if capture else None
    environment = {**os.environ, **(extra or {})}
    try:
        result = subprocess.run(command, cwd=folder, env=environment, text=True, timeout=timeout_s, stdout=output)
    except subprocess.TimeoutExpired as error:
        raise ReleaseError(f"{' '.join(command)}: no answer in {timeout_s:g} s") from error
    if result.returncode != 0:
        raise ReleaseError(f"{' '.join(command)}: ended with {result.returncode}")
    return result.stdout or ""


def require_committed(root: Path) -> None:
    """ReleaseError when the tree differs from its commit, untracked files included: what is built is the tree."""
    changed = ask(["git", "status", "--porcelain"], root).splitlines()
    if changed:
        shown = "\n".join(changed[:20])
        raise ReleaseError(f"not committed:\n{shown}\nCommit or remove these: what runs is what is committed.")


def require_private(app: str, root: Path) -> None:
    """ReleaseError when an inner service's app has an address outside the private network."""
    addresses = json.loads(ask(["fly", "ips", "list", "--app", app, "--json"], root) or "[]")
    public = [str(item.get("Address")) for item in addresses if "private" not in str(item.get("Type", "")).lower()]
    if public:
        raise ReleaseError(f"{app} can be reached from the internet at {', '.join(public)}: `fly ips release` these")


def release_service(service: str, environment: str, root: Path) -> None:
    """A service to Fly.io: strict check, deploy, and a look at its addresses."""
    config = f"deploy/fly/{service}.{environment}.toml"
    app = tomllib.loads((root / config).read_text(encoding="utf-8"))["app"]
    run(["fly", "config", "validate", "--strict", "--config", config], root, QUESTION_S)
    # The context is the repository; the file names its Dockerfile relative to itself. One machine: --ha means two.
    command = ["fly", "deploy", ".", "--config", config, "--ha=false"]
    run(command if service == PUBLIC else [*command, "--flycast"], root, DEPLOY_S)
    if service != PUBLIC:
        require_private(app, root)


def release_web(environment: str, root: Path) -> None:
    """The browser app to Cloudflare Pages: built anew for the environment's gateway, then uploaded to its branch."""
    store = urlsplit(os.environ.get("R2_ENDPOINT_URL", ""))
    if store.scheme != "https" or not store.hostname:
        raise ReleaseError(
            "set R2_ENDPOINT_URL to https://<account>.r2.cloudflarestorage.com: the app may talk to no other store"
        )
    pages = tomllib.loads((root / "deploy/pages/pages.toml").read_text(encoding="utf-8"))
    target = pages[environment]
    web = root / "web"
    run(["npm", "ci", "--no-audit", "--no-fund"], web, DEPLOY_S)
    shutil.rmtree(web / "dist", ignore_errors=True)
    origins = {"REEL_API_ORIGIN": target["api_origin"], "REEL_MEDIA_ORIGIN": f"https://{store.netloc}"}
    run(["npm", "run", "build"], web, DEPLOY_S, origins)
    commit = ask(["git", "rev-parse", "HEAD"], root).strip()
    command = ["wrangler", "pages", "deploy", "dist", "--project-name", pages["project"], "--branch", target["branch"]]
    run([*command, "--commit-hash", commit], web, DEPLOY_S)


def release_modal(environment: str, root: Path) -> None:
    """The renderer's containers to Modal, by the operator's own token."""
    command = [sys.executable, "-m", "modal", "deploy", "--env", MODAL_ENVIRONMENTS[environment], "deploy/modal/app.py"]
    paths = os.pathsep.join(str(root / part) for part in ("services", "protos/gen"))
    run(command, root, DEPLOY_S, {"PYTHONPATH": paths})


def release(part: str, environment: str, root: Path = ROOT) -> None:
    """Releases a part; ReleaseError when a step fails, and the steps after it are not taken."""
    require_tools(part)
    require_committed(root)
    if part == WEB:
        release_web(environment, root)
    elif part == MODAL:
        release_modal(environment, root)
    else:
        release_service(part, environment, root)


def main(arguments: list[str]) -> int:
    """The command line: 0 released, 1 not, 2 used wrongly."""
    parser = argparse.ArgumentParser(description="Release one part of Reel Ballers.")
    parser.add_argument("part", choices=(*SERVICES, WEB, MODAL))
    parser.add_argument("environment", choices=ENVIRONMENTS)
    options = parser.parse_args(arguments)
    try:
        release(options.part, options.environment)
    except ReleaseError as error:
        print(f"not released: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
