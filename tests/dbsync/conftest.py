"""Fixtures of dbsync's tests; what takes a `bucket` runs over each object store: ours, and moto as another opinion."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chassis import ids
from tests.dbsync.world import Machine
from tests.fakes.moto_store import MOTO_LACKS, moto_store
from tests.fakes.object_store import ObjectStore, object_store

STORES = ("embedded", "moto")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", choices=STORES, help="over this object store alone")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bucket" in metafunc.fixturenames:
        only = metafunc.config.getoption("--store", None)
        lacks = metafunc.function.__name__ in MOTO_LACKS
        names = [name for name in STORES if only in (None, name) and not (lacks and name == "moto")]
        metafunc.parametrize("bucket", names, indirect=True)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A store in memory, and copies of its database on disk."""
    made = Machine(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def embedded_bucket() -> Iterator[ObjectStore]:
    """The embedded object store, one for the session."""
    with object_store() as store:
        yield store


@pytest.fixture(scope="session")
def moto_bucket() -> Iterator[ObjectStore]:
    """moto, one for the session."""
    with moto_store() as store:
        yield store


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> ObjectStore:
    """An object store; tests use databases of their own in it."""
    store: ObjectStore = request.getfixturevalue(f"{request.param}_bucket")
    return store


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """A database that no other test uses."""
    return f"t-{ids.uuid7()}"
