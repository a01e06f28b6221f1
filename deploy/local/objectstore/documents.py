"""S3's XML: bodies read without DTDs (so no entity is ever declared or expanded), answers written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from urllib.parse import quote
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape

from objectstore.errors import S3Error

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DEEPEST = 16


def parse(body: bytes, root: str) -> Element:
    """The tree of a request's body, names without namespace; raises MalformedXML unless its root is `root`."""
    builder = TreeBuilder()
    depth = 0

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST:
            raise S3Error("MalformedXML", "The XML is nested too deeply.")
        builder.start(name.rpartition(" ")[2], attributes)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(name.rpartition(" ")[2])

    def doctype(*_: object) -> None:
        raise S3Error("MalformedXML", "The XML may not have a DOCTYPE.")

    parser = expat.ParserCreate("utf-8", " ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.StartDoctypeDeclHandler = doctype
    try:
        parser.Parse(body, True)
        tree = builder.close()
    except (expat.ExpatError, AssertionError, ValueError) as fault:
        raise S3Error("MalformedXML", "The XML you provided was not well-formed.") from fault
    if tree.tag != root:
        raise S3Error("MalformedXML", f"The XML must be a {root}.")
    return tree


def text_of(element: Element, name: str) -> str | None:
    """The text of the first child of that name, stripped; None without one."""
    found = element.find(name)
    return None if found is None else (found.text or "").strip()


def tag(name: str, content: object) -> str:
    """One element holding text; booleans as S3 writes them."""
    text = str(content).lower() if isinstance(content, bool) else str(content)
    return f"<{name}>{_visible(text)}</{name}>"


def group(name: str, children: Iterable[str]) -> str:
    """One element holding elements."""
    return f"<{name}>{''.join(children)}</{name}>"


def document(name: str, children: Iterable[str]) -> bytes:
    """A whole answer in S3's namespace."""
    body = "".join(children)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{name} xmlns="{NAMESPACE}">{body}</{name}>'.encode()


def _visible(text: str) -> str:
    # XML 1.0 has no control characters; S3 writes references all the same, and clients ask for encoding-type=url.
    if text.isprintable():
        return escape(text)
    return "".join(f"&#x{ord(c):x};" if c < " " or c in "\x7f\x85\u2028" else c for c in escape(text))


def encoder(encoding_type: str | None) -> Callable[[str], str]:
    """How keys are written in a listing: as they are, or percent-encoded for encoding-type=url."""
    if not encoding_type:
        return str
    if encoding_type != "url":
        raise S3Error("InvalidArgument", "encoding-type must be url.")
    return lambda text: quote(text, safe="/-_.~*()!'")
