"""What every action may use, built once by __main__."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.actions.events import Hub
from gateway.actions.exports import Exports
from gateway.actions.readiness import Readiness
from gateway.actions.sessions import Sessions
from gateway.library.archive import Archive
from gateway.library.store import Store
from gateway.ports import Objects, Renderer


@dataclass(frozen=True)
class Parts:
    """The gateway's inside."""

    environment: str
    library: Store
    archive: Archive
    sessions: Sessions
    objects: Objects
    renderer: Renderer
    exports: Exports
    hub: Hub
    readiness: Readiness
    max_upload_bytes: int
