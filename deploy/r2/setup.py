"""Sets up the bucket as code: CORS for the app's origins and an end for abandoned uploads; or looks whether it is so.

    python deploy/r2/setup.py            creates what is missing, writes both configurations where they differ, verifies
    python deploy/r2/setup.py --check    changes nothing; ends with 1 and says what differs
    python deploy/r2/setup.py --replace  also takes away origins that the bucket allows and APP_ORIGINS does not name

Settings: R2_ENDPOINT_URL, R2_ACCESS_KEY_ID, R2_SECRET_ACCESS_KEY (a token that may change the bucket: R2's "Admin Read
& Write"), R2_BUCKET_NAME, and APP_ORIGINS. One bucket serves every environment, so APP_ORIGINS names the origins of
all.

1. Running it twice changes nothing the second time (tests/storage/test_r2_setup.py::test_twice_is_once).
2. No lifecycle rule ever deletes an object: one that would is a fault, and is taken away
   (test_a_rule_that_deletes_objects).
3. What is verified is what a browser meets: a preflight, a read and an upload by presigned URLs
   (test_a_browser_may_do_what_the_app_needs).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

# A day is R2's least, a week its default. Parents go on with an upload the next day or the next weekend.
ABANDONED_AFTER_DAYS = 7
METHODS = ("GET", "HEAD", "PUT")
HEADERS = ("content-type", "if-none-match", "range")
EXPOSED = ("ETag", "Content-Length", "Content-Range", "Accept-Ranges")
PREFLIGHT_SECONDS = 3600
PROPAGATION_S = 40.0  # R2 says: up to 30 seconds
HTTP_S = 10.0
PROBE_KEY = "_setup/cors-probe"  # no tenant's id begins with an underscore


@dataclass(frozen=True)
class Settings:
    """Which bucket, and who may use it from a browser."""

    endpoint_url: str
    access_key_id: str
    secret_access_key: str
    bucket: str
    origins: tuple[str, ...]


def read(environ: Mapping[str, str]) -> tuple[Settings, list[str]]:
    """The settings and every fault in them."""
    names = ("R2_ENDPOINT_URL", "R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "R2_BUCKET_NAME")
    values = [environ.get(name, "").strip() for name in names]
    faults = [f"{name} is not set" for name, value in zip(names, values, strict=True) if not value]
    text = environ.get("APP_ORIGINS", "http://localhost:5173")
    origins = tuple(sorted({origin.strip() for origin in text.split(",") if origin.strip()}))
    faults += [f"APP_ORIGINS: {origin!r} is not https://host[:port]" for origin in origins if not _is_origin(origin)]
    faults += [] if origins else ["APP_ORIGINS names no origin"]
    endpoint_url, access_key_id, secret_access_key, bucket = values
    return Settings(endpoint_url.rstrip("/"), access_key_id, secret_access_key, bucket, origins), faults


def _is_origin(text: str) -> bool:
    try:
        parts = urlsplit(text)
        local = parts.hostname in ("localhost", "127.0.0.1")
        exact = text == f"{parts.scheme}://{parts.netloc}" and parts.port != 0 and not parts.username
    except ValueError:
        return False
    return (
        exact
        and bool(parts.hostname)
        and "*" not in text
        and (parts.scheme == "https" or (local and parts.scheme == "http"))
    )


def cors(origins: Sequence[str]) -> list[dict[str, Any]]:
    """The CORS rules that the bucket should have."""
    return [
        {
            "AllowedOrigins": sorted(origins),
            "AllowedMethods": list(METHODS),
            "AllowedHeaders": list(HEADERS),
            "ExposeHeaders": list(EXPOSED),
            "MaxAgeSeconds": PREFLIGHT_SECONDS,
        }
    ]


def lifecycle() -> list[dict[str, Any]]:
    """The lifecycle rules that the bucket should have."""
    return [
        {
            "ID": "abort-abandoned-uploads",
            "Status": "Enabled",
            "Filter": {"Prefix": ""},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": ABANDONED_AFTER_DAYS},
        }
    ]


class Bucket:
    """The bucket's configuration, read and written."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._client = boto3.client(
            "s3",
            endpoint_url=settings.endpoint_url,
            aws_access_key_id=settings.access_key_id,
            aws_secret_access_key=settings.secret_access_key,
            region_name="auto",
            config=Config(
                signature_version="s3v4",
                s3={"addressing_style": "path"},
                connect_timeout=5,
                read_timeout=20,
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
            ),
        )
        self._client.meta.events.register("before-sign.s3", _with_md5)

    def exists(self) -> bool:
        """Whether the bucket is there."""
        try:
            self._client.head_bucket(Bucket=self.settings.bucket)
        except ClientError as error:
            if _code(error) in ("404", "NoSuchBucket"):
                return False
            raise
        return True

    def create(self) -> None:
        """Creates the bucket."""
        self._client.create_bucket(Bucket=self.settings.bucket)

    def cors(self) -> list[Any]:
        """The CORS rules that it has."""
        try:
            return list(self._client.get_bucket_cors(Bucket=self.settings.bucket)["CORSRules"])
        except ClientError as error:
            if _code(error) == "NoSuchCORSConfiguration":
                return []
            raise

    def lifecycle(self) -> list[Any]:
        """The lifecycle rules that it has."""
        try:
            return list(self._client.get_bucket_lifecycle_configuration(Bucket=self.settings.bucket)["Rules"])
        except ClientError as error:
            if _code(error) == "NoSuchLifecycleConfiguration":
                return []
            raise

    def write_cors(self, rules: list[Any]) -> None:
        """Replaces the CORS rules."""
        self._client.put_bucket_cors(Bucket=self.settings.bucket, CORSConfiguration={"CORSRules": rules})

    def write_lifecycle(self, rules: list[Any]) -> None:
        """Replaces the lifecycle rules."""
        configuration: Any = {"Rules": rules}
        self._client.put_bucket_lifecycle_configuration(
            Bucket=self.settings.bucket, LifecycleConfiguration=configuration
        )

    def url(self, method: str) -> str:
        """A presigned URL for the probe's key."""
        wanted = {"Bucket": self.settings.bucket, "Key": PROBE_KEY}
        return self._client.generate_presigned_url(method, Params=wanted, ExpiresIn=300)


def _with_md5(request: Any, **_: Any) -> None:
    """R2 does not take the newer checksum headers where it configures buckets; every store takes Content-MD5."""
    sums = [name for name in request.headers if name.lower().startswith(("x-amz-checksum-", "x-amz-sdk-checksum-"))]
    for name in sums:
        del request.headers[name]
    if sums and request.data:
        digest = hashlib.md5(request.data, usedforsecurity=False).digest()
        request.headers["Content-MD5"] = base64.b64encode(digest).decode()


def configuration_faults(bucket: Bucket) -> list[str]:
    """What differs from what should be, a sentence each; reads only."""
    if not bucket.exists():
        return [f"the bucket {bucket.settings.bucket} does not exist"]
    found = []
    have, want = _plain(bucket.cors()), _plain(cors(bucket.settings.origins))
    if have != want:
        found.append(f"CORS is {have or 'not set'}, and should be {want}")
    rules = bucket.lifecycle()
    found += [
        f"the lifecycle rule {rule.get('ID', '?')!r} has {', '.join(kinds)}: nothing here ends by its age"
        for rule in rules
        if (kinds := sorted(set(rule) & {"Expiration", "NoncurrentVersionExpiration", "Transitions"}))
    ]
    if _abort_days(rules) != [ABANDONED_AFTER_DAYS]:
        found.append(
            f"unfinished uploads end after {_abort_days(rules) or 'no'} days, and should after {ABANDONED_AFTER_DAYS}"
        )
    return found


def browser_faults(bucket: Bucket) -> list[str]:
    """What a browser at one of the origins could not do, a sentence each; reads only."""
    found = []
    for origin in bucket.settings.origins:
        asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type,if-none-match"}
        answer = _headers("OPTIONS", bucket.url("put_object"), {"Origin": origin, **asked})
        if answer.get("access-control-allow-origin") != origin:
            found.append(f"a preflight from {origin} is refused")
        elif "content-type" not in answer.get("access-control-allow-headers", "").lower():
            found.append(f"a preflight from {origin} may not send Content-Type")
        answer = _headers("GET", bucket.url("get_object"), {"Origin": origin})
        if "etag" not in answer.get("access-control-expose-headers", "").lower():
            found.append(f"an answer to {origin} does not expose its ETag")
    answer = _headers("GET", bucket.url("get_object"), {"Origin": "https://somebody-else.example"})
    if answer.get("access-control-allow-origin"):
        found.append("any origin may read by presigned URL")
    return found


def apply(bucket: Bucket, *, replace: bool) -> list[str]:
    """Makes the bucket as it should be; what was changed, a sentence each. ValueError when origins would be lost."""
    done = []
    if not bucket.exists():
        bucket.create()
        done.append(f"created the bucket {bucket.settings.bucket}")
    have = bucket.cors()
    lost = {origin for rule in have for origin in rule.get("AllowedOrigins", ())} - set(bucket.settings.origins)
    if lost and not replace:
        raise ValueError(
            f"the bucket allows {', '.join(sorted(lost))} too; name it in APP_ORIGINS, or take it away with --replace"
        )
    want = cors(bucket.settings.origins)
    if _plain(have) != _plain(want):
        bucket.write_cors(want)
        done.append(f"wrote CORS for {', '.join(bucket.settings.origins)}")
    rules = bucket.lifecycle()
    if any(fault for fault in configuration_faults(bucket) if "lifecycle" in fault or "uploads" in fault):
        bucket.write_lifecycle(lifecycle())
        done.append(
            f"wrote the lifecycle: unfinished uploads end after {ABANDONED_AFTER_DAYS} days (was: {rules or 'none'})"
        )
    return done


def main(arguments: Sequence[str], environ: Mapping[str, str], propagation_s: float = PROPAGATION_S) -> int:
    """The command; 0 when the bucket is as it should be, 1 when not, 2 for wrong settings."""
    parser = argparse.ArgumentParser(description="Sets up the bucket: CORS and lifecycle.")
    parser.add_argument("--check", action="store_true", help="change nothing, say what differs")
    parser.add_argument("--replace", action="store_true", help="take away origins that APP_ORIGINS does not name")
    options = parser.parse_args(arguments)
    settings, faults = read(environ)
    if faults:
        print("\n".join(f"  - {fault}" for fault in faults), file=sys.stderr)
        return 2
    bucket = Bucket(settings)
    try:
        if not options.check:
            for line in apply(bucket, replace=options.replace):
                print(line)
        found = configuration_faults(bucket)
        end_s = time.monotonic() + (0 if options.check else propagation_s)
        while not found and (browser := browser_faults(bucket)):
            if time.monotonic() >= end_s:
                found = browser
                break
            time.sleep(2)
    except (BotoCoreError, ClientError, ValueError, OSError) as error:
        print(f"  - {_words(error)}", file=sys.stderr)
        return 1
    print("\n".join(f"  - {fault}" for fault in found) or f"{settings.bucket} is as it should be")
    return 1 if found else 0


def _headers(method: str, url: str, headers: Mapping[str, str]) -> dict[str, str]:
    request = urllib.request.Request(url, method=method, headers=dict(headers))  # noqa: S310 (our own endpoint's URL)
    try:
        with urllib.request.urlopen(request, timeout=HTTP_S) as answer:  # noqa: S310
            found = answer.headers
    except urllib.error.HTTPError as error:
        found = error.headers
    return {name.lower(): value for name, value in found.items()}


def _plain(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rules without their ids, and without the order and case in which stores give them back."""
    return [
        {
            "AllowedOrigins": sorted(rule.get("AllowedOrigins", ())),
            "AllowedMethods": sorted(rule.get("AllowedMethods", ())),
            "AllowedHeaders": sorted(name.lower() for name in rule.get("AllowedHeaders", ())),
            "ExposeHeaders": sorted(name.lower() for name in rule.get("ExposeHeaders", ())),
            "MaxAgeSeconds": rule.get("MaxAgeSeconds"),
        }
        for rule in rules
    ]


def _abort_days(rules: Sequence[Mapping[str, Any]]) -> list[int]:
    """After how many days the rules for the whole bucket end unfinished uploads."""
    return [
        rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"]
        for rule in rules
        if rule.get("Status") == "Enabled"
        and "AbortIncompleteMultipartUpload" in rule
        and not rule.get("Filter", {}).get("Prefix", rule.get("Prefix", ""))
    ]


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _words(error: Exception) -> str:
    if isinstance(error, ClientError) and _code(error) in ("AccessDenied", "403", "Unauthorized"):
        return "the store refuses these credentials; a token that may change the bucket is needed (Admin Read & Write)"
    return str(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
