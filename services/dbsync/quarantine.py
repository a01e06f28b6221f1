"""What was found damaged: said loudly, once, and copied to where nothing overwrites it.

1. An object is alarmed about and copied once, however often it is met
   (test_quarantine.py::test_an_alarm_is_raised_once).
2. The copies of one database are bounded, and a copy that cannot be made stops nothing
   (test_quarantine.py::test_copies_are_bounded, ::test_a_store_that_refuses_the_copy).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable

from dbsync.pages import Body

log = logging.getLogger(__name__)

COPIES_MAX = 16  # of one database, by one process


def quarantine_prefix(database: str) -> str:
    """Where the copies of a database's damaged objects are."""
    return f"{database}/quarantine/"


def quarantine_key(database: str, key: str, digest: str) -> str:
    """Where the copy of those bytes of an object is."""
    name = key.removeprefix(f"{database}/").replace("/", "-")
    return f"{quarantine_prefix(database)}{name}.{digest[:16]}"


class Quarantine:
    """The damaged objects of one database that this process has met. Made for threads."""

    def __init__(self, database: str, keep: Callable[[str, Body], None]) -> None:
        """`keep` makes a copy under a key; its failures are its own."""
        self._database = database
        self._keep = keep
        self._met: set[tuple[str, str]] = set()
        self._copies = 0
        self._lock = threading.Lock()

    def take(self, key: str, body: Body | None, why: str, alarm: str) -> None:
        """The object at `key` cannot be used; without a body it is missing, or the body is not the trouble."""
        digest = "" if body is None else hashlib.sha256(body).hexdigest()
        with self._lock:
            if (key, digest) in self._met:
                return
            self._met.add((key, digest))
            copied = body is not None and self._copies < COPIES_MAX
            self._copies += copied
        place = quarantine_key(self._database, key, digest) if copied else ""
        log.critical(
            "ALARM %s: %s: %s",
            alarm.replace("_", " "),
            key,
            why,
            extra={"database": self._database, "alarm": alarm, "key": key, "quarantined": place},
        )
        if body is not None and copied:
            self._keep(place, body)
