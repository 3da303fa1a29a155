"""A request to the Responses API as a chat request.

What only asks for a saving, an identifier, a copy kept elsewhere or a fuller account of the answer is dropped:
``store``, ``metadata``, ``user``, cache and tier settings, ``truncation``, ``include`` but for log-probabilities, a
summary of the reasoning. What would change the answer and has no place in a chat is *lost*, by name.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from providerrank.wire.dialect import Fields, Lost
from providerrank.wire.errors import BadRequest
from providerrank.wire.fields import typed
from providerrank.wire.raw import Raw, is_null_or, is_present
from providerrank.wire.responses_input import AS_THE_API_HAS_IT, read_input
from providerrank.wire.responses_tools import read_tools

_encoder = msgspec.json.Encoder()

SAME = frozenset(
    {
        # The same in both APIs.
        "model", "stream", "temperature", "top_p",
        # Chat's own and common extensions of it, which clients send along.
        "chat_template_kwargs", "frequency_penalty", "logit_bias", "min_p", "models", "presence_penalty", "provider",
        "repetition_penalty", "seed", "stop", "top_a", "top_k",
    }
)  # fmt: skip
READ = frozenset(
    {
        "include", "input", "instructions", "max_output_tokens", "parallel_tool_calls", "reasoning", "text",
        "tool_choice", "tools", "top_logprobs",
    }
)  # fmt: skip
DROPPED = frozenset(
    {
        "background_options", "image", "max_tool_calls", "metadata", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "safety_identifier", "service_tier", "store", "stream_options", "truncation", "user",
    }
)  # fmt: skip
ELSEWHERE = ("previous_response_id", "conversation", "prompt")
"""The conversation, or part of it, is where the client is not: ``input`` may be missing."""

LOGPROBS = "message.output_text.logprobs"


class _Format(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    schema: Raw = Raw()
    description: str | None = None
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    mode: str | None = None
    context: str | None = None


_str = msgspec.json.Decoder(str | None)
_bool = msgspec.json.Decoder(bool | None)
_strs = msgspec.json.Decoder(list[str] | None)
_limit = msgspec.json.Decoder(int | None)
_text = msgspec.json.Decoder(_Text | None)
_reasoning = msgspec.json.Decoder(_Reasoning | None)
_number = msgspec.json.Decoder(float | None)
_object = msgspec.json.Decoder(dict[str, Raw] | None)
_truncation = msgspec.json.Decoder(Literal["auto", "disabled"] | None)

CHECKED = (
    ("temperature", _number, "a number"),
    ("top_p", _number, "a number"),
    ("metadata", _object, "an object"),
    ("store", _bool, "true or false"),
    ("truncation", _truncation, '"auto" or "disabled"'),
)
"""Passed on or dropped as they are, but told to the client again in the answer."""


def to_chat(fields: Fields) -> tuple[Fields, Lost]:
    """The chat request a Responses request stands for, and the names of fields it can not carry.

    ``fields`` is the request's top level. Raises BadRequest, naming the place, where it is malformed.
    """
    lost: list[str] = []
    chat: dict[str, object] = {}
    for name, value in fields.items():
        if name in SAME:
            if name == "model" or is_present(value):
                chat[name] = value
        elif name not in READ and name not in DROPPED and is_present(value):
            _read_other(name, value, lost)
    for name, decoder, expected in CHECKED:
        if name in fields:
            typed(fields, name, decoder, expected)
    chat["messages"] = _read_messages(fields, lost)
    _read_limits(fields, chat)
    if "text" in fields:
        _read_text(fields, chat, lost)
    if "reasoning" in fields:
        _read_reasoning(fields, chat, lost)
    chat.update(read_tools(fields, lost))
    return {
        name: value if isinstance(value, Raw) else Raw(_encoder.encode(value)) for name, value in chat.items()
    }, tuple(lost)


def _read_other(name: str, value: Raw, lost: list[str]) -> None:
    """A field that chat has no place for: lost, unless it says what is so anyway."""
    if name == "background":
        if is_null_or(value, b"false"):
            return
        typed({name: value}, name, _bool, "true or false")
    elif is_null_or(value, b"[]"):
        return
    lost.append(name)


def _read_messages(fields: Fields, lost: list[str]) -> list[dict[str, object]]:
    messages: list[dict[str, object]] = []
    if "instructions" in fields:
        instructions = typed(fields, "instructions", _str, "a string")
        if instructions:
            messages.append({"role": "system", "content": instructions})
    is_elsewhere = any(name in fields and is_present(fields[name]) for name in ELSEWHERE)
    if "input" in fields and is_present(fields["input"]):
        messages += read_input(fields["input"], lost)
    elif not is_elsewhere:
        raise BadRequest("'input' is missing", param="input", code="missing_required_parameter")
    if not messages:
        if not lost:
            raise BadRequest("'input' holds no message", param="input", code="invalid_value")
        # Nothing of it is chat: what can be served goes where the whole request is understood.
        messages.append({"role": "user", "content": ""})
    return messages


def _read_limits(fields: Fields, chat: dict[str, object]) -> None:
    """``max_output_tokens`` under the name of chat's that every endpoint knows, and log-probabilities."""
    if "max_output_tokens" in fields:
        limit = typed(fields, "max_output_tokens", _limit, "a whole number")
        if limit is not None:
            if limit < 1:
                raise BadRequest(
                    f"'max_output_tokens' is {limit}; it must be at least 1",
                    param="max_output_tokens",
                    code="invalid_value",
                )
            chat["max_tokens"] = limit
    include = typed(fields, "include", _strs, "a list of strings") if "include" in fields else None
    top = typed(fields, "top_logprobs", _limit, "a whole number") if "top_logprobs" in fields else None
    if top or LOGPROBS in (include or ()):
        chat["logprobs"] = True
        if top:
            chat["top_logprobs"] = top


def _read_text(fields: Fields, chat: dict[str, object], lost: list[str]) -> None:
    """``text``: the answer's format, and how much it says."""
    text = typed(fields, "text", _text, AS_THE_API_HAS_IT)
    if text is None:
        return
    if text.verbosity is not None:
        chat["verbosity"] = text.verbosity
    wanted = text.format
    if wanted is None:
        return
    match wanted.type:
        case "text":
            pass
        case "json_object":
            chat["response_format"] = {"type": "json_object"}
        case "json_schema":
            chat["response_format"] = {"type": "json_schema", "json_schema": _read_schema(wanted)}
        case None:
            raise BadRequest("'text.format.type' is missing", param="text.format", code="missing_required_parameter")
        case _:
            lost.append("text.format")


def _read_schema(wanted: _Format) -> dict[str, object]:
    if wanted.name is None:
        raise BadRequest("'text.format.name' is missing", param="text.format", code="missing_required_parameter")
    if not is_present(wanted.schema):
        raise BadRequest("'text.format.schema' is missing", param="text.format", code="missing_required_parameter")
    schema: dict[str, object] = {"name": wanted.name}
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    schema["schema"] = wanted.schema
    return schema


def _read_reasoning(fields: Fields, chat: dict[str, object], lost: list[str]) -> None:
    """``reasoning``: chat has its effort. A summary only tells more of an answer; other ways of reasoning change it."""
    reasoning = typed(fields, "reasoning", _reasoning, AS_THE_API_HAS_IT)
    if reasoning is None:
        return
    if reasoning.effort is not None:
        chat["reasoning_effort"] = reasoning.effort
    if reasoning.mode not in (None, "standard"):
        lost.append("reasoning.mode")
    if reasoning.context not in (None, "auto"):
        lost.append("reasoning.context")
