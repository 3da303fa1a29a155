"""Tool calls as their client would put them together."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.wire.answer import read_reply
from providerrank.wire.raw import Raw
from providerrank.wire.tool_calls import MAX_BYTES, Call, Calls, read_calls


def raws(*calls: object) -> list[Raw]:
    return [Raw(json.dumps(call).encode()) for call in calls]


def test_the_calls_of_a_message() -> None:
    assert read_calls(
        raws(
            {"id": "1", "type": "function", "function": {"name": "look", "arguments": '{"a":1}'}},
            {"function": {"name": "now"}},
            {"function": {"name": "odd", "arguments": {"a": 1}}},
            {"function": {"arguments": "{}"}},
            {"type": "custom", "custom": {"name": "x", "input": "y"}},
            {"function": 5},
            7,
        )
    ) == [Call("look", '{"a":1}'), Call("now", ""), Call("odd", None), Call("", "{}")]


def test_only_the_calls_of_whole_choices_are_judged() -> None:
    choices = [
        {"finish_reason": reason, "message": {"tool_calls": [{"function": {"name": reason}}]}}
        for reason in ("tool_calls", "stop", "length", "content_filter")
    ]
    reply = read_reply(json.dumps({"choices": [*choices, {"finish_reason": "stop", "text": "x"}]}).encode())
    assert [call.name for call in read_calls(reply.tool_calls)] == ["tool_calls", "stop"]


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=5)), max_size=30))
def test_pieces_come_together_by_their_index(pieces: list[tuple[int, str]]) -> None:
    calls, said, seen = Calls(), dict[int, str](), set[int]()
    for index, text in pieces:
        function = {"arguments": text} if index in seen else {"name": f"f{index}", "arguments": text}
        calls.add(raws({"index": index, "function": function}))
        seen.add(index)
        said[index] = said.get(index, "") + text
    assert calls.read() == [Call(f"f{index}", text) for index, text in said.items()]


def test_what_is_no_piece_of_a_call_is_passed_over() -> None:
    calls = Calls()
    calls.add([Raw(b"{"), Raw(b'{"index":0}')])
    calls.add(raws({"function": {"name": "a", "arguments": None}}, {"index": 0, "function": {"name": "b"}}))
    assert calls.read() == [Call("a", "")]


@pytest.mark.parametrize(("size", "count"), [(MAX_BYTES, 1), (MAX_BYTES + 1, 0)])
def test_more_than_is_kept_is_not_judged(size: int, count: int) -> None:
    calls = Calls()
    calls.add(raws({"function": {"name": "a", "arguments": "x" * size}}))
    calls.add(raws({"index": 1, "function": {"arguments": ""}}))
    assert len(calls.read()) == (2 if count else 0)
