"""A request to Anthropic's Messages API, as a request for chat completions.

What is kept, changed and dropped stands in docs/reference/translations.md. Of its settings:

* ``thinking`` and ``output_config.effort`` become ``reasoning_effort``. Chat knows levels, not budgets: below 4,096
  tokens is low, below 16,384 medium, above high; ``xhigh`` and ``max`` are high, the most that every server which
  reads the field knows. Thinking switched off, or left to the model, is what a chat request says by saying nothing.
* a stream is asked to end with its usage, which the Messages API always tells.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.lost import Losses
from providerrank.wire.messages_tools import tools_to_chat
from providerrank.wire.messages_turns import conversation_to_chat
from providerrank.wire.nested import decode, decode_field, get, refuse, require, to_raw
from providerrank.wire.raw import Raw, is_null_or

CARRIED = frozenset({"model", "models", "provider"})
"""Fields that mean the same in chat, or are meant for us."""

TRANSLATED = frozenset(
    {
        "max_tokens",
        "messages",
        "output_config",
        "output_format",
        "stop_sequences",
        "stream",
        "system",
        "temperature",
        "thinking",
        "tool_choice",
        "tools",
        "top_p",
    }
)

DROPPED = frozenset(
    {
        "cache_control",
        "context_management",
        "diagnostics",
        "metadata",
        "service_tier",
        "speed",
        "user_profile_id",
        "workspace_id",
    }
)
"""Fields that ask for a saving or carry a name: leaving them out does not change what is asked."""

LOW_BUDGET_TOKENS = 4_096
MEDIUM_BUDGET_TOKENS = 16_384
"""A thinking budget below these is low, is medium: chat's levels are said to be about so far apart."""

EMPTY = (b"[]", b"{}", b"false")
"""What says no more than leaving the field out."""

EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


class _Thinking(msgspec.Struct):
    type: str
    budget_tokens: int | None = None


class _Format(msgspec.Struct):
    type: str
    schema: dict[str, Raw] | None = None


_max_tokens: msgspec.json.Decoder[int] = msgspec.json.Decoder(Annotated[int, msgspec.Meta(ge=0)])
_temperature: msgspec.json.Decoder[float] = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=1)])
_top_p: msgspec.json.Decoder[float] = msgspec.json.Decoder(Annotated[float, msgspec.Meta(ge=0, le=1)])
_bool = msgspec.json.Decoder(bool)
_strings = msgspec.json.Decoder(list[str])
_string = msgspec.json.Decoder(str)
_object = msgspec.json.Decoder(dict[str, Raw])
_thinking = msgspec.json.Decoder(_Thinking)
_format = msgspec.json.Decoder(_Format)


def to_chat(fields: Fields) -> tuple[Fields, tuple[str, ...]]:
    """A Messages request's fields as those of a chat request, and the names of what could not be carried.

    Raises BadRequest, naming the field, where the request is not one the Messages API could mean.
    """
    lost = Losses()
    chat: Fields = {name: fields[name] for name in fields if name in CARRIED}
    chat["messages"] = conversation_to_chat(fields, lost)
    _limit_to_chat(fields, chat, lost)
    if (stream := get(fields, "stream")) is not None and decode(stream, _bool, "stream"):
        chat["stream"] = stream
        chat["stream_options"] = Raw(b'{"include_usage":true}')
    tools_to_chat(fields, chat, lost)
    _sampling_to_chat(fields, chat)
    _output_to_chat(fields, chat, lost)
    for name, raw in fields.items():
        if name not in CARRIED and name not in TRANSLATED and name not in DROPPED and not is_null_or(raw, *EMPTY):
            lost.add(name)
    return chat, lost.names


def _limit_to_chat(fields: Fields, chat: Fields, lost: Losses) -> None:
    limit = require(
        decode_field(fields, "max_tokens", _max_tokens), "max_tokens", "say how many tokens the answer may take"
    )
    if not limit:
        # Zero fills Anthropic's prompt cache and asks for no answer; chat has nothing like it.
        lost.add("max_tokens")
    chat["max_tokens"] = to_raw(max(1, limit))


def _sampling_to_chat(fields: Fields, chat: Fields) -> None:
    for name, decoder in (("temperature", _temperature), ("top_p", _top_p)):
        if decode_field(fields, name, decoder) is not None:
            chat[name] = fields[name]
    stops = decode_field(fields, "stop_sequences", _strings)
    if stops:
        chat["stop"] = to_raw(stops)


def _output_to_chat(fields: Fields, chat: Fields, lost: Losses) -> None:
    """How much to think, and the form of the answer."""
    config = decode_field(fields, "output_config", _object) or {}
    effort = _read_effort(config)
    thinking = decode_field(fields, "thinking", _thinking)
    if thinking is not None:
        match thinking.type:
            case "enabled":
                budget = require(thinking.budget_tokens, "thinking.budget_tokens", "say how many tokens to think with")
                effort = effort or _get_effort(budget)
            case "disabled":
                effort = None
            case "adaptive" | "between_tools":
                pass
            case _:
                raise refuse("thinking.type", "is none of enabled, disabled, adaptive, between_tools")
    if effort is not None:
        chat["reasoning_effort"] = to_raw(effort)
    wanted = get(config, "format")
    where = "output_config.format"
    if wanted is None:
        # The name it had before it was settled.
        wanted, where = get(fields, "output_format"), "output_format"
    if wanted is not None:
        form = decode(wanted, _format, where)
        if form.type != "json_schema":
            raise refuse(f"{where}.type", "is not json_schema")
        schema = require(form.schema, f"{where}.schema", "put the answer's JSON schema there")
        named = {"name": "answer", "schema": schema, "strict": True}
        chat["response_format"] = to_raw({"type": "json_schema", "json_schema": named})
    for name in config:
        if name not in ("effort", "format") and get(config, name) is not None:
            lost.add(f"output_config.{name}")


def _read_effort(config: Fields) -> str | None:
    raw = get(config, "effort")
    if raw is None:
        return None
    effort = EFFORTS.get(decode(raw, _string, "output_config.effort"))
    if effort is None:
        raise refuse("output_config.effort", "is none of low, medium, high, xhigh, max")
    return effort


def _get_effort(budget_tokens: int) -> str:
    if budget_tokens < LOW_BUDGET_TOKENS:
        return "low"
    return "medium" if budget_tokens < MEDIUM_BUDGET_TOKENS else "high"
