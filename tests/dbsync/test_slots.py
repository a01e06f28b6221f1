"""Who wins a slot, told from what a store answers."""

from __future__ import annotations

import threading
from collections import deque

import pytest

from dbsync.log_format import encode
from dbsync.pages import Body
from dbsync.slots import (
    LIST_PAGE,
    SLOTS,
    Blob,
    Damaged,
    Hopeless,
    Patience,
    Slots,
    StoreUnavailable,
    Undecided,
    Verdict,
    slot_key,
    slot_version,
    valid_database,
)
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.test_log_format import SAMPLE
from tests.dbsync.world import DATABASE

OURS, THEIRS = b"our bytes", b"their bytes"


class ScriptedStore(MemoryStore):
    """Answers as told: "ok" does it; "lost" does it and says nothing; anything else is said and not done."""

    def __init__(self, *script: str) -> None:
        super().__init__()
        self.script = deque(script)
        self.sent: list[bytes] = []

    def _next(self) -> str:
        return self.script.popleft() if self.script else "ok"

    def create(self, key: str, body: Body, timeout_s: float) -> bool:
        self.sent.append(bytes(body))
        told = self._next()
        done = super().create(key, body, timeout_s) if told in ("ok", "lost") else False
        if told == "hopeless":
            raise Hopeless("403")
        if told != "ok":
            raise Undecided(told)
        return done

    def get(self, key: str, timeout_s: float) -> Blob | None:
        if (told := self._next()) != "ok":
            raise Undecided(told)
        return super().get(key, timeout_s)


class Ticks:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def now_s(self) -> float:
        return self.now

    def wall_ms(self) -> int:
        return 0

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def jitter(self) -> float:
        return 0.5


def slots(store: MemoryStore, clock: Ticks | None = None) -> Slots:
    """The log over a store."""
    return Slots(store, clock or Ticks(), DATABASE, Patience())


def test_keys_sort_newest_first() -> None:
    keys = [slot_key(DATABASE, version) for version in (1, 2, 255, 256, 10_000_000)]
    assert keys == sorted(keys, reverse=True)
    assert slot_key(DATABASE, 1) == f"{DATABASE}/db/{SLOTS - 2:010x}" == f"{DATABASE}/db/fffffffffe"
    assert [slot_version(DATABASE, key) for key in keys] == [1, 2, 255, 256, 10_000_000]
    for other in (
        f"{DATABASE}/db/xyz",
        f"{DATABASE}/db/{SLOTS - 1:010x}",
        "user-2/db/fffffffffe",
        f"{DATABASE}/db/FFFFFFFFFE",
    ):
        assert slot_version(DATABASE, other) is None


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a..b", "-x", ".x", "a b", "ü", "x" * 129, "a\n"])
def test_ids_that_are_no_folder(name: str) -> None:
    assert not valid_database(name)
    assert valid_database("_jobs.local") and valid_database("dev-local")


def test_one_winner() -> None:
    store = MemoryStore()
    verdicts: list[Verdict] = []

    def race(number: int) -> None:
        verdicts.append(slots(store).put(1, b"%d" % number, 10)[0])

    threads = [threading.Thread(target=race, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert verdicts.count(Verdict.WON) == 1 and verdicts.count(Verdict.LOST) == 15


@pytest.mark.parametrize(
    "script",
    [
        ("429",),
        ("503", "timeout", "500"),
        ("lost", "ok", "ok"),  # done, not told; then "it exists", and the bytes are ours
        ("lost", "429", "503", "ok", "timeout", "ok", "ok"),
    ],
)
def test_undecided_is_retried(script: tuple[str, ...]) -> None:
    store = ScriptedStore(*script)
    assert slots(store).put(1, OURS, 30) == (Verdict.WON, None)
    assert set(store.sent) == {OURS}  # always the same bytes


def test_own_bytes_win() -> None:
    store = ScriptedStore("lost")
    assert slots(store).put(1, OURS, 10) == (Verdict.WON, None)
    assert store.counts["put"] == 2


def test_other_bytes_lose() -> None:
    store = ScriptedStore("ok", "timeout", "ok", "ok")
    assert slots(store).put(1, THEIRS, 10)[0] is Verdict.WON
    assert slots(store).put(1, OURS, 10) == (Verdict.LOST, THEIRS)


def test_deadline_is_unknown() -> None:
    clock = Ticks()
    assert slots(ScriptedStore(*["timeout"] * 1000), clock).put(1, OURS, 5) == (Verdict.UNKNOWN, None)
    assert 5 <= clock.now < 7


def test_a_slot_that_is_free_after_an_unclear_try_is_not_a_failure() -> None:
    store = ScriptedStore(*["timeout"] * 1000)
    verdict, _ = slots(store).put(1, OURS, 3)
    assert verdict is Verdict.UNKNOWN
    assert not store.objects  # nothing is there, and still nobody may say that it failed


def test_a_refusal_for_good_is_unknown_at_once() -> None:
    clock = Ticks()
    assert slots(ScriptedStore("timeout", "hopeless"), clock).put(1, OURS, 60) == (Verdict.UNKNOWN, None)
    assert clock.now < 1


def test_reading_gives_up_in_time() -> None:
    with pytest.raises(StoreUnavailable):
        slots(ScriptedStore(*["503"] * 1000)).read(1, 3)


def test_reading_what_is_no_entry() -> None:
    store = MemoryStore()
    store.create(slot_key(DATABASE, 1), b"noise", 1)
    with pytest.raises(Damaged, match="fffffffffe"):
        slots(store).read(1, 3)
    store.create(slot_key(DATABASE, 7), encode(SAMPLE), 1)
    assert slots(store).read(7, 3) == SAMPLE
    store.create(slot_key(DATABASE, 8), encode(SAMPLE), 1)  # copied into another slot
    with pytest.raises(Damaged, match="elsewhere"):
        slots(store).read(8, 3)


@pytest.mark.parametrize(
    ("count", "snapshot"), [(0, 0), (1, 0), (5, 0), (5, 5), (5, 9), (LIST_PAGE + 700, 0), (2500, 2490)]
)
def test_the_head_is_found_by_listing(count: int, snapshot: int) -> None:
    store = MemoryStore()
    for version in range(1, count + 1):
        store.create(slot_key(DATABASE, version), b"", 1)
    store.create(f"{DATABASE}/db/stray", b"", 1)
    _, listed = slots(store).survey("nothing", 5)
    assert slots(store).head_above(snapshot, listed, 5) == max(count, snapshot)


@pytest.mark.parametrize("missing", [1, 3, 1500])
def test_a_missing_slot_is_noticed(missing: int) -> None:
    store = MemoryStore()
    for version in range(1, 2001):
        if version != missing:
            store.create(slot_key(DATABASE, version), b"", 1)
    _, listed = slots(store).survey("nothing", 5)
    with pytest.raises(Damaged, match="missing"):
        slots(store).head_above(0, listed, 5)
    if missing < 1600:
        assert slots(store).head_above(1600, listed, 5) == 2000
