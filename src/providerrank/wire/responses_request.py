"""A request to the Responses API as a chat request.

What only asks for a saving, an identifier, a copy kept elsewhere or a fuller account of the answer is dropped:
``store``, ``metadata``, ``user``, cache and tier settings, ``truncation``, ``include`` but for log-probabilities, a
summary of the reasoning. What would change the answer and has no place in a chat is *lost*, by name.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from providerrank.wire.dialect import Fields, Lost
from providerrank.wire.lost import Losses
from providerrank.wire.nested import decode, decode_field, get, refuse, require, to_raw
from providerrank.wire.raw import Raw, is_null_or, is_present
from providerrank.wire.responses_input import read_input
from providerrank.wire.responses_tools import read_tools

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
    ("temperature", _number),
    ("top_p", _number),
    ("metadata", _object),
    ("store", _bool),
    ("truncation", _truncation),
)
"""Passed on or dropped as they are, but told to the client again in the answer."""


def to_chat(fields: Fields) -> tuple[Fields, Lost]:
    """The chat request a Responses request stands for, and the names of fields it can not carry.

    ``fields`` is the request's top level. Raises BadRequest, naming the place, where it is malformed.
    """
    lost = Losses()
    chat: dict[str, object] = {}
    for name, value in fields.items():
        if name in SAME:
            if name == "model" or is_present(value):
                chat[name] = value
        elif name not in READ and name not in DROPPED and is_present(value):
            _read_other(name, value, lost)
    for name, decoder in CHECKED:
        decode_field(fields, name, decoder)
    chat["messages"] = _read_messages(fields, lost)
    _read_limits(fields, chat)
    _read_text(fields, chat, lost)
    _read_reasoning(fields, chat, lost)
    chat.update(read_tools(fields, lost))
    raws = {name: value if isinstance(value, Raw) else to_raw(value) for name, value in chat.items()}
    return raws, lost.names


def _read_other(name: str, value: Raw, lost: Losses) -> None:
    """A field that chat has no place for: lost, unless it says what is so anyway."""
    if name == "background":
        if is_null_or(value, b"false"):
            return
        decode(value, _bool, name)
    elif is_null_or(value, b"[]"):
        return
    lost.add(name)


def _read_messages(fields: Fields, lost: Losses) -> list[dict[str, object]]:
    messages: list[dict[str, object]] = []
    instructions = decode_field(fields, "instructions", _str)
    if instructions:
        messages.append({"role": "system", "content": instructions})
    given = get(fields, "input")
    if given is not None:
        messages += read_input(given, lost)
    elif all(get(fields, name) is None for name in ELSEWHERE):
        require(None, "input", "give it a string or a list of items")
    if not messages:
        if not lost.names:
            raise refuse("input", "holds no message: give it at least one")
        # Nothing of it is chat: what can be served goes where the whole request is understood.
        messages.append({"role": "user", "content": ""})
    return messages


def _read_limits(fields: Fields, chat: dict[str, object]) -> None:
    """``max_output_tokens`` under the name of chat's that every endpoint knows, and log-probabilities."""
    limit = decode_field(fields, "max_output_tokens", _limit)
    if limit is not None:
        if limit < 1:
            raise refuse("max_output_tokens", f"is {limit}: it must be at least 1")
        chat["max_tokens"] = limit
    include = decode_field(fields, "include", _strs)
    top = decode_field(fields, "top_logprobs", _limit)
    if top or LOGPROBS in (include or ()):
        chat["logprobs"] = True
        if top:
            chat["top_logprobs"] = top


def _read_text(fields: Fields, chat: dict[str, object], lost: Losses) -> None:
    """``text``: the answer's format, and how much it says."""
    text = decode_field(fields, "text", _text)
    if text is None:
        return
    if text.verbosity is not None:
        chat["verbosity"] = text.verbosity
    wanted = text.format
    if wanted is None:
        return
    match require(wanted.type, "text.format.type", "it must be text, json_object or json_schema"):
        case "text":
            pass
        case "json_object":
            chat["response_format"] = {"type": "json_object"}
        case "json_schema":
            chat["response_format"] = {"type": "json_schema", "json_schema": _read_schema(wanted)}
        case _:
            lost.add("text.format")


def _read_schema(wanted: _Format) -> dict[str, object]:
    schema: dict[str, object] = {"name": require(wanted.name, "text.format.name", "name the schema")}
    if not is_present(wanted.schema):
        require(None, "text.format.schema", "give it the JSON schema of the answer")
    if wanted.description is not None:
        schema["description"] = wanted.description
    if wanted.strict is not None:
        schema["strict"] = wanted.strict
    schema["schema"] = wanted.schema
    return schema


def _read_reasoning(fields: Fields, chat: dict[str, object], lost: Losses) -> None:
    """``reasoning``: chat has its effort. A summary only tells more of an answer; other ways of reasoning change it."""
    reasoning = decode_field(fields, "reasoning", _reasoning)
    if reasoning is None:
        return
    if reasoning.effort is not None:
        chat["reasoning_effort"] = reasoning.effort
    if reasoning.mode not in (None, "standard"):
        lost.add("reasoning.mode")
    if reasoning.context not in (None, "auto"):
        lost.add("reasoning.context")
