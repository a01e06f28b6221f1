"""NVIDIA's encoder: taken where it works, told why where it does not. Where there is no card, x264 stands in."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest

from render import encode, nvenc
from render.chunk import Sources
from render.encode import Encoder
from render.engines import local
from render.engines.port import Progress, Work
from render.footage import Picture
from render.plan import Chunk, Plan, SourceInfo, plan
from render.produce import produce
from render.products import Codec, Product, Task
from render.spec import Clip, Output, Quality, Source, Spec
from tests.render import golden
from tests.render.making import Making, numbers

SOURCE = Source("games/beeps.mov")
OUTPUT = Output("out", "reel.mp4", 640, 360, quality=Quality.DRAFT)


def planned(output: Output = OUTPUT) -> Plan:
    info = SourceInfo(640, 360, 4_000_000, Fraction(30), True)
    return plan(Spec((Clip(SOURCE, 0, 1_000_000),), output), {SOURCE: info})


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[Codec]:
    """Encoders that were begun; those of a card are x264's."""
    begun: list[Codec] = []

    class Either(Encoder):
        def __init__(
            self,
            path: Path,
            width: int,
            height: int,
            fps: Fraction,
            quality: Quality,
            *,
            threads: int = 0,
            codec: Codec = Codec.X264,
        ) -> None:
            begun.append(codec)
            super().__init__(path, width, height, fps, quality, threads=threads)

    monkeypatch.setattr("render.nvenc.Encoder", Either)
    monkeypatch.setattr("render.chunk.Encoder", Either)
    return begun


def test_the_probe_says_what_ffmpeg_finds(tmp_path: Path) -> None:
    """Where there is a card, it is taken; where there is none, the reason is told, and nothing is left."""
    pattern = ["-f", "lavfi", "-i", "color=s=640x360:d=0.3", "-c:v", "h264_nvenc", "-f", "null", "-"]
    works = subprocess.run([golden.FFMPEG, "-v", "quiet", *pattern], check=False).returncode == 0
    told = nvenc.fault(planned(), tmp_path)
    assert (told == "") is works, told
    assert list(tmp_path.iterdir()) == []


def test_without_a_card_an_export_is_made_all_the_same(
    making: Making, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvenc, "fault", lambda made, folder: "there is no card")
    made(making, tmp_path)
    assert "NVENC does not work here: there is no card" in capfd.readouterr().err


def made(making: Making, folder: Path) -> Path:
    spec = Spec((Clip(making.source("plain.mp4"), 500_000, 1_500_000),), OUTPUT)
    urls = {clip.source: making.url("plain.mp4") for clip in spec.clips}
    produce(Task(spec, urls, str(folder), golden.FFMPEG, nvenc=True), lambda phase, share: None)
    assert numbers(folder / "reel.mp4") == list(range(1015, 1045))
    return folder / "reel.mp4"


def test_what_works_is_taken_for_the_whole_export(card: list[Codec], making: Making, tmp_path: Path) -> None:
    made(making, tmp_path)
    assert card == [Codec.NVENC, Codec.NVENC]


def test_an_encoder_that_loses_or_changes_pictures_is_not_taken(
    card: list[Codec], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nvenc.choose(planned(), tmp_path) is Codec.NVENC
    write = Encoder.write
    few = iter(range(3))

    def darker(encoder: Encoder, picture: Picture) -> None:
        write(encoder, replace(picture, y=picture.y // 2))

    def lost(encoder: Encoder, picture: Picture) -> None:
        if next(few, None) is not None:
            write(encoder, picture)

    def late(encoder: Encoder, picture: Picture) -> None:
        encoder._step = Fraction(1, 25)
        write(encoder, picture)

    for wrong, told in ((darker, "is another one"), (lost, "of 8 pictures 3 came out"), (late, "at another time")):
        with monkeypatch.context() as patch:
            patch.setattr(Encoder, "write", wrong)
            assert told in nvenc.fault(planned(), tmp_path)
            assert nvenc.choose(planned(), tmp_path) is Codec.X264


def test_chunks_of_two_encoders_have_two_names(making: Making) -> None:
    spec = Spec((Clip(making.source("plain.mp4"), 0, 1_000_000),), OUTPUT)
    sources = Sources({clip.source: making.url("plain.mp4") for clip in spec.clips})
    survey = sources.survey(spec)
    sources.close()
    names = {replace(survey, codec=codec).chunk_name(Chunk(0, 30)) for codec in Codec}
    assert len(names) == 2


async def test_only_a_first_attempt_tries_it(making: Making, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[Task] = []

    async def kept(engine: local.Engine, task: Task, progress: Progress) -> list[Product]:
        tasks.append(task)
        return []

    monkeypatch.setattr(local.Engine, "produce", kept)
    spec = Spec((Clip(SOURCE, 0, 1_000_000),), OUTPUT)
    for wanted in (True, False):
        engine = local.Engine(60, 60, golden.FFMPEG, nvenc=wanted)
        for first in (True, False):
            await engine.run(Work("key", spec, b"", {}, tmp_path, first), None, lambda phase, share: None)  # type: ignore[arg-type]
    assert [task.nvenc for task in tasks] == [True, False, False, False]


def test_its_options_are_ones_that_it_has() -> None:
    told = subprocess.run(
        [golden.FFMPEG, "-hide_banner", "-h", "encoder=h264_nvenc"], capture_output=True, text=True, check=True
    ).stdout
    for quality in Quality:
        for name in encode.settings(quality, Fraction(30), Codec.NVENC).keys() - {"g", "b"}:
            assert f"-{name} " in told, name
    assert json.dumps(encode.settings(Quality.HIGH, Fraction(30)))
