"""One attempt's work, from sources behind URLs to finished files in a folder. Blocking; runs in a child process.

Clips that are also written alone are encoded once: alone by adding their sound, joined by copying their pictures. Long
exports are encoded in chunks by several processes; sound is made once, of all of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from render import draw, instant, join, nvenc
from render.chunk import Frames, Sources, encode_chunk, hear
from render.crew import Crew
from render.footage import Facts, Footage
from render.join import Tags
from render.plan import MICRO, Chunk, ClipPlan, Plan, chunks, memory_bytes, shares, wholes
from render.planned_sound import Track
from render.products import ChunkTask, Product, Survey, Task
from render.recorded import Sound
from render.spec import Mode, Source

PROBED, RENDERED, JOINED = 0.02, 0.90, 0.95  # shares of the whole attempt's progress; uploading is the rest
POSTER_AT_MAX_S = 1.0
BEAT_S = 2.0

Report = Callable[[str, float], None]  # phase, progress 0 to 1


@dataclass(frozen=True)
class Sounds:
    """Files of finished sound: of clips that are written alone, and of everything."""

    alone: Mapping[int, Path]
    whole: Path | None


def probe(url: str, source: Source) -> Facts:
    """What a source is; SourceError."""
    sources = Sources({source: url})
    try:
        return sources.open(source).facts
    finally:
        sources.close()


def produce(task: Task, report: Report) -> list[Product]:
    """Makes every video of the specification in the task's folder; SourceError, EncodeError, CrewFailed, a Fault."""
    told = _Told(report)
    sources = Sources(task.urls, told.beat)
    try:
        told.report("reading", 0.0)
        survey = sources.survey(task.spec)
        made = survey.plan()
        if task.nvenc and task.spec.mode is Mode.EXACT:
            survey = replace(survey, codec=nvenc.choose(made, Path(task.folder)))
        told.report("rendering", PROBED)
        if task.spec.mode is Mode.INSTANT:
            return _posters(task, instant.copy(task.spec, made, sources, task.folder, told.report))
        together = at_once(task, made)
        cut = chunks(made, together)
        if cut == wholes(made):  # sound is heard while pictures are read
            sounds = _one_pass(task, survey, cut, sources, told)
        else:
            sounds = _by_crew(task, survey, cut, together, sources, told)
        return _assemble(task, survey, cut, sounds, told.report, told.beat)
    finally:
        sources.close()


def at_once(task: Task, made: Plan) -> int:
    """How many chunks of a task are rendered at a time: x264 keeps two cores busy beside one that draws, and of the
    memory that is free half may be taken.
    """
    if task.at_once:
        return task.at_once
    told = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    room = int(told["MemAvailable"].split()[0]) * 1024 // 2 // memory_bytes(made)
    return max(1, min(len(os.sched_getaffinity(0)) // 2, room))


def _assemble(
    task: Task, survey: Survey, cut: Sequence[Chunk], sounds: Sounds, report: Report, beat: Callable[[], None]
) -> list[Product]:
    """Joins chunks and sound to the finished files, some at a time; EncodeError."""
    report("joining", RENDERED)
    made, spec, folder = survey.plan(), task.spec, Path(task.folder)
    parts = [(chunk, _kept(task) / survey.chunk_name(chunk)) for chunk in cut]

    def joined(whole: Product, first: int, end: int, sound: Path | None, tags: Tags) -> Product:
        pieces = [path for chunk, path in parts if first <= chunk.first < end]
        join.join(task.binary, pieces, sound, folder / whole.name, tags, folder, beat)
        return whole

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        joining = []
        for clip in made.clips:
            if clip.clip.output_name:
                tags = Tags(clip.clip.title or spec.title, clip.clip.notes)
                whole = _product(clip.clip.output_name, made, clip.frames)
                sound = sounds.alone.get(clip.index)
                joining.append(pool.submit(joined, whole, clip.first, clip.end, sound, tags))
        if spec.output.name:
            whole = _product(spec.output.name, made, made.frames)
            tags = Tags(spec.title, spec.notes, spec.chapters, whole.duration_us)
            joining.append(pool.submit(joined, whole, 0, made.frames, sounds.whole, tags))
        products = [one.result() for one in joining]
    report("joining", JOINED)
    return _posters(task, products)


def _one_pass(task: Task, survey: Survey, cut: Sequence[Chunk], sources: Sources, told: _Told) -> Sounds:
    made, folder = survey.plan(), Path(task.folder)
    track = Track(made, folder) if task.spec.audio else None
    alone: dict[int, Path] = {}

    def clip_ended(clip: ClipPlan, footage: Footage, recorded: Sound | None) -> None:
        sources.rest(clip.clip.source, footage)
        if track is not None:
            track.add(clip, recorded)
            _set_alone(alone, track, clip)

    clips = draw.Clips(made, lambda clip: sources.open(clip.clip.source), clip_ended, heard=track is not None)
    frames = told.frames(made)
    for chunk in cut:
        done_before = (_kept(task) / survey.chunk_name(chunk)).exists()
        encode_chunk(survey, made, clips, chunk, _kept(task), frames)
        for clip in made.clips:
            if done_before and track is not None and chunk.first <= clip.first < chunk.end:
                hear(made, clip, sources, track)
                _set_alone(alone, track, clip)
    return Sounds(alone, track.whole() if track is not None and task.spec.output.name else None)


def _by_crew(task: Task, survey: Survey, cut: Sequence[Chunk], together: int, sources: Sources, told: _Told) -> Sounds:
    made = survey.plan()
    kept = _kept(task)
    frames = told.frames(made)
    missing = [chunk for chunk in cut if not (kept / survey.chunk_name(chunk)).exists()]
    frames(made.frames - sum(chunk.frames for chunk in missing))
    dealt = shares(missing, together)
    threads = max(2, len(os.sched_getaffinity(0)) * 3 // 2 // max(1, len(dealt)))
    crew = Crew([ChunkTask(survey, share, task.urls, str(kept), threads) for share in dealt])
    try:
        sounds = _sounds(task, made, sources, lambda: crew.tell(frames, wait=False))
        while crew.tell(frames, wait=True):
            pass
        return sounds
    finally:
        crew.end()


def _sounds(task: Task, made: Plan, sources: Sources, between: Callable[[], object] = lambda: None) -> Sounds:
    if not task.spec.audio:
        return Sounds({}, None)
    track = Track(made, Path(task.folder))
    alone: dict[int, Path] = {}
    for clip in made.clips:
        hear(made, clip, sources, track)
        _set_alone(alone, track, clip)
        between()
    return Sounds(alone, track.whole() if task.spec.output.name else None)


def _set_alone(alone: dict[int, Path], track: Track, clip: ClipPlan) -> None:
    if clip.clip.output_name:
        alone[clip.index] = track.alone(clip)


def _kept(task: Task) -> Path:
    return Path(task.kept or task.folder)


class _Told:
    """Passes reports on, and tells the last one again while there is only life to tell of."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = ("reading", 0.0)
        self._at_s = 0.0

    def report(self, phase: str, share: float) -> None:
        """A step forward."""
        self._last, self._at_s = (phase, share), time.monotonic()
        self._report(phase, share)

    def beat(self) -> None:
        """A sign of life."""
        if time.monotonic() - self._at_s > BEAT_S:
            self.report(*self._last)

    def frames(self, made: Plan) -> Frames:
        """Counts frames of a plan that are encoded."""
        done = 0

        def more(count: int) -> None:
            nonlocal done
            done += count
            self.report("rendering", PROBED + (RENDERED - PROBED) * done / made.frames)

        return more


def _product(name: str, made: Plan, frames: int) -> Product:
    return Product(name, "", round(Fraction(frames * MICRO) / made.fps), made.width, made.height, made.fps, frames)


def _posters(task: Task, products: list[Product]) -> list[Product]:
    if not task.spec.output.poster:
        return products

    def shown(product: Product) -> Product:
        name = f"{product.name.removesuffix('.mp4')}.jpg"
        at_s = min(POSTER_AT_MAX_S, product.duration_us / MICRO / 3)
        join.poster(task.binary, Path(task.folder) / product.name, Path(task.folder) / name, at_s)
        return replace(product, poster=name)

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return list(pool.map(shown, products))
