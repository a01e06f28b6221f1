"""Garbage of attempts: deleted some time after the end, never what finished a job or is somebody else's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

import pytest

from chassis import faults
from chassis.faults import Fault
from chassis.ids import uuid7
from render import sweep
from render.job import Ended, Failure, Finished, Job, State
from render.ledger import Ledger
from render.spec import Clip, Output, Source, Spec
from render.sweep import Sweeper
from tests.fakes.render_database import FakeDatabase

AFTER_S = 100.0
END_MS = 10_000
DUE_MS = END_MS + round(AFTER_S * 1000) + 1
BROKEN = Ended(failure=Failure("render_failed", "It broke.", True))


def decode(spec: bytes) -> Spec:
    """The specification whose bytes name its folder."""
    if spec == b"unreadable":
        raise faults.invalid("invalid_spec", "The kept specification cannot be read.")
    return Spec((Clip(Source("games/a.mp4"), 0, 1),), Output(spec.decode()))


@dataclass
class Store:
    """Keys by tenant; deletions fail while it is `away`, and after `deletions` have been made."""

    keys: dict[str, set[str]] = field(default_factory=dict)
    away: bool = False
    deletions: int = 10_000
    refuses: bool = False

    async def delete_folder(self, tenant: str, folder: str) -> None:
        self.deletions -= 1
        if self.away or self.deletions < 0:
            raise faults.unavailable("store_unavailable", "The store does not answer.")
        if self.refuses:
            raise faults.invalid("invalid_key", "Not a key.")
        self.keys[tenant] = {key for key in self.keys[tenant] if not key.startswith(f"{folder}/")}


@dataclass
class World:
    """A ledger, a store, and who sweeps it."""

    ledger: Ledger
    store: Store = field(default_factory=Store)

    @property
    def sweeper(self) -> Sweeper:
        """That of a process that was just started."""
        return Sweeper(self.ledger, self.store, decode, after_s=AFTER_S)

    async def begun(self, name: str, folder: str, attempts: int, tenant: str = "anna") -> Job:
        """A job in its attempt of that number; each has left objects, and chunks."""
        job, _ = await self.ledger.submit(Job(tenant, name, State.QUEUED, 0, 1, 0, 1000), folder.encode(), {})
        for number in range(1, attempts + 1):
            begun = await self.ledger.begin(job, "local", 2000, uuid7(), BROKEN if number > 1 else None)
            assert begun is not None
            job = begun
        there = {f"{folder}/{number}/{file}" for number in range(1, attempts + 1) for file in ("a.mp4", "a.jpg")}
        self.store.keys.setdefault(tenant, set()).update(there, {f"{folder}/chunks/c.mp4"} if attempts else ())
        return job

    async def succeed(self, job: Job, folder: str, at_ms: int = END_MS) -> Job:
        """It ends with outputs of its newest attempt."""
        key = f"{folder}/{job.attempt}/a.mp4"
        output = Finished("a.mp4", key, 1, "etag", "video/mp4", 1, 640, 360, Fraction(30), 1, key.replace("mp4", "jpg"))
        done = await self.ledger.finish(job, at_ms, Ended((output,)), uuid7())
        assert done is not None
        return done

    async def fail(self, job: Job, at_ms: int = END_MS) -> None:
        """It ends without."""
        assert await self.ledger.finish(job, at_ms, BROKEN, uuid7()) is not None

    def left(self, tenant: str = "anna") -> list[str]:
        """What stands in the store."""
        return sorted(self.store.keys.get(tenant, ()))


@pytest.fixture
def world() -> Iterator[World]:
    database = FakeDatabase()
    yield World(Ledger(database, owner="process", tenant_jobs_max=200))
    database.close()


async def test_only_the_attempt_that_finished_stays(world: World) -> None:
    await world.succeed(await world.begun("one", "out/x", 12), "out/x")
    assert await world.sweeper.round(DUE_MS) == 1
    assert world.left() == ["out/x/12/a.jpg", "out/x/12/a.mp4"]


async def test_of_a_failed_and_a_cancelled_job_nothing_stays(world: World) -> None:
    await world.fail(await world.begun("one", "out/x", 3))
    await world.begun("two", "out/y", 1)
    await world.begun("three", "out/z", 0)
    for name in ("two", "three"):
        await world.ledger.cancel("anna", name, END_MS)
    assert await world.sweeper.round(DUE_MS) == 2  # the third never began
    assert world.left() == []


async def test_nothing_is_swept_early_nor_of_a_job_that_is_not_over(world: World) -> None:
    await world.fail(await world.begun("one", "out/x", 1))
    running = await world.begun("two", "out/y", 2)
    before = world.left()
    assert await world.sweeper.round(DUE_MS - 2) == 0
    assert world.left() == before
    assert await world.sweeper.round(DUE_MS * 10) == 1
    assert world.left() == [key for key in before if key.startswith("out/y/")]
    await world.succeed(running, "out/y")
    await world.sweeper.round(DUE_MS)
    assert world.left() == ["out/y/2/a.jpg", "out/y/2/a.mp4"]


async def test_what_was_swept_is_not_looked_at_again(world: World) -> None:
    await world.fail(await world.begun("one", "out/x", 1))
    assert await world.sweeper.round(DUE_MS) == 1
    world.store.away = True
    assert await world.sweeper.round(DUE_MS) == 0


async def test_a_folder_that_another_job_works_in_waits_for_it_and_then_stays(world: World) -> None:
    """The other is a newer job, whose first attempt writes where the older one's did."""
    await world.fail(await world.begun("old", "out/x", 2))
    other = await world.begun("new", "out/x", 1)
    before = world.left()
    assert await world.sweeper.round(DUE_MS) == 0
    await world.succeed(other, "out/x")
    assert await world.sweeper.round(DUE_MS) == 0
    assert world.left() == before


async def test_what_another_job_reads_is_not_deleted_under_it(world: World) -> None:
    await world.fail(await world.begun("one", "out/x", 1))
    reader = Job("anna", "reader", State.QUEUED, 0, 1, 0, 1000)
    await world.ledger.submit(reader, b"reads out/x/1/a.mp4", {})
    assert await world.sweeper.round(DUE_MS) == 0
    await world.ledger.cancel("anna", "reader", END_MS)
    assert await world.sweeper.round(DUE_MS) == 1 and world.left() == []


async def test_folders_that_begin_alike_and_other_tenants_stay(world: World) -> None:
    await world.fail(await world.begun("one", "out/x", 1))
    world.store.keys["anna"] |= {"out/x/10/a.mp4", "out/xy/1/a.mp4", "out/x/1.mp4"}
    world.store.keys["bert"] = {"out/x/1/a.mp4"}
    await world.sweeper.round(DUE_MS)
    assert world.left() == ["out/x/1.mp4", "out/x/10/a.mp4", "out/xy/1/a.mp4"]
    assert world.left("bert") == ["out/x/1/a.mp4"]


async def test_a_killed_sweep_is_done_again(world: World) -> None:
    for number in range(4):
        await world.fail(await world.begun(f"job-{number}", f"out/{number}", 2), END_MS + number)
    world.store.deletions = 4  # in the midst of the second job
    with pytest.raises(Fault):
        await world.sweeper.round(DUE_MS + 4)
    assert world.left() != []
    world.store.deletions = 10_000
    assert await world.sweeper.round(DUE_MS + 4) == 3
    assert world.left() == []


async def test_one_that_cannot_be_swept_holds_no_other_up(world: World) -> None:
    await world.fail(await world.begun("one", "unreadable", 1))
    await world.fail(await world.begun("two", "out/y", 1), END_MS + 1)
    assert await world.sweeper.round(DUE_MS + 1) == 2
    assert world.left() == ["unreadable/1/a.jpg", "unreadable/1/a.mp4", "unreadable/chunks/c.mp4"]
    await world.fail(await world.begun("three", "out/z", 1))
    world.store.refuses = True
    assert await world.sweeper.round(DUE_MS + 1) == 1
    assert await world.sweeper.round(DUE_MS + 1) == 0


async def test_every_page_is_swept_though_some_of_the_first_must_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "PAGE", 3)
    for number in range(10):
        await world.fail(await world.begun(f"job-{number}", f"out/f{number}", 1))
    for number in (0, 1, 2):
        busy = Job("anna", f"busy-{number}", State.QUEUED, 0, 1, 0, 1000)
        await world.ledger.submit(busy, f"out/f{number}".encode(), {})
    assert await world.sweeper.round(DUE_MS) == 7
    assert {key.split("/")[1] for key in world.left()} == {"f0", "f1", "f2"}
