"""What an attempt's child process is given, and what it tells its parent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from render.spec import Source, Spec


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
    """What the child is given."""

    spec: Spec
    urls: Mapping[Source, str]
    folder: str  # empty, local
    binary: str  # FFmpeg
