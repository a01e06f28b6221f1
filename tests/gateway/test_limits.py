"""Token buckets in bounded memory."""

from __future__ import annotations

import pytest

from chassis.faults import Fault
from gateway.http.limits import Buckets, Rate


def test_a_bucket_refills_with_time() -> None:
    now_s = [0.0]
    buckets = Buckets(Rate(per_s=2, burst=3), 100, lambda: now_s[0])
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(Fault) as caught:
        buckets.take("a")
    assert caught.value.retry_after_s == 1.0
    buckets.take("b")
    now_s[0] = 0.5
    buckets.take("a")
    with pytest.raises(Fault):
        buckets.take("a")
    now_s[0] = 1000
    for _ in range(3):
        buckets.take("a")
    with pytest.raises(Fault):
        buckets.take("a")


def test_a_refused_request_costs_nothing() -> None:
    now_s = [0.0]
    buckets = Buckets(Rate(per_s=1, burst=1), 100, lambda: now_s[0])
    buckets.take("a")
    for _ in range(50):
        with pytest.raises(Fault):
            buckets.take("a")
    now_s[0] = 1.01
    buckets.take("a")


def test_memory_is_bounded() -> None:
    buckets = Buckets(Rate(per_s=1, burst=1), 50, lambda: 0.0)
    for number in range(5000):
        buckets.take(str(number))
    assert len(buckets) == 50
