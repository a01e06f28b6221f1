"""Chunks of an export: any range of its frames encoded by itself, and its sound. Blocking; the same functions in a
local process and in a container.

1. Chunks laid end to end show what one encode of everything shows, each frame once (tests/render/test_chunks.py).
2. A file of a chunk's name is that chunk, whole: it gets its name when it is finished (test_what_is_done_stays_done).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from render import draw
from render.encode import Encoder
from render.footage import Footage
from render.plan import Chunk, ClipPlan, Plan
from render.planned_sound import Track
from render.products import ChunkMade, ChunkTask, Known, Survey
from render.remote import RemoteFile
from render.spec import Source, Spec

Frames = Callable[[int], None]  # so many more frames are encoded
FRAMES_TOLD = 10


class Sources:
    """Footage opened at most once at a time for each source; a second reader of one is opened when both are in use."""

    def __init__(self, urls: Mapping[Source, str], beat: Callable[[], None] = lambda: None) -> None:
        self._urls = urls
        self._beat = beat
        self._opened: list[Footage] = []
        self._resting: dict[Source, Footage] = {}
        self._etags: dict[Source, str] = {}

    def open(self, source: Source) -> Footage:
        """A reader of the source that nobody else uses; SourceError, also when it changed since it was first opened."""
        if source in self._resting:
            return self._resting.pop(source)
        name = source.key.rpartition("/")[2]
        file = RemoteFile(self._urls[source], name, self._etags.get(source, source.etag))
        self._etags[source] = file.etag
        footage = Footage(file, name, self._beat)
        self._opened.append(footage)
        return footage

    def rest(self, source: Source, footage: Footage) -> None:
        """Keeps a reader for the next clip of its source."""
        self._resting[source] = footage

    def survey(self, spec: Spec) -> Survey:
        """What the sources of a specification are."""
        known = {}
        for source in dict.fromkeys(clip.source for clip in spec.clips):
            footage = self.open(source)
            known[source] = Known(footage.info, self._etags[source])
            self.rest(source, footage)
        return Survey(spec, known)

    def expect(self, survey: Survey) -> None:
        """Takes only the versions of sources that were surveyed."""
        self._etags = {source: known.etag for source, known in survey.known.items()}

    def close(self) -> None:
        """Ends all of them."""
        for footage in self._opened:
            footage.close()


def render_chunks(task: ChunkTask, told: Frames, beat: Callable[[], None] = lambda: None) -> list[ChunkMade]:
    """Encodes the chunks of a task that are not there yet; SourceError, EncodeError."""
    made = task.survey.plan()
    sources = Sources(task.urls, beat)
    sources.expect(task.survey)
    clips = draw.Clips(
        made,
        lambda clip: sources.open(clip.clip.source),
        lambda clip, footage, sound: sources.rest(clip.clip.source, footage),
        heard=False,
    )
    try:
        out = []
        for chunk in task.chunks:
            path = encode_chunk(task.survey, made, clips, chunk, Path(task.folder), told, task.threads)
            out.append(ChunkMade(path.name, chunk.first, chunk.end, path.stat().st_size))
        return out
    finally:
        sources.close()


def encode_chunk(
    survey: Survey, made: Plan, clips: draw.Clips, chunk: Chunk, folder: Path, told: Frames, threads: int = 0
) -> Path:
    """Encodes a chunk of the survey's plan into the file of its name in a folder, unless that is there."""
    path = folder / survey.chunk_name(chunk)
    if path.exists():
        told(chunk.frames)
        return path
    unfinished = path.with_suffix(f".{os.getpid()}.part")
    quality = made.spec.output.quality
    encoder = Encoder(unfinished, made.width, made.height, made.fps, quality, threads=threads, codec=survey.codec)
    since = 0
    try:
        for number, frame in enumerate(clips.frames(chunk.first, chunk.end), chunk.first):
            encoder.write(clips.finished(frame, number))
            since += 1
            if since == FRAMES_TOLD:
                told(since)
                since = 0
        encoder.finish()
    except BaseException:
        encoder.abandon()
        raise
    told(since)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())  # its name says that it is whole, whatever happens to the machine
    return unfinished.rename(path)


def hear(made: Plan, clip: ClipPlan, sources: Sources, track: Track) -> None:
    """Adds a clip's sound to the track without its pictures."""
    footage = sources.open(clip.clip.source)
    sound = footage.sound(*clip.heard(made.fps))
    if sound is not None:
        footage.hear(sound)
    track.add(clip, sound)
    sources.rest(clip.clip.source, footage)
