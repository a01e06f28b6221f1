"""A stranger with the OpenAPI document and no manners: no request makes a 5xx, and every answer is one that the
document names.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as openapi_checks

from chassis.ids import uuid7
from gateway.http import openapi
from tests.gateway.api import USER, running

SCHEMA = schemathesis.openapi.from_dict(openapi.document())
CHECKS = [
    not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]


@dataclass(frozen=True)
class Target:
    """A gateway, and ids of things that it has."""

    url: str
    ids: dict[str, str]


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A gateway over fakes in a thread of its own, with a small library in it."""
    started, loops, found = threading.Event(), list[asyncio.AbstractEventLoop](), list[Target]()
    stop = asyncio.Event()

    async def serve() -> None:
        loops.append(asyncio.get_running_loop())
        async with running() as api:
            story = await api.story()
            export = await api.finished(None, USER, {"kind": "framing", "reel_id": story.reel_id})
            ids = {**asdict(story), "export_id": export["id"], "output_id": export["outputs"][0]["id"]}
            found.append(Target(api.url, ids))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), daemon=True)
    thread.start()
    assert started.wait(60)
    yield found[0]
    loops[0].call_soon_threadsafe(stop.set)
    thread.join(20)


@SCHEMA.parametrize()
@settings(
    max_examples=6, deadline=None, derandomize=True, database=None, phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_no_request_breaks_it(case: schemathesis.Case[Any], target: Target) -> None:
    if "Idempotency-Key" in case.headers:
        case.headers["Idempotency-Key"] = uuid7()
    if case.method != "DELETE":
        # Otherwise no request would come further than the 404 of a made-up id.
        case.path_parameters.update({name: target.ids[name] for name in case.path_parameters})
        if "If-Match" in case.headers and len(case.headers["If-Match"]) % 2:
            case.headers["If-Match"] = '"8"'
    case.call_and_validate(base_url=target.url, checks=CHECKS, timeout=60)
