"""The instance of a schema follows the schema, says an independent validator."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from providerrank.sim.instances import compute_instance

SCHEMAS: list[Any] = [
    {},
    True,
    {"type": "string"},
    {"type": "string", "minLength": 5, "maxLength": 6},
    {"type": "string", "format": "date-time"},
    {"type": "string", "pattern": "^[A-Z]{3}$"},
    {"type": "integer", "minimum": 3},
    {"type": "integer", "exclusiveMinimum": 3},
    {"type": "integer", "exclusiveMinimum": 0},
    {"type": "integer", "maximum": -4},
    {"type": "integer", "exclusiveMaximum": 0},
    {"type": "integer", "minimum": 10, "multipleOf": 7},
    {"type": "number", "minimum": 0.2, "maximum": 0.4},
    {"type": "number", "maximum": -0.5},
    {"type": "boolean"},
    {"type": "null"},
    {"type": ["null", "string"]},
    {"enum": ["b", "a"]},
    {"const": {"x": 1}},
    {"type": "array", "items": {"type": "integer"}, "minItems": 2},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
    {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "number"}}, "required": ["a", "b"]},
    {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
    {"anyOf": [{"type": "integer"}, {"type": "string"}]},
    {"oneOf": [False, {"type": "string"}]},
    {"type": "object", "properties": {"n": {"type": "integer"}}, "anyOf": [{"required": ["n"]}]},
    {"allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}, {"required": ["b"]}], "type": "object"},
    {"$defs": {"p": {"type": "integer", "minimum": 2}}, "type": "array", "items": {"$ref": "#/$defs/p"}, "minItems": 1},
    {
        "$defs": {
            "node": {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}
        },
        "$ref": "#/$defs/node",
    },
    {
        "$defs": {"n": {"properties": {"n": {"anyOf": [{"$ref": "#/$defs/n"}, {"type": "null"}]}}, "required": ["n"]}},
        "$ref": "#/$defs/n",
    },
    {"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"allOf": [{"required": ["x"], "type": "object"}]}}},
]


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
def test_an_instance_follows_its_schema(schema: Any) -> None:
    jsonschema_rs.validate(schema, compute_instance(schema))


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (False, "admits nothing"),
        ({"anyOf": [False, False]}, "no alternative of anyOf"),
        ({"$ref": "#/$defs/none"}, "points nowhere"),
        ({"$ref": "https://example.com/schema"}, "outside the schema"),
        ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "without end"),
    ],
)
def test_a_schema_without_an_instance_is_said_to_have_none(schema: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        compute_instance(schema)


def scalars() -> st.SearchStrategy[Any]:
    bounds = st.tuples(st.integers(-50, 50), st.integers(0, 50))
    return st.one_of(
        st.just({"type": "boolean"}),
        bounds.map(lambda b: {"type": "integer", "minimum": b[0], "maximum": b[0] + b[1]}),
        bounds.map(lambda b: {"type": "number", "exclusiveMinimum": b[0], "maximum": b[0] + b[1] + 1}),
        st.integers(0, 9).map(lambda n: {"type": "string", "minLength": n, "maxLength": n + 1}),
        st.lists(st.text(max_size=3), min_size=1, max_size=3).map(lambda values: {"enum": values}),
    )


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    properties = st.dictionaries(st.text(max_size=4), inner, max_size=3)
    return st.one_of(
        properties.map(
            lambda p: {"type": "object", "properties": p, "required": list(p), "additionalProperties": False}
        ),
        st.tuples(inner, st.integers(0, 2)).map(lambda t: {"type": "array", "items": t[0], "minItems": t[1]}),
        st.lists(inner, min_size=1, max_size=2).map(lambda options: {"anyOf": options}),
    )


@settings(deadline=None)
@given(st.recursive(scalars(), nested, max_leaves=8))
def test_an_instance_of_a_made_up_schema_follows_it(schema: Any) -> None:
    jsonschema_rs.validate(schema, compute_instance(schema))
