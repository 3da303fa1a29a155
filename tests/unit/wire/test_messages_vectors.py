"""The vectors in ``tests/vectors/dialects/messages``: what each direction of the translation makes of its input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from providerrank.wire.dialect import Fields
from providerrank.wire.errors import BadRequest, Malformed
from providerrank.wire.messages_ask import from_chat
from providerrank.wire.messages_reader import Reader
from providerrank.wire.messages_reply import from_chat_reply, to_chat_reply
from providerrank.wire.messages_request import to_chat
from providerrank.wire.messages_writer import Writer

VECTORS = Path(__file__).parents[2] / "vectors" / "dialects" / "messages"

Json = Any
Vector = dict[str, Any]


def cases(file: str) -> pytest.MarkDecorator:
    vectors = json.loads((VECTORS / file).read_text())
    return pytest.mark.parametrize("vector", [pytest.param(vector, id=vector["name"]) for vector in vectors])


def encode(value: Json) -> bytes:
    """A vector's value as bytes; a string stands for itself."""
    return value.encode() if isinstance(value, str) else msgspec.json.encode(value)


def to_fields(request: dict[str, Json]) -> Fields:
    return msgspec.json.decode(msgspec.json.encode(request), type=dict[str, msgspec.Raw])


def check_request(translate: Any, vector: Vector) -> None:
    fields = to_fields(vector["input"])
    if "expected" not in vector:
        with pytest.raises(BadRequest) as caught:
            translate(fields)
        assert {"param": caught.value.param, "message": str(caught.value)} == vector["rejected"]
        assert caught.value.status == 400
        return
    written, lost = translate(fields)
    assert json.loads(msgspec.json.encode(written)) == vector["expected"]
    assert list(lost) == vector["lost"]


@cases("to_chat.json")
def test_a_messages_request_for_a_chat_endpoint(vector: Vector) -> None:
    check_request(to_chat, vector)


@cases("from_chat.json")
def test_a_chat_request_for_a_messages_endpoint(vector: Vector) -> None:
    check_request(from_chat, vector)


def check_reply(translate: Any, vector: Vector) -> None:
    if "expected" not in vector:
        with pytest.raises(Malformed) as caught:
            translate(encode(vector["input"]))
        assert str(caught.value) == vector["malformed"]
        return
    assert json.loads(translate(encode(vector["input"]))) == vector["expected"]


@cases("from_chat_reply.json")
def test_a_chat_answer_for_a_messages_client(vector: Vector) -> None:
    check_reply(lambda body: from_chat_reply(body, "m"), vector)


@cases("to_chat_reply.json")
def test_a_message_for_a_chat_client(vector: Vector) -> None:
    check_reply(to_chat_reply, vector)


@cases("reader.json")
def test_a_message_stream_read_as_chat_chunks(vector: Vector) -> None:
    reader = Reader()
    for event, expected in zip(vector["input"], vector["expected"], strict=True):
        if isinstance(expected, dict):
            with pytest.raises(Malformed) as caught:
                reader.read(encode(event))
            assert str(caught.value) == expected["malformed"]
        else:
            chunks = reader.read(encode(event))
            assert ["[DONE]" if chunk == b"[DONE]" else json.loads(chunk) for chunk in chunks] == expected


def read_events(stream: bytes) -> list[Json]:
    """The data of each event; its name must be the data's type."""
    events = []
    for block in stream.decode().split("\n\n")[:-1]:
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        events.append(event)
    return events


@cases("writer.json")
def test_chat_chunks_written_as_a_message_stream(vector: Vector) -> None:
    writer = Writer("m")
    for step, expected in zip(vector["input"], vector["expected"], strict=True):
        ((verb, value),) = step.items()
        if verb == "note":
            writer.note(encode(value))
        elif isinstance(expected, dict):
            with pytest.raises(Malformed) as caught:
                writer.write(encode(value))
            assert str(caught.value) == expected["malformed"]
        elif verb == "write":
            assert read_events(writer.write(encode(value))) == expected
        elif verb == "end":
            assert read_events(writer.end(*value)) == expected
        else:
            assert read_events(writer.error(*value)) == expected
