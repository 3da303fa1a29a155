"""A chat stream as the Responses API's event stream.

A Response is streamed as a tree that grows: items hold parts, parts hold text, and each opens and closes by events of
its own, numbered throughout::

    response.created, response.in_progress
        response.output_item.added
            response.content_part.added
                response.output_text.delta ...
                response.output_text.done
            response.content_part.done
        response.output_item.done
    response.completed

Chat has no such frame: one is put around what it says. Words and thoughts are written one item at a time: what begins
another closes the one before. Calls stay open until the end, since a chat may go back to an earlier one.

Where an endpoint spoke the Responses API itself and its events were passed on, ``note`` keeps the same tree from them;
if that endpoint then fails, ``write`` goes on at the place it had got to.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.errors import Malformed
from providerrank.wire.responses_chat import (
    UNREADABLE,
    Said,
    ToolCall,
    answer_decoder,
    read_annotations,
    read_logprobs,
    read_text,
    read_time,
    read_usage,
)
from providerrank.wire.responses_follow import Follower
from providerrank.wire.responses_items import (
    CALL,
    INCOMPLETE,
    MESSAGE,
    OUTPUT_TEXT,
    REASONING,
    REASONING_TEXT,
    REFUSAL,
    SUMMARY_TEXT,
    TEXT_FIELDS,
    ChatUsage,
    Item,
    Part,
    make_item_id,
    make_response_id,
    write_echo,
    write_usage,
)

_encoder = msgspec.json.Encoder()

OWNERS = {OUTPUT_TEXT: MESSAGE, REFUSAL: MESSAGE, REASONING_TEXT: REASONING}
"""The kind of item a part belongs to."""
EVENTS = {
    OUTPUT_TEXT: "response.output_text",
    REFUSAL: "response.refusal",
    REASONING_TEXT: "response.reasoning_text",
    SUMMARY_TEXT: "response.reasoning_summary_text",
}
"""What events about a part's text are called."""

ERROR_CODES = frozenset({"server_error", "rate_limit_exceeded", "invalid_prompt"})
"""Of those a failed Response may have, the ones that can be ours."""


class Writer:
    """The state of one Response's stream."""

    __slots__ = ("_asked", "_calls", "_finish", "_follower", "_model", "_usage")

    def __init__(self, model: str, asked: Fields | None = None) -> None:
        self._model = model
        self._asked = asked
        """The client's own request, of which a Response repeats a part."""
        self._follower = Follower()
        self._calls: dict[int, Item] = {}
        """Calls by the index they have in the chat."""
        self._finish: str | None = None
        self._usage: ChatUsage | None = None

    def note(self, payload: bytes) -> None:
        """A native event was passed on as it came: keep in step with it. Never raises."""
        self._follower.follow(payload)

    def write(self, payload: bytes) -> bytes:
        """What one chat chunk adds, as events. Raises Malformed where it is no chunk."""
        try:
            chunk = answer_decoder.decode(payload)
        except UNREADABLE:
            raise Malformed("a stream event is not a JSON event") from None
        out: list[bytes] = []
        tree = self._follower
        if tree.is_closed:
            return b""
        if not tree.is_created:
            self._create(out, make_response_id(chunk.id, payload), read_time(chunk.created))
        self._usage = read_usage(chunk.usage) or self._usage
        for choice in chunk.choices or ():
            if choice.index:
                continue  # only one answer is ever asked for
            if choice.delta is not None:
                self._say(out, choice.delta, read_logprobs(choice.logprobs))
            self._finish = choice.finish_reason or self._finish
        return b"".join(out)

    def end(self, prompt_tokens: int, completion_tokens: int) -> bytes:
        """The events that close a whole answer; none where native ones already did."""
        tree = self._follower
        if tree.is_closed:
            return b""
        out: list[bytes] = []
        if not tree.is_created:
            self._create(out, make_response_id(None, b""), 0)
        reason = INCOMPLETE.get(self._finish or "")
        open_items = [item for item in tree.items.values() if item.is_open]
        for item in open_items:
            is_cut = reason is not None and item is open_items[-1]
            self._close(out, item, "incomplete" if is_cut else "completed")
        status = "completed" if reason is None else "incomplete"
        response = tree.base | {
            "status": status,
            "incomplete_details": None if reason is None else {"reason": reason},
            "output": self._write_output(),
            "usage": write_usage(prompt_tokens, completion_tokens, self._usage),
        }
        self._emit(out, f"response.{status}", response=response)
        tree.is_closed = True
        return b"".join(out)

    def error(self, message: str, kind: str) -> bytes:
        """The events that say the answer can not be finished; nothing follows them.

        The ``error`` event holds its words twice: flat, as the API has it, and under ``error``, which is what makes
        the official clients raise.
        """
        tree = self._follower
        if tree.is_closed:
            return b""
        out: list[bytes] = []
        if tree.is_created:
            code = kind if kind in ERROR_CODES else "server_error"
            response = tree.base | {
                "status": "failed",
                "error": {"code": code, "message": message},
                "output": self._write_output("incomplete"),
                "usage": None,
            }
            self._emit(out, "response.failed", response=response)
        words = {"code": kind, "message": message, "param": None}
        self._emit(out, "error", **words, error=words | {"type": kind})
        tree.is_closed = True
        return b"".join(out)

    # ---- what a chunk says --------------------------------------------------------------------------------------

    def _say(self, out: list[bytes], said: Said, logprobs: list[object]) -> None:
        if said.thoughts:
            self._add(out, REASONING_TEXT, said.thoughts, [])
        text = read_text(said.content)
        if text:
            self._add(out, OUTPUT_TEXT, text, logprobs)
        if said.annotations:
            self._annotate(out, said)
        if said.refusal:
            self._add(out, REFUSAL, said.refusal, [])
        for call in said.tool_calls or ():
            self._call(out, call)

    def _add(self, out: list[bytes], kind: str, text: str, logprobs: list[object]) -> None:
        """Text goes on in the open part of its kind, or begins one."""
        item, part = self._open_part(out, kind)
        part.texts.append(text)
        if part.kind == OUTPUT_TEXT:
            part.logprobs += logprobs
            self._emit_part(out, f"{EVENTS[part.kind]}.delta", item, part, delta=text, logprobs=logprobs)
        else:
            self._emit_part(out, f"{EVENTS[part.kind]}.delta", item, part, delta=text)

    def _annotate(self, out: list[bytes], said: Said) -> None:
        for annotation in read_annotations(said.annotations):
            item, part = self._open_part(out, OUTPUT_TEXT)
            self._emit_part(
                out,
                "response.output_text.annotation.added",
                item,
                part,
                annotation_index=len(part.annotations),
                annotation=annotation,
            )
            part.annotations.append(annotation)

    def _open_part(self, out: list[bytes], kind: str) -> tuple[Item, Part]:
        """The part that text of this kind goes to."""
        tree = self._follower
        item = tree.prose
        if item is not None and item.kind != OWNERS[kind]:
            self._close(out, item, "completed")
            item = None
        if item is None:
            item = self._begin(out, OWNERS[kind])
            tree.prose = item
        part = item.parts[-1] if item.parts and item.parts[-1].is_open else None
        if part is not None and (part.kind == kind or (part.kind == SUMMARY_TEXT and kind == REASONING_TEXT)):
            # (Reasoning that began as a summary goes on as one: of both, chat has but the one.)
            return item, part
        if part is not None:
            self._close_part(out, item, part)
        part = item.begin_part(kind)
        self._emit_part(out, "response.content_part.added", item, part, part=part.write())
        return item, part

    def _call(self, out: list[bytes], call: ToolCall) -> None:
        """A call begins, or its arguments go on."""
        function = call.function
        if function is None:
            return
        index = self._find(call) if call.index is None else call.index
        item = self._calls.get(index)
        if item is None:
            if self._follower.prose is not None:
                self._close(out, self._follower.prose, "completed")
            item = self._begin(out, CALL, call.id, function.name or "")
            self._calls[index] = item
        if function.arguments:
            item.arguments.append(function.arguments)
            self._emit_item(out, "response.function_call_arguments.delta", item, delta=function.arguments)

    def _find(self, call: ToolCall) -> int:
        """The index of a call that came without: the last one's, unless it begins another."""
        last = next(reversed(self._calls), -1)
        if last < 0:
            return 0
        assert call.function is not None
        begins = bool(call.function.name) if call.id is None else call.id != self._calls[last].call_id
        return last + 1 if begins else last

    # ---- the tree -----------------------------------------------------------------------------------------------

    def _create(self, out: list[bytes], response_id: str, created_at: int) -> None:
        tree = self._follower
        tree.is_created = True
        tree.response_id = response_id
        tree.base = {
            "id": response_id,
            "object": "response",
            "created_at": created_at,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "model": self._model,
            "output": [],
            "usage": None,
        } | write_echo(self._asked)
        self._emit(out, "response.created", response=tree.base)
        self._emit(out, "response.in_progress", response=tree.base)

    def _begin(self, out: list[bytes], kind: str, call_id: str | None = None, name: str = "") -> Item:
        tree = self._follower
        index = tree.next_index
        item = Item(kind, index, make_item_id(kind, index, tree.response_id))
        item.call_id = call_id or f"call_{item.id}"
        item.name = name
        tree.items[index] = item
        self._emit(out, "response.output_item.added", output_index=index, item=item.write())
        return item

    def _close(self, out: list[bytes], item: Item, status: str) -> None:
        for part in item.parts:
            if part.is_open:
                self._close_part(out, item, part)
        if item.kind == CALL:
            arguments = "".join(item.arguments)
            self._emit_item(out, "response.function_call_arguments.done", item, name=item.name, arguments=arguments)
        item.close(status)
        if self._follower.prose is item:
            self._follower.prose = None
        self._emit(out, "response.output_item.done", output_index=item.index, item=item.write())

    def _close_part(self, out: list[bytes], item: Item, part: Part) -> None:
        part.is_open = False
        whole: dict[str, object] = {TEXT_FIELDS[part.kind]: part.text}
        if part.kind == OUTPUT_TEXT:
            whole["logprobs"] = part.logprobs
        self._emit_part(out, f"{EVENTS[part.kind]}.done", item, part, **whole)
        name = "reasoning_summary_part" if part.kind == SUMMARY_TEXT else "content_part"
        self._emit_part(out, f"response.{name}.done", item, part, part=part.write())

    def _write_output(self, open_status: str = "in_progress") -> list[object]:
        """Every item, in order; one that is still open has ``open_status``."""
        return [item.write(open_status) for _, item in sorted(self._follower.items.items())]

    # ---- events -------------------------------------------------------------------------------------------------

    def _emit(self, out: list[bytes], event: str, /, **fields: object) -> None:
        number = self._follower.next_number
        self._follower.next_number = number + 1
        body = _encoder.encode({"type": event, "sequence_number": number, **fields})
        out.append(b"event: %b\ndata: %b\n\n" % (event.encode(), body))

    def _emit_item(self, out: list[bytes], event: str, of: Item, /, **fields: object) -> None:
        self._emit(out, event, item_id=of.id, output_index=of.index, **fields)

    def _emit_part(self, out: list[bytes], event: str, of: Item, at: Part, /, **fields: object) -> None:
        place = "summary_index" if at.kind == SUMMARY_TEXT else "content_index"
        self._emit_item(out, event, of, **{place: at.index}, **fields)
