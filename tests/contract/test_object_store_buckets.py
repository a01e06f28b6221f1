"""The contract of an object store: buckets, listings in pages, CORS and lifecycle."""

from __future__ import annotations

import pytest
from botocore.exceptions import ClientError

from tests.contract.targets import Target, fetch, refusal

ORIGIN = "https://app.example.com"


def test_a_listing_is_in_the_order_of_utf8(store: Target) -> None:
    keys = ["b", "a", "B", "é", "z", "\U0001f3ac", "\uffee", "a/b", "a-b", "a0", "Ω"]
    for key in keys:
        store.put(key, key.encode())
    assert store.keys() == sorted(keys, key=str.encode)


def test_a_listing_tells_what_head_would(store: Target) -> None:
    etag = store.put("key", b"12345")
    entry = store.client.list_objects_v2(Bucket=store.bucket)["Contents"][0]
    head = store.client.head_object(Bucket=store.bucket, Key="key")
    assert (entry["ETag"], entry["Size"]) == (etag, 5)
    assert entry["LastModified"].replace(microsecond=0) == head["LastModified"]


def test_an_empty_listing(store: Target) -> None:
    answer = store.client.list_objects_v2(Bucket=store.bucket, Prefix="none/")
    assert (answer["KeyCount"], answer["IsTruncated"]) == (0, False)
    assert "Contents" not in answer


def test_a_listing_under_a_prefix(store: Target) -> None:
    for key in ("a/1", "a/2", "ab/1", "b/1", "a"):
        store.put(key)
    assert store.keys(Prefix="a/") == ["a/1", "a/2"]
    assert store.keys(Prefix="a") == ["a", "a/1", "a/2", "ab/1"]
    assert store.keys(StartAfter="a/1") == ["a/2", "ab/1", "b/1"]
    assert store.keys(Prefix="a", StartAfter="a/2") == ["ab/1"]


def test_a_listing_folds_at_a_delimiter(store: Target) -> None:
    for key in ("top", "x/1", "x/2", "x/y/1", "z//1", "z/2"):
        store.put(key)
    answer = store.client.list_objects_v2(Bucket=store.bucket, Delimiter="/")
    assert [entry["Key"] for entry in answer["Contents"]] == ["top"]
    assert [entry["Prefix"] for entry in answer["CommonPrefixes"]] == ["x/", "z/"]
    assert answer["KeyCount"] == 3
    answer = store.client.list_objects_v2(Bucket=store.bucket, Delimiter="/", Prefix="x/")
    assert [entry["Key"] for entry in answer["Contents"]] == ["x/1", "x/2"]
    assert [entry["Prefix"] for entry in answer["CommonPrefixes"]] == ["x/y/"]


def test_pages_of_a_listing_join_to_the_whole(store: Target) -> None:
    keys = [f"k/{number:03d}" for number in range(25)]
    for key in keys:
        store.put(key)
    for size in (1, 7, 25, 100):
        pages = store.client.get_paginator("list_objects_v2").paginate(
            Bucket=store.bucket, PaginationConfig={"PageSize": size}
        )
        found = [[entry["Key"] for entry in page["Contents"]] for page in pages]
        assert [key for page in found for key in page] == keys
        assert all(len(page) == size for page in found[:-1])


def test_pages_of_a_folded_listing_join_to_the_whole(store: Target) -> None:
    for key in ("a", "b/1", "b/2", "b/3", "c", "d/1", "e/1", "e/2", "f"):
        store.put(key)
    found, prefixes = [], []
    arguments: dict[str, str] = {}
    for _ in range(10):
        answer = store.client.list_objects_v2(Bucket=store.bucket, Delimiter="/", MaxKeys=2, **arguments)  # type: ignore[arg-type]
        assert answer["KeyCount"] <= 2
        found += [entry["Key"] for entry in answer.get("Contents", [])]
        prefixes += [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
        if not answer["IsTruncated"]:
            break
        arguments = {"ContinuationToken": answer["NextContinuationToken"]}
    assert (found, prefixes) == (["a", "c", "f"], ["b/", "d/", "e/"])


def test_a_listing_goes_on_though_its_last_key_is_deleted(store: Target) -> None:
    for number in range(6):
        store.put(f"k{number}")
    first = store.client.list_objects_v2(Bucket=store.bucket, MaxKeys=3)
    for entry in first["Contents"]:
        store.client.delete_object(Bucket=store.bucket, Key=entry["Key"])
    assert store.keys(ContinuationToken=first["NextContinuationToken"]) == ["k3", "k4", "k5"]


def test_a_token_of_nobody_is_refused(store: Target) -> None:
    with pytest.raises(ClientError) as refused:
        store.keys(ContinuationToken="not a token!")
    assert refusal(refused.value) == ("InvalidArgument", 400)


def test_the_first_version_of_a_listing(store: Target) -> None:
    for key in ("a", "b/1", "b/2", "c", "d"):
        store.put(key)
    answer = store.client.list_objects(Bucket=store.bucket, Delimiter="/", MaxKeys=2)
    assert [entry["Key"] for entry in answer["Contents"]] == ["a"]
    assert [entry["Prefix"] for entry in answer["CommonPrefixes"]] == ["b/"]
    rest = store.client.list_objects(Bucket=store.bucket, Delimiter="/", Marker=answer["NextMarker"])
    assert [entry["Key"] for entry in rest["Contents"]] == ["c", "d"]
    assert "CommonPrefixes" not in rest


def test_a_bucket_comes_and_goes(store: Target) -> None:
    name = f"{store.bucket}-b"
    with pytest.raises(ClientError) as missing:
        store.client.head_bucket(Bucket=name)
    assert refusal(missing.value)[1] == 404
    store.client.create_bucket(Bucket=name)
    store.client.head_bucket(Bucket=name)
    assert name in [bucket["Name"] for bucket in store.client.list_buckets()["Buckets"]]
    store.client.put_object(Bucket=name, Key="key", Body=b"x")
    with pytest.raises(ClientError) as full:
        store.client.delete_bucket(Bucket=name)
    assert refusal(full.value) == ("BucketNotEmpty", 409)
    store.client.delete_object(Bucket=name, Key="key")
    store.client.delete_bucket(Bucket=name)
    with pytest.raises(ClientError):
        store.client.head_bucket(Bucket=name)


def test_a_bucket_with_an_upload_under_way_is_not_empty(store: Target) -> None:
    store.client.create_multipart_upload(Bucket=store.bucket, Key="key")
    with pytest.raises(ClientError) as refused:
        store.client.delete_bucket(Bucket=store.bucket)
    assert refusal(refused.value)[1] == 409


def test_a_bucket_made_twice_is_one(store: Target) -> None:
    with pytest.raises(ClientError) as refused:
        store.client.create_bucket(Bucket=store.bucket)
    assert refusal(refused.value) == ("BucketAlreadyOwnedByYou", 409)


def test_a_cors_configuration_is_kept(store: Target) -> None:
    with pytest.raises(ClientError) as missing:
        store.client.get_bucket_cors(Bucket=store.bucket)
    assert refusal(missing.value) == ("NoSuchCORSConfiguration", 404)
    _allow(store)
    rules = store.client.get_bucket_cors(Bucket=store.bucket)["CORSRules"]
    assert rules[0]["AllowedOrigins"] == [ORIGIN]
    assert rules[0]["ExposeHeaders"] == ["ETag"]
    assert rules[0]["MaxAgeSeconds"] == 600
    store.client.delete_bucket_cors(Bucket=store.bucket)
    with pytest.raises(ClientError):
        store.client.get_bucket_cors(Bucket=store.bucket)


def _allow(store: Target) -> None:
    rule = {
        "AllowedOrigins": [ORIGIN],
        "AllowedMethods": ["GET", "PUT"],
        "AllowedHeaders": ["content-type", "x-amz-*"],
        "ExposeHeaders": ["ETag"],
        "MaxAgeSeconds": 600,
    }
    store.client.put_bucket_cors(Bucket=store.bucket, CORSConfiguration={"CORSRules": [rule]})  # type: ignore[list-item]


def test_a_preflight_is_answered_without_a_signature(store: Target) -> None:
    _allow(store)
    url = f"{store.endpoint}/{store.bucket}/key"
    asked = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
    answer = fetch("OPTIONS", url, headers={**asked, "Access-Control-Request-Headers": "content-type, x-amz-meta-a"})
    assert answer.status == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert "x-amz-meta-a" in answer.headers["access-control-allow-headers"].lower()
    assert answer.headers["access-control-max-age"] == "600"


def test_a_preflight_of_a_stranger_is_refused(store: Target) -> None:
    _allow(store)
    url = f"{store.endpoint}/{store.bucket}/key"
    for asked in (
        {"Origin": "https://evil.example.com", "Access-Control-Request-Method": "PUT"},
        {"Origin": ORIGIN, "Access-Control-Request-Method": "DELETE"},
        {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-other"},
    ):
        answer = fetch("OPTIONS", url, headers=asked)
        assert answer.status == 403, asked
        assert "access-control-allow-origin" not in answer.headers


def test_a_web_page_may_read_the_etag(store: Target) -> None:
    _allow(store)
    answer = fetch("PUT", store.signed("put_object", "key"), headers={"Origin": ORIGIN}, body=b"x")
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-expose-headers"] == "ETag"
    assert "Origin" in answer.headers["vary"]
    answer = fetch("GET", store.signed("get_object", "key"), headers={"Origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_a_web_page_may_read_a_refusal(store: Target) -> None:
    _allow(store)
    answer = fetch("GET", store.signed("get_object", "missing"), headers={"Origin": ORIGIN})
    assert answer.status == 404
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_another_page_may_not(store: Target) -> None:
    _allow(store)
    answer = fetch("PUT", store.signed("put_object", "key"), headers={"Origin": "https://evil.example.com"}, body=b"x")
    assert "access-control-allow-origin" not in answer.headers


def test_a_lifecycle_configuration_is_kept(store: Target) -> None:
    with pytest.raises(ClientError) as missing:
        store.client.get_bucket_lifecycle_configuration(Bucket=store.bucket)
    assert refusal(missing.value) == ("NoSuchLifecycleConfiguration", 404)
    rule = {
        "ID": "unfinished",
        "Status": "Enabled",
        "Filter": {"Prefix": "a/"},
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1},
    }
    store.client.put_bucket_lifecycle_configuration(
        Bucket=store.bucket,
        LifecycleConfiguration={"Rules": [rule]},  # type: ignore[list-item]
    )
    rules = store.client.get_bucket_lifecycle_configuration(Bucket=store.bucket)["Rules"]
    assert len(rules) == 1
    assert rules[0]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert rules[0]["Filter"] == {"Prefix": "a/"}
    store.client.delete_bucket_lifecycle(Bucket=store.bucket)
    with pytest.raises(ClientError):
        store.client.get_bucket_lifecycle_configuration(Bucket=store.bucket)
