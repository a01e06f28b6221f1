"""Exports and their outputs as rows.

An unfinished export's row says `queued`; what it is at this moment is render's to say. Ending it is one commit whose
every statement asks whether the row is unfinished, so that it takes effect once however often and from however many
places it is tried.
"""

# ruff: noqa: S608 (every piece of SQL that is put together here is a constant; values are parameters)

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.domain.exports import Export, ExportKind, ExportRequest, Output, Plan, Role
from gateway.domain.ids import derive
from gateway.domain.jobs import Job, JobError, JobState
from gateway.library.records import NOW_MS, Record, marks, records
from gateway.library.steps import Step, full, missing, one, select, step
from gateway.ports import Rows, Scalar, Statement

MAX_EXPORTS = 5000
MAX_UNFINISHED = 20
MAX_PLAN_BYTES = 1_500_000
ROWS_A_STATEMENT = 100

OUTPUT_COLUMNS = (
    "id", "export_id", "name", "role", "clip_id", "size_bytes", "duration_ms", "width", "height", "fps",
    "object_key", "poster_key", "etag",
)  # fmt: skip

_OPEN = "state = 'queued'"
_EXPORTS = """SELECT id, kind, game_id, reel_id, state, error_code, error_message, error_retryable, created_ms,
    finished_ms, sequence, trace_id FROM exports"""
_OUTPUTS = f"SELECT {', '.join(OUTPUT_COLUMNS)} FROM export_outputs"

Selects = tuple[Statement, Statement]


def all_exports() -> Selects:
    """Every export, newest first, and every output."""
    return select(f"{_EXPORTS} ORDER BY created_ms DESC, id DESC"), select(f"{_OUTPUTS} ORDER BY export_id, position")


def exports_of(column: str, value: str) -> Selects:
    """The exports of a game or a reel (`column` is game_id or reel_id)."""
    if column not in ("game_id", "reel_id"):
        raise ValueError(column)
    return (
        select(f"{_EXPORTS} WHERE {column} = ? ORDER BY created_ms DESC, id DESC", value),
        select(
            f"{_OUTPUTS} WHERE export_id IN (SELECT id FROM exports WHERE {column} = ?) ORDER BY export_id, position",
            value,
        ),
    )


def one_export(export_id: str) -> Selects:
    """An export and its outputs."""
    return (
        select(f"{_EXPORTS} WHERE id = ?", export_id),
        select(f"{_OUTPUTS} WHERE export_id = ? ORDER BY position", export_id),
    )


def one_output(export_id: str, output_id: str) -> Statement:
    """An output of an export."""
    return select(f"{_OUTPUTS} WHERE export_id = ? AND id = ?", export_id, output_id)


def request_of(export_id: str) -> Statement:
    """What an export was asked for."""
    return select("SELECT request FROM exports WHERE id = ?", export_id)


def plan_of(export_id: str) -> Statement:
    """The plan of an unfinished export."""
    return select(f"SELECT plan FROM exports WHERE id = ? AND {_OPEN}", export_id)


def traceparent_of(export_id: str) -> Statement:
    """The trace in which an unfinished export was asked for."""
    return select(f"SELECT traceparent FROM exports WHERE id = ? AND {_OPEN}", export_id)


def insert_export(export_id: str, request: ExportRequest, plan: Plan, trace_id: str, traceparent: str) -> list[Step]:
    """Creates an export that is not submitted yet."""
    return [
        one(full("exports", MAX_EXPORTS), "SELECT 1 WHERE (SELECT count(*) FROM exports) < ?", MAX_EXPORTS),
        one(
            full("exports at a time", MAX_UNFINISHED),
            f"SELECT 1 WHERE (SELECT count(*) FROM exports WHERE {_OPEN}) < ?", MAX_UNFINISHED,
        ),
        step(
            f"""INSERT INTO exports (id, kind, game_id, reel_id, request, plan, state, created_ms, sequence,
            traceparent, trace_id) VALUES (?, ?, ?, ?, ?, ?, 'queued', {NOW_MS}, 0, ?, ?)""",
            export_id, request.kind.value, request.game_id, request.reel_id, encode(request), encode(plan),
            traceparent, trace_id,
        ),
        *(Step(statement) for statement in one_export(export_id)),
    ]  # fmt: skip


def finish_export(export_id: str, job: Job, plan: Plan) -> list[Step]:
    """Makes a finished job visible: its outputs and its state, once. The plan is dropped: a retry plans anew."""
    planned = {output.name: (position, output) for position, output in enumerate(plan.outputs)}
    values: list[tuple[Scalar, ...]] = []
    for made in job.outputs if job.state is JobState.SUCCEEDED else ():
        position, output = planned[made.name]
        values.append(
            (derive(export_id, "output", made.name), export_id, position, made.name, output.role.value, output.clip_id,
             made.key, made.poster_key, made.etag, made.size_bytes, made.duration_us // 1000, made.width,
             made.height, made.fps)
        )  # fmt: skip
    steps = [
        _insert_outputs(export_id, values[start : start + ROWS_A_STATEMENT])
        for start in range(0, len(values), ROWS_A_STATEMENT)
    ]
    error = job.error if job.state is JobState.FAILED else None
    failure: tuple[Scalar, ...] = (None, None, None)
    if error is not None:
        failure = (error.code, error.message, int(error.retryable))
    steps.append(
        step(
            f"""UPDATE exports SET state = ?, error_code = ?, error_message = ?, error_retryable = ?,
            finished_ms = {NOW_MS}, sequence = ?, plan = '' WHERE id = ? AND {_OPEN}""",
            job.state.value, *failure, max(job.sequence, 1), export_id,
        )
    )  # fmt: skip
    return steps


def _insert_outputs(export_id: str, values: Sequence[tuple[Scalar, ...]]) -> Step:
    row = f"({marks(len(values[0]))})"
    return step(
        f"""INSERT INTO export_outputs (id, export_id, position, name, role, clip_id, object_key, poster_key, etag,
        size_bytes, duration_ms, width, height, fps) SELECT * FROM (VALUES {", ".join(row for _ in values)})
        WHERE EXISTS (SELECT 1 FROM exports WHERE id = ? AND {_OPEN})""",
        *(value for one_row in values for value in one_row), export_id,
    )  # fmt: skip


def delete_export(export_id: str) -> list[Step]:
    """Takes an export off the list; its objects stay."""
    return [
        one(missing("export"), "DELETE FROM exports WHERE id = ?", export_id),
        step("DELETE FROM export_outputs WHERE export_id = ?", export_id),
    ]


def read_exports(exports: Rows, outputs: Rows) -> list[Export]:
    """Exports with their outputs."""
    by_export: dict[str, list[Output]] = {}
    for record in records(outputs):
        by_export.setdefault(record.text("export_id"), []).append(read_output(record))
    return [_export(record, by_export.get(record.text("id"), ())) for record in records(exports)]


def read_output(record: Record) -> Output:
    """An output."""
    return Output(
        id=record.text("id"),
        export_id=record.text("export_id"),
        name=record.text("name"),
        role=Role(record.text("role")),
        clip_id=record.maybe_text("clip_id"),
        size_bytes=record.integer("size_bytes"),
        duration_ms=record.integer("duration_ms"),
        width=record.integer("width"),
        height=record.integer("height"),
        fps=record.number("fps"),
        key=record.text("object_key"),
        poster_key=record.text("poster_key"),
        etag=record.text("etag"),
    )


def read_request(rows: Rows) -> ExportRequest | None:
    """What was asked for; None when there is no such export."""
    found = records(rows)
    return msgspec.json.decode(found[0].text("request"), type=ExportRequest) if found else None


def read_plan(rows: Rows) -> Plan | None:
    """What is to be submitted; None when the export is finished or gone."""
    found = records(rows)
    return msgspec.json.decode(found[0].text("plan"), type=Plan) if found else None


def read_traceparent(rows: Rows) -> str:
    """A W3C traceparent; empty when there is none."""
    found = records(rows)
    return found[0].text("traceparent") if found else ""


def encode(value: ExportRequest | Plan) -> str:
    """A value as it is stored."""
    return msgspec.json.encode(value).decode()


def _export(record: Record, outputs: Sequence[Output]) -> Export:
    state = JobState(record.text("state"))
    code = record.maybe_text("error_code")
    error = (
        JobError(code, record.text("error_message"), bool(record.integer("error_retryable")))
        if code is not None
        else None
    )
    return Export(
        id=record.text("id"),
        kind=ExportKind(record.text("kind")),
        game_id=record.maybe_text("game_id"),
        reel_id=record.maybe_text("reel_id"),
        state=state,
        progress=1.0 if state is JobState.SUCCEEDED else 0.0,
        eta_s=None,
        phase="queued" if state is JobState.QUEUED else "",
        error=error,
        outputs=tuple(outputs),
        created_at=record.moment("created_ms"),
        finished_at=record.maybe_moment("finished_ms"),
        sequence=record.integer("sequence"),
        trace_id=record.text("trace_id"),
    )
