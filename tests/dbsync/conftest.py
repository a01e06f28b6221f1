"""Fixtures of dbsync's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis import ids
from tests.dbsync.world import Machine
from tests.fakes.object_store import ObjectStore, object_store


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A store in memory, and copies of its database on disk."""
    made = Machine(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def bucket() -> Iterator[ObjectStore]:
    """The embedded object store; tests use databases of their own in it."""
    with object_store() as store:
        yield store


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """A database that no other test uses."""
    return f"t-{ids.uuid7()}"
