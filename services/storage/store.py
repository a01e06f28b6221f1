"""What storage does in the bucket: each step a bounded call in the pool, nothing on the event loop.

1. Every step has a deadline: the caller's, at most QUICK_S or PATIENT_S
   (tests/storage/test_failures.py::test_a_call_keeps_to_its_deadline).
2. Only calls that change nothing, or end the same when done twice, are repeated, once (test_reads_are_repeated_once,
   test_creation_is_not_repeated).
3. An upload is completed from the store's own part list and only when every part is there with its size; repeating it
   after success answers the object (tests/storage/test_multipart.py).
4. What takes many steps can be cut off anywhere and called again (test_service.py::test_delete_prefix_goes_on).
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from chassis import deadlines
from chassis.faults import Fault, Kind
from storage import failures
from storage.pool import Pool
from storage.sigv4 import Signer
from storage.store_clock import StoreClock
from storage.uploads import GIB, MAX_PUT_BYTES, Part, Plan

if TYPE_CHECKING:
    from storage.bucket import Bucket

QUICK_S = 20.0
PATIENT_S = 60.0
ASK_TIME_S = 1.5
ASK_AGAIN_S = 5.0
PAGE = 1000
AT_ONCE = 4


@dataclass(frozen=True)
class Stored:
    """An object, by its full key."""

    key: str
    size_bytes: int
    etag: str  # without quotes
    content_type: str  # empty in listings
    modified: datetime


class Store:
    """The objects and uploads of one bucket; keys and prefixes are full ones. Every method raises Fault."""

    def __init__(
        self,
        endpoint_url: str,
        bucket: str,
        signer: Signer,
        *,
        threads: int,
        waiting: int,
        clock: StoreClock,
        copy_limit_bytes: int = MAX_PUT_BYTES,
        copy_part_bytes: int = GIB,
    ) -> None:
        self._name = bucket
        self._open_bucket = (endpoint_url, bucket, signer, clock, threads)
        self._pool = Pool(threads, waiting)
        self._clock = clock
        self._copy_limit_bytes = copy_limit_bytes
        self._copy_part_bytes = copy_part_bytes
        self._lock = threading.Lock()
        self._opened: Bucket | None = None
        self._asking = asyncio.Lock()
        self._ask_not_before_s = 0.0

    async def open(self) -> None:
        """Connects ahead of the first call, and looks whether the bucket is there."""
        await self._call("HeadBucket", {}, repeat=True)

    async def close(self) -> None:
        """Takes no more calls."""
        self._pool.close()
        if self._opened is not None:
            self._opened.close()

    async def now_s(self) -> float:
        """The store's time, seconds since 1970; asks the store when the local clock is in doubt. Never fails."""
        if self._in_doubt():
            async with self._asking:
                if self._in_doubt():
                    # One attempt for all who wait; a store that does not answer is asked again only after a while.
                    self._ask_not_before_s = time.monotonic() + ASK_AGAIN_S
                    try:
                        with deadlines.scope(ASK_TIME_S):
                            await self._call("HeadBucket", {})
                    except Fault:
                        return self._clock.now_s()
        return self._clock.now_s()

    async def stat(self, key: str) -> Stored:
        """What is known of an object; object_not_found without it."""
        answer = await self._call("HeadObject", {"Key": key}, repeat=True)
        return Stored(
            key, answer["ContentLength"], _bare(answer["ETag"]), answer.get("ContentType", ""), answer["LastModified"]
        )

    async def page(self, prefix: str, *, after: str = "", limit: int = PAGE) -> tuple[list[Stored], bool]:
        """Objects below a prefix in the order of their keys, those after the key `after`; whether there are more."""
        start = {"StartAfter": after} if after else {}
        answer = await self._call("ListObjectsV2", {"Prefix": prefix, "MaxKeys": limit, **start}, repeat=True)
        found = [
            Stored(item["Key"], item["Size"], _bare(item["ETag"]), "", item["LastModified"])
            for item in answer.get("Contents", ())
        ]
        return found, bool(answer.get("IsTruncated")) and bool(found)

    async def delete(self, keys: Sequence[str]) -> None:
        """Deletes up to PAGE objects; those that are not there count as deleted."""
        wanted = {"Objects": [{"Key": key} for key in keys], "Quiet": True}
        answer = await self._call("DeleteObjects", {"Delete": wanted}, repeat=True)
        for error in answer.get("Errors", ()):
            code = str(error.get("Code", ""))
            raise failures.fault("DeleteObjects", code or "InternalError", 200)

    async def delete_folder(self, prefix: str) -> int:
        """Deletes all objects below a prefix, page by page; how many. Called again, it goes on where it was cut off."""
        deleted = 0
        async for found in self._pages(prefix):
            await self.delete([stored.key for stored in found])
            deleted += len(found)
        return deleted

    async def usage(self, prefix: str) -> tuple[int, int]:
        """Bytes and objects below a prefix."""
        size_bytes, objects = 0, 0
        async for found in self._pages(prefix):
            size_bytes += sum(stored.size_bytes for stored in found)
            objects += len(found)
        return size_bytes, objects

    async def copy(self, source_key: str, target_key: str) -> Stored:
        """Copies within the store, as the source is at this moment: precondition_failed when it changes meanwhile."""
        source = await self.stat(source_key)
        origin = {"CopySource": {"Bucket": self._name, "Key": source_key}, "CopySourceIfMatch": f'"{source.etag}"'}
        if source.size_bytes > self._copy_limit_bytes:
            return await self._copy_in_parts(source, target_key, origin)
        answer = await self._call(
            "CopyObject", {"Key": target_key, "MetadataDirective": "COPY", **origin}, patient=True
        )
        result = answer["CopyObjectResult"]
        return Stored(target_key, source.size_bytes, _bare(result["ETag"]), source.content_type, result["LastModified"])

    async def begin_upload(self, key: str, content_type: str) -> str:
        """A new multipart upload's id."""
        # Not repeated: each answer that got lost would leave an upload behind.
        answer = await self._call("CreateMultipartUpload", {"Key": key, "ContentType": content_type})
        return str(answer["UploadId"])

    async def parts(self, key: str, upload_id: str) -> list[Part]:
        """The parts that the store has, in order; upload_not_found when it knows no such upload of this key."""
        found: list[Part] = []
        while True:
            start = {"PartNumberMarker": found[-1].number} if found else {}
            wanted = {"Key": key, "UploadId": upload_id, "MaxParts": PAGE, **start}
            answer = await self._call("ListParts", wanted, repeat=True)
            items = answer.get("Parts", ())
            found += [Part(item["PartNumber"], item["Size"], item["ETag"]) for item in items]
            if not answer.get("IsTruncated") or not items:
                return found

    async def finish_upload(self, key: str, upload_id: str, plan: Plan) -> Stored:
        """Completes an upload from the store's part list; upload_incomplete names what is missing."""
        try:
            chosen = plan.chosen(await self.parts(key, upload_id))
            await self._complete(key, upload_id, {part.number: part.etag for part in chosen})
        except Fault as gone:
            if gone.reason != "upload_not_found":
                raise
            # Completed before, and the answer was lost or the caller asks again: then the object is there, with the
            # upload's size.
            try:
                stored = await self.stat(key)
            except Fault as fault:
                raise (gone if fault.reason == "object_not_found" else fault) from gone
            if stored.size_bytes != plan.size_bytes:
                raise
            return stored
        return await self.stat(key)

    async def abort_upload(self, key: str, upload_id: str) -> None:
        """Gives up an upload and its parts; one that is gone already is fine."""
        try:
            await self._call("AbortMultipartUpload", {"Key": key, "UploadId": upload_id}, repeat=True)
        except Fault as fault:
            if fault.reason != "upload_not_found":
                raise

    async def sweep(self, prefix: str, wanted: Callable[[str], bool], older_than_s: float) -> int:
        """Aborts unfinished uploads of wanted keys below a prefix that began at least so long ago; how many."""
        limit_s = await self.now_s() - older_than_s
        aborted = 0
        markers: dict[str, str] = {}
        while True:
            wanted_page = {"Prefix": prefix, "MaxUploads": PAGE, **markers}
            answer = await self._call("ListMultipartUploads", wanted_page, repeat=True)
            found = [
                (item["Key"], item["UploadId"], item["Initiated"].timestamp()) for item in answer.get("Uploads", ())
            ]
            old = [(key, upload_id) for key, upload_id, began_s in found if began_s <= limit_s and wanted(key)]
            await _few_at_once([partial(self.abort_upload, key, upload_id) for key, upload_id in old])
            aborted += len(old)
            if not answer.get("IsTruncated") or not found:
                return aborted
            markers = {"KeyMarker": found[-1][0], "UploadIdMarker": found[-1][1]}

    async def _copy_in_parts(self, source: Stored, target_key: str, origin: Mapping[str, Any]) -> Stored:
        plan = Plan(source.size_bytes, self._copy_part_bytes)
        upload_id = await self.begin_upload(target_key, source.content_type)
        etags: dict[int, str] = {}

        async def copy_part(number: int) -> None:
            first = (number - 1) * plan.part_size_bytes
            wanted = {
                "Key": target_key,
                "UploadId": upload_id,
                "PartNumber": number,
                "CopySourceRange": f"bytes={first}-{first + plan.size_of(number) - 1}",
                **origin,
            }
            answer = await self._call("UploadPartCopy", wanted, patient=True, repeat=True)
            etags[number] = answer["CopyPartResult"]["ETag"]

        try:
            await _few_at_once([partial(copy_part, number) for number in range(1, plan.part_count + 1)])
            await self._complete(target_key, upload_id, etags)
        except Fault:
            await self.abort_upload(target_key, upload_id)
            raise
        return await self.stat(target_key)

    async def _complete(self, key: str, upload_id: str, etags: Mapping[int, str]) -> None:
        listed = {"Parts": [{"PartNumber": number, "ETag": etags[number]} for number in sorted(etags)]}
        wanted = {"Key": key, "UploadId": upload_id, "MultipartUpload": listed}
        # Not repeated here: after a lost answer the caller's repetition looks whether the object is there.
        await self._call("CompleteMultipartUpload", wanted, patient=True)

    async def _pages(self, prefix: str) -> AsyncIterator[list[Stored]]:
        after, more = "", True
        while more:
            found, more = await self.page(prefix, after=after)
            if found:
                after = found[-1].key
                yield found

    def _in_doubt(self) -> bool:
        return self._clock.doubtful() and time.monotonic() >= self._ask_not_before_s

    async def _call(
        self, operation: str, wanted: Mapping[str, Any], *, repeat: bool = False, patient: bool = False
    ) -> Mapping[str, Any]:
        left_s = deadlines.budget_s(PATIENT_S if patient else QUICK_S)

        def attempts() -> Mapping[str, Any]:
            end_s = time.monotonic() + left_s
            bucket = self._bucket()
            try:
                return bucket.call(operation, wanted, patient=patient)
            except Fault as fault:
                # A request that was refused for its time was not done, and the clock has learnt from the refusal.
                again = repeat or fault.metadata.get("store_code") == failures.MISTIMED
                pause_s = random.uniform(0.05, 0.15)  # noqa: S311 (no secret)
                if not again or fault.kind is not Kind.UNAVAILABLE or time.monotonic() + pause_s >= end_s:
                    raise
            time.sleep(pause_s)
            return bucket.call(operation, wanted, patient=patient)

        try:
            async with asyncio.timeout(left_s):
                return await self._pool.run(attempts)
        except TimeoutError as error:
            raise failures.unreachable(operation, "timeout") from error

    def _bucket(self) -> Bucket:
        """The bucket, opened by the first thread that needs it."""
        with self._lock:
            if self._opened is None:
                # Imported here: botocore costs 250 ms of CPU that grants and health do not have to wait for.
                from storage.bucket import Bucket

                self._opened = Bucket(*self._open_bucket)
            return self._opened


async def _few_at_once(jobs: Sequence[Callable[[], Awaitable[None]]]) -> None:
    for start in range(0, len(jobs), AT_ONCE):
        results = await asyncio.gather(*(job() for job in jobs[start : start + AT_ONCE]), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result


def _bare(etag: str) -> str:
    return etag.strip('"')
