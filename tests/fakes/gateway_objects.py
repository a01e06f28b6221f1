"""The gateway's Objects port in memory: uploads whose parts a test puts, objects, presigned URLs that name what they
grant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from chassis import faults
from chassis.faults import Fault
from gateway.ports import CreatedUpload, PartsDone, SignedPart, StoredObject, UploadRef

PART_BYTES = 8 << 20
EXPIRES_MS = 2_000_000_000_000


@dataclass
class Begun:
    """A multipart upload under way."""

    tenant: str
    key: str
    size_bytes: int
    parts: set[int] = field(default_factory=set)

    @property
    def part_count(self) -> int:
        return -(-self.size_bytes // PART_BYTES)


class FakeObjects:
    """The objects of every tenant."""

    def __init__(self) -> None:
        self.uploads: dict[str, Begun] = {}
        self.objects: dict[tuple[str, str], StoredObject] = {}
        self.aborted: list[str] = []
        self.refusals: list[Fault] = []
        self.is_ready = True
        self._count = 0

    async def grant_download(self, tenant: str, key: str, *, download_name: str, lifetime_s: float) -> str:
        self._refuse()
        return f"https://objects.test/{tenant}/{key}?name={quote(download_name)}&lifetime={lifetime_s:.0f}"

    async def create_upload(self, tenant: str, key: str, content_type: str, size_bytes: int) -> CreatedUpload:
        self._refuse()
        self._count += 1
        begun = Begun(tenant, key, size_bytes)
        self.uploads[f"upload-{self._count}"] = begun
        return CreatedUpload(f"upload-{self._count}", PART_BYTES, begun.part_count)

    async def sign_parts(self, tenant: str, upload: UploadRef, numbers: Sequence[int]) -> list[SignedPart]:
        self._refuse()
        return [
            SignedPart(number, f"https://objects.test/{tenant}/{upload.key}?part={number}", PART_BYTES, {}, EXPIRES_MS)
            for number in numbers
        ]

    async def list_parts(self, tenant: str, upload: UploadRef) -> PartsDone:
        self._refuse()
        begun = self._find(tenant, upload)
        return PartsDone(tuple(sorted(begun.parts)), min(len(begun.parts) * PART_BYTES, begun.size_bytes))

    async def complete_upload(self, tenant: str, upload: UploadRef) -> StoredObject:
        self._refuse()
        if upload.upload_id not in self.uploads and (tenant, upload.key) in self.objects:
            return self.objects[tenant, upload.key]
        begun = self._find(tenant, upload)
        if len(begun.parts) < begun.part_count:
            raise faults.precondition("upload_incomplete", "Parts are missing.", missing_count="1")
        stored = StoredObject(begun.size_bytes, f"etag-{upload.upload_id}")
        self.objects[tenant, upload.key] = stored
        del self.uploads[upload.upload_id]
        return stored

    async def abort_upload(self, tenant: str, upload: UploadRef) -> None:
        self._refuse()
        self.aborted.append(upload.upload_id)
        self.uploads.pop(upload.upload_id, None)

    async def ready(self, timeout_s: float) -> bool:
        return self.is_ready

    def put_all_parts(self) -> None:
        """Every part of every upload has arrived."""
        for begun in self.uploads.values():
            begun.parts = set(range(1, begun.part_count + 1))

    def _find(self, tenant: str, upload: UploadRef) -> Begun:
        begun = self.uploads.get(upload.upload_id)
        if begun is None or begun.tenant != tenant or begun.key != upload.key:
            raise faults.not_found("upload_not_found", "There is no such upload.")
        return begun

    def _refuse(self) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
