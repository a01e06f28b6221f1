"""Storage as a process: ready, served over its port, ended by SIGTERM, and clear about settings that are wrong."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

from chassis import rpc_client
from chassis.config import Secret
from reel.storage.v1 import storage_pb2 as pb
from reel.storage.v1 import storage_pb2_grpc
from tests.storage.running import BASE, ISSUERS, Address

ROOT = Path(__file__).parents[2]
BARE = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'services'}:{ROOT / 'protos/gen'}"}


def settings(address: Address) -> dict[str, str]:
    """What the process is told."""
    return {
        **BARE,
        "REEL_ENV": "local",
        "LISTEN": "127.0.0.1:0",
        "SIGNING_KEY": BASE.signing_key.reveal(),
        "TRUSTED_KEYS": ",".join(f"{issuer}={key}" for issuer, key in BASE.trusted_keys.items()),
        "R2_ENDPOINT_URL": address.url,
        "R2_ACCESS_KEY_ID": address.access_key_id,
        "R2_SECRET_ACCESS_KEY": address.secret_access_key,
        "R2_BUCKET_NAME": address.bucket,
    }


async def start(environment: dict[str, str]) -> asyncio.subprocess.Process:
    """The process; its log and its errors come by one pipe."""
    pipe, one = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "storage", env=environment, stdout=pipe, stderr=one, cwd=ROOT
    )


async def listening(process: asyncio.subprocess.Process) -> int:
    """The port, once the process says it."""
    assert process.stdout
    said = ""
    async for line in process.stdout:
        said += line.decode()
        if b'"port"' in line:
            return int(json.loads(line)["port"])
    raise AssertionError(said)


async def test_a_life(object_store: Address) -> None:
    process = await start(settings(object_store))
    try:
        port = await asyncio.wait_for(listening(process), 60)
        base = replace(BASE, service="gateway", signing_key=Secret(ISSUERS["gateway"][0]))
        channel = rpc_client.Channel(f"127.0.0.1:{port}", audience="storage", base=base)
        assert await channel.ready(60)
        stub = storage_pb2_grpc.StorageServiceStub(channel.grpc)
        request = pb.GetUsageRequest(tenant="nobody-yet")
        used = await channel.call(stub.GetUsage, request, tenant="nobody-yet", timeout_s=60)
        assert used.objects == 0
        assert len(used.areas) == 6
        await channel.close()
        process.send_signal(signal.SIGTERM)
        said, _ = await asyncio.wait_for(process.communicate(), 60)
        assert process.returncode == 0, said.decode()
        assert object_store.secret_access_key not in said.decode()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_wrong_settings_are_all_said() -> None:
    process = await start(BARE)
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 78
    for name in ("SIGNING_KEY", "R2_ENDPOINT_URL", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_BUCKET_NAME"):
        assert name in said.decode()
