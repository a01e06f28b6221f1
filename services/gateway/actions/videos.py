"""Videos: their uploads, straight from the browser to the object store, and their files.

The row precedes the upload, and a read repairs what a crash left between the two:
1. a video without a multipart upload gets one when its upload is asked for (tests/gateway/test_http_uploads.py);
2. of two uploads begun at once one is kept and the other aborted;
3. completing again after a lost answer gives the same video.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from chassis import faults
from chassis.faults import Fault, Kind
from gateway.domain.actor import Actor, Stamp
from gateway.domain.footage import Probe, StoredVideo, Video, VideoState, reject_reason
from gateway.domain.ids import derive
from gateway.domain.names import download_name, extension
from gateway.library import games as rows
from gateway.library.steps import Step, missing
from gateway.library.store import Store
from gateway.ports import Objects, PartsDone, Renderer, Rows, SignedPart, UploadRef

log = logging.getLogger(__name__)

PLAYBACK_S = 6 * 3600.0  # no shorter than the longest sitting with one game; the player asks again on a 403


@dataclass(frozen=True)
class Upload:
    """How far an upload is; parts count from 1."""

    part_size_bytes: int
    part_count: int
    parts_done: tuple[int, ...]
    bytes_done: int


async def create(
    store: Store, objects: Objects, actor: Actor, video: Video, max_upload_bytes: int
) -> tuple[Video, Upload, Stamp]:
    """A new video of a game and the upload of its file; `video` needs no id yet. Repeated with the same key, the
    same video.
    """
    if video.size_bytes > max_upload_bytes:
        raise faults.invalid(
            "file_too_large", f"A file may have at most {max_upload_bytes >> 30} GiB.", field="size_bytes"
        )
    named = replace(video, id=derive(actor.key, actor.user_id, "video"))
    key = f"games/{named.game_id}/{named.id}{extension(named.file_name, named.content_type)}"
    written = await store.write(actor, [*rows.insert_video(named, key), Step(rows.one_video(named.id))])
    stored = await _begun(store, objects, actor.user_id, _only(written.results[-1]))
    return stored.video, Upload(stored.part_size_bytes, stored.part_count, (), 0), written.stamp


async def upload(store: Store, objects: Objects, actor: Actor, video_id: str) -> tuple[Upload, Stamp]:
    """How far a video's upload is, by the store's own list; begins it (anew) when the store knows of none."""
    stored, stamp = await _find(store, actor, video_id)
    if stored.video.state is not VideoState.UPLOADING:
        return _complete(stored), stamp
    stored = await _begun(store, objects, actor.user_id, stored)
    try:
        done = await objects.list_parts(actor.user_id, _ref(stored))
    except Fault as fault:
        if fault.reason != "upload_not_found":
            raise
        if await _is_there(objects, actor.user_id, stored):
            return _complete(stored), stamp
        stored = await _begun(store, objects, actor.user_id, stored, again=True)
        done = PartsDone((), 0)
    return Upload(stored.part_size_bytes, stored.part_count, done.numbers, done.received_bytes), stamp


async def sign_parts(
    store: Store, objects: Objects, actor: Actor, video_id: str, numbers: Sequence[int]
) -> tuple[list[SignedPart], Stamp]:
    """Where to PUT some parts."""
    stored, stamp = await _find(store, actor, video_id)
    if stored.video.state is not VideoState.UPLOADING:
        raise faults.precondition("upload_finished", "This video was uploaded already.")
    stored = await _begun(store, objects, actor.user_id, stored)
    if max(numbers) > stored.part_count:
        raise faults.invalid("no_such_part", f"The upload has {stored.part_count} parts.", field="part_numbers")
    signed = await objects.sign_parts(actor.user_id, _ref(stored), numbers)
    return signed, Stamp(stamp.version, actor.base_version)


async def complete(
    store: Store, objects: Objects, renderer: Renderer, actor: Actor, video_id: str
) -> tuple[Video, Stamp]:
    """A video whose parts are all there, probed: ready, or rejected with the reason."""
    stored, stamp = await _find(store, actor, video_id)
    if stored.video.state is not VideoState.UPLOADING:
        return stored.video, Stamp(stamp.version, actor.base_version)
    if not stored.upload_id:
        raise faults.precondition("upload_incomplete", "Parts of the file are missing; send them and complete again.")
    made = await objects.complete_upload(actor.user_id, _ref(stored))
    probe, reason = await _probe(renderer, actor.user_id, stored.key, made.etag)
    written = await store.system_write(actor.user_id, rows.set_probed(video_id, made.etag, probe, reason))
    # The page's base stays where it was: this is the system's write, which conflicts with nothing of its own.
    return _only(written.results[-1]).video, Stamp(written.stamp.version, actor.base_version)


async def delete(store: Store, objects: Objects, actor: Actor, video_id: str) -> Stamp:
    """Deletes a video with its clips. Only rows go; an upload under way is given up, a finished object stays (rule
    13).
    """
    reading = await store.read(actor.user_id, [rows.one_video(video_id)], min_version=actor.min_version)
    written = await store.write(actor, rows.delete_video(video_id))
    for stored in rows.read_videos(reading.results[0]):
        if stored.upload_id and stored.video.state is VideoState.UPLOADING:
            await _abort(objects, actor.user_id, _ref(stored))
    return written.stamp


async def file_url(store: Store, objects: Objects, actor: Actor, video_id: str, *, download: bool) -> tuple[str, Stamp]:
    """A presigned URL of a video's file."""
    stored, stamp = await _find(store, actor, video_id)
    if stored.video.state is VideoState.UPLOADING:
        raise faults.precondition("video_not_ready", "This video is still uploading.", video_id=video_id)
    stem = stored.video.file_name.rpartition(".")[0] or stored.video.file_name
    name = (
        download_name(stem, "video", extension(stored.video.file_name, stored.video.content_type)) if download else ""
    )
    return await objects.grant_download(actor.user_id, stored.key, download_name=name, lifetime_s=PLAYBACK_S), stamp


async def _begun(
    store: Store, objects: Objects, user_id: str, stored: StoredVideo, *, again: bool = False
) -> StoredVideo:
    """The video with a multipart upload, begun now when there is none (or `again`, when the store has lost it)."""
    if stored.upload_id and not again:
        return stored
    video = stored.video
    begun = await objects.create_upload(user_id, stored.key, video.content_type, video.size_bytes)
    written = await store.system_write(user_id, rows.set_upload(video.id, stored.upload_id, begun))
    now = _only(written.results[-1])
    if now.upload_id != begun.upload_id:
        await _abort(objects, user_id, UploadRef(stored.key, begun.upload_id, video.size_bytes, begun.part_size_bytes))
    return now


async def _is_there(objects: Objects, user_id: str, stored: StoredVideo) -> bool:
    """Whether the upload was completed but its answer lost: completing again answers the same object."""
    try:
        await objects.complete_upload(user_id, _ref(stored))
    except Fault as fault:
        if fault.reason in ("upload_not_found", "object_not_found", "upload_incomplete"):
            return False
        raise
    return True


async def _abort(objects: Objects, user_id: str, upload: UploadRef) -> None:
    try:
        await objects.abort_upload(user_id, upload)
    except Fault as fault:
        # The bucket's own lifecycle rule ends it within a day.
        log.warning(
            "an upload could not be aborted: %s", fault, extra={"upload_key": upload.key, "reason": fault.reason}
        )


async def _probe(renderer: Renderer, user_id: str, key: str, etag: str) -> tuple[Probe | None, str]:
    try:
        probe = await renderer.probe(user_id, key, etag)
    except Fault as fault:
        if fault.reason == "source_unreadable":
            return None, f"The file cannot be read as a video: {fault.message}"[:500]
        raise (
            fault
            if fault.kind is not Kind.NOT_FOUND
            else faults.unavailable("source_not_found", "The file is not there yet; try again.")
        ) from fault
    return probe, reject_reason(probe)


async def _find(store: Store, actor: Actor, video_id: str) -> tuple[StoredVideo, Stamp]:
    reading = await store.read(actor.user_id, [rows.one_video(video_id)], min_version=actor.min_version)
    return _only(reading.results[0]), Stamp(reading.version, reading.version)


def _complete(stored: StoredVideo) -> Upload:
    return Upload(
        stored.part_size_bytes, stored.part_count, tuple(range(1, stored.part_count + 1)), stored.video.size_bytes
    )


def _ref(stored: StoredVideo) -> UploadRef:
    return UploadRef(stored.key, stored.upload_id, stored.video.size_bytes, stored.part_size_bytes)


def _only(result: Rows) -> StoredVideo:
    found = rows.read_videos(result)
    if not found:
        raise missing("video")
    return found[0]
