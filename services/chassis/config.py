"""Settings read once from the environment into frozen values, every fault reported at once, secrets never printed."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ENVIRONMENTS = ("local", "staging", "production")
LOG_LEVELS = ("debug", "info", "warning", "error")

_ADDRESS = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(?P<port>\d{1,5})")
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class ConfigError(Exception):
    """Settings that cannot be used; `faults` holds one sentence for each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(f"  - {fault}" for fault in self.faults))


class Secret:
    """A value that no repr, log line or traceback shows."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The value itself, for the one call that needs it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return "***" if self._value else "(empty)"


class Reader:
    """Reads named settings, collecting faults instead of raising; `finish` raises them all together.

    A setting that is missing or bad yields a harmless value of its type, so that reading goes on to find the next
    fault.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._faults: list[str] = []
        self.names: set[str] = set()

    def text(self, name: str, default: str | None = None) -> str:
        """The setting without surrounding blanks; required when there is no default."""
        self.names.add(name)
        value = self._environ.get(name, "").strip()
        if value:
            return value
        if default is None:
            self._faults.append(f"{name} is not set")
            return ""
        return default

    def secret(self, name: str, default: str | None = None) -> Secret:
        """As `text`, wrapped so that it cannot be printed."""
        return Secret(self.text(name, default))

    def number(self, name: str, default: float | None = None, *, low: float, high: float) -> float:
        """A number within [low, high]."""
        text = self.text(name, None if default is None else repr(default))
        try:
            value = float(text)
        except ValueError:
            if text:
                self._faults.append(f"{name} must be a number, not {text!r}")
            return low
        if not low <= value <= high:
            self._faults.append(f"{name} must be between {low:g} and {high:g}, not {text}")
            return low
        return value

    def integer(self, name: str, default: int | None = None, *, low: int, high: int) -> int:
        """A whole number within [low, high]."""
        value = self.number(name, default, low=low, high=high)
        if value != int(value):
            self._faults.append(f"{name} must be a whole number, not {value:g}")
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """true or false (1, 0, yes, no, on, off are taken too)."""
        text = self.text(name, "true" if default else "false").lower()
        if text not in _TRUE | _FALSE:
            self._faults.append(f"{name} must be true or false, not {text!r}")
        return text in _TRUE

    def choice(self, name: str, choices: Sequence[str], default: str | None = None) -> str:
        """One of the given words."""
        text = self.text(name, default)
        if text and text not in choices:
            self._faults.append(f"{name} must be one of {', '.join(choices)}, not {text!r}")
        return text if text in choices else choices[0]

    def address(self, name: str, default: str | None = None) -> str:
        """host:port; port 0 asks for a free one where an address is listened on."""
        text = self.text(name, default)
        match = _ADDRESS.fullmatch(text)
        if text and (match is None or int(match["port"]) > 65535):
            self._faults.append(f"{name} must be host:port, not {text!r}")
            return "127.0.0.1:0"
        return text

    def addresses(self, name: str, default: str | None = None) -> tuple[str, ...]:
        """A comma-separated list of host:port, at least one and none twice."""
        found = self.items(name, default)
        for item in found:
            match = _ADDRESS.fullmatch(item)
            if match is None or int(match["port"]) > 65535:
                self._faults.append(f"{name} must be host:port, or several with commas, not {item!r}")
        self.check(bool(found) or not self.text(name, default or ""), f"{name} names no address")
        self.check(len(set(found)) == len(found), f"{name} names an address twice")
        return found

    def items(self, name: str, default: str | None = None) -> tuple[str, ...]:
        """A comma-separated list; blanks around items are dropped, empty items too."""
        return tuple(item for item in (part.strip() for part in self.text(name, default).split(",")) if item)

    def pairs(self, name: str, default: str | None = None) -> dict[str, str]:
        """A comma-separated list of key=value."""
        pairs: dict[str, str] = {}
        for item in self.items(name, default):
            key, equals, value = item.partition("=")
            if not equals or not key.strip() or not value.strip():
                self._faults.append(f"{name} must be key=value, key=value, …; {item!r} is not")
            elif key.strip() in pairs:
                self._faults.append(f"{name} names {key.strip()!r} twice")
            else:
                pairs[key.strip()] = value.strip()
        return pairs

    def path(self, name: str, default: str | None = None) -> Path:
        """A path; `~` is expanded."""
        return Path(self.text(name, default)).expanduser()

    def check(self, ok: bool, fault: str) -> None:
        """Adds `fault` unless `ok`: for relations between settings."""
        if not ok:
            self._faults.append(fault)

    def finish(self) -> None:
        """Raises ConfigError with every fault found; call once, after all settings were read."""
        if self._faults:
            raise ConfigError(self._faults)


@dataclass(frozen=True)
class Base:
    """What every service is told."""

    service: str
    environment: str
    listen: str
    log_level: str
    signing_key: Secret  # base64url of a 32-byte Ed25519 seed: signs this service's calls
    trusted_keys: Mapping[str, str]  # issuer → base64url of its 32-byte Ed25519 public key
    otlp_endpoint: str  # empty: no OTLP export
    trace_dir: Path | None  # None: spans are not kept on disk

    @property
    def local(self) -> bool:
        """Whether this is the embedded environment on one machine."""
        return self.environment == "local"

    @property
    def loopback(self) -> bool:
        """Whether the service listens on this machine only."""
        host = self.listen.rpartition(":")[0]
        return host == "localhost" or host.startswith("127.") or host == "[::1]"


def decode_key(text: str) -> bytes:
    """32 bytes from their base64url; ValueError when it is anything else."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise ValueError("not base64url") from error
    if len(raw) != 32:
        raise ValueError(f"{len(raw)} bytes, not 32")
    return raw


def read_base(reader: Reader, service: str, default_listen: str) -> Base:
    """The settings that all services share."""
    environment = reader.choice("REEL_ENV", ENVIRONMENTS)
    signing_key = reader.secret("SIGNING_KEY")
    trusted_keys = reader.pairs("TRUSTED_KEYS")
    for name, key in (
        ("SIGNING_KEY", signing_key.reveal()),
        *((f"TRUSTED_KEYS[{k}]", v) for k, v in trusted_keys.items()),
    ):
        if key:
            try:
                decode_key(key)
            except ValueError as error:
                reader.check(False, f"{name} must be 32 bytes in base64url: {error}")
    reader.check(
        environment != "local" or not reader.text("FLY_APP_NAME", ""),
        "REEL_ENV=local is for one machine's loopback and refuses to run on Fly.io; set staging or production",
    )
    trace_dir = reader.text("TRACE_DIR", "")
    return Base(
        service=service,
        environment=environment,
        listen=reader.address("LISTEN", default_listen),
        log_level=reader.choice("LOG_LEVEL", LOG_LEVELS, "info"),
        signing_key=signing_key,
        trusted_keys=trusted_keys,
        otlp_endpoint=reader.text("OTEL_EXPORTER_OTLP_ENDPOINT", ""),
        trace_dir=Path(trace_dir).expanduser() if trace_dir else None,
    )
