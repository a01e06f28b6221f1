"""Fixtures of storage's tests: an object store, and the service over it behind a real gRPC server with real tokens."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.fakes.object_store import object_store as started_store
from tests.storage.running import Address, Running, running


@pytest.fixture(scope="session")
def object_store() -> Iterator[Address]:
    """The embedded store with R2's own rules, but for the second that R2 wants between two writes of a key."""
    with started_store(strict_r2=True, write_interval_s=0.0) as store:
        yield Address(store.endpoint, store.bucket, store.access_key, store.secret_key)


@pytest.fixture
async def service(object_store: Address) -> AsyncIterator[Running]:
    """The service over the embedded store, with a tenant of this test's own."""
    async with running(object_store) as started:
        yield started
