"""Lifecycle rules: what a bucket wants swept, and when. Only what R2 and this store do is accepted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from xml.etree.ElementTree import Element

from objectstore import documents
from objectstore.documents import group, tag, text_of
from objectstore.errors import S3Error

DAY_MS = 24 * 3600 * 1000
MOST_RULES = 1000


@dataclass(frozen=True)
class Rule:
    """Objects under `prefix` end `expire_days` after they were written, uploads `abort_days` after they began."""

    id: str
    enabled: bool
    prefix: str
    expire_days: int | None = None
    abort_days: int | None = None


def parse(body: bytes) -> list[Rule]:
    """The rules of a LifecycleConfiguration; raises MalformedXML, or NotImplemented for what would not be done."""
    rules = [_rule(element) for element in documents.parse(body, "LifecycleConfiguration").findall("Rule")]
    if not 1 <= len(rules) <= MOST_RULES:
        raise S3Error("MalformedXML", f"A LifecycleConfiguration has 1 to {MOST_RULES} rules.")
    return rules


def _rule(element: Element) -> Rule:
    known = {"ID", "Status", "Prefix", "Filter", "Expiration", "AbortIncompleteMultipartUpload"}
    unknown = {child.tag for child in element} - known
    chosen = element.find("Filter")
    if chosen is not None:
        unknown |= {child.tag for child in chosen} - {"Prefix"}
    expiration = element.find("Expiration")
    if expiration is not None:
        unknown |= {child.tag for child in expiration} - {"Days"}
    if unknown:
        raise S3Error("NotImplemented", f"Lifecycle rules with {', '.join(sorted(unknown))} are not implemented.")
    status = text_of(element, "Status")
    if status not in ("Enabled", "Disabled"):
        raise S3Error("MalformedXML", "A rule's Status is Enabled or Disabled.")
    prefix = element.findtext("Prefix") or element.findtext("Filter/Prefix") or ""
    expire_days = _days(element.findtext("Expiration/Days"))
    abort_days = _days(element.findtext("AbortIncompleteMultipartUpload/DaysAfterInitiation"))
    if expire_days is None and abort_days is None:
        raise S3Error("MalformedXML", "A rule needs an Expiration or an AbortIncompleteMultipartUpload.")
    return Rule(element.findtext("ID") or "", status == "Enabled", prefix, expire_days, abort_days)


def _days(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 6 and int(text) > 0):
        raise S3Error("InvalidArgument", "Days must be a whole number above 0.")
    return int(text)


def to_text(rules: Sequence[Rule]) -> str:
    """The form that the index keeps."""
    return json.dumps([asdict(rule) for rule in rules])


def from_text(text: str) -> list[Rule]:
    """The rules that `to_text` wrote."""
    return [Rule(**item) for item in json.loads(text)]


def to_xml(rules: Sequence[Rule]) -> bytes:
    """The LifecycleConfiguration to answer with."""
    children = []
    for rule in rules:
        fields = [
            tag("ID", rule.id),
            tag("Status", "Enabled" if rule.enabled else "Disabled"),
            group("Filter", (tag("Prefix", rule.prefix),)),
        ]
        if rule.expire_days is not None:
            fields.append(group("Expiration", (tag("Days", rule.expire_days),)))
        if rule.abort_days is not None:
            days = tag("DaysAfterInitiation", rule.abort_days)
            fields.append(group("AbortIncompleteMultipartUpload", (days,)))
        children.append(group("Rule", fields))
    return documents.document("LifecycleConfiguration", children)


def upload_ends_ms(rules: Sequence[Rule], key: str, default_days: float) -> float:
    """How long an upload of this key may stay unfinished, in milliseconds."""
    days = [rule.abort_days for rule in rules if rule.enabled and rule.abort_days and key.startswith(rule.prefix)]
    return min([default_days, *days]) * DAY_MS
