"""The Responses API's event stream as a chat stream: what each native event means in chat's terms.

What a chat has words for is said in them: text, reasoning, refusals, calls of functions, the finish and the usage. Any
other item (a web search, a call of a custom tool) is said to be there, as a tool call of its own type, so that nobody
takes the answer for one that its text alone would continue.

Endpoints differ in which events they send for the same text. The deltas count; what a closing event holds beyond them
is added then, so that the text read is the text of the finished Response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import ClassVar

import msgspec

from providerrank.wire.errors import Malformed
from providerrank.wire.raw import Raw, is_present
from providerrank.wire.responses_chat import UNREADABLE, Position, read_logprobs, read_time
from providerrank.wire.responses_items import OUTPUT_TEXT, REASONING_TEXT, REFUSAL, SUMMARY_TEXT
from providerrank.wire.responses_native import (
    NativeItem,
    NativeResponse,
    write_finish,
    write_native_usage,
)
from providerrank.wire.sse import DONE

_encoder = msgspec.json.Encoder()


class _Event(msgspec.Struct):
    type: str | None = None
    output_index: Position = 0
    content_index: Position = 0
    summary_index: Position = 0
    delta: Raw = Raw()
    item: NativeItem | None = None
    response: NativeResponse | None = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    logprobs: Raw = Raw()
    error: Raw = Raw()
    message: str | None = None
    code: Raw = Raw()
    param: str | None = None


_event = msgspec.json.Decoder(_Event)
_str = msgspec.json.Decoder(str)

KINDS = {
    "response.output_text": OUTPUT_TEXT,
    "response.refusal": REFUSAL,
    "response.reasoning_text": REASONING_TEXT,
    "response.reasoning_summary_text": SUMMARY_TEXT,
}
"""What events about a part's text are called."""
TEXT_EVENTS = tuple(f"{what}.{phase}" for what in KINDS for phase in ("delta", "done"))
CHAT_FIELDS = {
    OUTPUT_TEXT: "content",
    REFUSAL: "refusal",
    REASONING_TEXT: "reasoning_content",
    SUMMARY_TEXT: "reasoning_content",
}
ARGUMENTS = "arguments"
PROSE = frozenset({"message", "reasoning"})
"""Items that are nothing but their parts."""
SILENT = frozenset(
    {
        "response.queued",
        "response.in_progress",
        "response.content_part.added",
        "response.content_part.done",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_part.done",
        "response.output_text.annotation.added",
    }
)
"""Events that say nothing a chat would."""


class Reader:
    """The state of one native stream."""

    __slots__ = ("_calls", "_created", "_id", "_is_done", "_model", "_sent", "_thinking")

    def __init__(self) -> None:
        self._id: str | None = None
        self._model: str | None = None
        self._created = 0
        self._is_done = False
        self._sent: dict[tuple[int, str, int], int] = {}
        """How many characters of a part were read: by place in the output, kind, place in the item."""
        self._calls: dict[int, int] = {}
        """The chat index of a call, by its place in the output."""
        self._thinking: dict[int, str] = {}
        """Which of its two forms the reasoning at a place of the output is read in: the one that came first."""

    def read(self, payload: bytes) -> list[bytes]:
        """The chat chunks one event means; ``[DONE]`` is the last, after a whole answer. Raises Malformed."""
        if self._is_done:
            return []
        if payload == DONE:
            self._is_done = True
            return [DONE]
        try:
            event = _event.decode(payload)
        except UNREADABLE:
            raise Malformed("a stream event is not a JSON event") from None
        name = event.type
        if name is None and not is_present(event.error):
            raise Malformed("a stream event has no type")
        handler = self._HANDLERS.get(name or "error")
        if handler is not None:
            return handler(self, event)
        # Silent, or progress of something a chat has no word for.
        return [] if name in SILENT else [self._chunk({})]

    # ---- one kind of event each ---------------------------------------------------------------------------------

    def _create(self, event: _Event) -> list[bytes]:
        response = _response(event)
        self._id = response.id
        self._model = response.model
        self._created = read_time(response.created_at)
        return [self._chunk({"role": "assistant", "content": ""})]

    def _read_text(self, event: _Event) -> list[bytes]:
        what, _, phase = (event.type or "").rpartition(".")
        kind = KINDS[what]
        index = event.summary_index if kind == SUMMARY_TEXT else event.content_index
        if phase == "delta":
            return self._say(event.output_index, kind, index, _text(event.delta), _read_logprobs(event.logprobs))
        whole = event.refusal if kind == REFUSAL else event.text
        return self._say_rest(event.output_index, kind, index, whole or "")

    def _read_arguments(self, event: _Event) -> list[bytes]:
        return self._argue(event.output_index, _text(event.delta))

    def _read_all_arguments(self, event: _Event) -> list[bytes]:
        return self._argue_rest(event.output_index, event.arguments or "")

    def _begin_item(self, event: _Event) -> list[bytes]:
        item = _item(event)
        return [] if item.type in PROSE else self._begin_call(event.output_index, item)

    def _finish_item(self, event: _Event) -> list[bytes]:
        return self._say_item(event.output_index, _item(event))

    def _end(self, event: _Event) -> list[bytes]:
        response = _response(event)
        chunks: list[bytes] = []
        for index, item in enumerate(response.output or ()):
            chunks += self._say_item(index, item)
        chunks.append(self._chunk({}, write_finish(response)))
        usage = write_native_usage(response)
        if usage is not None:
            chunks.append(_encoder.encode(self._head() | {"choices": [], "usage": usage}))
        self._is_done = True
        return [*chunks, DONE]

    def _fail(self, event: _Event) -> list[bytes]:
        self._is_done = True
        given = event.error if event.response is None else event.response.error
        error: object = given
        if not is_present(given):
            error = {
                "message": event.message or "the response failed",
                "type": "error",
                "code": event.code if is_present(event.code) else None,
                "param": event.param,
            }
        return [_encoder.encode({"error": error})]

    _HANDLERS: ClassVar[Mapping[str, Callable[[Reader, _Event], list[bytes]]]] = MappingProxyType(
        {
            "error": _fail,
            "response.cancelled": _fail,
            "response.completed": _end,
            "response.created": _create,
            "response.failed": _fail,
            "response.function_call_arguments.delta": _read_arguments,
            "response.function_call_arguments.done": _read_all_arguments,
            "response.incomplete": _end,
            "response.output_item.added": _begin_item,
            "response.output_item.done": _finish_item,
        }
        | dict.fromkeys(TEXT_EVENTS, _read_text)
    )

    # ---- what is said -------------------------------------------------------------------------------------------

    def _say(
        self, output_index: int, kind: str, index: int, text: str, logprobs: list[object] | None = None
    ) -> list[bytes]:
        """Text of a part, as a chunk."""
        self._count((output_index, kind, index), text)
        is_thought = CHAT_FIELDS[kind] == "reasoning_content"
        if not text or (is_thought and self._thinking.setdefault(output_index, kind) != kind):
            return []
        return [self._chunk({CHAT_FIELDS[kind]: text}, logprobs=logprobs)]

    def _say_rest(self, output_index: int, kind: str, index: int, whole: str) -> list[bytes]:
        """A closing event holds all of a part's text: what was not said yet is said now."""
        return self._say(output_index, kind, index, whole[self._sent.get((output_index, kind, index), 0) :])

    def _say_item(self, output_index: int, item: NativeItem) -> list[bytes]:
        """A whole item: what of it no event before said."""
        chunks: list[bytes] = []
        match item.type:
            case "message":
                for index, part in enumerate(item.content or ()):
                    if part.type == REFUSAL:
                        chunks += self._say_rest(output_index, REFUSAL, index, part.refusal)
                    elif part.type == OUTPUT_TEXT:
                        chunks += self._say_rest(output_index, OUTPUT_TEXT, index, part.text)
            case "reasoning":
                for kind, parts in ((REASONING_TEXT, item.content), (SUMMARY_TEXT, item.summary)):
                    for index, part in enumerate(parts or ()):
                        chunks += self._say_rest(output_index, kind, index, part.text)
            case _ if output_index not in self._calls:
                chunks = self._begin_call(output_index, item)
            case "function_call":
                chunks = self._argue_rest(output_index, item.arguments)
        return chunks

    def _begin_call(self, output_index: int, item: NativeItem) -> list[bytes]:
        index = len(self._calls)
        self._calls[output_index] = index
        call: dict[str, object] = {"index": index, "id": item.id, "type": item.type}
        if item.type == "function_call":
            self._count((output_index, ARGUMENTS, 0), item.arguments)
            function = {"name": item.name, "arguments": item.arguments}
            call = {"index": index, "id": item.call_id, "type": "function", "function": function}
        return [self._chunk({"tool_calls": [call]})]

    def _argue(self, output_index: int, text: str) -> list[bytes]:
        """More of a call's arguments."""
        if output_index not in self._calls:
            raise Malformed("arguments of a call that was not begun")
        self._count((output_index, ARGUMENTS, 0), text)
        call = {"index": self._calls[output_index], "function": {"arguments": text}}
        return [self._chunk({"tool_calls": [call]})] if text else []

    def _argue_rest(self, output_index: int, whole: str) -> list[bytes]:
        return self._argue(output_index, whole[self._sent.get((output_index, ARGUMENTS, 0), 0) :])

    def _count(self, place: tuple[int, str, int], text: str) -> None:
        self._sent[place] = self._sent.get(place, 0) + len(text)

    # ---- chunks -------------------------------------------------------------------------------------------------

    def _head(self) -> dict[str, object]:
        return {"id": self._id, "object": "chat.completion.chunk", "created": self._created, "model": self._model}

    def _chunk(
        self, delta: dict[str, object], finish: str | None = None, logprobs: list[object] | None = None
    ) -> bytes:
        choice: dict[str, object] = {"index": 0, "delta": delta, "finish_reason": finish}
        if logprobs:
            choice["logprobs"] = {"content": logprobs}
        return _encoder.encode(self._head() | {"choices": [choice]})


def _item(event: _Event) -> NativeItem:
    if event.item is None:
        raise Malformed(f"a {event.type} event without its item")
    return event.item


def _response(event: _Event) -> NativeResponse:
    if event.response is None:
        raise Malformed(f"a {event.type} event without its response")
    return event.response


def _text(delta: Raw) -> str:
    try:
        return _str.decode(delta)
    except UNREADABLE:
        raise Malformed("a delta is not text") from None


def _read_logprobs(raw: Raw) -> list[object]:
    """The log-probabilities of a delta, as a chat has them."""
    return read_logprobs(Raw(b'{"content":' + bytes(raw) + b"}")) if is_present(raw) else []
