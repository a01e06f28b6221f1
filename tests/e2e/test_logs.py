"""What the services log while one user does the main job: JSON with its trace, no error, no secret."""

from __future__ import annotations

import re

from devstack.stack import Stack
from tests.e2e.owner import Made

FIELDS = {"time", "level", "service", "environment", "logger", "message"}


def test_a_clean_run_logs_no_error_and_no_traceback(made: Made) -> None:
    assert made.log.bad() == []
    lines = [(service, line) for service, lines in made.log.lines.items() for line in lines]
    assert lines
    for service, line in lines:
        assert line.keys() >= FIELDS
        assert (line["service"], line["environment"]) == (service, "local")


def test_every_line_of_a_request_carries_its_trace(made: Made) -> None:
    lines = made.log.lines["gateway"]
    assert [line["message"] for line in lines if not re.fullmatch("[0-9a-f]{32}", line.get("trace_id", ""))] == []
    assert [line["message"] for line in lines if not re.fullmatch("[0-9a-f]{16}", line.get("span_id", ""))] == []
    # What the export did long after its request was answered, too.
    assert made.export["trace_id"] in {line["trace_id"] for line in lines}


def test_operators_see_each_version_reach_the_bucket(made: Made) -> None:
    said = [message for message in made.log.messages("gateway") if message.startswith("Database synced")]
    found = [re.fullmatch(r"Database synced to R2 for user: dev-local, version: (\d+)", text) for text in said]
    versions = [int(match[1]) for match in found if match]
    assert len(versions) == len(said) > 5
    assert versions == sorted(set(versions))


def test_secrets_and_signed_addresses_are_in_no_log_and_no_trace(stack: Stack, made: Made) -> None:
    secrets = [seed for seed, _ in stack.keys.signing.values()] + [stack.keys.store_secret_key, "X-Amz-Signature="]
    for path in (*stack.logs.iterdir(), *stack.traces.iterdir()):
        text = path.read_text(errors="replace")
        assert [secret[:12] for secret in secrets if secret in text] == [], path
