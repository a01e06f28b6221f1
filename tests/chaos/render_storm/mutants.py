"""render with one thing broken, as a process: `python -m tests.chaos.render_storm.mutants NAME`. The judge must catch
each.
"""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from chassis.ids import uuid7
from render import attempts
from render.job import Ended, Job, State
from render.ledger import Ledger
from render.spec import Spec

LATE_S = 0.5


def acknowledges_first() -> None:
    """A submission is acknowledged, and written some time later."""
    submit = Ledger.submit
    late: set[asyncio.Task[Any]] = set()

    async def write(*arguments: Any) -> None:
        await asyncio.sleep(LATE_S)
        await submit(*arguments)

    async def submit_late(self: Ledger, job: Job, spec: bytes, carrier: dict[str, str]) -> tuple[Job, bytes]:
        late.add(asyncio.create_task(write(self, job, spec, carrier)))
        return job, spec

    Ledger.submit = submit_late  # type: ignore[method-assign]


def anybody_finishes() -> None:
    """Whoever has outputs makes them visible, an older attempt too."""

    async def finish(self: Ledger, job: Job, now_ms: int, ended: Ended, key: str) -> Job | None:
        state = State.FAILED if ended.failure else State.SUCCEEDED
        told = json.dumps(asdict(ended.failure)) if ended.failure else ""
        listed = json.dumps([asdict(one) for one in ended.outputs], default=str)
        sql = (
            "UPDATE jobs SET transitions = transitions + 1, state = ?, finished_ms = ?, failure = ?, outputs = ?"
            " WHERE tenant = ? AND job_id = ?"
        )
        await self._commit([(sql, (state, now_ms, told, listed, job.tenant, job.job_id))], uuid7())
        return await self.get(job.tenant, job.job_id)

    Ledger.finish = finish  # type: ignore[method-assign]


def one_folder() -> None:
    """All attempts of a job write to the same keys."""

    def key(job: Job, spec: Spec, name: str) -> str:
        return f"{spec.output.folder}/{name}"

    attempts._key = key


MUTANTS: dict[str, Callable[[], None]] = {
    made.__name__: made for made in (acknowledges_first, anybody_finishes, one_folder)
}

if __name__ == "__main__":
    MUTANTS[sys.argv.pop(1)]()
    runpy.run_module("render", run_name="__main__", alter_sys=True)
