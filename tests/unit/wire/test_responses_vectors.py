"""The vectors in ``tests/vectors/dialects/responses``: one file per direction; ``rejected`` means: must be refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from providerrank.wire.errors import BadRequest, Malformed
from providerrank.wire.responses import RESPONSES
from providerrank.wire.responses_reader import Reader
from providerrank.wire.responses_reply import from_chat_reply, to_chat_reply
from providerrank.wire.responses_writer import Writer
from providerrank.wire.sse import DONE, EventReader

VECTORS = Path(__file__).parents[2] / "vectors" / "dialects" / "responses"

_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])


def load(name: str) -> list[Any]:
    cases: list[Any] = msgspec.json.decode((VECTORS / f"{name}.json").read_bytes())
    return [pytest.param(case, id=case["name"]) for case in cases]


def encode(value: object) -> bytes:
    return DONE if value == "[DONE]" else msgspec.json.encode(value)


def decode(payload: bytes) -> object:
    return "[DONE]" if payload == DONE else msgspec.json.decode(payload)


def fields_of(value: object) -> dict[str, msgspec.Raw]:
    return _fields.decode(encode(value))


@pytest.mark.parametrize("case", load("requests"))
def test_a_request_as_chat(case: dict[str, Any]) -> None:
    fields = fields_of(case["input"])
    if "rejected" in case:
        with pytest.raises(BadRequest) as caught:
            RESPONSES.to_chat(fields)
        assert {"param": caught.value.param, "message": str(caught.value)} == case["rejected"]
    else:
        chat, lost = RESPONSES.to_chat(fields)
        assert {name: decode(bytes(value)) for name, value in chat.items()} == case["output"]
        assert list(lost) == case["lost"]
    assert fields == fields_of(case["input"]), "a translation changes nothing of what it reads"


@pytest.mark.parametrize("case", load("replies"))
def test_a_chat_completion_as_a_response(case: dict[str, Any]) -> None:
    body = encode(case["input"])
    asked = fields_of(case["asked"]) if "asked" in case else None
    if "rejected" in case:
        with pytest.raises(Malformed, match=case["rejected"]):
            from_chat_reply(body, "m", asked)
    else:
        assert decode(from_chat_reply(body, "m", asked)) == case["output"]


@pytest.mark.parametrize("case", load("native_replies"))
def test_a_response_as_a_chat_completion(case: dict[str, Any]) -> None:
    body = encode(case["input"])
    if "rejected" in case:
        with pytest.raises(Malformed) as caught:
            to_chat_reply(body)
        # (The error object is shown as it came, spaces and all.)
        assert str(caught.value).replace(" ", "") == case["rejected"].replace(" ", "")
    else:
        assert decode(to_chat_reply(body)) == case["output"]


@pytest.mark.parametrize("case", load("streams"))
def test_a_chat_stream_as_events(case: dict[str, Any]) -> None:
    writer = Writer("m")
    for step in case["steps"]:
        if "note" in step:
            writer.note(encode(step["note"]))
            continue
        if "write" in step:
            out = writer.write(encode(step["write"]))
        elif "end" in step:
            out = writer.end(*step["end"])
        else:
            out = writer.error(*step["error"])
        assert [decode(payload) for payload in EventReader().feed(out)] == step["events"]
        names = [line.removeprefix(b"event: ").decode() for line in out.splitlines() if line.startswith(b"event: ")]
        assert names == [event["type"] for event in step["events"]]


@pytest.mark.parametrize("case", load("native_streams"))
def test_native_events_as_a_chat_stream(case: dict[str, Any]) -> None:
    reader = Reader()
    for step in case["steps"]:
        payload = encode(step["event"])
        if "rejected" in step:
            with pytest.raises(Malformed) as caught:
                reader.read(payload)
            assert str(caught.value) == step["rejected"]
        else:
            assert [decode(chunk) for chunk in reader.read(payload)] == step["chunks"]
