"""The embedded object store for tests: real S3 over HTTP on a free port, in a thread, with faults on demand."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config

from objectstore.faults import Fault, Faults
from objectstore.server import in_thread
from objectstore.settings import DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY, Settings

# One session: its service model is read once, and making a client from it is not safe in two threads at once.
_SESSION = boto3.session.Session()
_MAKING = threading.Lock()
ROOT = Path(__file__).resolve().parents[2]

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "reel-ballers-users"

__all__ = ["BUCKET", "Fault", "ObjectStore", "StoreProcess", "client_for", "object_store", "object_store_process"]


def client_for(
    endpoint: str, access_key: str, secret_key: str, *, timeout_s: float = 60.0, retries: int = 0, region: str = "auto"
) -> S3Client:
    """A boto3 client as the services make theirs: checksums only when required, and no retries unless asked for."""
    config = Config(
        signature_version="s3v4",
        connect_timeout=timeout_s,
        read_timeout=timeout_s,
        retries={"total_max_attempts": retries + 1, "mode": "standard"},
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        max_pool_connections=64,
        s3={"addressing_style": "path"},
    )
    with _MAKING:
        return _SESSION.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id=access_key,
            aws_secret_access_key=secret_key,
            region_name=region,
            config=config,
        )


@dataclass(frozen=True)
class ObjectStore:
    """A running store. `faults` is armed from any thread and takes effect with the next request."""

    endpoint: str
    access_key: str
    secret_key: str
    bucket: str
    data: Path
    faults: Faults

    def client(self, *, timeout_s: float = 60.0, retries: int = 0) -> S3Client:
        return client_for(self.endpoint, self.access_key, self.secret_key, timeout_s=timeout_s, retries=retries)

    def environment(self) -> Mapping[str, str]:
        """The settings by which storage and dbsync find this store."""
        return {
            "R2_ENDPOINT_URL": self.endpoint,
            "R2_ACCESS_KEY_ID": self.access_key,
            "R2_SECRET_ACCESS_KEY": self.secret_key,
            "R2_BUCKET_NAME": self.bucket,
        }

    def delay(self, seconds: float, *, method: str = "", key_prefix: str = "") -> int:
        """Makes every request take that much longer, as a store far away does; returns the fault's number."""
        return self.faults.add(Fault(delay_s=seconds, method=method, key_prefix=key_prefix, count=None))


@contextmanager
def object_store(data: Path | None = None, *, bucket: str = BUCKET, **settings: object) -> Iterator[ObjectStore]:
    """Starts a store on a free port, its bucket created; stops it at the end.

    `data`: a folder to keep (a second start on it finds what the first had); without one a temporary folder. `settings`
    are further fields of objectstore.settings.Settings, such as strict_r2=True, fsync=True (here off), min_part_bytes.
    """
    with tempfile.TemporaryDirectory(prefix="objectstore-") as scratch:
        chosen = Settings(
            data=data or Path(scratch), port=0, buckets=(bucket,), fsync=False, fault_injection=True, stop_s=2.0
        )
        chosen = replace(chosen, **settings)  # type: ignore[arg-type]
        with in_thread(chosen) as running:
            yield ObjectStore(
                running.endpoint, chosen.access_key, chosen.secret_key, bucket, chosen.data, running.faults
            )


@dataclass(frozen=True)
class StoreProcess:
    """A store in a process of its own, to be killed."""

    endpoint: str
    process: subprocess.Popen[bytes]

    def client(self) -> S3Client:
        return client_for(self.endpoint, DEFAULT_ACCESS_KEY, DEFAULT_SECRET_KEY)

    def kill(self) -> None:
        """kill -9, and waits for the end."""
        self.process.kill()
        self.process.wait(timeout=60)

    def peak_rss_bytes(self) -> int:
        """The most memory it has held."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        return int(found[1]) * 1024


@contextmanager
def object_store_process(data: Path, **environment: str) -> Iterator[StoreProcess]:
    """`python -m objectstore` on a folder and a free port, ready; killed at the end if it still runs."""
    variables = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "deploy/local"),
        "LISTEN": "127.0.0.1:0",
        "OBJECTSTORE_DATA": str(data),
        "OBJECTSTORE_BUCKETS": BUCKET,
        **environment,
    }
    command = [sys.executable, "-m", "objectstore"]
    log = data.with_name(f"{data.name}.log")
    with log.open("w") as sink:
        process = subprocess.Popen(command, env=variables, stderr=sink)
    try:
        yield StoreProcess(_ready(process, log), process)
    finally:
        process.kill()
        process.wait(timeout=60)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline_s = time.monotonic() + 60
    while time.monotonic() < deadline_s:
        found = re.search(r"object store at (http://\S+:\d+)", log.read_text())
        if found:
            return found[1]
        if process.poll() is not None:
            break
        time.sleep(0.02)
    raise AssertionError(f"the object store did not start:\n{log.read_text()}")
