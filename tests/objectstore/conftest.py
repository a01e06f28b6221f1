"""A store in a thread for the tests of what only ours does, and a raw connection to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.object_store import ObjectStore, object_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ObjectStore]:
    """A store with fault injection, fast timeouts and small parts allowed."""
    with object_store(
        tmp_path / "data", body_idle_s=0.3, first_request_s=0.3, min_part_bytes=1, max_requests=64
    ) as started:
        yield started


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[ObjectStore]:
    """A store with R2's own rules, its second shortened."""
    with object_store(tmp_path / "strict", strict_r2=True, min_part_bytes=1, write_interval_s=0.3) as started:
        yield started
