"""The vectors in ``tests/vectors``: inputs and what is to come of them; no expectation means: must be rejected."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from providerrank.rules.attempt import Fault
from providerrank.wire.errors import WireError
from providerrank.wire.http1 import RequestReader, ResponseReader
from providerrank.wire.refusal import read_error
from providerrank.wire.retry_after import read_retry_after_us
from providerrank.wire.sse import EventReader

VECTORS = Path(__file__).parents[2] / "vectors"


class Stream(msgspec.Struct, forbid_unknown_fields=True):
    reads: list[str]


class Events(msgspec.Struct, forbid_unknown_fields=True):
    events: list[str]
    at_end: str | None = None


class SseVector(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    input: Stream
    expected: Events


class HttpInput(msgspec.Struct, forbid_unknown_fields=True):
    """What arrives, one character a byte. Bounds are in bytes."""

    message: str
    reads: list[str]
    max_head: int = 1024
    max_body: int = 1024


class HttpMessage(msgspec.Struct, forbid_unknown_fields=True):
    body: str
    headers: dict[str, str] | None = None
    method: str | None = None
    path: str | None = None
    status: int | None = None
    keep_alive: bool = True
    complete: bool = True


class HttpVector(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    input: HttpInput
    expected: list[HttpMessage] | None = None
    rejected_with: int | None = None


class RefusalInput(msgspec.Struct, forbid_unknown_fields=True):
    status: int
    body: msgspec.Raw = msgspec.Raw()
    text: str = ""


class RefusalReading(msgspec.Struct, forbid_unknown_fields=True):
    fault: str
    message: str | None = None
    features: list[str] = []
    param: str | None = None


class RefusalVector(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    input: RefusalInput
    expected: RefusalReading


class RetryAfterInput(msgspec.Struct, forbid_unknown_fields=True):
    headers: dict[str, str]
    now_us: int


class RetryAfterVector(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    input: RetryAfterInput
    expected_us: int | None = None


def load_sse() -> list[SseVector]:
    return msgspec.json.decode((VECTORS / "sse.json").read_bytes(), type=list[SseVector])


def load_http1(message: str) -> list[HttpVector]:
    vectors = msgspec.json.decode((VECTORS / "http1.json").read_bytes(), type=list[HttpVector])
    return [vector for vector in vectors if vector.input.message == message]


def load_refusals() -> list[RefusalVector]:
    return msgspec.json.decode((VECTORS / "refusals.json").read_bytes(), type=list[RefusalVector])


def load_retry_after() -> list[RetryAfterVector]:
    return msgspec.json.decode((VECTORS / "retry_after.json").read_bytes(), type=list[RetryAfterVector])


def get_name(vector: SseVector | HttpVector | RefusalVector | RetryAfterVector) -> str:
    return vector.name


@pytest.mark.parametrize("vector", load_sse(), ids=get_name)
def test_event_streams(vector: SseVector) -> None:
    reader = EventReader()
    events = [event for data in vector.input.reads for event in reader.feed(data.encode())]
    assert [event.decode() for event in events] == vector.expected.events
    last = reader.close()
    assert (None if last is None else last.decode()) == vector.expected.at_end


@pytest.mark.parametrize("vector", load_http1("request"), ids=get_name)
def test_requests(vector: HttpVector) -> None:
    reader = RequestReader(vector.input.max_head, vector.input.max_body)
    try:
        for data in vector.input.reads:
            reader.feed(data.encode("latin-1"))
    except WireError as error:
        assert vector.expected is None, error
        assert getattr(error, "status", 400) == vector.rejected_with
        return
    assert vector.expected is not None, "was to be rejected"
    assert reader.busy is any(not message.complete for message in vector.expected)
    whole = [message for message in vector.expected if message.complete]
    assert len(reader.requests) == len(whole)
    for request, message in zip(reader.requests, whole, strict=True):
        assert request.body.decode("latin-1") == message.body
        assert request.keep_alive is message.keep_alive
        assert (request.method.decode(), request.path.decode()) == (message.method, message.path)
        if message.headers is not None:
            assert {k.decode(): v.decode("latin-1") for k, v in request.headers.items()} == message.headers


class Heard:
    """What a reader of responses calls back."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, dict[bytes, bytes], list[bytes], bool]] = []

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        self.messages.append((status, headers, [], False))

    def on_data(self, data: bytes) -> None:
        self.messages[-1][2].append(data)

    def on_end(self) -> None:
        status, headers, parts, _ = self.messages[-1]
        self.messages[-1] = (status, headers, parts, True)


@pytest.mark.parametrize("vector", load_http1("response"), ids=get_name)
def test_responses(vector: HttpVector) -> None:
    heard = Heard()
    reader = ResponseReader(heard.on_head, heard.on_data, heard.on_end, vector.input.max_head)
    try:
        for data in vector.input.reads:
            if heard.messages and heard.messages[-1][3]:
                reader.reset()  # the next request was sent
            reader.feed(data.encode("latin-1"))
    except WireError as error:
        assert vector.expected is None, error
        return
    assert vector.expected is not None, "was to be rejected"
    if reader.eof() and not heard.messages[-1][3]:
        heard.on_end()
    assert len(heard.messages) == len(vector.expected)
    for (status, headers, parts, ended), message in zip(heard.messages, vector.expected, strict=True):
        assert status == message.status
        assert b"".join(parts).decode("latin-1") == message.body
        assert ended is message.complete
        if message.headers is not None:
            assert {k.decode(): v.decode("latin-1") for k, v in headers.items()} == message.headers
    assert reader.keep_alive is vector.expected[-1].keep_alive


@pytest.mark.parametrize("vector", load_refusals(), ids=get_name)
def test_error_answers(vector: RefusalVector) -> None:
    given = vector.input
    reading = read_error(given.status, bytes(given.body) or given.text.encode())
    expected = vector.expected
    assert reading.fault is Fault[expected.fault]
    assert sorted(reading.features) == sorted(expected.features)
    if expected.message is not None:
        assert reading.message == expected.message
    if expected.param is not None:
        assert reading.param == expected.param


@pytest.mark.parametrize("vector", load_retry_after(), ids=get_name)
def test_retry_after(vector: RetryAfterVector) -> None:
    headers = {name.encode(): value.encode("latin-1") for name, value in vector.input.headers.items()}
    assert read_retry_after_us(headers, vector.input.now_us) == vector.expected_us
