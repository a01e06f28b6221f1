"""What a container is sent and what it answers: plain values, so that no side need trust the other's pickles. Pure.

An order of another version is refused by a typed answer: app and service are deployed one after the other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any

from render.engines.capacity import Usage, usage_of
from render.engines.port import Put
from render.job import Failure
from render.plan import Chunk, SourceInfo
from render.products import Known, Product
from render.spec import Spec

VERSION = 1


class Status(StrEnum):
    """How a call ended."""

    DONE = "done"
    FAILED = "failed"
    DUPLICATE = "duplicate"  # another call has the attempt


@dataclass(frozen=True)
class Share:
    """Chunks that one call renders, and what the sources are, in the order of the specification."""

    known: tuple[Known, ...]
    chunks: tuple[Chunk, ...]

    def told(self) -> dict[str, Any]:
        """As it is sent."""
        known = [{**asdict(one.info), "fps": str(one.info.fps), "etag": one.etag} for one in self.known]
        return {"known": known, "chunks": [[one.first, one.end] for one in self.chunks]}


@dataclass(frozen=True)
class Order:
    """The work of a call, for a container; `urls` are the sources', in the order of the specification."""

    key: str
    spec_bytes: bytes
    urls: tuple[str, ...]
    puts: Mapping[str, Put]
    limit_s: float
    stall_s: float
    beat_s: float  # between signs of life while nothing else is told
    carrier: Mapping[str, str]
    environment: str
    otlp_endpoint: str
    at_once: int = 0  # chunks rendered at a time, in this container or over several
    chunks: Mapping[str, str] = field(default_factory=dict)  # where those that are finished may be read, by file name
    share: Share | None = None  # of a call that renders chunks, and joins nothing

    def told(self) -> dict[str, Any]:
        """As it is sent."""
        share = self.share.told() if self.share is not None else None
        return {**asdict(self), "version": VERSION, "urls": list(self.urls), "share": share}


@dataclass(frozen=True)
class Answer:
    """What a call came to."""

    status: Status
    call_id: str = ""  # of DUPLICATE: the call that has the attempt, empty when the service itself has it
    products: tuple[Product, ...] = ()
    failure: Failure | None = None
    usage: Usage | None = None

    def told(self) -> dict[str, Any]:
        """As it is sent."""
        products = [{**asdict(one), "fps": str(one.fps)} for one in self.products]
        return {**asdict(self), "status": str(self.status), "products": products}


def read_order(told: Mapping[str, Any]) -> Order:
    """An order as it came; ValueError for one of another version."""
    if told.get("version") != VERSION:
        raise ValueError(f"an order of version {told.get('version')}, and {VERSION} is known")
    values = {key: value for key, value in told.items() if key != "version"}
    puts = {name: Put(**put) for name, put in told["puts"].items()}
    share = _read_share(told["share"]) if told["share"] else None
    return Order(**{**values, "urls": tuple(told["urls"]), "puts": puts, "share": share})


def _read_share(told: Mapping[str, Any]) -> Share:
    known = []
    for one in told["known"]:
        info = {key: value for key, value in one.items() if key != "etag"}
        known.append(Known(SourceInfo(**{**info, "fps": Fraction(one["fps"])}), one["etag"]))
    return Share(tuple(known), tuple(Chunk(first, end) for first, end in told["chunks"]))


def read_answer(told: Mapping[str, Any]) -> Answer:
    """An answer as it came; KeyError, TypeError or ValueError for anything else."""
    return Answer(
        status=Status(told["status"]),
        call_id=told["call_id"],
        products=tuple(Product(**{**one, "fps": Fraction(one["fps"])}) for one in told["products"]),
        failure=Failure(**told["failure"]) if told["failure"] else None,
        usage=usage_of(told["usage"]) if told["usage"] else None,
    )


def file_names(spec: Spec) -> list[str]:
    """Every file that an export makes: videos, and a still for each when they are asked for."""
    videos = [clip.output_name for clip in spec.clips if clip.output_name]
    videos += [spec.output.name] if spec.output.name else []
    return videos + [poster_name(video) for video in videos if spec.output.poster]


def poster_name(video: str) -> str:
    """The still's name beside a video's."""
    return f"{video.removesuffix('.mp4')}.jpg"
