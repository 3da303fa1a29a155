"""The content parts of a chat message, as content blocks of Anthropic's Messages API.

Text, images (a ``data:`` URL becomes its bytes, any other stays an address) and PDF files have blocks of their own.
Audio, and what only names a file stored at OpenAI, can not be carried.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.lost import Losses
from providerrank.wire.nested import decode, require
from providerrank.wire.raw import Raw, starts_with


class _ImageUrl(msgspec.Struct):
    url: str


class _File(msgspec.Struct):
    file_data: str | None = None
    filename: str | None = None


class Part(msgspec.Struct):
    """A content part of any type; which fields it must have its type says."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: _ImageUrl | str | None = None
    file: _File | None = None


Placed = tuple[str, Part]
"""A part and its path in the request."""

_string = msgspec.json.Decoder(str)
_parts = msgspec.json.Decoder(list[Part])

MEDIA_TYPES = {"image/jpg": "image/jpeg"}
"""Media types by the names the Messages API knows."""


def read_chat_content(raw: Raw, where: str) -> list[Placed]:
    """A message's content, each part with its path; a string is one text part. Raises BadRequest."""
    if starts_with(raw, b'"'):
        return [(where, Part("text", text=decode(raw, _string, where)))]
    parts = decode(raw, _parts, where)
    return [(f"{where}[{i}]", part) for i, part in enumerate(parts)]


def to_text_blocks(text: str) -> list[dict[str, object]]:
    """Text as a block, or as none: the Messages API refuses text that is empty or all white space."""
    return [{"type": "text", "text": text}] if text.strip() else []


def part_to_block(part: Part, where: str, lost: Losses) -> list[dict[str, object]]:
    """A part as a block; none where it is empty, or can not be said, which is noted. Raises BadRequest."""
    match part.type:
        case "text":
            return to_text_blocks(require(part.text, f"{where}.text", "a text part has a text"))
        case "refusal":
            return to_text_blocks(require(part.refusal, f"{where}.refusal", "a refusal part has its text there"))
        case "image_url":
            image = part.image_url
            url = image.url if isinstance(image, _ImageUrl) else image
            url = require(url, f"{where}.image_url", "put the image's address there")
            source = _read_source(url)
            if source is not None and str(source.get("media_type", "image/")).startswith("image/"):
                return [{"type": "image", "source": source}]
        case "file":
            file = require(part.file, f"{where}.file", "put the file there")
            source = _read_source(file.file_data or "")
            if source is not None and source.get("media_type") == "application/pdf":
                block: dict[str, object] = {"type": "document", "source": source}
                if file.filename:
                    block["title"] = file.filename
                return [block]
        case _:
            pass
    lost.add(where)
    return []


def _read_source(url: str) -> dict[str, object] | None:
    """Where something comes from: an address, or the bytes that a data URL holds; None for any other URL."""
    scheme, colon, rest = url.partition(":")
    match scheme.lower() if colon else "":
        case "http" | "https":
            return {"type": "url", "url": url}
        case "data":
            about, _, data = rest.partition(",")
            kind, *options = about.split(";")
            if options and options[-1].strip().lower() == "base64":
                kind = kind.strip().lower()
                return {"type": "base64", "media_type": MEDIA_TYPES.get(kind, kind), "data": data}
    return None
