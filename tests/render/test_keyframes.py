"""Interpolation against the vectors that the browser's preview tests too, and against what it promises."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from render.keyframes import curve

VECTORS = Path(__file__).resolve().parents[1] / "vectors" / "keyframes.json"
CASES = json.loads(VECTORS.read_text())["cases"]
values = st.lists(st.floats(-1, 2), min_size=1, max_size=12)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['name']}, {case['interpolation']}")
def test_vectors(case: dict[str, list[list[float]]]) -> None:
    times, keys = zip(*case["keys"], strict=True)
    line = curve([time / 1000 for time in times], keys, smooth=case["interpolation"] == "smooth")  # type: ignore[comparison-overlap]
    for time_ms, value in case["samples"]:
        assert abs(line.at(time_ms / 1000) - value) < 1e-9, time_ms


@given(values, st.lists(st.floats(0.01, 5), min_size=12, max_size=12))
def test_smooth_passes_its_keys_and_never_leaves_the_range_between_two(keys: list[float], gaps: list[float]) -> None:
    times = [sum(gaps[: i + 1]) for i in range(len(keys))]
    line = curve(times, keys, smooth=True)
    for time, value in zip(times, keys, strict=True):
        assert abs(line.at(time) - value) < 1e-9
    for (t0, v0), (t1, v1) in pairwise(zip(times, keys, strict=True)):
        between = [line.at(t0 + (t1 - t0) * k / 20) for k in range(21)]
        assert min(v0, v1) - 1e-9 <= min(between) and max(between) <= max(v0, v1) + 1e-9
        steps = [b - a for a, b in pairwise(between)]
        assert all(step >= -1e-9 for step in steps) or all(step <= 1e-9 for step in steps)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=8))
def test_smooth_has_no_corner(keys: list[float]) -> None:
    line = curve([float(i) for i in range(len(keys))], keys, smooth=True)
    step = 1e-6
    for i in range(1, len(keys) - 1):
        before = (line.at(i) - line.at(i - step)) / step
        after = (line.at(i + step) - line.at(i)) / step
        assert abs(after - before) < 1e-3
