"""Seeded chaos: the service as it is keeps every promise, and every broken variant is caught.

`make chaos` runs a million operations of the same; a failure here names the seed that
`python -m tests.dbsync.chaos --seed N --replay` runs again.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from tests.dbsync.chaos import catch, main, share
from tests.dbsync.mutants import MUTANTS, Mutant
from tests.dbsync.sim_coverage import KINDS
from tests.dbsync.sim_run import run
from tests.dbsync.sim_shape import WEIGHTS, Shape, shape_of
from tests.dbsync.sim_shrink import shrink
from tests.dbsync.sim_store import NO_FAULTS, Faults

SEEDS = 40
SEEDS_OF_TODAY = 12
SEEDS_FOR_A_MUTANT = 60  # the first that catches it is known, and tried first


@pytest.mark.parametrize("first", range(0, SEEDS, 5))
def test_every_promise_is_kept(first: int) -> None:
    seen, broken = share(first, 5)
    assert not broken
    assert seen["commits: done"] > 0 and seen["reads: read here"] + seen["reads: read the newest"] > 0


@pytest.mark.parametrize("part", range(3))
def test_every_promise_is_kept_today(part: int) -> None:
    today = datetime.now(UTC).toordinal() * 1000 + part * SEEDS_OF_TODAY // 3
    _, broken = share(today, SEEDS_OF_TODAY // 3)
    assert not broken


def test_in_peace_nothing_is_unknown() -> None:
    calm = {kind: weight for kind, weight in WEIGHTS.items() if kind != "delete"}
    for seed in range(3):
        seen = run(seed, shape=Shape(faults=NO_FAULTS, hasty=0.0, operations=80, weights=calm))
        assert seen["writes: given up without an answer"] == seen["faults"] == 0
        assert seen["commits: done"] > 20


def test_in_a_storm() -> None:
    storm = Faults(refused=0.2, lost_answer=0.15, late=0.15, suspended=0.1, crash=0.08, denied=0.05)
    assert sum(run(seed, shape=Shape(faults=storm, damage_s=5.0))["commits: done"] for seed in range(8)) > 10


def test_the_same_seed_is_the_same_run() -> None:
    first, again = list[str](), list[str]()
    shape = Shape(users=2, damage_s=5.0, end_s=10.0)
    assert run(7, shape=shape, lines=first) == run(7, shape=shape, lines=again)
    assert first == again


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: str(mutant.name))
def test_a_mutant_is_caught(mutant: Mutant) -> None:
    assert catch(mutant, SEEDS_FOR_A_MUTANT) is not None


def test_a_failing_run_is_made_smaller() -> None:
    mutant = next(one for one in MUTANTS if one.name == "no conflicts")
    large = replace(mutant.shape, operations=200, users=2)
    small = shrink(mutant.seed, large, mutant.patches)
    assert small is not None and small.broken and small.lines
    assert small.shape.operations < 200 and small.shape.users == 1


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    small = next(str(seed) for seed in range(1000) if (shape_of(seed).operations, shape_of(seed).users) == (100, 1))
    assert main(["--seed", small, "--operations", "80", "--processes", "1"]) == 0
    told = capsys.readouterr().out
    assert f"seeds {small}.." in told and "unrelated edits answered as stale" in told
    assert all(kind in told for kind in KINDS)
    assert main(["--seed", small, "--operations", "80", "--processes", "1", "--mutant", "no table of keys"]) == 1
    told = capsys.readouterr().out
    assert "VIOLATION seed " in told and "made smaller" in told
    seed = told.split("VIOLATION seed ")[1].split(":")[0]
    assert main(["--seed", seed, "--replay", "--mutant", "no table of keys"]) == 1
    assert f"VIOLATION seed {seed}" in capsys.readouterr().out
    assert main(["--seed", seed, "--replay"]) == 0
