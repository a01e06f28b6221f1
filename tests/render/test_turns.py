"""Whose turn it is: quotas, fairness between tenants, urgency, and nobody who waits for ever."""

from __future__ import annotations

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from render.turns import PRIORITY_MS, Turns, Waiting


def filled(*jobs: Waiting, quota: int = 2) -> Turns:
    turns = Turns(quota)
    for job in jobs:
        turns.add(job)
    return turns


def job(tenant: str, name: str, *, priority: int = 0, at: int = 1000, ready_s: float = 0.0) -> Waiting:
    return Waiting(tenant, name, priority, at, ready_s)


def taken(turns: Turns, now_s: float = 0.0, now_ms: int = 5000) -> list[str]:
    """The jobs that begin while nothing ends."""
    found: list[str] = []
    while (key := turns.take(now_s, now_ms + len(found))) is not None:
        found.append(key[1])
    return found


def test_a_tenant_beyond_its_quota_lets_others_go_on() -> None:
    turns = filled(*(job("anna", f"a{n}", at=n) for n in range(5)), job("bert", "b", at=9000), quota=2)
    assert taken(turns) == ["a0", "b", "a1"]
    turns.ended("bert")
    assert taken(turns) == []
    turns.ended("anna")
    assert taken(turns) == ["a2"]


def test_tenants_take_turns() -> None:
    turns = filled(*(job("anna", f"a{n}", at=n) for n in range(4)), *(job("bert", f"b{n}", at=9 + n) for n in range(4)))
    order = []
    for now_ms in range(10_000, 18_000, 1000):
        key = turns.take(0.0, now_ms)
        assert key is not None
        order.append(key[1])
        turns.ended(key[0])
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2", "a3", "b3"]


def test_of_one_tenant_the_urgent_goes_first_and_then_the_older() -> None:
    turns = filled(job("anna", "old", at=1), job("anna", "new", at=2), job("anna", "urgent", priority=1, at=3), quota=9)
    assert taken(turns) == ["urgent", "old", "new"]


def test_between_tenants_alike_the_urgent_goes_first() -> None:
    turns = filled(job("anna", "old", at=1), job("bert", "urgent", priority=5, at=900))
    assert taken(turns) == ["urgent", "old"]


def test_urgency_is_worth_only_so_much_waiting() -> None:
    late = 1000 + 5 * PRIORITY_MS + 1
    turns = filled(job("anna", "old", at=1000), job("anna", "urgent", priority=5, at=late), quota=9)
    assert taken(turns) == ["old", "urgent"]


def test_a_pause_holds_nobody_up() -> None:
    turns = filled(job("anna", "again", ready_s=8.0), job("anna", "new", at=2000), quota=1)
    assert turns.pause_s(1.0) == 7.0
    assert taken(turns, now_s=1.0) == ["new"]
    turns.ended("anna")
    assert taken(turns, now_s=7.9) == []
    assert taken(turns, now_s=8.0) == ["again"]
    assert turns.pause_s(8.0) is None


def test_what_was_dropped_has_no_turn() -> None:
    turns = filled(job("anna", "one"), job("anna", "two", at=2000))
    turns.drop(("anna", "one"))
    turns.drop(("anna", "none"))
    assert taken(turns) == ["two"]


def test_nothing_is_remembered_of_who_is_gone() -> None:
    turns = filled(*(job(f"tenant-{n}", "one") for n in range(20)))
    for name in taken(turns):
        assert name == "one"
    for number in range(20):
        turns.ended(f"tenant-{number}")
    assert vars(turns) == vars(Turns(2))


def test_nobody_waits_for_ever() -> None:
    """Others order something urgent again and again, as soon as a worker is free; the patient one has its turn."""
    turns = filled(job("anna", "patient", priority=-3, at=0), quota=1)
    now_ms, made = 0, 0
    for _ in range(1000):
        now_ms += 1000
        for tenant in ("anna", "bert", "carl"):
            made += 1
            turns.add(Waiting(tenant, f"urgent-{made}", 5, now_ms))
        key = turns.take(0.0, now_ms)
        assert key is not None
        if key == ("anna", "patient"):
            break
        turns.ended(key[0])
    else:
        raise AssertionError("it never had its turn")
    assert now_ms >= 3 * PRIORITY_MS


@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(1, 5))
def test_whatever_happens_the_quota_holds_and_everything_has_its_turn(seed: int, quota: int, workers: int) -> None:
    rng = random.Random(seed)
    turns, running, now_s = Turns(quota), Counter[str](), 0.0
    begun: list[tuple[str, str]] = []
    waiting = [job(f"t{rng.randrange(4)}", f"j{n}", priority=rng.randint(-9, 9), at=n) for n in range(40)]
    left = list(waiting)
    while left or running.total() or len(begun) < len(waiting):
        now_s += rng.random()
        if left and rng.random() < 0.5:
            one = left.pop()
            turns.add(Waiting(one.tenant, one.job_id, one.priority, one.submitted_ms, now_s + rng.choice((0, 3))))
        if running.total() < workers and (key := turns.take(now_s, round(now_s * 1000))) is not None:
            running[key[0]] += 1
            begun.append(key)
            assert running[key[0]] <= quota
        elif running.total() < workers and not left and turns.pause_s(now_s) is None and not running.total():
            assert len(begun) == len(waiting), "a worker is free, nobody pauses, and somebody waits"
        if running.total() and rng.random() < 0.5:
            tenant = rng.choice(sorted(running.elements()))
            running[tenant] -= 1
            turns.ended(tenant)
    assert sorted(begun) == sorted(one.key for one in waiting)
