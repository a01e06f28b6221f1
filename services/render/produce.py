"""One attempt's work, from sources behind URLs to finished files in a folder. Blocking; runs in a child process.

Clips that are also written alone are encoded once: alone by adding their sound, joined by copying their pictures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from render import draw, encode, instant, planned_sound
from render.encode import Encoder, Tags
from render.footage import Facts, Footage
from render.plan import MICRO, ClipPlan, Plan, plan
from render.products import Product, Task
from render.recorded import Sound
from render.remote import RemoteFile
from render.spec import Mode, Source

PROBED, RENDERED, JOINED = 0.02, 0.90, 0.95  # shares of the whole attempt's progress; uploading is the rest
POSTER_AT_MAX_S = 1.0
BEAT_S = 2.0

Report = Callable[[str, float], None]  # phase, progress 0 to 1


class Sources:
    """Footage opened at most once at a time for each source; a second reader of one is opened when both are in use."""

    def __init__(self, urls: Mapping[Source, str], beat: Callable[[], None] = lambda: None) -> None:
        self._urls = urls
        self._beat = beat
        self._opened: list[Footage] = []
        self._resting: dict[Source, Footage] = {}

    def open(self, source: Source) -> Footage:
        """A reader of the source, that nobody else uses."""
        if source in self._resting:
            return self._resting.pop(source)
        name = source.key.rpartition("/")[2]
        footage = Footage(RemoteFile(self._urls[source], name, source.etag), name, self._beat)
        self._opened.append(footage)
        return footage

    def rest(self, source: Source, footage: Footage) -> None:
        """Keeps a reader for the next clip of its source."""
        self._resting[source] = footage

    def close(self) -> None:
        """Ends all of them."""
        for footage in self._opened:
            footage.close()


def probe(url: str, source: Source) -> Facts:
    """What a source is; SourceError."""
    sources = Sources({source: url})
    try:
        return sources.open(source).facts
    finally:
        sources.close()


def produce(task: Task, report: Report) -> list[Product]:
    """Makes every video of the specification in the task's folder; SourceError, EncodeError, Fault invalid_spec."""
    told = _Told(report)
    report = told.report
    sources = Sources(task.urls, told.beat)
    try:
        report("reading", 0.0)
        infos = {}
        for source in dict.fromkeys(clip.source for clip in task.spec.clips):
            footage = sources.open(source)
            infos[source] = footage.info
            sources.rest(source, footage)
        made = plan(task.spec, infos)
        report("rendering", PROBED)
        if task.spec.mode is Mode.INSTANT:
            return _posters(task, instant.copy(task.spec, made, task.urls, task.folder, report))
        return _posters(task, _encoded(task, made, sources, told))
    finally:
        sources.close()


def _encoded(task: Task, made: Plan, sources: Sources, told: _Told) -> list[Product]:
    report = told.report
    folder = Path(task.folder)
    spec = task.spec
    alone = any(clip.output_name for clip in spec.clips)
    groups = [(i, i) for i in range(len(made.clips))] if alone else [(0, len(made.clips) - 1)]
    track = planned_sound.Track(made, folder) if spec.audio else None

    def clip_ended(clip: ClipPlan, footage: Footage, recorded: Sound | None) -> None:
        sources.rest(clip.clip.source, footage)
        if track is not None:
            track.add(clip, recorded)

    clips = draw.Clips(made, lambda clip: sources.open(clip.clip.source), clip_ended)
    pieces: list[Path] = []
    products: list[Product] = []
    done = 0
    for number, (first, last) in enumerate(groups):
        piece = folder / f"piece-{number}.mp4"
        encoder = Encoder(task.binary, piece, made.width, made.height, made.fps, spec.output.quality)
        for frame in clips.frames(first, last):
            encoder.write(clips.finished(frame, done))
            done += 1
            if done % 10 == 0:
                report("rendering", PROBED + (RENDERED - PROBED) * done / made.frames)
        encoder.finish()
        pieces.append(piece)
        clip = spec.clips[first]
        if alone and clip.output_name:
            sound = track.alone(made.clips[first]) if track is not None else None
            tags = Tags(clip.title or spec.title, clip.notes)
            encode.join(task.binary, [piece], sound, folder / clip.output_name, tags, folder, told.beat)
            products.append(_product(clip.output_name, made, made.clips[first].frames))
    if spec.output.name:
        report("joining", RENDERED)
        sound = track.whole() if track is not None else None
        whole = _product(spec.output.name, made, made.frames)
        tags = Tags(spec.title, spec.notes, spec.chapters, whole.duration_us)
        encode.join(task.binary, pieces, sound, folder / spec.output.name, tags, folder, told.beat)
        products.append(whole)
    report("joining", JOINED)
    return products


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


def _product(name: str, made: Plan, frames: int) -> Product:
    return Product(name, "", round(Fraction(frames * MICRO) / made.fps), made.width, made.height, made.fps, frames)


def _posters(task: Task, products: list[Product]) -> list[Product]:
    if not task.spec.output.poster:
        return products
    out = []
    for product in products:
        name = f"{product.name.removesuffix('.mp4')}.jpg"
        at_s = min(POSTER_AT_MAX_S, product.duration_us / MICRO / 3)
        encode.poster(task.binary, Path(task.folder) / product.name, Path(task.folder) / name, at_s)
        out.append(replace(product, poster=name))
    return out
