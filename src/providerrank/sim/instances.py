"""The smallest instance of a JSON schema: what a well-behaved endpoint answers to ``json_schema``.

Covers what OpenAI's structured outputs admit, and the common rest: ``const``, ``enum``, ``default``, ``$ref``
into the same document, ``allOf`` / ``anyOf`` / ``oneOf``, types and lists of types, required properties,
``minItems``, ``prefixItems``, numeric and length bounds, well-known formats. A ``pattern`` is met only where
a listed sample meets it; other keywords are ignored, so an exotic schema may get an answer that breaks it.
"""

from __future__ import annotations

import math
import re
from typing import Any

JsonValue = Any
"""Any JSON value: both what a schema is and what its instances are."""

_DEPTH_LIMIT = 32
"""Past this depth a schema is taken to require itself without end."""

_FORMATS = {
    "date-time": "2026-01-01T00:00:00Z",
    "date": "2026-01-01",
    "time": "00:00:00Z",
    "duration": "P1D",
    "email": "a@example.com",
    "hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}
_PATTERN_SAMPLES = (
    "",
    "a",
    "A",
    "0",
    "aa",
    "AA",
    "00",
    "abc",
    "ABC",
    "123",
    "1234",
    "12345",
    "A1",
    "a1",
    "a-b",
    "2026-01-01",
)


def compute_instance(schema: JsonValue, root: JsonValue = None, depth: int = 0) -> JsonValue:
    """Return a small instance of ``schema``; ``root`` is the document ``$ref`` points into.

    Raises ``ValueError`` where the schema admits nothing or requires itself without end.
    """
    root = schema if root is None else root
    if depth > _DEPTH_LIMIT:
        raise ValueError("the schema requires itself without end")
    if schema is False:
        raise ValueError("the schema admits nothing")
    if not isinstance(schema, dict):
        return {}
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][0]
    if "$ref" in schema:
        return compute_instance(_resolve(root, schema["$ref"]), root, depth + 1)
    if "allOf" in schema:
        return compute_instance(_merge(schema, root), root, depth + 1)
    for keyword in ("anyOf", "oneOf"):
        if schema.get(keyword):
            return _first_possible(schema, keyword, root, depth)
    return _of_type(schema, root, depth)


def _resolve(root: JsonValue, pointer: str) -> JsonValue:
    """Follow a JSON pointer within the document."""
    if not pointer.startswith("#"):
        raise ValueError(f"$ref {pointer!r} points outside the schema")
    here = root
    for step in pointer[1:].split("/")[1:]:
        try:
            here = here[step.replace("~1", "/").replace("~0", "~")]
        except (KeyError, TypeError):
            raise ValueError(f"$ref {pointer!r} points nowhere") from None
    return here


def _merge(schema: dict[str, JsonValue], root: JsonValue) -> dict[str, JsonValue]:
    """Fold ``allOf`` into one schema: properties and required joined, other keywords by the last that has them."""
    merged = {key: value for key, value in schema.items() if key != "allOf"}
    for listed in schema["allOf"]:
        part = listed
        while isinstance(part, dict) and "$ref" in part:
            part = _resolve(root, part["$ref"])
        if not isinstance(part, dict):
            continue
        if "allOf" in part:
            part = _merge(part, root)
        properties = {**merged.get("properties", {}), **part.get("properties", {})}
        required = [*merged.get("required", ()), *part.get("required", ())]
        merged = {**merged, **part}
        if properties:
            merged["properties"] = properties
        if required:
            merged["required"] = list(dict.fromkeys(required))
    return merged


def _first_possible(schema: dict[str, JsonValue], keyword: str, root: JsonValue, depth: int) -> JsonValue:
    """Return an instance of the first alternative that has one, together with the keywords beside it."""
    beside = {key: value for key, value in schema.items() if key != keyword}
    last: ValueError | None = None
    for option in schema[keyword]:
        try:
            return compute_instance({**beside, "allOf": [option]} if beside else option, root, depth + 1)
        except ValueError as error:
            last = error
    raise ValueError(f"no alternative of {keyword} has an instance: {last}")


def _of_type(schema: dict[str, JsonValue], root: JsonValue, depth: int) -> JsonValue:
    """Return an instance by the schema's type, or by the type its keywords imply."""
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if kind is None:
        kind = "array" if "items" in schema or "prefixItems" in schema else "object"
    if kind == "object":
        properties = schema.get("properties", {})
        return {
            name: compute_instance(properties.get(name, {"type": "string"}), root, depth + 1)
            for name in schema.get("required", ())
        }
    if kind == "array":
        items = [compute_instance(item, root, depth + 1) for item in schema.get("prefixItems", ())]
        while len(items) < schema.get("minItems", 0):
            items.append(compute_instance(schema.get("items", {"type": "string"}), root, depth + 1))
        return items
    if kind == "string":
        return _text(schema)
    if kind in ("integer", "number"):
        return _number(schema, whole=kind == "integer")
    return False if kind == "boolean" else None


def _text(schema: dict[str, JsonValue]) -> str:
    """Return a short string within the bounds."""
    known = _FORMATS.get(schema.get("format", ""))
    if known is not None:
        return known
    least: int = schema.get("minLength", 0)
    most: float = schema.get("maxLength", math.inf)
    samples = ["x" * least, *_PATTERN_SAMPLES]
    pattern = schema.get("pattern")
    for sample in samples:
        if least <= len(sample) <= most and (pattern is None or re.search(pattern, sample)):
            return sample
    return samples[0]


def _number(schema: dict[str, JsonValue], whole: bool) -> int | float:
    """Return the number nearest to 0 within the bounds."""
    step = schema.get("multipleOf", 1)
    low = max(schema.get("minimum", -math.inf), schema.get("exclusiveMinimum", -math.inf))
    high = min(schema.get("maximum", math.inf), schema.get("exclusiveMaximum", math.inf))
    value: int | float = 0
    if low > 0 or schema.get("exclusiveMinimum") == 0:
        value = math.ceil(low / step) * step
        value += step if value == schema.get("exclusiveMinimum") else 0
    elif high < 0 or schema.get("exclusiveMaximum") == 0:
        value = math.floor(high / step) * step
        value -= step if value == schema.get("exclusiveMaximum") else 0
    if not whole and not low <= value <= high:
        value = (low + high) / 2
    return value
