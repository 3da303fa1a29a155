"""The content blocks of a Messages request that say something, as content parts of a chat message.

Text and images have parts of their own in chat, a PDF is a ``file`` part. A document of text and a search result are
told as text, title and source above it. What only names something stored at Anthropic (a file id) can not be carried,
nor can a PDF behind a URL, which chat has no way to fetch.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.lost import Losses
from providerrank.wire.nested import decode, require
from providerrank.wire.raw import Raw, is_null_or, is_present, starts_with

Part = dict[str, object]


class Block(msgspec.Struct):
    """A content block of any type; which fields it must have its type says."""

    type: str
    text: str | None = None
    thinking: str | None = None
    source: Raw = Raw()
    title: str | None = None
    context: str | None = None
    content: Raw = Raw()
    citations: Raw = Raw()
    transformations: Raw = Raw()
    id: str | None = None
    name: str | None = None
    input: Raw = Raw()
    tool_use_id: str | None = None
    is_error: bool | None = None


class _Source(msgspec.Struct):
    """Where an image or a document comes from."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    content: Raw = Raw()


class _Citations(msgspec.Struct):
    enabled: bool | None = None


blocks = msgspec.json.Decoder(list[Block])
string = msgspec.json.Decoder(str)
_source = msgspec.json.Decoder(_Source)
_citations = msgspec.json.Decoder(_Citations)


def read_content(raw: Raw, where: str) -> list[tuple[str, Block]]:
    """A content field, each block with its path; a string is one text block. Raises BadRequest."""
    if starts_with(raw, b'"'):
        return [(where, Block("text", text=decode(raw, string, where)))]
    placed = decode(raw, blocks, where)
    return [(f"{where}[{i}]", block) for i, block in enumerate(placed)]


def get_text(block: Block, where: str) -> str:
    """A text block's text. Raises BadRequest."""
    return require(block.text, f"{where}.text", "a text block has a text")


def to_parts(block: Block, where: str, lost: Losses) -> list[Part]:
    """A block as chat content parts; none where chat has no way to say it, which is noted. Raises BadRequest."""
    match block.type:
        case "text":
            text = get_text(block, where)
            return [to_text_part(text)] if text else []
        case "image":
            return _image_to_parts(block, where, lost)
        case "document":
            return _document_to_parts(block, where, lost)
        case "search_result":
            return _search_result_to_parts(block, where, lost)
        case _:
            lost.add(where)
            return []


def to_text_part(text: str) -> Part:
    """A chat content part of text."""
    return {"type": "text", "text": text}


def _read_source(block: Block, where: str) -> _Source:
    if not is_present(block.source):
        require(None, f"{where}.source", "say where it comes from")
    return decode(block.source, _source, f"{where}.source")


def _to_data_url(source: _Source, where: str) -> str:
    kind = require(source.media_type, f"{where}.source.media_type", "name the data's media type")
    data = require(source.data, f"{where}.source.data", "put the base64 text there")
    return f"data:{kind};base64,{data}"


def _image_to_parts(block: Block, where: str, lost: Losses) -> list[Part]:
    source = _read_source(block, where)
    if is_present(block.transformations) and not is_null_or(block.transformations, b"{}"):
        lost.add(f"{where}.transformations")
    match source.type:
        case "base64":
            url = _to_data_url(source, where)
        case "url":
            url = require(source.url, f"{where}.source.url", "put the image's address there")
        case _:
            lost.add(f"{where}.source")
            return []
    return [{"type": "image_url", "image_url": {"url": url}}]


def _note_citations(block: Block, where: str, lost: Losses) -> None:
    """An answer that is to quote its sources is another answer."""
    if is_present(block.citations) and decode(block.citations, _citations, f"{where}.citations").enabled:
        lost.add(f"{where}.citations")


def _document_to_parts(block: Block, where: str, lost: Losses) -> list[Part]:
    source = _read_source(block, where)
    _note_citations(block, where, lost)
    parts: list[Part]
    match source.type:
        case "text":
            parts = [to_text_part(require(source.data, f"{where}.source.data", "put the document's text there"))]
        case "content":
            inside = f"{where}.source.content"
            if not is_present(source.content):
                require(None, inside, "put the document's text or blocks there")
            parts = [
                part for place, inner in read_content(source.content, inside) for part in to_parts(inner, place, lost)
            ]
        case "base64":
            file = {"filename": block.title or "document.pdf", "file_data": _to_data_url(source, where)}
            parts = [{"type": "file", "file": file}]
            return [to_text_part(block.context), *parts] if block.context else parts
        case _:
            lost.add(f"{where}.source")
            return []
    return _put_under((block.title, block.context), parts)


def _search_result_to_parts(block: Block, where: str, lost: Losses) -> list[Part]:
    _note_citations(block, where, lost)
    address = decode(block.source, string, f"{where}.source") if is_present(block.source) else None
    if not is_present(block.content):
        require(None, f"{where}.content", "put the result's text blocks there")
    found = [to_text_part(get_text(inner, place)) for place, inner in read_content(block.content, f"{where}.content")]
    return _put_under((block.title, address), found)


def _put_under(headings: tuple[str | None, ...], parts: list[Part]) -> list[Part]:
    """Content parts under a part that holds these lines, where there are any."""
    lines = [line for line in headings if line]
    return [to_text_part("\n".join(lines)), *parts] if lines else parts
