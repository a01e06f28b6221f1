"""Faults on demand, for tests: refusals, delays, late writes, and answers lost after the write took place."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

STAGES = ("before", "commit", "after")
CODES = {429: "TooManyRequests", 500: "InternalError", 503: "SlowDown", 507: "InsufficientStorage"}


@dataclass(frozen=True)
class Fault:
    """What goes wrong, where, for whom and how often.

    `stage`: "before" anything is done; "commit", the body received but nothing written; "after" it is all done, before
    the answer. `delay_s` passes first; then `status` answers that instead, or `drop` cuts the connection. At "commit"
    `drop` cuts it *and the write still happens*, after `delay_s`: a write that arrives late, from a client long gone.
    `method`, `bucket` and `key_prefix` choose the requests (empty: all); `skip` leaves the first ones alone; `count` is
    how many it strikes (None: all).
    """

    stage: str = "before"
    delay_s: float = 0.0
    status: int = 0
    drop: bool = False
    method: str = ""
    bucket: str = ""
    key_prefix: str = ""
    skip: int = 0
    count: int | None = 1

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ValueError(f"stage must be one of {', '.join(STAGES)}")
        if self.status and self.status not in CODES:
            raise ValueError(f"status must be 0 or one of {', '.join(map(str, CODES))}")
        if self.status and self.drop:
            raise ValueError("a fault answers a status or drops the connection, not both")
        if not 0 <= self.delay_s <= 3600 or self.skip < 0 or (self.count is not None and self.count < 1):
            raise ValueError("delay_s must be 0 to 3600, skip at least 0, count at least 1 or None")

    @property
    def code(self) -> str:
        return CODES[self.status]

    def strikes(self, method: str, bucket: str, key: str) -> bool:
        return self.method in ("", method) and self.bucket in ("", bucket) and key.startswith(self.key_prefix)


@dataclass
class _Armed:
    fault: Fault
    skip: int
    left: int | None
    struck: int = 0


class Faults:
    """The faults that are armed; may be changed from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._armed: dict[int, _Armed] = {}

    def add(self, fault: Fault | None = None, **fields: object) -> int:
        """Arms a fault (given whole or by its fields); returns the number to remove it by."""
        chosen = fault if fault is not None else replace(Fault(), **fields)  # type: ignore[arg-type]
        with self._lock:
            number = next(self._numbers)
            self._armed[number] = _Armed(chosen, chosen.skip, chosen.count)
            return number

    def remove(self, number: int) -> None:
        with self._lock:
            self._armed.pop(number, None)

    def clear(self) -> None:
        with self._lock:
            self._armed.clear()

    def struck(self, number: int) -> int:
        """How many requests the fault has struck."""
        with self._lock:
            armed = self._armed.get(number)
            return armed.struck if armed else 0

    def describe(self) -> list[Mapping[str, object]]:
        with self._lock:
            return [{"id": n, "struck": a.struck, "left": a.left, **asdict(a.fault)} for n, a in self._armed.items()]

    def choose(self, method: str, bucket: str, key: str) -> list[Fault]:
        """The faults that strike this request, counted as struck: every matching delay, one refusal per stage."""
        chosen: list[Fault] = []
        if not self._armed:
            return chosen
        with self._lock:
            for armed in self._armed.values():
                fault = armed.fault
                if armed.left == 0 or not fault.strikes(method, bucket, key):
                    continue
                ends = fault.status or fault.drop
                if ends and any(f.stage == fault.stage and (f.status or f.drop) for f in chosen):
                    continue
                if armed.skip > 0:
                    armed.skip -= 1
                    continue
                if armed.left is not None:
                    armed.left -= 1
                armed.struck += 1
                chosen.append(fault)
        return chosen
