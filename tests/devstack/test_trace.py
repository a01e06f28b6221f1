"""A trace printed as a tree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from devstack import trace

ID = "a" * 32


def span(number: int, parent: int | None, name: str, start_ms: float, took_ms: float, **changed: Any) -> dict[str, Any]:
    return {
        "trace_id": ID,
        "span_id": f"{number:016x}",
        "parent_id": None if parent is None else f"{parent:016x}",
        "name": name,
        "service": "gateway",
        "kind": "internal",
        "start_ns": int(start_ms * 1e6),
        "end_ns": int((start_ms + took_ms) * 1e6),
        "status": "unset",
        "description": None,
        "attributes": {},
        **changed,
    }


def write(folder: Path, service: str, *spans: dict[str, Any]) -> None:
    (folder / f"{service}.jsonl").write_text("".join(json.dumps(one) + "\n" for one in spans))


def test_spans_of_all_services_become_one_tree_in_order_of_time(tmp_path: Path) -> None:
    # A span is written at its end: children come first.
    write(
        tmp_path, "dbsync", span(3, 2, "query", 2, 1, service="dbsync"), span(9, None, "else", 0, 1, trace_id="b" * 32)
    )
    write(tmp_path, "gateway", span(4, 1, "later", 6, 1), span(2, 1, "call", 1, 3), span(1, None, "POST", 0, 9))
    [root] = trace.tree(trace.spans(tmp_path, ID))
    assert root.span["name"] == "POST"
    assert [child.span["name"] for child in root.children] == ["call", "later"]
    assert [child.span["service"] for child in root.children[0].children] == ["dbsync"]


def test_a_line_half_written_and_a_parent_never_written_are_no_obstacle(tmp_path: Path) -> None:
    write(tmp_path, "gateway", span(2, 1, "orphan", 1, 3))
    with (tmp_path / "gateway.jsonl").open("a") as file:
        file.write(json.dumps(span(5, 2, "half", 1, 1))[:60])
    [root] = trace.tree(trace.spans(tmp_path, ID))
    assert root.span["name"] == "orphan" and root.children == []


def test_the_text_shows_times_places_and_failures(tmp_path: Path) -> None:
    failed = span(3, 1, "store.put", 7.5, 0.5, status="error", description="Fault: gone", kind="client")
    write(tmp_path, "render", span(1, None, "job", 5, 10), span(2, 1, "read", 6, 1), failed)
    text = trace.render(trace.tree(trace.spans(tmp_path, ID)))
    assert text.splitlines()[1:] == [
        "       0ms     10.0ms  gateway: job [internal]",
        "       1ms      1.0ms  ├─ gateway: read [internal]",
        "       2ms      0.5ms  └─ gateway: store.put [client]  ✗ Fault: gone",
    ]
    assert "store.put" not in trace.render(trace.tree(trace.spans(tmp_path, ID)), min_ms=0.9)


def test_no_folder_and_no_trace_are_empty(tmp_path: Path) -> None:
    assert trace.spans(tmp_path / "none", ID) == []
    assert len(trace.render([]).splitlines()) == 1
