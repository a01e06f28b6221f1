"""The probe of a bucket: two stores that will do, and stores with a planted fault that it must refuse."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from deploy.r2 import probe, probe_checks, probe_store
from deploy.r2.probe_checks import CHECKS, Effort, race_fault
from deploy.r2.probe_store import SILENT, Answer
from objectstore import conditions, payload, ranges, records
from objectstore.errors import S3Error
from tests.fakes.moto_store import moto_store
from tests.fakes.object_store import Fault, ObjectStore, object_store

LATE_MS = 2000
QUICK = ("--rounds", "4", "--writers", "6", "--samples", "6")


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses: these stores take any number of writes a second."""
    monkeypatch.setattr(probe_store, "PAUSE_S", 0.01)
    monkeypatch.setattr(probe_checks, "PAUSE_S", 0.01)


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    with object_store(min_part_bytes=1) as started:
        yield started


def held(store: ObjectStore) -> tuple[list[str], list[str]]:
    """The keys and the uploads of the bucket."""
    client = store.client()
    keys = [entry["Key"] for entry in client.list_objects_v2(Bucket=store.bucket).get("Contents", [])]
    uploads = client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])
    return keys, [upload["Key"] for upload in uploads]


@pytest.mark.usefixtures("hasty")
def test_the_embedded_store_will_do(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(QUICK, store.environment()) == 0
    said = capsys.readouterr().out
    assert said.count("  ok      ") == len(CHECKS) and "FAILED" not in said and "this bucket will do" in said
    assert "4 races of 6 writers, one winner each (4 × 200, 20 × 412 PreconditionFailed)" in said
    assert "PUT If-None-Match" in said and "p99 ms" in said
    assert store.secret_key not in said


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", ["missing key", "creating a key", "creating it again", "replacing", "reads", "lists"])
def test_what_dbsync_rests_on_holds_for_moto(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With one write at a time before it; what it lacks without is what the next tests plant."""
    with moto_store() as store:
        assert probe.main([*QUICK, "--only", name], store.environment()) == 0, capsys.readouterr().out
        assert held(store) == ([], [])


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("name", ["checksums", "presigned"])
def test_moto_as_it_is_would_not_do(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with moto_store() as store:
        assert probe.main(["--only", name], store.environment()) == 1
    assert f"  FAILED  {name}" in capsys.readouterr().out


# What is planted, by the check that must notice: an attribute of the embedded store, and what stands there instead.
_check_write, _find, _scan = conditions.check_write, records.find_object, records.scan


def _without(name: str) -> Callable[..., None]:
    def check(wanted: conditions.Conditions, current_etag: str | None, *, strict_r2: bool) -> None:
        fields = {field: None if field == name else getattr(wanted, field) for field in ("if_match", "if_none_match")}
        _check_write(conditions.Conditions(**fields), current_etag, strict_r2=strict_r2)

    return check


def _slow_to_see(db: sqlite3.Connection, bucket: str, key: str) -> Any:
    """Conditions are judged by what was there a moment ago."""
    found = _find(db, bucket, key)
    return found if found is None or found.modified_ms < time.time() * 1000 - LATE_MS else None


def _late_list(db: sqlite3.Connection, bucket: str, lower: str, limit: int) -> Any:
    return [one for one in _scan(db, bucket, lower, limit) if one.modified_ms < time.time() * 1000 - LATE_MS]


def _another_code(*_: Any, **__: Any) -> None:
    raise S3Error("AccessDenied", "A condition that did not hold.")


def _refusing(wanted: conditions.Conditions, current_etag: str | None, *, strict_r2: bool) -> None:
    if wanted.if_none_match and current_etag is not None:
        _another_code()


BROKEN: dict[str, tuple[str, object, str, Any]] = {
    "If-None-Match ignored": ("creating a key", conditions, "check_write", _without("if_none_match")),
    "If-None-Match ignored, one writer": ("creating it again", conditions, "check_write", _without("if_none_match")),
    "If-None-Match seen late": ("creating a key", records, "find_object", _slow_to_see),
    "If-None-Match answered otherwise": ("creating a key", conditions, "check_write", _refusing),
    "If-Match ignored": ("replacing", conditions, "check_write", _without("if_match")),
    "lists that are late": ("lists", records, "scan", _late_list),
    "deletes that lists see late": ("deletion", records, "remove_object", lambda *_, **__: []),
    "Range ignored": ("ranges", ranges, "resolve", lambda *_: None),
    "Content-MD5 ignored": ("checksums", payload.Checks, "finish", lambda self: None),
}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("why", BROKEN)
def test_a_broken_store_is_refused(
    why: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, owner, attribute, instead = BROKEN[why]
    monkeypatch.setattr(probe_store, "REMOVE_S", 0.1)
    with object_store() as store:
        monkeypatch.setattr(owner, attribute, instead)
        assert probe.main([*QUICK, "--only", name], store.environment()) == 1
        monkeypatch.undo()
    said = capsys.readouterr().out
    assert f"  FAILED  {name}" in said and "do not go live" in said


def test_a_busy_store_is_not_broken(capsys: pytest.CaptureFixture[str]) -> None:
    """R2's one write a second for each key, refusals, and answers that are lost after the write took place."""
    with object_store(strict_r2=True) as store:
        store.faults.add(Fault(stage="after", drop=True, method="PUT", skip=2, count=2))
        store.faults.add(Fault(status=503, method="GET", skip=3, count=2))
        for name in ("missing key", "creating a key", "one busy key"):
            assert probe.main([*QUICK, "--only", name], store.environment()) == 0, capsys.readouterr().out
        assert held(store) == ([], [])
    assert "of 8 quick writes were answered 429" in capsys.readouterr().out


@pytest.mark.usefixtures("hasty")
def test_nothing_is_left(
    store: ObjectStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even by a probe that is stopped in the middle of an upload."""
    store.client().put_object(Bucket=store.bucket, Key="u1/database.sqlite", Body=b"not the probe's")

    def stopped(probed: probe_store.ProbeStore, effort: Effort) -> str:
        probed.put("one", b"1")
        probed.call("CREATE upload", "create_multipart_upload", Key="begun")
        assert held(store) == ([f"{probed.prefix}one", "u1/database.sqlite"], [f"{probed.prefix}begun"])
        raise KeyboardInterrupt

    monkeypatch.setattr(probe, "CHECKS", (("stopped", stopped),))
    with pytest.raises(KeyboardInterrupt):
        probe.main([], store.environment())
    assert held(store) == (["u1/database.sqlite"], [])


def test_without_settings_nothing_is_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main([], {"R2_BUCKET_NAME": "b"}) == 2
    said = capsys.readouterr().err
    assert "R2_ENDPOINT_URL is not set" in said and "R2_SECRET_ACCESS_KEY is not set" in said
    assert "R2_BUCKET_NAME" not in said


def test_wrong_credentials_are_said_once(store: ObjectStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert probe.main(QUICK, {**store.environment(), "R2_SECRET_ACCESS_KEY": "wrong" * 8}) == 1
    said = capsys.readouterr().out
    assert said.count("FAILED  ") == 1 and "SignatureDoesNotMatch" in said


WON, LOST, BUSY, GONE = Answer(200), Answer(412), Answer(429), Answer(SILENT)
A, B = Answer(200, body=b"a"), Answer(200, body=b"b")
RACES: dict[str, tuple[list[Answer], list[Answer], Answer, str]] = {
    "one winner": ([WON, LOST], [A, A], A, ""),
    "a loser that is told to wait": ([WON, BUSY], [A, A], A, ""),
    "a winner whose answer was lost": ([GONE, LOST], [A, A], A, ""),
    "nobody, all in doubt": ([BUSY, GONE], [A, A], Answer(404), ""),
    "two winners": ([WON, WON], [A, A], A, "2 writers"),
    "another's bytes": ([WON, LOST], [A, B], B, "what its winner wrote"),
    "nothing there": ([WON, LOST], [A, A], Answer(404), "answered 404"),
    "all lost": ([LOST, LOST], [A, A], A, "nobody"),
    "a loser who saw another": ([WON, LOST], [A, B], A, "right after its 412"),
    "a loser who saw nothing": ([WON, LOST], [A, Answer(404)], A, "right after its 412"),
    "a refusal that is none": ([WON, Answer(403)], [A, A], A, "403"),
}


@pytest.mark.parametrize("why", RACES)
def test_races_are_judged(why: str) -> None:
    answers, seen, final, fault = RACES[why]
    found = race_fault([b"a", b"b"], answers, seen, final)
    assert (fault in found) if fault else found == ""
