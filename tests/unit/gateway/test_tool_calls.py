"""Which tool calls nobody can carry out."""

from __future__ import annotations

import json
from typing import Any

import pytest

from providerrank.gateway.schemas import MAX_SCHEMA_BYTES
from providerrank.gateway.tool_calls import BREAKS, NOT_JSON, UNKNOWN, find_violation, judge_calls
from providerrank.wire.intake import Intake
from providerrank.wire.raw import Raw
from providerrank.wire.tool_calls import Call

SCHEMA = {
    "type": "object",
    "properties": {
        "where": {"type": "string", "maxLength": 5, "pattern": "^[a-z]*$"},
        "deep": {"type": "integer", "minimum": 0},
        "unit": {"enum": ["m", "ft"]},
        "kind": {"const": "x"},
        "note": {"anyOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
        "one": {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        "nest": {
            "anyOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}],
        },
    },
    "required": ["where"],
    "additionalProperties": False,
}


def make_tools(strict: bool | None = None, **more: Any) -> list[dict[str, Any]]:  # whatever JSON a tool may have
    function: dict[str, Any] = {"name": "look", "parameters": SCHEMA, **more}
    if strict is not None:
        function["strict"] = strict
    return [{"type": "function", "function": function}]


def judge(arguments: str | None, tools: object = None, name: str = "look") -> str | None:
    written = json.dumps(make_tools() if tools is None else tools).encode()
    return find_violation(Raw(written), [Call(name, arguments)])


@pytest.mark.parametrize(
    ("arguments", "lax", "strict"),
    [
        ('{"where": "here"}', None, None),
        ('{"where": "here", "deep": 3, "unit": "m", "kind": "x", "note": null}', None, None),
        # Nobody can go on with these.
        ('{"where": "here"', NOT_JSON, NOT_JSON),
        ('{"where": "here"}{"where": "there"}', NOT_JSON, NOT_JSON),
        ("[" * 100_000, NOT_JSON, NOT_JSON),
        ("where: here", NOT_JSON, NOT_JSON),
        ('["here"]', NOT_JSON, NOT_JSON),
        ('"here"', NOT_JSON, NOT_JSON),
        ("null", NOT_JSON, NOT_JSON),
        (None, NOT_JSON, NOT_JSON),
        ("", BREAKS, BREAKS),
        ("{}", BREAKS, BREAKS),
        ('{"where": 5}', BREAKS, BREAKS),
        ('{"where": "here", "deep": "3"}', BREAKS, BREAKS),
        ('{"where": "here", "unit": "km"}', BREAKS, BREAKS),
        ('{"where": "here", "kind": "y"}', BREAKS, BREAKS),
        ('{"where": "here", "note": 7}', BREAKS, BREAKS),
        ('{"where": "here", "one": "7"}', BREAKS, BREAKS),
        ('{"where": "here", "nest": {"a": 1}}', BREAKS, BREAKS),
        # What the schema would rather not have.
        ('{"where": "over there"}', None, BREAKS),
        ('{"where": "HERE"}', None, BREAKS),
        ('{"where": "here", "deep": -1}', None, BREAKS),
        ('{"where": "here", "more": 1}', None, BREAKS),
        ('{"where": "here", "note": "long"}', None, BREAKS),
        ('{"where": "here", "one": 7}', None, BREAKS),
        ('{"where": "here", "nest": {"a": "x", "b": 1}}', None, BREAKS),
        # One of each.
        ('{"more": 1}', BREAKS, BREAKS),
    ],
)
def test_arguments(arguments: str | None, lax: str | None, strict: str | None) -> None:
    assert judge(arguments) == lax
    assert judge(arguments, make_tools(strict=False)) == lax
    assert judge(arguments, make_tools(strict=True)) == strict


def test_a_tool_without_parameters_takes_anything_that_is_an_object() -> None:
    tools = [{"type": "function", "function": {"name": "look"}}]
    assert [judge(one, tools) for one in ("", " ", "{}", '{"a": 1}')] == [None] * 4
    assert judge("[]", tools) == NOT_JSON


def test_a_tool_that_was_not_offered() -> None:
    assert judge("{}", name="leap") == UNKNOWN
    others = [*make_tools(), {"type": "builtin_function", "function": {"name": "$web_search"}}]
    assert judge("{}", others, name="leap") is None, "an endpoint's own tools may have names we do not know"
    assert judge("{}", others) == BREAKS
    assert judge("{}", [*make_tools(), {"type": "custom", "custom": {"name": "x"}}], name="x") is None


def test_the_first_that_is_wrong_is_told() -> None:
    tools = Raw(json.dumps(make_tools()).encode())
    good, bad = Call("look", '{"where": "a"}'), Call("look", "{}")
    assert find_violation(tools, []) is None
    assert find_violation(tools, [good, bad]) == BREAKS
    assert find_violation(tools, [good, Call("leap", "{}"), bad]) == UNKNOWN


@pytest.mark.parametrize(
    "tools",
    [
        5,
        [{"type": "function", "function": {"name": 5}}],
        make_tools(parameters={"type": "nonsense"}),
        make_tools(parameters=5),
        make_tools(description="x" * MAX_SCHEMA_BYTES),
    ],
    ids=["no list", "no name", "no type", "no schema", "too large"],
)
def test_what_cannot_be_judged_is_held_against_nobody(tools: object) -> None:
    assert judge("{}", tools) is None


def test_tools_that_chat_cannot_describe_are_not_judged() -> None:
    intake = Intake("messages", {"tools": Raw(json.dumps(make_tools()).encode())}, "m", 1)
    assert judge_calls(intake, [Call("bash", "{}")]) == UNKNOWN
    intake.lost = ("tools[1]",)
    assert judge_calls(intake, [Call("bash", "{}")]) is None
