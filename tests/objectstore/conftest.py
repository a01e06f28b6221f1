"""A store in a thread for the tests of what only ours does, and a raw connection to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes.object_store import ObjectStore, object_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    """A store with fault injection and few requests at once."""
    with object_store(tmp_path / "data", max_requests=64) as started:
        yield started


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[ObjectStore]:
    """A store that gives clients up soon."""
    with object_store(tmp_path / "impatient", body_idle_s=1.0, first_request_s=1.0) as started:
        yield started


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[ObjectStore]:
    """A store with R2's own rules, its second as long as any test."""
    with object_store(tmp_path / "strict", strict_r2=True, min_part_bytes=1, write_interval_s=60.0) as started:
        yield started
