"""What the newest versions touched, kept in memory as far as it is small; older versions are read from the log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from dbsync import conflicts
from dbsync.conflicts import Earlier
from dbsync.log_format import Entry

KEPT_ROWS = 600  # some 150 KB
FETCH_AT_ONCE = 32


class History:
    """The past of one database up to its copy's version."""

    def __init__(self) -> None:
        self._kept: deque[tuple[int, tuple[Earlier, ...], int]] = deque()  # version, what it touched, how much that is
        self._rows = 0

    def add(self, entry: Entry) -> None:
        """The next version."""
        touched = tuple(conflicts.earlier(entry.version, sub) for sub in entry.subs)
        size = 1 + sum(len(one.rows) for one in touched)
        self._kept.append((entry.version, touched, size))
        self._rows += size
        while self._rows > KEPT_ROWS:
            self._rows -= self._kept.popleft()[2]

    def since(self, base: int, head: int, fetch: Callable[[range], Sequence[Entry]]) -> list[Earlier]:
        """What the versions in (base, head] touched, oldest first; `fetch` reads entries that are not kept."""
        kept: list[Earlier] = []
        first = head + 1
        for version, touched, _ in reversed(self._kept):
            if version <= base:
                first = base + 1
                break
            if version <= head:
                first = version
                kept.extend(reversed(touched))
        found: list[Earlier] = []
        for start in range(base + 1, first, FETCH_AT_ONCE):
            for entry in fetch(range(start, min(start + FETCH_AT_ONCE, first))):
                found.extend(conflicts.earlier(entry.version, sub) for sub in entry.subs)
        kept.reverse()
        return found + kept
