"""One export is one tree of spans over four services, under the browser's own span; and the trace id is in the logs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from typing import Any

from devstack import trace
from devstack.api import Api
from devstack.stack import Stack
from devstack.trace import Node
from tests.e2e.story import Story


def browser() -> tuple[str, str, dict[str, str]]:
    """A trace id, a span id, and the header that says so."""
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    return trace_id, span_id, {"traceparent": f"00-{trace_id}-{span_id}-01"}


def walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.children:
        yield from walk(child)


def named(node: Node, end: str, kind: str) -> list[Node]:
    return [found for found in walk(node) if found.span["name"].endswith(end) and found.span["kind"] == kind]


async def whole_tree(stack: Stack, trace_id: str, parent_id: str) -> Node:
    """The trace once every span of it has ended: a span is written at its end, so parents come last."""
    for _ in range(600):
        roots = trace.tree(trace.spans(stack.traces, trace_id))
        if len(roots) == 1 and roots[0].span["parent_id"] == parent_id and named(roots[0], "finish export", "internal"):
            return roots[0]
        await asyncio.sleep(0.1)
    raise AssertionError(trace.render(trace.tree(trace.spans(stack.traces, trace_id))))


async def test_one_export_is_one_tree_over_four_services(api: Api, stack: Stack, story: Story) -> None:
    trace_id, span_id, header = browser()
    accepted = await api.ask("POST", "/exports", {"kind": "framing", "reel_id": story.reel_id}, headers=header)
    assert accepted.status == 202 and accepted.body["trace_id"] == trace_id
    export = await api.finished(accepted.body["id"])
    assert export["state"] == "succeeded" and export["trace_id"] == trace_id

    root = await whole_tree(stack, trace_id, span_id)
    assert (root.span["service"], root.span["name"]) == ("gateway", "POST /api/exports")
    spans: list[dict[str, Any]] = [node.span for node in walk(root)]
    assert {span["service"] for span in spans} == {"gateway", "storage", "dbsync", "render"}
    assert [span for span in spans if span["status"] == "error"] == []
    assert all(span["start_ns"] <= span["end_ns"] for span in spans)

    # The row precedes the submission, the submission the job, the job the row's end.
    [submit] = named(root, "RenderService/Submit", "server")
    [job] = named(submit, "render.job", "consumer")
    [attempt] = named(job, "render.attempt", "internal")
    first_commit = named(root, "DbSyncService/Commit", "server")[0]
    [finish] = named(root, "finish export", "internal")
    assert first_commit.span["end_ns"] <= submit.span["start_ns"] <= job.span["start_ns"]
    assert job.span["end_ns"] <= finish.span["start_ns"]
    # Each attempt asks storage for its URLs, writes its file, and has it checked.
    for end in ("StorageService/GrantDownloads", "StorageService/GrantUpload", "StorageService/Stat"):
        assert named(attempt, end, "server"), f"no {end} below the attempt"
    assert [node.span["name"] for node in attempt.children if node.span["name"].startswith("render.")] == [
        "render.reading",
        "render.rendering",
        "render.joining",
        "render.uploading",
    ]
    # Every call was received: a client's span of ours has the server's below it.
    for node in walk(root):
        if node.span["kind"] == "client" and node.span["name"].startswith("reel."):
            assert [child.span["name"] for child in node.children if child.span["kind"] == "server"] == [
                node.span["name"]
            ]
    # A commit is acknowledged by the store's PUT.
    for commit in named(root, "DbSyncService/Commit", "server"):
        assert named(commit, "store PUT", "client")


async def test_an_error_carries_its_trace_id_into_the_answer_and_the_log(api: Api, stack: Stack) -> None:
    trace_id, _, header = browser()
    answer = await api.ask("GET", "/exports/0190b000-0000-7000-8000-000000000000", headers=header)
    assert answer.status == 404 and answer.body["trace_id"] == trace_id

    trace_id, _, header = browser()
    made = await api.ask("POST", "/games", {"name": "Logged"}, headers=header)
    assert made.status == 201
    user = (await api.get("/session"))["user_id"]
    [line] = [line for line in stack.log_lines("gateway") if line.get("trace_id") == trace_id]
    assert line["level"] == "info"
    assert line["message"] == f"Database synced to R2 for user: {user}, version: {made.headers['X-Database-Version']}"
