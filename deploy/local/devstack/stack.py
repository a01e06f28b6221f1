"""The running system: started from the boot table, watched, killed part by part in tests, and ended in reverse order.

Each holds by a test of its number's name in tests/devstack/test_stack.py.

1. No process outlives the one that started it, even when that is killed by SIGKILL.
2. A part that dies while it should run is started again, with a growing pause, and said so.
3. A stop ends the parts in the reverse of their order, each by its own id, and waits for each.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from devstack import app_build, bucket, keys, table
from devstack.ready import is_ready
from devstack.settings import ROOT, CannotStart, Settings
from devstack.table import Part

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
STEADY_S = 60.0  # a part that ran for so long begins with the first pause again
KEPT_LOG_BYTES = 64 << 20
_TIED = """
import ctypes, os, sys
ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() != int(sys.argv[1]):
    sys.exit(1)  # it died before it was asked
os.execv(sys.argv[2], sys.argv[2:])
"""

Say = Callable[[str], None]


@dataclass
class Running:
    """A part's process. `again_s` is when a dead one is to be started again, by the monotonic clock."""

    process: subprocess.Popen[bytes]
    began_s: float
    failures: int = 0
    again_s: float | None = None


class Stack:
    """All parts of one system. Use from one thread, which must outlive them: they die with the thread that started
    them (that is how they die with a killed process).

    `extra` adds settings by part; `parts` are others than the boot table's.
    """

    def __init__(
        self,
        settings: Settings,
        say: Say = lambda line: None,
        extra: Mapping[str, Mapping[str, str]] | None = None,
        parts: Sequence[Part] | None = None,
    ) -> None:
        self.settings = settings
        self.keys = keys.load(settings.data)
        self._say = say
        self._extra = extra or {}
        self._parts = {part.name: part for part in parts or table.parts(settings, self.keys)}
        self._running: dict[str, Running] = {}

    @property
    def logs(self) -> Path:
        """The folder of the parts' logs, {part}.jsonl."""
        return self.settings.data / "logs"

    @property
    def traces(self) -> Path:
        """The folder of their spans, {service}.jsonl."""
        return self.settings.data / "traces"

    def start(self, *names: str) -> None:
        """Starts parts (all of them by default) and waits until each is ready; CannotStart."""
        wanted = names or tuple(self._parts)
        setup = None
        if not names:
            _set_old_aside(self.logs)
            _set_old_aside(self.traces)
        if "web" in wanted:
            app_build.build(self.logs / "app-build.log")
        if "objectstore" in wanted:
            self._spawn("objectstore")
            self._wait("objectstore", ("objectstore",))
            setup = None if names else self._set_up_bucket()
        others = [name for name in wanted if name != "objectstore"]
        for name in others:
            self._spawn(name)
        # The gateway is ready when those behind it are.
        vouched = table.BEHIND_GATEWAY if "gateway" in others else ()
        for name in (name for name in others if name not in vouched):
            self._wait(name, others)
        if setup is not None:
            if setup.wait(READY_TIMEOUT_S) != 0:
                raise CannotStart(f"the bucket could not be set up; see {self.logs / 'bucket.log'}")
            bucket.remember(self.settings, self.keys)

    def stop(self) -> None:
        """Ends all parts, the last started first, each by SIGTERM and, past its time, by SIGKILL."""
        for name in reversed(self._parts):
            self.end(name)

    def end(self, name: str, number: int = signal.SIGTERM) -> int | None:
        """Ends a part and waits for it; its exit status, None when it did not run."""
        running = self._running.pop(name, None)
        if running is None:
            return None
        child = running.process
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

    def launch(self, name: str) -> None:
        """Starts a part that was ended, without waiting until it is ready."""
        self._spawn(name)

    def restart(self, name: str) -> None:
        """Starts a part that was ended; waits until it is ready."""
        self.start(name)

    def heal(self) -> None:
        """Starts what was ended or has died, and waits until all parts are ready: for a test's end."""
        for name, part in self._parts.items():
            running = self._running.get(name)
            if running is None or running.process.poll() is not None or not is_ready(part):
                self.end(name, signal.SIGKILL)
                self.start(name)

    def pid(self, name: str) -> int:
        """The process id of a running part."""
        return self._running[name].process.pid

    def log_lines(self, name: str) -> list[dict[str, Any]]:
        """What a part has logged; a line that is no JSON has the level "raw"."""
        lines = []
        path = self.logs / f"{name}.jsonl"
        for text in path.read_text(errors="replace").splitlines() if path.exists() else ():
            try:
                lines.append(json.loads(text))
            except ValueError:
                lines.append({"level": "raw", "message": text})
        return lines

    def mend(self) -> None:
        """Starts again what has died, once its pause is over. Call a few times a second; returns at once."""
        now_s = time.monotonic()
        for name, running in self._running.items():
            status = running.process.poll()
            if status is None:
                continue
            if running.again_s is None:
                running.failures = 0 if now_s - running.began_s > STEADY_S else running.failures
                pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**running.failures)
                running.again_s = now_s + pause_s
                self._say(f"{name} ended unexpectedly ({_ending(status)}); starting it again in {pause_s:g} s")
            elif now_s >= running.again_s:
                fresh = Running(self._popen_part(name), now_s, running.failures + 1)
                self._running[name] = fresh
                self._say(f"{name} started again")

    def _spawn(self, name: str) -> None:
        self._running[name] = Running(self._popen_part(name), time.monotonic())

    def _popen_part(self, name: str) -> subprocess.Popen[bytes]:
        part = self._parts[name]
        self.logs.mkdir(parents=True, exist_ok=True)
        environ = {**base_environ(), **part.environ, **self._extra.get(name, {})}
        with (self.logs / f"{name}.jsonl").open("ab") as log:
            return popen([sys.executable, "-m", part.module], environ, log)

    def _set_up_bucket(self) -> subprocess.Popen[bytes] | None:
        if bucket.is_set_up(self.settings, self.keys):
            return None
        environ = {**base_environ(), **table.bucket_environ(self.settings, self.keys)}
        with (self.logs / "bucket.log").open("ab") as log:
            return popen([sys.executable, *bucket.COMMAND], environ, log)

    def _wait(self, name: str, started: Sequence[str]) -> None:
        """Until a part is ready; CannotStart when it takes too long, or one of those it was started with has died."""
        part, deadline = self._parts[name], time.monotonic() + READY_TIMEOUT_S
        pause = 0.02
        while not is_ready(part):
            for other in started:
                status = self._running[other].process.poll()
                if status is not None:
                    raise CannotStart(f"{other} did not start ({_ending(status)}); {self._log_end(other)}")
            if time.monotonic() > deadline:
                raise CannotStart(f"{name} was not ready in {READY_TIMEOUT_S:g} s; {self._log_end(name)}")
            time.sleep(pause)
            pause = min(0.2, pause * 1.5)

    def _log_end(self, name: str) -> str:
        path = self.logs / f"{name}.jsonl"
        return f"the end of {path}:\n{path.read_text(errors='replace')[-1500:]}"


@contextmanager
def boot(
    settings: Settings, extra: Mapping[str, Mapping[str, str]] | None = None, say: Say = lambda line: None
) -> Iterator[Stack]:
    """A whole system for as long as the context lasts; `extra` adds settings by part."""
    stack = Stack(settings, say, extra)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


def base_environ() -> dict[str, str]:
    """What every part is given beside its own settings: nothing of ours leaks into them."""
    roots = (ROOT / "services", ROOT / "protos/gen", ROOT / "deploy/local")
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(map(str, roots)), "PYTHONUNBUFFERED": "1"}


def popen(command: Sequence[str], environ: Mapping[str, str], log: IO[bytes] | int) -> subprocess.Popen[bytes]:
    """Starts a process that dies with this one, in a session of its own: a Ctrl-C in the terminal reaches this program
    alone, which ends the parts in order."""
    # A program that asks for its parent's death and then becomes the command: asking between fork and exec, in a
    # process with threads, can hang for ever on a lock that one of them held.
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _TIED, str(os.getpid()), *command],
        env=environ,
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def _ending(status: int) -> str:
    return f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"


def _set_old_aside(folder: Path) -> None:
    """Keeps a folder of ever-growing files bounded: at a start, a file that is too large becomes its only old one."""
    for path in folder.glob("*.jsonl"):
        if path.stat().st_size > KEPT_LOG_BYTES:
            path.replace(path.with_suffix(".jsonl.old"))
