"""Makes the keys by which the services of one environment trust each other, a file of secrets for each Fly app.

Every run makes new keys, and a service trusts only issuers made in the same run, so all four are made together:

    python deploy/fly/keys.py FOLDER      writes FOLDER/{gateway,storage,dbsync,render}.env, for their owner alone
    fly secrets import --stage --app reel-ballers-storage-staging < FOLDER/storage.env      likewise the others

Then deploy storage, dbsync and render, the gateway last, and remove FOLDER. The same steps rotate the keys.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "services"))

from chassis.credentials import new_key

# Whose calls a service accepts. Nobody calls the gateway this way: it trusts itself alone.
CALLERS = {
    "gateway": ("gateway",),
    "storage": ("gateway", "render"),
    "dbsync": ("gateway", "render"),
    "render": ("gateway",),
}


def secret_lines() -> dict[str, str]:
    """For each service the text that `fly secrets import` reads: its private key, and the public keys it trusts."""
    pairs = {service: new_key() for service in CALLERS}
    return {
        service: f"SIGNING_KEY={pairs[service][0]}\n"
        f"TRUSTED_KEYS={','.join(f'{caller}={pairs[caller][1]}' for caller in callers)}\n"
        for service, callers in CALLERS.items()
    }


def write(folder: Path) -> list[Path]:
    """Writes the files into a new folder; FileExistsError when it exists: keys in use are not mixed with new ones."""
    folder.mkdir(mode=0o700, parents=True)
    paths = []
    for service, text in secret_lines().items():
        path = folder / f"{service}.env"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        paths.append(path)
    return paths


def main(arguments: list[str]) -> int:
    """The command line: 0 written, 2 used wrongly."""
    if len(arguments) != 1:
        print(f"usage: {Path(__file__).name} FOLDER", file=sys.stderr)
        return 2
    try:
        paths = write(Path(arguments[0]))
    except FileExistsError:
        print(f"{arguments[0]} exists: name a new folder", file=sys.stderr)
        return 2
    for path in paths:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
