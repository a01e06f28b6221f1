"""Every RPC through a real gRPC server with real tokens, over a real object store, grants used over plain HTTP."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from urllib.parse import quote

import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from chassis.faults import Fault, Kind
from reel.storage.v1 import storage_pb2 as pb
from storage import rpc
from tests.storage.running import Address, Running, running
from tests.storage.scripted_store import Answer, scripted_store

BODY = bytes(range(256)) * 40
ONE = pb.GrantDownloadsRequest.Object(key="games/x")


async def refusal(running: Running, method: str, **fields: object) -> Fault:
    """The fault that a call ends with."""
    with pytest.raises(Fault) as caught:
        await running.call(method, **fields)  # type: ignore[arg-type]
    return caught.value


async def test_an_object_from_upload_to_deletion(service: Running) -> None:
    await service.put("games/g1/first half.mp4", BODY, "video/mp4")
    found = (await service.call("Stat", key="games/g1/first half.mp4")).object
    assert (found.key, found.size_bytes, found.content_type) == ("games/g1/first half.mp4", len(BODY), "video/mp4")
    assert abs(found.modified.ToSeconds() - time.time()) < 60
    assert '"' not in found.etag
    wanted = pb.GrantDownloadsRequest.Object(key="games/g1/first half.mp4")
    (grant,) = (await service.call("GrantDownloads", objects=[wanted])).grants
    status, headers, body = await service.send(grant)
    assert (status, body, headers["content-type"]) == (200, BODY, "video/mp4")
    await service.call("DeleteObjects", keys=["games/g1/first half.mp4", "games/never/was"])
    assert (await refusal(service, "Stat", key="games/g1/first half.mp4")).reason == "object_not_found"
    assert (await service.send(grant))[0] == 404


async def test_a_download_by_range_with_name_and_type(service: Running) -> None:
    await service.put("downloads/reel.mp4", BODY, "application/octet-stream")
    name = "Emma's häppy reel №1.mp4"
    wanted = pb.GrantDownloadsRequest.Object(key="downloads/reel.mp4", download_name=name, content_type="video/mp4")
    (grant,) = (await service.call("GrantDownloads", objects=[wanted])).grants
    status, headers, body = await service.send(grant, Range="bytes=100-299")
    assert (status, body) == (206, BODY[100:300])
    assert headers["content-range"] == f"bytes 100-299/{len(BODY)}"
    assert headers["content-type"] == "video/mp4"
    assert headers["content-disposition"].startswith("attachment;")
    assert f"filename*=UTF-8''{quote(name, safe='')}" in headers["content-disposition"]


async def test_a_head_grant_is_for_head_alone(service: Running) -> None:
    await service.put("downloads/x", BODY)
    wanted = pb.GrantDownloadsRequest.Object(key="downloads/x")
    (grant,) = (await service.call("GrantDownloads", objects=[wanted], head=True)).grants
    assert grant.method == "HEAD"
    status, headers, body = await service.send(grant)
    assert (status, headers["content-length"], body) == (200, str(len(BODY)), b"")
    grant.method = "GET"
    assert (await service.send(grant))[0] == 403


async def test_many_grants_keep_their_order(service: Running) -> None:
    keys = [f"games/{number}.mp4" for number in range(1000)]
    objects = [pb.GrantDownloadsRequest.Object(key=key) for key in keys]
    made = (await service.call("GrantDownloads", objects=objects, lifetime=Duration(seconds=90))).grants
    assert [key in grant.url for key, grant in zip(keys, made, strict=True)] == [True] * 1000
    assert all(abs(grant.expires.seconds - time.time() - 90) < 60 for grant in made)


async def test_an_upload_binds_type_and_length(service: Running) -> None:
    made = await service.call("GrantUpload", key="games/a.mp4", size_bytes=10, content_type="video/mp4")
    assert dict(made.grant.headers) == {"content-type": "video/mp4"}
    assert (await service.send(made.grant, b"x" * 11))[0] == 403
    assert (await service.send(made.grant, b"x" * 9))[0] == 403
    assert (await service.send(made.grant, b"x" * 10, content_type="text/html"))[0] == 403
    made.grant.url = made.grant.url.replace("/a.mp4", "/b.mp4")
    assert (await service.send(made.grant, b"x" * 10))[0] == 403
    for key in ("games/a.mp4", "games/b.mp4"):
        assert (await refusal(service, "Stat", key=key)).reason == "object_not_found"


async def test_an_upload_of_open_length(service: Running) -> None:
    made = await service.call("GrantUpload", issuer="render", key="raw_clips/a.mp4", content_type="video/mp4")
    assert (await service.send(made.grant, BODY))[0] == 200
    assert (await service.call("Stat", issuer="render", key="raw_clips/a.mp4")).object.size_bytes == len(BODY)


async def test_an_upload_only_if_absent(service: Running) -> None:
    fields: dict[str, Any] = {"key": "games/once", "size_bytes": 5, "content_type": "text/plain", "if_absent": True}
    grant = (await service.call("GrantUpload", **fields)).grant
    assert grant.headers["if-none-match"] == "*"
    assert (await service.send(grant, b"first"))[0] == 200
    assert (await service.send(grant, b"other"))[0] == 412
    grant.headers.pop("if-none-match")
    assert (await service.send(grant, b"third"))[0] == 403
    (read,) = (await service.call("GrantDownloads", objects=[{"key": "games/once"}])).grants
    assert (await service.send(read))[2] == b"first"


async def test_an_expired_grant_is_refused(service: Running) -> None:
    await service.put("games/x", b"x")
    objects = [pb.GrantDownloadsRequest.Object(key="games/x")]
    (grant,) = (await service.call("GrantDownloads", objects=objects, lifetime=Duration(seconds=1))).grants
    await asyncio.sleep(2.1)
    assert (await service.send(grant))[0] in (400, 403)


async def test_another_tenant_is_refused(service: Running) -> None:
    await service.put("games/mine", BODY)
    fault = await refusal(service, "Stat", key="games/mine", token_tenant="somebody-else")
    assert (fault.kind, fault.reason) == (Kind.FORBIDDEN, "wrong_tenant")
    # With a token of their own they see their own folder, and no key leads out of it.
    assert (await refusal(service, "Stat", tenant="somebody-else", key="games/mine")).reason == "object_not_found"
    for key in (f"../{service.tenant}/games/mine", f"games/../../{service.tenant}/games/mine"):
        assert (await refusal(service, "Stat", tenant="somebody-else", key=key)).reason == "invalid_key"
    token = (await service.call("List", prefix="games", page_size=1)).next_page_token
    assert not token


@pytest.mark.parametrize("tenant", ["_directory.local", "_jobs.local", "_"])
async def test_system_databases_are_no_tenants(service: Running, tenant: str) -> None:
    for method, fields in (("Stat", {"key": "games/x"}), ("GetUsage", {}), ("DeletePrefix", {"prefix": "games"})):
        assert (await refusal(service, method, tenant=tenant, **fields)).reason == "invalid_key"


async def test_other_services_are_refused(service: Running) -> None:
    fault = await refusal(service, "GetUsage", issuer="dbsync")
    assert (fault.kind, fault.reason) == (Kind.FORBIDDEN, "not_allowed")


async def test_listing_in_pages(service: Running) -> None:
    keys = [f"games/g/{name}" for name in ("!'()+,-.=@_~", "a", "a b", "a+b", "é", "試合.mp4")]
    for key in [*keys, "games/g10/x", "downloads/y"]:
        await service.put(key, b"12345")
    found, token, pages = [], "", 0
    while True:
        page = await service.call("List", prefix="games/g", page_size=2, page_token=token)
        assert len(page.objects) <= 2
        found += [(item.key, item.size_bytes, bool(item.etag), item.modified != Timestamp()) for item in page.objects]
        pages, token = pages + 1, page.next_page_token
        if not token:
            break
    assert found == [(key, 5, True, True) for key in keys]
    assert pages == 3
    (grant,) = (await service.call("GrantDownloads", objects=[{"key": keys[0]}])).grants
    assert (await service.send(grant))[2] == b"12345"
    assert not (await service.call("List", prefix="raw_clips")).objects


async def test_delete_prefix_goes_on(service: Running) -> None:
    for key in ("games/g/1", "games/g/2/3", "games/g10/x", "downloads/y"):
        await service.put(key, b"1")
    assert (await service.call("DeletePrefix", prefix="games/g")).deleted == 2
    assert (await service.call("DeletePrefix", prefix="games/g")).deleted == 0
    left = [item.key for area in ("games", "downloads") for item in (await service.call("List", prefix=area)).objects]
    assert left == ["games/g10/x", "downloads/y"]


async def test_usage_over_all_areas(service: Running) -> None:
    assert (await service.call("GetUsage")).size_bytes == 0
    for key, size_bytes in (("games/a", 10), ("games/b/c", 20), ("downloads/d", 5)):
        await service.put(key, b"x" * size_bytes)
    used = await service.call("GetUsage")
    assert (used.size_bytes, used.objects) == (35, 3)
    assert {area.area: (area.size_bytes, area.objects) for area in used.areas} == {
        "games": (30, 2),
        "raw_clips": (0, 0),
        "downloads": (5, 1),
    }


async def test_copying(service: Running) -> None:
    await service.put("games/a", BODY, "video/mp4")
    copied = (await service.call("Copy", source_key="games/a", target_key="downloads/ü b")).object
    found = (await service.call("Stat", key="downloads/ü b")).object
    assert (copied.key, copied.size_bytes, copied.content_type, copied.etag) == (
        "downloads/ü b",
        len(BODY),
        "video/mp4",
        found.etag,
    )
    assert found.content_type == "video/mp4"
    assert (await refusal(service, "Copy", source_key="games/no", target_key="games/x")).reason == "object_not_found"
    assert (await refusal(service, "Copy", source_key="games/a", target_key="games/a")).reason == "invalid_key"


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("GrantDownloads", {}),
        ("GrantDownloads", {"objects": [ONE] * 1001}),
        ("GrantDownloads", {"objects": [ONE], "lifetime": Duration()}),
        ("GrantDownloads", {"objects": [ONE], "lifetime": Duration(seconds=604801)}),
        ("GrantDownloads", {"objects": [{"key": "games/x", "download_name": "a\r\nb"}]}),
        ("GrantDownloads", {"objects": [{"key": "games/x", "content_type": "a b"}]}),
        ("GrantUpload", {"key": "games/x", "size_bytes": -1}),
        ("GrantUpload", {"key": "games/x", "content_type": "video/mp4\r\nx: y"}),
        ("CreateMultipartUpload", {"key": "games/x", "size_bytes": 0}),
        ("SignParts", {"upload": {"key": "games/x", "upload_id": "u", "size_bytes": 9, "part_size_bytes": 1 << 23}}),
        ("SignParts", {"upload": {"key": "games/x", "upload_id": "", "size_bytes": 9, "part_size_bytes": 1 << 23}}),
        ("ListParts", {"upload": {"key": "games/x", "upload_id": "a\nb", "size_bytes": 9, "part_size_bytes": 1 << 23}}),
        ("SweepUploads", {}),
        ("SweepUploads", {"older_than": Duration(seconds=-1)}),
        ("List", {"prefix": "games", "page_size": 1001}),
        ("List", {"prefix": "games", "page_size": -1}),
        ("List", {"prefix": "games", "page_token": "%%%"}),
        ("DeleteObjects", {}),
        ("DeleteObjects", {"keys": ["games/x"] * 1001}),
    ],
)
async def test_bounds(service: Running, method: str, fields: dict[str, object]) -> None:
    fault = await refusal(service, method, **fields)
    assert (fault.kind, fault.reason) == (Kind.INVALID, "invalid_range")


async def test_too_large(service: Running) -> None:
    for method, size_bytes in (("GrantUpload", (5 << 30) + 1), ("CreateMultipartUpload", (1 << 40) + 1)):
        fault = await refusal(service, method, key="games/x", size_bytes=size_bytes)
        assert (fault.kind, fault.reason) == (Kind.INVALID, "object_too_large")


async def test_the_event_loop_stays_free() -> None:
    """The store, which runs on this same loop, answers only after others had their turns: a loop that waited for it
    would wait for ever.
    """
    async with asyncio.timeout(60), scripted_store() as slow, running(Address(slow.url)) as service:
        await service.call("List", prefix="games")  # opens the client
        go = asyncio.Event()
        slow.otherwise = Answer(body=slow.otherwise.body, when=go)
        lists = [asyncio.create_task(service.call("List", prefix="games")) for _ in range(4)]
        await slow.asked(1 + len(lists))
        objects = [pb.GrantDownloadsRequest.Object(key=f"games/{number}") for number in range(1000)]
        granted = await asyncio.gather(*(service.call("GrantDownloads", objects=objects) for _ in range(2)))
        assert [len(made.grants) for made in granted] == [1000, 1000]
        assert not any(one.done() for one in lists)
        go.set()
        assert all(not page.objects for page in await asyncio.gather(*lists))


async def test_many_grants_let_others_run() -> None:
    turns, done = 0, False

    async def other() -> None:
        nonlocal turns
        while not done:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(other())
    assert await rpc._each(str, range(1000)) == [str(number) for number in range(1000)]
    done = True
    await beside
    assert turns >= 1000 // rpc.GRANTS_AT_A_TIME
