"""A real service process: bad settings refused, SIGTERM drained in order, a blocked loop noticed, logs in JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from chassis.credentials import new_key

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, logging, sys, time
from dataclasses import dataclass
from chassis import process, tracing
from chassis.config import Base, read_base

@dataclass(frozen=True)
class Config:
    base: Base

def read(reader):
    base = read_base(reader, "toy", "127.0.0.1:0")
    reader.secret("TOY_SECRET")
    return Config(base)

async def forever():
    await asyncio.Event().wait()

async def fails():
    raise ValueError("planted")

async def serve(config, life):
    for name in ("first", "second"):
        async def callback(name=name):
            logging.getLogger("toy").info("ended " + name)
        life.on_stop(name, callback)
    life.spawn(forever(), "forever")
    life.spawn(fails(), "fails")
    if "block" in sys.argv:
        await asyncio.sleep(0.1)
        time.sleep(1.5)
    with tracing.span("work"):
        logging.getLogger("toy").info("ready", extra={"answer": 42})
    await life.stopping.wait()

sys.exit(process.run("toy", read, serve))
"""


def start(tmp_path: Path, *arguments: str, **changes: str) -> subprocess.Popen[bytes]:
    program = tmp_path / "toy.py"
    program.write_text(PROGRAM)
    seed, public = new_key()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT / 'services'}:{ROOT / 'protos/gen'}",
        "REEL_ENV": "local",
        "SIGNING_KEY": seed,
        "TRUSTED_KEYS": f"gateway={public}",
        "TOY_SECRET": "hunter2",
        **changes,
    }
    command = [sys.executable, str(program), *arguments]
    with (tmp_path / "out").open("w") as out, (tmp_path / "err").open("w") as err:
        return subprocess.Popen(command, env=environ, stdout=out, stderr=err)


def end(child: subprocess.Popen[bytes], number: int | None = signal.SIGTERM) -> int:
    if number is not None:
        child.send_signal(number)
    return child.wait(timeout=60)


def lines(tmp_path: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in (tmp_path / "out").read_text().splitlines()]


def wait_until_ready(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    for _ in range(6000):
        if '"ready"' in (tmp_path / "out").read_text():
            return
        assert child.poll() is None, (tmp_path / "err").read_text()
        time.sleep(0.01)
    raise AssertionError("never ready")


def test_bad_settings_are_listed_and_nothing_starts(tmp_path: Path) -> None:
    child = start(tmp_path, TOY_SECRET="", SIGNING_KEY="x", REEL_ENV="moon")
    assert end(child, None) == 78 and lines(tmp_path) == []
    for word in ("TOY_SECRET", "SIGNING_KEY", "REEL_ENV"):
        assert word in (tmp_path / "err").read_text()


def test_sigterm_ends_things_in_reverse_order_with_json_logs(tmp_path: Path) -> None:
    child = start(tmp_path)
    wait_until_ready(child, tmp_path)
    assert end(child) == 0
    messages = [line["message"] for line in lines(tmp_path)]
    assert messages.index("ended second") < messages.index("ended first") < messages.index("stopped")
    assert "background task fails failed: planted" in messages
    ready = lines(tmp_path)[messages.index("ready")]
    assert (ready["service"], ready["environment"], ready["level"], ready["answer"]) == ("toy", "local", "info", 42)
    assert len(str(ready["trace_id"])) == 32 and len(str(ready["span_id"])) == 16
    assert "hunter2" not in (tmp_path / "out").read_text() + (tmp_path / "err").read_text()


def test_a_blocked_event_loop_is_noticed_with_its_stack(tmp_path: Path) -> None:
    child = start(tmp_path, "block")
    wait_until_ready(child, tmp_path)
    assert end(child) == 0
    warnings = [line for line in lines(tmp_path) if line["message"] == "event loop blocked"]
    assert warnings and "time.sleep(1.5)" in str(warnings[0]["stack"])


def test_an_idle_loop_is_not_called_blocked(tmp_path: Path) -> None:
    child = start(tmp_path)
    wait_until_ready(child, tmp_path)
    time.sleep(1.2)
    assert end(child) == 0
    assert "event loop blocked" not in (tmp_path / "out").read_text()
