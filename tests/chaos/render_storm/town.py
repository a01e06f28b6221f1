"""The storm's processes: an object store, storage and dbsync that live on, and render, started and killed again and
again. Two renders run at once while one takes over from the other.
"""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import av
import imageio_ffmpeg
import psutil

from chassis.config import Base, Secret
from chassis.credentials import new_key
from devstack import settings
from devstack.stack import base_environ, popen
from tests.chaos.render_storm.orders import Object
from tests.fakes.object_store import client_for

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "reel-ballers-users"
_GRPC = re.compile(r"[IWE]\d{4} ")
ACCESS_KEY, SECRET_KEY = "storm-access-key", "storm-secret-key"
SOURCE = "games/game.mp4"
SOURCE_S = 6
FPS = 30
# Nothing waits for long, so that much happens between two kills.
RENDER = {"RENDER_WORKERS": "2", "RENDER_ATTEMPTS_MAX": "10", "RENDER_SWEEP_AFTER_S": "2"}


@dataclass(frozen=True)
class Render:
    """A render process, by its number among all that were started."""

    life: int
    address: str
    process: subprocess.Popen[bytes]


class Town:
    """The processes, ended with `close`. Use from one thread, which must outlive them: they die with it."""

    def __init__(self, folder: Path, module: tuple[str, ...] = ("render",), more: Mapping[str, str] = RENDER) -> None:
        self.folder = folder
        self.ports = settings.free(folder).ports
        self._module = module
        self._running: list[subprocess.Popen[bytes]] = []
        caller_seed, caller_public = new_key()
        render_seed, render_public = new_key()
        self.base = Base("gateway", "local", "127.0.0.1:0", "info", Secret(caller_seed), {}, "", None)
        self._common = {
            **base_environ(),
            "PYTHONPATH": f"{base_environ()['PYTHONPATH']}:{settings.ROOT}",
            "REEL_ENV": "local",
            "LOG_LEVEL": "warning",
            "SIGNING_KEY": render_seed,
            "TRUSTED_KEYS": f"gateway={caller_public},render={render_public}",
            "R2_ENDPOINT_URL": f"http://127.0.0.1:{self.ports['objectstore']}",
            "R2_ACCESS_KEY_ID": ACCESS_KEY,
            "R2_SECRET_ACCESS_KEY": SECRET_KEY,
            "R2_BUCKET_NAME": BUCKET,
            "STORAGE_ADDRESS": f"127.0.0.1:{self.ports['storage']}",
            "DBSYNC_ADDRESS": f"127.0.0.1:{self.ports['dbsync']}",
            "CACHE_DIR": str(folder / "cache"),
            **more,
        }
        self.lives = 0
        self.now: Render | None = None

    def start(self) -> None:
        """Starts all but render; they answer some time later."""
        store = {
            **base_environ(),
            "LISTEN": f"127.0.0.1:{self.ports['objectstore']}",
            "OBJECTSTORE_DATA": str(self.folder / "objects"),
            "OBJECTSTORE_ACCESS_KEY": ACCESS_KEY,
            "OBJECTSTORE_SECRET_KEY": SECRET_KEY,
            "OBJECTSTORE_BUCKETS": BUCKET,
            "OBJECTSTORE_FSYNC": "false",
            "LOG_LEVEL": "warning",
        }
        self._spawn("objectstore", ["objectstore"], store)
        for name in ("storage", "dbsync"):
            self._spawn(name, [name], {**self._common, "LISTEN": f"127.0.0.1:{self.ports[name]}"})

    def answers(self, port: str) -> bool:
        """Whether somebody listens on a part's port."""
        try:
            with socket.create_connection(("127.0.0.1", self.ports[port]), timeout=1):
                return True
        except OSError:
            return False

    def furnish(self, tenants: list[str]) -> None:
        """Puts everybody's footage into the store."""
        path = self.folder / "game.mp4"
        picture = ["-f", "lavfi", "-i", f"testsrc2=size=320x180:rate={FPS}:duration={SOURCE_S}"]
        sound = ["-f", "lavfi", "-i", f"sine=frequency=440:duration={SOURCE_S}"]
        coded = ["-c:v", "libx264", "-preset", "ultrafast", "-g", str(FPS), "-c:a", "aac", "-shortest"]
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-y", *picture, *sound, *coded, str(path)]
        subprocess.run(command, check=True, timeout=120)
        for tenant in tenants:
            self._client().put_object(Bucket=BUCKET, Key=f"{tenant}/{SOURCE}", Body=path.read_bytes())

    def launch(self) -> Render:
        """Starts a render, which is the one to ask from now on; it answers some time later."""
        self.lives += 1
        port = self.ports["render" if self.lives % 2 else "gateway"]  # nobody else needs that one here
        work = self.folder / f"work-{self.lives % 2}"
        address = f"127.0.0.1:{port}"
        environ = {**self._common, "LISTEN": address, "WORK_DIR": str(work)}
        self.now = Render(self.lives, address, self._spawn("render", list(self._module), environ))
        return self.now

    def kill(self, render: Render) -> list[psutil.Process] | None:
        """kill -9: the children that it had, who must die with it; None when it was dead already."""
        if render.process.poll() is not None:
            return None
        render.process.send_signal(signal.SIGSTOP)  # none is begun between the look and the kill
        family = psutil.Process(render.process.pid).children(recursive=True)
        render.process.kill()
        return family if render.process.wait() == -signal.SIGKILL else None

    @contextmanager
    def asleep(self, render: Render) -> Iterator[None]:
        """A render that stands still meanwhile, as on a machine that was suspended."""
        render.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            render.process.send_signal(signal.SIGCONT)

    def strangers(self) -> list[str]:
        """Processes that still work for a job when no job is under way."""
        ours = {str(one.pid) for one in self._running}
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            worker = command[-3:-1] == ["-m", "render.worker"] and command[-1] in ours
            if worker or any(f"{self.folder}/work-" in part for part in command):
                found.append(" ".join(command)[:200])
        return found

    def object(self, tenant: str, key: str) -> Object | None:
        """What stands in the store, decoded when it is a video."""
        client = self._client()
        try:
            answer = client.get_object(Bucket=BUCKET, Key=f"{tenant}/{key}")
        except client.exceptions.NoSuchKey:
            return None
        path = self.folder / "look"
        path.write_bytes(answer["Body"].read())
        frames = _frames(path) if key.endswith(".mp4") else -1
        return Object(answer["ContentLength"], answer["ETag"].strip('"'), frames)

    def keys(self, tenant: str) -> set[str]:
        """Every key that a tenant has."""
        pages = self._client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{tenant}/")
        return {one["Key"].removeprefix(f"{tenant}/") for page in pages for one in page.get("Contents", ())}

    def complaints(self) -> list[str]:
        """Unexpected failures in render's log."""
        found = []
        for line in (self.folder / "render.jsonl").read_text(errors="replace").splitlines():
            if _GRPC.match(line):
                continue  # gRPC's own, of connections that broke off
            try:
                level = json.loads(line)["level"]
            except (ValueError, KeyError, TypeError):
                level = "none"  # what is no log line is a crash's last words
            if level not in ("debug", "info", "warning"):
                found.append(f"render logged: {line[:600]}")
        return found

    def close(self) -> None:
        """Ends all that runs."""
        for process in reversed(self._running):
            process.kill()
            process.wait()

    def _spawn(self, name: str, module: list[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.jsonl").open("ab") as log:
            process = popen([sys.executable, "-m", *module], environ, log)
        self._running.append(process)
        return process

    def _client(self) -> S3Client:
        return client_for(f"http://127.0.0.1:{self.ports['objectstore']}", ACCESS_KEY, SECRET_KEY, retries=3)


def _frames(path: Path) -> int:
    try:
        with av.open(str(path)) as container:
            return sum(1 for _ in container.decode(video=0))
    except av.FFmpegError:
        return -1
