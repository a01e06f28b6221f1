"""Each image holds its service, the chassis, the generated code it speaks, its locked packages, and starts."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.deploy import dockerfile

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("gateway", "storage", "dbsync", "render")
SPOKEN = {
    "gateway": {"storage", "dbsync", "render"},
    "storage": {"storage"},
    "dbsync": {"dbsync"},
    "render": {"storage", "dbsync", "render"},
}
STAGES = dockerfile.parse((ROOT / "deploy/Dockerfile").read_text())
START_S = 30
EXIT_CONFIG = 78

IMPORT_ALL = """
import importlib, json, pkgutil, sys
failed = {}
for package in sys.argv[1:]:
    for found in pkgutil.walk_packages([package.replace(".", "/")], package + "."):
        try:
            importlib.import_module(found.name)
        except Exception as error:
            failed[found.name] = f"{type(error).__name__}: {error}"
json.dump(failed, sys.stdout)
"""

REFUSED = """
import importlib, json, sys
refused = []
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        refused.append(name)
json.dump(refused, sys.stdout)
"""


class Image:
    """A target laid out in a folder, and how to run Python as if inside it."""

    def __init__(self, service: str, root: Path) -> None:
        self.service = service
        self.stage = STAGES[service]
        self.root = root
        dockerfile.lay_out(STAGES, service, ROOT, root)
        self.app = root / self.stage.folder.lstrip("/")

    def distributions(self) -> list[str]:
        """What the image's requirements install."""
        text = (ROOT / f"requirements/{self.service}.txt").read_text()
        return re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", text, re.MULTILINE)

    def environment(self, **settings: str) -> dict[str, str]:
        """The image's own environment, its paths moved into the folder, with nothing of ours but the settings."""
        site = Path(__file__).parent / "image_site"
        paths = [
            str(site),
            *(str(self.root / part.lstrip("/")) for part in self.stage.environment["PYTHONPATH"].split(":")),
        ]
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "PYTHONPATH": ":".join(paths),
            "PYTHONDONTWRITEBYTECODE": "1",
            "IMAGE_DISTRIBUTIONS": ",".join(self.distributions()),
            **settings,
        }

    def python(self, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        """Runs Python in the image's working folder."""
        command = [sys.executable, *arguments]
        return subprocess.run(
            command, cwd=self.app, env=self.environment(**settings), capture_output=True, text=True, timeout=60
        )


@pytest.fixture
def image(service: str, tmp_path: Path) -> Image:
    """The image of the service that the test names."""
    return Image(service, tmp_path / "image")


def test_the_reader_refuses_what_it_does_not_know() -> None:
    with pytest.raises(ValueError, match="ENTRYPOINT"):
        dockerfile.parse('FROM a AS b\nENTRYPOINT ["sh"]')


@pytest.mark.parametrize("service", SERVICES)
def test_it_holds_its_own_parts_and_nothing_else(image: Image, service: str) -> None:
    assert {path.name for path in image.root.iterdir()} == {"app"}
    assert {path.name for path in image.app.iterdir()} == {service, "chassis", "reel"}
    assert {path.name for path in (image.app / "reel").iterdir()} == SPOKEN[service]
    folders = (ROOT / "services" / service, image.app / service)
    source, copied = (
        {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        for folder in folders
    )
    assert source and copied == source
    assert not [path for path in image.root.rglob("*") if path.suffix in {".pyi", ".pyc", ".env"}]


@pytest.mark.parametrize("service", SERVICES)
def test_every_module_imports_with_the_image_s_packages_alone(image: Image, service: str) -> None:
    result = image.python("-c", IMPORT_ALL, service, "chassis", *(f"reel.{name}" for name in SPOKEN[service]))
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout) == {}


@pytest.mark.parametrize("service", SERVICES)
def test_another_service_cannot_be_imported(image: Image, service: str) -> None:
    others = {*SERVICES, "objectstore", "devstack", "tests"} - {service}
    others |= {f"reel.{name}.v1.{name}_pb2" for name in {"storage", "dbsync", "render"} - SPOKEN[service]}
    result = image.python("-c", REFUSED, *sorted(others))
    assert result.returncode == 0 and json.loads(result.stdout) == sorted(others), result.stderr


@pytest.mark.parametrize(
    ("service", "refused"), [("gateway", ["apsw", "boto3"]), ("storage", ["apsw"]), ("dbsync", ["boto3"])]
)
def test_another_image_s_packages_cannot_be_imported(image: Image, refused: list[str]) -> None:
    # They are installed here: were they importable, the tests above would prove nothing.
    assert json.loads(image.python("-c", REFUSED, "apsw", "boto3").stdout) == refused


@pytest.mark.parametrize("service", SERVICES)
def test_without_settings_it_names_what_is_missing(image: Image) -> None:
    result = image.python(*image.stage.command[1:])
    assert result.returncode == EXIT_CONFIG, result.stderr
    assert "SIGNING_KEY" in result.stderr and "REEL_ENV" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("service", SERVICES)
async def test_it_starts_as_deployed_and_stops_at_sigterm(image: Image, service: str, tmp_path: Path) -> None:
    deployed = tomllib.loads((ROOT / f"deploy/fly/{service}.staging.toml").read_text())
    settings = dict(deployed["env"]) | {"LISTEN": "127.0.0.1:0", "FLY_APP_NAME": deployed["app"]} | dummy_secrets()
    for name in settings.keys() & {"CACHE_DIR", "WORK_DIR"}:
        settings[name] = str(tmp_path / "cache")
    # Nothing of the outside is asked for: a service starts while those behind it sleep.
    settings |= {name: "127.0.0.1:9" for name in settings if name.endswith("_ADDRESS")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *image.stage.command[1:],
        cwd=image.app,
        env=image.environment(**settings),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = b""
    try:
        assert process.stdout
        async with asyncio.timeout(START_S):
            while b"listening" not in output:
                chunk = await process.stdout.readline()
                output += chunk
                assert chunk, output.decode()
        process.send_signal(signal.Signals[image.stage.stop_signal])
        async with asyncio.timeout(deployed["kill_timeout"]):
            output += await process.stdout.read()
            assert await process.wait() == 0, output.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def dummy_secrets() -> dict[str, str]:
    """What the deployment's secrets would be, all of the right form."""
    key = "A" * 43
    return {
        "SIGNING_KEY": key,
        "TRUSTED_KEYS": f"gateway={key},render={key}",
        "R2_ENDPOINT_URL": "https://account.r2.invalid",
        "R2_ACCESS_KEY_ID": "id",
        "R2_SECRET_ACCESS_KEY": "secret",
    }


@pytest.mark.parametrize("service", SERVICES)
def test_it_runs_without_a_shell_or_root(service: str) -> None:
    stage = STAGES[service]
    assert stage.command == ("python", "-m", service)
    assert stage.stop_signal == "SIGTERM"
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", stage.user)


@pytest.mark.parametrize("service", SERVICES)
def test_its_packages_are_locked_and_its_bytecode_compiled(service: str) -> None:
    build = STAGES[f"{service}-build"]
    assert build.copies[0].sources == (f"requirements/{service}.txt",)
    install = next(run for run in build.runs if run.startswith("pip "))
    assert "--require-hashes" in install and install.endswith("-r requirements.txt")
    assert "compileall" in build.runs[-1] and "/app" in build.runs[-1] and "/venv" in build.runs[-1]
    assert {copy.stage for copy in STAGES[service].copies} == {f"{service}-build"}


def test_every_image_is_built_on_the_same_python() -> None:
    assert {stage.base for stage in STAGES.values() if stage.base not in STAGES} == {"python:3.11-slim"}
    assert {name for name in STAGES if not name.endswith("build") and name != "runtime"} == set(SERVICES)
