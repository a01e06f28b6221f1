"""What the services cost when idle and how fast they start and answer: `python -m tests.bench.services`.

Memory: of each process after it was ready and idle for some seconds, nothing asked of it but its health. RSS counts
libraries' files in each process, as on a machine of its own; PSS once for all; own is what no file backs.
Start: from the process's creation to its first good answer, the fastest of some, with bytecode at hand; what of it was
processor time; and once without any bytecode. Goals: four
services together below 256 MB, each ready within 1 s with bytecode.
Signatures: a presigned URL by storage's own signer and by botocore's, one after the other in this process.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import aiohttp
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from chassis.config import Secret
from devstack import keys, settings, table
from devstack.api import connect
from devstack.ready import is_ready
from devstack.settings import Settings
from devstack.stack import Stack, base_environ
from storage.sigv4 import Signer

GOAL_MB, GOAL_START_S = 256, 1.0
IDLE_S = 3.0
START_TIMEOUT_S = 60.0
HEAD = ("", "RSS MB", "PSS MB", "own MB", "start s", "processor s", "no bytecode s")
PARTS = ("objectstore", *table.SERVICES)


def memory_mb(pid: int) -> tuple[float, ...]:
    """RSS, PSS and what is not a file's, of a process, in MB of 10^6 bytes."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = dict(re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE))
    return tuple(int(found[name]) * 1.024 / 1000 for name in ("Rss", "Pss", "Anonymous"))


def cpu_s(pid: int) -> float:
    """Processor time that a process has used: what a start costs however busy the machine is."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start_s(stack: Stack, name: str) -> tuple[float, float]:
    """Seconds from a part's process being made until it answers, and of the processor; the part must run already."""
    part = next(part for part in table.parts(stack.settings, stack.keys) if part.name == name)
    stack.end(name)
    began_s = time.perf_counter()
    stack.launch(name)
    while not is_ready(part):
        if time.perf_counter() - began_s > START_TIMEOUT_S:
            raise RuntimeError(f"{name} did not start")
        time.sleep(0.005)
    return time.perf_counter() - began_s, cpu_s(stack.pid(name))


def starts(
    stack: Stack, extra: dict[str, dict[str, str]], name: str, rounds: int, folder: Path
) -> tuple[float, float, float]:
    """The fastest start of a part with bytecode, its processor time, and a start without bytecode."""
    warm, processor = min(start_s(stack, name) for _ in range(rounds))
    without = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "no-bytecode")}
    extra[name] = without
    cold, _ = start_s(stack, name)
    extra[name] = {}
    start_s(stack, name)
    return warm, processor, cold


async def latencies_ms(origin: str, path: str, count: int) -> tuple[float, float]:
    """p50 and p99 of GETs one after the other over one connection, after a tenth as many that do not count."""
    took = []
    async with aiohttp.ClientSession() as http:
        for number in range(count + count // 10):
            began_s = time.perf_counter()
            async with http.get(origin + path) as answer:
                await answer.read()
                answer.raise_for_status()
            if number >= count // 10:
                took.append((time.perf_counter() - began_s) * 1000)
    cuts = statistics.quantiles(took, n=100)
    return cuts[49], cuts[98]


async def fill(origin: str) -> None:
    """A library of a season's size: 20 games and 5 reels."""
    async with connect(origin) as api:
        for number in range(20):
            await api.post("/games", {"name": f"Game {number}", "opponent": "Rovers", "sport": "football"})
        for number in range(5):
            await api.post("/reels", {"name": f"Reel {number}"})


def signing_us(count: int = 1000) -> tuple[float, float]:
    """Microseconds of the processor for a presigned URL: by storage's signer, by botocore's."""
    signer = Signer("https://store.example", "key", Secret("secret"))
    oracle: Any = S3SigV4QueryAuth(Credentials("key", "secret"), "s3", "auto", expires=3600)
    began_s = time.process_time()
    for number in range(count):
        signer.presign("GET", f"/bucket/tenant/games/{number}.mp4", now_s=began_s, lifetime_s=3600)
    ours_s = time.process_time() - began_s
    began_s = time.process_time()
    for number in range(count):
        request = AWSRequest(method="GET", url=f"https://store.example/bucket/tenant/games/{number}.mp4")
        oracle.add_auth(request)
    return ours_s / count * 1e6, (time.process_time() - began_s) / count * 1e6


def run_s(config: Settings) -> float:
    """Seconds from `devstack run` until it prints its URL; then it is stopped by Ctrl-C's signal."""
    environ = {**base_environ(), "REEL_DATA": str(config.data), "HOME": os.environ.get("HOME", "/")}
    environ |= {settings.port_setting(name): str(port) for name, port in config.ports.items()}
    began_s = time.perf_counter()
    with subprocess.Popen(
        [sys.executable, "-m", "devstack", "run"], env=environ, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        said = []
        for line in child.stdout:
            said.append(line)
            if "Reel Ballers is at" in line:
                took_s = time.perf_counter() - began_s
                child.send_signal(signal.SIGINT)
                if child.wait(60) != 0:
                    raise RuntimeError(f"it stopped with status {child.returncode}: {said}")
                return took_s
    raise RuntimeError(f"it never was up: {said}")


def services(folder: Path, rounds: int, requests: int) -> list[tuple[str, ...]]:
    """The rows of the services and the gateway's latency."""
    config = settings.free(folder / "services")
    extra: dict[str, dict[str, str]] = {"gateway": {"RATE_PER_S": "100000", "RATE_BURST": "100000"}}
    parts = [part for part in table.parts(config, keys.load(config.data)) if part.name != "web"]
    stack = Stack(config, extra=extra, parts=parts)
    rows: list[tuple[str, ...]] = []
    try:
        stack.start()
        time.sleep(IDLE_S)
        memory = {name: memory_mb(stack.pid(name)) for name in PARTS}
        slowest_s = 0.0
        for name in PARTS:
            warm_s, processor_s, cold_s = starts(stack, extra, name, rounds, folder)
            slowest_s = max(slowest_s, warm_s if name in table.SERVICES else 0)
            numbers = [
                *(f"{size:.0f}" for size in memory[name]),
                f"{warm_s:.2f}",
                f"{processor_s:.2f}",
                f"{cold_s:.2f}",
            ]
            rows.append((name, *numbers))
        sums = [sum(memory[name][index] for name in table.SERVICES) for index in range(3)]
        rows.append(("four services", *(f"{size:.0f}" for size in sums), f"{slowest_s:.2f}"))
        goals = [_verdict(size < GOAL_MB) for size in sums]
        rows.append((f"goals: {GOAL_MB} MB, {GOAL_START_S:g} s", *goals, _verdict(slowest_s < GOAL_START_S)))
        extra["gateway"] = {"RATE_PER_S": "100000", "RATE_BURST": "100000"}
        stack.end("gateway")
        stack.restart("gateway")
        asyncio.run(fill(config.api_origin))
        for path in ("/healthz", "/api/library"):
            p50, p99 = asyncio.run(latencies_ms(config.api_origin, path, requests))
            rows.append((f"GET {path}", f"p50 {p50:.1f} ms", f"p99 {p99:.1f} ms"))
    finally:
        stack.stop()
    return rows


def _verdict(met: bool) -> str:
    return "met" if met else "MISSED"


def main() -> int:
    """Measures and prints one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="starts of each service")
    parser.add_argument("--requests", type=int, default=300)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="reel-bench-") as name:
        rows = services(Path(name), options.rounds, options.requests)
        config = settings.free(Path(name) / "run")
        first_s, second_s = run_s(config), run_s(config)
    ours_us, botocores_us = signing_us()
    rows.append(
        ("presigned URL", f"{ours_us:.0f} µs", f"botocore {botocores_us:.0f} µs", f"{botocores_us / ours_us:.0f} : 1")
    )
    rows.append(("make run, to its URL", "", "", "", f"second {second_s:.1f}", "", f"first {first_s:.1f}"))
    for row in (HEAD, *rows):
        cells = (*row, *[""] * (len(HEAD) - len(row)))
        print(f"{cells[0]:<21}" + "".join(f"{cell:>13}" for cell in cells[1:]))
    print(f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    return 0


if __name__ == "__main__":
    sys.exit(main())
