"""What the store can be told from outside, read once into a frozen value with every fault named."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

DEFAULT_ACCESS_KEY = "local-access-key"
DEFAULT_SECRET_KEY = "local-secret-key"  # noqa: S105 - refused off loopback, see faults_of
MIB = 1024 * 1024


class SettingsError(Exception):
    """Settings that cannot be run with; the message lists every fault, one a line."""


@dataclass(frozen=True)
class Settings:
    """Settings of one store. Sizes in bytes, times in seconds."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 9000
    access_key: str = DEFAULT_ACCESS_KEY
    secret_key: str = DEFAULT_SECRET_KEY
    buckets: tuple[str, ...] = ()
    fsync: bool = True
    """Off: an acknowledged write survives kill -9, but not a power cut."""
    strict_r2: bool = False
    """R2's own rules: equal part sizes, 412 for If-Match on a missing key, one write per `write_interval_s` and key."""
    write_interval_s: float = 1.0
    fault_injection: bool = False
    """For tests: opens /-/faults. Loopback only."""
    min_part_bytes: int = 5 * MIB
    max_put_bytes: int = 5 * 1024 * MIB
    upload_days: float = 7.0
    """Multipart uploads older than this are swept, unless a lifecycle rule says sooner."""
    sweep_interval_s: float = 3600.0
    first_request_s: float = 10.0
    """A connection whose first request has not come by then is closed."""
    body_idle_s: float = 30.0
    stop_s: float = 10.0
    max_requests: int = 512

    def __repr__(self) -> str:
        return f"Settings(data={str(self.data)!r}, listen={self.host}:{self.port}, access_key={self.access_key!r})"


def is_loopback(host: str) -> bool:
    """True when only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def faults_of(settings: Settings) -> list[str]:
    """Why these settings cannot be run with, in plain words."""
    faults = []
    if not 0 <= settings.port <= 65535:
        faults.append("LISTEN: the port must be 0 to 65535")
    if not settings.access_key or not settings.secret_key:
        faults.append("OBJECTSTORE_ACCESS_KEY and OBJECTSTORE_SECRET_KEY must not be empty")
    if not is_loopback(settings.host):
        if settings.secret_key == DEFAULT_SECRET_KEY or settings.access_key == DEFAULT_ACCESS_KEY:
            faults.append(
                f"LISTEN={settings.host}: refusing to listen off loopback with the default keys; "
                "set OBJECTSTORE_ACCESS_KEY and OBJECTSTORE_SECRET_KEY"
            )
        if settings.fault_injection:
            faults.append("OBJECTSTORE_FAULT_INJECTION is for tests on loopback only")
    return faults


def check(settings: Settings) -> Settings:
    """The settings themselves; raises SettingsError naming every fault."""
    faults = faults_of(settings)
    if faults:
        raise SettingsError("\n".join(faults))
    return settings


def _flag(environment: Mapping[str, str], name: str, default: bool, faults: list[str]) -> bool:
    text = environment.get(name, "").strip().lower()
    if text in ("", "1", "true", "yes", "on", "0", "false", "no", "off"):
        return text in ("1", "true", "yes", "on") if text else default
    faults.append(f"{name} must be true or false, not {text!r}")
    return default


def _listen(text: str, faults: list[str]) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if host and port.isdigit():
        return host.strip("[]"), int(port)
    faults.append(f"LISTEN must be host:port, not {text!r}")
    return "127.0.0.1", 0


def read(environment: Mapping[str, str]) -> Settings:
    """Settings from environment variables; raises SettingsError naming every fault at once."""
    faults: list[str] = []
    host, port = _listen(environment.get("LISTEN", "127.0.0.1:9000"), faults)
    days = environment.get("OBJECTSTORE_UPLOAD_DAYS", "7")
    try:
        upload_days = float(days)
        if not 0 < upload_days <= 365:
            raise ValueError(days)
    except ValueError:
        faults.append(f"OBJECTSTORE_UPLOAD_DAYS must be a number of days above 0 and up to 365, not {days!r}")
        upload_days = 7.0
    settings = Settings(
        data=Path(environment.get("OBJECTSTORE_DATA", ".data/objectstore")),
        host=host,
        port=port,
        access_key=environment.get("OBJECTSTORE_ACCESS_KEY", DEFAULT_ACCESS_KEY),
        secret_key=environment.get("OBJECTSTORE_SECRET_KEY", DEFAULT_SECRET_KEY),
        buckets=tuple(name.strip() for name in environment.get("OBJECTSTORE_BUCKETS", "").split(",") if name.strip()),
        fsync=_flag(environment, "OBJECTSTORE_FSYNC", True, faults),
        strict_r2=_flag(environment, "OBJECTSTORE_STRICT_R2", False, faults),
        fault_injection=_flag(environment, "OBJECTSTORE_FAULT_INJECTION", False, faults),
        upload_days=upload_days,
    )
    faults += faults_of(settings)
    if faults:
        raise SettingsError("\n".join(faults))
    return settings
