"""Starting, watching and ending processes, on small parts of the tests' own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from devstack import settings, stack
from devstack.settings import CannotStart
from devstack.stack import Stack, base_environ
from devstack.table import Part

PART = """
import os, signal, subprocess, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *arguments):
        pass

def stop(number, frame):
    with open(os.environ["ENDS"], "a") as file:
        file.write(os.environ["NAME"] + "\\n")
    sys.exit(0)

signal.signal(signal.SIGTERM, signal.SIG_IGN if "STUBBORN" in os.environ else stop)
if "FAILS" in os.environ:
    print("no such luck", flush=True)
    sys.exit(3)
HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def small_parts(folder: Path, **more: dict[str, str]) -> list[Part]:
    """Parts called objectstore, middle and last; `more` are settings of theirs."""
    (folder / "small_part.py").write_text(PART)
    ports = iter(settings.free(folder).ports.values())
    found = []
    for name in ("objectstore", "middle", "last"):
        port = next(ports)
        path = f"{folder}:{base_environ()['PYTHONPATH']}"
        environ = {"PORT": str(port), "NAME": name, "ENDS": str(folder / "ends"), "PYTHONPATH": path}
        found.append(Part(name, "small_part", port, "/", {**environ, **more.get(name, {})}))
    return found


NAMES = ("objectstore", "middle", "last")


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., tuple[Stack, list[str]]]]:
    """Makes stacks that are ended after the test, each with what it says."""
    made: list[Stack] = []

    def one(**more: dict[str, str]) -> tuple[Stack, list[str]]:
        said: list[str] = []
        made.append(Stack(settings.free(tmp_path / "data"), said.append, parts=small_parts(tmp_path, **more)))
        return made[-1], said

    yield one
    for each in made:
        each.stop()


def gone(pids: list[int]) -> bool:
    return not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids)


def until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_1_no_process_outlives_its_starter_even_when_that_is_killed(tmp_path: Path) -> None:
    program = f"""
import sys, time
from pathlib import Path
from devstack import settings
from devstack.stack import Stack
from tests.devstack.test_stack import NAMES, small_parts
folder = Path({str(tmp_path)!r})
started = Stack(settings.free(folder / "data"), parts=small_parts(folder))
started.start(*NAMES)
print(*(started.pid(name) for name in NAMES), flush=True)
time.sleep(60)
"""
    path = f"{settings.ROOT}:{base_environ()['PYTHONPATH']}"
    starter = subprocess.Popen(
        [sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE
    )
    assert starter.stdout is not None
    with starter.stdout:
        pids = [int(text) for text in starter.stdout.readline().split()]
    assert len(pids) == 3 and not any(gone([pid]) for pid in pids)
    starter.kill()
    starter.wait()
    until(lambda: gone(pids))


def test_2_what_dies_is_started_again_after_a_growing_pause(
    make: Callable[..., tuple[Stack, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "FIRST_PAUSE_S", 0.1)
    running, said = make()
    running.start(*NAMES)
    for _ in range(3):
        before = running.pid("middle")
        os.kill(before, signal.SIGKILL)

        def mended(before: int = before) -> bool:
            running.mend()
            return running.pid("middle") != before

        until(mended)
    pauses = [re.fullmatch(r"middle ended unexpectedly \(killed by SIGKILL\); .* in ([\d.]+) s", line) for line in said]
    assert [float(pause[1]) for pause in pauses if pause] == [0.1, 0.2, 0.4]
    assert said.count("middle started again") == 3


def test_3_a_stop_ends_parts_in_reverse_and_leaves_nothing(
    make: Callable[..., tuple[Stack, list[str]]], tmp_path: Path
) -> None:
    running, _ = make()
    running.start(*NAMES)
    pids = [running.pid(name) for name in NAMES]
    running.stop()
    assert (tmp_path / "ends").read_text().split() == ["last", "middle", "objectstore"]
    assert gone(pids)
    running.stop()


def test_a_part_that_does_not_stop_is_killed_and_said_so(
    make: Callable[..., tuple[Stack, list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "STOP_TIMEOUT_S", 0.3)
    running, said = make(middle={"STUBBORN": "1"})
    running.start(*NAMES)
    assert running.end("middle") == -signal.SIGKILL
    assert said == ["middle did not stop in 0.3 s and was killed"]


def test_a_part_that_cannot_start_says_why(make: Callable[..., tuple[Stack, list[str]]]) -> None:
    running, _ = make(last={"FAILS": "1"})
    with pytest.raises(CannotStart, match=r"last did not start \(exit status 3\)(.|\n)*no such luck"):
        running.start(*NAMES)


def test_after_a_test_all_parts_are_there_again(make: Callable[..., tuple[Stack, list[str]]]) -> None:
    running, _ = make()
    running.start(*NAMES)
    running.kill("middle")
    died = running.pid("last")
    os.kill(died, signal.SIGKILL)
    until(lambda: gone([died]))
    running.heal()
    assert not gone([running.pid("middle")]) and not gone([running.pid("last")])


def test_logs_are_kept_bounded(
    make: Callable[..., tuple[Stack, list[str]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stack, "KEPT_LOG_BYTES", 100)
    monkeypatch.setattr(Stack, "_set_up_bucket", lambda self: None)
    running, _ = make()
    running.logs.mkdir(parents=True)
    (running.logs / "middle.jsonl").write_text("x" * 101)
    (running.logs / "last.jsonl").write_text("y" * 99)
    running.start()
    assert (running.logs / "middle.jsonl.old").read_text() == "x" * 101
    assert (running.logs / "middle.jsonl").read_text() == ""
    assert (running.logs / "last.jsonl").read_text() == "y" * 99
