"""The decoder of log entries, remembered: in a simulation the same bytes are read again and again.

What was decoded once is only ever found again by the whole of its bytes, so that nothing is checked less.
"""

from __future__ import annotations

from functools import lru_cache

from dbsync.log_format import Entry
from dbsync.log_format import decode as real
from dbsync.pages import Body


@lru_cache(maxsize=2000)
def _decoded(data: bytes, database: str, version: int) -> Entry:
    return real(data, database=database, version=version)


def decode(data: Body, *, database: str, version: int) -> Entry:
    """As `dbsync.log_format.decode`."""
    return _decoded(bytes(data), database, version)
