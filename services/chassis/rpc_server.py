"""The gRPC server of a service: what happens around every call, before and after its handler.

For each call, in this order: a server span that continues the caller's trace; the deadline, refused when too little
is left; the token; the request's tenant against the token's; the service's own `authorize`; the handler; its Fault as
a rich status. What is not a Fault is a bug: logged with its trace, answered INTERNAL without its words.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, NoReturn

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from chassis import deadlines, faults, rpc_faults, tracing
from chassis.config import Base
from chassis.credentials import Caller, Verifier
from chassis.faults import Fault, Kind

log = logging.getLogger(__name__)

HEALTH_PREFIX = "/grpc.health.v1.Health/"
STOP_GRACE_S = 10.0

Authorize = Callable[[Caller, Any], None]
Context = grpc.aio.ServicerContext[Any, Any]
Handler = Callable[[Any, Context], Any]


class Around(grpc.aio.ServerInterceptor):
    """Wraps every handler but health's."""

    def __init__(self, service: str, verifier: Verifier, authorize: Authorize) -> None:
        self._service = service
        self._verifier = verifier
        self._authorize = authorize

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(HEALTH_PREFIX):
            return handler
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._unary(method, handler.unary_unary), **codec)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._stream(method, handler.unary_stream), **codec)
        raise TypeError(f"{method}: requests that stream are not served")

    def _unary(self, method: str, handler: Handler) -> Handler:
        async def call(request: Any, context: Context) -> Any:
            with _Call(self._service, method, context) as outcome:
                try:
                    with deadlines.scope(_time_left(context)):
                        self._admit(request, context)
                        return await handler(request, context)
                except BaseException as error:
                    fault = outcome.failed(error)
                return await _refuse(context, fault)

        return call

    def _stream(self, method: str, handler: Handler) -> Handler:
        # A coroutine that writes, not a generator: when the client goes away, a generator is closed by the collector,
        # in another context than the one in which its span and deadline were set.
        async def call(request: Any, context: Context) -> None:
            with _Call(self._service, method, context) as outcome:
                try:
                    with deadlines.scope(_time_left(context)):
                        self._admit(request, context)
                        async with aclosing(handler(request, context)) as responses:
                            async for response in responses:
                                await context.write(response)
                        return
                except BaseException as error:
                    fault = outcome.failed(error)
                await _refuse(context, fault)

        return call

    def _admit(self, request: Any, context: Context) -> None:
        deadlines.budget_s(3600.0)
        scheme, _, token = _metadata(context).get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise faults.unauthenticated(
                "no_token", "The call carries no token; every call between services needs one."
            )
        caller = self._verifier.verify(token)
        fields = request.DESCRIPTOR.fields_by_name
        named = request.tenant if "tenant" in fields else request.database if "database" in fields else None
        if named is None or named != caller.tenant:
            raise faults.forbidden("wrong_tenant", "The call's token is for another tenant than its request.")
        self._authorize(caller, request)


class _Call:
    """One call's span and how it ended."""

    def __init__(self, service: str, method: str, context: Context) -> None:
        self._name = method.lstrip("/")
        attributes = {"rpc.system.name": "grpc", "rpc.method": self._name}
        self._context = tracing.span(self._name, kind="server", attributes=attributes, parent=_metadata(context))
        self._status = "OK"

    def __enter__(self) -> _Call:
        self._span = self._context.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        self._span.set("rpc.response.status_code", self._status)
        # grpc's own abort travels as an exception: the span has its status already.
        self._context.__exit__(None, None, None)

    def failed(self, error: BaseException) -> Fault:
        """The fault to answer; cancellation and exits go on as they are."""
        if isinstance(error, Fault):
            fault = error
        elif isinstance(error, asyncio.CancelledError | GeneratorExit):
            self._status = "CANCELLED"
            raise error
        elif isinstance(error, grpc.aio.AbortError) or not isinstance(error, Exception):
            raise error
        else:
            log.error("%s failed: %s", self._name, error, exc_info=error)
            fault = Fault(Kind.INTERNAL, "internal", "Something went wrong inside the service.")
        self._status = rpc_faults.code(fault).name
        if fault.kind in (Kind.INTERNAL, Kind.UNAVAILABLE, Kind.TIMEOUT):
            self._span.fail(f"{fault.reason}: {fault.message}")
        self._span.set("error.type", fault.reason)
        return fault


async def _refuse(context: Context, fault: Fault) -> NoReturn:
    await context.abort_with_status(rpc_faults.to_status(fault))
    raise AssertionError("abort always raises")


def _metadata(context: Context) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _time_left(context: Context) -> float:
    left: Any = context.time_remaining()  # None without a deadline, whatever the stubs say
    if left is None or left > 86400 * 365:
        raise faults.invalid("no_deadline", "The call has no deadline; every call between services needs one.")
    return float(left)


class Server:
    """A gRPC server with health; register servicers on `grpc`, then `start`."""

    def __init__(self, server: grpc.aio.Server, listen: str, services: Sequence[str]) -> None:
        self.grpc = server
        self._listen = listen
        self._services = services
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)

    async def start(self) -> int:
        """Listens and reports SERVING; returns the bound port. OSError when the address is taken."""
        try:
            port = self.grpc.add_insecure_port(self._listen)
        except RuntimeError as error:
            raise OSError(f"cannot listen on {self._listen}: is it taken by another program?") from error
        await self.grpc.start()
        for service in ("", *self._services):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        log.info("listening", extra={"listen": self._listen, "port": port})
        return port

    async def stop(self) -> None:
        """Reports NOT_SERVING, then lets calls under way end for STOP_GRACE_S."""
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(STOP_GRACE_S)


def create(
    base: Base,
    *,
    authorize: Authorize,
    services: Sequence[str],
    max_message_bytes: int = 4 << 20,
    max_concurrent: int = 256,
) -> Server:
    """A server for `base.service` on `base.listen`.

    `authorize(caller, request)` raises a Fault for a caller that may not make this request. At most `max_concurrent`
    calls run at once; more are answered RESOURCE_EXHAUSTED. Messages over `max_message_bytes` are refused.
    """
    around = Around(base.service, Verifier(base.service, base.trusted_keys), authorize)
    server = grpc.aio.server(
        interceptors=(around,),
        maximum_concurrent_rpcs=max_concurrent,
        options=(
            ("grpc.max_receive_message_length", max_message_bytes),
            ("grpc.max_send_message_length", max_message_bytes),
            ("grpc.so_reuseport", 0),  # a second process on the same port is a mistake, and must fail
            ("grpc.http2.min_recv_ping_interval_without_data_ms", 5000),
            ("grpc.keepalive_permit_without_calls", 0),
        ),
    )
    return Server(server, base.listen, services)
