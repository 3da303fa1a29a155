"""Whether the tool calls of an answer can be carried out by whoever asked for it.

What counts against an endpoint is what breaks its caller, whatever the caller does next:

* arguments that are not JSON, or no object;
* arguments that lack what the tool's schema requires, or have a value of a wrong type, or one outside an ``enum``;
* a call of a tool that was not offered (where every tool that was is a function);
* with ``strict: true`` in the tool: anything that breaks its schema.

Without ``strict`` a schema is a description to the model: a property it does not name, a string too long or of another
pattern, a number out of range are for the caller to judge, and count against nobody. Of an ``anyOf`` or ``oneOf`` that
fails, each branch must fail for one of the reasons above. A schema that does not compile, or would take long to
check (``schemas``), is not held against anybody; nor is an answer that was cut by its limit.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import islice
from typing import TYPE_CHECKING, Final

import msgspec

from providerrank.gateway.schemas import MAX_SCHEMA_BYTES, get_check
from providerrank.wire.intake import Intake
from providerrank.wire.raw import Raw
from providerrank.wire.tool_calls import Call

if TYPE_CHECKING:
    import jsonschema_rs

NOT_JSON: Final = "the arguments of a tool call are not a JSON object"
BREAKS: Final = "the arguments of a tool call break the tool's schema"
UNKNOWN: Final = "a tool is called that was not offered"

MAX_ERRORS: Final = 100
"""Of one call's arguments, looked at."""

COUNTED: Final = frozenset({"Constant", "Enum", "Required", "Type"})
NESTED: Final = frozenset({"AnyOf", "OneOfNotValid"})


class _Function(msgspec.Struct):
    name: str = ""
    parameters: Raw = Raw(b"{}")
    strict: bool | None = None


class _Tool(msgspec.Struct):
    type: str = "function"
    function: _Function | None = None


_tools = msgspec.json.Decoder(list[_Tool])
_any = msgspec.json.Decoder()


class Tools:
    """The tools of a request, their schemas compiled when first called."""

    __slots__ = ("_functions", "_only_functions")

    def __init__(self, tools: list[_Tool]) -> None:
        functions = [tool.function for tool in tools if tool.type == "function" and tool.function is not None]
        self._only_functions = len(functions) == len(tools)
        self._functions = {one.name: (bytes(one.parameters), one.strict is True) for one in functions}

    def find_violation(self, call: Call) -> str | None:
        """What is wrong with a call; None: nothing."""
        known = self._functions.get(call.name)
        if known is None:
            return UNKNOWN if self._only_functions else None
        if call.arguments is None:
            return NOT_JSON
        try:
            # Nothing at all is what some say of a tool without parameters.
            arguments = _any.decode(call.arguments) if call.arguments.strip() else {}
        except (msgspec.MsgspecError, RecursionError):
            return NOT_JSON
        if not isinstance(arguments, dict):
            return NOT_JSON
        schema, is_strict = known
        check = get_check(schema)
        if check is None:
            return None
        errors = islice(check.find_errors(call.arguments, arguments), MAX_ERRORS)
        return BREAKS if any(is_strict or _counts(error) for error in errors) else None


def _counts(error: jsonschema_rs.ValidationError) -> bool:
    kind = error.kind
    name = type(kind).__name__.rpartition("_")[2]
    if name in COUNTED:
        return True
    if name not in NESTED:
        return False
    branches: list[list[jsonschema_rs.ValidationError]] = getattr(kind, "context", [])
    return bool(branches) and all(any(map(_counts, branch)) for branch in branches)


@lru_cache(maxsize=64)
def _read_tools(tools: bytes) -> Tools | None:
    try:
        return Tools(_tools.decode(tools))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None  # the request's own mistake: for the endpoint to refuse


def judge_calls(intake: Intake, calls: Iterable[Call]) -> str | None:
    """`find_violation` in the answer to a request; nothing in one whose own API has tools that chat cannot describe."""
    return None if intake.lost else find_violation(intake.fields["tools"], calls)


def find_violation(tools: Raw, calls: Iterable[Call]) -> str | None:
    """What is the matter with the first of these calls that nobody can carry out, in our words; None: with none."""
    if memoryview(tools).nbytes > MAX_SCHEMA_BYTES:
        return None
    read = _read_tools(bytes(tools))
    if read is None:
        return None
    return next((wrong for call in calls if (wrong := read.find_violation(call)) is not None), None)
