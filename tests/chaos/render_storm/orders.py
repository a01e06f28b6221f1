"""What customers ordered of render, and everything that they were told of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED = "queued", "running", "succeeded", "failed", "cancelled"
OVER = (SUCCEEDED, FAILED, CANCELLED)


@dataclass(frozen=True)
class Shown:
    """An output as a job shows it."""

    name: str
    key: str
    size_bytes: int
    etag: str
    frames: int
    poster_key: str


@dataclass(frozen=True)
class Ending:
    """What of a job never changes once it is over."""

    state: str
    attempt: int
    outputs: tuple[Shown, ...] = ()
    code: str = ""


@dataclass(frozen=True)
class Reading:
    """A job as a process told it; `life` is the number of the process."""

    life: int
    state: str
    attempt: int
    progress: float
    sequence: int
    phase: str
    ending: Ending | None = None


@dataclass
class Order:
    """A job that somebody asked for."""

    tenant: str
    job_id: str
    folder: str
    frames: Mapping[str, int]  # of each output, by name
    poster: bool = False
    hopeless: bool = False  # its source is not there
    acknowledged: bool = False
    cancel_asked: bool = False
    cancel_answer: Ending | None = None
    readings: list[Reading] = field(default_factory=list)  # in the order in which they were told
    unknown_after: int = 0  # times that it was said not to exist, after it was acknowledged

    @property
    def ending(self) -> Ending | None:
        """How it ended, as was told first."""
        return next((one.ending for one in self.readings if one.ending is not None), None)

    @property
    def attempts(self) -> int:
        """How many attempts were told of."""
        return max((one.attempt for one in self.readings), default=0)


@dataclass(frozen=True)
class Object:
    """What stands in the bucket at an output's key; `frames` of it were decoded, -1 when it is no video."""

    size_bytes: int
    etag: str
    frames: int


@dataclass(frozen=True)
class Account:
    """What is there in the end: the jobs after everything was started once more, and the bucket."""

    endings: Mapping[str, Ending | None]  # by job id
    listed: Mapping[str, int]  # how often each job id is listed
    objects: Mapping[tuple[str, str], Object]  # by tenant and key
