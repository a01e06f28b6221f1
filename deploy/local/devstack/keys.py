"""Keys of this machine's own: made once, kept in the data folder, readable by its owner only."""

from __future__ import annotations

import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

SIGNERS = ("gateway", "storage", "dbsync", "render")


@dataclass(frozen=True)
class Keys:
    """Signing keys (seed and public key by service) and the object store's key pair."""

    signing: dict[str, tuple[str, str]]
    store_access_key: str
    store_secret_key: str

    @property
    def trusted(self) -> str:
        """TRUSTED_KEYS: those who call other services."""
        return ",".join(f"{name}={self.signing[name][1]}" for name in ("gateway", "render"))


def load(folder: Path) -> Keys:
    """The folder's keys, made when there are none."""
    path = folder / "keys.json"
    if not path.exists():
        # Imported only when used: it costs a tenth of a second of each start.
        from chassis.credentials import new_key

        made = {
            "signing": {name: new_key() for name in SIGNERS},
            "store_access_key": secrets.token_hex(10),
            "store_secret_key": secrets.token_urlsafe(30),
        }
        folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(made, file)
        fresh.replace(path)
    kept = json.loads(path.read_text())
    signing = {name: (seed, public) for name, (seed, public) in kept["signing"].items()}
    return Keys(signing, kept["store_access_key"], kept["store_secret_key"])
