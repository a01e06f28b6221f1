"""What an export on Modal takes and costs, reckoned from the price list."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from render.engines.capacity import (
    BOOT_S,
    CALLS_MAX,
    EXPORT,
    LIMIT_MIN_S,
    PRICES,
    Usage,
    at_once,
    cost_micros,
    expected_s,
    limit_s,
)
from render.spec import Clip, Mode, Output, Quality, Source, Spec, SpeedSpan

SOURCE = Source("games/a.mp4")


def spec(seconds: int = 60, quality: Quality = Quality.HIGH, width: int = 0, height: int = 0) -> Spec:
    output = Output("x", "a.mp4", width=width, height=height, quality=quality)
    return Spec((Clip(SOURCE, 0, seconds * 1_000_000),), output)


def test_what_is_reserved_is_paid_even_when_it_is_idle() -> None:
    paid_s = 20 + BOOT_S + EXPORT.idle_s
    dollars = EXPORT.cores * paid_s * PRICES.core_s + EXPORT.memory_mib / 1024 * paid_s * PRICES.gib_s
    assert cost_micros(Usage(20.0)) == round(dollars * 1e6)
    assert cost_micros(Usage(20.0, cpu_s=60.0, peak_mib=300.0)) == cost_micros(Usage(20.0))


def test_what_is_used_beyond_it_is_paid_too() -> None:
    more = Usage(20.0, cpu_s=160.0, peak_mib=4096.0)
    paid_s = 20 + BOOT_S + EXPORT.idle_s
    assert cost_micros(more) == round((160.0 * PRICES.core_s + 4 * paid_s * PRICES.gib_s) * 1e6)


def test_thirty_seconds_of_full_hd_cost_a_third_of_a_cent_at_most() -> None:
    assert 1000 < cost_micros(Usage(expected_s(spec(30)))) < 4000


@pytest.mark.parametrize(
    ("longer", "shorter"),
    [
        (spec(120), spec(60)),
        (spec(60), spec(60, Quality.DRAFT)),
        (spec(60, width=3840, height=2160), spec(60)),
        (spec(60), replace(spec(60), mode=Mode.INSTANT)),
        (
            replace(spec(60), clips=(Clip(SOURCE, 0, 60_000_000, (SpeedSpan(0, 20_000_000, Fraction(1, 4)),)),)),
            spec(60),
        ),
    ],
    ids=["length", "quality", "size", "mode", "slow motion"],
)
def test_what_is_more_takes_longer(longer: Spec, shorter: Spec) -> None:
    assert expected_s(longer) > expected_s(shorter) > 0


@pytest.mark.parametrize(
    ("seconds", "calls"), [(10, 1), (50, 1), (60, 3), (600, CALLS_MAX)], ids=["short", "a while", "long", "very long"]
)
def test_a_long_export_is_spread_over_several_calls(seconds: int, calls: int) -> None:
    assert at_once(spec(seconds)) == calls
    assert at_once(replace(spec(seconds), mode=Mode.INSTANT)) == 1


def test_a_limit_is_about_twice_what_is_expected_within_bounds() -> None:
    assert limit_s(spec(1), 3600) == LIMIT_MIN_S
    assert limit_s(spec(1), 60) == 60
    assert limit_s(spec(1000), 3600) == 2 * expected_s(spec(1000))
    assert limit_s(spec(100_000), 1e9) == EXPORT.timeout_s
