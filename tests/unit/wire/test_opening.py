from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from providerrank.rules.cells import Cell
from providerrank.rules.challenge import compute_challenge
from providerrank.rules.challenges.shape import Answer, Json, Pinned, ToolCall
from providerrank.wire import canonical
from providerrank.wire.bundle import Contents
from providerrank.wire.canonical import NotCanonical
from providerrank.wire.merkle import Tree
from providerrank.wire.opening import (
    MAX_OPENING,
    MalformedOpening,
    NotIncluded,
    Opening,
    TranscriptMismatch,
    decode_opening,
    encode_opening,
    hash_answer,
    hash_body,
    hash_params,
    verify_opening,
)
from tests.bundles import FORECAST, RECORD, make_bundle

CHALLENGE = compute_challenge(b"beacon", Cell("alpha/m", "tools"), 0)
ANSWER = Answer("Sure.", (ToolCall("get_weather", '{"city": "Lima"}'),))
SIGNED = replace(
    RECORD,
    prompt_hash=hash_body(CHALLENGE.body),
    response_hash=hash_answer(ANSWER),
    params_hash=hash_params(CHALLENGE.pinned),
)
BUNDLE = make_bundle(Contents((replace(RECORD, index=9), SIGNED), (FORECAST,)))
OPENING = Opening(1, BUNDLE.lines[1], Tree(BUNDLE.lines).prove(1), CHALLENGE.body, ANSWER)


def test_an_opened_leaf_is_the_record_that_was_signed() -> None:
    sent = encode_opening(OPENING)
    assert decode_opening(sent) == OPENING
    assert verify_opening(decode_opening(sent), BUNDLE.header) == SIGNED


def other_body() -> dict[str, Json]:
    return compute_challenge(b"beacon", Cell("alpha/m", "tools"), 1).body


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda: replace(OPENING, index=0), NotIncluded),
        (lambda: replace(OPENING, index=-1), NotIncluded),
        (lambda: replace(OPENING, index=2), NotIncluded),
        (lambda: replace(OPENING, line=BUNDLE.lines[0]), NotIncluded),
        (lambda: replace(OPENING, proof=OPENING.proof[:-1]), NotIncluded),
        (lambda: replace(OPENING, body=other_body()), TranscriptMismatch),
        (lambda: replace(OPENING, answer=Answer("Sure", ANSWER.tool_calls)), TranscriptMismatch),
        (lambda: replace(OPENING, answer=Answer("Sure.")), TranscriptMismatch),
        (lambda: replace(OPENING, proof=(bytes(32),) * 33), MalformedOpening),
        (lambda: replace(OPENING, line=b"x" * 600_000), MalformedOpening),
        (
            lambda: replace(OPENING, index=2, line=BUNDLE.lines[2], proof=Tree(BUNDLE.lines).prove(2)),
            MalformedOpening,
        ),
    ],
)
def test_anything_else_is_refused(change: Callable[[], Opening], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        verify_opening(change(), BUNDLE.header)


def test_a_signed_line_that_is_no_line_is_refused() -> None:
    tree = Tree([b"{}"])
    header = replace(BUNDLE.header, records=1, forecasts=0, signals=0, root=tree.root.hex())
    with pytest.raises(MalformedOpening, match="not a line of one of the kinds"):
        verify_opening(Opening(0, b"{}", (), {}, Answer()), header)


FIELDS = canonical.decode(encode_opening(OPENING))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("proof", ["00"]),
        ("proof", [1]),
        ("proof", ["g" * 64]),
        ("proof", ["A" * 64]),
        ("index", True),
        ("index", "1"),
        ("line", 1),
        ("body", []),
        ("answer", {"text": "a"}),
        ("answer", {"text": "a", "tool_calls": [], "x": 1}),
        ("answer", {"text": "a", "tool_calls": [["name"]]}),
        ("answer", {"text": "a", "tool_calls": [["name", 1]]}),
        ("more", 1),
    ],
)
def test_malformed_openings(name: str, value: canonical.Value) -> None:
    assert isinstance(FIELDS, dict)
    with pytest.raises(MalformedOpening):
        decode_opening(canonical.encode({**FIELDS, name: value}))


@pytest.mark.parametrize("data", [b"", b"[]", b"{} ", b" " * (MAX_OPENING + 1)])
def test_bytes_that_are_no_opening(data: bytes) -> None:
    with pytest.raises(MalformedOpening):
        decode_opening(data)


def test_hashes_are_of_the_canonical_bytes() -> None:
    pinned = Pinned(seed=5, max_tokens=64, stop=("\n",))
    text = b'{"max_tokens":64,"seed":5,"stop":["\\n"],"temperature_milli":0}'
    assert hash_params(pinned) == hashlib.sha256(text).hexdigest()
    assert hash_body({"b": 1, "a": "é"}) == hashlib.sha256('{"a":"é","b":1}'.encode()).hexdigest()
    assert hash_answer(Answer("x")) == hashlib.sha256(b'{"text":"x","tool_calls":[]}').hexdigest()
    with pytest.raises(NotCanonical):
        hash_body({"temperature": 0.5})  # type: ignore[dict-item]


def test_half_a_character_in_an_answer_can_be_hashed_and_shown() -> None:
    broken = Answer("a\ud83d", (ToolCall("f", "\udc00"),))
    assert hash_answer(broken) == hash_answer(Answer("a?", (ToolCall("f", "?"),)))
    assert decode_opening(encode_opening(replace(OPENING, answer=broken))).answer.text == "a?"
