"""The conversation of a chat request, as ``system`` and ``messages`` of Anthropic's Messages API.

System and developer messages stand apart there, before everything else: one that comes later in a chat is put with
them, which is noted, since it loses its place. Consecutive messages of one role become one turn, a tool's result is
part of the user's. The Messages API refuses text that is empty or all white space, so none is written, and white
space at the end of a last turn of the assistant's (a prefill), so that is cut off.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.lost import Losses
from providerrank.wire.messages_parts import part_to_block, read_chat_content, to_text_blocks
from providerrank.wire.nested import decode, get, refuse, require, to_raw
from providerrank.wire.raw import Raw, is_null_or, is_present

Block = dict[str, object]


class _Called(msgspec.Struct):
    name: str
    arguments: str | None = None


class _Call(msgspec.Struct):
    type: str = "function"
    id: str | None = None
    function: _Called | None = None


class _Message(msgspec.Struct):
    role: str
    content: Raw = Raw()
    name: Raw = Raw()
    refusal: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str | None = None
    audio: Raw = Raw()
    function_call: Raw = Raw()


_messages = msgspec.json.Decoder(list[_Message])
_object = msgspec.json.Decoder(dict[str, Raw])

ROLES = ("user", "assistant", "system", "developer", "tool")


def conversation_from_chat(fields: Fields, written: Fields, lost: Losses) -> None:
    """Write a chat request's ``messages`` as ``system`` and ``messages``. Raises BadRequest."""
    given = decode(
        require(get(fields, "messages"), "messages", "put at least one message there"), _messages, "messages"
    )
    system: list[Block] = []
    turns: list[tuple[str, list[Block]]] = []
    live = max((i for i, message in enumerate(given) if message.role == "user"), default=-1)
    for i, message in enumerate(given):
        where = f"messages[{i}]"
        if message.role not in ROLES:
            if message.role != "function":
                raise refuse(f"{where}.role", f"is none of {', '.join(ROLES)}")
            lost.add(where)
            continue
        if is_present(message.name) and message.role != "tool":
            lost.add(f"{where}.name")
        if message.role in ("system", "developer"):
            if turns:
                lost.add(f"{where}.role")
            system += _content_to_blocks(message, where, lost)
            continue
        role = "assistant" if message.role == "assistant" else "user"
        blocks = _to_blocks(message, where, lost, is_live=i > live)
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((role, blocks))
    if not turns and system:
        # The Messages API answers somebody: with nobody else there, the one who gave the last instruction.
        lost.add(f"messages[{len(given) - 1}].role")
        turns.append(("user", [system.pop()]))
    if not turns:
        raise refuse("messages", "holds nothing to answer; put at least one message with content there")
    _trim_prefill(turns)
    if system:
        written["system"] = to_raw(_shorten(system))
    written["messages"] = to_raw([{"role": role, "content": _shorten(blocks)} for role, blocks in turns])


def _trim_prefill(turns: list[tuple[str, list[Block]]]) -> None:
    role, blocks = turns[-1]
    if role == "assistant" and blocks[-1]["type"] == "text":
        blocks[-1]["text"] = str(blocks[-1]["text"]).rstrip()


def _shorten(blocks: list[Block]) -> object:
    """One text block is written as its text."""
    return blocks[0]["text"] if len(blocks) == 1 and blocks[0]["type"] == "text" else blocks


def _to_blocks(message: _Message, where: str, lost: Losses, *, is_live: bool) -> list[Block]:
    if message.role == "tool":
        return [_tool_result(message, where, lost)]
    blocks = _content_to_blocks(message, where, lost)
    if message.role == "user":
        return blocks
    if message.refusal:
        blocks += to_text_blocks(message.refusal)
    if message.reasoning_content and is_live:
        # It would have to be signed by the endpoint that thought it.
        lost.add(f"{where}.reasoning_content")
    for name, raw in (("audio", message.audio), ("function_call", message.function_call)):
        if is_present(raw):
            lost.add(f"{where}.{name}")
    for j, call in enumerate(message.tool_calls or ()):
        place = f"{where}.tool_calls[{j}]"
        if call.type == "function":
            blocks.append(_tool_use(call, place, lost))
        else:
            lost.add(place)
    return blocks


def _content_to_blocks(message: _Message, where: str, lost: Losses) -> list[Block]:
    if not is_present(message.content):
        return []
    placed = read_chat_content(message.content, f"{where}.content")
    return [block for place, part in placed for block in part_to_block(part, place, lost)]


def _tool_result(message: _Message, where: str, lost: Losses) -> Block:
    call = require(message.tool_call_id, f"{where}.tool_call_id", "name the tool call it answers")
    result: Block = {"type": "tool_result", "tool_use_id": call}
    blocks = _content_to_blocks(message, where, lost)
    if blocks:
        result["content"] = _shorten(blocks)
    return result


def _tool_use(call: _Call, where: str, lost: Losses) -> Block:
    called = require(call.function, f"{where}.function", "name the function that was called")
    identity = require(call.id, f"{where}.id", "give the tool call an id")
    return {
        "type": "tool_use",
        "id": identity,
        "name": called.name,
        "input": _read_arguments(called.arguments, f"{where}.function.arguments", lost),
    }


def _read_arguments(arguments: str | None, where: str, lost: Losses) -> object:
    """A call's arguments as an object. A model may have written what is none: then the text is kept under its name."""
    if not arguments or not arguments.strip():
        return {}
    raw = Raw(arguments.encode())
    try:
        _object.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        if is_null_or(raw):
            return {}
        lost.add(where)
        return {"arguments": arguments}
    return raw
