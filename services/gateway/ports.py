"""What the gateway needs of the other services: four Protocols, and the values that they exchange.

Every method raises chassis.faults.Fault. A refused stale commit is Fault(CONFLICT, "stale_session") with a Staleness
among its details.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Protocol

from gateway.domain.footage import Probe
from gateway.domain.history import History
from gateway.domain.jobs import Job
from gateway.domain.render_spec import RenderSpec

Scalar = int | float | str | bytes | None


@dataclass(frozen=True)
class Statement:
    """One SQL statement with positional parameters; `require_rows` as in dbsync: exactly so many, or nothing is
    committed.
    """

    sql: str
    parameters: tuple[Scalar, ...] = ()
    require_rows: int | None = None


@dataclass(frozen=True)
class Rows:
    """A result set."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Scalar, ...], ...] = ()


@dataclass(frozen=True)
class Reading:
    """Results that all see one version."""

    version: int
    results: tuple[Rows, ...]


@dataclass(frozen=True)
class Commit:
    """One transaction; the fields are those of dbsync's CommitRequest."""

    database: str
    statements: tuple[Statement, ...]
    idempotency_key: str
    author: str = ""
    schema_version: int | None = None
    base_version: int | None = None
    depends_on: tuple[RowKey, ...] = ()
    set_schema_version: int | None = None


@dataclass(frozen=True)
class Committed:
    """What a commit did; `base_version` is the author's next base."""

    version: int
    base_version: int
    results: tuple[Rows, ...]
    replayed: bool


@dataclass(frozen=True)
class Head:
    """A database's newest version, its schema, and who wrote it; version 0 is a database that nobody has written."""

    version: int
    schema_version: int
    author: str


@dataclass(frozen=True)
class RowKey:
    """A row by its table and primary key."""

    table: str
    key: tuple[Scalar, ...]


@dataclass(frozen=True)
class Staleness:
    """Why a commit was refused: the writer had read `base_version`, others have changed `rows` up to `head_version`."""

    base_version: int
    head_version: int
    rows: tuple[RowKey, ...]


class Databases(Protocol):
    """Versioned SQLite databases."""

    async def query(
        self, database: str, statements: Sequence[Statement], *, schema_version: int, min_version: int | None
    ) -> Reading: ...

    async def commit(self, commit: Commit) -> Committed: ...

    async def head(self, database: str) -> Head: ...

    async def ready(self, timeout_s: float) -> bool: ...


@dataclass(frozen=True)
class Undo:
    """The commit to undo, and who asks; the other fields as in a Commit."""

    database: str
    version: int
    commit_id: str
    idempotency_key: str
    author: str
    schema_version: int
    base_version: int | None


@dataclass(frozen=True)
class SchemaStep:
    """The owner's step from one schema version to a later one."""

    from_version: int
    to_version: int
    statements: tuple[str, ...]


@dataclass(frozen=True)
class Restore:
    """The version to bring back, and who asks.

    `steps` are all that the owner knows; the rows that `present_tables` have now stay.
    """

    database: str
    version: int
    idempotency_key: str
    author: str
    schema_version: int
    base_version: int | None
    steps: tuple[SchemaStep, ...]
    present_tables: tuple[str, ...]


class Archive(Protocol):
    """The past of the databases, and their whole files."""

    async def history(self, database: str, *, before_version: int, page_size: int, row: RowKey | None) -> History:
        """A page of the past before a version (0: from now on)."""
        ...

    async def undo(self, undo: Undo) -> Committed: ...

    async def restore(self, restore: Restore) -> Committed: ...

    async def snapshot_url(self, database: str, *, download_name: str, lifetime_s: int) -> tuple[str, int]:
        """Where the whole database can be downloaded, and its version."""
        ...


@dataclass(frozen=True)
class UploadRef:
    """A multipart upload."""

    key: str
    upload_id: str
    size_bytes: int
    part_size_bytes: int


@dataclass(frozen=True)
class CreatedUpload:
    """A multipart upload just begun: every part has `part_size_bytes`, the last excepted."""

    upload_id: str
    part_size_bytes: int
    part_count: int


@dataclass(frozen=True)
class SignedPart:
    """Where and how one part is PUT."""

    number: int
    url: str
    size_bytes: int
    headers: dict[str, str]
    expires_ms: int  # Unix time


@dataclass(frozen=True)
class PartsDone:
    """The parts that the store has."""

    numbers: tuple[int, ...]
    received_bytes: int


@dataclass(frozen=True)
class StoredObject:
    """An object that is there."""

    size_bytes: int
    etag: str


class Objects(Protocol):
    """Objects of a tenant; keys are relative to it."""

    async def grant_download(self, tenant: str, key: str, *, download_name: str, lifetime_s: float) -> str:
        """A presigned URL; with a `download_name` the answer is an attachment of that name."""
        ...

    async def create_upload(self, tenant: str, key: str, content_type: str, size_bytes: int) -> CreatedUpload: ...

    async def sign_parts(self, tenant: str, upload: UploadRef, numbers: Sequence[int]) -> list[SignedPart]: ...

    async def list_parts(self, tenant: str, upload: UploadRef) -> PartsDone: ...

    async def complete_upload(self, tenant: str, upload: UploadRef) -> StoredObject: ...

    async def abort_upload(self, tenant: str, upload: UploadRef) -> None: ...

    async def ready(self, timeout_s: float) -> bool: ...


class Renderer(Protocol):
    """Render jobs of a tenant, by ids that the gateway chooses."""

    async def submit(self, tenant: str, job_id: str, spec: RenderSpec) -> Job: ...

    async def job(self, tenant: str, job_id: str) -> Job: ...

    async def cancel(self, tenant: str, job_id: str) -> Job: ...

    def watch(self, tenant: str, job_id: str, after_sequence: int) -> AsyncGenerator[Job, None]:
        """The job's states from now on, ending with its terminal one."""
        ...

    async def probe(self, tenant: str, key: str, etag: str) -> Probe: ...

    async def ready(self, timeout_s: float) -> bool: ...
