"""`devstack run` as a person meets it: from an empty folder to a page, a crash, a stop, a second start, a kill -9."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from devstack import app_build, sample, settings
from devstack.api import connect
from devstack.settings import DEFAULT_PORTS, Settings, port_setting
from devstack.stack import base_environ

UP = "Reel Ballers is at "


class Run:
    """A `devstack run` of a data folder of its own."""

    def __init__(self, config: Settings, output: Path) -> None:
        self.config = config
        self._output = output
        ports = {port_setting(name): str(config.ports[name]) for name in DEFAULT_PORTS}
        environ = {**base_environ(), **ports, "REEL_DATA": str(config.data), "HOME": str(output.parent)}
        with output.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "devstack", "run"], env=environ, stdout=out, stderr=subprocess.STDOUT
            )

    def said(self) -> str:
        return self._output.read_text()

    def wait_for(self, words: str, timeout_s: float = 90) -> None:
        deadline = time.monotonic() + timeout_s
        while words not in self.said():
            assert self.process.poll() is None or words in self.said(), self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.05)

    def family(self) -> list[psutil.Process]:
        """The processes that it started, and those that they started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[Settings, str], Run]]:
    app_build.build(tmp_path / "build.log")
    runs: list[Run] = []

    def start(config: Settings, name: str) -> Run:
        runs.append(Run(config, tmp_path / f"{name}.out"))
        return runs[-1]

    yield start
    for one in runs:
        if one.process.poll() is None:
            one.end(signal.SIGKILL)


def alive(family: list[psutil.Process]) -> list[psutil.Process]:
    return [one for one in family if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]


def wait_until_gone(family: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 60
    while alive(family):
        assert time.monotonic() < deadline, alive(family)
        time.sleep(0.05)


def page(config: Settings) -> str:
    with urllib.request.urlopen(f"http://{settings.HOST}:{config.ports['web']}/games/any", timeout=60) as answer:
        return str(answer.read().decode())


async def check_sample(config: Settings) -> None:
    async with connect(config.api_origin) as api:
        library = await api.get("/library")
    [game] = library["games"]
    assert game["name"] == sample.NAME and [video["state"] for video in game["videos"]] == ["ready"]
    assert {clip["name"] for clip in library["clips"]} == {clip["name"] for clip in sample.CLIPS}


async def begin_export(config: Settings) -> None:
    """Returns when it is being rendered, by processes of render's own."""
    async with connect(config.api_origin) as api:
        game_id = (await api.get("/library"))["games"][0]["id"]
        export = await api.export({"kind": "annotate", "game_id": game_id})
        while export["phase"] != "rendering":
            assert export["state"] in ("queued", "running"), export
            export = await api.get(f"/exports/{export['id']}")


async def test_from_an_empty_folder_to_a_page_and_back(run: Callable[[Settings, str], Run], tmp_path: Path) -> None:
    config = settings.free(tmp_path / "data")
    first = run(config, "first")
    first.wait_for(UP)
    assert "made the sample game" in first.said()
    assert re.search(rf"{UP}{config.web_origin}   \(up in \d+\.\d s; Ctrl-C stops it\)", first.said())
    await check_sample(config)
    assert f'content="{config.api_origin}"' in page(config)

    # Another one beside it is told what is in its way.
    beside = run(config, "beside")
    assert beside.process.wait(60) == 1
    for name, port in config.ports.items():
        assert f"port {port} for {name} is taken" in beside.said() and port_setting(name) in beside.said()

    # A crash is mended and said.
    [gateway] = [part for part in first.family() if part.cmdline()[-1] == "gateway"]
    gateway.kill()
    first.wait_for("gateway ended unexpectedly (killed by SIGKILL)")
    first.wait_for("gateway started again")
    await check_sample(config)

    # Ctrl-C ends everything, in order.
    family = first.family()
    assert len(family) == len(DEFAULT_PORTS)
    assert first.end(signal.SIGINT) == 0
    assert alive(family) == [] and "what you made is kept in" in first.said()

    # A second start finds what there was, also at another port; kill -9 leaves nothing running.
    moved = replace(config, ports={**config.ports, "web": settings.free(tmp_path).ports["web"]})
    second = run(moved, "second")
    second.wait_for(UP)
    assert "sample game" not in second.said()
    await check_sample(moved)
    await begin_export(moved)
    family = second.family()
    assert len(family) > len(DEFAULT_PORTS), "no process renders"
    second.end(signal.SIGKILL)
    wait_until_gone(family)


def test_a_stop_in_the_middle_of_a_start_leaves_nothing(run: Callable[[Settings, str], Run], tmp_path: Path) -> None:
    started = run(settings.free(tmp_path / "data"), "stopped")
    deadline = time.monotonic() + 60
    while len(started.family()) < 2:
        assert time.monotonic() < deadline, started.said()
        time.sleep(0.01)
    family = started.family()
    assert started.end(signal.SIGTERM) == 0
    wait_until_gone(family)
    assert UP not in started.said() and "stopping" in started.said()


def test_a_trace_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "devstack", "trace", "f" * 32, "--data", str(tmp_path)]
    done = subprocess.run(command, env=base_environ(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "no spans of trace" in done.stderr
