"""A render specification as the contract's message."""

from __future__ import annotations

from gateway.domain.render_spec import RenderSpec, SpecClip, SpecSpotlight
from reel.render.v1 import render_pb2 as pb

SPEC_VERSION = 1

_SHAPES = {"body": pb.SHAPE_BODY, "ground": pb.SHAPE_GROUND}
_EFFECTS = {
    "dim_outside": pb.EFFECT_KIND_DIM_OUTSIDE,
    "brighten_inside": pb.EFFECT_KIND_BRIGHTEN_INSIDE,
    "ring": pb.EFFECT_KIND_RING,
}


def message(spec: RenderSpec) -> pb.RenderSpec:
    """The message of a specification."""
    return pb.RenderSpec(
        spec_version=SPEC_VERSION,
        clips=[_clip(clip) for clip in spec.clips],
        overlays=[_overlay(spot) for spot in spec.spotlights],
        output=pb.Output(
            folder=spec.folder,
            name=spec.name,
            width=spec.width,
            height=spec.height,
            quality=pb.QUALITY_STANDARD,
            poster=True,
            sheet=spec.sheet,
        ),
        audio=pb.Audio(include=True),
        metadata=pb.Metadata(title=spec.title),
        mode=pb.MODE_INSTANT if spec.instant else pb.MODE_EXACT,
    )


def _clip(clip: SpecClip) -> pb.Clip:
    made = pb.Clip(
        source=pb.Source(key=clip.key, etag=clip.etag),
        in_us=clip.in_us,
        out_us=clip.out_us,
        output_name=clip.output_name,
        metadata=pb.Metadata(title=clip.title, notes=clip.notes, fields=[_field(*field) for field in clip.fields]),
    )
    for span in clip.speed_spans:
        rate = pb.Rational(num=span.rate.num, den=span.rate.den)
        made.speed_spans.append(pb.SpeedSpan(from_us=span.from_us, to_us=span.to_us, rate=rate))
    if clip.crop_keys:
        keys = [
            pb.CropKey(time_us=key.time_us, x=key.x, y=key.y, width=key.width, height=key.height)
            for key in clip.crop_keys
        ]
        made.crop.CopyFrom(pb.Crop(interpolation=pb.INTERPOLATION_SMOOTH, keys=keys))
    if clip.caption_title or clip.caption_text:
        made.caption.CopyFrom(pb.Caption(title=clip.caption_title, text=clip.caption_text))
    return made


def _field(name: str, value: str | int | tuple[str, ...] | None) -> pb.Field:
    match value:
        case None:
            return pb.Field(name=name)
        case str():
            return pb.Field(name=name, text=value)
        case int():
            return pb.Field(name=name, number=value)
        case _:
            return pb.Field(name=name, words=pb.Field.Words(words=value))


def _overlay(spot: SpecSpotlight) -> pb.Overlay:
    keys = [
        pb.EllipseKey(
            time_us=key.time_us,
            center_x=key.center_x,
            center_y=key.center_y,
            radius_x=key.radius_x,
            radius_y=key.radius_y,
        )
        for key in spot.keys
    ]
    effects = [pb.Effect(kind=_EFFECTS[one.kind], strength=one.strength, color=one.color) for one in spot.effects]
    return pb.Overlay(
        space=pb.SPACE_OUTPUT,
        from_us=spot.from_us,
        to_us=spot.to_us,
        fade_us=spot.fade_us,
        spotlight=pb.Spotlight(
            interpolation=pb.INTERPOLATION_SMOOTH, keys=keys, shape=_SHAPES[spot.shape], effects=effects
        ),
    )
