"""The Responses API's tools and their choice as chat has them.

Functions are in both, flat here and nested there. Everything else a provider runs or parses itself (web search, files,
MCP, custom grammars) is lost in a chat.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.errors import BadRequest
from providerrank.wire.fields import typed
from providerrank.wire.raw import Raw, is_present, starts_with
from providerrank.wire.responses_input import AS_THE_API_HAS_IT


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


_str = msgspec.json.Decoder(str)
_bool = msgspec.json.Decoder(bool | None)
_list = msgspec.json.Decoder(list[Raw] | None)
_tool = msgspec.json.Decoder(_Tool)
_choice = msgspec.json.Decoder(_Choice)

WORDS = frozenset({"none", "auto", "required"})


def read_tools(fields: Fields, lost: list[str]) -> dict[str, object]:
    """Chat's ``tools``, ``tool_choice`` and ``parallel_tool_calls``; what is lost is added to ``lost``.

    Raises BadRequest, naming the place.
    """
    functions: dict[str, dict[str, object]] = {}
    tools = typed(fields, "tools", _list, "a list of tools") if "tools" in fields else None
    for index, raw in enumerate(tools or ()):
        _read_tool(raw, f"tools[{index}]", functions, lost)
    chat: dict[str, object] = {}
    if "tool_choice" in fields and is_present(fields["tool_choice"]):
        _read_choice(fields["tool_choice"], functions, chat, lost)
    parallel = typed(fields, "parallel_tool_calls", _bool, "true or false") if "parallel_tool_calls" in fields else None
    if not functions:
        # Without tools there is nothing to choose, and endpoints refuse a choice.
        return {}
    chat["tools"] = [{"type": "function", "function": function} for function in functions.values()]
    if parallel is not None:
        chat["parallel_tool_calls"] = parallel
    return chat


def _read_tool(raw: Raw, where: str, functions: dict[str, dict[str, object]], lost: list[str]) -> None:
    tool = typed({where: raw}, where, _tool, AS_THE_API_HAS_IT)
    if tool.type is None:
        raise BadRequest(f"'{where}.type' is missing", param=f"{where}.type", code="missing_required_parameter")
    if tool.type != "function":
        lost.append(where)
        return
    if tool.name is None:
        raise BadRequest(f"'{where}.name' is missing", param=f"{where}.name", code="missing_required_parameter")
    function: dict[str, object] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if is_present(tool.parameters):
        function["parameters"] = tool.parameters
    if tool.strict is not None:
        function["strict"] = tool.strict
    functions[tool.name] = function


def _read_choice(given: Raw, functions: dict[str, dict[str, object]], chat: dict[str, object], lost: list[str]) -> None:
    if starts_with(given, b'"'):
        word = typed({"tool_choice": given}, "tool_choice", _str, "a string")
        if word not in WORDS:
            raise BadRequest(
                f"'tool_choice' is {word[:40]!r}; it must be none, auto, required or an object",
                param="tool_choice",
                code="invalid_value",
            )
        chat["tool_choice"] = word
        return
    choice = typed({"tool_choice": given}, "tool_choice", _choice, AS_THE_API_HAS_IT)
    match choice.type:
        case "function":
            if choice.name is None:
                raise BadRequest(
                    "'tool_choice.name' is missing", param="tool_choice.name", code="missing_required_parameter"
                )
            chat["tool_choice"] = {"type": "function", "function": {"name": choice.name}}
        case "allowed_tools":
            _allow(choice, functions, chat, lost)
        case _:
            lost.append("tool_choice")


def _allow(choice: _Choice, functions: dict[str, dict[str, object]], chat: dict[str, object], lost: list[str]) -> None:
    """Only some of the tools may be used: only those are sent, which any endpoint understands."""
    if choice.mode not in ("auto", "required"):
        raise BadRequest(
            '\'tool_choice.mode\' is not "auto" or "required"', param="tool_choice.mode", code="invalid_value"
        )
    allowed: set[str] = set()
    for index, raw in enumerate(choice.tools or ()):
        where = f"tool_choice.tools[{index}]"
        tool = typed({where: raw}, where, _tool, AS_THE_API_HAS_IT)
        if tool.type == "function" and tool.name in functions:
            allowed.add(tool.name)
        else:
            lost.append(where)
    for name in functions.keys() - allowed:
        del functions[name]
    chat["tool_choice"] = choice.mode
