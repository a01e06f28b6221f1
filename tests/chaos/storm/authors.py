"""Those who use the databases while processes die: they ask any process, or the one that is preferred, and write down
what they are told.

Who is not answered asks again with the same key, elsewhere or not, until somebody knows; now and then somebody gives
up, and then nobody will ever know.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import urllib.request
from collections.abc import Awaitable, Callable
from typing import Any

from chassis import ids
from chassis.faults import Fault, Kind
from chassis.peers import Peers
from chassis.rpc_client import Channel
from reel.dbsync.v1 import dbsync_pb2 as pb
from reel.dbsync.v1.dbsync_pb2_grpc import DbSyncServiceStub
from tests.chaos.storm import deeds, judge, wire
from tests.chaos.storm.deeds import SCHEMA_MAX, Book, Deed, Done, Reading, Refused
from tests.chaos.storm.fleet import Fleet

SHARED = tuple(f"shared {number}" for number in range(5))
OWN = 4  # notes of an author's own
ANY = -1  # a way that is chosen by chance
PATIENT = 10_000  # tries
SETTLE_S = 120.0
LOOK_S = 0.05
EXPECTED = ("conflict", "schema_mismatch", "schema_newer")
UNCLEAR = (Kind.UNAVAILABLE, Kind.TIMEOUT, Kind.CANCELLED)


class Line:
    """Ways to the processes: to each by its number, or (None) to whichever is preferred and lives."""

    def __init__(self, fleet: Fleet) -> None:
        self.count = len(fleet.ports)
        self.acknowledged = 0
        self._channels: list[Channel | Peers] = [
            Channel(address, audience="dbsync", base=fleet.base, eager=True) for address in fleet.addresses
        ]
        self._channels.append(Peers(fleet.addresses, audience="dbsync", base=fleet.base))
        self._stubs = [DbSyncServiceStub(channel.grpc) for channel in self._channels]

    async def call(self, number: int | None, method: str, request: Any, timeout_s: float) -> Any:
        """The answer; raises Fault."""
        place = self.count if number is None else number
        channel, stub = self._channels[place], self._stubs[place]
        return await channel.call(getattr(stub, method), request, tenant=request.database, timeout_s=timeout_s)

    async def ready(self, number: int) -> bool:
        """Whether a process answers."""
        return await self._channels[number].ready(1.0)

    async def close(self) -> None:
        for channel in self._channels:
            await channel.close()


class Author:
    """One page of the app, or the system, at work on one database."""

    def __init__(self, line: Line, book: Book, name: str, rng: random.Random) -> None:
        self.line, self.book, self.name, self.rng = line, book, name, rng
        self.base = 0
        self.schema = 0
        self._made = 0

    async def work(self, stopping: asyncio.Event) -> None:
        """One thing after the other until told to stop."""
        chances: dict[Callable[[], Awaitable[Any]], float] = {
            self.write: 10,
            self.burst: 2,
            self.system: 3,
            self.undo: 2,
            self.restore: 0.5,
            self.migrate: 0.3,
            self.repeat: 1,
            self.read: 6,
            self.look_back: 1,
            self.download: 0.5,
        }
        while not stopping.is_set():
            if not self.base:  # the schema is being made
                await self.read()
                await asyncio.sleep(LOOK_S)
                continue
            await self.rng.choices(list(chances), weights=list(chances.values()))[0]()
            await asyncio.sleep(self.rng.uniform(0.0, 0.12))

    async def found(self) -> None:
        """Makes the schema; several may try at once."""
        await self.migrate(founding=True)
        await self.read()

    async def write(self) -> None:
        """A change of a note, its own or a shared one."""
        await self.perform(self.new_write())

    async def burst(self) -> None:
        """Several at once, which may share a version."""
        many = [self.new_write(number) for number in range(self.rng.randint(2, 6))]
        route = self._route()
        await asyncio.gather(*(self.perform(deed, route) for deed in many))

    async def system(self) -> None:
        """What a service does by itself: it never conflicts."""
        notes = {self.rng.choice(SHARED): self._value()} if self.rng.random() < 0.3 else {}
        await self.perform(self._deed(deeds.Kind.SYSTEM, base=None, notes=notes, bumps=True))

    async def migrate(self, founding: bool = False) -> None:
        """The next schema, which others may be making too."""
        if founding or self.schema < SCHEMA_MAX:
            schema = 0 if founding else self.schema
            patience = PATIENT if founding else None
            await self.perform(self._deed(deeds.Kind.MIGRATION, base=None, schema=schema), patience=patience)

    async def undo(self) -> None:
        """Takes back something that was done not long ago, by anybody, and perhaps changed since."""
        page = await self.look_back()
        if page is None:
            return
        found = [(version, commit) for version, commits in page.versions[:12] for commit in commits]
        if found:
            version, commit = self.rng.choice(found)
            target: dict[str, Any] = {"target_version": version, "target_commit": commit.commit_id}
            await self.perform(self._deed(deeds.Kind.UNDO, base=self.base, **target))

    async def restore(self) -> None:
        """Brings an old version back: with a base it is stale over anything newer, without one it never is."""
        if self.base > 1:
            version = self.rng.randint(max(1, self.base - 60), self.base)
            base = self.base if self.rng.random() < 0.4 else None
            await self.perform(self._deed(deeds.Kind.RESTORE, base=base, target_version=version))

    async def look_back(self) -> deeds.Past | None:
        """The newest page of the history."""
        request = pb.HistoryRequest(database=self.book.database, page_size=self.rng.randint(1, 30))
        began_s = time.monotonic()
        answer = await self._asked("History", request)
        if answer is None:
            return None
        page = wire.past(began_s, time.monotonic(), answer)
        self.book.pasts.append(page)
        return page

    async def download(self) -> None:
        """The whole database as a file."""
        began_s = time.monotonic()
        answer = await self._asked("Snapshot", pb.SnapshotRequest(database=self.book.database))
        if answer is None:
            return
        try:
            image = await asyncio.to_thread(fetched, answer.url)
            version, content = judge.downloaded(image)  # newer than was said, when somebody has compacted since
        except OSError:
            return  # the store is away
        except ValueError as error:
            self.book.faults.append(f"version {answer.version} was downloaded, and {error}")
            return
        if version < answer.version:
            self.book.faults.append(f"version {answer.version} was offered, and {version} downloaded")
        self.book.readings.append(Reading(began_s, time.monotonic(), version, None, content))

    async def delete(self) -> None:
        """Ends the database."""
        until_s = time.monotonic() + SETTLE_S
        while time.monotonic() < until_s:
            answer = await self._asked("Delete", pb.DeleteRequest(database=self.book.database))
            if answer is not None:
                self.book.deleted_by = answer.version
                return
            await asyncio.sleep(self.rng.uniform(0.01, 0.1))
        self.book.faults.append(f"it was not deleted in {SETTLE_S:g} s")

    async def repeat(self) -> None:
        """Something old once more: the answer must be what it was."""
        done = [one for one in self.book.deeds.values() if one.author == self.name and isinstance(one.answer, Done)]
        if not done:
            return
        deed = self.rng.choice(done[-20:])
        first = deed.answer
        assert isinstance(first, Done)
        with contextlib.suppress(Fault):
            again = await self._ask(deed, self._route(), 3.0)
            if (again.version, again.base_version, again.counter) != (first.version, first.base_version, first.counter):
                self.book.faults.append(f"{deed.key} was answered {first}, and when repeated {again}")
            if not again.replayed:
                self.book.faults.append(f"{deed.key} was done again when it was repeated")

    async def read(self, number: int | None = ANY, patience_s: float = 3.0) -> Reading | None:
        """Everything, as of now or as of what is known; None when nobody answered."""
        began_s = time.monotonic()
        least = None
        if number == ANY and self.base and self.rng.random() < 0.4:
            least = self.rng.randint(1, self.base)
        answer = await self._asked("Query", wire.read(self.book.database, least), number, patience_s)
        if answer is None:
            return None
        reading = Reading(began_s, time.monotonic(), answer.version, least, wire.content(answer))
        self.book.readings.append(reading)
        if least is None:
            self.base, self.schema = max(self.base, answer.version), answer.schema_version
        return reading

    async def perform(self, deed: Deed, route: int | None = ANY, patience: int | None = None) -> None:
        """Asks until it is answered, or (by chance, or past `patience` tries) gives up."""
        self.book.add(deed)
        if patience is None:
            patience = 1 if self.rng.random() < 0.1 else PATIENT
        until_s = deed.began_s + SETTLE_S
        while deed.attempts < patience and time.monotonic() < until_s:
            deed.attempts += 1
            timeout_s = 0.15 if self.rng.random() < 0.05 else 4.0
            try:
                deed.answer = await self._ask(deed, self._route() if route == ANY else route, timeout_s)
            except Fault as fault:
                if fault.kind in UNCLEAR or fault.reason == "busy":
                    route = ANY
                    await asyncio.sleep(self.rng.uniform(0.01, 0.1))
                    continue
                deed.answer = self._refused(deed, fault)
            deed.ended_s = time.monotonic()
            await self._learn(deed)
            return
        if patience == PATIENT:
            self.book.faults.append(f"{deed.key} was not answered in {SETTLE_S:g} s and {deed.attempts} tries")

    async def _ask(self, deed: Deed, route: int | None, timeout_s: float) -> Done:
        method = wire.METHODS.get(deed.kind, "Commit")
        return wire.done(deed, await self.line.call(route, method, wire.request(self.book.database, deed), timeout_s))

    async def _asked(self, method: str, request: Any, number: int | None = ANY, patience_s: float = 3.0) -> Any:
        """The answer to what changes nothing; None when nobody gave one."""
        try:
            return await self.line.call(self._route() if number == ANY else number, method, request, patience_s)
        except Fault as fault:
            nothing_yet = self.base == 0 and fault.reason == "sql_error"
            if fault.kind not in UNCLEAR and fault.reason != "busy" and not nothing_yet:
                self.book.faults.append(f"a {method} was answered {fault!r}")
            return None

    async def _learn(self, deed: Deed) -> None:
        answer = deed.answer
        if isinstance(answer, Done):
            self.line.acknowledged += 1
            self.base = max(self.base, answer.base_version)
            if deed.kind is deeds.Kind.MIGRATION:
                self.schema = max(self.schema, deed.schema + 1)
        elif isinstance(answer, Refused):
            await self.read()

    def _refused(self, deed: Deed, fault: Fault) -> Refused:
        told = wire.refused(fault)
        if told.reason not in EXPECTED and (deed.kind, told.reason) != (deeds.Kind.UNDO, "not_undoable"):
            self.book.faults.append(f"a {deed.kind.value} was answered {fault!r}")
        return told

    def new_write(self, number: int | None = None) -> Deed:
        own = [f"{self.name} {place}" for place in range(OWN)]
        note = self.rng.choice(own + list(SHARED)) if number is None else f"{self.name} {number}"
        marks = self.rng.random() < 0.7
        value = None if marks and self.rng.random() < 0.15 else self._value()  # what changes nothing is not in the log
        depends_on = (self.rng.choice(SHARED),) if self.rng.random() < 0.15 else ()
        strict = self.rng.random() < 0.05
        # Without a base it conflicts with nothing, but others with it.
        base = None if self.rng.random() < 0.05 else self.base
        return self._deed(
            deeds.Kind.WRITE, base=base, notes={note: value}, marks=marks, depends_on=depends_on, strict=strict
        )

    def _deed(self, kind: deeds.Kind, *, base: int | None, schema: int | None = None, **fields: Any) -> Deed:
        schema = self.schema if schema is None else schema
        author = "" if kind is deeds.Kind.SYSTEM else self.name
        return Deed(ids.uuid7(), author, kind, base, schema, time.monotonic(), **fields)

    def _value(self) -> str:
        self._made += 1
        return f"{self.name} wrote {self._made}"

    def _route(self) -> int | None:
        """Half of the time the preferred process, else any."""
        return None if self.rng.random() < 0.5 else self.rng.randrange(self.line.count)


def fetched(url: str) -> bytes:
    """What is at a URL. OSError."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
        return body
