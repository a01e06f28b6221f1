"""Render jobs as the product sees them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class JobState(StrEnum):
    """A job's state; the last three are terminal."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})


@dataclass(frozen=True)
class JobOutput:
    """A video that a job made; `name` is the specification's."""

    name: str
    key: str
    poster_key: str
    content_type: str
    etag: str
    size_bytes: int
    duration_us: int
    width: int
    height: int
    fps: float


@dataclass(frozen=True)
class JobError:
    """Why a job failed."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True)
class Job:
    """A render job at a moment; `sequence` rises with every change."""

    job_id: str
    state: JobState
    progress: float
    eta_s: float | None
    phase: str
    sequence: int
    outputs: tuple[JobOutput, ...] = ()
    error: JobError | None = None

    @property
    def terminal(self) -> bool:
        """Whether it will not change again."""
        return self.state in TERMINAL
