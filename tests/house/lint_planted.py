"""Lints a tree again and again in one process, each time with something planted: what the contract tests run in a copy.

Standard input: JSON, a list of {path: text to append}, paths relative to the current folder. Standard output: JSON,
for each of them the sorted names of the broken contracts. Nothing planted is left behind.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from click.testing import CliRunner
from importlinter.cli import lint_imports_command

BROKEN = re.compile(r"(?P<name>.*\S) BROKEN(?: \(.*\))?\s*")  # a contract that ignores some imports says how many


def broken_contracts() -> list[str]:
    """The names that `lint-imports` reports as broken; SystemExit when it could not run."""
    result = CliRunner().invoke(lint_imports_command, ["--no-cache", "--no-logo"])
    found = (BROKEN.fullmatch(line) for line in result.output.splitlines())
    names = [match["name"].strip() for match in found if match]
    if result.exit_code != (1 if names else 0):
        raise SystemExit(f"lint-imports ended with {result.exit_code}: {result.output.strip()}")
    return sorted(names)


def with_planted(leak: dict[str, str]) -> list[str]:
    """The contracts that break while the leak is in the tree."""
    before = {Path(name): Path(name).read_text(encoding="utf-8") if Path(name).exists() else None for name in leak}
    try:
        for path, text in before.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text or ''}\n{leak[str(path)]}\n", encoding="utf-8")
        return broken_contracts()
    finally:
        for path, text in before.items():
            if text is None:
                path.unlink()
            else:
                path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    json.dump([with_planted(leak) for leak in json.load(sys.stdin)], sys.stdout)
