"""An archive that cannot be reached: what a gateway over fakes has for one."""

from __future__ import annotations

from typing import NoReturn

from chassis import faults


class AwayArchive:
    """Every call fails as one to a service that is away."""

    async def history(self, database: str, **asked: object) -> NoReturn:
        _away()

    async def undo(self, undo: object) -> NoReturn:
        _away()

    async def restore(self, restore: object) -> NoReturn:
        _away()

    async def snapshot_url(self, database: str, **asked: object) -> NoReturn:
        _away()


def _away() -> NoReturn:
    raise faults.unavailable("unavailable", "dbsync cannot be reached; try again.")
