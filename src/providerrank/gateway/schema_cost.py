"""How much work checking an answer against a schema can be, before it is done.

A schema is a stranger's program, and what it checks another stranger's input. Written with care, two kilobytes of it
run for hours: subschemas that apply to the same place double at every reference, and a recursive one doubles at every
level of the answer. So the work is bounded before it begins, by what can be known of the schema alone::

    visits(schema, depth) = itself + those that apply to the same place + those that apply one level further in

where of ``properties`` only one applies to any one place inside. References are followed; one that leads back to its
own place never ends. The whole is at most the visits on one path through the answer times the places in it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote

UNBOUNDED: Final = float("inf")

_SAME_ONE = ("not", "if", "then", "else")
_SAME_LIST = ("allOf", "anyOf", "oneOf")
_SAME_NAMED = ("dependentSchemas", "dependencies")
_INNER_ONE = (
    "additionalItems", "additionalProperties", "contains", "items", "propertyNames", "unevaluatedItems",
    "unevaluatedProperties",
)  # fmt: skip
_OPAQUE = ("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor")
"""What makes a reference lead elsewhere than its words say."""

MAX_PATTERNS = 100
"""Regular expressions of one schema: each takes up to milliseconds to compile."""

MAX_LEVELS = 150
"""Of references and subschemas within one another."""

MAX_STEPS = 20_000
"""Taken to find a bound, some 20 ms; a schema that needs more has none."""

REGEX_COST = 20
"""Visits that one regular expression costs."""


class SchemaCost:
    """The bound for one schema. ``visits`` is infinite where there is none."""

    def __init__(self, schema: object) -> None:
        self._root = schema
        self._bounds: dict[int, float] = {}
        self._known: dict[tuple[int, int], float] = {}
        self._open: set[tuple[int, int]] = set()
        self._patterns = 0
        self._is_opaque = False
        self._survey(schema, 0)
        self.is_checked = self._patterns <= MAX_PATTERNS and not self._is_opaque
        """Whether it is a schema whose cost can be told at all."""

    def visits(self, depth: int) -> float:
        """Subschemas looked at on one path through an answer ``depth`` levels deep, at most."""
        if not self.is_checked:
            return UNBOUNDED
        if depth not in self._bounds:
            self._bounds[depth] = self._visit(self._root, depth, 0)
            self._known.clear()
        return self._bounds[depth]

    def _survey(self, value: object, level: int) -> None:
        """Count patterns, and find what makes references opaque, wherever it stands."""
        if level > MAX_LEVELS:
            self._is_opaque = True
        elif isinstance(value, dict):
            self._patterns += isinstance(value.get("pattern"), str)
            named = value.get("patternProperties")
            self._patterns += len(named) if isinstance(named, dict) else 0
            self._is_opaque = self._is_opaque or any(isinstance(value.get(name), str) for name in _OPAQUE)
            # A subschema with an identity of its own is another root for references.
            self._is_opaque = self._is_opaque or (level > 0 and isinstance(value.get("$id"), str))
            for inner in value.values():
                self._survey(inner, level + 1)
        elif isinstance(value, list):
            for inner in value:
                self._survey(inner, level + 1)

    def _visit(self, schema: object, depth: int, level: int) -> float:
        if not isinstance(schema, dict):
            return 1
        key = (id(schema), depth)
        if key in self._known:
            return self._known[key]
        if key in self._open or level > MAX_LEVELS or len(self._known) > MAX_STEPS:
            return UNBOUNDED
        self._open.add(key)
        cost = 1 + _get_own(schema)
        reference = schema.get("$ref")
        if isinstance(reference, str):
            cost += self._follow(reference, depth, level + 1)
        for same in _get_same(schema):
            cost += self._visit(same, depth, level + 1)
        if depth > 0:
            cost += self._visit_inner(schema, depth - 1, level + 1)
        self._open.discard(key)
        self._known[key] = cost
        return cost

    def _visit_inner(self, schema: dict[str, object], depth: int, level: int) -> float:
        inner = [schema[name] for name in _INNER_ONE if name in schema]
        for name in ("items", "prefixItems"):
            listed = schema.get(name)
            if isinstance(listed, list):
                inner += listed
        patterns = schema.get("patternProperties")
        if isinstance(patterns, dict):
            inner += patterns.values()
        cost = sum(self._visit(one, depth, level) for one in inner)
        named = schema.get("properties")
        if isinstance(named, dict):
            cost += max((self._visit(one, depth, level) for one in named.values()), default=0)
        return cost

    def _follow(self, reference: str, depth: int, level: int) -> float:
        """The cost of what a reference leads to; none can be told of what is not in this schema."""
        place = self._root
        pointer = unquote(reference.removeprefix("#"))
        if not reference.startswith("#") or (pointer and not pointer.startswith("/")):
            return UNBOUNDED
        for part in pointer.split("/")[1:]:
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(place, dict) and name in place:
                place = place[name]
            elif isinstance(place, list) and name.isdecimal() and int(name) < len(place):
                place = place[int(name)]
            else:
                return UNBOUNDED
        return self._visit(place, depth, level)


def _get_same(schema: dict[str, object]) -> list[object]:
    """Subschemas that apply to the place this one applies to."""
    same = [schema[name] for name in _SAME_ONE if name in schema]
    for name in _SAME_LIST:
        listed = schema.get(name)
        if isinstance(listed, list):
            same += listed
    for name in _SAME_NAMED:
        named = schema.get(name)
        if isinstance(named, dict):
            same += named.values()
    return same


def _get_own(schema: dict[str, object]) -> float:
    """What a schema costs beside its subschemas."""
    cost = 0.0
    for name in ("properties", "required", "dependentRequired"):
        listed = schema.get(name)
        if isinstance(listed, (dict, list)):
            cost += len(listed)
    patterns = schema.get("patternProperties")
    if isinstance(patterns, dict):
        cost += REGEX_COST * len(patterns)
    if "pattern" in schema:
        cost += REGEX_COST
    for name in ("enum", "const"):
        value = schema.get(name)
        # Plain values are looked up; the rest is compared one by one.
        if (isinstance(value, list) and any(isinstance(one, (dict, list)) for one in value)) or isinstance(value, dict):
            cost += _count(value)
    return cost


def _count(value: object) -> int:
    """How many values a value is made of."""
    if isinstance(value, dict):
        return 1 + sum(_count(one) for one in value.values())
    if isinstance(value, list):
        return 1 + sum(_count(one) for one in value)
    return 1


def measure_depth(value: object) -> int:
    """How many levels a value has; a bare one has 0."""
    depth, level = 0, [value]
    while True:
        level = [
            inner
            for one in level
            if isinstance(one, (dict, list))
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return depth
        depth += 1
