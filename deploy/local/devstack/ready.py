"""Whether a part answers, and its way of asking."""

from __future__ import annotations

import urllib.error
import urllib.request

from devstack.settings import HOST, Settings
from devstack.table import Part

ANSWER_TIMEOUT_S = 5.0


def is_ready(part: Part) -> bool:
    """Whether a part answers as one that is ready; never raises."""
    if part.ready == "grpc":
        return _grpc_says_serving(part.port)
    try:
        with urllib.request.urlopen(f"http://{HOST}:{part.port}{part.ready}", timeout=ANSWER_TIMEOUT_S) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _grpc_says_serving(port: int) -> bool:
    # Imported only when used: a whole start asks the gateway, which asks the others.
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    try:
        with grpc.insecure_channel(f"{HOST}:{port}") as channel:
            check = health_pb2_grpc.HealthStub(channel).Check
            answer = check(health_pb2.HealthCheckRequest(), timeout=ANSWER_TIMEOUT_S)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
    except grpc.RpcError:
        return False


def is_up(settings: Settings) -> bool:
    """Whether a whole system answers on the settings' gateway port."""
    return is_ready(Part("gateway", "gateway", settings.ports["gateway"], "/readyz"))
