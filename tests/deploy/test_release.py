"""Releases, run against programs that write down what they were asked: the steps, their order, and what stops them."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from chassis.config import Reader, read_base
from chassis.credentials import Signer, Verifier
from chassis.faults import Fault

ROOT = Path(__file__).resolve().parents[2]
# Stands in for fly, npm and wrangler: writes down what it was asked, answers as the environment says.
FAKE = """#!{python}
import json, os, pathlib, sys
name = pathlib.Path(sys.argv[0]).name
with open(os.environ["CALLS"], "a") as file:
    print(json.dumps([name, *sys.argv[1:]]), file=file)
if sys.argv[1:3] == ["ips", "list"]:
    print(os.environ.get("ADDRESSES", "[]"))
if sys.argv[1:] == ["run", "build"]:
    pathlib.Path("dist").mkdir()
    pathlib.Path("dist/origins").write_text(os.environ["REEL_API_ORIGIN"] + " " + os.environ["REEL_MEDIA_ORIGIN"])
sys.exit(int(os.environ.get("FAIL") == sys.argv[1]))
"""


def load(path: str) -> ModuleType:
    """A script of deploy/, which is on no import path."""
    spec = importlib.util.spec_from_file_location(path.replace("/", "_").removesuffix(".py"), ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


release = load("deploy/release.py")
keys = load("deploy/fly/keys.py")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A committed tree with what a release reads, and programs on PATH that only write down their calls."""
    (tmp_path / "bin").mkdir()
    for name in ("fly", "npm", "wrangler"):
        program = tmp_path / "bin" / name
        program.write_text(FAKE.format(python=sys.executable))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("R2_ENDPOINT_URL", "https://account.r2.invalid")
    root = tmp_path / "tree"
    for name in ("fly", "pages"):
        shutil.copytree(ROOT / "deploy" / name, root / "deploy" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "web/dist").mkdir(parents=True)
    (root / "web/dist/stale").touch()
    (root / "web/package.json").touch()
    (root / ".gitignore").write_text("dist/\n")
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-q", "-m", "all"],
    ):
        subprocess.run(["git", *command], cwd=root, check=True, timeout=30)
    return root


def calls(tmp_path: Path) -> list[str]:
    """What the programs were asked, a line each."""
    path = tmp_path / "calls"
    return [" ".join(json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def test_validates_strictly_first(repository: Path, tmp_path: Path) -> None:
    release.release("gateway", "staging", repository)
    assert calls(tmp_path) == [
        "fly config validate --strict --config deploy/fly/gateway.staging.toml",
        "fly deploy . --config deploy/fly/gateway.staging.toml --ha=false",
    ]


def test_what_fails_the_check_is_not_deployed(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "config")
    with pytest.raises(release.ReleaseError, match="ended with 1"):
        release.release("gateway", "production", repository)
    assert len(calls(tmp_path)) == 1


@pytest.mark.parametrize("name", ["services/new.py", "deploy/fly/gateway.staging.toml"])
def test_refuses_uncommitted_changes(repository: Path, tmp_path: Path, name: str) -> None:
    path = repository / name
    path.parent.mkdir(exist_ok=True)
    with path.open("a") as file:
        file.write("# more\n")
    with pytest.raises(release.ReleaseError, match="not committed"):
        release.release("gateway", "staging", repository)
    assert calls(tmp_path) == []


@pytest.mark.parametrize("service", ["storage", "dbsync", "render"])
def test_inner_services_stay_private(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    monkeypatch.setenv("ADDRESSES", json.dumps([{"Address": "fdaa::1", "Type": "private_v6"}]))
    release.release(service, "production", repository)
    assert calls(tmp_path)[1:] == [
        f"fly deploy . --config deploy/fly/{service}.production.toml --ha=false --flycast",
        f"fly ips list --app reel-ballers-{service} --json",
    ]
    monkeypatch.setenv(
        "ADDRESSES",
        json.dumps([{"Address": "fdaa::1", "Type": "private_v6"}, {"Address": "192.0.2.1", "Type": "shared_v4"}]),
    )
    with pytest.raises(release.ReleaseError, match=r"192\.0\.2\.1"):
        release.release(service, "production", repository)


def test_without_fly_it_says_what_to_install(repository: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    with pytest.raises(release.ReleaseError, match="flyctl"):
        release.release("gateway", "staging", repository)


@pytest.mark.parametrize("environment", ["staging", "production"])
def test_builds_the_app_for_its_gateway(repository: Path, tmp_path: Path, environment: str) -> None:
    release.release("web", environment, repository)
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repository, capture_output=True, text=True, check=True, timeout=30
    ).stdout
    pages = tomllib.loads((repository / "deploy/pages/pages.toml").read_text())
    branch = pages[environment]["branch"]
    assert calls(tmp_path) == [
        "npm ci --no-audit --no-fund",
        "npm run build",
        f"wrangler pages deploy dist --project-name reel-ballers-app --branch {branch} --commit-hash {commit.strip()}",
    ]
    dist = {path.name: path.read_text() for path in (repository / "web/dist").iterdir()}
    assert dist == {"origins": f"{pages[environment]['api_origin']} https://account.r2.invalid"}


@pytest.mark.parametrize("address", ["", "http://account.r2.invalid", "account.r2.invalid"])
def test_the_app_needs_to_know_its_store(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("R2_ENDPOINT_URL", address)
    with pytest.raises(release.ReleaseError, match="R2_ENDPOINT_URL"):
        release.release("web", "staging", repository)
    assert calls(tmp_path) == []


def test_an_app_that_does_not_build_is_not_uploaded(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAIL", "run")
    with pytest.raises(release.ReleaseError, match="npm run build"):
        release.release("web", "staging", repository)
    assert not [call for call in calls(tmp_path) if call.startswith("wrangler")]


@pytest.mark.parametrize(
    "arguments", [[], ["gateway"], ["gateway", ""], ["gateway", "local"], ["web", "local"], ["worker", "staging"]]
)
def test_a_wrong_command_line_is_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        release.main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_make_deploys_each_part() -> None:
    for part in ("gateway", "storage", "dbsync", "render", "web", "modal"):
        command = ["make", "--dry-run", "--no-print-directory", f"deploy-{part}", "ENV=staging"]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert result.returncode == 0, result.stderr
        assert f"deploy/release.py {part} staging" in result.stdout


def test_services_trust_exactly_their_callers(tmp_path: Path) -> None:
    keys.write(tmp_path / "keys")
    settings = {
        path.stem: dict(line.split("=", 1) for line in path.read_text().splitlines())
        for path in (tmp_path / "keys").iterdir()
    }
    assert all(path.stat().st_mode & 0o077 == 0 for path in [tmp_path / "keys", *(tmp_path / "keys").iterdir()])
    accepted = set()
    for callee, theirs in settings.items():
        reader = Reader(theirs | {"REEL_ENV": "staging"})
        base = read_base(reader, callee, "127.0.0.1:0")
        reader.finish()
        for caller, ours in settings.items():
            try:
                Verifier(callee, base.trusted_keys).verify(Signer(caller, ours["SIGNING_KEY"]).token(callee, "tenant"))
            except Fault:
                continue
            accepted.add((caller, callee))
    arrows = {
        ("gateway", "storage"),
        ("gateway", "dbsync"),
        ("gateway", "render"),
        ("render", "storage"),
        ("render", "dbsync"),
    }
    assert accepted - {("gateway", "gateway")} == arrows


def test_keys_are_new_each_time_and_overwrite_nothing(tmp_path: Path) -> None:
    assert keys.secret_lines() != keys.secret_lines()
    assert keys.main([str(tmp_path / "keys")]) == 0
    before = (tmp_path / "keys/gateway.env").read_text()
    assert keys.main([str(tmp_path / "keys")]) == 2
    assert (tmp_path / "keys/gateway.env").read_text() == before
    seed = before.partition("SIGNING_KEY=")[2].splitlines()[0]
    assert len(base64.urlsafe_b64decode(seed + "=")) == 32
