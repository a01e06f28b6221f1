"""Prints a trace as a tree, out of the spans that the services keep on disk."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass
class Node:
    """A span with what happened inside it, in order of time."""

    span: dict[str, Any]
    children: list[Node] = field(default_factory=list)


def spans(folder: Path, trace_id: str) -> list[dict[str, Any]]:
    """The spans of a trace in a folder of {service}.jsonl."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.jsonl")):
        with path.open() as file:
            # The last line may be half written.
            found += [json.loads(line) for line in file if trace_id in line and line.endswith("\n")]
    return sorted((span for span in found if span["trace_id"] == trace_id), key=lambda span: span["start_ns"])


def tree(found: Iterable[dict[str, Any]]) -> list[Node]:
    """The roots: spans without a parent, and those whose parent was never written."""
    nodes = {span["span_id"]: Node(span) for span in found}
    roots: list[Node] = []
    for node in nodes.values():
        parent = nodes.get(node.span["parent_id"] or "")
        (parent.children if parent else roots).append(node)
    return roots


def render(roots: Iterable[Node], min_ms: float = 0.0) -> str:
    """The tree as text: when it began after the trace's start, how long it took, where, what; failures marked."""
    tops = list(roots)
    start = min((root.span["start_ns"] for root in tops), default=0)
    lines = [f"{'begins':>10} {'took':>10}  span"]

    def add(node: Node, prefix: str, last: bool, depth: int) -> None:
        span = node.span
        took = (span["end_ns"] - span["start_ns"]) / 1e6
        begins = (span["start_ns"] - start) / 1e6
        branch = prefix + ("" if depth == 0 else "└─ " if last else "├─ ")
        mark = f"  ✗ {span['description'] or ''}" if span["status"] == "error" else ""
        lines.append(f"{begins:8.0f}ms {took:8.1f}ms  {branch}{span['service']}: {span['name']} [{span['kind']}]{mark}")
        shown = [child for child in node.children if child.span["end_ns"] - child.span["start_ns"] >= min_ms * 1e6]
        deeper = prefix + ("" if depth == 0 else "   " if last else "│  ")
        for index, child in enumerate(shown):
            add(child, deeper, index == len(shown) - 1, depth + 1)

    for root in tops:
        add(root, "", True, 0)
    return "\n".join(lines)
