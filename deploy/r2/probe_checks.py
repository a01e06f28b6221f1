"""What dbsync and storage rest on, as checks of a bucket: each says what it found, or why the bucket will not do."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

from deploy.r2.probe_store import PAUSE_S, UNDECIDED, Answer, ProbeStore, at_once, patiently

SKEW_MAX_S = 15 * 60  # beyond it a store refuses every signature
SLOTS = 1 << 40
PART_BYTES = 5 << 20


class Failed(Exception):
    """The bucket does not do what we rest on."""


@dataclass(frozen=True)
class Effort:
    """How often each check is repeated, and how many write at once."""

    rounds: int = 20
    writers: int = 8
    samples: int = 20


Check = Callable[[ProbeStore, Effort], str]


def need(holds: bool, why: str) -> None:
    """Raises Failed unless it holds."""
    if not holds:
        raise Failed(why)


def expect(answer: Answer, what: str, *statuses: int) -> Answer:
    """The answer, when it is one of these; Failed with `what` was asked otherwise."""
    need(answer.status in statuses, f"{what} is answered {answer}, not {' or '.join(map(str, statuses))}")
    return answer


def clock(store: ProbeStore, effort: Effort) -> str:
    """The store's time and ours."""
    began_s = time.time()
    answer = patiently(lambda: store.call("LIST", "list_objects_v2", Prefix=store.prefix, MaxKeys=1))
    ours_s = (began_s + time.time()) / 2
    expect(answer, "a LIST", 200)
    need("date" in answer.headers, "answers have no Date: a machine whose clock is wrong could not notice")
    skew_s = ours_s - parsedate_to_datetime(answer.headers["date"]).timestamp()
    need(abs(skew_s) < SKEW_MAX_S, f"this machine's clock is {skew_s:+.0f} s off the store's")
    return f"this machine is {skew_s:+.1f} s off the store (its Date has whole seconds)"


def missing(store: ProbeStore, effort: Effort) -> str:
    """No 404 is remembered: a reader that looked too early finds the object once it is there."""
    for number in range(effort.samples):
        key = f"missing/{number}"
        for ask in (store.get, store.head):
            expect(ask(key), "a read of a key that holds nothing", 404)
        made = store.create(key, b"%d" % number)
        if made.status not in UNDECIDED:
            expect(made, "a first PUT If-None-Match: *", 200)
            need(store.get(key).body == b"%d" % number, "an object is not there right after it was written")
    return f"{effort.samples} keys: 404 before, there right after"


def race_fault(bodies: Sequence[bytes], answers: Sequence[Answer], seen: Sequence[Answer], final: Answer) -> str:
    """What is wrong with a race to create one key, empty when nothing is.

    `seen[n]` is what loser n read right after its refusal; `final` the key after the race.
    """
    winners = [number for number, answer in enumerate(answers) if answer.status == 200]
    odd = [answer for answer in answers if answer.status not in UNDECIDED | {200, 412}]
    if odd:
        return f"a loser is answered {odd[0]}, not 412"
    if len(winners) > 1:
        return f"{len(winners)} writers were told that they created the same key: commits would be lost"
    if final.status != 200:
        open_end = not winners and all(answer.status in UNDECIDED for answer in answers)
        return "" if open_end and final.status == 404 else f"after the race the key is answered {final}"
    if winners and final.body != bodies[winners[0]]:
        return "the key does not hold what its winner wrote"
    if not winners and not any(
        answer.status in UNDECIDED and bodies[number] == final.body for number, answer in enumerate(answers)
    ):
        return "nobody was told that it won, nobody is in doubt, and the key holds something"
    if any(
        answer.status == 412 and look.status not in UNDECIDED and look.body != final.body
        for answer, look in zip(answers, seen, strict=True)
    ):
        return "a loser that looked right after its 412 did not see what had won"
    return ""


def create_race(store: ProbeStore, effort: Effort) -> str:
    """Of all that create a key at once exactly one wins; the others learn who."""
    codes: dict[str, int] = {}
    for turn in range(effort.rounds):
        key = f"race/{turn}"
        bodies = [b"%d of %d" % (number, turn) for number in range(effort.writers)]
        seen = [Answer(404)] * effort.writers

        def write(number: int, key: str = key, bodies: Sequence[bytes] = bodies, seen: list[Answer] = seen) -> Answer:
            answer = store.create(key, bodies[number])
            if answer.status != 200:
                seen[number] = store.get(key)
            return answer

        answers = at_once(effort.writers, write)
        for answer in answers:
            codes[str(answer)] = codes.get(str(answer), 0) + 1
        need(not (fault := race_fault(bodies, answers, seen, store.get(key))), fault)
    counts = ", ".join(f"{count} × {code}" for code, count in sorted(codes.items()))
    return f"{effort.rounds} races of {effort.writers} writers, one winner each ({counts})"


def create_again(store: ProbeStore, effort: Effort) -> str:
    """The same bytes a second time are refused too, and reading shows that they are ours."""
    patiently(lambda: store.create("again", b"mine"))
    again = patiently(lambda: store.create("again", b"mine"))
    expect(again, "PUT If-None-Match: * of a key that holds the same bytes", 412)
    found = store.get("again")
    need(found.body == b"mine", "the key does not hold what was written")
    return "412, and the key holds our bytes"


def replace(store: ProbeStore, effort: Effort) -> str:
    """Compare and swap: only who has seen the newest may replace it, and of many one."""
    expect(patiently(lambda: store.put("swap", b"0")), "a PUT", 200)
    won = 0
    for turn in range(max(3, effort.rounds // 4)):
        seen = expect(store.get("swap"), "a GET", 200)
        time.sleep(PAUSE_S)
        bodies = [b"%d in turn %d" % (number, turn) for number in range(effort.writers)]
        answers = at_once(effort.writers, lambda n, b=bodies, e=seen.etag: store.replace("swap", b[n], e))  # type: ignore[misc]
        winners = [number for number, answer in enumerate(answers) if answer.status == 200]
        need(len(winners) <= 1, f"{len(winners)} writers were told that they replaced the same version")
        odd = [answer for answer in answers if answer.status not in UNDECIDED | {200, 412}]
        need(not odd, f"a loser of PUT If-Match is answered {odd[0] if odd else ''}, not 412")
        after = expect(store.get("swap"), "a GET", 200)
        need(not winners or after.body == bodies[winners[0]], "the key does not hold what its winner wrote")
        need(bool(winners) or any(a.status in UNDECIDED for a in answers), "nobody could replace the newest version")
        won += len(winners)
        stale = patiently(lambda e=seen.etag: store.replace("swap", b"late", e))  # type: ignore[misc]
        need(after.etag == seen.etag or stale.status == 412, f"a stale If-Match is answered {stale}, not 412")
    gone = patiently(lambda: store.replace("never", b"x", '"0123"'))
    expect(gone, "PUT If-Match of a key that holds nothing", 404, 412)
    return f"{won} swaps, never two at once; a stale ETag 412, a missing key {gone}"


def read_after_write(store: ProbeStore, effort: Effort) -> str:
    """What was answered 200 is what the next read gives, replaced objects and their metadata too."""
    for number in range(effort.samples):
        key = f"fresh/{number}"
        first = patiently(lambda key=key: store.put(key, b"old", Metadata={"reel-version": "1"}))  # type: ignore[misc]
        expect(first, "a PUT", 200)
        need(store.get(key).body == b"old", "a read after a write does not see it")
        body = b"new %d" % number
        second = patiently(
            lambda key=key, body=body, e=first.etag: store.replace(key, body, e, Metadata={"reel-version": "2"})  # type: ignore[misc]
        )
        if second.status == 200:
            found, looked = store.get(key), store.head(key)
            need(found.body == body, "a read after a replacement does not see it")
            need(
                looked.headers.get("x-amz-meta-reel-version") == "2", "metadata is not what was written with the bytes"
            )
            need(found.etag == second.etag == looked.etag, "an object's ETag differs between its write and its reads")
    return f"{effort.samples} objects read right after they were written and replaced"


def list_after_write(store: ProbeStore, effort: Effort) -> str:
    """A LIST has every key whose write was answered before it began, in order, from any point on."""
    names: list[str] = []
    for version in range(1, effort.samples + 1):
        name = f"log/{SLOTS - 1 - version:010x}"
        expect(patiently(lambda name=name: store.put(name, b"")), "a PUT", 200)  # type: ignore[misc]
        names.insert(0, name)
        need(store.keys("log/") == names, "a LIST right after a write is not complete, or not in order")
    need(store.keys("log/", StartAfter=names[2]) == names[3:], "start-after is not followed")
    need(store.keys("log/", MaxKeys=4) == names[:4], "max-keys is not followed")
    return f"{effort.samples} keys, each listed right after its write, newest first"


def ranges(store: ProbeStore, effort: Effort) -> str:
    """Range, on which playing and rendering from footage rest."""
    body = bytes(range(256)) * 64
    expect(patiently(lambda: store.put("range", body)), "a PUT", 200)
    part = expect(store.get("range", Range="bytes=100-299"), "a GET of a range", 206)
    need(part.body == body[100:300], "a range has other bytes")
    need(part.headers.get("content-range") == f"bytes 100-299/{len(body)}", "a range does not say which it is")
    need(expect(store.get("range", Range="bytes=-7"), "a GET of the end", 206).body == body[-7:], "the end is another")
    expect(store.get("range", Range=f"bytes={len(body)}-"), "a GET beyond the end", 416)
    return "206 with its place, suffixes, 416 beyond the end"


def integrity(store: ProbeStore, effort: Effort) -> str:
    """No checksum is asked of us, and one that we send is checked."""
    digest = base64.b64encode(hashlib.md5(b"right", usedforsecurity=False).digest()).decode()
    expect(patiently(lambda: store.put("sum/plain", b"right")), "a PUT without checksums", 200)
    expect(patiently(lambda: store.put("sum/right", b"right", ContentMD5=digest)), "a PUT with its Content-MD5", 200)
    expect(patiently(lambda: store.put("sum/wrong", b"wrong", ContentMD5=digest)), "a PUT with another's MD5", 400)
    expect(store.get("sum/wrong"), "a read of what was refused", 404)
    return "plain PUTs are taken, a wrong Content-MD5 is refused"


def busy_key(store: ProbeStore, effort: Effort) -> str:
    """Writes faster than one a second to one key: a 429 is no failure, and a pause heals it."""
    written: list[bytes] = []
    refused = 0
    for number in range(8):
        answer = store.put("busy", b"%d" % number)
        need(answer.status == 200 or answer.status in UNDECIDED, f"a quick PUT is answered {answer}")
        refused += answer.status == 429
        if answer.status == 200:
            written = []
        written.append(b"%d" % number)
    found = store.get("busy")
    need(found.status != 200 or found.body in written, "a key holds what a newer write had replaced")
    time.sleep(PAUSE_S)
    expect(patiently(lambda: store.put("busy", b"last")), "a PUT after a pause", 200)
    need(store.get("busy").body == b"last", "a read after a write does not see it")
    return f"{refused} of 8 quick writes were answered 429" if refused else "8 quick writes, no 429"


def multipart(store: ProbeStore, effort: Effort) -> str:
    """Uploads in parts, as storage makes them: listed, completed once, aborted."""
    begun = expect(
        patiently(lambda: store.call("CREATE upload", "create_multipart_upload", Key="parts")), "an upload", 200
    )
    named = {"Key": "parts", "UploadId": begun.fields["UploadId"]}
    bodies = (b"a" * PART_BYTES, b"end")
    parts = []
    for number, body in enumerate(bodies, 1):
        sent = patiently(
            lambda n=number, b=body: store.call("PUT part", "upload_part", **named, PartNumber=n, Body=b)  # type: ignore[misc]
        )
        parts.append({"PartNumber": number, "ETag": expect(sent, "a part", 200).etag})
    told = expect(store.call("LIST parts", "list_parts", **named), "a list of parts", 200)
    listed = [(part["PartNumber"], part["ETag"], part["Size"]) for part in told.fields.get("Parts", ())]
    need(
        listed == [(part["PartNumber"], part["ETag"], len(body)) for part, body in zip(parts, bodies, strict=True)],
        "the parts that are listed are not those that were sent",
    )
    done = store.call("COMPLETE", "complete_multipart_upload", **named, MultipartUpload={"Parts": parts})
    expect(done, "the completion", 200)
    seam = store.get("parts", Range=f"bytes={PART_BYTES - 2}-")
    need(seam.body == b"aaend", "the object is not its parts in their order")
    other = expect(
        patiently(lambda: store.call("CREATE upload", "create_multipart_upload", Key="gone")), "an upload", 200
    )
    left = {"Key": "gone", "UploadId": other.fields["UploadId"]}
    expect(patiently(lambda: store.call("ABORT", "abort_multipart_upload", **left)), "an abort", 204, 200)
    expect(store.call("LIST parts", "list_parts", **left), "the parts of an aborted upload", 404)
    return f"{PART_BYTES + 3} bytes in two parts; an aborted upload is gone"


def presigned(store: ProbeStore, effort: Effort) -> str:
    """URLs that browsers use: bound to their length, type and condition, and over in time."""
    url = store.presigned("put_object", "signed", ContentLength=5, ContentType="video/mp4")
    typed = {"Content-Type": "video/mp4"}
    expect(store.send("PUT", url, typed, b"123456"), "a presigned PUT of another length", 400, 403)
    expect(store.send("PUT", url, {"Content-Type": "text/html"}, b"12345"), "a presigned PUT of another type", 400, 403)
    expect(patiently(lambda: store.send("PUT", url, typed, b"12345")), "a presigned PUT", 200)
    once = store.presigned("put_object", "signed", IfNoneMatch="*")
    taken = patiently(lambda: store.send("PUT", once, {"If-None-Match": "*"}, b"other"))
    expect(taken, "a presigned PUT If-None-Match: * of a key that is taken", 412)
    expect(store.send("PUT", once, {}, b"other"), "the same without its condition", 400, 403)
    named = 'attachment; filename="reel.mp4"'
    got = store.send("GET", store.presigned("get_object", "signed", ResponseContentDisposition=named))
    need(got.status == 200 and got.body == b"12345", f"a presigned GET is answered {got}")
    need(got.headers.get("content-type") == "video/mp4", "an object's type is not the one that it was written with")
    need(got.headers.get("content-disposition") == named, "response-content-disposition is not followed")
    short = store.presigned("get_object", "signed", lifetime_s=1)
    time.sleep(2.2)
    expect(store.send("GET", short), "a presigned GET after its time", 400, 401, 403)
    return "bound to length, type and condition; over after their time"


def deletion(store: ProbeStore, effort: Effort) -> str:
    """What was deleted is gone, from reads and lists."""
    names = [f"old/{number}" for number in range(3)]
    for name in names:
        expect(patiently(lambda name=name: store.put(name, b"x")), "a PUT", 200)  # type: ignore[misc]
    time.sleep(PAUSE_S)
    expect(patiently(lambda: store.delete(names[0])), "a DELETE", 204, 200)
    listed = {"Objects": [{"Key": f"{store.prefix}{name}"} for name in names[1:]]}
    many = patiently(lambda: store.call("DELETE many", "delete_objects", Delete=listed))
    need(expect(many, "a DELETE of many", 200).fields.get("Errors", []) == [], "a DELETE of many leaves some")
    expect(store.get(names[0]), "a read of what was deleted", 404)
    need(store.keys("old/") == [], "a LIST has what was deleted")
    return "gone from reads and lists at once"


CHECKS: tuple[tuple[str, Check], ...] = (
    ("the clock", clock),
    ("a missing key", missing),
    ("creating a key, in a race", create_race),
    ("creating it again", create_again),
    ("replacing by If-Match", replace),
    ("reads after writes", read_after_write),
    ("lists after writes", list_after_write),
    ("ranges", ranges),
    ("checksums", integrity),
    ("one busy key", busy_key),
    ("uploads in parts", multipart),
    ("presigned URLs", presigned),
    ("deletion", deletion),
)
