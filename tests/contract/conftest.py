"""Runs each check that takes a `store` against every implementation of the contract that does not differ there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.targets import IMPLEMENTATIONS, MOTO_DIFFERS, Target, embedded, moto


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store" in metafunc.fixturenames:
        differs = metafunc.function.__name__ in MOTO_DIFFERS
        names = [name for name in IMPLEMENTATIONS if not (differs and name == "moto")]
        metafunc.parametrize("store", names, indirect=True)


@pytest.fixture(scope="session")
def embedded_store() -> Iterator[Target]:
    """Our own store, one for the session."""
    with embedded() as target:
        yield target


@pytest.fixture(scope="session")
def moto_store() -> Iterator[Target]:
    """moto's server, one for the session."""
    with moto() as target:
        yield target


@pytest.fixture
def store(request: pytest.FixtureRequest) -> Target:
    """An implementation with a fresh bucket."""
    target: Target = request.getfixturevalue(f"{request.param}_store")
    return target.fresh()


@pytest.fixture
def ours(embedded_store: Target) -> Target:
    """Our own store with a fresh bucket, for what only it promises."""
    return embedded_store.fresh()
