"""A 200 answer is whole or it is not; one stream's events become another's."""

from __future__ import annotations

import msgspec
import pytest

from providerrank.wire.answer import (
    MAX_TOKENS,
    Delta,
    Usage,
    read_event,
    read_id,
    read_reply,
    rewrite_event,
    show,
    write_usage_event,
)
from providerrank.wire.errors import Malformed


def reply(choice: str, rest: str = "") -> bytes:
    return f'{{"id":"x","choices":[{choice}]{rest}}}'.encode()


def chat(message: str, finish: str = '"stop"') -> bytes:
    return reply(f'{{"index":0,"message":{message},"finish_reason":{finish}}}')


# ---- whole answers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "empty body"),
        (b"<html>", "not a JSON answer"),
        (b"[]", "not a JSON answer"),
        (b"null", "not a JSON answer"),
        (b'{"choices":[{"message":{"content":"hal', "not a JSON answer"),
        (b'{"choices":"none"}', "not a JSON answer"),
        (b'{"choices":[{"message":{"content":5}}]}', "not a JSON answer"),
        (b'{"choices":[{"message":{"content":"\xff"}}]}', "not a JSON answer"),
        (b'{"x":' + b"[" * 100_000, "not a JSON answer"),
        (b"{}", "no choices"),
        (b'{"choices":[]}', "no choices"),
        (b'{"choices":null}', "no choices"),
        (b'{"error":{"message":"busy","code":503}}', 'error object: {"message":"busy","code":503}'),
        (b'{"error":"busy","choices":[{"text":"x","finish_reason":"stop"}]}', 'error object: "busy"'),
        (chat('{"content":"x"}', '"error"'), "finish reason 'error'"),
        (chat('{"content":""}', "null"), "an empty choice without a finish reason"),
        (chat('{"content":null}', "null"), "an empty choice without a finish reason"),
        (chat("{}", "null"), "an empty choice without a finish reason"),
        (chat('{"content":[],"tool_calls":[]}', "null"), "an empty choice without a finish reason"),
        (reply('{"text":""}'), "an empty choice without a finish reason"),
        (reply("{}"), "an empty choice without a finish reason"),
        (reply('{"text":"x"},{"text":""}'), "an empty choice without a finish reason"),
    ],
)
def test_an_answer_that_is_none_says_why(body: bytes, detail: str) -> None:
    with pytest.raises(Malformed) as malformed:
        read_reply(body)
    assert str(malformed.value) == detail


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (chat('{"role":"assistant","content":"hi"}'), "hi"),
        (chat('{"content":"hi"}', "null"), "hi"),
        (chat('{"content":"cut"}', '"length"'), "cut"),
        (chat('{"content":""}'), ""),
        (chat('{"content":null}'), ""),
        (chat('{"content":null,"tool_calls":[{"id":"c"}]}', '"tool_calls"'), ""),
        (chat('{"content":null,"tool_calls":[{"id":"c"}]}', "null"), ""),
        (chat('{"content":null,"function_call":{"name":"f"}}', "null"), ""),
        (chat('{"content":null,"refusal":"no"}', "null"), ""),
        (chat('{"content":null,"reasoning_content":"hm"}', "null"), ""),
        (chat('{"content":null,"reasoning":"hm"}', "null"), ""),
        (chat('{"content":null,"audio":{"id":"a"}}', "null"), ""),
        (chat('{"content":[{"type":"text","text":"parts"}]}', "null"), ""),
        (reply('{"text":"hi","finish_reason":"stop"}'), "hi"),
        (reply('{"text":"hi"}'), "hi"),
        (reply('{"text":null,"finish_reason":"stop"}'), ""),
        (reply('{"text":"hi","finish_reason":"stop"}', ',"error":null,"x":1e999'), "hi"),
    ],
)
def test_an_answer_that_is_one(body: bytes, text: str) -> None:
    assert read_reply(body).text == text


@pytest.mark.parametrize(
    ("body", "plain"),
    [
        (chat('{"content":"x"}'), True),
        (chat('{"content":"x"}', '"length"'), False),
        (chat('{"content":"x","refusal":"no"}'), False),
        (chat('{"content":"x","tool_calls":[1]}'), False),
        (reply('{"text":"x","finish_reason":"stop"}'), True),
    ],
)
def test_whether_an_answer_claims_to_be_all_of_it(body: bytes, plain: bool) -> None:
    assert read_reply(body).is_plain_and_complete is plain


def test_an_answer_without_choices_has_no_text() -> None:
    empty = msgspec.convert({}, type=type(read_reply(chat('{"content":"x"}'))))
    assert (empty.text, empty.is_plain_and_complete) == ("", False)


@pytest.mark.parametrize(
    ("written", "usage"),
    [
        ('{"prompt_tokens":3,"completion_tokens":0,"total_tokens":3}', Usage(3, 0)),
        ("{}", Usage()),
        ("null", None),
        ('{"prompt_tokens":null}', Usage()),
        ('{"prompt_tokens":-3,"completion_tokens":-1}', Usage()),
        (f'{{"prompt_tokens":{MAX_TOKENS},"completion_tokens":{MAX_TOKENS + 1}}}', Usage(MAX_TOKENS, None)),
        (f'{{"prompt_tokens":{"9" * 40},"completion_tokens":5}}', Usage(None, 5)),
    ],
)
def test_usage_is_what_an_answer_can_have(written: str, usage: Usage | None) -> None:
    assert read_reply(reply('{"text":"x"}', f',"usage":{written}')).usage == usage


def test_an_error_is_shown_in_one_bounded_line() -> None:
    assert show({"message": "a\nb"}) == '{"message":"a\\nb"}'
    assert len(show("x" * 1_000)) == 200


# ---- events of a stream -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [b"", b"{", b"[]", b"nonsense", b'{"choices":5}', b'{"x":' + b"[" * 100_000])
def test_an_event_that_is_none(payload: bytes) -> None:
    with pytest.raises(Malformed, match="not a JSON event"):
        read_event(payload)


def test_an_event_is_read_as_far_as_relaying_needs() -> None:
    event = read_event(b'{"id":"a","choices":[{"index":1,"delta":{"content":"x"},"finish_reason":null}],"usage":null}')
    assert event.choices is not None
    (choice,) = event.choices
    assert choice.delta is not None
    assert (event.id, choice.index, choice.delta.content, choice.finish_reason) == ("a", 1, "x", None)
    assert (event.usage, event.error) == (None, None)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b'{"choices":[{"index":0,"delta":{"content":"x"}}]}', "x"),
        (b'{"choices":[{"delta":{"content":"x"}}],"usage":null}', "x"),
        (b'{"choices":[{"delta":{"content":null}}]}', None),
        (b'{"choices":[{"index":1,"delta":{"content":"x"}}]}', None),
        (b'{"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}', None),
        (b'{"choices":[{"delta":{"content":"x","reasoning":"y"}}]}', None),
        (b'{"choices":[{"delta":{"content":"x"}},{"delta":{"content":"y"}}]}', None),
        (b'{"choices":[{"delta":{"content":"x"}}],"usage":{}}', None),
        (b'{"choices":[{"delta":{"content":"x"}}],"error":"busy"}', None),
        (b'{"choices":[{"text":"x"}]}', None),
        (b'{"choices":[]}', None),
        (b"{}", None),
    ],
)
def test_an_event_of_text_and_nothing_else(payload: bytes, text: str | None) -> None:
    assert read_event(payload).plain_text == text


@pytest.mark.parametrize(
    ("delta", "more", "seals"),
    [
        (Delta(), False, False),
        (Delta(content="x"), False, False),
        (Delta(reasoning_content="x"), True, False),
        (Delta(reasoning="x"), True, False),
        (Delta(refusal="x"), True, True),
        (Delta(tool_calls=[]), False, False),
        (Delta(tool_calls=[msgspec.Raw(b"{}")]), True, True),
        (Delta(function_call={}), True, True),
    ],
)
def test_what_a_delta_carries(delta: Delta, more: bool, seals: bool) -> None:
    assert (delta.says_more, delta.seals) == (more, seals)


@pytest.mark.parametrize(
    ("payload", "event_id", "content", "reasoning", "expected"),
    [
        ('{"id":"b","choices":[{"delta":{"role":"assistant","content":"xy"}}]}', "a", "y", None,
         '{"id":"a","choices":[{"delta":{"content":"y"}}]}'),
        ('{"id":"b","choices":[{"delta":{"content":"xy"},"x": 1 }]}', None, None, None,
         '{"id":"b","choices":[{"delta":{"content":"xy"},"x":1}]}'),
        ('{"choices":[{"text":"xy","index":0}]}', "a", "y", None, '{"choices":[{"text":"y","index":0}],"id":"a"}'),
        ('{"choices":[{"text":"xy"}]}', None, None, None, '{"choices":[{"text":"xy"}]}'),
        ('{"choices":[{"delta":null,"text":"xy"}]}', None, "y", None, '{"choices":[{"delta":null,"text":"y"}]}'),
        ('{"choices":[{"delta":{}}]}', None, "kept back", None, '{"choices":[{"delta":{"content":"kept back"}}]}'),
        ('{"choices":[{"delta":{"reasoning_content":"xy"}}]}', None, None, "y",
         '{"choices":[{"delta":{"reasoning_content":"y"}}]}'),
        ('{"choices":[{"delta":{"reasoning":"xy"}}]}', None, None, "y", '{"choices":[{"delta":{"reasoning":"y"}}]}'),
        ('{"choices":[{"delta":{"reasoning":"xy","reasoning_content":"xy"}}]}', None, None, "y",
         '{"choices":[{"delta":{"reasoning":"y","reasoning_content":"y"}}]}'),
        ('{"choices":[{"delta":{}}]}', None, None, "y", '{"choices":[{"delta":{"reasoning":"y"}}]}'),
        ('{"id":"b","choices":[],"created":1e999}', "a", "y", None, '{"id":"a","choices":[],"created":1e999}'),
        ('{"id":"b","choices":null}', "a", None, None, '{"id":"a","choices":null}'),
        ('{"id":"b"}', "a", None, None, '{"id":"a"}'),
        ('{"choices":[{"delta":{"content":"xy"}},{"delta":{"content":"z"}}]}', None, "y", None,
         '{"choices":[{"delta":{"content":"y"}},{"delta":{"content":"z"}}]}'),
    ],
)  # fmt: skip
def test_an_event_becomes_part_of_another_stream(
    payload: str, event_id: str | None, content: str | None, reasoning: str | None, expected: str
) -> None:
    rewritten = rewrite_event(payload.encode(), event_id=event_id, content=content, reasoning=reasoning)
    assert msgspec.json.decode(rewritten, type=dict[str, msgspec.Raw]).keys() == (
        msgspec.json.decode(expected, type=dict[str, msgspec.Raw]).keys()
    )
    assert rewritten.decode().replace(" ", "") == expected.replace(" ", "")


def test_what_json_readers_disagree_on_passes_as_it_came() -> None:
    payload = b'{"id":"b","choices":[{"delta":{"content":"xy"}}],"a":1e999,"b":"\xff","c":1' + b"0" * 5_000 + b"}"
    rewritten = rewrite_event(payload, event_id="a", content="y", reasoning=None)
    assert rewritten.endswith(b',"a":1e999,"b":"\xff","c":1' + b"0" * 5_000 + b"}")


def test_an_event_whose_names_are_not_text_can_not_be_rewritten() -> None:
    with pytest.raises(Malformed):
        rewrite_event(b'{"\xff":1,"choices":[]}', event_id="a", content=None, reasoning=None)


def test_a_usage_event_looks_like_its_stream() -> None:
    template = b'{"id":"a","object":"chat.completion.chunk","created":5,"model":"m","choices":[1],"service_tier":"x"}'
    assert msgspec.json.decode(write_usage_event(template, 3, 4)) == {
        "id": "a",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "m",
        "choices": [],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7},
    }


@pytest.mark.parametrize("template", [None, b'{"\xff":1}', b"{}"])
def test_a_usage_event_without_a_model_to_follow(template: bytes | None) -> None:
    assert set(msgspec.json.decode(write_usage_event(template, 3, 4))) == {"choices", "usage"}


@pytest.mark.parametrize(
    ("usage", "cached"),
    [
        ('"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":5}', 5),
        ('"prompt_tokens":9,"prompt_cache_hit_tokens":4', 4),
        ('"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":10}', None),
        ('"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":-1}', None),
        ('"prompt_tokens":9,"prompt_tokens_details":{}', None),
        ('"prompt_tokens":9', None),
        ('"prompt_cache_hit_tokens":4', None),
    ],
)
def test_what_was_found_in_the_cache(usage: str, cached: int | None) -> None:
    body = f'{{"choices":[{{"message":{{"content":"x"}},"finish_reason":"stop"}}],"usage":{{{usage}}}}}'
    reply = read_reply(body.encode())
    assert reply.usage is not None
    assert reply.usage.cached_tokens == cached


@pytest.mark.parametrize(("body", "answer_id"), [(b'{"id":"x","a":[1]}', "x"), (b"{}", None), (b'{"id":null}', None)])
def test_the_id_of_an_answer(body: bytes, answer_id: str | None) -> None:
    assert read_id(body) == answer_id
