"""Finished files: playable from their first byte, tagged, with a still, and what is drawn on them."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from render.plan import SourceInfo, Window, plan
from render.spec import (
    Clip,
    Crop,
    CropKey,
    Effect,
    EffectKind,
    EllipseKey,
    Interpolation,
    Output,
    Overlay,
    Quality,
    Space,
    Spec,
    Spotlight,
    Text,
)
from tests.render import golden
from tests.render.making import Making, pictures

OUTPUT = Output("x", "reel.mp4", quality=Quality.DRAFT)
INFO = SourceInfo(640, 360, 4_000_000, Fraction(30), False)


def boxes(data: bytes) -> list[str]:
    """The kinds of a file's outermost boxes."""
    kinds, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kinds.append(data[at + 4 : at + 8].decode())
        at += int.from_bytes(data[at + 8 : at + 16], "big") if size == 1 else size
    return kinds


@pytest.mark.parametrize("audio", [True, False])
def test_a_file_plays_from_its_first_byte_with_a_still_and_its_tags(
    making: Making, tmp_path: Path, audio: bool
) -> None:
    source = making.source("plain.mp4")
    clips = (Clip(source, 0, 500_000, output_name="a.mp4", title="A; =#1", notes="x\ny"), Clip(source, 0, 700_000))
    chapters = ((0, "Kick-off"), (500_000, "2nd = half; #\\x"))
    output = replace(OUTPUT, poster=True, width=320, height=180)
    spec = Spec(clips, output, audio=audio, title="Zoë's reel", notes="", chapters=chapters)
    products = making.make(spec, tmp_path)
    assert [(one.name, one.poster) for one in products.values()] == [("a.mp4", "a.jpg"), ("reel.mp4", "reel.jpg")]
    for name in products:
        kinds = boxes((tmp_path / name).read_bytes())
        assert kinds.index("moov") < kinds.index("mdat")
        still = cv2.imread(str(tmp_path / products[name].poster))
        assert still is not None and still.shape == (180, 320, 3)
    with av.open(str(tmp_path / "reel.mp4")) as file:
        assert file.metadata["title"] == "Zoë's reel"
        found = file.chapters()
        assert [(one["start"] * Fraction(one["time_base"] or 0), one["metadata"]["title"]) for one in found] == [
            (Fraction(start, 1_000_000), title) for start, title in chapters
        ]
        assert bool(file.streams.audio) is audio
        video = file.streams.video[0]
        colors = video.codec_context
        assert (colors.color_primaries, colors.color_trc, colors.colorspace, colors.color_range) == (1, 1, 1, 1)
        if audio:
            sound = file.streams.audio[0]
            assert sound.duration is not None and sound.time_base is not None
            assert sound.duration * sound.time_base == Fraction(36, 30)
    with av.open(str(tmp_path / "a.mp4")) as file:
        assert (file.metadata["title"], file.metadata["comment"]) == ("A; =#1", "x\ny")
        assert file.chapters() == []


def test_a_spotlight_of_source_space_stays_on_its_player_while_the_window_moves(making: Making, tmp_path: Path) -> None:
    source = making.source("plain.mp4")
    keys = (CropKey(0, 0.0, 0.0, 0.5, 0.5), CropKey(4_000_000, 0.5, 0.4, 0.4, 0.4))
    clip = Clip(source, 0, 4_000_000, crop=Crop(keys, Interpolation.LINEAR))
    path = (EllipseKey(0, 0.2, 0.2, 0.05, 0.09), EllipseKey(4_000_000, 0.75, 0.65, 0.05, 0.09))
    light = Spotlight(path, (Effect(EffectKind.DIM_OUTSIDE, 1),), interpolation=Interpolation.LINEAR)
    output = replace(OUTPUT, fps=Fraction(5), width=640, height=360, quality=Quality.HIGH)
    overlay = Overlay(0, 4_000_000, light, space=Space.SOURCE)
    plain, lit = Spec((clip,), output), Spec((clip,), output, overlays=(overlay,))
    making.make(plain, tmp_path / "plain")
    making.make(lit, tmp_path / "lit")
    made = plan(plain, {source: INFO}).clips[0]
    before, after = (list(pictures(tmp_path / kind / "reel.mp4")) for kind in ("plain", "lit"))
    assert len(before) == len(after) == 20
    for index in range(0, 20, 3):
        window = made.window(index / 5, 16 / 9)
        share = index / 5 / 4
        center = (0.2 + 0.55 * share) * 640, (0.2 + 0.45 * share) * 360
        x, y = (center[0] - window.x) * 640 / window.width, (center[1] - window.y) * 360 / window.height
        kept = np.abs(after[index][1].y.astype(int) - before[index][1].y) < 12
        kept = np.asarray(cv2.medianBlur(kept.astype(np.uint8), 5), bool) & (before[index][1].y > 40)
        rows, columns = np.nonzero(kept)
        assert abs(rows.mean() - y) < 4 and abs(columns.mean() - x) < 4, (index, rows.mean(), y, columns.mean(), x)


def test_captions_and_texts_are_drawn_where_and_when_they_should_be(making: Making, tmp_path: Path) -> None:
    source = making.source("plain.mp4")
    one = Clip(source, 0, 1_000_000, caption_title="Goal ★★★★★ Łukasz", caption_text="left foot " * 30)
    clips = (one, Clip(source, 1_000_000, 2_000_000))
    words = Overlay(1_400_000, 1_800_000, Text("進球 Tor!", 0.1, 0.1, 0.12, "#ff0000"))
    output = replace(OUTPUT, quality=Quality.HIGH)
    making.make(Spec(clips, output), tmp_path / "plain")
    making.make(Spec(clips, output, overlays=(words,)), tmp_path / "drawn")
    bare = Spec((replace(one, caption_title="", caption_text=""), clips[1]), output)
    making.make(bare, tmp_path / "bare")
    plain, drawn, without = (list(pictures(tmp_path / name / "reel.mp4")) for name in ("plain", "drawn", "bare"))
    for index in range(0, 60, 7):
        caption = np.abs(plain[index][1].y.astype(int) - without[index][1].y) > 40
        assert caption[:180].sum() < 50
        assert bool(caption[180:].sum() > 2000) is (index < 30)
        text = drawn[index][1].v.astype(int) - plain[index][1].v > 40
        assert bool(text[18:50, 32:200].sum() > 100) is (42 <= index < 54), (index, text.sum())
        assert text[:10].sum() + text[60:].sum() < 20


def test_framing_and_overlay_in_one_encode(making: Making, tmp_path: Path) -> None:
    source = making.source("plain.mp4")
    clip = Clip(source, 500_000, 1_500_000, crop=Crop((CropKey(0, 0.25, 0.0, 0.5, 1.0),)))
    light = Spotlight((EllipseKey(0, 0.5, 0.5, 0.3, 0.3),), (Effect(EffectKind.DIM_OUTSIDE, 0.6),))
    output = replace(OUTPUT, width=320, height=360, quality=Quality.HIGH)
    making.make(Spec((clip,), output, overlays=(Overlay(0, 500_000, light),)), tmp_path)
    made = list(pictures(tmp_path / "reel.mp4"))
    window = Window(160, 0, 320, 360)
    assert [golden.number(picture, window) for _, picture in made[15:]] == list(range(1030, 1045))
    dimmed, plain = made[5][1].y.astype(float), golden.draw(1020).y[:, 160:480].astype(float)
    assert dimmed[:30].mean() < plain[:30].mean() * 0.75
    assert abs(dimmed[150:210, 120:200].mean() - plain[150:210, 120:200].mean()) < 6
