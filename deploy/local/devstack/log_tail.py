"""Shows the warnings and errors of the parts' logs as they come, in words for a person."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

LEVELS = ("warning", "error", "critical")


class LogTail:
    """Follows every log of a folder from now on."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self._folder = folder
        self._say = say
        self._read = {path: path.stat().st_size for path in folder.glob("*.jsonl")}

    def show(self) -> None:
        """Says what was added since the last time."""
        for path in sorted(self._folder.glob("*.jsonl")):
            start = self._read.get(path, 0)
            with path.open("rb") as file:
                file.seek(start)
                added = file.read()
            whole = added.rpartition(b"\n")[0]
            self._read[path] = start + len(whole) + (1 if whole else 0)
            for line in whole.decode(errors="replace").splitlines():
                words = _words(path.stem, line)
                if words:
                    self._say(words)


def _words(part: str, line: str) -> str:
    try:
        told = json.loads(line)
    except ValueError:
        return f"{part}: {line}"
    if not isinstance(told, dict) or told.get("level") not in LEVELS:
        return ""
    trace_id = told.get("trace_id", "")
    return f"{part}: {told['level']}: {told.get('message', '')}" + (f"  (trace {trace_id})" if trace_id else "")
