"""The conversation of a Messages request, as chat messages.

A turn of the Messages API is a list of blocks; consecutive turns of one role are one turn. In chat a tool's result is
a message of its own, which must follow the call at once; so of a user's turn the tool results come first, and what
else it holds follows as one user message. Some things have a place in chat only in other words:

* a tool result's images follow in the user message, under a line that names the call (a chat tool message is text);
  a failed tool's result begins with "Error:";
* an assistant's turn is one text and its tool calls, in whatever order they stood;
* thinking is ``reasoning_content`` within the tool loop that is still going on, where models need it back. Before the
  last thing the user said it is left out, as Anthropic's own API leaves it out.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.lost import Losses
from providerrank.wire.messages_blocks import Block, Part, get_text, read_content, to_parts, to_text_part
from providerrank.wire.nested import decode, get, refuse, require, to_raw, to_text
from providerrank.wire.raw import Raw, is_present

ChatMessage = dict[str, object]
Placed = tuple[str, Block]
"""A block and its path in the request."""


class _Turn(msgspec.Struct):
    role: str
    content: Raw


_turns = msgspec.json.Decoder(list[_Turn])
_object = msgspec.json.Decoder(dict[str, Raw])


def conversation_to_chat(fields: Fields, lost: Losses) -> Raw:
    """``system`` and ``messages`` of a Messages request, as chat's ``messages``. Raises BadRequest."""
    raw = require(get(fields, "messages"), "messages", "put at least one message there")
    turns = _read_turns(decode(raw, _turns, "messages"))
    if not turns:
        raise refuse("messages", "holds no message; put at least one there")
    system = get(fields, "system")
    if system is not None:
        turns.insert(0, ("system", read_content(system, "system")))
    live = _find_live_loop(turns)
    messages: list[ChatMessage] = []
    for i, (role, placed) in enumerate(turns):
        match role:
            case "user":
                messages += _user_to_chat(placed, lost)
            case "assistant":
                messages += _assistant_to_chat(placed, i >= live, lost)
            case _:
                text = "\n\n".join(filter(None, (get_text(block, where) for where, block in placed)))
                if text:
                    messages.append({"role": "system", "content": text})
    return to_raw(messages)


def _read_turns(raw: list[_Turn]) -> list[tuple[str, list[Placed]]]:
    """Role and blocks of each turn, consecutive ones of a role made one."""
    turns: list[tuple[str, list[Placed]]] = []
    for i, turn in enumerate(raw):
        where = f"messages[{i}]"
        if turn.role not in ("user", "assistant", "system"):
            raise refuse(f"{where}.role", "is none of user, assistant, system")
        placed = read_content(turn.content, f"{where}.content")
        if turns and turns[-1][0] == turn.role:
            turns[-1][1].extend(placed)
        else:
            turns.append((turn.role, placed))
    return turns


def _find_live_loop(turns: list[tuple[str, list[Placed]]]) -> int:
    """The first turn after the last thing the user said: from there on only calls and their results follow."""
    for i in range(len(turns) - 1, -1, -1):
        role, placed = turns[i]
        if role == "user" and any(block.type != "tool_result" for _, block in placed):
            return i + 1
    return 0


def _user_to_chat(placed: list[Placed], lost: Losses) -> list[ChatMessage]:
    messages: list[ChatMessage] = []
    shown: list[Part] = []
    parts: list[Part] = []
    for where, block in placed:
        if block.type == "tool_result":
            message, more = _tool_result_to_chat(block, where, lost)
            messages.append(message)
            shown += more
        else:
            parts += to_parts(block, where, lost)
    parts = shown + parts
    if len(parts) == 1 and parts[0]["type"] == "text":
        messages.append({"role": "user", "content": parts[0]["text"]})
    elif parts:
        messages.append({"role": "user", "content": parts})
    elif not messages:
        messages.append({"role": "user", "content": ""})
    return messages


def _tool_result_to_chat(block: Block, where: str, lost: Losses) -> tuple[ChatMessage, list[Part]]:
    """A tool message, and the parts of the result that are no text."""
    call = require(block.tool_use_id, f"{where}.tool_use_id", "name the tool use it answers")
    parts = []
    if is_present(block.content):
        for place, inner in read_content(block.content, f"{where}.content"):
            parts += to_parts(inner, place, lost)
    text = "\n".join(str(part["text"]) for part in parts if part["type"] == "text")
    if block.is_error:
        text = f"Error: {text}" if text else "Error"
    shown = [part for part in parts if part["type"] != "text"]
    if shown:
        shown.insert(0, to_text_part(f"Returned by tool call {call}:"))
    return {"role": "tool", "tool_call_id": call, "content": text}, shown


def _assistant_to_chat(placed: list[Placed], is_live: bool, lost: Losses) -> list[ChatMessage]:
    texts = []
    thoughts = []
    calls = []
    for where, block in placed:
        match block.type:
            case "text":
                texts.append(get_text(block, where))
            case "tool_use":
                calls.append(_tool_use_to_chat(block, where))
            case "thinking":
                thoughts.append(require(block.thinking, f"{where}.thinking", "a thinking block has its text there"))
            case "redacted_thinking":
                if is_live:
                    lost.add(where)
            case _:
                lost.add(where)
    message: ChatMessage = {"role": "assistant", "content": "".join(texts)}
    if is_live and any(thoughts):
        message["reasoning_content"] = "".join(thoughts)
    if calls:
        message["tool_calls"] = calls
        if not message["content"]:
            message["content"] = None
    return [message] if len(message) > 2 or message["content"] else []


def _tool_use_to_chat(block: Block, where: str) -> dict[str, object]:
    if not is_present(block.input):
        require(None, f"{where}.input", "put the tool's input there, {} where it has none")
    decode(block.input, _object, f"{where}.input")
    return {
        "id": require(block.id, f"{where}.id", "give the tool use an id"),
        "type": "function",
        "function": {
            "name": require(block.name, f"{where}.name", "name the tool"),
            "arguments": to_text(block.input, f"{where}.input"),
        },
    }
