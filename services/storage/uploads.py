"""The arithmetic of multipart uploads: how large a part is, which parts make the object, and which are still missing.

1. Parts are equal, the last excepted, between MIN_PART_BYTES and MAX_PART_BYTES, at most MAX_PARTS: R2's rules
   (tests/storage/test_uploads.py::test_plans_obey_the_store).
2. The parts of a plan are the object: their sizes add up to its size (test_parts_add_up).
3. An upload is complete only when the store has every part with its exact size (test_missing_parts_are_named).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chassis import faults

MIB = 1 << 20
GIB = 1 << 30

MIN_PART_BYTES = 5 * MIB
MAX_PART_BYTES = 5 * GIB
MAX_PARTS = 10_000
MAX_PUT_BYTES = 5 * GIB
MAX_OBJECT_BYTES = 1024 * GIB

# 8 MiB is a minute's work on a phone's slow uplink (1.1 Mbit/s) and is lost at most once per interruption. Up to 8 GB
# that is under 1,000 parts, one page of the store's list; larger files take larger parts and stay at one page.
PART_STEP_BYTES = 8 * MIB
PARTS_AIMED_AT = 1_000


@dataclass(frozen=True)
class Part:
    """A part that the store has."""

    number: int
    size_bytes: int
    etag: str


@dataclass(frozen=True)
class Plan:
    """An object cut into equal parts, the last excepted."""

    size_bytes: int
    part_size_bytes: int

    @property
    def part_count(self) -> int:
        """How many parts, numbered from 1."""
        return -(-self.size_bytes // self.part_size_bytes)

    def size_of(self, number: int) -> int:
        """The exact size of one part; raises invalid_range when the object has no such part."""
        if not 1 <= number <= self.part_count:
            raise faults.invalid("invalid_range", f"There is no part {number}: the parts are 1 to {self.part_count}.")
        return min(self.part_size_bytes, self.size_bytes - (number - 1) * self.part_size_bytes)

    def chosen(self, parts: Iterable[Part]) -> list[Part]:
        """The parts that make the object, in order; upload_incomplete names those missing or of another size."""
        have = {part.number: part for part in parts if part.number <= self.part_count}
        whole = [n for n, part in have.items() if part.size_bytes == self.size_of(n)]
        missing = sorted(set(range(1, self.part_count + 1)).difference(whole))
        if missing:
            raise faults.precondition(
                "upload_incomplete",
                f"{len(missing)} of {self.part_count} parts are missing or of another size: {spans(missing)}.",
                missing=spans(missing, limit=100),
                missing_count=str(len(missing)),
            )
        return [have[number] for number in sorted(whole)]


def plan(size_bytes: int) -> Plan:
    """How to cut an object of this size; raises invalid_range or object_too_large."""
    _check_size(size_bytes)
    steps = -(-size_bytes // (PART_STEP_BYTES * PARTS_AIMED_AT))
    return Plan(size_bytes, steps * PART_STEP_BYTES)


def existing(size_bytes: int, part_size_bytes: int) -> Plan:
    """The plan of an upload begun earlier, maybe by an older release with other sizes; raises invalid_range."""
    _check_size(size_bytes)
    if not MIN_PART_BYTES <= part_size_bytes <= MAX_PART_BYTES:
        raise faults.invalid(
            "invalid_range", f"A part has {MIN_PART_BYTES} to {MAX_PART_BYTES} bytes, not {part_size_bytes}."
        )
    found = Plan(size_bytes, part_size_bytes)
    if found.part_count > MAX_PARTS:
        raise faults.invalid(
            "invalid_range", f"{found.part_count} parts are too many: an upload has at most {MAX_PARTS}."
        )
    return found


def spans(numbers: Sequence[int], limit: int = 10) -> str:
    """Ascending numbers as "1-3,7", at most `limit` spans and then "…"."""
    found: list[list[int]] = []
    for number in numbers:
        if found and found[-1][-1] == number - 1:
            found[-1] = [found[-1][0], number]
        else:
            found.append([number])
    texts = ["-".join(map(str, span)) for span in found[:limit]]
    return ",".join([*texts, "…"] if len(found) > limit else texts)


def _check_size(size_bytes: int) -> None:
    if size_bytes < 1:
        raise faults.invalid("invalid_range", "The size must be at least 1 byte.")
    if size_bytes > MAX_OBJECT_BYTES:
        raise faults.invalid(
            "object_too_large", f"{size_bytes} bytes are too many: an object has at most {MAX_OBJECT_BYTES}."
        )
