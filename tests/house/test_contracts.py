"""Each import contract is kept by the tree, and catches a leak planted in a copy of it."""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ("services", "protos/gen", "deploy/local")
CHASSIS, GATEWAY, STORAGE = (
    "services/chassis/planted.py",
    "services/gateway/{}/planted.py",
    "services/storage/planted.py",
)
DBSYNC, RENDER = "services/dbsync/planted.py", "services/render/planted.py"


@dataclass(frozen=True)
class Leak:
    """What is planted, by file; the contract that must catch it, and others that it cannot help breaking too."""

    contract: str
    files: dict[str, str] = field(hash=False)
    also: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """For the test's id."""
        return f"{self.contract}: " + ", ".join(
            f"{path.removeprefix('services/')}: {text}" for path, text in self.files.items()
        )


def leak(contract: str, path: str, text: str, *also: str) -> Leak:
    """A leak of one file."""
    return Leak(contract, {path: text}, frozenset(also))


LEAKS = (
    leak("services", STORAGE, "import dbsync.pages"),
    leak("services", GATEWAY.format("domain"), "from render import config"),
    leak("services", RENDER, "from gateway.domain import clips"),
    leak("chassis", CHASSIS, "import objectstore"),
    leak("chassis", CHASSIS, "from storage import objects"),
    leak("chassis", CHASSIS, "from reel.storage.v1 import storage_pb2", "reel-storage"),
    leak("product", STORAGE, "import objectstore"),
    leak("product", RENDER, "import devstack"),
    leak("local", "deploy/local/objectstore/planted.py", "from storage import objects"),
    leak("local", "deploy/local/devstack/planted.py", "import gateway.config"),
    leak("reel-storage", GATEWAY.format("actions"), "from reel.storage.v1 import storage_pb2"),
    leak("reel-storage", DBSYNC, "from reel.storage.v1 import storage_pb2_grpc"),
    leak("reel-storage", STORAGE, "from reel.storage.v1 import storage_pb2"),
    leak("reel-dbsync", STORAGE, "from reel.dbsync.v1 import dbsync_pb2"),
    leak("reel-dbsync", GATEWAY.format("library"), "from reel.dbsync.v1 import dbsync_pb2"),
    leak("reel-render", STORAGE, "from reel.render.v1 import render_pb2"),
    leak("reel-render", RENDER, "from reel.render.v1 import render_pb2"),
    leak("gateway-layers", GATEWAY.format("library"), "import gateway.clients"),
    leak("gateway-layers", GATEWAY.format("clients"), "import gateway.library"),
    leak("gateway-layers", GATEWAY.format("domain"), "import gateway.ports", "circles"),
    leak("gateway-layers", GATEWAY.format("actions"), "import gateway.http", "circles"),
    leak("gateway-layers", "services/gateway/planted.py", '"""A module of no layer."""'),
    leak("grpc", GATEWAY.format("actions"), "import grpc"),
    leak("grpc", STORAGE, "from google.protobuf import duration_pb2"),
    leak("grpc", DBSYNC, "from google.rpc import status_pb2"),
    leak("grpc", CHASSIS, "from grpc_health.v1 import health_pb2"),
    leak("aiohttp", GATEWAY.format("actions"), "from aiohttp import web"),
    leak("aiohttp", STORAGE, "import aiohttp"),
    leak("msgspec", GATEWAY.format("actions"), "import msgspec"),
    leak("msgspec", CHASSIS, "from msgspec import json"),
    leak("s3", STORAGE, "import botocore"),
    leak("s3", DBSYNC, "from botocore.config import Config"),
    leak("s3", DBSYNC, "import urllib3"),
    leak("s3", GATEWAY.format("actions"), "import botocore.session"),
    leak("sqlite", GATEWAY.format("library"), "import sqlite3"),
    leak("sqlite", STORAGE, "import apsw"),
    leak("opentelemetry", GATEWAY.format("http"), "from opentelemetry import trace"),
    leak("opentelemetry", CHASSIS, "import opentelemetry.sdk"),
    leak("signatures", GATEWAY.format("http"), "import cryptography"),
    leak("modal", RENDER, "import modal"),
    leak("modal", GATEWAY.format("actions"), "from modal import App"),
    leak("media", GATEWAY.format("actions"), "import cv2"),
    leak("media", STORAGE, "import ffmpeg"),
    leak("pure", GATEWAY.format("domain"), "import asyncio"),
    leak("pure", "services/storage/objects.py", "import threading"),
    leak("pure", "services/dbsync/pages.py", "import subprocess"),
    leak("pure", "services/render/plan.py", "import asyncio"),
    # Not only its own imports: what it reaches through others too.
    leak("pure", GATEWAY.format("domain"), "from chassis import process"),
    Leak(
        "circles",
        {
            "services/storage/planted_one.py": "import storage.planted_two",
            "services/storage/planted_two.py": "import storage.planted_one",
        },
    ),
    Leak(
        "circles",
        {
            "services/gateway/http/planted_one.py": "import gateway.http.planted_two",
            "services/gateway/http/planted_two.py": "def late() -> None:\n    import gateway.http.planted_one",
        },
    ),
)


def contract_names() -> dict[str, str]:
    """The contracts of .importlinter: id to name."""
    parser = configparser.ConfigParser()
    parser.read(ROOT / ".importlinter")
    return {
        section.rpartition(":")[2]: parser[section]["name"] for section in parser.sections() if ":contract:" in section
    }


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> list[list[str]]:
    """What breaks with nothing planted, then with each leak: linted by one process, in a copy of the tree."""
    copy = tmp_path_factory.mktemp("tree")
    for source in SOURCES:
        shutil.copytree(ROOT / source, copy / source, ignore=shutil.ignore_patterns("__pycache__", "*.pyi"))
    shutil.copy(ROOT / ".importlinter", copy)
    result = subprocess.run(
        [sys.executable, str(Path(__file__).parent / "lint_planted.py")],
        cwd=copy,
        env={
            **os.environ,
            "PYTHONPATH": ":".join(str(copy / source) for source in SOURCES),
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "400",  # a name is told on one line
        },
        input=json.dumps([{}, *(leak.files for leak in LEAKS)]),
        capture_output=True,
        text=True,
        timeout=120,
    )
    if result.returncode != 0:
        pytest.fail(f"lint-imports could not run: {result.stderr.strip()[-400:]}", pytrace=False)
    found: list[list[str]] = json.loads(result.stdout)
    return found


def test_the_tree_keeps_every_contract(broken: list[list[str]]) -> None:
    assert broken[0] == []


@pytest.mark.parametrize("number", range(len(LEAKS)), ids=[leak.name for leak in LEAKS])
def test_a_planted_leak_is_caught_by_exactly_its_contract(broken: list[list[str]], number: int) -> None:
    names = contract_names()
    expected = {names[contract] for contract in {LEAKS[number].contract} | LEAKS[number].also}
    assert set(broken[number + 1]) - set(broken[0]) == expected


def test_every_contract_has_a_leak() -> None:
    assert {leak.contract for leak in LEAKS} == set(contract_names())
