"""Child processes started while gRPC calls are under way: none dies of gRPC's fork handlers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from chassis.credentials import new_key

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio, sys
import chassis
import grpc, uvloop
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

async def main():
    server, servicer = grpc.aio.server(), health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    await servicer.set("", 1)
    stub = health_pb2_grpc.HealthStub(grpc.aio.insecure_channel(f"127.0.0.1:{port}"))

    async def call():
        while True:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=60)

    calls, died = [asyncio.create_task(call()) for _ in range(3)], 0
    for _ in range(60):
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(sys.executable, "-S", "-c", "pass", stdin=pipe, stdout=pipe)
        died += await child.wait() != 0
    for one in calls:
        one.cancel()
    await server.stop(0)
    print("died:", died)

uvloop.run(main())
"""


def test_no_child_dies_while_calls_are_under_way() -> None:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "services")}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "died: 0", done.stderr


TOY = """
import asyncio, sys
from dataclasses import dataclass
from chassis import process
from chassis.config import Base, read_base

@dataclass(frozen=True)
class Config:
    base: Base

async def serve(config, life):
    print(type(asyncio.get_running_loop()).__module__)

sys.exit(process.run("toy", lambda reader: Config(read_base(reader, "toy", "127.0.0.1:0")), serve, children=True))
"""


def test_a_service_that_starts_children_does_so_without_uvloop() -> None:
    """Which runs Python in the child between fork and exec: it could wait there for ever on a lock, and the parent
    with it.
    """
    seed, public = new_key()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "services"),
        "REEL_ENV": "local",
        "SIGNING_KEY": seed,
        "TRUSTED_KEYS": f"gateway={public}",
    }
    done = subprocess.run(
        [sys.executable, "-c", TOY], env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.startswith("asyncio."), done.stderr
