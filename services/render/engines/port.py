"""What jobs needs of an engine, what an engine is given for an attempt, and what it gives back.

1. An attempt's run on a remote engine outlives this process: it is taken up again by the calls that were kept
   (tests/render/test_modal_jobs.py::test_a_restart_takes_the_call_up_again).
2. Every engine makes the same files of the same work (tests/render/test_engine_contract.py).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from render.job import Failure
from render.products import Product, Survey
from render.spec import Source, Spec

Progress = Callable[[str, float], None]  # phase, progress 0 to 1

WAITING = "waiting"  # the phase of an attempt whose engine cannot be reached


class AttemptFailed(Exception):
    """An attempt told a failure, or died; `cost_micros` is what it cost in millionths of a dollar."""

    def __init__(self, failure: Failure, cost_micros: int = 0) -> None:
        super().__init__(failure.message)
        self.failure = failure
        self.cost_micros = cost_micros


@dataclass(frozen=True)
class Put:
    """Where a file may be put by HTTP, once or again, with these headers."""

    url: str
    headers: Mapping[str, str]


class Shelf(Protocol):
    """Where a job's finished chunks outlive its attempts, by file name."""

    async def there(self, names: Sequence[str]) -> set[str]:
        """Which of them stand there."""
        ...

    async def puts(self, names: Sequence[str]) -> dict[str, Put]:
        """Where they may be put."""
        ...

    async def urls(self, names: Sequence[str]) -> dict[str, str]:
        """Where they may be read."""
        ...


@dataclass(frozen=True)
class Work:
    """One attempt's work."""

    key: str  # of the attempt, unlike any other's
    spec: Spec
    spec_bytes: bytes  # the same, as it is kept
    urls: Mapping[Source, str]
    folder: Path  # local: empty, for an engine that leaves its files here
    first: bool = True  # of the job's attempts
    kept: Path | None = None  # local: where the job's finished chunks outlive its attempts, for such an engine
    # For a remote engine:
    puts: Mapping[str, Put] = field(default_factory=dict)  # by file name
    shelf: Shelf | None = None
    survey: Callable[[], Awaitable[Survey]] | None = None  # finds out what the sources are; AttemptFailed


@dataclass(frozen=True)
class Made:
    """The files of an attempt, and what they cost in millionths of a dollar."""

    products: list[Product]
    cost_micros: int = 0


class Calls(Protocol):
    """What is known of an attempt's calls to a remote engine, by part."""

    @property
    def known(self) -> Mapping[int, str]:
        """Their ids."""
        ...

    async def keep(self, part: int, call_id: str) -> None:
        """Keeps an id; it is durable when this returns."""
        ...


class Engine(Protocol):
    """Where attempts run."""

    @property
    def name(self) -> str:
        """What the contract calls it."""
        ...

    @property
    def remote(self) -> bool:
        """Whether attempts outlive this process and put their files themselves, rather than leave them in a folder."""
        ...

    @property
    def away(self) -> bool:
        """Whether it could not be reached lately."""
        ...

    @property
    def grant_s(self) -> int:
        """How long URLs must last for an attempt to end before them."""
        ...

    async def run(self, work: Work, calls: Calls, progress: Progress) -> Made:
        """The finished files; AttemptFailed. Begins the attempt, or takes it up again where it was begun before.

        Cancelling it ends a local attempt; a remote one goes on until `end`.
        """
        ...

    async def end(self, key: str, calls: Mapping[int, str]) -> None:
        """Ends what runs for an attempt, and lets nothing of it begin any more. Fault while that cannot be done."""
        ...
