"""Following a native Responses stream that is passed on as it comes: what the client has of it so far.

Only what going on from there needs is kept: the Response's own fields, its items with their text, what is still open,
and the number of the next event. What cannot be read is passed over: whoever judges the stream has refused it already.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.raw import Raw, is_present
from providerrank.wire.responses_chat import UNREADABLE, Position
from providerrank.wire.responses_items import (
    MESSAGE,
    OUTPUT_TEXT,
    REASONING,
    REASONING_TEXT,
    REFUSAL,
    SUMMARY_TEXT,
    Item,
    Part,
)


class _Event(msgspec.Struct):
    type: str
    sequence_number: Position | None = None
    output_index: Position = 0
    content_index: Position = 0
    summary_index: Position = 0
    response: dict[str, Raw] | None = None
    item: Raw = Raw()
    part: Raw = Raw()
    delta: Raw = Raw()
    annotation: Raw = Raw()
    logprobs: Raw = Raw()


class _Item(msgspec.Struct):
    type: str
    id: str = ""
    call_id: str = ""
    name: str = ""


class _Part(msgspec.Struct):
    type: str


_event = msgspec.json.Decoder(_Event)
_item = msgspec.json.Decoder(_Item)
_part = msgspec.json.Decoder(_Part)
_str = msgspec.json.Decoder(str)
_raws = msgspec.json.Decoder(list[Raw])

LIFECYCLE = frozenset({"response.created", "response.queued", "response.in_progress"})
ENDS = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"})
DELTAS = {
    "response.output_text.delta": OUTPUT_TEXT,
    "response.refusal.delta": REFUSAL,
    "response.reasoning_text.delta": REASONING_TEXT,
    "response.reasoning_summary_text.delta": SUMMARY_TEXT,
}
PARTS_ADDED = frozenset({"response.content_part.added", "response.reasoning_summary_part.added"})
PARTS_DONE = frozenset({"response.content_part.done", "response.reasoning_summary_part.done"})
CHANGING = ("output", "usage", "status", "error", "incomplete_details", "completed_at")
"""Fields of a Response that its last event says anew."""


class Follower:
    """What the client of one Response stream has so far, whoever wrote it."""

    __slots__ = ("base", "is_closed", "is_created", "items", "next_number", "prose", "response_id")

    def __init__(self) -> None:
        self.base: dict[str, object] = {}
        """The Response's fields, as its first event had them."""
        self.response_id = ""
        self.items: dict[int, Item] = {}
        """By place in the output."""
        self.prose: Item | None = None
        """The message or reasoning that is open."""
        self.next_number = 0
        self.is_created = False
        self.is_closed = False

    @property
    def next_index(self) -> int:
        """The place of the next item in the output."""
        return max(self.items, default=-1) + 1

    def follow(self, payload: bytes) -> None:
        """Take one native event in. Never raises."""
        try:
            event = _event.decode(payload)
            if event.sequence_number is not None:
                self.next_number = event.sequence_number + 1
            self._take(event)
        except UNREADABLE:
            pass

    def _take(self, event: _Event) -> None:
        name = event.type
        if name in DELTAS:
            self._take_text(event, DELTAS[name])
        elif name in LIFECYCLE:
            self._take_response(event)
        elif name in ENDS:
            self.is_closed = True
        elif name == "response.output_item.added":
            self._take_item(event)
        elif name == "response.output_item.done":
            self._take_whole_item(event)
        elif name in PARTS_ADDED:
            self._get_part(event, _part.decode(event.part).type)
        elif name in PARTS_DONE:
            self._get_part(event, _part.decode(event.part).type).is_open = False
        elif name == "response.function_call_arguments.delta":
            item = self.items.get(event.output_index)
            if item is not None:
                item.arguments.append(_str.decode(event.delta))
        elif name == "response.output_text.annotation.added":
            self._get_part(event, OUTPUT_TEXT).annotations.append(event.annotation)

    def _take_response(self, event: _Event) -> None:
        if event.response is None:
            return
        self.base = {name: value for name, value in event.response.items() if name not in CHANGING}
        self.base |= {"status": "in_progress", "error": None, "incomplete_details": None, "output": [], "usage": None}
        self.response_id = _str.decode(event.response.get("id", Raw(b'""')))
        self.is_created = True

    def _take_item(self, event: _Event) -> None:
        given = _item.decode(event.item)
        item = Item(given.type, event.output_index, given.id)
        item.call_id = given.call_id
        item.name = given.name
        self.items[event.output_index] = item
        if given.type in (MESSAGE, REASONING):
            self.prose = item
        elif given.type != "function_call":
            item.raw = event.item

    def _take_whole_item(self, event: _Event) -> None:
        given = _item.decode(event.item)
        item = self.items.setdefault(event.output_index, Item(given.type, event.output_index, given.id))
        item.raw = event.item
        item.close("completed")
        if self.prose is item:
            self.prose = None

    def _take_text(self, event: _Event, kind: str) -> None:
        part = self._get_part(event, kind)
        part.texts.append(_str.decode(event.delta))
        if kind == OUTPUT_TEXT and is_present(event.logprobs):
            part.logprobs += _raws.decode(event.logprobs)

    def _get_part(self, event: _Event, kind: str) -> Part:
        """The part an event is about, begun where no event said so."""
        item = self.items.get(event.output_index)
        if item is None:
            item = Item(REASONING if kind in (REASONING_TEXT, SUMMARY_TEXT) else MESSAGE, event.output_index, "")
            self.items[event.output_index] = item
            self.prose = item
        index = event.summary_index if kind == SUMMARY_TEXT else event.content_index
        for part in item.parts:
            if part.index == index and (part.kind == SUMMARY_TEXT) == (kind == SUMMARY_TEXT):
                return part
        return item.begin_part(kind, index)
