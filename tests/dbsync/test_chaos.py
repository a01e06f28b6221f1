"""Seeded chaos: the protocol as it is keeps every promise, and every broken variant is caught."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.dbsync.chaos import main, run
from tests.dbsync.mutants import MUTANTS, Mutant
from tests.dbsync.sim_record import Violation
from tests.dbsync.sim_world import NO_FAULTS, Faults

SEEDS_IN_THE_SUITE = 60
SEEDS_FOR_A_MUTANT = 60  # the first that catches it is known, and tried first


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Alarms are what mutants are for."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("first", range(0, SEEDS_IN_THE_SUITE, 10))
def test_every_promise_is_kept(first: int) -> None:
    for seed in range(first, first + 10):
        seen = run(seed)
        assert seen.acknowledged > 0 and seen.reads > 0


def test_in_peace_nothing_is_unknown() -> None:
    for seed in range(5):
        seen = run(seed, faults=NO_FAULTS)
        assert seen.unknown == 0 and seen.acknowledged > 10


def test_in_a_storm() -> None:
    storm = Faults(refused=0.2, lost_answer=0.15, late=0.15, suspended=0.1, crash=0.08)
    assert sum(run(seed, faults=storm).acknowledged for seed in range(12)) > 20


def test_the_same_seed_is_the_same_run() -> None:
    assert run(7) == run(7)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    for seed in range(mutant.seed, mutant.seed + SEEDS_FOR_A_MUTANT):
        try:
            run(seed, mutant.parts)
        except Violation:
            return
    raise AssertionError(f"{SEEDS_FOR_A_MUTANT} seeds did not catch: {mutant.name}")


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--seed", "3", "--operations", "80"]) == 0
    assert "seeds 3..4" in capsys.readouterr().out
