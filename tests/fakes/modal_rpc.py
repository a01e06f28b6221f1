"""A gRPC server that speaks Modal's protocol from the descriptors in Modal's own wheel, with failures on request."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
import grpc.aio
from google.protobuf.message_factory import GetMessageClass
from modal_proto import api_pb2

T = TypeVar("T")

SERVICE = api_pb2.DESCRIPTOR.services_by_name["ModalClient"]
CONTAINER = str(api_pb2.CLIENT_TYPE_CONTAINER)


@dataclass
class Faults:
    """What goes wrong, by the name of an RPC: `lose` does it and answers UNAVAILABLE, `refuse` answers UNAVAILABLE and
    does nothing, each that many times. `away` refuses everything that does not come from a container.
    """

    lose: Counter[str] = field(default_factory=Counter)
    refuse: Counter[str] = field(default_factory=Counter)
    away: bool = False

    def take(self, kind: Counter[str], name: str) -> bool:
        """Whether this call is one of those."""
        if kind[name] <= 0:
            return False
        kind[name] -= 1
        return True


@dataclass(frozen=True)
class Caller:
    """Who calls: a container's task id, empty for a client."""

    task_id: str
    idempotency_key: str


class Refused(Exception):
    """An answer other than success."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class LoopThread:
    """An event loop in a thread of its own, so that what it serves outlives a test's loop."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="modal fake", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], timeout_s: float = 60) -> T:
        """Runs it there; waits for it here."""
        future: Future[T] = asyncio.run_coroutine_threadsafe(work, self.loop)
        return future.result(timeout_s)

    def stop(self) -> None:
        """Ends the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


class Handler(grpc.GenericRpcHandler):
    """Calls the method of the RPC's name on `serving`; what it has not is UNIMPLEMENTED and noted in `unknown`."""

    def __init__(self, serving: object, faults: Faults, asked: Counter[str]) -> None:
        self._serving = serving
        self._faults = faults
        self._asked = asked
        self.unknown: set[str] = set()

    def service(self, details: Any) -> Any:
        name = details.method.rpartition("/")[2]
        method = SERVICE.methods_by_name.get(name)
        do = getattr(self._serving, name, None)
        if method is None or do is None:
            self.unknown.add(name)
            return None
        read = GetMessageClass(method.input_type).FromString
        write = GetMessageClass(method.output_type).SerializeToString
        if method.server_streaming:
            return grpc.unary_stream_rpc_method_handler(self._stream(name, do), read, write)
        return grpc.unary_unary_rpc_method_handler(self._unary(name, do), read, write)

    def _unary(self, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            caller = await self._admit(name, context)
            try:
                response = await do(request, caller)
            except Refused as refused:
                await context.abort(refused.code, str(refused))
            if self._faults.take(self._faults.lose, name):
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the answer was lost")
            return response

        return answer

    def _stream(self, name: str, do: Callable[..., Any]) -> Callable[..., Any]:
        async def answer(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            caller = await self._admit(name, context)
            async for response in do(request, caller):
                yield response

        return answer

    async def _admit(self, name: str, context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
        metadata = dict(context.invocation_metadata() or ())
        inside = metadata.get("x-modal-client-type") == CONTAINER
        self._asked[name] += 1
        if (self._faults.away and not inside) or self._faults.take(self._faults.refuse, name):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the control plane does not answer")
        task_id = str(metadata.get("x-fake-task", ""))
        return Caller(task_id if inside else "", str(metadata.get("x-idempotency-key", "")))


async def listen(handler: Handler, port: int = 0) -> tuple[grpc.aio.Server, int]:
    """A server on loopback, and its port."""
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((handler,))
    bound = server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    return server, bound
