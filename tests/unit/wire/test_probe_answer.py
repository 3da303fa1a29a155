"""An answer out of events."""

from __future__ import annotations

import json

import pytest

from providerrank.rules.challenges.shape import Answer, ToolCall
from providerrank.wire.answer import read_event
from providerrank.wire.errors import Malformed
from providerrank.wire.probe_answer import MAX_CALLS, AnswerReader


def feed(reader: AnswerReader, event: object) -> bool:
    return reader.feed(read_event(json.dumps(event).encode()))


def piece(delta: object, finish: str | None = None, index: int = 0) -> dict[str, object]:
    return {"choices": [{"index": index, "delta": delta, "finish_reason": finish}]}


def test_text_is_put_together_and_usage_read() -> None:
    reader = AnswerReader()
    assert not feed(reader, piece({"role": "assistant"}))
    assert feed(reader, piece({"content": "Hel"}))
    assert feed(reader, piece({"content": "lo"}, "stop"))
    assert AnswerReader().tokens == (None, None)
    assert not feed(reader, {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}})
    assert reader.get() == Answer("Hello")
    assert reader.is_whole
    assert reader.tokens == (5, 2)


def test_calls_are_put_together_by_index() -> None:
    reader = AnswerReader()
    assert feed(reader, piece({"tool_calls": [{"index": 1, "function": {"name": "b", "arguments": "{"}}]}))
    assert feed(reader, piece({"tool_calls": [{"index": 0, "function": {"name": "a", "arguments": "{}"}}]}))
    assert feed(reader, piece({"tool_calls": [{"index": 1, "function": {"arguments": "}"}}, {"index": 1}]}))
    assert reader.get() == Answer("", (ToolCall("a", "{}"), ToolCall("b", "{}")))
    assert not reader.is_whole


def test_thoughts_begin_an_answer_and_are_not_in_it_and_other_choices_do_not_count() -> None:
    reader = AnswerReader()
    assert feed(reader, piece({"reasoning_content": "hm"}))
    assert not feed(reader, piece({"content": "no"}, "stop", index=1))
    assert not feed(reader, {"choices": [{"finish_reason": "length"}]})
    assert reader.get() == Answer()
    assert reader.is_whole


@pytest.mark.parametrize(
    "event",
    [
        {"error": {"message": "no"}},
        piece({}, "error"),
        piece({"tool_calls": [7]}),
        piece({"tool_calls": [{"index": at} for at in range(MAX_CALLS + 1)]}),
    ],
)
def test_what_is_no_answer_is_malformed(event: object) -> None:
    with pytest.raises(Malformed):
        feed(AnswerReader(), event)


def test_an_answer_that_was_not_streamed() -> None:
    reader = AnswerReader()
    message = {
        "content": None,
        "tool_calls": [{"function": {"name": "a", "arguments": "1"}}, {"function": {"name": "b", "arguments": "2"}}],
    }
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    body = {"choices": [{"message": message, "finish_reason": "tool_calls"}], "usage": usage}
    reader.feed_whole(json.dumps(body).encode())
    assert reader.get() == Answer("", (ToolCall("a", "1"), ToolCall("b", "2")))
    assert reader.is_whole
    assert reader.tokens == (1, 2)
    plain = AnswerReader()
    plain.feed_whole(b'{"choices":[{"text":"hi","finish_reason":"stop"}]}')
    assert plain.get() == Answer("hi")
    with pytest.raises(Malformed):
        AnswerReader().feed_whole(b"{}")
