"""Finished chunks of jobs that are not over, on this machine's disk: what stands there is not rendered again.

1. They outlive attempts and processes
   (tests/render/test_kept.py::test_what_was_finished_before_a_kill_is_not_done_again).
2. Nothing is kept of a job that is over (test_nothing_stays_of_jobs_that_are_over), and no job that has begun since
   this process did loses anything to the clearing at its start (test_a_new_job_keeps_its_own).
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from render.job import Job

_FOLDER = "chunks"


class Kept:
    """The folders of jobs below a work folder, of which the rest is emptied. Blocking."""

    def __init__(self, work_dir: Path) -> None:
        self._folder = work_dir / _FOLDER
        self._folder.mkdir(parents=True, exist_ok=True)
        self._found = {one.name for one in self._folder.iterdir()}
        for other in work_dir.iterdir():
            if other != self._folder:
                shutil.rmtree(other, ignore_errors=True)

    def folder(self, job: Job) -> Path:
        """Where a job's chunks are; what a killed process left unfinished there is deleted."""
        folder = self._folder / _name(job)
        folder.mkdir(exist_ok=True)
        for unfinished in folder.glob("*.part"):
            unfinished.unlink(missing_ok=True)
        return folder

    def forget(self, job: Job) -> None:
        """Deletes what is kept of a job; nothing of it may run."""
        shutil.rmtree(self._folder / _name(job), ignore_errors=True)

    def forget_all_but(self, unfinished: Iterable[Job]) -> None:
        """Deletes what earlier processes kept of other jobs."""
        for name in self._found - {_name(job) for job in unfinished}:
            shutil.rmtree(self._folder / name, ignore_errors=True)


def _name(job: Job) -> str:
    return hashlib.sha256(f"{job.tenant}/{job.job_id}".encode()).hexdigest()[:32]
