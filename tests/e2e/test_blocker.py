"""A blocking call planted into the real gateway's event loop is noticed: the silence of the others means something."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from devstack import settings, table
from devstack.api import connect
from devstack.settings import HOST, ROOT
from devstack.stack import Stack, base_environ

PLANTED = """
import runpy, time
from gateway.library.store import Store

read_whole = Store.read_whole

async def blocking(self, *arguments, **named):
    time.sleep(0.9)
    return await read_whole(self, *arguments, **named)

Store.read_whole = blocking
runpy.run_module("gateway", run_name="__main__")
"""


async def test_a_planted_blocker_is_noticed(shared_stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(PLANTED)
    config = settings.free(tmp_path)
    [gateway] = [part for part in table.parts(shared_stack.settings, shared_stack.keys) if part.name == "gateway"]
    port = config.ports["gateway"]
    path = f"{tmp_path}:{base_environ()['PYTHONPATH']}"
    environ = {**gateway.environ, "LISTEN": f"{HOST}:{port}", "PYTHONPATH": path, "TRACE_DIR": str(tmp_path)}
    assert ROOT.is_dir()
    second = Stack(config, parts=[replace(gateway, module="planted", port=port, environ=environ)])
    try:
        second.start()
        async with connect(config.api_origin, anonymous=True) as api:
            await api.get("/library")
    finally:
        second.stop()
    blocked = [line for line in second.log_lines("gateway") if line["message"] == "event loop blocked"]
    assert blocked and "time.sleep(0.9)" in blocked[0]["stack"]
