"""Part arithmetic: plans that R2 takes, parts that add up, and what is missing said by number."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import Fault, Kind
from storage import uploads
from storage.uploads import GIB, MIB, Part, Plan

sizes = st.one_of(st.integers(1, 64 * MIB), st.integers(1, uploads.MAX_OBJECT_BYTES))
plans = st.tuples(st.integers(1, 200 * MIB), st.integers(5 * MIB, 40 * MIB)).map(lambda pair: Plan(*pair))


@given(sizes)
def test_plans_obey_the_store(size_bytes: int) -> None:
    plan = uploads.plan(size_bytes)
    assert plan.size_bytes == size_bytes
    assert uploads.MIN_PART_BYTES <= plan.part_size_bytes <= uploads.MAX_PART_BYTES
    assert 1 <= plan.part_count <= uploads.PARTS_AIMED_AT <= uploads.MAX_PARTS
    assert uploads.existing(plan.size_bytes, plan.part_size_bytes) == plan


@given(plans)
def test_parts_add_up(plan: Plan) -> None:
    found = [plan.size_of(number) for number in range(1, plan.part_count + 1)]
    assert sum(found) == plan.size_bytes
    assert all(size == plan.part_size_bytes for size in found[:-1])
    assert 1 <= found[-1] <= plan.part_size_bytes


@pytest.mark.parametrize(
    ("size_bytes", "part_mib", "count"),
    [
        (1, 8, 1),
        (8 * MIB, 8, 1),
        (8 * MIB + 1, 8, 2),
        (3 * GIB, 8, 384),
        (8000 * MIB, 8, 1000),
        (8000 * MIB + 1, 16, 501),
        (1024 * GIB, 1056, 993),
    ],
)
def test_sensible_sizes(size_bytes: int, part_mib: int, count: int) -> None:
    plan = uploads.plan(size_bytes)
    assert (plan.part_size_bytes, plan.part_count) == (part_mib * MIB, count)


@given(plans, st.data())
def test_missing_parts_are_named(plan: Plan, data: st.DataObject) -> None:
    numbers = list(range(1, plan.part_count + 1))
    lost = set(data.draw(st.lists(st.sampled_from(numbers), max_size=5)))
    wrong = set(data.draw(st.lists(st.sampled_from(numbers), max_size=2))) - lost
    have = [Part(n, plan.size_of(n) + (n in wrong), f"e{n}") for n in numbers if n not in lost]
    extra = [Part(plan.part_count + 1, 5, "beyond")]
    if not lost | wrong:
        assert plan.chosen([*reversed(have), *extra]) == have
        return
    with pytest.raises(Fault) as caught:
        plan.chosen([*have, *extra])
    assert (caught.value.kind, caught.value.reason) == (Kind.PRECONDITION, "upload_incomplete")
    assert caught.value.metadata["missing"] == uploads.spans(sorted(lost | wrong), limit=100)
    assert caught.value.metadata["missing_count"] == str(len(lost | wrong))


def test_spans() -> None:
    assert uploads.spans([]) == ""
    assert uploads.spans([1, 2, 3, 7, 9, 10]) == "1-3,7,9-10"
    assert uploads.spans([1, 3, 5], limit=2) == "1,3,…"


@pytest.mark.parametrize(
    ("size_bytes", "part_size_bytes", "reason"),
    [
        (0, 8 * MIB, "invalid_range"),
        (-1, 8 * MIB, "invalid_range"),
        (uploads.MAX_OBJECT_BYTES + 1, 8 * MIB, "object_too_large"),
        (1, 0, "invalid_range"),
        (1, 5 * MIB - 1, "invalid_range"),
        (1, 5 * GIB + 1, "invalid_range"),
        (uploads.MAX_PARTS * 5 * MIB + 1, 5 * MIB, "invalid_range"),
    ],
)
def test_what_is_no_plan(size_bytes: int, part_size_bytes: int, reason: str) -> None:
    with pytest.raises(Fault) as caught:
        uploads.existing(size_bytes, part_size_bytes)
    assert caught.value.reason == reason


def test_no_such_part() -> None:
    plan = uploads.plan(20 * MIB)
    for number in (0, -1, 4):
        with pytest.raises(Fault, match="parts are 1 to 3"):
            plan.size_of(number)
