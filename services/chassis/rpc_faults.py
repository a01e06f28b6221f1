"""Faults as google.rpc.Status and back: ErrorInfo carries kind and reason, RetryInfo the wait, other details as is."""

from __future__ import annotations

import math
from typing import TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from chassis.faults import Fault, Kind

DOMAIN = "reelballers.com"

_CODES = {
    Kind.INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Kind.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Kind.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Kind.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Kind.EXISTS: grpc.StatusCode.ALREADY_EXISTS,
    Kind.CONFLICT: grpc.StatusCode.ABORTED,
    Kind.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Kind.EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Kind.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Kind.TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Kind.CANCELLED: grpc.StatusCode.CANCELLED,
    Kind.INTERNAL: grpc.StatusCode.INTERNAL,
}
_KINDS = {code: kind for kind, code in _CODES.items()}

# What a peer or the transport answers without an ErrorInfo: never its own words, which are for engineers.
_BARE = {
    Kind.UNAVAILABLE: ("service_unavailable", "A part of the service is out of reach; try again in a moment."),
    Kind.TIMEOUT: ("deadline_exceeded", "The service took too long; whether it was done is not known. Try again."),
    Kind.CANCELLED: ("cancelled", "The request was given up."),
    Kind.EXHAUSTED: ("too_much", "The request or the answer was larger than a part of the service takes."),
}

M = TypeVar("M", bound=Message)


def code(fault: Fault) -> grpc.StatusCode:
    """The gRPC status code of a fault."""
    return _CODES[fault.kind]


def to_status(fault: Fault) -> rpc_status._Status:
    """A fault as what `context.abort_with_status` takes."""
    status = status_pb2.Status(code=_CODES[fault.kind].value[0], message=fault.message)
    info = error_details_pb2.ErrorInfo(
        reason=fault.reason, domain=DOMAIN, metadata={**fault.metadata, "kind": fault.kind.value}
    )
    details: list[Message] = [info]
    if fault.retry_after_s is not None:
        whole = math.floor(fault.retry_after_s)
        delay = duration_pb2.Duration(seconds=whole, nanos=int((fault.retry_after_s - whole) * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    for message in (*details, *fault.details):
        packed = any_pb2.Any()
        packed.CopyFrom(message) if isinstance(message, any_pb2.Any) else packed.Pack(message)
        status.details.append(packed)
    return rpc_status.to_status(status)


def from_error(error: grpc.RpcError) -> Fault:
    """The fault in a failed call's answer; one of ours keeps everything, a stranger's is masked."""
    status_code = error.code() if isinstance(error, grpc.Call | grpc.aio.AioRpcError) else grpc.StatusCode.UNKNOWN
    kind = _KINDS.get(status_code, Kind.INTERNAL)
    try:
        status = rpc_status.from_call(error)
    except (ValueError, DecodeError):
        status = None
    info, retry_after_s, others = error_details_pb2.ErrorInfo(), None, []
    for packed in status.details if status else ():
        if packed.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            packed.Unpack(info)
        elif packed.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            retry = error_details_pb2.RetryInfo()
            packed.Unpack(retry)
            retry_after_s = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
        else:
            others.append(packed)
    if info.domain == DOMAIN and status is not None:
        metadata = {key: value for key, value in info.metadata.items() if key != "kind"}
        return Fault(kind, info.reason, status.message, metadata=metadata, retry_after_s=retry_after_s, details=others)
    reason, message = _BARE.get(kind, ("internal", "Something went wrong inside the service."))
    kind = kind if kind in _BARE else Kind.INTERNAL
    text = error.details() if isinstance(error, grpc.aio.AioRpcError) else ""
    return Fault(kind, reason, message, metadata={"grpc_code": status_code.name, "grpc_details": str(text)[:300]})


def detail(fault: Fault, message_type: type[M]) -> M | None:
    """The first detail of that type, whether it was added here or came over the wire."""
    for message in fault.details:
        if isinstance(message, message_type):
            return message
        if isinstance(message, any_pb2.Any) and message.TypeName() == message_type.DESCRIPTOR.full_name:
            found = message_type()
            message.Unpack(found)
            return found
    return None
