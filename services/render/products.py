"""What an attempt's child processes are given, and what they tell. Plain values: they can be pickled and sent."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from render.plan import Chunk, Plan, SourceInfo, plan
from render.spec import Source, Spec

RENDERER = 3  # rises whenever the same specification gives other pictures: chunks of another one are not taken


class Codec(StrEnum):
    """What encodes, by FFmpeg's name of it."""

    X264 = "libx264"
    NVENC = "h264_nvenc"


@dataclass(frozen=True)
class Product:
    """A finished video file in the attempt's folder."""

    name: str
    poster: str  # file name, empty without one
    duration_us: int
    width: int
    height: int
    fps: Fraction
    frames: int


@dataclass(frozen=True)
class Task:
    """A whole attempt. `kept` is where finished chunks outlive it (empty: they do not), `at_once` how many chunks are
    rendered at a time (0: half as many as there are cores), `nvenc` whether NVIDIA's encoder may be used if it works.
    """

    spec: Spec
    urls: Mapping[Source, str]
    folder: str  # empty, local
    binary: str  # FFmpeg
    kept: str = ""
    at_once: int = 0
    nvenc: bool = False


@dataclass(frozen=True)
class Known:
    """What was found of a source when the export was planned: every chunk is of this version of it."""

    info: SourceInfo
    etag: str


@dataclass(frozen=True)
class Survey:
    """A specification and what its sources are: everything that the plan follows from. All chunks of an export are of
    one encoder, or they could not be joined.
    """

    spec: Spec
    known: Mapping[Source, Known]
    codec: Codec = Codec.X264

    def plan(self) -> Plan:
        """The plan; the same wherever it is made."""
        return plan(self.spec, {source: known.info for source, known in self.known.items()})

    def chunk_name(self, chunk: Chunk) -> str:
        """The file name of a chunk: a hash of all that it depends on, so that one that is there can be taken."""
        known = sorted((source.key, source.etag, repr(one)) for source, one in self.known.items())
        told = repr((RENDERER, self.codec, self.spec, known, chunk.first, chunk.end))
        return f"{hashlib.sha256(told.encode()).hexdigest()[:32]}.mp4"


@dataclass(frozen=True)
class ChunkTask:
    """Some chunks of an export, for one worker: written to `folder` under their names. `threads` is x264's (0: as many
    as suit the cores).
    """

    survey: Survey
    chunks: Sequence[Chunk]
    urls: Mapping[Source, str]
    folder: str
    threads: int = 0


@dataclass(frozen=True)
class ChunkMade:
    """A finished chunk."""

    name: str
    first: int
    end: int
    size_bytes: int
