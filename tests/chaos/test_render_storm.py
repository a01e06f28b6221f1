"""A share of the storm, which render stands; and broken variants of it, which the storm's judge catches."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.chaos.render_storm.__main__ import run
from tests.chaos.render_storm.killer import MOMENTS
from tests.chaos.render_storm.mutants import MUTANTS
from tests.chaos.render_storm.town import Town

SEED = 1
KILLS = 5
CUSTOMERS = 2
TWICE = ("finished it, and shows", "ended more than once")
OF_A_MUTANT = {
    "acknowledges_first": (1, "rendering", ("said not to exist",)),
    "anybody_finishes": (2, "taking over", TWICE),
    "one_folder": (1, "rendering", TWICE),
}
TRIES = 3  # a kill is real, and may miss the moment in which the variant goes wrong


def test_a_share_of_the_storm(tmp_path: Path) -> None:
    town = Town(tmp_path)
    try:
        faults, counts = asyncio.run(run(town, SEED, KILLS, {**MOMENTS, "any": 0}, CUSTOMERS))
    finally:
        town.close()
    assert not faults
    assert counts["kills"] >= KILLS and counts["ended: succeeded"] and counts["jobs of several attempts"]


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_variant_is_caught(name: str, tmp_path: Path) -> None:
    kills, moment, words = OF_A_MUTANT[name]
    seen: list[str] = []
    for seed in range(SEED, SEED + TRIES):
        folder = tmp_path / str(seed)
        folder.mkdir()
        town = Town(folder, ("tests.chaos.render_storm.mutants", name))
        try:
            faults, _ = asyncio.run(run(town, seed, kills, {moment: 1}, 1, end_s=20))
        finally:
            town.close()
        if any(word in fault for fault in faults for word in words):
            return
        seen += faults
    raise AssertionError(seen[:10])
