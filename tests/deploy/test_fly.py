"""Every deploy/fly file against its service's own configuration, the other files, and Fly.io's rules."""

from __future__ import annotations

import importlib
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chassis.config import ConfigError, Reader
from tests.deploy import dockerfile

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/fly"
SERVICES = ("gateway", "storage", "dbsync", "render")
ENVIRONMENTS = ("staging", "production")
KEY = "A" * 43
SECRETS = {
    "SIGNING_KEY": KEY,
    "TRUSTED_KEYS": f"gateway={KEY},render={KEY}",
    "R2_ENDPOINT_URL": "https://account.r2.invalid",
    "R2_ACCESS_KEY_ID": "id",
    "R2_SECRET_ACCESS_KEY": "secret",
}
NAMES = {"gateway": "api", "storage": "storage", "dbsync": "dbsync", "render": "render"}
CHECK = {"grace_period", "interval", "timeout"}
# The keys that flyctl reads, of the sections used here: what `fly config validate --strict` refuses, this refuses too.
SCHEMA: dict[str, Any] = {
    "app": str,
    "primary_region": str,
    "kill_signal": str,
    "kill_timeout": int,
    "build": {"dockerfile", "build-target", "ignorefile", "args"},
    "deploy": {"strategy", "max_unavailable", "wait_timeout", "release_command"},
    "env": None,
    "http_service": {
        "internal_port": int,
        "force_https": bool,
        "auto_start_machines": bool,
        "auto_stop_machines": str,
        "min_machines_running": int,
        "concurrency": {"type", "soft_limit", "hard_limit"},
        "checks": CHECK | {"method", "path", "protocol", "headers"},
    },
    "services": {
        "protocol": str,
        "internal_port": int,
        "auto_start_machines": bool,
        "auto_stop_machines": str,
        "min_machines_running": int,
        "concurrency": {"type", "soft_limit", "hard_limit"},
        "ports": {"port", "handlers"},
        "tcp_checks": CHECK,
    },
    "vm": {"size", "memory", "cpu_kind", "cpus"},
}


@dataclass(frozen=True)
class Deployed:
    """One file, read."""

    service: str
    environment: str
    text: str
    config: dict[str, Any]

    @property
    def exposed(self) -> dict[str, Any]:
        """Its one service section."""
        sections: list[dict[str, Any]] = (
            [self.config["http_service"]] if "http_service" in self.config else self.config["services"]
        )
        assert len(sections) == 1
        return sections[0]

    @property
    def public(self) -> bool:
        """Whether it may be reached from the internet: the gateway alone."""
        return self.service == "gateway"

    @property
    def secrets(self) -> set[str]:
        """The names of the secrets that its opening comment lists."""
        line = next(line for line in self.text.splitlines() if line.startswith("# Secrets"))
        return set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", line.partition(":")[2]))


def read(service: str, environment: str) -> Deployed:
    """One file of the folder."""
    text = (FOLDER / f"{service}.{environment}.toml").read_text()
    return Deployed(service, environment, text, tomllib.loads(text))


ALL = [read(service, environment) for service in SERVICES for environment in ENVIRONMENTS]
each = pytest.mark.parametrize("file", ALL, ids=lambda file: f"{file.service}.{file.environment}")


def megabytes(memory: str) -> int:
    """256mb, 2gb → MB."""
    amount, unit = re.fullmatch(r"(\d+)(mb|gb)", memory).groups()  # type: ignore[union-attr]
    return int(amount) * (1024 if unit == "gb" else 1)


def test_there_is_a_file_for_every_service_and_environment_and_no_other() -> None:
    assert {path.name for path in FOLDER.glob("*.toml")} == {f"{s}.{e}.toml" for s in SERVICES for e in ENVIRONMENTS}


@each
def test_the_service_accepts_its_settings(file: Deployed) -> None:
    settings = (
        file.config["env"] | {name: SECRETS[name] for name in file.secrets} | {"FLY_APP_NAME": file.config["app"]}
    )
    reader = Reader(settings)
    config = importlib.import_module(f"{file.service}.config").read(reader)
    reader.finish()
    assert config.base.environment == file.environment
    assert config.base.service == file.service


@each
def test_it_sets_nothing_that_the_service_does_not_read(file: Deployed) -> None:
    reader = Reader(file.config["env"])
    importlib.import_module(f"{file.service}.config").read(reader)
    assert set(file.config["env"]) | file.secrets <= reader.names


@each
def test_its_secrets_are_all_needed_and_none_is_in_the_file(file: Deployed) -> None:
    module = importlib.import_module(f"{file.service}.config")
    for name in file.secrets:
        reader = Reader(file.config["env"] | {other: SECRETS[other] for other in file.secrets - {name}})
        module.read(reader)
        with pytest.raises(ConfigError, match=name):
            reader.finish()
    assert not file.secrets & set(file.config["env"])
    assert not [name for name in file.config["env"] if re.search(r"SECRET|TOKEN|PASSWORD|_KEY\b", name)]


@each
def test_every_key_is_one_that_fly_knows(file: Deployed) -> None:
    unknown: list[str] = []

    def look(value: Any, schema: Any, path: str) -> None:
        if isinstance(value, list):
            for item in value:
                look(item, schema, path)
        elif isinstance(schema, type):
            assert type(value) is schema, path
        elif isinstance(value, dict) and schema is not None:
            for key, inner in value.items():
                if key not in schema:
                    unknown.append(f"{path}.{key}")
                elif isinstance(schema, dict):
                    look(inner, schema[key], f"{path}.{key}")

    look(file.config, SCHEMA, file.service)
    assert not unknown


@each
def test_names_are_those_of_the_architecture(file: Deployed) -> None:
    suffix = "-staging" if file.environment == "staging" else ""
    assert file.config["app"] == f"reel-ballers-{NAMES[file.service]}{suffix}"


@each
def test_it_listens_where_fly_connects(file: Deployed) -> None:
    host, _, port = file.config["env"]["LISTEN"].rpartition(":")
    assert host in {"0.0.0.0", "[::]"}
    assert file.exposed["internal_port"] == int(port)


@each
def test_addresses_lead_to_the_same_environment_by_flycast(file: Deployed) -> None:
    for name, address in file.config["env"].items():
        if name.endswith("_ADDRESS"):
            other = read(name.removesuffix("_ADDRESS").lower(), file.environment)
            app, port = re.escape(other.config["app"]), other.exposed["ports"][0]["port"]
            # Of one service there may be several apps, by number.
            for one in address.split(","):
                assert re.fullmatch(rf"{app}(-\d+)?\.flycast:{port}", one.strip())


@each
def test_the_image_is_its_own_target(file: Deployed) -> None:
    build = file.config["build"]
    path = (FOLDER / build["dockerfile"]).resolve()
    assert path == ROOT / "deploy/Dockerfile"
    stage = dockerfile.parse(path.read_text())[build["build-target"]]
    assert stage.command[-1] == file.service
    assert stage.ports == (file.exposed["internal_port"],)
    for name in ("CACHE_DIR", "WORK_DIR"):
        # The one folder that the image's user may write to.
        assert file.config["env"].get(name, "/cache") == "/cache"
    assert any("/cache" in run for run in stage.runs)


def passes_raw_tcp(file: Deployed) -> bool:
    """Inner services pass gRPC through as it is."""
    if file.public:
        return "services" not in file.config
    ports = file.exposed["ports"]
    return (
        "http_service" not in file.config
        and file.exposed["protocol"] == "tcp"
        and all(not port.get("handlers") for port in ports)
    )


def is_checked(file: Deployed) -> bool:
    """There is no gRPC check: tcp, and http for the gateway, which must not wake the services behind it."""
    if file.public:
        return [(check["method"], check["path"]) for check in file.exposed["checks"]] == [("GET", "/healthz")]
    return len(file.exposed["tcp_checks"]) == 1


def counts_load(file: Deployed) -> bool:
    """Over HTTP load is requests, over raw TCP connections."""
    load = file.exposed["concurrency"]
    counted = "requests" if file.public else "connections"
    return bool(load["type"] == counted and load["soft_limit"] < load["hard_limit"])


def suspends_only_what_can_be(file: Deployed) -> bool:
    """Suspend needs at most 2 GB and no swap, and is not for what encodes in the background."""
    if file.exposed["auto_stop_machines"] == "suspend":
        return (
            file.service != "render"
            and "swap_size_mb" not in file.config
            and megabytes(file.config["vm"][0]["memory"]) <= 2048
        )
    return bool(file.exposed["auto_stop_machines"] == "stop")


def has_memory(file: Deployed) -> bool:
    """256 MB; the renderer one 4K encode beside itself for each worker, below what Fly sells with a CPU."""
    memory = megabytes(file.config["vm"][0]["memory"])
    if file.service == "render":
        return memory >= 512 + 1024 * int(file.config["env"]["RENDER_WORKERS"])
    return memory == 256


RULES: dict[str, Callable[[Deployed], bool]] = {
    "raw TCP inside, HTTP at the gateway": passes_raw_tcp,
    "https is forced on the public app": lambda file: not file.public or file.exposed["force_https"] is True,
    "checks are tcp, or http that wakes nobody": is_checked,
    "load is counted as what it is": counts_load,
    "machines wake by themselves": lambda file: file.exposed["auto_start_machines"] is True,
    "machines sleep when idle": suspends_only_what_can_be,
    "only production's gateway is always on": lambda file: (
        file.exposed["min_machines_running"] == int(file.public and file.environment == "production")
    ),
    "SIGTERM and half a minute to drain": lambda file: (
        (file.config["kill_signal"], file.config["kill_timeout"]) == ("SIGTERM", 30)
    ),
    "bluegreen for the gateway, rolling for the rest": lambda file: (
        file.config["deploy"]["strategy"] == ("bluegreen" if file.public else "rolling")
    ),
    "the memory that it needs": has_memory,
    "an encoder has a core of its own": lambda file: file.config["vm"][0]["size"].startswith(
        "performance-" if file.service == "render" else "shared-"
    ),
    "one region for all": lambda file: file.config["primary_region"] == ALL[0].config["primary_region"],
    "no volume: a local disk is a cache": lambda file: "mounts" not in file.config,
    "the app's origins are https and exact": lambda file: all(
        re.fullmatch(r"https://[a-z.-]+\.reelballers\.com", origin)
        for origin in file.config["env"].get("APP_ORIGINS", "https://app.reelballers.com").split(",")
    ),
}


@each
@pytest.mark.parametrize("rule", RULES)
def test_rule(file: Deployed, rule: str) -> None:
    assert RULES[rule](file), rule


@pytest.mark.parametrize("service", SERVICES)
def test_staging_is_production_with_other_names(service: str) -> None:
    def outline(file: Deployed) -> dict[str, Any]:
        exposed = {key: value for key, value in file.exposed.items() if key != "min_machines_running"}
        return {
            **file.config,
            "app": "",
            "env": sorted(file.config["env"]),
            "http_service": exposed,
            "services": exposed,
        }

    assert outline(read(service, "staging")) == outline(read(service, "production"))


def test_the_process_ends_before_fly_kills_it() -> None:
    process = importlib.import_module("chassis.process")
    server = importlib.import_module("chassis.rpc_server")
    assert max(process.STOP_STEP_S, server.STOP_GRACE_S) < min(file.config["kill_timeout"] for file in ALL)
