"""The work of a check is bounded before it is done."""

from __future__ import annotations

import json

import pytest

from providerrank.gateway.schema_cost import MAX_PATTERNS, UNBOUNDED, SchemaCost, measure_depth
from providerrank.gateway.schemas import breaks_schema


def visits(schema: object, depth: int = 0) -> float:
    return SchemaCost(schema).visits(depth)


def double(levels: int) -> dict[str, object]:
    """References that double at each level."""
    defs: dict[str, object] = {"a0": {"type": "integer"}}
    for level in range(levels):
        to = {"$ref": f"#/$defs/a{level}"}
        defs[f"a{level + 1}"] = {"allOf": [to, to]}
    return {"$defs": defs, "$ref": f"#/$defs/a{levels}"}


@pytest.mark.parametrize(
    ("schema", "depth", "cost"),
    [
        (True, 0, 1),
        ({}, 9, 1),
        ({"allOf": [{}, {}], "not": {}}, 0, 4),
        ({"dependentSchemas": {"a": {}, "b": {}}}, 0, 3),
        ({"if": {}, "then": True, "else": False}, 0, 4),
        ({"items": {"items": {}}}, 0, 1),
        ({"items": {"items": {}}}, 1, 2),
        ({"items": {"items": {}}}, 9, 3),
        ({"properties": {"a": {}, "b": {"items": {}}}}, 9, 1 + 2 + 2),
        ({"patternProperties": {"a": {}, "b": {}}}, 9, 1 + 40 + 2),
        ({"prefixItems": [{}, {}], "items": [{}]}, 9, 4 + 1),
        ({"required": ["a", "b"]}, 0, 3),
        ({"pattern": "a"}, 0, 21),
        ({"enum": ["a"] * 1000}, 0, 1),
        ({"enum": [{"a": 1}] * 1000}, 0, 1 + 2001),
        ({"const": {"a": [1, 2]}}, 0, 1 + 4 + 1 - 1),
        ({"$ref": "#/$defs/a%20b~1c", "$defs": {"a b/c": {}}}, 0, 2),
        ({"anyOf": [{"$ref": "#/anyOf/1"}, {}]}, 0, 4),
    ],
)
def test_what_is_visited(schema: object, depth: int, cost: float) -> None:
    assert visits(schema, depth) == cost


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"allOf": [{"$ref": "#"}, {"$ref": "#"}]},
        {"not": {"$ref": "#/not"}},
        {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
        {"$ref": "http://json-schema.org/draft-07/schema#"},
        {"$ref": "#name"},
        {"$ref": "#/nowhere"},
        {"anyOf": [], "$ref": "#/anyOf/0"},
        {"items": {"$dynamicRef": "#a"}},
        {"items": {"$id": "http://a/", "$ref": "#/x"}},
        {"allOf": [{"pattern": f"a{number}"} for number in range(MAX_PATTERNS + 1)]},
        {"patternProperties": {f"a{number}": {} for number in range(MAX_PATTERNS + 1)}},
    ],
    ids=lambda schema: json.dumps(schema)[:40],
)
def test_what_has_no_bound_is_not_checked(schema: dict[str, object]) -> None:
    assert visits(schema, 0) == UNBOUNDED
    assert not breaks_schema(json.dumps(schema | {"type": "integer"}).encode(), '"x"')


def test_what_doubles_costs_double() -> None:
    assert visits(double(10)) == 4 * 2**10 - 2
    assert visits(double(60)) > 1e18
    assert not breaks_schema(json.dumps(double(60)).encode(), '"x"'), "hours, and so nobody looked"
    assert breaks_schema(json.dumps(double(8)).encode(), '"x"')


def test_a_recursive_schema_costs_by_the_depth_of_the_answer() -> None:
    tree = {"type": ["integer", "array"], "items": {"$ref": "#"}}
    assert visits(tree, 0) == 1
    assert visits(tree, 50) < 200
    assert not breaks_schema(json.dumps(tree).encode(), "[" * 50 + "1" + "]" * 50)
    assert breaks_schema(json.dumps(tree).encode(), "[" * 50 + '"x"' + "]" * 50)
    forking = {"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}, "minItems": 9}]}
    assert visits(forking, 40) >= 2**40
    assert breaks_schema(json.dumps({**forking, "type": "array"}).encode(), "5")
    assert not breaks_schema(json.dumps({**forking, "not": {}}).encode(), "[" * 40 + "]" * 40), "nobody looked"


def test_alternatives_that_many_real_schemas_have_are_checked() -> None:
    kinds = [
        {
            "type": "object",
            "properties": {
                "type": {"const": name},
                "label": {"type": "string"},
                "children": {"type": "array", "items": {"$ref": "#/$defs/ui"}},
            },
            "required": ["type", "label", "children"],
            "additionalProperties": False,
        }
        for name in ("div", "button", "field")
    ]
    schema = {"$defs": {"ui": {"anyOf": kinds}}, "$ref": "#/$defs/ui"}
    text = json.dumps({"type": "div", "label": "a", "children": [{"type": "button", "label": "b", "children": []}]})
    assert not breaks_schema(json.dumps(schema).encode(), text)
    assert breaks_schema(json.dumps(schema).encode(), text.replace("button", "x"))


def test_a_pattern_is_matched_in_one_pass() -> None:
    assert breaks_schema(b'{"pattern":"^(a+)+$"}', json.dumps("a" * 50_000 + "!"))
    assert not breaks_schema(b'{"pattern":"^(?=a)b"}', '"x"'), "look-around goes back: it is not run"
    assert not breaks_schema(rb'{"pattern":"(\\w{1000}){10}"}', '"x"'), "takes long to compile"


def test_a_large_answer_to_a_costly_schema_is_not_checked() -> None:
    schema = json.dumps({"items": {"enum": [{"a": number} for number in range(5_000)]}}).encode()
    assert breaks_schema(schema, json.dumps([{"a": -1}]))
    assert not breaks_schema(schema, json.dumps([{"a": -1}] * 5_000))


def test_an_answer_deeper_than_any_is_not_checked() -> None:
    forking = {"anyOf": [{"items": {"$ref": "#"}}, {"items": {"$ref": "#"}, "minItems": 9}], "type": "array"}
    assert not breaks_schema(json.dumps({**forking, "not": {}}).encode(), "[" * 300 + "]" * 300)


@pytest.mark.parametrize(
    ("value", "depth"), [(1, 0), ([], 0), ({}, 0), ([1], 1), ({"a": [1, {"b": 2}]}, 3), ([[], [[]]], 2)]
)
def test_how_deep_a_value_is(value: object, depth: int) -> None:
    assert measure_depth(value) == depth
