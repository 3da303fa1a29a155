"""What an endpoint says depends on what it was asked and on its description, on nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.sim.answers import Answer, Refusal, compute_chat, compute_completion
from providerrank.sim.asks import decode_chat, decode_completion
from providerrank.sim.spec import EndpointSpec

PLAIN = EndpointSpec(name="plain")
CONTINUING = EndpointSpec(name="continuing", prefill=True)
WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


def chat(spec: EndpointSpec, *turns: tuple[str, Any], violate: bool = False, **more: Any) -> Answer:
    messages = [{"role": role, "content": content} for role, content in turns]
    return compute_chat(spec, decode_chat(msgspec.json.encode({"messages": messages, **more})), violate)


def text(answer: Answer) -> str:
    decoded: str = msgspec.json.decode(b'"' + b"".join(answer.pieces) + b'"')
    return decoded


def test_two_endpoints_say_the_same() -> None:
    assert text(chat(PLAIN, ("user", "hi"))) == text(chat(CONTINUING, ("user", "hi")))


def test_text_in_parts_is_text() -> None:
    parts = [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]
    assert text(chat(PLAIN, ("user", parts))) == text(chat(PLAIN, ("user", "hi")))


def test_a_diverging_endpoint_differs_from_its_piece_on() -> None:
    diverging = EndpointSpec(name="diverging", diverge_at=5)
    usual, other = chat(PLAIN, ("user", "hi")).pieces, chat(diverging, ("user", "hi")).pieces
    assert usual[:5] == other[:5]
    assert usual[5:] != other[5:]
    assert len(usual) == len(other)


@given(cut=st.integers(1, 200))
def test_a_prefill_is_continued_where_it_stops(cut: int) -> None:
    whole = text(chat(CONTINUING, ("user", "hi")))
    rest = chat(CONTINUING, ("user", "hi"), ("assistant", whole[:cut]))
    assert whole[:cut] + text(rest) == whole
    assert rest.finish == b"stop"


def test_a_prefill_nobody_here_wrote_is_followed_by_something() -> None:
    assert text(chat(CONTINUING, ("user", "hi"), ("assistant", "Strange words")))


def test_an_endpoint_without_prefill_begins_anew() -> None:
    whole = text(chat(PLAIN, ("user", "hi")))
    again = text(chat(PLAIN, ("user", "hi"), ("assistant", whole[:20])))
    assert not (whole[:20] + again).startswith(whole)
    assert len(chat(PLAIN, ("user", "hi"), ("assistant", whole[:20])).pieces) == 32


def test_the_limit_of_tokens_is_kept_and_said() -> None:
    limits: tuple[dict[str, Any], ...] = (
        {"max_tokens": 5},
        {"max_completion_tokens": 5},
        {"max_completion_tokens": 5, "max_tokens": 9},
    )
    for limit in limits:
        answer = chat(PLAIN, ("user", "hi"), **limit)
        assert (len(answer.pieces), answer.finish) == (5, b"length")
    assert chat(PLAIN, ("user", "hi"), max_tokens=32).finish == b"stop"


def test_the_prompt_s_mark_sets_the_length() -> None:
    assert len(chat(PLAIN, ("user", "hi [[tokens=77]]")).pieces) == 77


def test_a_stop_string_ends_the_text_before_it() -> None:
    whole = text(chat(PLAIN, ("user", "hi")))
    stop = whole[31:35]
    assert text(chat(PLAIN, ("user", "hi"), stop=stop)) == whole[: whole.index(stop)]
    assert text(chat(PLAIN, ("user", "hi"), stop=["nowhere in it", stop])) == whole[: whole.index(stop)]


def test_a_tool_is_called_by_its_schema() -> None:
    answer = chat(PLAIN, ("user", "weather?"), tools=[WEATHER])
    assert (answer.tool, answer.finish) == (b"weather", b"tool_calls")
    assert msgspec.json.decode(text(answer)) == {"city": ""}


@pytest.mark.parametrize("choice", ["none", {"type": "function", "function": {"name": "another"}}])
def test_no_tool_is_called_when_the_request_says_so(choice: Any) -> None:
    assert chat(PLAIN, ("user", "weather?"), tools=[WEATHER], tool_choice=choice).tool is None


def test_the_named_tool_is_called() -> None:
    other = {"type": "function", "function": {"name": "other"}}
    choice = {"type": "function", "function": {"name": "weather"}}
    assert chat(PLAIN, ("user", "?"), tools=[other, WEATHER]).tool == b"other"
    assert chat(PLAIN, ("user", "?"), tools=[other, WEATHER], tool_choice=choice).tool == b"weather"


def test_text_follows_a_tool_s_result_and_an_endpoint_without_tools_talks() -> None:
    assert chat(PLAIN, ("user", "?"), ("tool", "sunny"), tools=[WEATHER]).tool is None
    assert chat(EndpointSpec(name="x", tools=False), ("user", "?"), tools=[WEATHER]).tool is None


SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "integer", "minimum": 4}}}


def test_json_is_answered_by_its_schema() -> None:
    assert text(chat(PLAIN, ("user", "?"), response_format=SCHEMA)) == "4"
    assert text(chat(PLAIN, ("user", "?"), response_format={"type": "json_object"})) == "{}"


def test_a_violation_breaks_the_schema_and_the_parameters() -> None:
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(text(chat(PLAIN, ("user", "?"), response_format=SCHEMA, violate=True)))
    assert not isinstance(msgspec.json.decode(text(chat(PLAIN, ("user", "?"), tools=[WEATHER], violate=True))), dict)


def test_what_does_not_fit_the_context_window_is_refused_with_its_code() -> None:
    small = EndpointSpec(name="small", context_window=100)
    chat(small, ("user", "hi"), max_tokens=90)
    for words, limit in (("hi", 100), ("x" * 400, None)):
        with pytest.raises(Refusal) as refused:
            chat(small, ("user", words), max_tokens=limit)
        assert (refused.value.status, refused.value.code) == (400, "context_length_exceeded")


def test_an_impossible_schema_is_refused() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"$ref": "#/nowhere"}}}
    with pytest.raises(Refusal) as refused:
        chat(PLAIN, ("user", "?"), response_format=wanted)
    assert (refused.value.status, refused.value.param) == (400, "response_format")


def test_completions_have_text_too() -> None:
    one = compute_completion(PLAIN, decode_completion(b'{"prompt":"hi","max_tokens":3}'))
    assert (len(one.pieces), one.chat) == (3, False)
    assert compute_completion(PLAIN, decode_completion(b'{"prompt":[[1,2],[3]]}')).pieces


def test_a_sliced_answer_never_cuts_an_escape() -> None:
    schema = {"const": 'quote " backslash \\ control \x01 umlaut ü'}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    answer = chat(PLAIN, ("user", "?"), response_format=wanted)
    assert [msgspec.json.decode(b'"' + piece + b'"') for piece in answer.pieces]
    assert msgspec.json.decode(text(answer)) == schema["const"]
