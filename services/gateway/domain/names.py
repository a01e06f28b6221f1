"""File names that people can read and every system can hold."""

from __future__ import annotations

import re
import unicodedata

SLUG_CHARS = 60

_EXTENSIONS = {
    "video/quicktime": ".mov",
    "video/x-matroska": ".mkv",
    "video/webm": ".webm",
    "video/x-msvideo": ".avi",
    "video/mp2t": ".ts",
}


def slug(text: str, fallback: str) -> str:
    """Lower-case ASCII words joined by hyphens, at most SLUG_CHARS long; `fallback` when nothing is left of the
    text.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")
    return words[:SLUG_CHARS].strip("-") or fallback


def extension(file_name: str, content_type: str) -> str:
    """A file's extension with its dot, from its type, or its name, or ".mp4"."""
    if content_type in _EXTENSIONS:
        return _EXTENSIONS[content_type]
    match = re.search(r"\.([A-Za-z0-9]{1,5})$", file_name)
    return f".{match[1].lower()}" if match else ".mp4"


def download_name(stem: str, fallback: str, suffix: str) -> str:
    """The name under which a file is saved."""
    return f"{slug(stem, fallback)}{suffix}"
