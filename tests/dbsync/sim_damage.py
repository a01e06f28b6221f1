"""What spoils the store of a simulation: objects that rot, that are copied to the wrong place, or that nobody knows.

Whatever is planted must be noticed, and never be applied; once it is healed, everything goes on.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace

import zstandard

from dbsync.log_format import encode
from dbsync.pages import PAGE_SIZE_BYTES
from dbsync.slots import Blob, slot_key
from dbsync.snapshots import snapshot_key
from tests.dbsync.sim_decode import decode
from tests.dbsync.sim_record import Record
from tests.dbsync.sim_store import Bucket
from tests.dbsync.sim_world import World

NEWEST = 6  # versions, of which one is spoilt
PAGES_MAX = 256  # in one chunk


def flipped(body: bytes, rng: random.Random) -> bytes:
    """One bit is another."""
    place = rng.randrange(len(body))
    return body[:place] + bytes([body[place] ^ 1 << rng.randrange(8)]) + body[place + 1 :]


def cut(body: bytes, rng: random.Random) -> bytes:
    """Its end is missing."""
    return body[: rng.randrange(len(body))]


def spliced(body: bytes, rng: random.Random) -> bytes:
    """A piece of it is where another one was."""
    size = rng.randint(1, max(1, len(body) // 3))
    here, there = rng.randrange(len(body) - size + 1), rng.randrange(len(body) - size + 1)
    return body[:here] + body[there : there + size] + body[here + size :]


def noise(body: bytes, rng: random.Random) -> bytes:
    """Something else altogether."""
    return rng.randbytes(rng.randrange(200))


DAMAGES: tuple[Callable[[bytes, random.Random], bytes], ...] = (flipped, cut, spliced, noise)


@dataclass(frozen=True)
class Plant:
    """An object that was spoilt, what it is now, and what it was before; None for nothing."""

    key: str
    spoilt: Blob
    before: Blob | None


class Saboteur:
    """Spoils objects, and heals them some time later."""

    def __init__(self, world: World, bucket: Bucket, records: list[Record], mean_s: float) -> None:
        self._world = world
        self._bucket = bucket
        self._records = records
        self._mean_s = mean_s
        self._plants: list[Plant] = []

    async def live(self) -> None:
        """Until it is cancelled."""
        rng = self._world.random
        while self._mean_s:
            await asyncio.sleep(rng.expovariate(1 / self._mean_s))
            record = rng.choice(self._records)
            kind = rng.choice(
                (self._rot, self._rot, self._misplace, self._forge, self._squat, self._snapshot, self._litter)
            )
            kind(record)
            await asyncio.sleep(rng.expovariate(0.15))
            self.heal()

    def heal(self) -> None:
        """Puts back what was there, unless something else has taken the place by then."""
        objects = self._bucket.raw.objects
        for plant in self._plants:
            if objects.get(plant.key) is plant.spoilt:
                if plant.before is None:
                    del objects[plant.key]
                else:
                    objects[plant.key] = plant.before
        self._plants.clear()

    def _plant(self, record: Record, key: str, body: bytes, what: str) -> None:
        objects = self._bucket.raw.objects
        before = objects.get(key)
        if before is not None and before.body == body:
            return
        spoilt = Blob(body, before.metadata if before else {}, f'"spoilt {len(body)}"', len(body))
        objects[key] = spoilt
        self._plants.append(Plant(key, spoilt, before))
        record.damaged = True
        self._bucket.seen[f"damage: {what}"] += 1
        self._world.say(f"damage: {key} {what}")

    def _entry(self, record: Record) -> tuple[int, bytes] | None:
        """One of the newest versions, and its genuine bytes; None when the database has ended."""
        raw = self._bucket.raw
        head = raw.heads[record.database]
        if raw.ended(record.database):
            return None
        version = self._world.random.randint(max(1, head - NEWEST), head)
        return version, bytes(raw.objects[slot_key(record.database, version)].body)

    def _rot(self, record: Record) -> None:
        if (found := self._entry(record)) is not None:
            rng, (version, body) = self._world.random, found
            self._plant(
                record, slot_key(record.database, version), rng.choice(DAMAGES)(body, rng), "an entry is spoilt"
            )

    def _misplace(self, record: Record) -> None:
        """An entry of another database, or of another version."""
        other = self._world.random.choice(self._records)
        if (found := self._entry(record)) is not None and (source := self._entry(other)) is not None:
            self._plant(record, slot_key(record.database, found[0]), source[1], "an entry is from elsewhere")

    def _forge(self, record: Record) -> None:
        """An entry that is whole, and does not follow the one before it."""
        if (found := self._entry(record)) is not None:
            version, body = found
            entry = decode(body, database=record.database, version=version)
            count = len(entry.pages.numbers)
            if self._world.strikes(0.7) and 0 < count <= PAGES_MAX:
                raw = self._world.random.randbytes(1) * (count * PAGE_SIZE_BYTES)
                chunk = zstandard.ZstdCompressor().compress(raw)
                entry = replace(entry, pages=replace(entry.pages, chunks=(chunk,)))
            else:
                entry = replace(entry, before=entry.before ^ 1)
            self._plant(record, slot_key(record.database, version), encode(entry), "an entry does not follow")

    def _squat(self, record: Record) -> None:
        """Something is where the next version belongs."""
        if (found := self._entry(record)) is not None:
            rng, head = self._world.random, self._bucket.raw.heads[record.database]
            body = rng.choice((b"", rng.randbytes(50), found[1]))
            self._plant(record, slot_key(record.database, head + 1), body, "something has the next slot")

    def _snapshot(self, record: Record) -> None:
        key = snapshot_key(record.database)
        blob, rng = self._bucket.raw.objects.get(key), self._world.random
        if blob is not None and not self._bucket.raw.ended(record.database):
            self._plant(record, key, rng.choice(DAMAGES)(bytes(blob.body), rng), "a snapshot is spoilt")

    def _litter(self, record: Record) -> None:
        """Objects whose names are no slot's."""
        rng = self._world.random
        name = rng.choice(("README", "ffffffffg0", "0000000000x", f"{rng.getrandbits(44):011x}", ""))
        self._plant(record, f"{record.database}/db/{name}", rng.randbytes(9), "something has a name that is no slot's")
