"""What no vector can say: bytes that are not text, errors by status, the time of an answer, the shared helpers."""

from __future__ import annotations

import json

import msgspec
import pytest

from providerrank.wire.dialect import Fields
from providerrank.wire.errors import BadRequest, Malformed
from providerrank.wire.lost import Losses
from providerrank.wire.messages import MESSAGES
from providerrank.wire.messages_ask import from_chat
from providerrank.wire.messages_error import get_error_type, write_error, write_error_event
from providerrank.wire.messages_reader import Reader
from providerrank.wire.messages_reply import from_chat_reply, to_chat_reply
from providerrank.wire.messages_request import to_chat
from providerrank.wire.messages_terms import get_stop_reason
from providerrank.wire.messages_writer import Writer
from providerrank.wire.nested import decode_field, to_text
from providerrank.wire.raw import Raw

NOT_UTF8 = b'"\xff"'
DEEP = b"[" * 5000 + b"]" * 5000


def fields(**given: bytes) -> Fields:
    return {name: Raw(value) for name, value in given.items()}


@pytest.mark.parametrize(
    ("role", "content", "param"),
    [
        (b"user", NOT_UTF8, "messages[0].content"),
        (b"user", b'[{"type":"text","text":"\xff"}]', "messages[0].content"),
        (b"user", b'[{"type":"image","source":{"type":"url","url":"\xff"}}]', "messages[0].content[0].source"),
        (
            b"assistant",
            b'[{"type":"tool_use","id":"a","name":"b","input":{"x":"\xff"}}]',
            "messages[0].content[0].input",
        ),
        (b"user", DEEP, "messages"),
    ],
)
def test_a_messages_request_that_is_not_utf8_or_too_deep_is_refused_by_name(
    role: bytes, content: bytes, param: str
) -> None:
    messages = b'[{"role":"' + role + b'","content":' + content + b"}]"
    with pytest.raises(BadRequest) as caught:
        to_chat(fields(messages=messages, max_tokens=b"5"))
    assert caught.value.param == param
    assert str(caught.value) == f"'{param}' is not valid JSON text"


@pytest.mark.parametrize(("content", "param"), [(NOT_UTF8, "messages[0].content"), (DEEP, "messages")])
def test_a_chat_request_that_is_not_utf8_or_too_deep_is_refused_by_name(content: bytes, param: str) -> None:
    with pytest.raises(BadRequest) as caught:
        from_chat(fields(messages=b'[{"role":"user","content":' + content + b"}]"))
    assert caught.value.param == param


def test_arguments_nested_too_deep_are_kept_as_text_and_named() -> None:
    deep = '{"a":' * 3000 + "1" + "}" * 3000
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": deep}}
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "tool_calls": [call]}]
    written, lost = from_chat(fields(messages=json.dumps(messages).encode()))
    assert lost == ("messages[1].tool_calls[0].function.arguments",)
    assert json.loads(bytes(written["messages"]))[1]["content"][0]["input"] == {"arguments": deep}


def test_an_answer_that_is_not_utf8_is_malformed() -> None:
    block = b'{"type":"tool_use","id":"a","name":"b","input":{"x":"\xff"}}'
    with pytest.raises(Malformed, match="whose input is not UTF-8"):
        to_chat_reply(b'{"type":"message","content":[' + block + b"]}")
    with pytest.raises(Malformed, match="not JSON"):
        from_chat_reply(b'{"choices":[{"message":{"content":' + NOT_UTF8 + b"}}]}", "m")
    reader = Reader()
    assert reader.read(b'{"type":"content_block_start","index":0,"content_block":' + block + b"}")
    with pytest.raises(Malformed, match="whose input is not UTF-8"):
        reader.read(b'{"type":"content_block_stop","index":0}')


def test_an_answer_bears_the_time_it_is_given() -> None:
    assert json.loads(to_chat_reply(b'{"type":"message","content":[]}', created=7))["created"] == 7
    assert json.loads(Reader(created=7).read(b'{"type":"message_start"}')[0])["created"] == 7


def test_a_stream_begins_with_the_prompt_tokens_it_is_given() -> None:
    start = Writer("m", prompt_tokens=12).write(b'{"choices":[]}')
    assert b'"input_tokens":12' in start


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (408, "timeout_error"),
        (409, "conflict_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_an_error_has_the_type_of_its_status(status: int, kind: str) -> None:
    assert get_error_type(status) == kind
    body = json.loads(write_error(status, "Words.", code="a_code", param="a_field"))
    assert body == {"type": "error", "error": {"type": kind, "message": "Words."}}


def test_an_error_tells_the_request_id_where_there_is_one() -> None:
    assert json.loads(write_error(500, "Words.", request_id="req_1"))["request_id"] == "req_1"


def test_a_thread_that_can_not_be_kept_is_told_as_clients_read_it() -> None:
    error = json.loads(write_error(400, "Words.", code="thread_unsupported_request"))["error"]
    assert error["details"] == {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
    assert MESSAGES.lost_codes == (("thread", "thread_unsupported_request"),)
    assert "details" not in json.loads(write_error(400, "Words.", code="other"))["error"]


@pytest.mark.parametrize(
    ("thread", "origin"),
    [
        (None, None),
        ('{"type":"create"}', ""),
        ('{"type":"continue","previous_message_id":"msg_1"}', "msg_1"),
        ('{"previous_message_id":1}', None),
        ("false", None),
    ],
)
def test_what_a_message_goes_on_from(thread: str | None, origin: str | None) -> None:
    assert MESSAGES.get_origin({} if thread is None else {"thread": Raw(thread.encode())}) == origin


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("overloaded_error", "overloaded_error"),
        ("server_error", "api_error"),
        ("timeout", "timeout_error"),
        ("unavailable", "overloaded_error"),
        ("invalid_request_error", "invalid_request_error"),
        ("something", "api_error"),
    ],
)
def test_an_error_event_speaks_this_api_s_words(kind: str, told: str) -> None:
    event = write_error_event("Words.", kind)
    assert event == (
        b'event: error\ndata: {"type":"error","error":{"type":"' + told.encode() + b'","message":"Words."}}\n\n'
    )


def test_what_was_lost_is_named_once_in_the_order_it_was_met() -> None:
    lost = Losses()
    for name in ("b", "a", "b"):
        lost.add(name)
    assert lost.names == ("b", "a")


def test_a_field_that_is_null_is_as_one_that_is_absent() -> None:
    decoder = msgspec.json.Decoder(int)
    assert decode_field(fields(a=b"null"), "a", decoder) is None
    assert decode_field({}, "a", decoder) is None
    assert decode_field(fields(a=b"5"), "a", decoder) == 5


def test_text_of_a_value_is_its_json() -> None:
    assert to_text(Raw('{"ä":1}'.encode()), "a") == '{"ä":1}'


def test_a_refusal_comes_before_every_other_way_to_end() -> None:
    assert get_stop_reason("stop", calls_tools=True, refuses=True, stop_sequence="x") == "refusal"
    assert get_stop_reason("length", calls_tools=True, refuses=False, stop_sequence=None) == "max_tokens"


def test_the_dialect_is_where_anthropic_has_it() -> None:
    assert (MESSAGES.api, MESSAGES.path) == ("messages", "/messages")
    assert MESSAGES.write_headers({}) == b"anthropic-version: 2023-06-01\r\n"
    assert MESSAGES.write_headers({b"anthropic-beta": b"x-1", b"anthropic-version": b"v\x00"}) == (
        b"anthropic-version: 2023-06-01\r\nanthropic-beta: x-1\r\n"
    )
    assert MESSAGES.from_chat is from_chat
    assert isinstance(MESSAGES.make_writer("m", {}), Writer)
    assert isinstance(MESSAGES.make_reader(0), Reader)
