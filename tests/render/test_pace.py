"""The time that is left: of this attempt, by its own speed."""

from __future__ import annotations

import pytest

from render.pace import ENOUGH, SETTLE_S, WINDOW_S, Pace


def told(pace: Pace, *, until_s: float, speed: float, begin_s: float = 0.0, share: float = 0.0) -> list[float | None]:
    """What is told of an attempt at a steady speed, ten times a second."""
    steps = round((until_s - begin_s) * 10)
    return [pace.eta_s(begin_s + step / 10, "rendering", share + speed * step / 10) for step in range(steps + 1)]


def test_a_steady_attempt_ends_when_it_was_said_to() -> None:
    etas = told(Pace(), until_s=90, speed=0.01)
    known = [(step / 10, eta_s) for step, eta_s in enumerate(etas) if eta_s is not None]
    assert known[0][0] == pytest.approx(SETTLE_S + ENOUGH / 0.01, abs=0.2)
    assert all(at_s + eta_s == pytest.approx(100, rel=1e-6) for at_s, eta_s in known)


def test_what_was_done_before_is_no_speed() -> None:
    kept = Pace()
    assert kept.eta_s(0.0, "reading", 0.0) is None
    assert kept.eta_s(5.0, "rendering", 0.02) is None
    assert kept.eta_s(5.1, "rendering", 0.6) is None
    etas = told(kept, begin_s=5.2, until_s=15.2, speed=0.01, share=0.6)
    assert etas[-1] == pytest.approx(30, rel=1e-6)


def test_an_attempt_that_was_taken_up_again_is_reckoned_from_there() -> None:
    assert told(Pace(), until_s=10, speed=0.02, share=0.5)[-1] == pytest.approx(15, rel=1e-6)


def test_what_goes_back_begins_anew() -> None:
    pace = Pace()
    assert told(pace, until_s=40, speed=0.02)[-1] == pytest.approx(10, rel=1e-6)
    assert told(pace, begin_s=40, until_s=60, speed=0.01)[-1] == pytest.approx(80, rel=1e-6)


def test_the_last_minute_counts() -> None:
    pace = Pace()
    told(pace, until_s=10, speed=0.05)
    slow = told(pace, begin_s=10, until_s=10 + 2 * WINDOW_S, speed=0.001, share=0.5)
    assert slow[-1] == pytest.approx((0.5 - 0.001 * 2 * WINDOW_S) / 0.001, rel=0.02)


def test_what_stands_still_is_not_said_to_end() -> None:
    assert set(told(Pace(), until_s=30, speed=0.0)) == {None}
