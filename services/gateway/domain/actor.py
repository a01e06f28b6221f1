"""Who acts: the user, the page that they act from, what that page had read."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Actor:
    """The author of a request, explicit from the verified session to the database.

    `client_id` is the live page's random id, the author of its commits; `base_version` is up to where it has read
    (None: it does not say); `key` is the request's idempotency key; `min_version` is the version it wants to see at
    least (None: the newest).
    """

    user_id: str
    client_id: str
    key: str
    base_version: int | None = None
    min_version: int | None = None


@dataclass(frozen=True)
class Stamp:
    """Versions that an answer carries: the one it shows, and the base for the page's next write.

    No base (None) for an author who has not said what it has read: an answer must not vouch for others' changes.
    """

    version: int
    base_version: int | None
