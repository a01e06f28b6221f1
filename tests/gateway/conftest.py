"""The fixture of the gateway's tests: it runs, over fakes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.api import Api, running


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    """A fresh gateway in the local environment."""
    async with running() as started:
        yield started
