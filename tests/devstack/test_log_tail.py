"""Warnings of the parts' logs are shown as they come, for a person to read."""

from __future__ import annotations

import json
from pathlib import Path

from devstack.log_tail import LogTail


def line(level: str, message: str, **more: str) -> str:
    return json.dumps({"level": level, "message": message, **more}) + "\n"


def test_only_what_is_new_and_worth_knowing_is_shown_once(tmp_path: Path) -> None:
    said: list[str] = []
    log = tmp_path / "gateway.jsonl"
    log.write_text(line("warning", "of yesterday"))
    tail = LogTail(tmp_path, said.append)
    with log.open("a") as file:
        file.write(line("info", "quiet") + line("warning", "slow", trace_id="f" * 32) + line("error", "broken")[:20])
    tail.show()
    assert said == [f"gateway: warning: slow  (trace {'f' * 32})"]
    with log.open("a") as file:
        file.write(line("error", "broken")[20:])
    (tmp_path / "render.jsonl").write_text("Traceback: not JSON\n")
    tail.show()
    tail.show()
    assert said[1:] == ["gateway: error: broken", "render: Traceback: not JSON"]
