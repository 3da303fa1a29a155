"""The parts of a Response object, written: items of output, usage, and the fields that repeat the request.

A reply holds *items* (reasoning, a message, calls), an item holds *parts* (text, a refusal). In a stream an item and a
part grow; ``Item`` and ``Part`` hold one as it is so far.
"""

from __future__ import annotations

import re
from hashlib import sha256

import msgspec

from providerrank.wire.answer import MAX_TOKENS
from providerrank.wire.dialect import Fields
from providerrank.wire.raw import Raw, is_present

_encoder = msgspec.json.Encoder()

MESSAGE = "message"
REASONING = "reasoning"
CALL = "function_call"

OUTPUT_TEXT = "output_text"
REFUSAL = "refusal"
REASONING_TEXT = "reasoning_text"
SUMMARY_TEXT = "summary_text"

TEXT_FIELDS = {OUTPUT_TEXT: "text", REFUSAL: "refusal", REASONING_TEXT: "text", SUMMARY_TEXT: "text"}
"""Which field of a part of this type holds its text."""

ID_PREFIXES = {MESSAGE: "msg", REASONING: "rs", CALL: "fc"}


class Part:
    """One part of an item: its text so far."""

    __slots__ = ("annotations", "index", "is_open", "kind", "logprobs", "texts")

    def __init__(self, kind: str, index: int) -> None:
        self.kind = kind
        self.index = index
        """Among the parts of its list: an item's content, or its summary."""
        self.texts: list[str] = []
        self.logprobs: list[object] = []
        self.annotations: list[object] = []
        self.is_open = True

    @property
    def text(self) -> str:
        """Its text so far."""
        return "".join(self.texts)

    def write(self) -> dict[str, object]:
        """As JSON has it."""
        part: dict[str, object] = {"type": self.kind, TEXT_FIELDS[self.kind]: self.text}
        if self.kind == OUTPUT_TEXT:
            part["annotations"] = self.annotations
            part["logprobs"] = self.logprobs
        return part


class Item:
    """One item of the output: a message or reasoning with its parts, a call with its arguments, or anything else."""

    __slots__ = ("arguments", "call_id", "id", "index", "is_open", "kind", "name", "parts", "raw", "status")

    def __init__(self, kind: str, index: int, item_id: str) -> None:
        self.kind = kind
        self.index = index
        """Its place in the output."""
        self.id = item_id
        self.parts: list[Part] = []
        self.is_open = True
        self.status = "in_progress"
        """How it ended, once it is closed."""
        self.call_id = ""
        self.name = ""
        self.arguments: list[str] = []
        self.raw: Raw | None = None
        """The item as a native endpoint wrote it, where it did so to the end."""

    def begin_part(self, kind: str, index: int | None = None) -> Part:
        """A new part; ``index`` None: after those of its list."""
        if index is None:
            index = sum((part.kind == SUMMARY_TEXT) == (kind == SUMMARY_TEXT) for part in self.parts)
        part = Part(kind, index)
        self.parts.append(part)
        return part

    def close(self, status: str) -> None:
        """Nothing more is added to it: it is ``completed`` or ``incomplete``."""
        self.is_open = False
        self.status = status

    def write(self, open_status: str = "in_progress") -> object:
        """As JSON has it; with ``open_status`` while it is open."""
        if self.raw is not None:
            return self.raw
        item: dict[str, object] = {
            "id": self.id,
            "type": self.kind,
            "status": open_status if self.is_open else self.status,
        }
        if self.kind == MESSAGE:
            item["role"] = "assistant"
            item["content"] = [part.write() for part in self.parts]
        elif self.kind == REASONING:
            item["summary"] = [part.write() for part in self.parts if part.kind == SUMMARY_TEXT]
            item["content"] = [part.write() for part in self.parts if part.kind != SUMMARY_TEXT]
        else:
            item["call_id"] = self.call_id
            item["name"] = self.name
            item["arguments"] = "".join(self.arguments)
        return item


def make_item_id(kind: str, index: int, response_id: str) -> str:
    """An id for the item at ``index`` of the response: unique as far as the response's is."""
    return f"{ID_PREFIXES[kind]}_{response_id.removeprefix('resp_')}_{index}"


_NOT_OF_AN_ID = re.compile(r"[^A-Za-z0-9_-]+")
MAX_ID = 64


def make_response_id(chat_id: str | None, answer: bytes) -> str:
    """A Response's id from the chat answer's, or from the answer itself where it has none."""
    name = _NOT_OF_AN_ID.sub("", (chat_id or "").removeprefix("chatcmpl-").removeprefix("resp_"))[:MAX_ID]
    return f"resp_{name or sha256(answer).hexdigest()[:32]}"


# ---- what a chat's usage and finish mean ------------------------------------------------------------------------


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class ChatUsage(msgspec.Struct):
    """A chat answer's usage, in tokens."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None

    def __post_init__(self) -> None:
        """Drop a count that no answer can have."""
        if self.prompt_tokens is not None and not 0 <= self.prompt_tokens <= MAX_TOKENS:
            self.prompt_tokens = None
        if self.completion_tokens is not None and not 0 <= self.completion_tokens <= MAX_TOKENS:
            self.completion_tokens = None


def write_usage(prompt_tokens: int, completion_tokens: int, details: ChatUsage | None) -> dict[str, object]:
    """A Response's usage; ``details`` says what of the tokens was cached or reasoning, where the endpoint said so."""
    of_prompt = details.prompt_tokens_details if details is not None else None
    of_completion = details.completion_tokens_details if details is not None else None
    return {
        "input_tokens": prompt_tokens,
        "input_tokens_details": {
            "cached_tokens": part_of(of_prompt.cached_tokens if of_prompt is not None else None, prompt_tokens),
            "cache_write_tokens": part_of(
                of_prompt.cache_write_tokens if of_prompt is not None else None, prompt_tokens
            ),
        },
        "output_tokens": completion_tokens,
        "output_tokens_details": {
            "reasoning_tokens": part_of(
                of_completion.reasoning_tokens if of_completion is not None else None, completion_tokens
            )
        },
        "total_tokens": prompt_tokens + completion_tokens,
    }


def part_of(count: int | None, whole: int) -> int:
    """A part of a count: never more than the whole of it."""
    return min(max(count or 0, 0), whole)


INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of chat that leave a Response incomplete, and why it says it is."""


# ---- the Response object ----------------------------------------------------------------------------------------

_ECHOED = {
    # field: (what it must be to be repeated, what stands there otherwise)
    "instructions": (msgspec.json.Decoder(str | None), Raw(b"null")),
    "max_output_tokens": (msgspec.json.Decoder(int | None), Raw(b"null")),
    "max_tool_calls": (msgspec.json.Decoder(int | None), Raw(b"null")),
    "metadata": (msgspec.json.Decoder(dict[str, str]), Raw(b"{}")),
    "parallel_tool_calls": (msgspec.json.Decoder(bool), Raw(b"true")),
    "prompt_cache_key": (msgspec.json.Decoder(str | None), Raw(b"null")),
    "reasoning": (msgspec.json.Decoder(dict[str, str | None]), Raw(b'{"effort":null,"summary":null}')),
    "safety_identifier": (msgspec.json.Decoder(str | None), Raw(b"null")),
    "temperature": (msgspec.json.Decoder(float | None), Raw(b"null")),
    "text": (msgspec.json.Decoder(dict[str, object]), Raw(b'{"format":{"type":"text"}}')),
    "tool_choice": (msgspec.json.Decoder(str | dict[str, object]), Raw(b'"auto"')),
    "tools": (msgspec.json.Decoder(list[dict[str, object]]), Raw(b"[]")),
    "top_logprobs": (msgspec.json.Decoder(int), Raw(b"0")),
    "top_p": (msgspec.json.Decoder(float | None), Raw(b"null")),
    "user": (msgspec.json.Decoder(str | None), Raw(b"null")),
}


def write_echo(asked: Fields | None) -> dict[str, object]:
    """The fields of a Response that say what was asked for, and what of it is not done here.

    A value that no valid request has is not repeated: clients type what they are told.
    """
    echo: dict[str, object] = {
        "background": False,
        "previous_response_id": None,
        "service_tier": "default",
        "store": False,
        "truncation": "disabled",
    }
    for name, (decoder, default) in _ECHOED.items():
        echo[name] = default
        if asked is not None and name in asked and is_present(asked[name]):
            try:
                decoder.decode(asked[name])
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                continue
            echo[name] = asked[name]
    return echo
