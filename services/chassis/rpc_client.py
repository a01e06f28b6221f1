"""A gRPC channel to another service: deadline, token and trace on every call, failures as Faults.

The channel goes idle after 25 s so that an idle service may be stopped, notices a dead peer within seconds (facts of
Fly.io: a black-holed connection otherwise holds every call to its deadline), and repeats a call that was answered
UNAVAILABLE, which is safe because every mutation carries an idempotency key. An `eager` channel leaves repeating and
waiting to its caller, who has somewhere else to go (peers.py).
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from chassis import deadlines, rpc_faults, tracing
from chassis.config import Base
from chassis.credentials import Signer
from chassis.faults import Fault, Kind

_PATIENT = {
    "methodConfig": [
        {
            "name": [{}],
            "waitForReady": True,
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ]
}
_EAGER = {"methodConfig": [{"name": [{}], "waitForReady": False}]}
# How long one try to connect may take (gRPC reads this option so). A patient channel tries again and again; for an
# eager one the first try decides, and a sleeping machine takes most of a second to wake.
_PATIENT_CONNECT_MS, _EAGER_CONNECT_MS = 50, 1500


class Channel:
    """One peer. A patient channel (the default) waits for a peer that is away, an `eager` one fails at once."""

    def __init__(
        self, address: str, *, audience: str, base: Base, max_message_bytes: int = 4 << 20, eager: bool = False
    ) -> None:
        self._audience = audience
        self._address = address
        self._signer = Signer(base.service, base.signing_key.reveal())
        self.grpc = grpc.aio.insecure_channel(
            address,
            options=(
                ("grpc.service_config", json.dumps(_EAGER if eager else _PATIENT)),
                ("grpc.client_idle_timeout_ms", 25_000),
                ("grpc.keepalive_time_ms", 10_000),
                ("grpc.keepalive_timeout_ms", 2_000),
                ("grpc.http2.ping_timeout_ms", 2_000),
                ("grpc.initial_reconnect_backoff_ms", 50),
                ("grpc.min_reconnect_backoff_ms", _EAGER_CONNECT_MS if eager else _PATIENT_CONNECT_MS),
                ("grpc.max_reconnect_backoff_ms", 500),
                ("grpc.max_receive_message_length", max_message_bytes),
                ("grpc.max_send_message_length", max_message_bytes),
            ),
        )

    async def call(self, method: Any, request: Any, *, tenant: str, timeout_s: float) -> Any:
        """The answer of a unary method of a stub over `grpc`; raises Fault.

        `tenant` goes into the token and must be the request's. Waits at most `timeout_s`, less when the caller's own
        deadline is nearer.
        """
        left = deadlines.budget_s(timeout_s)
        with tracing.span(_method_name(method), kind="client", attributes=self._attributes(method)) as span:
            try:
                response = await method(request, timeout=left, metadata=self._metadata(tenant, tracing.carrier()))
            except grpc.aio.AioRpcError as error:
                span.set("rpc.response.status_code", error.code().name)
                raise rpc_faults.from_error(error) from error
            span.set("rpc.response.status_code", "OK")
            return response

    async def stream(self, method: Any, request: Any, *, tenant: str, timeout_s: float) -> AsyncGenerator[Any, None]:
        """The answers of a streaming method; raises Fault. Close the iterator to cancel the call."""
        left = deadlines.budget_s(timeout_s)
        # Not the current span: across yields that would leak into the consumer's context.
        span = tracing.start(_method_name(method), kind="client", attributes=self._attributes(method))
        call = method(request, timeout=left, metadata=self._metadata(tenant, span.carrier()))
        try:
            async for response in call:
                yield response
            span.set("rpc.response.status_code", "OK")
        except grpc.aio.AioRpcError as error:
            span.set("rpc.response.status_code", error.code().name)
            span.fail(error.code().name)
            raise rpc_faults.from_error(error) from error
        finally:
            call.cancel()
            span.end()

    async def ready(self, timeout_s: float) -> bool:
        """Whether the peer's health service answers SERVING within `timeout_s`."""
        stub = health_pb2_grpc.HealthStub(self.grpc)
        try:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    async def lives(self, timeout_s: float) -> bool:
        """Whether anything is answered there within `timeout_s`, be it that there is too much to do."""
        stub = health_pb2_grpc.HealthStub(self.grpc)
        try:
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=timeout_s)
        except grpc.aio.AioRpcError as error:
            return error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        return True

    async def close(self) -> None:
        """Ends the connection."""
        await self.grpc.close()

    def _attributes(self, method: Any) -> dict[str, tracing.Attribute]:
        return {"rpc.system.name": "grpc", "rpc.method": _method_name(method), "server.address": self._address}

    def _metadata(self, tenant: str, carrier: dict[str, str]) -> tuple[tuple[str, str], ...]:
        token = self._signer.token(self._audience, tenant)
        return (("authorization", f"Bearer {token}"), *carrier.items())


def unanswered(fault: Fault) -> bool:
    """Whether the connection failed, and no service said this: what became of the call is not known."""
    return fault.kind is Kind.UNAVAILABLE and "grpc_code" in fault.metadata


def silence(details: str) -> Fault:
    """What a connection that failed is, for one that has not noticed yet."""
    error = grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(), details)
    return rpc_faults.from_error(error)


def _method_name(method: Any) -> str:
    raw = getattr(method, "_method", b"")
    return (raw.decode() if isinstance(raw, bytes) else str(raw)).lstrip("/")
