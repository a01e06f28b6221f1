"""The running system: started from the boot table, watched, killed part by part in tests, and ended in reverse order.

1. No process outlives the one that started it, even when that is killed by SIGKILL (tests/devstack/test_stack.py).
2. A part that dies while it should run is started again, with a growing pause, and said so.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from devstack import keys, table
from devstack.settings import HOST, ROOT, CannotStart, Settings
from devstack.table import Part

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)

Say = Callable[[str], None]


class Stack:
    """All parts of one system. Use from one thread; the watch of `supervise` runs in its own."""

    def __init__(
        self, settings: Settings, say: Say = lambda line: None, extra: dict[str, dict[str, str]] | None = None
    ) -> None:
        self.settings = settings
        self.keys = keys.load(settings.data)
        self._say = say
        self._extra = extra or {}
        self._parts = {part.name: part for part in table.parts(settings, self.keys)}
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._lock = threading.RLock()
        self._stopping = threading.Event()

    @property
    def logs(self) -> Path:
        """The folder of the parts' logs, {part}.jsonl."""
        return self.settings.data / "logs"

    @property
    def traces(self) -> Path:
        """The folder of their spans."""
        return self.settings.data / "traces"

    def start(self, *names: str) -> None:
        """Starts parts (all of them by default) and waits until each is ready; CannotStart."""
        wanted = names or tuple(self._parts)
        if "objectstore" in wanted:
            self._spawn("objectstore")
            self._wait("objectstore")
        setup = self._set_up_bucket() if not names else None
        others = [name for name in wanted if name != "objectstore"]
        for name in others:
            self._spawn(name)
        for name in others:
            self._wait(name)
        if setup is not None and setup.wait(READY_TIMEOUT_S) != 0:
            raise CannotStart(f"the bucket could not be set up; see {self.logs / 'bucket.log'}")

    def stop(self) -> None:
        """Ends all parts, the last started first, each by SIGTERM and, past its time, by SIGKILL."""
        self._stopping.set()
        for name in reversed(self._parts):
            self.end(name)

    def end(self, name: str, number: int = signal.SIGTERM) -> int | None:
        """Ends a part and waits for it; its exit status, None when it did not run."""
        with self._lock:
            child = self._children.pop(name, None)
            if child is None:
                return None
            child.send_signal(number)
            try:
                return child.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._say(f"{name} did not stop in {STOP_TIMEOUT_S:g} s and was killed")
                child.kill()
                return child.wait()

    def kill(self, name: str) -> None:
        """Ends a part as a crash would."""
        self.end(name, signal.SIGKILL)

    def restart(self, name: str) -> None:
        """Starts a part that was ended; waits until it is ready."""
        self.start(name)

    def pid(self, name: str) -> int:
        """The process id of a running part."""
        return self._children[name].pid

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """What a part has logged, as far as it is JSON."""
        lines = []
        path = self.logs / f"{name}.jsonl"
        for text in path.read_text(errors="replace").splitlines() if path.exists() else ():
            try:
                lines.append(json.loads(text))
            except ValueError:
                lines.append({"level": "raw", "message": text})
        return lines

    def supervise(self) -> threading.Thread:
        """Starts again what dies, until `stop`."""
        thread = threading.Thread(target=self._watch, name="supervise", daemon=True)
        thread.start()
        return thread

    def _watch(self) -> None:
        failures: dict[str, int] = {}
        while not self._stopping.wait(0.5):
            for name, child in list(self._children.items()):
                status = child.poll()
                if status is None or self._stopping.is_set():
                    continue
                failures[name] = failures.get(name, 0) + 1
                pause = min(30.0, 0.5 * 2 ** failures[name])
                self._say(f"{name} ended unexpectedly (status {status}); starting it again in {pause:g} s")
                if self._stopping.wait(pause):
                    return
                with self._lock:
                    if self._children.get(name) is child:
                        self._spawn(name)

    def _spawn(self, name: str) -> None:
        part = self._parts[name]
        self.logs.mkdir(parents=True, exist_ok=True)
        with (self.logs / f"{name}.jsonl").open("ab") as log, self._lock:
            environ = {**_base_environ(), **part.environ, **self._extra.get(name, {})}
            self._children[name] = _popen([sys.executable, "-m", part.module], environ, log)

    def _set_up_bucket(self) -> subprocess.Popen[bytes]:
        environ = {**_base_environ(), **table.bucket_environ(self.settings, self.keys)}
        with (self.logs / "bucket.log").open("ab") as log:
            return _popen([sys.executable, str(ROOT / "deploy/r2/setup.py")], environ, log)

    def _wait(self, name: str) -> None:
        part, deadline = self._parts[name], time.monotonic() + READY_TIMEOUT_S
        pause = 0.02
        while not is_ready(part):
            status = self._children[name].poll()
            if status is not None or time.monotonic() > deadline:
                what = (
                    f"ended with status {status}" if status is not None else f"was not ready in {READY_TIMEOUT_S:g} s"
                )
                path = self.logs / f"{name}.jsonl"
                end = path.read_text(errors="replace")[-1500:]
                raise CannotStart(f"{name} {what}; the end of {path}:\n{end}")
            time.sleep(pause)
            pause = min(0.2, pause * 1.5)


def is_ready(part: Part) -> bool:
    """Whether a part answers as one that is ready."""
    try:
        with socket.create_connection((HOST, part.port), timeout=0.5):
            if part.ready == "tcp":
                return True
        if part.ready == "http":
            with urllib.request.urlopen(f"http://{HOST}:{part.port}/readyz", timeout=5) as answer:
                return bool(answer.status == 200)
        with grpc.insecure_channel(f"{HOST}:{part.port}") as channel:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=2)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    except (OSError, urllib.error.URLError, grpc.RpcError):
        return False


def is_up(settings: Settings) -> bool:
    """Whether a system answers on the settings' gateway port."""
    return is_ready(Part("gateway", "gateway", settings.ports["gateway"], "http"))


@contextmanager
def boot(
    settings: Settings, extra: dict[str, dict[str, str]] | None = None, say: Say = lambda line: None
) -> Iterator[Stack]:
    """A whole system for as long as the context lasts; `extra` adds settings by part."""
    stack = Stack(settings, say, extra)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def _base_environ() -> dict[str, str]:
    roots = (ROOT / "services", ROOT / "protos/gen", ROOT / "deploy/local")
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(map(str, roots)), "PYTHONUNBUFFERED": "1"}


def _popen(command: list[str], environ: dict[str, str], log: Any) -> subprocess.Popen[bytes]:
    # Its own session: a Ctrl-C in the terminal reaches this program alone, which ends the parts in order.
    return subprocess.Popen(
        command,
        env=environ,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )


def _die_with_parent() -> None:
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
