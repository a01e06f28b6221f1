"""Modal on loopback: its control plane, and containers that run what the real `modal deploy` deployed to it.

The client, the deploying command line and the containers' entry point are the wheel's own; this side is ours, written
from the descriptors in the wheel. What it does at a fault (an answer lost, a container that dies, one that is taken
away) is what Modal documents; that Modal itself does so is not shown here.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from aiohttp import web
from modal_proto import api_pb2

from tests.fakes.modal_fleet import Container, Fleet
from tests.fakes.modal_rpc import Caller, Faults, Handler, LoopThread, listen
from tests.fakes.modal_state import Call, Calling, Deployment, State, Storing, readable

T = TypeVar("T")

TOKEN = {"MODAL_TOKEN_ID": "ak-fake", "MODAL_TOKEN_SECRET": "as-fake"}


class _Serving:
    """Every RPC that is known, wherever it is done."""

    def __init__(self, fleet: Fleet, storing: Storing, *others: object) -> None:
        self._fleet = fleet
        self._storing = storing
        self._parts = (fleet, storing, *others)

    def __getattr__(self, name: str) -> Any:
        for part in self._parts:
            if hasattr(part, name):
                return getattr(part, name)
        raise AttributeError(name)

    async def DictUpdate(self, request: Any, caller: Caller) -> Any:
        answer = await self._storing.DictUpdate(request, caller)
        await self._fleet.written(request, caller)
        return answer


class Plane:
    """The running fake. Its methods may be called from any thread."""

    def __init__(self, folder: Path) -> None:
        self.faults = Faults()
        self.asked: Counter[str] = Counter()
        self.folder = folder
        self._thread = LoopThread()
        self.state = State(folder)
        self.url = self._thread.run(self._begin())

    async def _begin(self) -> str:
        application = web.Application(client_max_size=1 << 26)
        application.router.add_put("/{blob}", self._put_blob)
        application.router.add_get("/{blob}", self._get_blob)
        self._web = web.AppRunner(application)
        await self._web.setup()
        site = web.TCPSite(self._web, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.fleet = Fleet(self.state)
        self.calling = Calling(self.state)
        storing = Storing(self.state, f"http://127.0.0.1:{port}")
        serving = _Serving(self.fleet, storing, self.calling, Deployment(self.state))
        self.handler = Handler(serving, self.faults, self.asked)
        self._server, grpc_port = await listen(self.handler)
        self.fleet.url = f"http://127.0.0.1:{grpc_port}"
        self._running = asyncio.create_task(self.fleet.run())
        return self.fleet.url

    async def _put_blob(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.state.blobs[request.match_info["blob"]] = body
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return web.Response(headers={"ETag": f'"{digest}"'})

    async def _get_blob(self, request: web.Request) -> web.Response:
        return web.Response(body=self.state.blobs[request.match_info["blob"]])

    def close(self) -> None:
        """Ends containers and servers."""

        async def end() -> None:
            self._running.cancel()
            await self.fleet.stop()
            await self._server.stop(0)
            await self._web.cleanup()

        self._thread.run(end())
        self._thread.stop()

    def settings(self) -> dict[str, str]:
        """What makes Modal's client and command line talk to this one."""
        return {**TOKEN, "MODAL_SERVER_URL": self.url, "MODAL_CONFIG_PATH": str(self.folder / "none.toml")}

    def reset(self) -> None:
        """Forgets faults, calls and Dicts; containers stay warm."""

        def forget() -> None:
            self.faults.lose.clear()
            self.faults.refuse.clear()
            self.faults.away = False
            self.fleet.held, self.fleet.kill_at = False, ""
            self.fleet.let.clear()
            self.calling.tells_repeated = False
            self.calling.answered.clear()
            self.state.dicts.clear()
            self.state.calls.clear()

        self._do(forget)

    def hold(self, held: bool) -> None:
        """Lets every call wait for a container, or no more."""
        self.fleet.held = held

    def let(self, call: Call) -> None:
        """Lets one call be begun though all others are held."""
        self.fleet.let.add(call.call_id)

    def calls(self) -> list[Call]:
        """All calls, in the order they were made."""
        return list(self.state.calls.values())

    def board(self) -> dict[str, Any]:
        """Everything that stands in Dicts."""
        return {key: value for there in list(self.state.dicts.values()) for key, value in readable(there).items()}

    def container(self, call: Call) -> Container | None:
        """Which works on a call."""
        return self.fleet.containers.get(call.task_id)

    def kill(self, call: Call) -> None:
        """SIGKILL to the container that works on a call."""
        container = self.container(call)
        assert container is not None
        self._thread.run(self.fleet.kill(container))

    def freeze(self, call: Call) -> None:
        """The container that works on a call stands still."""
        container = self.container(call)
        assert container is not None
        container.frozen = True
        os.killpg(container.process.pid, signal.SIGSTOP)

    def preempt(self, call: Call) -> None:
        """Takes the machine of a call away in order."""
        self._thread.run(self.fleet.preempt(call.call_id))

    def forget(self, call: Call) -> None:
        """A call's output has expired."""
        call.forgotten = True

    def time_out(self, call: Call) -> None:
        """A call ran into the function's own limit."""
        result = api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT, exception="too long")
        call.output = api_pb2.FunctionGetOutputsItem(result=result, input_id=call.input_id)

    def logs(self) -> str:
        """What containers said."""
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log")))

    def _do(self, work: Callable[[], T]) -> T:
        async def do() -> T:
            return work()

        return self._thread.run(do())


@contextmanager
def modal_plane(folder: Path) -> Iterator[Plane]:
    """A fake Modal until the context ends, with nothing deployed."""
    plane = Plane(folder)
    try:
        yield plane
    finally:
        plane.close()
