"""Exports: what was asked, where it stands, what it made.

An export shows `succeeded` only once its outputs are committed; until then a finished job is `running` in the phase
"saving".
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from gateway.domain.jobs import TERMINAL, Job, JobError, JobState
from gateway.domain.render_spec import RenderSpec


class ExportKind(StrEnum):
    """What an export makes."""

    ANNOTATE = "annotate"  # clips cut out of a game, and a compilation
    FRAMING = "framing"  # a reel's working video
    OVERLAY = "overlay"  # the spotlights burnt into the working video: the final video
    REEL = "reel"  # framing and overlay in one encode


class Role(StrEnum):
    """What an output is to the product."""

    CLIP = "clip"
    COMPILATION = "compilation"
    ANNOTATIONS = "annotations"  # what was said of the clips, as a file
    WORKING = "working"
    FINAL = "final"


@dataclass(frozen=True)
class ExportRequest:
    """What was asked for: ids and choices only; the rest is read from the database."""

    kind: ExportKind
    game_id: str | None = None
    reel_id: str | None = None
    clip_ids: tuple[str, ...] | None = None  # None: every clip of the game
    captions: bool = False
    instant: bool = False


@dataclass(frozen=True)
class PlannedOutput:
    """An output that the specification will make, by its name there."""

    name: str
    role: Role
    clip_id: str | None = None


@dataclass(frozen=True)
class Plan:
    """What is submitted to render, kept with the export so that a lost submission is repeated exactly."""

    spec: RenderSpec
    outputs: tuple[PlannedOutput, ...]


@dataclass(frozen=True)
class Output:
    """A finished file of an export: a video, but for annotations."""

    id: str
    export_id: str
    name: str
    role: Role
    clip_id: str | None
    size_bytes: int
    duration_ms: int
    width: int
    height: int
    fps: float
    key: str
    poster_key: str
    etag: str = ""

    @property
    def url(self) -> str:
        """Where the app asks for the file."""
        return f"/api/exports/{self.export_id}/outputs/{self.id}/file"

    @property
    def poster_url(self) -> str | None:
        """Where the app asks for the still, if there is one."""
        return f"/api/exports/{self.export_id}/outputs/{self.id}/poster" if self.poster_key else None


@dataclass(frozen=True)
class Export:
    """One run of an export."""

    id: str
    kind: ExportKind
    game_id: str | None
    reel_id: str | None
    state: JobState
    progress: float
    eta_s: float | None
    phase: str
    error: JobError | None
    outputs: tuple[Output, ...]
    created_at: datetime
    finished_at: datetime | None
    sequence: int
    trace_id: str

    @property
    def terminal(self) -> bool:
        """Whether it will not change again."""
        return self.state in TERMINAL


def with_job(export: Export, job: Job | None) -> Export:
    """An export as its row says, with what render says of its job while it is unfinished."""
    if export.terminal or job is None:
        return export
    if job.terminal:
        return replace(
            export, state=JobState.RUNNING, progress=1.0, eta_s=0.0, phase="saving", sequence=max(job.sequence - 1, 0)
        )
    return replace(
        export,
        state=job.state,
        progress=min(max(job.progress, 0.0), 1.0),
        eta_s=job.eta_s,
        phase=job.phase,
        sequence=job.sequence,
    )
