"""The ledger's tables, as numbered migrations that keep what is there.

A newer process may have made a later one already: later ones only add, so that this one goes on working.
"""

from __future__ import annotations

from chassis.faults import Fault

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """CREATE TABLE jobs (
            tenant TEXT NOT NULL, job_id TEXT NOT NULL, state TEXT NOT NULL, attempt INTEGER NOT NULL,
            transitions INTEGER NOT NULL, priority INTEGER NOT NULL, owner TEXT NOT NULL,
            spec BLOB NOT NULL, carrier TEXT NOT NULL,
            submitted_ms INTEGER NOT NULL, started_ms INTEGER NOT NULL, finished_ms INTEGER NOT NULL,
            failure TEXT NOT NULL, outputs TEXT NOT NULL,
            PRIMARY KEY (tenant, job_id)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX jobs_unfinished ON jobs (tenant) WHERE state IN ('queued', 'running')",
        "CREATE INDEX jobs_by_time ON jobs (tenant, submitted_ms, job_id)",
    ),
    (
        # One row for each attempt, kept: what it cost, and why it ended. `ended_ms` is 0 while it may still run.
        """CREATE TABLE attempts (
            tenant TEXT NOT NULL, job_id TEXT NOT NULL, attempt INTEGER NOT NULL,
            engine TEXT NOT NULL, began_ms INTEGER NOT NULL, ended_ms INTEGER NOT NULL,
            code TEXT NOT NULL, cost_micros INTEGER NOT NULL,
            PRIMARY KEY (tenant, job_id, attempt)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX attempts_open ON attempts (engine) WHERE ended_ms = 0",
        # The calls to a remote engine by which an attempt is taken up again.
        """CREATE TABLE calls (
            tenant TEXT NOT NULL, job_id TEXT NOT NULL, attempt INTEGER NOT NULL, part INTEGER NOT NULL,
            call_id TEXT NOT NULL,
            PRIMARY KEY (tenant, job_id, attempt, part)
        ) STRICT, WITHOUT ROWID""",
    ),
    (
        # Jobs of which nothing is left in the store but what finished them.
        """CREATE TABLE sweeps (
            tenant TEXT NOT NULL, job_id TEXT NOT NULL, swept_ms INTEGER NOT NULL, PRIMARY KEY (tenant, job_id)
        ) STRICT, WITHOUT ROWID""",
        "CREATE INDEX jobs_that_leave_things ON jobs (finished_ms, tenant, job_id)"
        " WHERE attempt > 0 AND finished_ms > 0 AND (attempt > 1 OR state <> 'succeeded')",
    ),
)
VERSION = len(MIGRATIONS)


def version_there(fault: Fault) -> int:
    """The version of a database that a call did not match; any other fault is raised again."""
    actual = fault.metadata.get("actual", "")
    if fault.reason != "schema_mismatch" or not actual.isdigit():
        raise fault
    return int(actual)
