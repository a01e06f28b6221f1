"""A process's view of a store that fails at a chosen request: the process dies there, or gets no clear answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from typing import TypeVar

from dbsync.pages import Body
from dbsync.slots import Blob, Undecided
from tests.dbsync.memory_store import MemoryStore

T = TypeVar("T")


class Death(BaseException):
    """The process ends here."""


class Failure(Enum):
    """What happens to the chosen request."""

    DIES_BEFORE = "dies before"
    DIES_AFTER = "dies after"
    DIES_WITHIN = "dies within"  # half of the objects that are put beside each other are there
    UNCLEAR_BEFORE = "unclear before"
    UNCLEAR_AFTER = "unclear after"


class FailingStore:
    """The store; its request number `at`, counted from 0, fails."""

    def __init__(self, store: MemoryStore, at: int, failure: Failure) -> None:
        self._store = store
        self._at = at
        self._failure = failure
        self.asked = 0

    @property
    def struck(self) -> bool:
        """Whether it came to the failure."""
        return self.asked > self._at

    def create(self, key: str, body: Body, timeout_s: float) -> bool:
        return self._do(lambda: self._store.create(key, body, timeout_s))

    def replace(
        self, key: str, body: Body, metadata: Mapping[str, str], expected: str | None, timeout_s: float
    ) -> bool:
        return self._do(lambda: self._store.replace(key, body, metadata, expected, timeout_s))

    def overwrite(self, objects: Mapping[str, bytes], metadata: Mapping[str, str], timeout_s: float) -> None:
        half = dict(list(objects.items())[::2])
        self._do(
            lambda: self._store.overwrite(objects, metadata, timeout_s),
            lambda: self._store.overwrite(half, metadata, timeout_s),
        )

    def remove(self, keys: Sequence[str], timeout_s: float) -> None:
        self._do(lambda: self._store.remove(keys, timeout_s))

    def presign(self, key: str, name: str, lifetime_s: int) -> tuple[str, int]:
        return self._store.presign(key, name, lifetime_s)

    def get(self, key: str, timeout_s: float) -> Blob | None:
        return self._do(lambda: self._store.get(key, timeout_s))

    def head(self, key: str, timeout_s: float) -> Blob | None:
        return self._do(lambda: self._store.head(key, timeout_s))

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        return self._do(lambda: self._store.get_many(keys, timeout_s))

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        return self._do(lambda: self._store.list_keys(prefix, after, timeout_s))

    def get_and_list(self, key: str, prefix: str, timeout_s: float) -> tuple[Blob | None, list[str]]:
        return self._do(lambda: self._store.get_and_list(key, prefix, timeout_s))

    def _do(self, call: Callable[[], T], half: Callable[[], object] | None = None) -> T:
        number, self.asked = self.asked, self.asked + 1
        if number != self._at:
            return call()
        if self._failure is Failure.DIES_WITHIN and half is not None:
            half()
        elif self._failure in (Failure.DIES_AFTER, Failure.UNCLEAR_AFTER):
            call()
        if self._failure in (Failure.UNCLEAR_BEFORE, Failure.UNCLEAR_AFTER):
            raise Undecided("503")
        raise Death


class Unanswered(FailingStore):
    """Creations of slots are never answered; `lands`: they take place all the same."""

    def __init__(self, store: MemoryStore, lands: bool) -> None:
        super().__init__(store, 0, Failure.UNCLEAR_AFTER if lands else Failure.UNCLEAR_BEFORE)

    def create(self, key: str, body: Body, timeout_s: float) -> bool:
        self.asked = 0
        return super().create(key, body, timeout_s)

    def get(self, key: str, timeout_s: float) -> Blob | None:
        self.asked = 0
        return super().get(key, timeout_s)

    def get_many(self, keys: Sequence[str], timeout_s: float) -> list[Blob | None]:
        return self._store.get_many(keys, timeout_s)

    def list_keys(self, prefix: str, after: str, timeout_s: float) -> list[str]:
        return self._store.list_keys(prefix, after, timeout_s)

    def head(self, key: str, timeout_s: float) -> Blob | None:
        return self._store.head(key, timeout_s)


def at_every_request(
    store: MemoryStore, failure: Failure, run: Callable[[FailingStore], None]
) -> Iterator[tuple[MemoryStore, bool]]:
    """What `run` leaves in a copy of the store when its first request fails, its second, and so on to its last.

    Whether it died is told too; the end is when nothing failed any more.
    """
    for at in range(1000):
        copied = MemoryStore()
        copied.objects, copied.journal = dict(store.objects), list(store.journal)
        failing = FailingStore(copied, at, failure)
        died = False
        try:
            run(failing)
        except Death:
            died = True
        if not failing.struck:
            return
        yield copied, died
    raise AssertionError("it never came to an end")
