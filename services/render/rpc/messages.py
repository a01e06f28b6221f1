"""Between the contract's messages and render's own values."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import TypeVar

from google.protobuf.message import DecodeError
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.faults import invalid
from reel.render.v1 import render_pb2 as pb
from render import spec as s
from render.job import Job, Live, State
from render.jobs import sequence

T = TypeVar("T")

_INTERPOLATIONS = {0: s.Interpolation.SMOOTH, 1: s.Interpolation.LINEAR, 2: s.Interpolation.SMOOTH}
_SPACES = {0: s.Space.OUTPUT, 1: s.Space.OUTPUT, 2: s.Space.SOURCE}
_SHAPES = {0: s.Shape.BODY, 1: s.Shape.BODY, 2: s.Shape.GROUND}
_EFFECTS = {1: s.EffectKind.DIM_OUTSIDE, 2: s.EffectKind.BRIGHTEN_INSIDE, 3: s.EffectKind.RING}
_QUALITIES = {0: s.Quality.STANDARD, 1: s.Quality.DRAFT, 2: s.Quality.STANDARD, 3: s.Quality.HIGH}
_MODES = {0: s.Mode.EXACT, 1: s.Mode.EXACT, 2: s.Mode.INSTANT}
_STATES = {
    State.QUEUED: pb.JOB_STATE_QUEUED,
    State.RUNNING: pb.JOB_STATE_RUNNING,
    State.SUCCEEDED: pb.JOB_STATE_SUCCEEDED,
    State.FAILED: pb.JOB_STATE_FAILED,
    State.CANCELLED: pb.JOB_STATE_CANCELLED,
}
_DISSOLVES = {0: False, 1: False, 2: True}


def encode_spec(spec: pb.RenderSpec) -> bytes:
    """The form in which a specification is kept and compared."""
    return spec.SerializeToString(deterministic=True)


def decode_spec(data: bytes) -> s.Spec:
    """A kept specification; a Fault invalid_spec."""
    message = pb.RenderSpec()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise invalid("invalid_spec", "The kept specification cannot be read.") from error
    return spec_from(message)


def spec_from(message: pb.RenderSpec) -> s.Spec:
    """A validated specification; a Fault invalid_spec that names the field."""
    if message.spec_version != s.VERSION:
        raise invalid("invalid_spec", f"spec_version: only version {s.VERSION} is known.", field="spec_version")
    return s.validate(
        s.Spec(
            clips=tuple(_clip(f"clips[{i}]", clip) for i, clip in enumerate(message.clips)),
            output=_output(message.output),
            dissolves=tuple(
                s.Dissolve(one.after_clip, one.duration_us)
                for i, one in enumerate(message.transitions)
                if _known(f"transitions[{i}].kind", _DISSOLVES, one.kind)
            ),
            overlays=tuple(_overlay(f"overlays[{i}]", overlay) for i, overlay in enumerate(message.overlays)),
            audio=message.audio.include,
            gain_db=message.audio.gain_db,
            title=message.metadata.title,
            notes=message.metadata.notes,
            chapters=tuple((one.time_us, one.title) for one in message.metadata.chapters),
            mode=_known("mode", _MODES, message.mode),
        )
    )


def source_from(message: pb.Source) -> s.Source:
    """A source; a Fault invalid_spec without a key."""
    if not message.key:
        raise invalid("invalid_spec", "source.key: the source is not named.", field="source.key")
    return s.Source(message.key, message.etag)


def job_to(job: Job, live: Live) -> pb.Job:
    """A job as the contract says it."""
    message = pb.Job(
        tenant=job.tenant,
        job_id=job.job_id,
        state=_STATES[job.state],
        progress=live.progress,
        eta_s=live.eta_s,
        attempt=job.attempt,
        sequence=sequence(job, live),
        submitted=_timestamp(job.submitted_ms),
        started=_timestamp(job.started_ms),
        finished=_timestamp(job.finished_ms),
        phase=live.phase,
        engine=job.engine,
    )
    if job.failure is not None:
        failure = job.failure
        message.error.CopyFrom(pb.JobError(code=failure.code, message=failure.message, retryable=failure.retryable))
    for one in job.outputs:
        message.outputs.append(
            pb.JobOutput(
                name=one.name,
                key=one.key,
                size_bytes=one.size_bytes,
                etag=one.etag,
                content_type=one.content_type,
                duration_us=one.duration_us,
                width=one.width,
                height=one.height,
                fps=rational_to(one.fps),
                frames=one.frames,
                poster_key=one.poster_key,
            )
        )
    return message


def rational_to(value: Fraction) -> pb.Rational:
    """A rate as the contract says it."""
    return pb.Rational(num=value.numerator, den=value.denominator)


def _timestamp(millis: int) -> Timestamp | None:
    return Timestamp(seconds=millis // 1000, nanos=millis % 1000 * 1_000_000) if millis else None


def _clip(field: str, clip: pb.Clip) -> s.Clip:
    crop = None
    if clip.HasField("crop"):
        keys = tuple(s.CropKey(key.time_us, key.x, key.y, key.width, key.height) for key in clip.crop.keys)
        crop = s.Crop(keys, _known(f"{field}.crop.interpolation", _INTERPOLATIONS, clip.crop.interpolation))
    return s.Clip(
        source=s.Source(clip.source.key, clip.source.etag),
        in_us=clip.in_us,
        out_us=clip.out_us,
        speed_spans=tuple(
            s.SpeedSpan(span.from_us, span.to_us, _rational(f"{field}.speed_spans", span.rate))
            for span in clip.speed_spans
        ),
        crop=crop,
        output_name=clip.output_name,
        caption_title=clip.caption.title,
        caption_text=clip.caption.text,
        title=clip.metadata.title,
        notes=clip.metadata.notes,
        fields=tuple((one.name, _cell(one)) for one in clip.metadata.fields),
    )


def _cell(field: pb.Field) -> s.Cell:
    match field.WhichOneof("value"):
        case "text":
            return field.text
        case "number":
            return field.number
        case "words":
            return tuple(field.words.words)
        case _:
            return None


def _output(output: pb.Output) -> s.Output:
    return s.Output(
        folder=output.folder,
        name=output.name,
        width=output.width,
        height=output.height,
        fps=_rational("output.fps", output.fps) if output.HasField("fps") else None,
        quality=_known("output.quality", _QUALITIES, output.quality),
        poster=output.poster,
        sheet=output.sheet,
    )


def _overlay(field: str, overlay: pb.Overlay) -> s.Overlay:
    content: s.Spotlight | s.Text
    if overlay.WhichOneof("content") == "text":
        text = overlay.text
        content = s.Text(text.text, text.x, text.y, text.height, text.color or "#ffffff")
    elif overlay.WhichOneof("content") == "spotlight":
        light = overlay.spotlight
        content = s.Spotlight(
            keys=tuple(s.EllipseKey(k.time_us, k.center_x, k.center_y, k.radius_x, k.radius_y) for k in light.keys),
            effects=tuple(
                s.Effect(_known(f"{field}.effects", _EFFECTS, one.kind), one.strength, one.color or "#ffffff")
                for one in light.effects
            ),
            shape=_known(f"{field}.shape", _SHAPES, light.shape),
            interpolation=_known(f"{field}.interpolation", _INTERPOLATIONS, light.interpolation),
        )
    else:
        raise invalid("invalid_spec", f"{field}: an overlay is a spotlight or text.", field=field)
    space = _known(f"{field}.space", _SPACES, overlay.space)
    return s.Overlay(overlay.from_us, overlay.to_us, content, overlay.fade_us, space, overlay.clip_index)


def _rational(field: str, value: pb.Rational) -> Fraction:
    if value.den <= 0:
        raise invalid("invalid_spec", f"{field}: a rate has a denominator above 0.", field=field)
    return Fraction(value.num, value.den)


def _known(field: str, names: Mapping[int, T], value: int) -> T:
    if value not in names:
        raise invalid("invalid_spec", f"{field}: {value} is not known.", field=field)
    return names[value]
