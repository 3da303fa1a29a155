"""A native Response object, as far as judging it needs."""

from __future__ import annotations

import msgspec

from providerrank.wire.answer import MAX_TOKENS
from providerrank.wire.errors import Malformed
from providerrank.wire.raw import Raw
from providerrank.wire.responses_chat import UNREADABLE
from providerrank.wire.responses_items import INCOMPLETE, part_of


class NativePart(msgspec.Struct):
    """A part of an item: of its content, or of its summary."""

    type: str = ""
    text: str = ""
    refusal: str = ""


class NativeItem(msgspec.Struct):
    """An item of the output."""

    type: str
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str = ""
    content: list[NativePart] | None = None
    summary: list[NativePart] | None = None


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class NativeResponse(msgspec.Struct):
    """A Response, whole or so far."""

    id: str | None = None
    created_at: float | None = None
    model: str | None = None
    status: str | None = None
    background: bool | None = None
    error: Raw = Raw()
    incomplete_details: _Incomplete | None = None
    output: list[NativeItem] | None = None
    usage: Raw = Raw()


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


response_decoder = msgspec.json.Decoder(NativeResponse)
_usage = msgspec.json.Decoder(_Usage | None)

CHAT_REASONS = {reason: finish for finish, reason in INCOMPLETE.items()}
CALLS = frozenset({"function_call", "custom_tool_call"})
"""Items that ask the client to do something: the answer ends there for now."""


def write_finish(response: NativeResponse) -> str:
    """The finish reason of chat that says how a whole Response ended. Raises Malformed where it did not end well."""
    match response.status:
        case "completed" | None:
            return "tool_calls" if any(item.type in CALLS for item in response.output or ()) else "stop"
        case "incomplete":
            reason = response.incomplete_details.reason if response.incomplete_details is not None else None
            return CHAT_REASONS.get(reason or "", "length")
        case "queued" | "in_progress" if response.background:
            return "stop"  # its answer is that it has begun
        case status:
            raise Malformed(f"status '{status[:40]}'")


def write_native_usage(response: NativeResponse) -> dict[str, object] | None:
    """A Response's usage as a chat's; None where it has none that can be read."""
    try:
        usage = _usage.decode(response.usage)
    except UNREADABLE:
        return None
    if usage is None or not (0 <= usage.input_tokens <= MAX_TOKENS and 0 <= usage.output_tokens <= MAX_TOKENS):
        return None
    chat: dict[str, object] = {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
    if usage.input_tokens_details is not None and usage.input_tokens_details.cached_tokens is not None:
        cached = usage.input_tokens_details.cached_tokens
        chat["prompt_tokens_details"] = {"cached_tokens": part_of(cached, usage.input_tokens)}
    if usage.output_tokens_details is not None and usage.output_tokens_details.reasoning_tokens is not None:
        reasoning = usage.output_tokens_details.reasoning_tokens
        chat["completion_tokens_details"] = {"reasoning_tokens": part_of(reasoning, usage.output_tokens)}
    return chat
