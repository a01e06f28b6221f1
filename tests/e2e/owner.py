"""The development user: what it has, made once for all tests, its pages, and what the services log meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from devstack import table
from devstack.api import Api, connect
from devstack.stack import Stack
from tests.e2e.story import Story, tell

SERVICES = table.SERVICES
_kept: dict[Path, Made] = {}


@dataclass
class Stretch:
    """What the services logged in a stretch of time, by service; filled at its end."""

    lines: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def messages(self, service: str) -> list[str]:
        """What a service said."""
        return [str(line["message"]) for line in self.lines[service]]

    def bad(self) -> list[tuple[str, dict[str, Any]]]:
        """Lines that a healthy system does not write."""
        return [
            (service, line)
            for service, lines in self.lines.items()
            for line in lines
            if line["level"] in ("raw", "error", "critical") or "exception" in line
        ]


@contextmanager
def logged(stack: Stack) -> Iterator[Stretch]:
    """Collects what is logged inside."""
    before = {service: len(stack.log_lines(service)) for service in SERVICES}
    stretch = Stretch()
    yield stretch
    stretch.lines = {service: stack.log_lines(service)[count:] for service, count in before.items()}


@dataclass(frozen=True)
class Made:
    """A user's story with a working video, and what was logged while it was made."""

    story: Story
    export: dict[str, Any]
    log: Stretch = field(default_factory=Stretch)

    def ids(self) -> dict[str, str]:
        """An id for each name in the API's paths."""
        return {
            "game_id": self.story.game_id, "video_id": self.story.video_id, "clip_id": self.story.clip_ids[0],
            "reel_id": self.story.reel_id, "export_id": self.export["id"],
            "output_id": self.export["outputs"][0]["id"],
        }  # fmt: skip


async def make(api: Api, video: Path) -> Made:
    """A story and its framing export, finished."""
    story = await tell(api, video, aspect="9:16")
    return Made(story, await finished(api, await api.export(framing(story))))


def made(stack: Stack, video: Path) -> Made:
    """What `dev-local` has, made at the first call for a stack. Not from within an event loop."""

    async def do() -> Made:
        async with connect(stack.settings.api_origin) as api:
            return await make(api, video)

    if stack.settings.data not in _kept:
        with logged(stack) as log:
            made = asyncio.run(do())
        _kept[stack.settings.data] = replace(made, log=log)
    return _kept[stack.settings.data]


def framing(story: Story) -> dict[str, str]:
    """The body that asks for the reel's working video."""
    return {"kind": "framing", "reel_id": story.reel_id}


async def finished(api: Api, export: dict[str, Any]) -> dict[str, Any]:
    """An export at its end, which must be a success."""
    done = await api.finished(export["id"], timeout_s=90)
    assert done["state"] == "succeeded", done
    return done


@asynccontextmanager
async def page(stack: Stack) -> AsyncIterator[Api]:
    """A page of `dev-local` that has read its library."""
    async with connect(stack.settings.api_origin) as api:
        await api.get("/library")
        yield api
