"""Footage as it comes from phones and cameras: the right frame at each time, upright, in the right colours."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from render.footage import TOLERANCE_S, Footage, Picture, usual_rate
from render.plan import Window
from render.remote import SourceError
from render.spec import Clip, Output, Quality, Spec
from tests.render import golden
from tests.render.making import FULL, Making, numbers, pictures

OUTPUT = Output("x", "reel.mp4", quality=Quality.DRAFT)
FAST = ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "0"]


def at(path: Path, times: list[Fraction]) -> list[Picture]:
    """The pictures of a file at times in s."""
    with path.open("rb") as file:
        footage = Footage(file, path.name)
        try:
            return list(footage.frames(times))
        finally:
            footage.close()


CONTAINERS: dict[str, list[str]] = {
    "open-gop.mp4": [
        "-c:v",
        "libx264",
        "-preset",
        "medium",
        "-crf",
        "15",
        "-bf",
        "4",
        "-x264-params",
        "open-gop=1:keyint=30",
    ],
    "open-gop.ts": [
        "-c:v",
        "libx264",
        "-preset",
        "medium",
        "-crf",
        "15",
        "-bf",
        "4",
        "-x264-params",
        "open-gop=1:keyint=30",
    ],
    "offset.ts": ["-c:v", "libx264", "-preset", "fast", "-crf", "15", "-g", "40", "-output_ts_offset", "4321.5"],
    "ticks.mkv": ["-c:v", "libx264", "-preset", "fast", "-crf", "15", "-g", "40"],
    "plain.avi": ["-c:v", "mpeg4", "-q:v", "2", "-bf", "0", "-g", "20"],
    "late.mp4": ["-c:v", "libx264", "-preset", "fast", "-crf", "15", "-g", "40", "-output_ts_offset", "1.5"],
    "fragments.mp4": [*FAST, "-g", "30", "-movflags", "frag_keyframe+empty_moov"],
    "hevc.mp4": ["-c:v", "libx265", "-preset", "ultrafast", "-crf", "12", "-x265-params", "log-level=error:keyint=30"],
    "vp9.webm": ["-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-crf", "20", "-b:v", "0"],
    "one-key.mp4": [*FAST, "-g", "9999"],
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_shows_the_frame_of_each_time(making: Making, name: str) -> None:
    path = making.folder / f"zoo-{name}"
    golden.encode(path, range(120), rate="30000/1001", options=CONTAINERS[name])
    for start in (0, 47, 101):
        times = [Fraction((start + k) * 1001, 30000) + Fraction(7, 1000) for k in range(12)]
        found = [golden.number(picture, FULL) for picture in at(path, times)]
        assert found == list(range(start, start + 12)), (start, found)


def test_variable_rates_show_the_latest_frame_not_after_the_time(making: Making, tmp_path: Path) -> None:
    path = making.folder / "variable.mp4"
    # Every third and every fifth frame is missing, and a whole second is.
    drop = "select='mod(n\\,3)*mod(n\\,5)*not(between(n\\,60\\,90))',setpts=PTS"
    golden.encode(path, range(150), filters=[drop], options=["-fps_mode", "vfr", *FAST, "-g", "40"])
    kept = [n for n in range(150) if n % 3 and n % 5 and not 60 <= n <= 90]
    first = kept[0]
    clip = Clip(making.source(path.name), 500_000, 4_000_000)
    with path.open("rb") as file:
        footage = Footage(file, path.name)
        assert footage.facts.variable
        footage.close()
    making.make(Spec((clip,), Output("x", "reel.mp4", fps=Fraction(30), quality=Quality.DRAFT)), tmp_path)
    times = [first / 30 + 0.5 + k / 30 + float(TOLERANCE_S) for k in range(105)]
    assert numbers(tmp_path / "reel.mp4") == [max(n for n in kept if n / 30 <= time_s) for time_s in times]


@pytest.mark.parametrize("rate", ["60000/1001", "24000/1001", "50"])
def test_frame_rates_are_kept_exactly(making: Making, tmp_path: Path, rate: str) -> None:
    name = f"rate-{rate.replace('/', '-')}.mkv"
    golden.encode(making.folder / name, range(120), rate=rate, options=[*FAST, "-g", "30"])
    products = making.make(Spec((Clip(making.source(name), 201_000, 1_500_000),), OUTPUT), tmp_path)
    fps = Fraction(rate)
    assert products["reel.mp4"].fps == fps
    first = math.floor((Fraction(201, 1000) + TOLERANCE_S) * fps)
    shown = numbers(tmp_path / "reel.mp4", fps=fps)
    assert shown == list(range(first, first + round(Fraction(1299, 1000) * fps)))


def test_averages_stand_for_usual_rates() -> None:
    assert usual_rate(Fraction(29926, 1000)) == Fraction(30000, 1001)
    assert usual_rate(Fraction(2998, 100)) == Fraction(30000, 1001)
    assert usual_rate(Fraction(30)) == 30
    assert usual_rate(Fraction(22)) == 22
    assert usual_rate(Fraction(1, 10)) == 1


TURNS: dict[int, Callable[[Picture], tuple[np.ndarray[tuple[int, int], np.dtype[np.uint8]], ...]]] = {
    # FFmpeg's -display_rotation turns counter-clockwise.
    90: lambda picture: tuple(np.rot90(plane, 1) for plane in picture.planes),
    180: lambda picture: tuple(np.rot90(plane, 2) for plane in picture.planes),
    270: lambda picture: tuple(np.rot90(plane, 3) for plane in picture.planes),
}


@pytest.mark.parametrize("turn", TURNS)
def test_rotation_flags_are_applied_to_the_pixel(making: Making, turn: int) -> None:
    flat, path = making.folder / f"flat-{turn}.mp4", making.folder / f"turned-{turn}.mp4"
    golden.encode(flat, range(5), options=FAST)
    golden.ffmpeg("-display_rotation", str(turn), "-i", str(flat), "-c", "copy", str(path))
    shown = at(path, [Fraction(k, 30) for k in range(5)])
    for number, picture in enumerate(shown):
        for plane, expected in zip(picture.planes, TURNS[turn](golden.draw(number)), strict=True):
            assert np.array_equal(plane, expected)
    with path.open("rb") as file:
        footage = Footage(file, path.name)
        assert footage.facts.rotation == 360 - turn
        assert (footage.info.width, footage.info.height) == ((640, 360) if turn == 180 else (360, 640))
        footage.close()
    # What FFmpeg itself shows is upright in the same way.
    upright = making.folder / f"upright-{turn}.mov"
    golden.ffmpeg("-i", str(path), *FAST, str(upright))
    assert np.array_equal(next(pictures(upright))[1].y, shown[0].y)


@pytest.mark.parametrize("turn", [0, 90, 180, 270])
@pytest.mark.parametrize("mirror", ["-display_hflip", "-display_vflip"])
def test_mirrored_pictures_are_shown_as_ffmpeg_shows_them(making: Making, turn: int, mirror: str) -> None:
    name = f"mirrored{mirror}-{turn}"
    flat, path, upright = (making.folder / f"{part}-{name}.mov" for part in ("flat", "turned", "upright"))
    golden.encode(flat, range(3), options=FAST)
    golden.ffmpeg("-display_rotation", str(turn), mirror, "-i", str(flat), "-c", "copy", str(path))
    golden.ffmpeg("-i", str(path), *FAST, str(upright))
    shown = at(path, [Fraction(k, 30) for k in range(3)])
    for picture, (_, expected) in zip(shown, pictures(upright), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(picture.planes, expected.planes, strict=True))


def test_interlaced_footage_is_taken_apart(making: Making, tmp_path: Path) -> None:
    """A frame holds the lines of two moments: the earlier one's picture is shown, whole, at its time."""
    path = making.folder / "woven.mp4"
    woven = ["-vf", f"{golden.BT709},tinterlace=interleave_top", "-flags", "+ilme+ildct", "-x264-params", "tff=1"]
    golden.encode(path, range(400, 520), rate="60", options=[*FAST, *woven, "-g", "15"])
    making.make(Spec((Clip(making.source("woven.mp4"), 500_000, 2_000_000),), OUTPUT), tmp_path)
    assert numbers(tmp_path / "reel.mp4") == list(range(430, 520, 2))
    moving = making.folder / "moving.mp4"
    bars = "gradients=s=320x240:r=60:d=1:speed=0.05:c0=black:c1=white,tinterlace=interleave_top,format=yuv420p"
    golden.ffmpeg("-f", "lavfi", "-i", bars, *FAST, "-flags", "+ilme+ildct", "-x264-params", "tff=1", str(moving))
    stored = [picture for _, picture in pictures(moving)]
    shown = at(moving, [Fraction(k, 30) for k in range(5, 25)])
    combs = [(comb(whole), comb(woven)) for whole, woven in zip(shown, stored[5:25], strict=True)]
    assert all(whole < woven / 3 for whole, woven in combs), combs


def comb(picture: Picture) -> float:
    """How much every second line differs from its neighbours."""
    y = picture.y.astype(float)
    return float(np.abs(2 * y[1:-1:2] - y[:-2:2] - y[2::2]).mean())


def color(making: Making, name: str, filters: str, options: list[str]) -> tuple[float, float, float]:
    """The mean planes of a file that shows one orange."""
    path = making.folder / name
    golden.ffmpeg("-f", "lavfi", "-i", f"color=0xd08040:s=320x240:r=30:d=0.2,{filters}", *options, str(path))
    (picture,) = at(path, [Fraction(0)])
    return tuple(float(plane.mean()) for plane in picture.planes)  # type: ignore[return-value]


def test_colours_are_the_same_whatever_the_source_is_tagged(making: Making) -> None:
    r, g, b = 0xD0 / 255, 0x80 / 255, 0x40 / 255
    luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
    expected = 16 + 219 * luma, 128 + 224 * (b - luma) / 1.8556, 128 + 224 * (r - luma) / 1.5748
    scale = "scale=out_color_matrix={}:out_range={},format={}"
    for name, (matrix, span, form, tag) in {
        "709.mp4": ("bt709", "tv", "yuv420p", "bt709"),
        "601.mp4": ("bt601", "tv", "yuv420p", "smpte170m"),
        "full.mp4": ("bt709", "pc", "yuv420p", "bt709"),
        "full601.mp4": ("bt601", "pc", "yuvj420p", "smpte170m"),
        "untagged-sd.mp4": ("bt601", "tv", "yuv420p", ""),
        "ten.mp4": ("bt709", "tv", "yuv420p10le", "bt709"),
        "422.mp4": ("bt709", "tv", "yuv422p", "bt709"),
        "444.mp4": ("bt709", "tv", "yuv444p", "bt709"),
    }.items():
        tagged = f",setparams=colorspace={tag or 'unknown'}:range={span}"
        found = color(making, f"colour-{name}", scale.format(matrix, span, form) + tagged, [*FAST])
        assert np.allclose(found, expected, atol=2.1), (name, found, expected)


def test_untagged_high_definition_is_bt709(making: Making) -> None:
    path = making.folder / "untagged-hd.mp4"
    made = "color=0xd08040:s=1280x720:r=30:d=0.1,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
    golden.ffmpeg("-f", "lavfi", "-i", f"{made},setparams=colorspace=unknown", *FAST, str(path))
    (picture,) = at(path, [Fraction(0)])
    assert abs(float(picture.y.mean()) - (16 + 219 * 0.5505)) < 2.5


@pytest.mark.parametrize("transfer", ["arib-std-b67", "smpte2084"])
def test_high_dynamic_range_is_mapped_to_standard(making: Making, transfer: str) -> None:
    """A grey ramp stays grey, rising, black at black; white of graphics is bright; the light beyond it rolls off."""
    path = making.folder / f"hdr-{transfer}.mp4"
    ramp = "gradients=s=640x360:c0=black:c1=white:x0=0:y0=0:x1=639:y1=0:d=0.2:r=30:speed=0.00001"
    tags = f"setparams=colorspace=bt2020nc:color_primaries=bt2020:color_trc={transfer}:range=tv"
    form = "scale=out_color_matrix=bt2020:out_range=tv,format=yuv420p10le"
    options = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:lossless=1"]
    golden.ffmpeg("-f", "lavfi", "-i", f"{ramp},{form},{tags}", *options, str(path))
    with path.open("rb") as file:
        footage = Footage(file, path.name)
        assert footage.facts.hdr
        (picture,) = footage.frames([Fraction(0)])
        footage.close()
    luma = picture.y.astype(float).mean(axis=0)
    assert luma[:4].mean() < 18 and (np.diff(np.convolve(luma, np.ones(9) / 9, "valid")) > -0.3).all()
    white = luma[round(640 * (0.75 if transfer == "arib-std-b67" else 0.58))]
    assert 190 < white < 225, white
    assert luma[-4:].mean() > 230
    for plane in (picture.u, picture.v):
        assert np.abs(plane.astype(float) - 128).max() <= 2


def test_odd_sizes_and_pixels_that_are_not_square(making: Making, tmp_path: Path) -> None:
    odd, wide = making.folder / "odd.mkv", making.folder / "wide.mp4"
    golden.ffmpeg("-f", "lavfi", "-i", "testsrc2=s=641x361:r=30:d=0.3", *FAST, "-pix_fmt", "yuv444p", str(odd))
    products = making.make(Spec((Clip(making.source("odd.mkv"), 0, 200_000),), OUTPUT), tmp_path)
    assert (products["reel.mp4"].width, products["reel.mp4"].height) == (640, 360)
    golden.encode(wide, range(10), filters=["setsar=4/3"], options=FAST)
    products = making.make(Spec((Clip(making.source("wide.mp4"), 0, 300_000),), OUTPUT), tmp_path)
    assert (products["reel.mp4"].width, products["reel.mp4"].height) == (852, 360)
    assert [golden.number(picture, FULL) for _, picture in pictures(tmp_path / "reel.mp4")] == list(range(9))


def test_a_cover_picture_is_not_the_picture(making: Making, tmp_path: Path) -> None:
    cover, path = making.folder / "cover.jpg", making.folder / "covered.mp4"
    golden.ffmpeg("-f", "lavfi", "-i", "color=red:s=64x64", "-frames:v", "1", str(cover))
    inputs = ["-i", str(cover), "-i", str(making.folder / "plain.mp4"), "-map", "0", "-map", "1:v"]
    golden.ffmpeg(*inputs, "-c", "copy", "-disposition:v:0", "attached_pic", str(path))
    making.make(Spec((Clip(making.source("covered.mp4"), 0, 300_000),), OUTPUT), tmp_path)
    assert numbers(tmp_path / "reel.mp4") == list(range(1000, 1009))


def test_a_file_that_is_cut_off_serves_what_it_has_and_says_where_it_ends(making: Making, tmp_path: Path) -> None:
    path = making.folder / "cut.mp4"
    golden.encode(path, range(240), options=[*FAST, "-g", "30", "-movflags", "+faststart"])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    source = making.source("cut.mp4")
    making.make(Spec((Clip(source, 1_000_000, 2_000_000),), OUTPUT), tmp_path)
    assert numbers(tmp_path / "reel.mp4") == list(range(30, 60))
    for begin, end in ((2_000_000, 8_000_000), (7_000_000, 7_500_000)):
        with pytest.raises(SourceError, match=r"cut\.mp4 has no picture at") as raised:
            making.make(Spec((Clip(source, begin, end),), OUTPUT), tmp_path)
        assert raised.value.code == "source_unreadable" and not raised.value.retryable


def test_a_clip_that_goes_beyond_the_end_stops_there(making: Making, tmp_path: Path) -> None:
    products = making.make(Spec((Clip(making.source("plain.mp4"), 3_500_000, 9_000_000),), OUTPUT), tmp_path)
    assert products["reel.mp4"].frames == 15
    assert numbers(tmp_path / "reel.mp4") == list(range(1105, 1120))


def test_a_window_of_rotated_footage_is_of_the_upright_picture(making: Making, tmp_path: Path) -> None:
    flat, path = making.folder / "flat-crop.mp4", making.folder / "turned-crop.mp4"
    golden.encode(flat, range(10), options=FAST)
    golden.ffmpeg("-display_rotation", "180", "-i", str(flat), "-c", "copy", str(path))
    shown = at(path, [Fraction(0)])[0]
    upright = Picture(*(np.ascontiguousarray(np.rot90(plane, 2)) for plane in shown.planes))
    seen = golden.read(upright, Window(0, 0, 640, 360))
    assert seen.number == 0 and golden.worst(seen.window, Window(0, 0, 640, 360)) < 0.01
