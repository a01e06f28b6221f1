"""What the store's refusals mean to a caller: S3 error codes and statuses as Faults with stable reasons."""

from __future__ import annotations

from chassis.faults import Fault, Kind

RETRY_AFTER_S = 1.0  # R2 takes one write per second and key

_NO_OBJECT = frozenset({"NoSuchKey", "404", "NotFound"})
_INCOMPLETE = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"})
_TOO_MANY = frozenset({"SlowDown", "TooManyRequests", "RequestLimitExceeded", "Throttling", "429"})
_CHANGED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412"})
MISTIMED = "RequestTimeTooSkewed"
_TRANSIENT = frozenset({"RequestTimeout", MISTIMED, "InternalError", "ServiceUnavailable", "ClientDisconnect"})


def fault(operation: str, code: str, status: int, retry_after: str = "") -> Fault:
    """The Fault for an error answer of the store.

    `code` is the one in its XML, or its status as text where an answer has no body; `status` the HTTP status.
    """
    known = {"operation": operation, "store_code": code, "store_status": str(status)}
    if code == "NoSuchUpload":
        return Fault(
            Kind.NOT_FOUND, "upload_not_found", "There is no such upload: it was completed or aborted.", metadata=known
        )
    if code == "NoSuchBucket":
        return Fault(
            Kind.INTERNAL,
            "store_unavailable",
            "The bucket does not exist; deploy/r2/setup.py creates it.",
            metadata=known,
        )
    if code in _NO_OBJECT or (status == 404 and not code):
        return Fault(Kind.NOT_FOUND, "object_not_found", "There is no object with this key.", metadata=known)
    if code in _INCOMPLETE:
        return Fault(
            Kind.PRECONDITION,
            "upload_incomplete",
            "The store does not take the parts as they are; list them and upload what is missing.",
            metadata=known,
        )
    if code == "EntityTooLarge":
        return Fault(Kind.INVALID, "object_too_large", "The object is larger than the store takes.", metadata=known)
    if code in _CHANGED or status == 412:
        return Fault(
            Kind.PRECONDITION, "precondition_failed", "The object changed meanwhile; look again.", metadata=known
        )
    if code in _TOO_MANY or status == 429:
        wait_s = float(retry_after) if retry_after.isdecimal() and int(retry_after) <= 3600 else RETRY_AFTER_S
        message = "The store takes no more requests for this at the moment; try again a little later."
        return Fault(Kind.EXHAUSTED, "rate_limited", message, metadata=known, retry_after_s=wait_s)
    if code in _TRANSIENT or (status >= 500 and status != 501):
        return Fault(Kind.UNAVAILABLE, "store_unavailable", "The store failed; try again.", metadata=known)
    # What is left says that we asked wrongly or with wrong credentials: repeating it does not help.
    return Fault(Kind.INTERNAL, "store_unavailable", "The store refused the service's request.", metadata=known)


def unreachable(operation: str, cause: str) -> Fault:
    """The Fault for a request without an answer; whether it was done is not known."""
    known = {"operation": operation, "cause": cause}
    return Fault(Kind.UNAVAILABLE, "store_unavailable", "The store did not answer; try again.", metadata=known)


def busy() -> Fault:
    """The Fault for a request that found no room to wait for the store."""
    message = "Too many requests wait for the store; try again a little later."
    return Fault(Kind.EXHAUSTED, "rate_limited", message, retry_after_s=RETRY_AFTER_S)
