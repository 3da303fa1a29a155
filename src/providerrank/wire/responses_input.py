"""The Responses API's ``input`` as a chat's messages.

Input is a list of *items*, several of which make one chat message: what the assistant said and the calls it made then
are items of their own, and one message. So an assistant's message stays open while items that belong to it follow, and
is closed by whatever does not::

    message(assistant) function_call function_call    function_call_output function_call_output
    └──────────── one assistant message ──────────┘    └─ tool message ──┘ └─ tool message ──┘

Left out without a word, since a chat never has it: reasoning of earlier turns, ids and statuses of items, annotations,
cache breakpoints. Left out and named: items and parts that only a provider's own state gives a meaning (references,
uploaded files, calls of built-in tools), images among a tool's results.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.lost import Losses
from providerrank.wire.nested import decode, refuse, require
from providerrank.wire.raw import Raw, is_present


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


class _Part(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_id: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    input_audio: Raw = Raw()


_text_or_list: msgspec.json.Decoder[str | list[Raw]] = msgspec.json.Decoder(str | list[Raw])
_item = msgspec.json.Decoder(_Item)
_part = msgspec.json.Decoder(_Part)

ROLES = {"user": "user", "system": "system", "developer": "system", "assistant": "assistant"}
"""``developer`` is ``system`` by another name, which templates of open models do not know."""

# What to put where something is missing.
A_ROLE = "it must be user, assistant, system or developer"
A_CONTENT = "give it a string or a list of content parts"
A_PART = "say which content part it is, such as input_text"
A_TEXT = "give it a string"
A_URL = "give the image's URL, or its bytes as a data URL"
A_FILE = "give the file's bytes as a data URL"
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
    return conversation.messages


class _Conversation:
    """Messages so far; the last one may still be open."""

    def __init__(self, lost: Losses) -> None:
        self.messages: list[Message] = []
        self._lost = lost
        self._open: Message | None = None
        """The assistant's message that calls which follow belong to."""

    def take(self, raw: Raw, where: str) -> None:
        """One item of the input."""
        item = decode(raw, _item, where)
        kind = item.type
        if kind is None and item.role is None and item.id is not None:
            kind = "item_reference"
        match kind:
            case None | "message":
                self._take_message(item, where)
            case "function_call":
                self._take_call(item, where)
            case "function_call_output":
                self._take_result(item, where)
            case "reasoning":
                pass
            case _:
                self._lost.add(where)

    def _take_message(self, item: _Item, where: str) -> None:
        given = require(item.role, f"{where}.role", A_ROLE)
        role = ROLES.get(given)
        if role is None:
            raise refuse(f"{where}.role", f"is {given[:40]!r}: {A_ROLE}")
        if not is_present(item.content):
            require(None, f"{where}.content", A_CONTENT)
        if role != "assistant":
            content = read_content(item.content, f"{where}.content", self._lost)
            self._add({"role": role, "content": content})
            return
        said = _read_said(item.content, f"{where}.content", self._lost)
        if self._open is not None and self._open["content"] is None:
            self._open["content"] = said
        else:
            self._open = {"role": "assistant", "content": said}
            self.messages.append(self._open)

    def _take_call(self, item: _Item, where: str) -> None:
        if item.namespace is not None:
            self._lost.add(f"{where}.namespace")
        function = {
            "name": require(item.name, f"{where}.name", A_NAME),
            "arguments": require(item.arguments, f"{where}.arguments", THE_ARGUMENTS),
        }
        call = {"id": require(item.call_id, f"{where}.call_id", A_CALL), "type": "function", "function": function}
        if self._open is None:
            self._open = {"role": "assistant", "content": None}
            self.messages.append(self._open)
        calls = self._open.setdefault("tool_calls", [])
        assert isinstance(calls, list)
        calls.append(call)

    def _take_result(self, item: _Item, where: str) -> None:
        if item.call_id is None and item.name is not None:
            self._lost.add(where)  # a result that finds its call by name: chat goes by ids
            return
        call_id = require(item.call_id, f"{where}.call_id", A_CALL)
        if not is_present(item.output):
            require(None, f"{where}.output", A_CONTENT)
        content = read_content(item.output, f"{where}.output", self._lost, only_text=True)
        self._add({"role": "tool", "tool_call_id": call_id, "content": content})

    def _add(self, message: Message) -> None:
        self._open = None
        self.messages.append(message)


def read_content(given: Raw, where: str, lost: Losses, *, only_text: bool = False) -> str | list[dict[str, object]]:
    """A message's content: a string where it is one text, else chat's content parts.

    ``only_text``: any other part is lost, as in a tool's message. Raises BadRequest.
    """
    content = decode(given, _text_or_list, where)
    if isinstance(content, str):
        return content
    parts: list[dict[str, object]] = []
    texts: list[str] = []
    for index, raw in enumerate(content):
        place = f"{where}[{index}]"
        part = decode(raw, _part, place)
        kind = require(part.type, f"{place}.type", A_PART)
        if kind in ("input_text", "output_text", "text"):
            text = require(part.text, f"{place}.text", A_TEXT)
            texts.append(text)
            parts.append({"type": "text", "text": text})
        elif only_text or (carried := _read_medium(part, place, lost)) is None:
            lost.add(place)
        else:
            parts.append(carried)
    if len(texts) == len(parts) <= 1:
        return "".join(texts)
    return parts


def _read_medium(part: _Part, where: str, lost: Losses) -> dict[str, object] | None:
    """An image, a file or a sound as chat's content part; None where chat has none for it."""
    match part.type:
        case "input_image":
            if part.image_url is None:
                require(part.file_id, f"{where}.image_url", A_URL)
                return None  # a file that only the provider it was uploaded to has
            image = {"url": part.image_url}
            if part.detail is not None:
                image["detail"] = part.detail
            return {"type": "image_url", "image_url": image}
        case "input_file":
            if part.file_data is None:
                require(part.file_url or part.file_id, f"{where}.file_data", A_FILE)
                return None
            file = {"file_data": part.file_data}
            if part.filename is not None:
                file["filename"] = part.filename
            if part.detail not in (None, "auto"):
                lost.add(f"{where}.detail")
            return {"type": "file", "file": file}
        case "input_audio" if is_present(part.input_audio):
            return {"type": "input_audio", "input_audio": part.input_audio}
        case _:
            return None


def _read_said(given: Raw, where: str, lost: Losses) -> str:
    """What the assistant said, refusals included: one text, which is what every endpoint takes."""
    content = decode(given, _text_or_list, where)
    if isinstance(content, str):
        return content
    said: list[str] = []
    for index, raw in enumerate(content):
        place = f"{where}[{index}]"
        part = decode(raw, _part, place)
        match require(part.type, f"{place}.type", A_PART):
            case "output_text" | "input_text" | "text":
                said.append(require(part.text, f"{place}.text", A_TEXT))
            case "refusal":
                said.append(require(part.refusal, f"{place}.refusal", A_TEXT))
            case _:
                lost.add(place)
    return "".join(said)
