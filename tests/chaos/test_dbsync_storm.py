"""A share of the storm, which dbsync stands; and broken variants of it, which the storm's judge catches."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.storm.__main__ import PROCESSES, run
from tests.chaos.storm.fleet import Fleet
from tests.chaos.storm.mutants import MUTANTS

SEED = 1
KILLS = 12
MOST_KILLS, JUDGED_EVERY = 60, 6  # of a mutant, which is caught much sooner

WORDS = {
    "acknowledges_first": "was acknowledged",
    "overwrites": "was acknowledged",
    "believes_it_won": "was acknowledged",
    "forgets_keys": "again",
    "sees_no_conflicts": "which was stale",
    "reads_its_copy": "was due",
}


def test_a_share_of_the_storm(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, PROCESSES)
    try:
        faults, counts = asyncio.run(run(fleet, SEED, KILLS, KILLS))
    finally:
        fleet.close()
    assert not faults
    assert counts["kills"] >= KILLS and counts["acknowledged"] and counts["refused: conflict"] and counts["reads"]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_variant_is_caught(name: str, tmp_path: Path) -> None:
    fleet = Fleet(tmp_path, PROCESSES, ("tests.chaos.storm.mutants", name))
    try:
        faults, _ = asyncio.run(run(fleet, SEED, MOST_KILLS, JUDGED_EVERY))
    finally:
        fleet.close()
    assert [fault for fault in faults if WORDS[name] in fault], faults[:10]
