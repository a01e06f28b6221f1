"""Arms faults in the embedded store: late answers, refusals, lost answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp

from devstack.stack import Stack


@asynccontextmanager
async def armed(stack: Stack, **fault: object) -> AsyncIterator[None]:
    """A fault (objectstore.faults.Fault, by its fields) for as long as the context lasts."""
    url = f"{stack.settings.store_origin}/-/faults"
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json=fault) as answer:
            assert answer.status == 201, await answer.text()
        try:
            yield
        finally:
            async with http.delete(url) as answer:
                assert answer.status == 204
