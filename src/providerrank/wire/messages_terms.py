"""The words that Anthropic's Messages API and chat completions have for the same things.

Stop reasons and finish reasons, token counts, ids. A chat choice has no field for the stop sequence that was met;
where it is known it stands in ``stop_reason`` beside ``finish_reason``, as vLLM writes it (SGLang: ``matched_stop``).

Tokens: Anthropic's ``input_tokens`` leave out what the prompt cache held or was given; chat's ``prompt_tokens`` count
them in, with the parts in ``prompt_tokens_details``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from providerrank.wire.answer import MAX_TOKENS

FINISH_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "end_turn": "stop",
        "stop_sequence": "stop",
        "max_tokens": "length",
        "model_context_window_exceeded": "length",
        "tool_use": "tool_calls",
        "refusal": "content_filter",
        # A long turn of server-side tools that is to be resumed: not whole, and never to look whole.
        "pause_turn": "length",
    }
)
"""Anthropic's stop reason -> chat's finish reason. One we do not know is read as "stop"."""

STOP_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "stop": "end_turn",
        "length": "max_tokens",
        "tool_calls": "tool_use",
        "function_call": "tool_use",
        "content_filter": "refusal",
    }
)
"""The other way. One we do not know is read as "end_turn"."""


def get_finish_reason(stop_reason: str) -> str:
    """Chat's word for an Anthropic stop reason."""
    return FINISH_REASONS.get(stop_reason, "stop")


def get_stop_reason(finish_reason: str | None, *, calls_tools: bool, refuses: bool, stop_sequence: str | None) -> str:
    """Anthropic's word for how a chat answer ended.

    What the answer holds comes before the word it ended with: some endpoints say "stop" after a tool call, and some
    "tool_calls" without one.
    """
    if refuses:
        return "refusal"
    reason = STOP_REASONS.get(finish_reason or "stop", "end_turn")
    if reason in ("end_turn", "tool_use"):
        if calls_tools:
            return "tool_use"
        return "end_turn" if stop_sequence is None else "stop_sequence"
    return reason


class _Counts(msgspec.Struct):
    """Token counts; one that no answer can have is not believed."""

    def __post_init__(self) -> None:
        """Drop what is out of range: the counts are summed, and billed."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, int) and not 0 <= value <= MAX_TOKENS:
                setattr(self, name, None)


class PromptDetails(_Counts):
    """Parts of a chat answer's prompt tokens."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class CompletionDetails(_Counts):
    """Parts of a chat answer's completion tokens."""

    reasoning_tokens: int | None = None


class ChatUsage(_Counts):
    """A chat answer's ``usage``."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class ThinkingDetails(_Counts):
    """Parts of a message's output tokens."""

    thinking_tokens: int | None = None


class MessageUsage(_Counts):
    """A message's ``usage``; in a stream it comes in parts, each total replacing the one before."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: ThinkingDetails | None = None

    def update(self, later: MessageUsage) -> None:
        """Take over what a later event of the same stream states."""
        for name in self.__struct_fields__:
            value = getattr(later, name)
            if value is not None:
                setattr(self, name, value)

    def to_chat(self) -> dict[str, Any]:
        """As a chat answer's ``usage``."""
        read, made = self.cache_read_input_tokens or 0, self.cache_creation_input_tokens or 0
        prompt = (self.input_tokens or 0) + read + made
        completion = self.output_tokens or 0
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": prompt + completion,
            "prompt_tokens_details": {"cached_tokens": read},
        }
        if made:
            usage["prompt_tokens_details"]["cache_write_tokens"] = made
        details = self.output_tokens_details
        if details is not None and details.thinking_tokens is not None:
            usage["completion_tokens_details"] = {"reasoning_tokens": details.thinking_tokens}
        return usage


def write_usage(usage: ChatUsage | None, prompt_tokens: int, completion_tokens: int) -> dict[str, Any]:
    """A message's ``usage``: these totals, and of ``usage`` what it says of their parts."""
    prompt = (usage and usage.prompt_tokens_details) or PromptDetails()
    completion = (usage and usage.completion_tokens_details) or CompletionDetails()
    # Parts that do not fit into their whole are somebody's mistake: the whole is what is billed.
    read = min(prompt.cached_tokens or 0, prompt_tokens)
    made = min(prompt.cache_write_tokens or 0, prompt_tokens - read)
    counts: dict[str, Any] = {
        "input_tokens": prompt_tokens - read - made,
        "cache_creation_input_tokens": made,
        "cache_read_input_tokens": read,
        "output_tokens": completion_tokens,
    }
    if completion.reasoning_tokens is not None:
        thinking = min(completion.reasoning_tokens, completion_tokens)
        counts["output_tokens_details"] = {"thinking_tokens": thinking}
    return counts


def make_id(prefix: str, given: str | None, body: bytes) -> str:
    """An id for an answer: the endpoint's own, else one of the answer's bytes."""
    return prefix + (given or hashlib.blake2s(body, digest_size=12).hexdigest())
