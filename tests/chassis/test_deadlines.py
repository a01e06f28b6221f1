"""Deadlines only shrink inwards, each hop keeps its margin, and hopeless work is refused."""

from __future__ import annotations

import asyncio

import pytest

from chassis import deadlines
from chassis.faults import Fault, Kind


def test_without_a_deadline_the_default_holds() -> None:
    assert deadlines.remaining_s(5.0) == 5.0


def test_a_deadline_only_shrinks_inwards() -> None:
    with deadlines.scope(10):
        with deadlines.scope(60):
            assert deadlines.remaining_s(100) <= 10 - deadlines.MARGIN_S
        with deadlines.scope(1):
            assert deadlines.remaining_s(100) <= 1 - deadlines.MARGIN_S
        assert deadlines.remaining_s(100) > 9
    assert deadlines.remaining_s(100) == 100


def test_too_little_time_is_refused_before_the_work() -> None:
    with deadlines.scope(0.05), pytest.raises(Fault) as caught:
        deadlines.budget_s(5)
    assert caught.value.kind is Kind.TIMEOUT


async def test_background_work_is_freed_of_its_callers_deadline() -> None:
    with deadlines.scope(0.2), deadlines.unbounded():
        task = asyncio.create_task(asyncio.sleep(0, deadlines.remaining_s(50)))
    assert await task == 50
