"""Canonical JSON (RFC 8785) of what is hashed and signed: integers and strings, lists and objects of them.

A value has exactly one encoding, so a hash of the bytes is a hash of the value. Two parties that write it in
different languages need three rules of RFC 8785, and a fourth of ours:

* no white space; strings as JSON's shortest, everything past ASCII as itself in UTF-8;
* object keys in the order of their UTF-16 code units (not of code points: U+1F600 sorts before U+FB33);
* no key twice, no lone surrogate, no number past 2^53 - 1 in size (what every JSON reader keeps exact);
* no fractions at all. Numbers are where encoders disagree, so whatever has a fraction is scaled to an integer before
  it gets here (``temperature_milli``, ``ttft_us``, ``weight_ppm``).

``decode`` takes nothing but what ``encode`` would have written: bytes that parse but are not canonical are refused,
or one value would have two hashes.
"""

from __future__ import annotations

import json
from json.encoder import encode_basestring
from typing import TypeAlias

from providerrank.wire.errors import WireError

Value: TypeAlias = "bool | int | str | list[Value] | dict[str, Value] | None"

MAX_INTEGER = 2**53 - 1
"""RFC 7493's bound: the largest integer below which every integer is a double of its own."""
MAX_DEPTH = 32
"""Nesting of lists and objects; a tool's JSON schema, the deepest thing we hash, stays below ten."""


class NotCanonical(WireError):
    """A value that has no canonical encoding, or bytes that are not one."""


def encode(value: object) -> bytes:
    """Return the one encoding of a value. Raises ``NotCanonical``, naming the place, where it has none."""
    parts: list[str] = []
    _write(value, parts, "$", 0)
    try:
        return "".join(parts).encode()
    except UnicodeEncodeError:
        raise NotCanonical("a string holds a lone surrogate, which no UTF-8 can carry: replace it") from None


def decode(data: bytes) -> Value:
    """Return the value that ``data`` is the canonical encoding of. Raises ``NotCanonical`` for any other bytes."""
    try:
        value: Value = json.loads(
            data.decode(), object_pairs_hook=_build_object, parse_float=_refuse_number, parse_constant=_refuse_number
        )
    except RecursionError:
        raise NotCanonical(f"nested deeper than {MAX_DEPTH}") from None
    except ValueError as error:
        raise NotCanonical(f"not JSON in UTF-8: {error}") from None
    if encode(value) != data:
        raise NotCanonical("JSON, but not in its canonical form (spaces, order of keys, escapes or numbers differ)")
    return value


def _write(value: object, parts: list[str], place: str, depth: int) -> None:
    if isinstance(value, str):
        parts.append(encode_basestring(value))
    elif value is None:
        parts.append("null")
    elif value is True:
        parts.append("true")
    elif value is False:
        parts.append("false")
    elif isinstance(value, int):
        if not -MAX_INTEGER <= value <= MAX_INTEGER:
            raise NotCanonical(f"{place} is an integer past 2^53 - 1: give it as a string")
        parts.append(int.__repr__(value))
    elif isinstance(value, list | tuple | dict):
        if depth == MAX_DEPTH:
            raise NotCanonical(f"{place} is nested deeper than {MAX_DEPTH}")
        if isinstance(value, dict):
            _write_object(value, parts, place, depth + 1)
        else:
            _write_list(value, parts, place, depth + 1)
    else:
        raise NotCanonical(f"{place} is a {type(value).__name__}: only integers and strings are hashed")


def _write_list(value: list[object] | tuple[object, ...], parts: list[str], place: str, depth: int) -> None:
    opening = "["
    for index, item in enumerate(value):
        parts.append(opening)
        _write(item, parts, f"{place}[{index}]", depth)
        opening = ","
    parts.append("]" if value else "[]")


def _write_object(value: dict[object, object], parts: list[str], place: str, depth: int) -> None:
    names: list[str] = []
    for name in value:
        if not isinstance(name, str):
            raise NotCanonical(f"{place} has a key that is a {type(name).__name__}: keys are strings")
        names.append(name)
    opening = "{"
    for name in sorted(names, key=_get_utf16):
        parts.append(opening)
        parts.append(encode_basestring(name))
        parts.append(":")
        _write(value[name], parts, f"{place}.{name}" if name.isidentifier() else f"{place}[{name[:40]!r}]", depth)
        opening = ","
    parts.append("}" if names else "{}")


def _get_utf16(name: str) -> bytes:
    """Big-endian bytes, which compare as the code units do."""
    return name.encode("utf-16-be", "surrogatepass")


def _build_object(pairs: list[tuple[str, Value]]) -> dict[str, Value]:
    built = dict(pairs)
    if len(built) != len(pairs):
        raise NotCanonical("an object names a key twice")
    return built


def _refuse_number(text: str) -> None:
    raise NotCanonical(f"{text} is not an integer: only integers and strings are hashed")
