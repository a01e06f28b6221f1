"""The store's time through suspends, wrong clocks and clocks set right, on clocks that the test moves."""

from __future__ import annotations

from dataclasses import dataclass
from email.utils import formatdate

import pytest

from storage.store_clock import PAUSE_S, StoreClock

TRUTH = 1_800_000_000.0


@dataclass
class World:
    """The truth, a local clock that is off by some seconds, and a monotonic clock that stops while suspended."""

    truth: float = TRUTH
    off_s: float = 0.0
    monotonic: float = 50.0

    def __post_init__(self) -> None:
        self.clock = StoreClock(lambda: self.truth + self.off_s, lambda: self.monotonic)

    def passes(self, seconds: float) -> None:
        self.truth += seconds
        self.monotonic += seconds

    def suspended(self, seconds: float) -> None:
        self.truth += seconds
        self.off_s -= seconds

    def answers(self) -> None:
        self.clock.observe(formatdate(self.truth, usegmt=True))

    def error_s(self) -> float:
        return self.clock.now_s() - self.truth


def test_a_right_clock_is_used_as_it_is() -> None:
    world = World(off_s=1.5)
    world.answers()
    world.passes(10)
    assert world.error_s() == 1.5
    assert not world.clock.doubtful()


def test_before_any_answer_the_local_clock_counts() -> None:
    world = World(off_s=100)
    world.passes(5)
    assert world.error_s() == 100
    assert not world.clock.doubtful()


@pytest.mark.parametrize("off_s", [-3600.0, 30.0, 86400.0])
def test_a_wrong_clock_is_corrected(off_s: float) -> None:
    world = World(off_s=off_s)
    world.answers()
    world.passes(30)
    assert abs(world.error_s()) <= 1
    assert not world.clock.doubtful()


def test_after_a_suspend_the_time_is_doubtful_until_an_answer() -> None:
    world = World()
    world.answers()
    world.passes(PAUSE_S + 1)
    world.suspended(3600)
    assert world.clock.paused()
    assert world.clock.doubtful()
    world.answers()
    assert not world.clock.doubtful()
    assert abs(world.error_s()) <= 1


def test_a_clock_set_right_after_a_suspend() -> None:
    world = World()
    world.answers()
    world.suspended(3600)
    world.off_s = 0.0  # the host's time arrives: the local clock jumps, the monotonic one does not
    assert world.clock.doubtful()
    assert world.error_s() == 0


def test_a_clock_set_right_after_it_was_corrected() -> None:
    world = World(off_s=-3600)
    world.answers()
    world.off_s = 0.0
    assert abs(world.error_s()) <= 1  # the correction is not added to a clock that is right
    assert world.clock.doubtful()
    world.answers()
    assert not world.clock.doubtful()
    assert world.error_s() == 0


def test_a_clock_set_wrong_backwards() -> None:
    world = World()
    world.answers()
    world.passes(10)
    world.off_s = -7200
    assert world.clock.doubtful()
    assert abs(world.error_s()) <= 1


@pytest.mark.parametrize("header", ["", "yesterday", "Thu, 99 Nov 2026 25:00:00 GMT", "\x00"])
def test_what_is_no_date_is_ignored(header: str) -> None:
    world = World()
    world.clock.observe(header)
    assert world.error_s() == 0
