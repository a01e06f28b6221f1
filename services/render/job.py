"""A job and what may become of it. Pure.

1. A job ends once: a terminal state never changes (tests/render/test_ledger.py).
2. Its attempt only rises; only the newest attempt can finish it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

ENGINE_AWAY = "engine_away"  # the code of an attempt that its engine never did: it counts as an interruption


class State(StrEnum):
    """Where a job is."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether it is over."""
        return self in (State.SUCCEEDED, State.FAILED, State.CANCELLED)


@dataclass(frozen=True)
class Finished:
    """An output object that stands in the store."""

    name: str
    key: str
    size_bytes: int
    etag: str
    content_type: str
    duration_us: int
    width: int
    height: int
    fps: Fraction
    frames: int
    poster_key: str


@dataclass(frozen=True)
class Failure:
    """Why an attempt did not succeed."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True)
class Job:
    """A job as its ledger row says; `transitions` counts the row's changes."""

    tenant: str
    job_id: str
    state: State
    attempt: int
    transitions: int
    priority: int
    submitted_ms: int
    started_ms: int = 0
    finished_ms: int = 0
    failure: Failure | None = None
    outputs: tuple[Finished, ...] = ()
    engine: str = "local"  # of its newest attempt


@dataclass(frozen=True)
class Ended:
    """How an attempt ended: with outputs or a failure, and what it cost in millionths of a dollar."""

    outputs: tuple[Finished, ...] = ()
    failure: Failure | None = None
    cost_micros: int = 0


@dataclass(frozen=True)
class Stray:
    """An attempt on a remote engine that nobody waits for any more and that may still run, with its calls by part."""

    tenant: str
    job_id: str
    attempt: int
    engine: str
    calls: Mapping[int, str]


@dataclass(frozen=True)
class Live:
    """What is known of a job beyond its row, while this process works on it; `ticks` counts the changes."""

    phase: str
    progress: float
    eta_s: float | None
    ticks: int


def attempt_key(tenant: str, job_id: str, attempt: int) -> str:
    """What an attempt is called outside of the ledger."""
    return f"{tenant}/{job_id}/{attempt}"


def retry_delay_s(attempt: int) -> float:
    """How long to wait before the next attempt: 2 s, then 8 s, then 32 s."""
    return float(2 * 4 ** (attempt - 1))
