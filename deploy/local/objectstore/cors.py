"""CORS: a bucket's rules read from XML, and the headers they allow an answer to carry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from objectstore import documents
from objectstore.documents import group, tag
from objectstore.errors import S3Error

METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
MOST_RULES = 100


@dataclass(frozen=True)
class Rule:
    """One CORSRule."""

    origins: tuple[str, ...]
    methods: tuple[str, ...]
    headers: tuple[str, ...] = ()
    expose: tuple[str, ...] = ()
    max_age_s: int | None = None
    id: str = ""


def parse(body: bytes) -> list[Rule]:
    """The rules of a CORSConfiguration; raises MalformedXML or InvalidRequest."""
    rules = []
    for element in documents.parse(body, "CORSConfiguration").findall("CORSRule"):
        age = documents.text_of(element, "MaxAgeSeconds")
        if age is not None and not (age.isascii() and age.isdigit() and len(age) < 10):
            raise S3Error("MalformedXML", "MaxAgeSeconds must be a whole number.")
        rule = Rule(
            origins=tuple((found.text or "").strip() for found in element.findall("AllowedOrigin")),
            methods=tuple((found.text or "").strip() for found in element.findall("AllowedMethod")),
            headers=tuple((found.text or "").strip() for found in element.findall("AllowedHeader")),
            expose=tuple((found.text or "").strip() for found in element.findall("ExposeHeader")),
            max_age_s=int(age) if age else None,
            id=documents.text_of(element, "ID") or "",
        )
        if not rule.origins or not rule.methods:
            raise S3Error("MalformedXML", "Every CORSRule needs an AllowedOrigin and an AllowedMethod.")
        if any(method not in METHODS for method in rule.methods):
            raise S3Error("InvalidRequest", f"AllowedMethod must be one of {', '.join(METHODS)}.")
        if any(text.count("*") > 1 for text in (*rule.origins, *rule.headers)):
            raise S3Error("InvalidRequest", "AllowedOrigin and AllowedHeader may have one * at most.")
        if any(not text.isprintable() for text in rule.expose):
            raise S3Error("InvalidRequest", "ExposeHeader must be a header name.")
        rules.append(rule)
    if not 1 <= len(rules) <= MOST_RULES:
        raise S3Error("MalformedXML", f"A CORSConfiguration has 1 to {MOST_RULES} rules.")
    return rules


def to_text(rules: Sequence[Rule]) -> str:
    """The form that the index keeps."""
    return json.dumps([asdict(rule) for rule in rules])


def from_text(text: str) -> list[Rule]:
    """The rules that `to_text` wrote."""
    return [
        Rule(
            tuple(item["origins"]), tuple(item["methods"]), tuple(item["headers"]), tuple(item["expose"]),
            item["max_age_s"], item["id"],
        )
        for item in json.loads(text)
    ]  # fmt: skip


def to_xml(rules: Sequence[Rule]) -> bytes:
    """The CORSConfiguration to answer with."""
    children = []
    for rule in rules:
        fields = [tag("ID", rule.id)] if rule.id else []
        fields += [tag("AllowedOrigin", text) for text in rule.origins]
        fields += [tag("AllowedMethod", text) for text in rule.methods]
        fields += [tag("AllowedHeader", text) for text in rule.headers]
        fields += [tag("ExposeHeader", text) for text in rule.expose]
        if rule.max_age_s is not None:
            fields.append(tag("MaxAgeSeconds", rule.max_age_s))
        children.append(group("CORSRule", fields))
    return documents.document("CORSConfiguration", children)


def _matches(pattern: str, text: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)


def _allows(rule: Rule, origin: str, method: str, headers: Sequence[str]) -> bool:
    patterns = [pattern.lower() for pattern in rule.headers]
    return (
        method in rule.methods
        and any(_matches(pattern, origin) for pattern in rule.origins)
        and all(any(_matches(pattern, name) for pattern in patterns) for name in headers)
    )


def answer_headers(rules: Sequence[Rule], origin: str, method: str) -> Mapping[str, str]:
    """The headers for the answer to an actual request from an origin; empty when no rule allows it."""
    for rule in rules:
        if _allows(rule, origin, method, ()):
            return _headers(rule, origin)
    return {}


def preflight_headers(rules: Sequence[Rule], origin: str, method: str, asked: str) -> Mapping[str, str]:
    """The headers for the answer to a preflight; raises AccessForbidden when no rule allows what it asks."""
    names = [name.strip().lower() for name in asked.split(",") if name.strip()]
    for rule in rules:
        if _allows(rule, origin, method, names):
            headers = dict(_headers(rule, origin))
            headers["Access-Control-Allow-Methods"] = ", ".join(rule.methods)
            if names:
                headers["Access-Control-Allow-Headers"] = ", ".join(names)
            if rule.max_age_s is not None:
                headers["Access-Control-Max-Age"] = str(rule.max_age_s)
            return headers
    raise S3Error("AccessForbidden", "CORSResponse: this CORS request is not allowed.")


def _headers(rule: Rule, origin: str) -> Mapping[str, str]:
    headers = {"Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"}
    if "*" in rule.origins:
        headers["Access-Control-Allow-Origin"] = "*"
    else:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Allow-Credentials"] = "true"
    if rule.expose:
        headers["Access-Control-Expose-Headers"] = ", ".join(rule.expose)
    return headers
