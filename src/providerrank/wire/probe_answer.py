"""A whole answer out of a stream's events: its text, its tool calls, and the usage it states.

For whoever asks to know, not to relay: nothing is rewritten, nothing goes on. Only the first choice counts.
"""

from __future__ import annotations

from typing import Final

import msgspec

from providerrank.rules.challenges.shape import Answer, ToolCall
from providerrank.wire.answer import StreamEvent, Usage, read_reply
from providerrank.wire.errors import Malformed
from providerrank.wire.raw import Raw

MAX_CALLS: Final = 64
"""Tool calls of one answer; nobody asked for more than one."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    index: int = 0
    function: _Function | None = None


class _Calls(msgspec.Struct):
    tool_calls: list[Raw] | None = None
    content: str | None = None


class _WholeChoice(msgspec.Struct):
    message: _Calls | None = None


class _Whole(msgspec.Struct):
    choices: list[_WholeChoice] | None = None


_call = msgspec.json.Decoder(_Call)
_whole = msgspec.json.Decoder(_Whole)


class AnswerReader:
    """Collects one answer."""

    __slots__ = ("_calls", "_text", "_usage", "is_whole")

    def __init__(self) -> None:
        self._text: list[str] = []
        self._calls: dict[int, list[str]] = {}
        self._usage: Usage | None = None
        self.is_whole = False
        """A finish reason came."""

    def feed(self, event: StreamEvent) -> bool:
        """Take one event; returns whether it says anything of the answer. Raises ``Malformed`` for an error event."""
        if event.error is not None:
            raise Malformed("an error event")
        if event.usage is not None:
            self._usage = event.usage
        says = False
        for choice in event.choices or ():
            if choice.index:
                continue
            if choice.finish_reason is not None:
                if choice.finish_reason == "error":
                    raise Malformed("finish reason 'error'")
                self.is_whole = True
            delta = choice.delta
            if delta is not None and (delta.content or delta.says_more):
                says = True
                if delta.content:
                    self._text.append(delta.content)
                self._add_calls(delta.tool_calls or ())
        return says

    def feed_whole(self, body: bytes) -> None:
        """Take an answer that was not streamed. Raises ``Malformed``."""
        reply = read_reply(body)
        self._usage = reply.usage
        self._text = [reply.text]
        # What read_reply took, this takes: the same names with the same types.
        choices = _whole.decode(body).choices or [_WholeChoice()]
        message = choices[0].message
        self._add_calls((message.tool_calls or ()) if message is not None else (), numbered=False)
        self.is_whole = True

    def get(self) -> Answer:
        """The answer so far."""
        calls = tuple(ToolCall(name, arguments) for _, (name, arguments) in sorted(self._calls.items()))
        return Answer("".join(self._text), calls)

    @property
    def tokens(self) -> tuple[int | None, int | None]:
        """Prompt and completion tokens, as stated."""
        return (None, None) if self._usage is None else (self._usage.prompt_tokens, self._usage.completion_tokens)

    def _add_calls(self, raws: list[Raw] | tuple[Raw, ...], *, numbered: bool = True) -> None:
        for at, raw in enumerate(raws):
            try:
                call = _call.decode(raw)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
                raise Malformed("a tool call is none") from None
            index = call.index if numbered else at
            if index not in self._calls and len(self._calls) >= MAX_CALLS:
                raise Malformed(f"more than {MAX_CALLS} tool calls")
            parts = self._calls.setdefault(index, ["", ""])
            if call.function is not None:
                parts[0] += call.function.name or ""
                parts[1] += call.function.arguments or ""
