"""The Responses API's tools and their choice as chat has them.

Functions are in both, flat here and nested there. Everything else a provider runs or parses itself (web search, files,
MCP, custom grammars) is lost in a chat.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.lost import Losses
from providerrank.wire.nested import decode, decode_field, get, refuse, require
from providerrank.wire.raw import Raw, is_present


class _Tool(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    description: str | None = None
    parameters: Raw = Raw()
    strict: bool | None = None


class _Choice(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    mode: str | None = None
    tools: list[Raw] | None = None


_bool = msgspec.json.Decoder(bool | None)
_list = msgspec.json.Decoder(list[Raw] | None)
_tool = msgspec.json.Decoder(_Tool)
_choice: msgspec.json.Decoder[str | _Choice] = msgspec.json.Decoder(str | _Choice)

WORDS = frozenset({"none", "auto", "required"})


def read_tools(fields: Fields, lost: Losses) -> dict[str, object]:
    """Chat's ``tools``, ``tool_choice`` and ``parallel_tool_calls``; what is lost is added to ``lost``.

    Raises BadRequest, naming the place.
    """
    functions: dict[str, dict[str, object]] = {}
    for index, raw in enumerate(decode_field(fields, "tools", _list) or ()):
        _read_tool(raw, f"tools[{index}]", functions, lost)
    chat: dict[str, object] = {}
    choice = get(fields, "tool_choice")
    if choice is not None:
        _read_choice(choice, functions, chat, lost)
    parallel = decode_field(fields, "parallel_tool_calls", _bool)
    if not functions:
        # Without tools there is nothing to choose, and endpoints refuse a choice.
        return {}
    chat["tools"] = [{"type": "function", "function": function} for function in functions.values()]
    if parallel is not None:
        chat["parallel_tool_calls"] = parallel
    return chat


def _read_tool(raw: Raw, where: str, functions: dict[str, dict[str, object]], lost: Losses) -> None:
    tool = decode(raw, _tool, where)
    if require(tool.type, f"{where}.type", "say which tool it is, such as function") != "function":
        lost.add(where)
        return
    name = require(tool.name, f"{where}.name", "name the function")
    function: dict[str, object] = {"name": name}
    if tool.description is not None:
        function["description"] = tool.description
    if is_present(tool.parameters):
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    functions[name] = function


def _read_choice(given: Raw, functions: dict[str, dict[str, object]], chat: dict[str, object], lost: Losses) -> None:
    choice = decode(given, _choice, "tool_choice")
    if isinstance(choice, str):
        if choice not in WORDS:
            raise refuse("tool_choice", f"is {choice[:40]!r}: it must be none, auto, required or an object")
        chat["tool_choice"] = choice
        return
    match choice.type:
        case "function":
            name = require(choice.name, "tool_choice.name", "name the function to call")
            chat["tool_choice"] = {"type": "function", "function": {"name": name}}
        case "allowed_tools":
            _allow(choice, functions, chat, lost)
        case _:
            lost.add("tool_choice")


def _allow(choice: _Choice, functions: dict[str, dict[str, object]], chat: dict[str, object], lost: Losses) -> None:
    """Only some of the tools may be used: only those are sent, which any endpoint understands."""
    if choice.mode not in ("auto", "required"):
        raise refuse("tool_choice.mode", "must be auto or required")
    allowed: set[str] = set()
    for index, raw in enumerate(choice.tools or ()):
        where = f"tool_choice.tools[{index}]"
        tool = decode(raw, _tool, where)
        if tool.type == "function" and tool.name in functions:
            allowed.add(tool.name)
        else:
            lost.add(where)
    for name in functions.keys() - allowed:
        del functions[name]
    chat["tool_choice"] = choice.mode
