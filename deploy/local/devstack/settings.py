"""What `make run` can be told: where data is kept and which ports are used."""

from __future__ import annotations

import os
import random
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
HOST = "127.0.0.1"
SAMPLE_MARK = "sample-seeded"  # a file of the data folder: the sample game was made, and if it was deleted it stays so
OLDEST_PYTHON = (3, 11)
# Below the range out of which the kernel gives ports to outgoing connections: one of those could take a part's port
# between the look and the part's start.
_FREE_PORTS = range(20_000, 32_000)
DEFAULT_PORTS = {"objectstore": 9000, "storage": 8101, "dbsync": 8102, "render": 8103, "gateway": 8000, "web": 5173}
MOST_DBSYNCS = 9
DBSYNC_PORT_STEP = 10  # from one dbsync's port to the next one's


class CannotStart(Exception):
    """Why the system cannot start, and what to do, in plain words."""


@dataclass(frozen=True)
class Settings:
    """Where and on which ports."""

    data: Path
    ports: Mapping[str, int]

    @property
    def dbsyncs(self) -> tuple[str, ...]:
        """The dbsync processes' names among the ports."""
        return tuple(name for name in self.ports if name.partition("-")[0] == "dbsync")

    @property
    def api_origin(self) -> str:
        """The gateway, as a browser sees it."""
        return f"http://localhost:{self.ports['gateway']}"

    @property
    def web_origin(self) -> str:
        """The app."""
        return f"http://localhost:{self.ports['web']}"

    @property
    def store_origin(self) -> str:
        """The object store."""
        return f"http://localhost:{self.ports['objectstore']}"


def port_setting(name: str) -> str:
    """The setting that changes a part's port."""
    return f"REEL_PORT_{name.partition('-')[0].upper()}"


def dbsync_names(count: int) -> tuple[str, ...]:
    """So many dbsync processes as parts: dbsync, dbsync-2, …"""
    return ("dbsync", *(f"dbsync-{number}" for number in range(2, count + 1)))


def read(environ: Mapping[str, str] = os.environ) -> Settings:
    """Settings from the environment; CannotStart with every fault."""
    faults, ports = [], {}
    for name, default in DEFAULT_PORTS.items():
        text = environ.get(port_setting(name), "") or str(default)
        if not text.isdigit() or not 0 < int(text) < 65536:
            faults.append(f"{port_setting(name)} must be a port, 1 to 65535, not {text!r}")
            continue
        ports[name] = int(text)
    count = environ.get("REEL_DBSYNCS", "") or "1"
    if not count.isdigit() or not 1 <= int(count) <= MOST_DBSYNCS:
        faults.append(f"REEL_DBSYNCS must be 1 to {MOST_DBSYNCS}, not {count!r}")
    elif "dbsync" in ports:
        for number, name in enumerate(dbsync_names(int(count))):
            ports[name] = ports["dbsync"] + DBSYNC_PORT_STEP * number
    if len(set(ports.values())) != len(ports):
        faults.append("two parts have the same port: " + ", ".join(f"{k} {v}" for k, v in ports.items()))
    if faults:
        raise CannotStart("\n".join(faults))
    return Settings(Path(environ.get("REEL_DATA", "") or ROOT / ".data").absolute(), ports)


def free(data: Path, dbsyncs: int = 1) -> Settings:
    """For tests: free ports and a folder of one's own."""
    chosen: dict[str, int] = {}
    candidates = iter(random.SystemRandom().sample(_FREE_PORTS, 500))
    for name in (*DEFAULT_PORTS, *dbsync_names(dbsyncs)[1:]):
        chosen[name] = next(port for port in candidates if _is_free(port))
    return Settings(data, chosen)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def check(settings: Settings) -> None:
    """CannotStart with every reason: an old Python, a port that is taken, a data folder that cannot be written."""
    faults = []
    if sys.version_info < OLDEST_PYTHON:
        faults.append(
            f"Python {OLDEST_PYTHON[0]}.{OLDEST_PYTHON[1]} or newer is needed, this is {sys.version.split()[0]}"
        )
    faults += [
        f"port {port} for {name} is taken by another program (this system, running already?);"
        f" end that, or set {port_setting(name)} to a free port"
        for name, port in settings.ports.items()
        if not _is_free(port)
    ]
    try:
        settings.data.mkdir(parents=True, exist_ok=True)
        trial = settings.data / f".writable-{os.getpid()}"
        trial.touch()
        trial.unlink()
    except OSError as error:
        faults.append(
            f"the data folder {settings.data} cannot be written ({error.strerror}); set REEL_DATA to one that can"
        )
    if faults:
        raise CannotStart("\n".join(faults))
