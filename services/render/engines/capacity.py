"""What a container on Modal has, what that costs, and how long an export takes there. Pure.

The deployed app (deploy/modal) and the service that calls it read the same figures here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from render.spec import Mode, Quality, Spec

MICRO = 1_000_000
MIB_PER_GIB = 1024


@dataclass(frozen=True)
class Capacity:
    """Of one container: what is reserved, and the most that it may use."""

    cores: float
    cores_max: float
    memory_mib: int
    memory_max_mib: int
    containers_max: int
    timeout_s: int  # Modal ends an input that runs longer
    startup_s: int  # and a container that is not ready for one
    idle_s: int  # that a container waits for more, and is paid for it


@dataclass(frozen=True)
class Prices:
    """Dollars on a price list."""

    as_of: str
    core_s: float
    gib_s: float


@dataclass(frozen=True)
class Usage:
    """What an attempt used of a container."""

    wall_s: float
    cpu_s: float = 0.0
    peak_mib: float = 0.0


_LIMITS = {"timeout_s": 4 * 3600, "startup_s": 300, "idle_s": 5}
EXPORT = Capacity(cores=4.0, cores_max=8.0, memory_mib=2048, memory_max_mib=6144, containers_max=10, **_LIMITS)
# Of one that renders chunks one after the other: a process that draws, and x264 on two cores.
CHUNK = Capacity(cores=2.0, cores_max=4.0, memory_mib=1024, memory_max_mib=4096, containers_max=24, **_LIMITS)
PRICES = Prices(as_of="2026-07", core_s=0.0000131, gib_s=0.00000222)

BOOT_S = 4.0  # a container's start, paid for
LIMIT_MIN_S = 600.0  # for footage that is slow to read, whatever its length
CHUNK_ABOVE_S = 60.0  # what one container does in less is not worth the starts of several
CHUNK_EACH_S = 30.0
CALLS_MAX = 8  # for the chunks of an export
_PIXELS = 1920 * 1080
_FPS = 30
# Seconds that a second of 1080p30 takes on the cores reserved: x264's speed, mostly.
_EFFORT = {Quality.DRAFT: 0.3, Quality.STANDARD: 0.6, Quality.HIGH: 1.0}
_INSTANT_EFFORT = 0.02
_BEGIN_S = 8.0  # start, probing, joining, uploading


def cost_micros(usage: Usage, capacity: Capacity = EXPORT, prices: Prices = PRICES) -> int:
    """An estimate in millionths of a dollar: of each thing the larger of reserved and used, for as long as it ran."""
    paid_s = usage.wall_s + BOOT_S + capacity.idle_s
    core_s = max(capacity.cores * paid_s, usage.cpu_s)
    gib = max(capacity.memory_mib, usage.peak_mib) / MIB_PER_GIB
    return round(MICRO * (core_s * prices.core_s + gib * paid_s * prices.gib_s))


def expected_s(spec: Spec) -> float:
    """How long an export takes in a container, about, before anything is known of its sources."""
    effort = _INSTANT_EFFORT if spec.mode is Mode.INSTANT else _EFFORT[spec.output.quality]
    size = spec.output.width * spec.output.height or _PIXELS
    fps = spec.output.fps or Fraction(_FPS)
    return _BEGIN_S + effort * _duration_s(spec) * size / _PIXELS * float(fps) / _FPS


def at_once(spec: Spec) -> int:
    """Over how many containers an export's chunks are spread; 1 for one that is done soon enough by one container."""
    alone_s = expected_s(spec)
    if alone_s <= CHUNK_ABOVE_S or spec.mode is Mode.INSTANT:
        return 1
    return min(CALLS_MAX, math.ceil(alone_s / CHUNK_EACH_S))


def limit_s(spec: Spec, most_s: float) -> float:
    """When an attempt has taken too long: about twice what is expected, within bounds."""
    return min(most_s, EXPORT.timeout_s, max(LIMIT_MIN_S, 2 * expected_s(spec)))


def _duration_s(spec: Spec) -> float:
    """Of the output, dissolves left aside."""
    total_us = Fraction(0)
    for clip in spec.clips:
        total_us += clip.out_us - clip.in_us
        for span in clip.speed_spans:
            length_us = span.to_us - span.from_us
            total_us += length_us / span.rate - length_us
    return float(total_us) / MICRO


def usage_of(told: Mapping[str, float]) -> Usage:
    """A container's own account."""
    return Usage(wall_s=told["wall_s"], cpu_s=told["cpu_s"], peak_mib=told["peak_mib"])
