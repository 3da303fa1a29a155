"""An event stream of Anthropic's Messages API, read as chat chunks.

A message is told as blocks, one after another or side by side, each by its index: start, deltas, stop. Around them
stand ``message_start`` (id, prompt tokens), ``message_delta`` (stop reason, totals so far) and ``message_stop``.
Chat knows one text and a list of tool calls, so of the blocks only the tool calls keep a number of their own. What has
no place in chat (signatures, citations, encrypted thinking, the traces of server tools) yields nothing, and so does
any event of a kind not known yet, which Anthropic's versioning asks readers to bear.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.errors import Malformed
from providerrank.wire.messages_reply import StopDetails, decode_answer
from providerrank.wire.messages_terms import MessageUsage, get_finish_reason, make_id
from providerrank.wire.nested import encoder
from providerrank.wire.raw import Raw, is_present
from providerrank.wire.sse import DONE


class Started(msgspec.Struct):
    """The message of a ``message_start``."""

    id: str | None = None
    model: str | None = None
    usage: MessageUsage | None = None


class Block(msgspec.Struct):
    """The block of a ``content_block_start``."""

    type: str
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: Raw = Raw()


class Delta(msgspec.Struct):
    """The delta of a ``content_block_delta`` or a ``message_delta``."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class Event(msgspec.Struct):
    """An event of any type; which fields it has its type says."""

    type: str | None = None
    index: int | None = None
    message: Started | None = None
    content_block: Block | None = None
    delta: Delta | None = None
    usage: MessageUsage | None = None
    error: Raw = Raw()


_event = msgspec.json.Decoder(Event)


def read_event(payload: bytes) -> Event:
    """One event. Raises Malformed."""
    return decode_answer(payload, _event, "an event of a message")


class _ToolUse:
    """A tool call whose block is open."""

    __slots__ = ("given", "number", "written")

    def __init__(self, number: int, given: Raw) -> None:
        self.number = number
        self.given = given
        """The whole input, where the block began with it."""
        self.written = False
        """Some of its arguments have come by themselves."""


class Reader:
    """The state of one stream being read. ``created``: the time its chunks are to bear, seconds since 1970."""

    __slots__ = ("_calls", "_created", "_done", "_id", "_model", "_open", "_told", "_usage")

    def __init__(self, created: int = 0) -> None:
        self._created = created
        self._id = ""
        self._model = ""
        self._usage = MessageUsage()
        self._told: bytes | None = None
        """The usage as it was last told."""
        self._open: dict[int, _ToolUse] = {}
        self._calls = 0
        self._done = False

    def read(self, payload: bytes) -> list[bytes]:
        """One event's payload as chat chunks, none or several; ``[DONE]`` ends them. Raises Malformed.

        An error event is one payload ``{"error": {"message", "type"}}``.
        """
        if self._done:
            return []
        if payload == DONE:  # no event of this API, but some who offer it end with it
            return self._end()
        event = read_event(payload)
        match event.type:
            case "content_block_delta":
                chunks = self._read_delta(event)
            case "content_block_start":
                chunks = self._start_block(event)
            case "content_block_stop":
                chunks = self._stop_block(event)
            case "message_start":
                chunks = self._start(event, payload)
            case "message_delta":
                chunks = self._read_message_delta(event)
            case "message_stop":
                chunks = self._end()
            case _:
                chunks = _read_error(event)
        return chunks

    def _chunk(self, delta: dict[str, object], **more: object) -> bytes:
        return self._write([{"index": 0, "delta": delta, "finish_reason": None, **more}])

    def _write(self, choices: list[dict[str, object]], **more: object) -> bytes:
        return encoder.encode(
            {
                "id": self._id,
                "object": "chat.completion.chunk",
                "created": self._created,
                "model": self._model,
                "choices": choices,
                **more,
            }
        )

    def _start(self, event: Event, payload: bytes) -> list[bytes]:
        started = event.message or Started()
        self._id = make_id("", started.id, payload)
        self._model = started.model or ""
        if started.usage is not None:
            self._usage.update(started.usage)
        return [self._chunk({"role": "assistant", "content": ""})]

    def _start_block(self, event: Event) -> list[bytes]:
        block = event.content_block
        if block is None or event.index is None:
            raise Malformed("not an event of a message: a block starts without an index or a type")
        match block.type:
            case "text":
                return [self._chunk({"content": block.text})] if block.text else []
            case "thinking":
                return [self._chunk({"reasoning_content": block.thinking})] if block.thinking else []
            case "tool_use":
                return [self._start_call(block, event.index)]
            case _:
                return []

    def _start_call(self, block: Block, index: int) -> bytes:
        if not block.id or not block.name:
            raise Malformed("not an event of a message: a tool use without an id or a name")
        self._open[index] = call = _ToolUse(self._calls, block.input)
        self._calls += 1
        function = {"name": block.name, "arguments": ""}
        return self._chunk(
            {"tool_calls": [{"index": call.number, "id": block.id, "type": "function", "function": function}]}
        )

    def _read_delta(self, event: Event) -> list[bytes]:
        delta = event.delta
        if delta is None:
            raise Malformed("not an event of a message: a delta without one")
        match delta.type:
            case "text_delta":
                return [self._chunk({"content": delta.text})] if delta.text else []
            case "thinking_delta":
                return [self._chunk({"reasoning_content": delta.thinking})] if delta.thinking else []
            case "input_json_delta":
                call = self._open.get(-1 if event.index is None else event.index)
                # (Server tools are called with such deltas too.)
                if call is None or not delta.partial_json:
                    return []
                call.written = True
                return [self._add_arguments(call, delta.partial_json)]
            case _:
                return []

    def _add_arguments(self, call: _ToolUse, arguments: str) -> bytes:
        return self._chunk({"tool_calls": [{"index": call.number, "function": {"arguments": arguments}}]})

    def _stop_block(self, event: Event) -> list[bytes]:
        call = self._open.pop(-1 if event.index is None else event.index, None)
        return [] if call is None else self._close_call(call)

    def _close_call(self, call: _ToolUse) -> list[bytes]:
        """Complete the arguments of a call that had none piece by piece: chat clients parse them."""
        if call.written:
            return []
        try:
            whole = bytes(call.given).decode() if is_present(call.given) else "{}"
        except UnicodeDecodeError:
            raise Malformed("not an event of a message: a tool use whose input is not UTF-8") from None
        return [self._add_arguments(call, whole)]

    def _read_message_delta(self, event: Event) -> list[bytes]:
        if event.usage is not None:
            self._usage.update(event.usage)
        delta = event.delta
        if delta is None or delta.stop_reason is None:
            return []
        chunks = [chunk for call in self._open.values() for chunk in self._close_call(call)]
        self._open.clear()
        said: dict[str, object] = {}
        if delta.stop_details is not None and delta.stop_details.explanation:
            said["refusal"] = delta.stop_details.explanation
        more: dict[str, object] = {"finish_reason": get_finish_reason(delta.stop_reason)}
        if delta.stop_sequence is not None:
            more["stop_reason"] = delta.stop_sequence
        return [*chunks, self._chunk(said, **more), *self._tell_usage()]

    def _tell_usage(self) -> list[bytes]:
        """The usage so far, where it has not been told yet: it may be the last that comes."""
        told = encoder.encode(self._usage)
        if told == self._told or self._usage.output_tokens is None:
            return []
        self._told = told
        return [self._write([], usage=self._usage.to_chat())]

    def _end(self) -> list[bytes]:
        self._done = True
        return [*self._tell_usage(), DONE]


def _read_error(event: Event) -> list[bytes]:
    """An error event, or one that holds an error, by whatever name; nothing for any other."""
    if is_present(event.error):
        return [encoder.encode({"error": event.error})]
    return [encoder.encode({"error": {"message": "an error event that says nothing"}})] if event.type == "error" else []
