"""Whose turn it is: which waiting job begins next. Pure; the clocks are the caller's.

Each holds by a test of tests/render/test_turns.py.

1. Never do more jobs of one tenant run than its quota, and no tenant's wait keeps a worker from others
   (test_a_tenant_beyond_its_quota_lets_others_go_on).
2. Of tenants, the one with the fewest running goes first; of as many, the one whose turn was longest ago
   (test_tenants_take_turns).
3. Within a tenant the most urgent goes first, and so it does between tenants who are otherwise alike: a step of
   priority counts as PRIORITY_MS of waiting, so that nothing waits for ever (test_nobody_waits_for_ever).
4. A job that pauses before it is tried again is nobody's turn, and takes nobody's (test_a_pause_holds_nobody_up).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

PRIORITY_MS = 6_000  # of waiting that a step of priority is worth: the most urgent passes the least by 20 minutes

Key = tuple[str, str]  # tenant, job id


@dataclass(frozen=True)
class Waiting:
    """A job that waits; not before `ready_s` on the clock that `Turns.take` is given."""

    tenant: str
    job_id: str
    priority: int
    submitted_ms: int
    ready_s: float = 0.0

    @property
    def key(self) -> Key:
        """What it is called."""
        return self.tenant, self.job_id

    @property
    def since_ms(self) -> int:
        """Since when it waits, priority reckoned as waiting."""
        return self.submitted_ms - PRIORITY_MS * self.priority


class Turns:
    """The jobs that wait, and how many of each tenant run."""

    def __init__(self, quota: int) -> None:
        self._quota = quota
        self._waiting: dict[Key, Waiting] = {}
        self._running: dict[str, int] = {}
        self._last_ms: dict[str, int] = {}  # of each tenant that has something here, when its last turn was

    def add(self, one: Waiting) -> None:
        """A job waits, or waits otherwise than before."""
        self._waiting[one.key] = one

    def drop(self, key: Key) -> None:
        """A job waits no more."""
        self._waiting.pop(key, None)
        self._forget(key[0])

    def take(self, now_s: float, now_ms: int) -> Key | None:
        """The job whose turn it is, running from now on until `ended`; None while it is nobody's."""
        chosen = min(self._heads(now_s), key=self._order, default=None)
        if chosen is None:
            return None
        del self._waiting[chosen.key]
        self._running[chosen.tenant] = self._running.get(chosen.tenant, 0) + 1
        self._last_ms[chosen.tenant] = now_ms
        return chosen.key

    def ended(self, tenant: str) -> None:
        """A running job of a tenant runs no more."""
        self._running[tenant] -= 1
        self._forget(tenant)

    def pause_s(self, now_s: float) -> float | None:
        """How long until a pause ends that may make it somebody's turn; None when there is none."""
        later = [one.ready_s - now_s for one in self._waiting.values() if one.ready_s > now_s]
        return min(later, default=None)

    def _heads(self, now_s: float) -> Iterable[Waiting]:
        """The first of each tenant that may run one more."""
        heads: dict[str, Waiting] = {}
        for one in self._waiting.values():
            if one.ready_s <= now_s and self._running.get(one.tenant, 0) < self._quota:
                head = heads.get(one.tenant)
                if head is None or _within(one) < _within(head):
                    heads[one.tenant] = one
        return heads.values()

    def _order(self, one: Waiting) -> tuple[int, int, int, str]:
        turn_ms = max(one.submitted_ms, self._last_ms.get(one.tenant, 0)) - PRIORITY_MS * one.priority
        return self._running.get(one.tenant, 0), turn_ms, one.submitted_ms, one.job_id

    def _forget(self, tenant: str) -> None:
        if not self._running.get(tenant):
            self._running.pop(tenant, None)
            if not any(key[0] == tenant for key in self._waiting):
                self._last_ms.pop(tenant, None)


def _within(one: Waiting) -> tuple[int, int, str]:
    return one.since_ms, one.submitted_ms, one.job_id
