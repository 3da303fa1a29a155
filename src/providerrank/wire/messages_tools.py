"""Tools and the choice among them, between Anthropic's Messages API and chat completions.

Both describe a tool by name, description and JSON schema. What has no counterpart: Anthropic's server tools and the
client tools whose schema only its models know (``bash_20250124``, ...), and OpenAI's custom tools, whose input is
free text. A choice among tools is sent only where tools are left to choose from, since either API refuses it otherwise.
"""

from __future__ import annotations

import msgspec

from providerrank.wire.dialect import Fields
from providerrank.wire.lost import Losses
from providerrank.wire.nested import decode, decode_field, get, refuse, require, to_raw
from providerrank.wire.raw import Raw, is_null_or, is_present, starts_with


class _Tool(msgspec.Struct):
    """A tool of the Messages API."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    input_schema: dict[str, Raw] | None = None
    strict: bool | None = None
    allowed_callers: list[str] | None = None
    input_examples: Raw = Raw()


class _Choice(msgspec.Struct):
    """The Messages API's ``tool_choice``."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Raw] | None = None
    strict: bool | None = None


class _FunctionTool(msgspec.Struct):
    """A tool of chat completions."""

    type: str = "function"
    function: _Function | None = None


class _Named(msgspec.Struct):
    name: str


class _NamedTool(msgspec.Struct):
    type: str = "function"
    function: _Named | None = None


class _AllowedTools(msgspec.Struct):
    mode: str
    tools: list[_NamedTool]


class _ChatChoice(msgspec.Struct):
    """Chat's ``tool_choice`` where it is an object."""

    type: str
    function: _Named | None = None
    allowed_tools: _AllowedTools | None = None


_tools = msgspec.json.Decoder(list[_Tool])
_choice = msgspec.json.Decoder(_Choice)
_function_tools = msgspec.json.Decoder(list[_FunctionTool])
_chat_choice = msgspec.json.Decoder(_ChatChoice)
_str = msgspec.json.Decoder(str)
_bool = msgspec.json.Decoder(bool)

NO_PARAMETERS = Raw(b'{"type":"object","properties":{}}')
"""The schema of a function that takes nothing; chat may leave it out, the Messages API may not."""


def tools_to_chat(fields: Fields, chat: Fields, lost: Losses) -> None:
    """``tools`` and ``tool_choice`` of a Messages request, as chat's. Raises BadRequest."""
    functions = []
    names = set()
    tools = decode_field(fields, "tools", _tools)
    for i, tool in enumerate(tools or ()):
        where = f"tools[{i}]"
        if tool.type not in (None, "custom"):
            lost.add(where)
            continue
        name = require(tool.name, f"{where}.name", "name the tool")
        function: dict[str, object] = {"name": name}
        if tool.description is not None:
            function["description"] = tool.description
        function["parameters"] = require(
            tool.input_schema, f"{where}.input_schema", "describe the tool's input by a JSON schema"
        )
        if tool.strict is not None:
            function["strict"] = tool.strict
        if is_present(tool.input_examples) and not is_null_or(tool.input_examples, b"[]"):
            lost.add(f"{where}.input_examples")
        if tool.allowed_callers and "direct" not in tool.allowed_callers:
            lost.add(f"{where}.allowed_callers")
        names.add(name)
        functions.append({"type": "function", "function": function})
    if functions:
        chat["tools"] = to_raw(functions)
    choice = decode_field(fields, "tool_choice", _choice)
    if choice is not None:
        _choice_to_chat(choice, names, chat, lost)


def _choice_to_chat(choice: _Choice, names: set[str], chat: Fields, lost: Losses) -> None:
    wanted: object
    match choice.type:
        case "auto" | "none":
            wanted = choice.type
        case "any":
            wanted = "required"
        case "tool":
            name = require(choice.name, "tool_choice.name", "name the tool to use")
            wanted = {"type": "function", "function": {"name": name}}
            if name not in names:
                lost.add("tool_choice")
                return
        case _:
            raise refuse("tool_choice.type", "is none of auto, any, tool, none")
    if not names:
        if wanted == "required":
            lost.add("tool_choice")
        return
    chat["tool_choice"] = to_raw(wanted)
    if choice.disable_parallel_tool_use:
        chat["parallel_tool_calls"] = Raw(b"false")


def tools_from_chat(fields: Fields, messages: Fields, lost: Losses) -> bool:
    """``tools``, ``tool_choice`` and ``parallel_tool_calls`` of a chat request, as the Messages API's.

    Returns whether a tool must be called. Raises BadRequest.
    """
    tools: dict[str, dict[str, object]] = {}
    given = decode_field(fields, "tools", _function_tools)
    for i, tool in enumerate(given or ()):
        if tool.type != "function":
            lost.add(f"tools[{i}]")
            continue
        function = require(tool.function, f"tools[{i}].function", "describe the function")
        written: dict[str, object] = {"name": function.name}
        if function.description is not None:
            written["description"] = function.description
        written["input_schema"] = _complete_schema(function.parameters)
        if function.strict:
            written["strict"] = True
        tools[function.name] = written
    choice = _choice_from_chat(fields, tools, lost)
    if not tools:
        if choice is not None and choice["type"] in ("any", "tool"):
            lost.add("tool_choice")
        return False
    messages["tools"] = to_raw(list(tools.values()))
    if decode_field(fields, "parallel_tool_calls", _bool) is False:
        choice = choice or {"type": "auto"}
        if choice["type"] != "none":
            choice["disable_parallel_tool_use"] = True
    if choice is None:
        return False
    messages["tool_choice"] = to_raw(choice)
    return choice["type"] in ("any", "tool")


def _complete_schema(parameters: Fields | None) -> object:
    """A function's schema; the Messages API wants it to say that it is an object."""
    if parameters is None:
        return NO_PARAMETERS
    return parameters if "type" in parameters else {"type": "object", **parameters}


_CHOICES = {"auto": "auto", "none": "none", "required": "any"}


def _choice_from_chat(fields: Fields, tools: dict[str, dict[str, object]], lost: Losses) -> dict[str, object] | None:
    """The Messages API's choice. Takes the tools that are not allowed out of ``tools``."""
    raw = get(fields, "tool_choice")
    if raw is None:
        return None
    if starts_with(raw, b'"'):
        word = decode(raw, _str, "tool_choice")
        if word not in _CHOICES:
            raise refuse("tool_choice", "is none of auto, none, required, or an object that names a function")
        return {"type": _CHOICES[word]}
    choice = decode(raw, _chat_choice, "tool_choice")
    if choice.type == "function":
        named = require(choice.function, "tool_choice.function", "name the function to call")
        return {"type": "tool", "name": named.name}
    if choice.type == "allowed_tools":
        allowed = require(choice.allowed_tools, "tool_choice.allowed_tools", "list the tools that may be called")
        names = {tool.function.name for tool in allowed.tools if tool.function is not None}
        for name in set(tools) - names:
            del tools[name]
        return {"type": "any" if allowed.mode == "required" else "auto"}
    lost.add("tool_choice")
    return None
