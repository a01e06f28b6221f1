"""kill -9 at random under users at work: `python -m tests.chaos.services --seed 7 --kills 20`.

Users upload, mark clips, rename, delete and export, each through a client that repeats what was not answered. Meanwhile
parts of the running system are killed and started again. At the end every acknowledged write is there, every accepted
export has succeeded, once, with outputs that play, and all of it still after a restart of everything. The seed
decides what is done and killed; when exactly each kill strikes is the machine's.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from devstack import footage, keys, settings, table
from devstack.api import Api, ApiError, connect
from devstack.checks import look
from devstack.ready import is_ready
from devstack.stack import Stack
from devstack.table import Part
from tests.chaos.ledger import Ledger, broken

EXTRA = {
    "gateway": {"RATE_PER_S": "2000", "RATE_BURST": "4000"},
    # A job dies with each kill of render, through no fault of its own.
    "render": {"RENDER_ATTEMPTS_MAX": "10"},
}
DBSYNCS = 2
EXPORTS_AT_ONCE = 2
READY_S = 60.0
EXPORTS_END_S = 300.0


@dataclass
class User:
    """Somebody at work, and what they were promised."""

    name: str
    api: Api
    rng: random.Random
    ledger: Ledger = field(default_factory=Ledger)
    game_id: str = ""
    video_id: str = ""
    reel_id: str = ""
    made: int = 0

    async def begin(self, video: Path) -> None:
        """A game with footage, a clip, a reel; before anything is killed."""
        game = await self.api.post("/games", {"name": f"{self.name} main"})
        self.game_id = game["id"]
        self.ledger.known(self.ledger.games, game["id"], game["name"])
        self.video_id = (await self.api.upload(game["id"], video))["id"]
        await self.mark()
        new = {"name": "Best of", "aspect": "9:16", "clip_ids": list(self.ledger.clips)}
        self.reel_id = (await self.api.post("/reels", new))["id"]

    async def work(self, stopping: asyncio.Event) -> None:
        """One thing after the other until told to stop."""
        deeds = (self.mark, self.play, self.rename, self.forget, self.export)
        while not stopping.is_set():
            await self.rng.choices(deeds, weights=(4, 3, 4, 1, 2))[0]()
            await asyncio.sleep(self.rng.uniform(0.02, 0.2))

    async def mark(self) -> None:
        """Marks a clip."""
        start_ms = self.rng.randrange(0, 3000, 100)
        clip = {"video_id": self.video_id, "start_ms": start_ms, "end_ms": start_ms + 500}
        await self._make(self.ledger.clips, f"/games/{self.game_id}/clips", clip)

    async def play(self) -> None:
        """Makes another game."""
        await self._make(self.ledger.games, "/games", {})

    async def rename(self) -> None:
        """Renames a clip or a game."""
        rows, path = self.rng.choice([(self.ledger.clips, "clips"), (self.ledger.games, "games")])
        keys_ = [key for key in rows if key not in self.ledger.deleted]
        key, name = self.rng.choice(keys_), self._name()
        answer = await self._answered(self.api.ask("PATCH", f"/{path}/{key}", {"name": name}))
        if answer is None:
            self.ledger.doubtful(rows, key, name)
        else:
            self.ledger.known(rows, key, name)

    async def forget(self) -> None:
        """Deletes a clip; the reel's stays."""
        clips = [key for key in list(self.ledger.clips)[1:] if key not in self.ledger.deleted]
        if not clips:
            return
        key = self.rng.choice(clips)
        if await self._answered(self.api.ask("DELETE", f"/clips/{key}")) is None:
            self.ledger.clips.pop(key)
            self.ledger.unknown += 1
            raise Lost(f"{self.name}: a deletion was not answered for long")
        self.ledger.deleted.add(key)
        self.ledger.acknowledged += 1

    async def export(self) -> None:
        """Asks for an export, unless some are under way."""
        shown = (await self.api.get("/library"))["exports"]
        if sum(1 for one in shown if one["state"] in ("queued", "running")) >= EXPORTS_AT_ONCE:
            return
        first = next(iter(self.ledger.clips))
        wanted: list[dict[str, Any]] = [
            {"kind": "framing", "reel_id": self.reel_id},
            {"kind": "annotate", "game_id": self.game_id, "clip_ids": [first]},
        ]
        accepted = await self._answered(self.api.ask("POST", "/exports", self.rng.choice(wanted)))
        if accepted is not None:
            self.ledger.exports.add(accepted["id"])
            self.ledger.acknowledged += 1

    async def _make(self, rows: dict[str, set[str]], path: str, new: dict[str, Any]) -> None:
        name = self._name()
        made = await self._answered(self.api.ask("POST", path, {**new, "name": name}))
        if made is None:
            self.ledger.perhaps.add(name)
            self.ledger.unknown += 1
        else:
            self.ledger.known(rows, made["id"], name)

    def _name(self) -> str:
        self.made += 1
        return f"{self.name} {self.made}"

    async def _answered(self, asking: Awaitable[Any]) -> Any:
        """The body of an acknowledgement; None when there was no answer for as long as the client is patient."""
        try:
            answer = await asking
        except (aiohttp.ClientError, TimeoutError):
            return None
        if answer.status in (429, 502, 503, 504):
            return None
        if answer.status >= 400:
            raise ApiError(answer.status, answer.body)
        return answer.body or {}


class Lost(Exception):
    """The system was away for longer than a client waits."""


async def kill(stack: Stack, rng: random.Random, kills: int) -> Counter[str]:
    """Kills and starts again, one or two parts at a time, until enough have died; how often each did."""
    parts = {part.name: part for part in table.parts(stack.settings, stack.keys) if part.name != "web"}
    killed: Counter[str] = Counter()
    while killed.total() < kills:
        await asyncio.sleep(rng.uniform(0.3, 2.5))
        victims = rng.sample(sorted(parts), k=min(rng.choice((1, 1, 1, 2)), kills - killed.total()))
        for name in victims:
            stack.kill(name)
            killed[name] += 1
        print(f"  killed {' and '.join(victims)}", flush=True)
        await asyncio.sleep(rng.uniform(0, 1))
        for name in victims:
            stack.launch(name)
        for name in victims:
            await until_ready(parts[name])
    return killed


async def until_ready(part: Part) -> None:
    """Waits for a part that was started again."""
    for _ in range(round(READY_S / 0.1)):
        if await asyncio.to_thread(is_ready, part):
            return
        await asyncio.sleep(0.1)
    raise Lost(f"{part.name} was not ready in {READY_S:g} s")


async def verify(user: User, folder: Path) -> tuple[list[str], dict[str, Any]]:
    """What was promised to a user and is not so; and the library."""
    faults = []
    async with asyncio.timeout(EXPORTS_END_S):
        for key in user.ledger.exports:
            await user.api.finished(key, timeout_s=EXPORTS_END_S)
    library = await user.api.get("/library")
    faults += broken(user.ledger, library)
    for export in library["exports"]:
        if export["state"] != "succeeded":
            faults.append(f"export {export['id']} ended {export['state']}: {export['error']}")
        for output in (one for one in export["outputs"] if one["role"] != "annotations"):
            path = folder / f"{output['id']}.mp4"
            await user.api.download(output["url"], path)
            if path.stat().st_size != output["size_bytes"] or look(path).frames < 1:
                faults.append(f"export {export['id']}: {output['name']} is not the file that was promised")
        roles = Counter(output["role"] for output in export["outputs"])
        sheets = roles.pop("annotations", 0)  # a TSV and a JSON
        if export["state"] == "succeeded" and (max(roles.values(), default=0) != 1 or sheets not in (0, 2)):
            faults.append(f"export {export['id']} has the outputs {dict(roles)}")
    return [f"{user.name}: {fault}" for fault in faults], library


async def run(stack: Stack, folder: Path, seed: int, kills: int, users: int) -> tuple[list[str], str]:
    """The whole run on a started stack; the faults and a summary."""
    video = footage.generated(folder / "game.mp4", seconds=4)
    stopping, killer = asyncio.Event(), random.Random(f"{seed} killer")
    async with AsyncExitStack() as pages:
        crowd = []
        for number in range(users):
            api = await pages.enter_async_context(connect(stack.settings.api_origin, anonymous=True))
            crowd.append(User(f"user{number}", api, random.Random(f"{seed} {number}")))
        await asyncio.gather(*(user.begin(video) for user in crowd))
        working = [asyncio.create_task(user.work(stopping)) for user in crowd]
        killed = await kill(stack, killer, kills)
        stopping.set()
        await asyncio.gather(*working)
        faults, libraries = [], []
        for user in crowd:
            found, library = await verify(user, folder)
            faults += found
            libraries.append(library)
        stack.stop()
        stack.start()
        for user, before in zip(crowd, libraries, strict=True):
            after = await user.api.get("/library")
            if after != before:
                faults.append(f"{user.name}: the library is another after a restart")
        exports = sum(len(user.ledger.exports) for user in crowd)
        summary = (
            f"{killed.total()} kills ({', '.join(f'{name} {count}' for name, count in sorted(killed.items()))}), "
            f"{users} users, {sum(user.ledger.acknowledged for user in crowd)} writes acknowledged, "
            f"{sum(user.ledger.unknown for user in crowd)} never answered, {exports} exports"
        )
        return faults, summary


def main() -> int:
    """Runs; 1 when a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--users", type=int, default=3)
    options = parser.parse_args()
    print(f"chaos over services: --seed {options.seed} --kills {options.kills} --users {options.users}", flush=True)
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="reel-chaos-") as name:
        folder = Path(name)
        config = settings.free(folder / "data", dbsyncs=DBSYNCS)
        parts = [part for part in table.parts(config, keys.load(config.data)) if part.name != "web"]
        stack = Stack(config, extra=EXTRA, parts=parts)
        try:
            stack.start()
            faults, summary = asyncio.run(run(stack, folder, options.seed, options.kills, options.users))
        finally:
            stack.stop()
    for fault in faults:
        print(f"BROKEN: {fault}")
    print(f"{summary}; {len(faults)} promises broken; {time.monotonic() - began_s:.0f} s")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
