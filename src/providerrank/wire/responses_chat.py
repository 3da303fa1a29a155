"""Chat answers and chunks as the translation to the Responses API reads them, and what it gets from them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from providerrank.wire.raw import Raw
from providerrank.wire.responses_items import ChatUsage

Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
Position = Annotated[int, msgspec.Meta(ge=0, le=2**31)]
"""A place in a list or a text: bounded, since what is read here is written again."""


class Function(msgspec.Struct):
    """A called function; in a chunk, what is added to one."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    """A call; in a chunk, what is added to the one at ``index``."""

    index: Position | None = None
    id: str | None = None
    function: Function | None = None


class Said(msgspec.Struct):
    """What an assistant said: a whole message, or what a chunk adds."""

    content: str | list[Raw] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    annotations: list[Raw] | None = None

    @property
    def thoughts(self) -> str:
        """Its reasoning, which endpoints send under two names."""
        return self.reasoning_content or self.reasoning or ""


class TokenLogprob(msgspec.Struct):
    """One token's log-probability and the likeliest ones in its place."""

    token: str
    logprob: float
    bytes: list[Byte] | None = None
    top_logprobs: list[TokenLogprob] | None = None

    def write(self) -> dict[str, object]:
        """As the Responses API has it, where ``bytes`` is never null."""
        return {
            "token": self.token,
            "logprob": self.logprob,
            "bytes": list(self.token.encode()) if self.bytes is None else self.bytes,
            "top_logprobs": [
                {
                    "token": top.token,
                    "logprob": top.logprob,
                    "bytes": list(top.token.encode()) if top.bytes is None else top.bytes,
                }
                for top in self.top_logprobs or ()
            ],
        }


class _Logprobs(msgspec.Struct):
    content: list[TokenLogprob] | None = None


class Choice(msgspec.Struct):
    """One choice: ``message`` of a whole answer, ``delta`` of a chunk."""

    message: Said | None = None
    delta: Said | None = None
    index: int = 0
    finish_reason: str | None = None
    logprobs: Raw = Raw()


class ChatAnswer(msgspec.Struct):
    """A chat completion, or one chunk of one."""

    id: str | None = None
    created: float | None = None
    choices: list[Choice] | None = None
    usage: Raw = Raw()


class _Citation(msgspec.Struct):
    url: str
    title: str
    start_index: Position
    end_index: Position


class _Annotation(msgspec.Struct):
    url_citation: _Citation


class _TextPart(msgspec.Struct):
    type: str = ""
    text: str | None = None


answer_decoder = msgspec.json.Decoder(ChatAnswer)
_usage: msgspec.json.Decoder[ChatUsage | None] = msgspec.json.Decoder(ChatUsage | None)
_logprobs = msgspec.json.Decoder(_Logprobs | None)
_annotation = msgspec.json.Decoder(_Annotation)
_text_part = msgspec.json.Decoder(_TextPart)

MAX_TIME_S = 2**53
"""Past any clock; a larger number is none."""


def read_time(value: float | None) -> int:
    """A time in Unix seconds; 0 where there is none."""
    return int(value) if value is not None and 0 <= value < MAX_TIME_S else 0


UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def read_usage(raw: Raw) -> ChatUsage | None:
    """The usage of an answer; None where there is none, or none that can be read."""
    try:
        return _usage.decode(raw)
    except UNREADABLE:
        return None


def read_logprobs(raw: Raw) -> list[object]:
    """The log-probabilities of a choice's text, as the Responses API has them; empty where there are none."""
    try:
        logprobs = _logprobs.decode(raw)
    except UNREADABLE:
        return []
    return [] if logprobs is None else [token.write() for token in logprobs.content or ()]


def read_annotations(raws: list[Raw] | None) -> list[object]:
    """The sources a chat message cites, as the Responses API has them. Others than web pages it has none of."""
    annotations: list[object] = []
    for raw in raws or ():
        try:
            citation = _annotation.decode(raw).url_citation
        except UNREADABLE:
            continue
        annotations.append(
            {
                "type": "url_citation",
                "url": citation.url,
                "title": citation.title,
                "start_index": citation.start_index,
                "end_index": citation.end_index,
            }
        )
    return annotations


def read_text(content: str | list[Raw] | None) -> str:
    """A message's text, which some endpoints give in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    texts: list[str] = []
    for raw in content:
        try:
            part = _text_part.decode(raw)
        except UNREADABLE:
            continue
        if part.type == "text" and part.text is not None:
            texts.append(part.text)
    return "".join(texts)
