"""The lines that operators watch for are written, with the numbers that they promise."""

from __future__ import annotations

import re
from typing import Any

from devstack.api import Api
from devstack.stack import Stack
from tests.e2e.faults import armed


async def said(stack: Stack, trace_id: str) -> list[dict[str, Any]]:
    return [line for line in stack.log_lines("gateway") if line.get("trace_id") == trace_id]


async def test_a_slow_store_is_told_of(api: Api, stack: Stack) -> None:
    trace_id = "5" * 31 + "1"
    await api.post("/games", {"name": "Before"})
    user = (await api.get("/session"))["user_id"]
    async with armed(stack, stage="commit", delay_s=0.7, method="PUT", key_prefix=f"{user}/db/"):
        headers = {"traceparent": f"00-{trace_id}-{'2' * 16}-01"}
        made = await api.ask("POST", "/games", {"name": "Slow"}, headers=headers)
    assert made.status == 201
    lines = await said(stack, trace_id)
    [sync] = [line for line in lines if line["message"].startswith("[SLOW DB SYNC]")]
    [request] = [line for line in lines if line["message"].startswith("[SLOW REQUEST]")]
    assert sync["level"] == request["level"] == "warning"
    took = re.fullmatch(r"\[SLOW DB SYNC\] POST /api/games - sync took (\d+\.\d\d)s", sync["message"])
    total = re.fullmatch(
        r"\[SLOW REQUEST\] POST /api/games - total (\d+\.\d\d)s \(sync: (\d+\.\d\d)s\)", request["message"]
    )
    assert took is not None and total is not None
    assert 0.7 <= float(took[1]) == float(total[2]) <= float(total[1])
    assert f"Database synced to R2 for user: {user}, version: " in lines[0]["message"]
