"""The storm's processes: dbsync several times over one object store, each of them there to be killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from chassis.config import Base, Secret
from chassis.credentials import new_key
from devstack import settings
from devstack.settings import ROOT
from devstack.stack import base_environ, popen
from tests.fakes.object_store import client_for

BUCKET = "reel-ballers-users"
ACCESS_KEY, SECRET_KEY = "storm-access-key", "storm-secret-key"
# Short, so that outcomes are unknown often enough.
PATIENCE = {"STORE_ATTEMPT_SECONDS": "0.8", "COMMIT_SECONDS": "1.5", "CATCH_UP_SECONDS": "3"}


class Fleet:
    """The store and the dbsync processes, by number from 0; `more` are settings of theirs. Use from one thread, which
    must outlive it: they die with it.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        module: tuple[str, ...] = ("dbsync",),
        more: Mapping[str, str] = PATIENCE,
    ) -> None:
        ports = settings.free(folder, dbsyncs=count).ports
        self.store_port = ports["objectstore"]
        self.ports = [ports[name] for name in settings.dbsync_names(count)]
        self.folder = folder
        self._command = [sys.executable, "-m", *module]
        caller_seed, caller_public = new_key()
        service_seed, _ = new_key()
        self.base = Base("gateway", "local", "127.0.0.1:0", "info", Secret(caller_seed), {}, "", None)
        self._common = {
            **base_environ(),
            "PYTHONPATH": f"{base_environ()['PYTHONPATH']}:{ROOT}",
            "REEL_ENV": "local",
            "LOG_LEVEL": "warning",
            "SIGNING_KEY": service_seed,
            "TRUSTED_KEYS": f"gateway={caller_public}",
            "R2_ENDPOINT_URL": f"http://127.0.0.1:{self.store_port}",
            "R2_ACCESS_KEY_ID": ACCESS_KEY,
            "R2_SECRET_ACCESS_KEY": SECRET_KEY,
            "R2_BUCKET_NAME": BUCKET,
            **more,
        }
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def addresses(self) -> list[str]:
        """Of the dbsync processes."""
        return [f"127.0.0.1:{port}" for port in self.ports]

    def start(self) -> None:
        """Starts everything; it answers some time later."""
        self.start_store()
        for number in range(len(self.ports)):
            self.launch(number)

    def launch(self, number: int) -> None:
        """Starts a dbsync process; it is ready some time later."""
        environ = {
            **self._common,
            "LISTEN": f"127.0.0.1:{self.ports[number]}",
            "CACHE_DIR": str(self.folder / f"cache-{number}"),
        }
        self._spawn(f"dbsync-{number}", self._command, environ)

    def kill(self, number: int) -> bool:
        """kill -9; whether there was somebody to kill."""
        return self._kill(f"dbsync-{number}")

    def start_store(self) -> None:
        """Starts the store on what it has kept; it answers some time later."""
        environ = {
            **base_environ(),
            "LISTEN": f"127.0.0.1:{self.store_port}",
            "OBJECTSTORE_DATA": str(self.folder / "objects"),
            "OBJECTSTORE_ACCESS_KEY": ACCESS_KEY,
            "OBJECTSTORE_SECRET_KEY": SECRET_KEY,
            "OBJECTSTORE_BUCKETS": BUCKET,
            "OBJECTSTORE_FAULT_INJECTION": "true",
            # What was written survives a kill all the same; a power cut is not what is tried here.
            "OBJECTSTORE_FSYNC": "false",
            "LOG_LEVEL": "warning",
        }
        self._spawn("objectstore", [sys.executable, "-m", "objectstore"], environ)

    def store_answers(self) -> bool:
        """Whether the store does."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.store_port}/-/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill_store(self) -> bool:
        """kill -9, as of a dbsync process."""
        return self._kill("objectstore")

    def arm(self, **fault: object) -> int:
        """Arms a fault of objectstore.faults.Fault; its number. OSError while the store is away."""
        answer = self._faults("POST", json.dumps(fault).encode())
        return int(answer["id"])

    def struck(self, number: int) -> int:
        """How many requests a fault has struck. OSError."""
        return sum(int(one["struck"]) for one in self._faults("GET") if one["id"] == number)

    def pid(self, name: str) -> int:
        """The process id of "objectstore", or of "dbsync-0" and so on."""
        return self._running[name].pid

    def calm(self) -> None:
        """No more faults. OSError."""
        self._faults("DELETE")

    def log_of(self, database: str, after: int, key_of: Any) -> list[bytes]:
        """The slots after that version, oldest first, up to the first free one, read from the bucket."""
        client = client_for(f"http://127.0.0.1:{self.store_port}", ACCESS_KEY, SECRET_KEY, retries=3)
        bodies: list[bytes] = []
        while True:
            try:
                answer = client.get_object(Bucket=BUCKET, Key=key_of(database, after + len(bodies) + 1))
            except client.exceptions.NoSuchKey:
                return bodies
            bodies.append(answer["Body"].read())

    def slots_of(self, database: str) -> int:
        """How many slots a database has, by a list of the bucket."""
        client = client_for(f"http://127.0.0.1:{self.store_port}", ACCESS_KEY, SECRET_KEY, retries=3)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{database}/db/")
        return sum(len(page.get("Contents", ())) for page in pages)

    def complaints(self) -> list[str]:
        """Alarms and unexpected failures in the logs of the dbsync processes."""
        found = []
        for number in range(len(self.ports)):
            for line in self._log(f"dbsync-{number}").read_text(errors="replace").splitlines():
                try:
                    told = json.loads(line)
                    level, logger = told["level"], told["logger"]
                except (ValueError, KeyError, TypeError):
                    level, logger = "none", ""  # what is no log line is a crash's last words
                # gRPC calls it an error when a caller has gone away before it was answered.
                if level not in ("debug", "info", "warning") and not logger.startswith("grpc."):
                    found.append(f"dbsync {number} logged: {line[:400]}")
        return found

    def close(self) -> None:
        """Ends all that runs."""
        for name in list(self._running):
            self._kill(name)

    def _spawn(self, name: str, command: list[str], environ: Mapping[str, str]) -> None:
        self._kill(name)
        with self._log(name).open("ab") as log:
            self._running[name] = popen(command, environ, log)

    def _kill(self, name: str) -> bool:
        process = self._running.pop(name, None)
        if process is None:
            return False
        process.kill()
        return process.wait() == -signal.SIGKILL

    def _log(self, name: str) -> Path:
        return self.folder / f"{name}.jsonl"

    def _faults(self, method: str, body: bytes | None = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.store_port}/-/faults",
            data=body,
            method=method,
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.loads(answer.read() or b"null")
