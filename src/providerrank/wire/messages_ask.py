"""A chat request, as a request to Anthropic's Messages API, for endpoints that speak nothing else.

What is kept, changed and dropped stands in docs/reference/translations.md. Of its settings:

* The Messages API must be told how long the answer may be; a chat request that does not say gets
  ``DEFAULT_MAX_TOKENS``, and an answer that is cut there says so (finish reason "length").
* ``temperature`` ends at 1 there; what lies above is sent as 1 and noted. 1 is the default of both, and of ``top_p``,
  and is not sent: newer models refuse the fields.
* ``reasoning_effort`` becomes adaptive thinking at that effort. Thinking goes neither with a tool that must be called
  nor with much of sampling: there the tool comes first, and here the thinking.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.lost import Losses
from providerrank.wire.messages_ask_turns import conversation_from_chat
from providerrank.wire.messages_tools import tools_from_chat
from providerrank.wire.nested import decode, decode_field, get, refuse, require, to_raw
from providerrank.wire.raw import Raw, starts_with

DEFAULT_MAX_TOKENS = 8_192
"""As much as every model in use there can write; more would be refused by some."""

MIN_THINKING_TOP_P = 0.95
"""With thinking, a smaller ``top_p`` is refused, and ``top_k`` and ``temperature`` are."""

TRANSLATED = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "messages",
        "model",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "stop",
        "stream",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
    }
)

DROPPED = frozenset(
    {
        "metadata",
        "models",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "provider",
        "safety_identifier",
        "service_tier",
        "store",
        "stream_options",
        "user",
    }
)
"""Fields that ask for a saving, carry a name, or are meant for us."""

NEUTRAL: dict[str, tuple[bytes, ...]] = {
    "frequency_penalty": (b"0", b"0.0"),
    "function_call": (b'"auto"', b'"none"'),
    "logprobs": (b"false",),
    "modalities": (b'["text"]',),
    "n": (b"1",),
    "presence_penalty": (b"0", b"0.0"),
    "top_logprobs": (b"0",),
}
"""Values with which a field says no more than without it, beside null and the empty ones."""

EMPTY = (b"[]", b"{}", b'""')

EFFORTS = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}


class _NamedSchema(msgspec.Struct):
    schema: dict[str, Raw] | None = None


class _Format(msgspec.Struct):
    type: str
    json_schema: _NamedSchema | None = None


_limit: msgspec.json.Decoder[int] = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0)])
_temperature: msgspec.json.Decoder[float] = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=2)])
_share: msgspec.json.Decoder[float] = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=1)])
_count = msgspec.json.Decoder(int)
_bool = msgspec.json.Decoder(bool)
_string = msgspec.json.Decoder(str)
_strings = msgspec.json.Decoder(list[str])
_format = msgspec.json.Decoder(_Format)


def from_chat(fields: Fields) -> tuple[Fields, tuple[str, ...]]:
    """A chat request's fields as those of a Messages request, and the names of what could not be carried.

    Raises BadRequest, naming the field, where the request is not one that chat completions could mean.
    """
    lost = Losses()
    written: Fields = {}
    if "model" in fields:
        written["model"] = fields["model"]
    conversation_from_chat(fields, written, lost)
    written["max_tokens"] = to_raw(_read_limit(fields))
    if decode_field(fields, "stream", _bool):
        written["stream"] = Raw(b"true")
    must_call = tools_from_chat(fields, written, lost)
    thinks = _output_from_chat(fields, written, lost, may_think=not must_call)
    _sampling_from_chat(fields, written, lost, thinks=thinks)
    for name, raw in fields.items():
        if name not in TRANSLATED and name not in DROPPED and not _is_neutral(name, raw):
            lost.add(name)
    return written, lost.names


def _is_neutral(name: str, raw: Raw) -> bool:
    value = bytes(memoryview(raw)[:16])
    return value in (b"null", *EMPTY, *NEUTRAL.get(name, ()))


def _read_limit(fields: Fields) -> int:
    for name in ("max_completion_tokens", "max_tokens"):
        limit = decode_field(fields, name, _limit)
        if limit is not None:
            return max(1, limit)
    return DEFAULT_MAX_TOKENS


def _sampling_from_chat(fields: Fields, written: Fields, lost: Losses, *, thinks: bool) -> None:
    temperature = decode_field(fields, "temperature", _temperature)
    if temperature is not None and temperature != 1:
        if temperature > 1 or thinks:
            lost.add("temperature")
        else:
            written["temperature"] = fields["temperature"]
    top_p = decode_field(fields, "top_p", _share)
    if top_p is not None and top_p != 1:
        if thinks and top_p < MIN_THINKING_TOP_P:
            lost.add("top_p")
        else:
            written["top_p"] = fields["top_p"]
    if decode_field(fields, "top_k", _count) is not None:
        if thinks:
            lost.add("top_k")
        else:
            written["top_k"] = fields["top_k"]
    _stop_from_chat(fields, written, lost)


def _stop_from_chat(fields: Fields, written: Fields, lost: Losses) -> None:
    raw = get(fields, "stop")
    if raw is None:
        return
    stops = [decode(raw, _string, "stop")] if starts_with(raw, b'"') else decode(raw, _strings, "stop")
    # The Messages API refuses those of white space only.
    carried = [stop for stop in stops if stop.strip()]
    if len(carried) < len(stops):
        lost.add("stop")
    if carried:
        written["stop_sequences"] = to_raw(carried)


def _output_from_chat(fields: Fields, written: Fields, lost: Losses, *, may_think: bool) -> bool:
    """How much to think, and the form of the answer. Returns whether thinking is asked for."""
    config: dict[str, object] = {}
    thinks = False
    effort = decode_field(fields, "reasoning_effort", _string)
    if effort == "none":
        written["thinking"] = Raw(b'{"type":"disabled"}')
    elif effort is not None:
        if effort not in EFFORTS:
            raise refuse("reasoning_effort", f"is none of none, {', '.join(EFFORTS)}")
        config["effort"] = EFFORTS[effort]
        if may_think:
            written["thinking"] = Raw(b'{"type":"adaptive"}')
            thinks = True
    form = decode_field(fields, "response_format", _format)
    if form is not None and form.type == "json_schema":
        named = require(form.json_schema, "response_format.json_schema", "put the named schema there")
        if named.schema is None:
            lost.add("response_format")
        else:
            config["format"] = {"type": "json_schema", "schema": named.schema}
    elif form is not None and form.type != "text":
        lost.add("response_format")
    if config:
        written["output_config"] = to_raw(config)
    return thinks
