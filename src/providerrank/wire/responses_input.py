"""The Responses API's ``input`` as a chat's messages.

Input is a list of *items*, several of which make one chat message: what the assistant thought, said and called is three
items or more, and one message. So an assistant's message stays open while items that belong to it follow, and is closed
by whatever does not::

    reasoning message(assistant) function_call function_call    function_call_output function_call_output
    └─────────────── one assistant message ────────────────┘    └─ tool message ──┘ └─ tool message ──┘

A tool message is text: what else a call returned follows, once its results are told, as the user's, under a line that
names the call. Thoughts count until the user speaks again, as the API itself has it; then they are left out.

Left out without a word: ids and statuses of items, annotations, cache breakpoints. Left out and named: items and parts
that only a provider's own state gives a meaning (references, uploaded files, calls of built-in tools, thoughts that are
encrypted or kept elsewhere).
"""

from __future__ import annotations

import msgspec

from providerrank.wire.lost import Losses
from providerrank.wire.nested import decode, refuse, require
from providerrank.wire.raw import Raw, is_present
from providerrank.wire.responses_parts import Part, read_parts, read_said, to_content


class _Item(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    content: Raw = Raw()
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    output: Raw = Raw()


class _Thought(msgspec.Struct):
    text: str = ""


_text_or_list: msgspec.json.Decoder[str | list[Raw]] = msgspec.json.Decoder(str | list[Raw])
_item = msgspec.json.Decoder(_Item)
_thoughts = msgspec.json.Decoder(list[_Thought])

ROLES = {"user": "user", "system": "system", "developer": "system", "assistant": "assistant"}
"""``developer`` is ``system`` by another name, which templates of open models do not know."""

# What to put where something is missing.
A_ROLE = "it must be user, assistant, system or developer"
A_CONTENT = "give it a string or a list of content parts"
A_NAME = "name the function that was called"
THE_ARGUMENTS = "give the call's arguments as a JSON string"
A_CALL = "give the id of the call"

Message = dict[str, object]


def read_input(given: Raw, lost: Losses) -> list[Message]:
    """The messages ``input`` stands for; what they can not carry is added to ``lost``.

    Raises BadRequest, naming the place, where it is malformed.
    """
    items = decode(given, _text_or_list, "input")
    if isinstance(items, str):
        return [{"role": "user", "content": items}]
    conversation = _Conversation(lost)
    for index, raw in enumerate(items):
        conversation.take(raw, f"input[{index}]")
    return conversation.finish()


class _Conversation:
    """Messages so far; the last one may still be open."""

    def __init__(self, lost: Losses) -> None:
        self._lost = lost
        self._messages: list[Message] = []
        self._open: Message | None = None
        """The assistant's message that calls which follow belong to."""
        self._thoughts: list[tuple[str, str]] = []
        """Place and text of thoughts that belong to what the assistant does next."""
        self._thoughtful: list[Message] = []
        """Messages that hold thoughts, since the user last spoke."""
        self._unreadable: list[str] = []
        """Places of thoughts that are not told here, since the user last spoke."""
        self._shown: list[Part] = []
        """What calls returned beside text, to follow their results."""

    def take(self, raw: Raw, where: str) -> None:
        """One item of the input."""
        item = decode(raw, _item, where)
        kind = item.type
        if kind is None and item.role is None and item.id is not None:
            kind = "item_reference"
        match kind:
            case None | "message":
                self._take_message(item, where)
            case "reasoning":
                self._take_thought(item, where)
            case "function_call":
                self._take_call(item, where)
            case "function_call_output":
                self._take_result(item, where)
            case _:
                self._lost.add(where)

    def finish(self) -> list[Message]:
        """All messages, once there are no more items."""
        self._show()
        for where in [*self._unreadable, *(where for where, _ in self._thoughts)]:
            self._lost.add(where)
        return self._messages

    def _take_message(self, item: _Item, where: str) -> None:
        given = require(item.role, f"{where}.role", A_ROLE)
        role = ROLES.get(given)
        if role is None:
            raise refuse(f"{where}.role", f"is {given[:40]!r}: {A_ROLE}")
        if not is_present(item.content):
            require(None, f"{where}.content", A_CONTENT)
        place = f"{where}.content"
        if role == "assistant":
            self._say(read_said(item.content, place, self._lost))
            return
        parts = read_parts(item.content, place, self._lost)
        if role == "user":
            self._forget_thoughts()
            parts = self._shown + parts
            self._shown = []
        self._add({"role": role, "content": to_content(parts)})

    def _forget_thoughts(self) -> None:
        self._thoughts.clear()
        self._unreadable.clear()
        for message in self._thoughtful:
            message.pop("reasoning_content", None)
        self._thoughtful.clear()

    def _take_thought(self, item: _Item, where: str) -> None:
        thoughts = decode(item.content, _thoughts, f"{where}.content") if is_present(item.content) else []
        text = "".join(thought.text for thought in thoughts)
        if text:
            self._thoughts.append((where, text))
        else:
            self._unreadable.append(where)

    def _say(self, said: str) -> None:
        if self._open is not None and self._open["content"] is not None:
            self._open = None
        self._get_open()["content"] = said

    def _take_call(self, item: _Item, where: str) -> None:
        if item.namespace is not None:
            self._lost.add(f"{where}.namespace")
        function = {
            "name": require(item.name, f"{where}.name", A_NAME),
            "arguments": require(item.arguments, f"{where}.arguments", THE_ARGUMENTS),
        }
        call = {"id": require(item.call_id, f"{where}.call_id", A_CALL), "type": "function", "function": function}
        calls = self._get_open().setdefault("tool_calls", [])
        assert isinstance(calls, list)
        calls.append(call)

    def _get_open(self) -> Message:
        """The assistant's message that goes on, or begins; with what was thought before."""
        message = self._open
        if message is None:
            message = {"role": "assistant", "content": None}
            self._add(message)
            self._open = message
        if self._thoughts:
            thought = "".join(text for _, text in self._thoughts)
            message["reasoning_content"] = str(message.get("reasoning_content", "")) + thought
            self._thoughts.clear()
            self._thoughtful.append(message)
        return message

    def _take_result(self, item: _Item, where: str) -> None:
        if item.call_id is None and item.name is not None:
            self._lost.add(where)  # a result that finds its call by name: chat goes by ids
            return
        call_id = require(item.call_id, f"{where}.call_id", A_CALL)
        if not is_present(item.output):
            require(None, f"{where}.output", A_CONTENT)
        parts = read_parts(item.output, f"{where}.output", self._lost)
        shown = [part for part in parts if part["type"] != "text"]
        if shown:
            self._shown += [{"type": "text", "text": f"Returned by tool call {call_id}:"}, *shown]
        text = "\n".join(str(part["text"]) for part in parts if part["type"] == "text")
        self._open = None
        self._messages.append({"role": "tool", "tool_call_id": call_id, "content": text})

    def _add(self, message: Message) -> None:
        """A message that is no tool's."""
        self._show()
        self._open = None
        self._messages.append(message)

    def _show(self) -> None:
        if self._shown:
            self._messages.append({"role": "user", "content": self._shown})
            self._shown = []
