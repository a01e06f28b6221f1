"""Strangers at the running system: one with the README and curl, one with the OpenAPI document and no manners."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.core.result import Ok

from chassis.ids import uuid7
from devstack import footage
from devstack.api import connect
from devstack.checks import look
from devstack.stack import Stack
from tests.e2e import owner

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()
# What a reader does between README's lines: takes ids out of answers, sends the file, waits.
BETWEEN = {
    "post /games/$game/videos": 'video=$(jq_ \'["video"]["id"]\')',
    "post /videos/$video/upload/parts": 'url=$(jq_ \'["parts"][0]["url"]\')\n'
    'curl -sS --fail -X PUT -H "Content-Type:" --data-binary @match.mp4 "$url"',
    "post /games/$game/clips": "clip=$(jq_ '[\"id\"]')",
    "post /reels": "reel=$(jq_ '[\"id\"]')",
    "post /exports": "export=$(jq_ '[\"id\"]')\n"
    "for _ in $(seq 300); do answer=$(curl -sS $api/exports/$export); state=$(jq_ '[\"state\"]')\n"
    '  [ "$state" = queued ] || [ "$state" = running ] || break; sleep 0.3; done; echo "state=$state"\n'
    'output=$(jq_ \'["outputs"][0]["id"]\')',
}
EXAMPLES = 4  # of each operation
LONGEST_S = 150.0


def blocks(section: str) -> list[list[str]]:
    """The indented blocks of a section of README.md, line by line."""
    text = README.partition(f"## {section}\n")[2].partition("\n## ")[0]
    found: list[list[str]] = []
    for paragraph in text.split("\n\n"):
        lines = [line[4:] for line in paragraph.splitlines() if line.startswith("    ")]
        found += [lines] if lines else []
    return found


def script(api: str) -> str:
    """README's commands in their order, with what a reader does between them."""
    definitions, first_steps, whole_job = blocks("Use the API")
    lines = ["set -euo pipefail", *definitions, f"api={api}"]
    lines.append('jq_() { echo "$answer" | python3 -c "import json,sys; print(json.load(sys.stdin)$1)"; }')
    for line in first_steps + whole_job:
        if not line.startswith("post "):
            lines.append(line)
            continue
        command = re.sub(r"\s+#[^'\"]*$", "", line)
        lines += [f"answer=$({command})", 'echo "$answer"']
        lines += [more for start, more in BETWEEN.items() if re.match(re.escape(start) + r"(\s|$)", command)]
    return "\n".join(lines)


def test_the_readme_s_commands_lead_to_a_reel(stack: Stack, tmp_path: Path) -> None:
    footage.generated(tmp_path / "match.mp4", seconds=10)
    text = script(f"{stack.settings.api_origin}/api")
    done = subprocess.run(["bash", "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    assert "state=succeeded" in done.stdout, done.stdout
    seen = look(tmp_path / "reel.mp4")
    assert seen.frames == 5 * 25 and seen.width / seen.height == pytest.approx(9 / 16, abs=0.01)


@pytest.fixture
def mischief(stack: Stack, short_video: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Ids of things that may be broken, and the cookies of the user who has them."""

    async def make() -> tuple[dict[str, str], dict[str, str]]:
        async with connect(stack.settings.api_origin, anonymous=True) as api:
            made = await owner.make(api, short_video)
            return made.ids(), {cookie.key: cookie.value for cookie in api.http.cookie_jar}

    return asyncio.run(make())


def test_no_request_that_the_document_allows_is_a_5xx(
    stack: Stack, mischief: tuple[dict[str, str], dict[str, str]]
) -> None:
    ids, cookies = mischief
    schema = schemathesis.openapi.from_url(f"{stack.settings.api_origin}/api/openapi.json")
    ends_s, asked, answers = time.monotonic() + LONGEST_S, 0, dict[int, int]()

    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(
            max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def strike(case: schemathesis.Case[Any]) -> None:
            nonlocal asked
            if "Idempotency-Key" in case.headers:
                case.headers["Idempotency-Key"] = uuid7()
            if case.method != "DELETE":
                case.path_parameters.update({name: ids[name] for name in case.path_parameters})
            mine = {} if case.path.endswith("/session") else cookies
            answer = case.call(base_url=stack.settings.api_origin, cookies=mine, allow_redirects=False, timeout=60)
            assert answer.status_code < 500, (case.as_curl_command(), answer.text)
            if answer.status_code >= 400:
                assert answer.headers["content-type"][0].startswith("application/problem+json"), answer.headers
            asked += 1
            answers[answer.status_code] = answers.get(answer.status_code, 0) + 1

        strike()
        assert time.monotonic() < ends_s, f"only {asked} requests in {LONGEST_S:g} s"
    assert asked >= 35 * EXAMPLES / 2 and any(status < 300 for status in answers), answers
