"""Arms faults in the embedded store (late answers, refusals, lost answers) and waits until they strike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from devstack.stack import Stack


@dataclass(frozen=True)
class Armed:
    """The faults of a store, by its admin route."""

    url: str
    http: aiohttp.ClientSession

    async def struck(self) -> None:
        """Returns once one of them has struck a request."""
        async with asyncio.timeout(60):
            while True:
                async with self.http.get(self.url) as answer:
                    if any(fault["struck"] for fault in await answer.json()):
                        return
                await asyncio.sleep(0.01)


@asynccontextmanager
async def armed(stack: Stack, **fault: object) -> AsyncIterator[Armed]:
    """A fault (objectstore.faults.Fault, by its fields) for as long as the context lasts."""
    url = f"{stack.settings.store_origin}/-/faults"
    async with aiohttp.ClientSession() as http:
        async with http.post(url, json=fault) as answer:
            assert answer.status == 201, await answer.text()
        try:
            yield Armed(url, http)
        finally:
            async with http.delete(url) as answer:
                assert answer.status == 204
