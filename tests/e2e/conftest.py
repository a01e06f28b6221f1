"""What the end-to-end tests share: one system of real processes over the embedded store, and a story to tell on it.

At the end no service may have logged a blocked event loop, nor a line that is no JSON.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from devstack import footage, keys, settings, table
from devstack.api import Api, connect
from devstack.stack import Stack
from tests.e2e import owner
from tests.e2e.owner import Made
from tests.e2e.story import Story, tell

EXTRA = {
    "objectstore": {"OBJECTSTORE_FAULT_INJECTION": "true"},
    "gateway": {"HEAD_POLL_S": "0.5", "RATE_PER_S": "2000", "RATE_BURST": "4000"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All tests here share one system: one worker runs them."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("e2e"))


@pytest.fixture(scope="session")
def shared_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The system without the app's files, which have tests of their own."""
    config = settings.free(tmp_path_factory.mktemp("e2e"))
    parts = [part for part in table.parts(config, keys.load(config.data)) if part.name != "web"]
    stack = Stack(config, extra=EXTRA, parts=parts)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
    for name in table.SERVICES:
        lines = stack.log_lines(name)
        assert [line for line in lines if line["message"] == "event loop blocked"] == []
        assert [line["message"] for line in lines if line["level"] == "raw"] == []


@pytest.fixture
def stack(shared_stack: Stack) -> Iterator[Stack]:
    """The system, whole again after the test."""
    yield shared_stack
    shared_stack.heal()


@pytest.fixture(scope="session")
def short_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four seconds, 320 x 180, 25 frames a second, with sound."""
    return footage.generated(tmp_path_factory.mktemp("footage") / "short.mp4", seconds=4)


@pytest_asyncio.fixture
async def api(stack: Stack) -> AsyncIterator[Api]:
    """A user of this test's own."""
    async with connect(stack.settings.api_origin, anonymous=True) as client:
        yield client


@pytest_asyncio.fixture
async def story(api: Api, short_video: Path) -> Story:
    """That user's game, with an uploaded video, two clips and a reel of them."""
    return await tell(api, short_video)


@pytest.fixture
def made(stack: Stack, short_video: Path) -> Made:
    """What the development user has."""
    return owner.made(stack, short_video)


@pytest_asyncio.fixture
async def mine(stack: Stack) -> AsyncIterator[Api]:
    """A page of the development user."""
    async with owner.page(stack) as api:
        yield api
