"""Right answers that are objects: JSON in a text, or a tool call's arguments.

The schema is checked first and gives its own reason, since breaking a schema is a fault of the endpoint (it was asked
for one) and a wrong value is the model's. Strings are compared without regard to case and white space; numbers by
value.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NoReturn

import jsonschema_rs

from providerrank.rules.challenges.expect_text import MAX_CHARACTERS, THINKING
from providerrank.rules.challenges.shape import PASS, Answer, Json, Reason, Verdict

FENCE = re.compile(r"```[\w+-]*\s*\n(.*?)(?:```|\Z)", re.DOTALL)


class NotJsonError(ValueError):
    """No JSON is to be found in a text."""


@dataclass(frozen=True, slots=True)
class ObjectIs:
    """The answer's text is, or holds, a JSON object of a schema with these values."""

    schema: dict[str, Json]
    expected: dict[str, Json]

    def check(self, answer: Answer) -> Verdict:
        """Judge text, schema, values, in this order."""
        text = THINKING.sub("", answer.text[:MAX_CHARACTERS]).strip()
        if not text:
            return Verdict(Reason.EMPTY)
        try:
            found = find_json(text)
        except NotJsonError:
            return Verdict(Reason.NOT_JSON)
        if not is_valid(found, self.schema):
            return Verdict(Reason.SCHEMA)
        return PASS if is_same(found, self.expected) else Verdict(Reason.WRONG_ANSWER)


@dataclass(frozen=True, slots=True)
class CallIs:
    """The answer is exactly one call of one tool with these arguments."""

    name: str
    schema: dict[str, Json]
    """Of this tool's parameters."""
    arguments: dict[str, Json]

    def check(self, answer: Answer) -> Verdict:
        """Judge the call, its arguments' form, their values, in this order."""
        if not answer.tool_calls:
            return Verdict(Reason.NO_CALL)
        if [call.name for call in answer.tool_calls] != [self.name]:
            return Verdict(Reason.WRONG_TOOL)
        try:
            found = _parse(answer.tool_calls[0].arguments[:MAX_CHARACTERS])
        except NotJsonError:
            return Verdict(Reason.BAD_ARGUMENTS)
        if not is_valid(found, self.schema):
            return Verdict(Reason.BAD_ARGUMENTS)
        return PASS if is_same(found, self.arguments) else Verdict(Reason.WRONG_ANSWER)


def find_json(text: str) -> object:
    """Find the one object of a text: the whole, a fenced block, or from the first brace to the last."""
    candidates = [text, *FENCE.findall(text)]
    first, last = text.find("{"), text.rfind("}")
    if first >= 0:
        candidates.append(text[first : last + 1])
    for candidate in candidates:
        try:
            return _parse(candidate)
        except NotJsonError:
            continue
    raise NotJsonError


def is_valid(value: object, schema: dict[str, Json]) -> bool:
    """Whether a value obeys a JSON schema."""
    try:
        return jsonschema_rs.is_valid(schema, value)
    except ValueError:  # a lone surrogate, which no JSON text in UTF-8 can hold
        return False


def is_same(found: object, expected: object) -> bool:
    """Whether two JSON values are one: numbers by value, strings but for case and white space."""
    if isinstance(expected, dict):
        return (
            isinstance(found, dict)
            and found.keys() == expected.keys()
            and all(is_same(found[name], value) for name, value in expected.items())
        )
    if isinstance(expected, list):
        return (
            isinstance(found, list)
            and len(found) == len(expected)
            and all(is_same(one, other) for one, other in zip(found, expected, strict=True))
        )
    if isinstance(expected, str):
        return isinstance(found, str) and _fold(found) == _fold(expected)
    if isinstance(expected, bool) or isinstance(found, bool):
        return found is expected
    return found == expected


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _parse(text: str) -> object:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise NotJsonError from None


def _refuse(constant: str) -> NoReturn:
    raise NotJsonError(constant)
