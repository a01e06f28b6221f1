"""One run of the simulation: pages of users on servers over a store that fails, and then the judge."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from chassis.faults import Fault
from dbsync import cold_open, commit, history, past, replica, slots, snapshots
from dbsync.databases import Bounds
from dbsync.gate import GateVfs
from dbsync.log_format import Entry
from dbsync.requests import QueryRequest
from tests.dbsync import sim_decode
from tests.dbsync.memory_store import MemoryStore
from tests.dbsync.sim_client import READS, Page, User, seen
from tests.dbsync.sim_damage import Saboteur
from tests.dbsync.sim_judge import Judge
from tests.dbsync.sim_log import read_log, steps_of
from tests.dbsync.sim_process import BOUNDS, Process
from tests.dbsync.sim_record import Read, Record, expect
from tests.dbsync.sim_shape import Shape, shape_of
from tests.dbsync.sim_store import Bucket
from tests.dbsync.sim_world import World

Patch = tuple[object, str, object]  # an attribute of an object or module, and what it becomes


class Alarms(logging.Handler):
    """Counts what the service raises the alarm about, and keeps everything else quiet."""

    def __init__(self, seen: Counter[str]) -> None:
        super().__init__(logging.CRITICAL)
        self._seen = seen

    def emit(self, record: logging.LogRecord) -> None:
        self._seen[f"alarm: {getattr(record, 'alarm', 'unnamed')}"] += 1


def run(
    seed: int,
    patches: tuple[Patch, ...] = (),
    *,
    shape: Shape | None = None,
    struck_max: int | None = None,
    seen: Counter[str] | None = None,
    lines: list[str] | None = None,
) -> Counter[str]:
    """One run, and what it exercised; Violation when a promise was broken. The same arguments give the same run.

    `patches` make a mutant of the service. After `struck_max` faults no more strike. `seen` and `lines` are filled, as
    it goes, with what is met how often, and with what happens.
    """
    shape = shape or shape_of(seed)
    world = World(seed)
    world.lines = lines
    bucket = Bucket(MemoryStore(shape.list_page), Counter() if seen is None else seen, struck_max=struck_max)
    with ExitStack() as stack:
        stack.callback(world.close)
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="chaos-", dir=_memory())))
        stack.enter_context(_quiet(bucket.seen))
        stack.enter_context(_patched(_parameters(shape)))
        vfs = GateVfs()
        stack.callback(vfs.unregister)
        _Run(world, bucket, vfs, scratch, shape).live(patches)
    return bucket.seen


class _Run:
    def __init__(self, world: World, bucket: Bucket, vfs: GateVfs, scratch: Path, shape: Shape) -> None:
        self.world = world
        self.bucket = bucket
        self.shape = shape
        self.users = [User(Record(f"user-{number}"), bucket.raw) for number in range(shape.users)]
        self.processes = [
            Process(f"s{number}", world, bucket, vfs, scratch / f"s{number}", shape.faults, self._bounds())
            for number in range(shape.processes)
        ]
        patient = replace(BOUNDS, catch_up_s=3600.0, whole_s=3600.0)
        self.witness = Process("witness", world, bucket, vfs, scratch / "witness", bounds=patient, mortal=False)

    def live(self, patches: tuple[Patch, ...]) -> None:
        """From the first version to the verdict."""
        self.world.run(self._found())
        with _patched(patches):
            self.world.run(self._act())
        self.world.run(self._look())
        for user in self.users:
            self._judge(user.record)

    def _bounds(self) -> Bounds:
        shape = self.shape
        return replace(
            BOUNDS, group=shape.group, open_databases=shape.open_databases, snapshot_every=shape.snapshot_every
        )

    async def _found(self) -> None:
        """The first version of each database: the schema, made in peace."""
        self.witness.begin()
        for user in self.users:
            page = self._page(user, "founder", [self.witness], replace(self.shape, hasty=0.0, sticky=0.0))
            user.schema = 0
            await page.migrate()
            expect(user.schema == 1, "the schema was refused")
        await self.witness.leave()

    async def _act(self) -> None:
        """The pages do what they want, while processes come and go."""
        for process in self.processes:
            process.begin()
        pages = [
            self._page(user, f"{user.record.database}.c{number}", self.processes, self.shape)
            for user in self.users
            for number in range(self.shape.pages)
        ]
        share = max(1, self.shape.operations // len(pages))
        tasks = [asyncio.create_task(page.live(share)) for page in pages]
        records = [user.record for user in self.users]
        saboteur = Saboteur(self.world, self.bucket, records, self.shape.damage_s)
        background = [asyncio.create_task(self._ends()), asyncio.create_task(saboteur.live())]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in (*tasks, *background):
                task.cancel()
            await asyncio.gather(*tasks, *background, return_exceptions=True)
            saboteur.heal()
            for process in self.processes:
                await process.leave()

    def _page(self, user: User, name: str, processes: list[Process], shape: Shape) -> Page:
        return Page(name, self.world, processes, user, shape, self.bucket.seen, self._audit)

    async def _ends(self) -> None:
        """Processes end also when they ask nothing of the store: killed, or stopped in peace as at a deploy."""
        rng, mean_s = self.world.random, self.shape.end_s
        while mean_s:
            await asyncio.sleep(rng.expovariate(1 / mean_s))
            process = rng.choice(self.processes)
            if rng.random() < 0.5:
                self.bucket.seen["kill: at any moment"] += 1
                process.kill()
            else:
                self.bucket.seen["kill: none, stopped in peace"] += 1
                await process.stop()

    def _audit(self) -> None:
        """The bytes of a process's copies are noted."""
        self._note(self.world.random.choice(self.processes))

    def _note(self, process: Process) -> None:
        records = {user.record.database: user.record for user in self.users}
        for name, copy in process.copies().items():
            if copy.version and not copy.broken:
                image = copy.image()
                records[name].digest(image.version, hashlib.sha256(image.body).hexdigest(), process.name)
                self.bucket.seen["copies compared"] += 1

    async def _look(self) -> None:
        """A last look from an empty disk, in peace, with the snapshot and without: what was acknowledged is there."""
        for hidden in (False, True):
            if hidden:
                for user in self.users:
                    self.bucket.raw.objects.pop(snapshots.snapshot_key(user.record.database), None)
            self.witness.begin()
            for user in self.users:
                await self._witness(user)
            self._note(self.witness)
            await self.witness.leave()

    async def _witness(self, user: User) -> None:
        record = user.record
        request = QueryRequest(record.database, READS)
        try:
            result, _ = await self.witness.ask(record.database, lambda database: database.query(request))
        except Fault as fault:
            expect(fault.reason == "database_deleted" and user.ended, f"a last look was refused: {fault!r}")
            return
        record.reads.append(Read(record.known, user.head, seen(result)))

    def _judge(self, record: Record) -> None:
        seen, raw = self.bucket.seen, self.bucket.raw
        entries: list[Entry] = read_log(raw, record.database, damaged=record.damaged)
        for entry in entries:
            seen["versions"] += 1
            seen[f"group: {_size(len(entry.subs))}"] += 1
        self._judge_snapshots(record)
        if entries[-1].terminal:
            seen["databases ended"] += 1
        if record.deleted:
            expect(not raw.left(record.database), f"of a deleted database is left: {raw.left(record.database)}")
        Judge(record, steps_of(entries), seen).verdict()

    def _judge_snapshots(self, record: Record) -> None:
        """A snapshot is never replaced by an older one; their bytes are compared with all other copies'."""
        newest: dict[str, int] = {}
        for key, blob in self.bucket.raw.journal:
            version = snapshots.version_of(blob.metadata)
            if key.startswith(f"{record.database}/") and version > 0 and snapshots.deleted_by(blob.metadata) < 0:
                self.bucket.seen["snapshots"] += 1
                record.digest(version, hashlib.sha256(blob.body).hexdigest(), "a snapshot")
                older = version < newest.get(key, 0)
                expect(not older or record.damaged, f"snapshot {version} replaced {newest.get(key)}")
                newest[key] = version


def _size(members: int) -> str:
    if members < 4:
        return str(members)
    return "4 to 7" if members < 8 else "8 or more"


def _parameters(shape: Shape) -> tuple[Patch, ...]:
    """Sizes of the service that runs are too short for, made small; and the decoder, remembered."""
    return (
        (snapshots, "compact_after", lambda page_count: shape.compact_after),
        (history, "KEPT_ROWS", shape.kept_rows),
        (history, "FETCH_AT_ONCE", max(1, shape.at_once // 2)),
        (commit, "FETCH_AT_ONCE", max(1, shape.at_once // 2)),
        (past, "FETCH_AT_ONCE", max(4, shape.at_once)),
        (cold_open, "FETCH_AT_ONCE", shape.at_once),
        (replica, "CHECKPOINT_FRAMES", shape.checkpoint_frames),
        (slots, "decode", sim_decode.decode),
    )


@contextmanager
def _patched(patches: tuple[Patch, ...]) -> Iterator[None]:
    """Applies patches."""
    before = [(place, name, getattr(place, name)) for place, name, _ in patches]
    try:
        for place, name, value in patches:
            setattr(place, name, value)
        yield
    finally:
        for place, name, value in reversed(before):
            setattr(place, name, value)


@contextmanager
def _quiet(seen: Counter[str]) -> Iterator[None]:
    """The service's log goes nowhere; its alarms are counted."""
    logger, alarms = logging.getLogger("dbsync"), Alarms(seen)
    level, logger.propagate = logger.level, False
    logger.setLevel(logging.CRITICAL)
    logger.addHandler(alarms)
    try:
        yield
    finally:
        logger.removeHandler(alarms)
        logger.setLevel(level)
        logger.propagate = True


def _memory() -> str | None:
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
