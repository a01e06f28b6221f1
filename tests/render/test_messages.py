"""Specifications off the wire: what they become, and the field that each broken rule is told by."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.faults import Fault
from reel.render.v1 import render_pb2 as pb
from render import spec as s
from render.rpc import messages


def whole() -> pb.RenderSpec:
    """A specification with everything in it."""
    crop = pb.Crop(
        interpolation=pb.INTERPOLATION_LINEAR,
        keys=[
            pb.CropKey(time_us=0, x=0.1, y=0.0, width=0.5, height=1.0),
            pb.CropKey(time_us=900_000, x=0.2, y=0.1, width=0.4, height=0.8),
        ],
    )
    span = pb.SpeedSpan(from_us=200_000, to_us=400_000, rate=pb.Rational(num=1, den=2))
    clips = [
        pb.Clip(
            source=pb.Source(key="games/a.mp4", etag="e"),
            in_us=100_000,
            out_us=1_100_000,
            speed_spans=[span],
            crop=crop,
        ),
        pb.Clip(source=pb.Source(key="games/b.mp4"), in_us=0, out_us=2_000_000),
    ]
    light = pb.Spotlight(
        keys=[pb.EllipseKey(time_us=0, center_x=0.5, center_y=0.5, radius_x=0.1, radius_y=0.2)],
        shape=pb.SHAPE_GROUND,
        effects=[pb.Effect(kind=pb.EFFECT_KIND_RING, strength=0.5, color="#ff0000")],
    )
    overlays = [
        pb.Overlay(from_us=0, to_us=500_000, fade_us=100_000, spotlight=light),
        pb.Overlay(space=pb.SPACE_SOURCE, clip_index=1, from_us=0, to_us=9, spotlight=light),
        pb.Overlay(from_us=0, to_us=500_000, text=pb.Text(text="Goal", x=0.1, y=0.1, height=0.1)),
    ]
    return pb.RenderSpec(
        spec_version=1,
        clips=clips,
        transitions=[
            pb.Transition(after_clip=0, kind=pb.TRANSITION_KIND_DISSOLVE, duration_us=300_000),
        ],
        overlays=overlays,
        output=pb.Output(
            folder="working_videos/x",
            name="reel.mp4",
            width=1080,
            height=1920,
            fps=pb.Rational(num=30000, den=1001),
            quality=pb.QUALITY_HIGH,
            poster=True,
        ),
        audio=pb.Audio(include=True, gain_db=-3),
        metadata=pb.Metadata(title="T", notes="N", chapters=[pb.Chapter(time_us=5, title="C")]),
    )


def test_everything_is_understood() -> None:
    made = messages.spec_from(whole())
    first = made.clips[0]
    assert first.source == s.Source("games/a.mp4", "e")
    assert first.speed_spans == (s.SpeedSpan(200_000, 400_000, Fraction(1, 2)),)
    assert first.crop is not None and first.crop.interpolation is s.Interpolation.LINEAR
    assert made.clips[1].crop is None
    assert made.dissolves == (s.Dissolve(0, 300_000),)
    assert [one.space for one in made.overlays] == [s.Space.OUTPUT, s.Space.SOURCE, s.Space.OUTPUT]
    light = made.overlays[0].content
    assert isinstance(light, s.Spotlight)
    assert (light.shape, light.interpolation) == (s.Shape.GROUND, s.Interpolation.SMOOTH)
    assert light.effects == (s.Effect(s.EffectKind.RING, 0.5, "#ff0000"),)
    assert made.overlays[2].content == s.Text("Goal", 0.1, 0.1, 0.1, "#ffffff")
    assert made.output == s.Output(
        "working_videos/x", "reel.mp4", 1080, 1920, Fraction(30000, 1001), s.Quality.HIGH, True
    )
    assert (made.audio, made.gain_db, made.title, made.notes) == (True, -3, "T", "N")
    assert (made.chapters, made.mode) == (((5, "C"),), s.Mode.EXACT)
    assert messages.decode_spec(messages.encode_spec(whole())) == made


def test_what_is_absent_is_plain() -> None:
    clip = pb.Clip(source=pb.Source(key="games/a.mp4"), out_us=1)
    made = messages.spec_from(pb.RenderSpec(spec_version=1, clips=[clip], output=pb.Output(folder="x", name="a.mp4")))
    assert made == s.Spec((s.Clip(s.Source("games/a.mp4"), 0, 1),), s.Output("x", "a.mp4"), audio=False)


Break = Callable[[pb.RenderSpec], object]
RULES: dict[str, tuple[str, Break]] = {
    "another version": ("spec_version", lambda spec: setattr(spec, "spec_version", 2)),
    "no clips": ("clips", lambda spec: spec.ClearField("clips")),
    "too many clips": ("clips", lambda spec: spec.clips.extend([spec.clips[1]] * 100)),
    "no source": ("clips[0].source.key", lambda spec: spec.clips[0].source.ClearField("key")),
    "ends before it begins": ("clips[1].out_us", lambda spec: setattr(spec.clips[1], "out_us", 0)),
    "begins before the start": ("clips[1].out_us", lambda spec: setattr(spec.clips[1], "in_us", -1)),
    "speed too high": ("clips[0].speed_spans[0].rate", lambda spec: setattr(_rate(spec), "num", 9)),
    "speed of nothing": ("clips[0].speed_spans", lambda spec: setattr(_rate(spec), "den", 0)),
    "speed outside": ("clips[0].speed_spans[0]", lambda spec: setattr(spec.clips[0].speed_spans[0], "to_us", 10**7)),
    "window outside": ("clips[0].crop.keys[0]", lambda spec: setattr(spec.clips[0].crop.keys[0], "x", 0.6)),
    "window of nothing": ("clips[0].crop.keys[1]", lambda spec: setattr(spec.clips[0].crop.keys[1], "width", 0)),
    "window nowhere": ("clips[0].crop.keys[1]", lambda spec: setattr(spec.clips[0].crop.keys[1], "y", float("nan"))),
    "keys out of order": ("clips[0].crop.keys", lambda spec: setattr(spec.clips[0].crop.keys[1], "time_us", 0)),
    "no keys": ("clips[0].crop.keys", lambda spec: spec.clips[0].crop.ClearField("keys")),
    "no folder": ("output.folder", lambda spec: spec.output.ClearField("folder")),
    "a folder above": ("output.folder", lambda spec: setattr(spec.output, "folder", "working_videos/../x")),
    "a folder of nothing": ("output.folder", lambda spec: setattr(spec.output, "folder", "working_videos//x/")),
    "no name": ("output.name", lambda spec: spec.output.ClearField("name")),
    "a path for a name": ("output.name", lambda spec: setattr(spec.output, "name", "../reel.mp4")),
    "another kind of file": ("output.name", lambda spec: setattr(spec.output, "name", "reel.avi")),
    "one name twice": ("output.name", lambda spec: setattr(spec.clips[0], "output_name", "reel.mp4")),
    "odd side": ("output.width", lambda spec: setattr(spec.output, "width", 1081)),
    "one side only": ("output.width", lambda spec: setattr(spec.output, "height", 0)),
    "giant": ("output.height", lambda spec: setattr(spec.output, "height", 10_000)),
    "too fast": ("output.fps", lambda spec: spec.output.fps.CopyFrom(pb.Rational(num=1000, den=1))),
    "no rate": ("output.fps", lambda spec: spec.output.fps.CopyFrom(pb.Rational(num=30, den=0))),
    "dissolve too long": (
        "transitions[0].duration_us",
        lambda spec: setattr(spec.transitions[0], "duration_us", 700_000),
    ),
    "dissolve into nothing": ("transitions[0].after_clip", lambda spec: setattr(spec.transitions[0], "after_clip", 1)),
    "an unknown transition": ("transitions[0].kind", lambda spec: setattr(spec.transitions[0], "kind", 9)),
    "overlay backwards": ("overlays[0].to_us", lambda spec: setattr(spec.overlays[0], "from_us", 600_000)),
    "fade too long": ("overlays[0].fade_us", lambda spec: setattr(spec.overlays[0], "fade_us", 400_000)),
    "overlay of no clip": ("overlays[1].clip_index", lambda spec: setattr(spec.overlays[1], "clip_index", 2)),
    "overlay of nothing": ("overlays[0]", lambda spec: spec.overlays[0].ClearField("spotlight")),
    "no effects": ("overlays[0].spotlight.effects", lambda spec: spec.overlays[0].spotlight.ClearField("effects")),
    "too strong": (
        "overlays[0].spotlight.effects[0].strength",
        lambda spec: setattr(spec.overlays[0].spotlight.effects[0], "strength", 2),
    ),
    "no colour": (
        "overlays[0].spotlight.effects[0].color",
        lambda spec: setattr(spec.overlays[0].spotlight.effects[0], "color", "red"),
    ),
    "an unknown effect": (
        "overlays[0].effects",
        lambda spec: setattr(spec.overlays[0].spotlight.effects[0], "kind", 7),
    ),
    "an ellipse of nothing": (
        "overlays[0].spotlight.keys[0]",
        lambda spec: setattr(spec.overlays[0].spotlight.keys[0], "radius_x", 0),
    ),
    "no words": ("overlays[2].text", lambda spec: setattr(spec.overlays[2].text, "text", "")),
    "deafening": ("audio.gain_db", lambda spec: setattr(spec.audio, "gain_db", 99)),
    "instant with a crop": ("mode", lambda spec: setattr(spec, "mode", pb.MODE_INSTANT)),
    "an unknown mode": ("mode", lambda spec: setattr(spec, "mode", 5)),
    "a book": ("metadata.notes", lambda spec: setattr(spec.metadata, "notes", "x" * 2001)),
    "a zero": ("clips[1].metadata.title", lambda spec: setattr(spec.clips[1].metadata, "title", "a\0b")),
    "a long caption": ("clips[0].caption.text", lambda spec: setattr(spec.clips[0].caption, "text", "x" * 2001)),
    "chapters out of order": ("metadata.chapters", lambda spec: spec.metadata.chapters.add(time_us=5, title="D")),
    "hours": ("clips", lambda spec: setattr(spec.clips[1], "out_us", 5 * 3600 * 10**6)),
}


def _rate(spec: pb.RenderSpec) -> pb.Rational:
    return spec.clips[0].speed_spans[0].rate


@pytest.mark.parametrize("name", RULES)
def test_a_broken_rule_names_its_field(name: str) -> None:
    field, spoil = RULES[name]
    spec = whole()
    spoil(spec)
    with pytest.raises(Fault) as refused:
        messages.spec_from(spec)
    assert (refused.value.reason, refused.value.metadata.get("field")) == ("invalid_spec", field), refused.value.message
    assert refused.value.message.startswith(field) and refused.value.message.endswith(".")


@given(st.binary(max_size=300))
def test_no_bytes_do_harm(data: bytes) -> None:
    for kept in (data, messages.encode_spec(whole())[: len(data)] + data):
        try:
            messages.decode_spec(kept)
        except Fault as fault:
            assert fault.reason == "invalid_spec"
