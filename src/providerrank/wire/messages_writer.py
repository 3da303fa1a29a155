"""A stream of chat chunks, written as an event stream of Anthropic's Messages API.

Text, thinking and each tool call is a block: it starts, grows, stops. One block is open at a time as long as the
chunks allow it: whatever follows a tool call whose arguments are a whole JSON object closes that call. Only where an
endpoint writes several calls side by side do several blocks stay open, told apart by their indexes, as the API's
clients tell them apart.

The same object can follow an answer that an endpoint tells in this API already (``note``), so that another endpoint's
chunks (``write``) go on in the block, or behind the block, where the first one was cut.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.errors import Malformed
from providerrank.wire.messages_error import write_error_event
from providerrank.wire.messages_reader import read_event
from providerrank.wire.messages_reply import decode_answer, read_matched_stop
from providerrank.wire.messages_terms import ChatUsage, get_stop_reason, make_id, write_usage
from providerrank.wire.nested import encoder
from providerrank.wire.raw import Raw
from providerrank.wire.sse import DONE

TEXT = "text"
THINKING = "thinking"
OTHER = "other"
"""A block that others' chunks can not go on in."""


class _Called(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _CallDelta(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Called | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallDelta] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    index: int = 0
    finish_reason: str | None = None
    stop_reason: Raw = Raw()
    matched_stop: Raw = Raw()


class _Chunk(msgspec.Struct):
    id: str | None = None
    choices: list[_Choice] | None = None
    usage: ChatUsage | None = None


_chunk = msgspec.json.Decoder(_Chunk)
_object = msgspec.json.Decoder(dict[str, Raw])


class _Call:
    """A tool call being written: its block's index, None until its name is known."""

    __slots__ = ("arguments", "block", "id", "name")

    def __init__(self, identity: str) -> None:
        self.id = identity
        self.name = ""
        self.arguments: list[str] = []
        self.block: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are a JSON object, to which nothing can be added."""
        if not self.arguments or not self.arguments[-1].rstrip().endswith("}"):
            return False
        try:
            _object.decode("".join(self.arguments))
        except (msgspec.MsgspecError, RecursionError):
            return False
        return True


class Writer:
    """The state of one answer being written, for a client that called the model ``model``.

    ``prompt_tokens``: what the stream says at its start; its end says what was really used.
    """

    __slots__ = (
        "_block",
        "_called",
        "_calls",
        "_closed",
        "_finish",
        "_id",
        "_kind",
        "_last_call",
        "_left",
        "_model",
        "_next",
        "_over",
        "_prompt_tokens",
        "_refuses",
        "_stop",
        "_stopped",
        "_usage",
    )

    def __init__(self, model: str, prompt_tokens: int = 0) -> None:
        self._model = model
        self._prompt_tokens = prompt_tokens
        self._id: str | None = None
        self._next = 0
        """The index of the next block."""
        self._kind = ""
        """What the open block that is no tool call holds; empty where none is open."""
        self._block = 0
        self._left: list[int] = []
        """Other blocks that native events left open."""
        self._calls: dict[int, _Call] = {}
        """The tool calls that are open, by the index their chunks bear."""
        self._closed: set[int] = set()
        """The indexes of calls that are complete."""
        self._last_call = -1
        self._called = False
        self._finish: str | None = None
        self._stop: str | None = None
        """The stop sequence that was met."""
        self._stopped = False
        """A native event told the stop reason."""
        self._refuses = False
        self._usage: ChatUsage | None = None
        self._over = False

    def write(self, payload: bytes) -> bytes:
        """One chat chunk as events, none or several. Raises Malformed where it is none."""
        if self._over or payload == DONE:
            return b""
        chunk = decode_answer(payload, _chunk, "a chat chunk")
        if chunk.usage is not None:
            self._usage = chunk.usage
        out: list[bytes] = []
        self._begin(out, chunk.id, payload)
        for choice in chunk.choices or ():
            if not choice.index:
                self._write_choice(choice, out)
        return b"".join(out)

    def note(self, payload: bytes) -> None:
        """Follow an event of this API that was passed on as it came. What is no such event is passed over."""
        try:
            event = read_event(payload)
        except Malformed:
            return
        match event.type:
            case "message_start":
                self._id = (event.message and event.message.id) or "msg"
            case "content_block_start" if event.index is not None:
                self._next = max(self._next, event.index + 1)
                kind = event.content_block.type if event.content_block is not None else OTHER
                self._called = self._called or kind == "tool_use"
                if self._kind:
                    self._left.append(self._block)
                self._block, self._kind = event.index, kind if kind in (TEXT, THINKING) else OTHER
            case "content_block_stop" if event.index == self._block:
                self._kind = ""
            case "content_block_stop" if event.index in self._left:
                self._left.remove(event.index)
            case "message_delta" if event.delta is not None and event.delta.stop_reason is not None:
                self._stopped = True
            case "message_stop" | "error":
                self._over = True
            case _:
                pass

    def end(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """The events that close a whole answer which took so many tokens; none where it is closed already."""
        if self._over:
            return b""
        self._over = True
        out: list[bytes] = []
        if not self._stopped:
            self._begin(out, None, b"")
            self._close_block(out)
            for number in list(self._calls):
                self._close_call(number, out)
            reason = get_stop_reason(
                self._finish, calls_tools=self._called, refuses=self._refuses, stop_sequence=self._stop
            )
            out.append(
                _write_event(
                    "message_delta",
                    delta={"stop_reason": reason, "stop_sequence": self._stop if reason == "stop_sequence" else None},
                    usage=write_usage(self._usage, prompt_tokens, completion_tokens),
                )
            )
        out.append(_write_event("message_stop"))
        return b"".join(out)

    def error(self, message: str, kind: str) -> bytes:
        """The event that ends an answer which can not be completed; nothing is written after it."""
        if self._over:
            return b""
        self._over = True
        return write_error_event(message, kind)

    def _begin(self, out: list[bytes], given: str | None, payload: bytes) -> None:
        if self._id is not None:
            return
        self._id = make_id("msg_", given, payload)
        message: dict[str, object] = {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(None, self._prompt_tokens, 0),
        }
        out.append(_write_event("message_start", message=message))

    def _write_choice(self, choice: _Choice, out: list[bytes]) -> None:
        delta = choice.delta
        if delta is not None:
            thought = delta.reasoning_content or delta.reasoning
            if thought:
                self._grow(THINKING, "thinking_delta", thought, out)
            if delta.content:
                self._grow(TEXT, "text_delta", delta.content, out)
            if delta.refusal:
                self._refuses = True
                self._grow(TEXT, "text_delta", delta.refusal, out)
            for call in delta.tool_calls or ():
                self._grow_call(call, out)
        if choice.finish_reason is not None:
            self._finish = choice.finish_reason
            self._stop = read_matched_stop(choice.stop_reason, choice.matched_stop)

    def _grow(self, kind: str, delta: str, text: str, out: list[bytes]) -> None:
        """Add to the open block of text or thinking; open one where another kind is open."""
        if self._kind != kind:
            self._close_block(out)
            self._close_whole_calls(out)
            block: dict[str, object] = {"type": kind, kind: ""}
            if kind == THINKING:
                block["signature"] = ""
            self._kind, self._block = kind, self._open(block, out)
        out.append(_write_event("content_block_delta", index=self._block, delta={"type": delta, kind: text}))

    def _open(self, block: dict[str, object], out: list[bytes]) -> int:
        index = self._next
        self._next += 1
        out.append(_write_event("content_block_start", index=index, content_block=block))
        return index

    def _close_block(self, out: list[bytes]) -> None:
        if self._kind:
            out.append(_write_event("content_block_stop", index=self._block))
            self._kind = ""
        out += [_write_event("content_block_stop", index=index) for index in self._left]
        self._left.clear()

    def _grow_call(self, given: _CallDelta, out: list[bytes]) -> None:
        called = given.function or _Called()
        number = self._last_call = self._get_number(given)
        call = self._calls.get(number)
        if call is None or (given.id and called.name and call.block is not None and given.id != call.id):
            # (Some endpoints give every call the same index: another id with a name is another call.)
            if call is None and number in self._closed and not called.name:
                return  # behind a whole object only white space can follow
            self._close_block(out)
            if call is not None:
                self._close_call(number, out)
            self._close_whole_calls(out)
            call = self._begin_call(number)
        if call.block is None:
            call.id = given.id or call.id
            if called.name:
                call.name = called.name
                call.block = self._start_call(call, out)
        if called.arguments:
            call.arguments.append(called.arguments)
            if call.block is not None:
                self._add_arguments(call.block, called.arguments, out)

    def _get_number(self, given: _CallDelta) -> int:
        """Which call a delta belongs to; where it has no index, the last one unless it names another id."""
        if given.index is not None:
            return given.index
        last = self._calls.get(self._last_call)
        if not given.id or (last is not None and last.id == given.id):
            return max(self._last_call, 0)
        return self._last_call + 1

    def _begin_call(self, number: int) -> _Call:
        self._called = True
        self._calls[number] = call = _Call(f"toolu_{(self._id or '').removeprefix('msg_')}_{number}")
        return call

    def _start_call(self, call: _Call, out: list[bytes]) -> int:
        index = self._open({"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, out)
        waiting = "".join(call.arguments)
        if waiting:
            self._add_arguments(index, waiting, out)
        return index

    def _add_arguments(self, block: int, text: str, out: list[bytes]) -> None:
        delta = {"type": "input_json_delta", "partial_json": text}
        out.append(_write_event("content_block_delta", index=block, delta=delta))

    def _close_call(self, number: int, out: list[bytes]) -> None:
        call = self._calls.pop(number)
        self._closed.add(number)
        # (One that was never named is told all the same.)
        block = self._start_call(call, out) if call.block is None else call.block
        out.append(_write_event("content_block_stop", index=block))

    def _close_whole_calls(self, out: list[bytes]) -> None:
        for number in [number for number, call in self._calls.items() if call.is_whole]:
            self._close_call(number, out)


def _write_event(kind: str, **fields: object) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + encoder.encode({"type": kind, **fields}) + b"\n\n"
