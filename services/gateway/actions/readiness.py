"""Whether the services behind the gateway answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

ASK_S = 1.0


class Peer(Protocol):
    """A service that can be asked."""

    async def ready(self, timeout_s: float) -> bool: ...


class Readiness:
    """The peers by name."""

    def __init__(self, peers: Mapping[str, Peer]) -> None:
        self._peers = dict(peers)

    async def ask(self) -> dict[str, bool]:
        """Each service, and whether it answered within ASK_S."""
        answers = await asyncio.gather(*(peer.ready(ASK_S) for peer in self._peers.values()))
        return dict(zip(self._peers, answers, strict=True))
