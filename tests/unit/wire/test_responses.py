"""Responses: what no vector can hold, since it is no JSON."""

from __future__ import annotations

import msgspec
import pytest

from providerrank.wire.errors import BadRequest, Malformed
from providerrank.wire.raw import Raw
from providerrank.wire.request import read_translated
from providerrank.wire.responses import RESPONSES
from providerrank.wire.responses_items import make_response_id, write_echo
from providerrank.wire.responses_reader import Reader
from providerrank.wire.responses_reply import from_chat_reply, to_chat_reply
from providerrank.wire.responses_request import to_chat
from providerrank.wire.responses_writer import Writer

DEEP = b"[" * 100_000
NOT_UTF8 = b'"\xff"'


@pytest.mark.parametrize("name", ["input", "instructions", "tools", "tool_choice", "text", "reasoning", "include"])
@pytest.mark.parametrize("value", [DEEP, NOT_UTF8, b"[" + NOT_UTF8 + b"]", b"1"])
def test_a_field_that_cannot_be_read_is_named(name: str, value: bytes) -> None:
    fields = {"model": Raw(b'"m"'), "input": Raw(b'"U"'), name: Raw(value)}
    with pytest.raises(BadRequest) as caught:
        to_chat(fields)
    assert caught.value.param is not None
    assert caught.value.param.startswith(name)
    assert caught.value.status == 400


@pytest.mark.parametrize("body", [b"", b"{", DEEP, b"\xff"])
def test_answers_that_are_no_json_are_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        from_chat_reply(body, "m")
    with pytest.raises(Malformed, match="empty body" if not body else "not a JSON answer"):
        to_chat_reply(body)
    with pytest.raises(Malformed):
        Writer("m").write(body)
    with pytest.raises(Malformed):
        Reader().read(body)


def test_following_what_cannot_be_read_changes_nothing() -> None:
    writer, other = Writer("m"), Writer("m")
    for payload in (b"", b"{", DEEP, b"\xff", b'{"type":"response.output_item.added","item":{"type":"\xff"}}'):
        writer.note(payload)
    chunk = b'{"id":"a","choices":[{"delta":{"content":"Hi"},"finish_reason":"stop"}]}'
    assert writer.write(chunk) + writer.end(1, 1) == other.write(chunk) + other.end(1, 1)


def test_what_is_repeated_of_a_request_is_what_clients_can_read() -> None:
    broken = {name: Raw(NOT_UTF8) for name in ("metadata", "tools", "text", "user", "instructions")}
    assert write_echo(broken) == write_echo(None)
    assert write_echo({"metadata": Raw(b'{"a":"b"}')})["metadata"] == Raw(b'{"a":"b"}')


def test_an_id_is_the_answers_own_and_safe() -> None:
    assert make_response_id("chatcmpl-Ab_1-x", b"") == "resp_Ab_1-x"
    assert make_response_id("resp_1", b"") == "resp_1"
    assert make_response_id('"><script>', b"") == "resp_script"
    assert make_response_id("a" * 1000, b"") == "resp_" + "a" * 64
    assert make_response_id(None, b"x") == make_response_id("/", b"x") != make_response_id("", b"y")


def test_a_request_is_routed_as_the_chat_it_means() -> None:
    body = msgspec.json.encode(
        {
            "model": "m",
            "input": "U",
            "max_output_tokens": 7,
            "stream": True,
            "provider": {"require_parameters": True},
            "tools": [{"type": "function", "name": "f"}],
            "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}},
        }
    )
    intake = read_translated(RESPONSES, body)
    assert (intake.api, intake.model, intake.output_tokens, intake.stream) == ("responses", "m", 7, True)
    assert intake.features == {"tools", "json_schema"}
    assert intake.schema == b'{"type":"object"}'
    assert intake.lost == ()
    assert set(msgspec.json.decode(intake.body("up", RESPONSES))) == set(msgspec.json.decode(body)) - {"provider"}


def test_what_is_lost_needs_an_endpoint_that_speaks_it() -> None:
    body = b'{"model":"m","input":"U","previous_response_id":"resp_1"}'
    intake = read_translated(RESPONSES, body)
    assert intake.lost == ("previous_response_id",)
    assert intake.features == {"responses"}


@pytest.mark.parametrize(
    ("previous", "origin"),
    [(None, ""), ("null", ""), ('"resp_1"', "resp_1"), ('"resp_\\u0031"', "resp_1"), ("7", ""), ('"\\ud8"', "")],
)
def test_what_a_response_goes_on_from(previous: str | None, origin: str) -> None:
    fields = {} if previous is None else {"previous_response_id": Raw(previous.encode())}
    assert RESPONSES.get_origin(fields) == origin
