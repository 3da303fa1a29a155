"""JSON values that are carried as the bytes they came in."""

from __future__ import annotations

import msgspec

Raw = msgspec.Raw


def is_present(raw: Raw) -> bool:
    """Whether an optional field was there and not null."""
    value = bytes(raw)
    return bool(value) and value != b"null"


def starts_with(raw: Raw, prefix: bytes) -> bool:
    """Whether a value's first bytes are these."""
    return bytes(memoryview(raw)[: len(prefix)]) == prefix


def is_null_or(raw: Raw, *values: bytes) -> bool:
    """Whether a short value is null or one of these, as written."""
    return len(memoryview(raw)) <= 8 and bytes(raw) in (b"null", *values)


def shorten(text: bytes, limit: int = 200) -> str:
    """An endpoint's words for a person: one line, bounded, and nothing that steers a terminal or turns text around."""
    # Cut first: of megabytes only the beginning is looked at.
    words = " ".join(text[: 16 * limit].decode("utf-8", "replace").split())
    if not words.isprintable():
        words = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in words)
    return words if len(words) <= limit else words[: limit - 1] + "…"
