from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.wire import canonical
from providerrank.wire.canonical import MAX_DEPTH, MAX_INTEGER, NotCanonical, Value, decode, encode

TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES: st.SearchStrategy[Value] = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


@given(VALUES)
def test_what_is_encoded_is_decoded(value: Value) -> None:
    assert decode(encode(value)) == value


@given(VALUES)
def test_every_json_reader_reads_the_same(value: Value) -> None:
    assert json.loads(encode(value)) == value


@given(VALUES, st.data())
def test_any_other_way_of_writing_it_is_refused(value: Value, data: st.DataObject) -> None:
    written = encode(value)
    at = data.draw(st.integers(0, len(written)))
    spaced = written[:at] + data.draw(st.sampled_from([b" ", b"\n", b"\t"])) + written[at:]
    try:
        assert decode(spaced) != value  # inside a string a space is another value
    except NotCanonical:
        pass
    indented = json.dumps(value, indent=1).encode()
    if indented != written:
        with pytest.raises(NotCanonical):
            decode(indented)


@given(st.binary(max_size=40))
def test_whatever_comes_is_refused_or_is_its_own_encoding(data: bytes) -> None:
    try:
        value = decode(data)
    except NotCanonical:
        return
    assert encode(value) == data


def test_keys_are_in_the_order_of_utf_16_code_units() -> None:
    """The example of RFC 8785, section 3.2.3."""
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    written = encode(dict.fromkeys(names, 0))
    assert list(json.loads(written)) == ordered
    with pytest.raises(NotCanonical):
        decode(json.dumps(dict.fromkeys(sorted(names), 0), ensure_ascii=False, separators=(",", ":")).encode())


def test_strings_are_escaped_as_the_rfc_does() -> None:
    """The string of RFC 8785, section 3.2.2, and its printed result."""
    text = "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/"
    assert encode(text) == '"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"'.encode()


def test_literals_and_empty_containers() -> None:
    assert encode([None, True, False, [], {}, (), -1, 0]) == b"[null,true,false,[],{},[],-1,0]"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"1.0",
        b"1e3",
        b"-0",
        b"01",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b'{"a":1,"a":1}',
        b'{"b":1,"a":2}',
        b'"\\u0041"',
        b'"\\/"',
        b'"\\ud800"',
        b'"\\u00e9"',
        b"\xef\xbb\xbf1",
        b'"\xff"',
        '"a"'.encode("utf-16"),
        b"1 ",
        b"1\n",
        b"[1,]",
        b"{} {}",
        str(2**53).encode(),
        b"1" * 5000,
        b"[" * 100_000,
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    ],
)
def test_bytes_that_are_no_canonical_form(data: bytes) -> None:
    with pytest.raises(NotCanonical):
        decode(data)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [0, 1.5]}, r"\$\.a\[1\] is a float"),
        ({"a": {"b": b""}}, r"\$\.a\.b is a bytes"),
        ([2**53], r"\$\[0\] is an integer past"),
        ({"\x1b[2J": 0.5}, r"\$\['\\x1b\[2J'\] is a float"),
        ([-(2**53)], r"\$\[0\] is an integer past"),
        ({1: 2}, r"\$ has a key that is a int"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 0}, "lone surrogate"),
    ],
)
def test_values_without_a_canonical_form_are_refused_by_place(value: object, place: str) -> None:
    with pytest.raises(NotCanonical, match=place):
        encode(value)


def test_the_bounds_themselves_are_inside() -> None:
    nested: Value = 0
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert decode(encode(nested)) == nested
    with pytest.raises(NotCanonical, match="nested deeper"):
        encode([nested])
    assert decode(encode(MAX_INTEGER)) == MAX_INTEGER
    assert canonical.encode(-MAX_INTEGER) == b"-9007199254740991"
