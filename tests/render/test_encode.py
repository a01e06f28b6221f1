"""The encoder in this process against bare FFmpeg, and how it fails."""

from __future__ import annotations

import resource
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from render.encode import EncodeError, Encoder, settings
from render.footage import Footage, Picture
from render.spec import Quality
from tests.render import golden
from tests.render.making import Making, pictures

RATE = Fraction(30000, 1001)


@pytest.mark.parametrize("quality", Quality)
def test_it_encodes_what_bare_ffmpeg_encodes(tmp_path: Path, quality: Quality) -> None:
    shown = [golden.draw(number) for number in range(40)]
    encoder = Encoder(tmp_path / "ours.mp4", 640, 360, RATE, quality, threads=3)
    for picture in shown:
        encoder.write(picture)
    encoder.finish()
    options = [text for name, value in settings(quality, RATE).items() for text in (f"-{name}", value)]
    bare = ["-c:v", "libx264", *options, "-pix_fmt", "yuv420p", "-threads", "3", "-an"]
    golden.encode(tmp_path / "bare.mp4", range(40), rate=f"{RATE}", options=bare)
    ours, theirs = list(pictures(tmp_path / "ours.mp4")), list(pictures(tmp_path / "bare.mp4"))
    assert len(ours) == len(theirs) == 40
    for index, ((at, picture), (_, other)) in enumerate(zip(ours, theirs, strict=True)):
        assert at == index / RATE
        difference = np.abs(picture.y.astype(int) - other.y)
        assert difference.mean() < 0.5, (index, difference.mean())
    sizes = [(tmp_path / name).stat().st_size for name in ("ours.mp4", "bare.mp4")]
    assert abs(sizes[0] - sizes[1]) < sizes[1] * 0.02 + 500


def test_what_is_not_drawn_on_is_encoded_as_it_was_decoded(making: Making, tmp_path: Path) -> None:
    """Without copies, and with nothing left of what the frame was to its own encoder."""
    for name in ("whole", "copied"):
        with (making.folder / "plain.mp4").open("rb") as file:
            footage = Footage(file, "plain.mp4")
            encoder = Encoder(tmp_path / f"{name}.mp4", 640, 360, Fraction(30), Quality.DRAFT)
            for picture in footage.frames([Fraction(k, 45) for k in range(60)]):  # some are shown twice
                assert picture.frame is not None
                encoder.write(picture if name == "whole" else Picture(*(plane.copy() for plane in picture.planes)))
            encoder.finish()
            footage.close()
    whole, copied = ([picture for _, picture in pictures(tmp_path / f"{name}.mp4")] for name in ("whole", "copied"))
    assert len(whole) == len(copied) == 60
    for one, other in zip(whole, copied, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one.planes, other.planes, strict=True))


def test_its_file_says_what_the_pictures_are(tmp_path: Path) -> None:
    encoder = Encoder(tmp_path / "one.mp4", 320, 180, Fraction(25), Quality.HIGH)
    for number in range(60):
        encoder.write(golden.draw(number, 320, 180))
    encoder.finish()
    with av.open(str(tmp_path / "one.mp4")) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
        keys = [index for index, frame in enumerate(container.decode(stream)) if frame.key_frame]
    assert keys == [0, 50]


def test_a_file_that_cannot_be_written_is_its_failure(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    encoder = Encoder(tmp_path / "big.mp4", 640, 360, Fraction(30), Quality.HIGH)
    noise = np.random.default_rng(1)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        with pytest.raises(EncodeError):
            for number in range(60):
                y = noise.integers(16, 235, (360, 640)).astype(np.uint8)
                encoder.write(replace(golden.draw(number), y=y))
            encoder.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
