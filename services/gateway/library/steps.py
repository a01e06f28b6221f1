"""A statement of a commit together with the fault that it means when it does not find what it needs."""

from __future__ import annotations

from dataclasses import dataclass

from chassis import faults
from chassis.faults import Fault
from gateway.ports import Scalar, Statement


@dataclass(frozen=True)
class Step:
    """A statement; `unmet` is raised when its required number of rows was not met."""

    statement: Statement
    unmet: Fault | None = None


def step(sql: str, *parameters: Scalar) -> Step:
    """A statement that may touch any number of rows."""
    return Step(Statement(sql, parameters))


def one(unmet: Fault, sql: str, *parameters: Scalar) -> Step:
    """A statement that must change or return exactly one row, else the whole commit is refused with `unmet`."""
    return Step(Statement(sql, parameters, require_rows=1), unmet)


def select(sql: str, *parameters: Scalar) -> Statement:
    """A read."""
    return Statement(sql, parameters)


def missing(what: str) -> Fault:
    """The fault of an id that names nothing of this user's."""
    return faults.not_found("not_found", f"There is no such {what}; it may have been deleted.", what=what)


def full(what: str, limit: int) -> Fault:
    """The fault of a quota."""
    return faults.precondition(
        "quota_reached", f"There is room for {limit} {what}; delete some first.", quota=what, limit=str(limit)
    )
