"""One stream for the client, in the API it speaks, whatever its endpoints speak."""

from __future__ import annotations

import msgspec
import pytest

from providerrank.gateway.relay import Broken, Relay, Seen
from providerrank.wire.dialect import Dialect
from providerrank.wire.intake import Intake
from providerrank.wire.messages import MESSAGES
from providerrank.wire.request import read_translated
from providerrank.wire.responses import RESPONSES
from providerrank.wire.sse import DONE, EventReader, write_event
from tests.unit.gateway.streams import END, PLAIN, PREFILLER, Client, ask, contents, event, role, stop, usage_event

REQUESTS = {
    "messages": b'{"model":"m","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"hi"}]}',
    "responses": b'{"model":"m","stream":true,"input":"hi"}',
}
BOTH = pytest.mark.parametrize("dialect", [MESSAGES, RESPONSES], ids=["messages", "responses"])


def intake_of(dialect: Dialect) -> Intake:
    return read_translated(dialect, REQUESTS[dialect.api])


def write_native(dialect: Dialect, pieces: list[str], finish: str = "stop") -> list[bytes]:
    """A native stream of an endpoint, an event each."""
    intake = intake_of(dialect)
    writer = dialect.make_writer("up", intake.native)
    chunks = EventReader().feed(role("n") + contents("n", pieces) + stop("n", finish))
    stream = b"".join(writer.write(chunk) for chunk in chunks) + writer.end(7, len(pieces))
    return [block + b"\n\n" for block in stream.split(b"\n\n") if block]


class Listener:
    """What a client makes of a stream in its own API: read back as chat."""

    def __init__(self, dialect: Dialect) -> None:
        self._events = EventReader()
        self._reader = dialect.make_reader(0)
        self.chat = Client()
        self.types: list[str] = []

    def take(self, data: bytes) -> None:
        for payload in self._events.feed(data):
            self.types.append(msgspec.json.decode(payload)["type"])
            for chunk in self._reader.read(payload):
                self.chat.take(write_event(chunk))


def deliver(relay: Relay, listener: Listener, data: bytes) -> Seen:
    seen = relay.feed(data)
    if relay.delivered_content:
        listener.take(relay.take_output())
    return seen


@BOTH
def test_a_chat_stream_reaches_a_client_in_its_own_api(dialect: Dialect) -> None:
    relay, listener = Relay(intake_of(dialect)), Listener(dialect)
    body = msgspec.json.decode(relay.begin_attempt(PLAIN, "up"))
    assert body["model"] == "up"
    assert body["stream_options"] == {"include_usage": True}
    seen = deliver(relay, listener, role() + contents("a", ["Once", " upon"]) + stop() + usage_event(5, 2) + END)
    assert seen is Seen.DONE
    listener.take(relay.write_end())
    assert listener.chat.content == "Once upon"
    assert listener.chat.finishes == ["stop"]
    assert listener.chat.done == 1
    assert listener.chat.usages[-1]["prompt_tokens"] == 5
    assert listener.chat.usages[-1]["completion_tokens"] == 2


@BOTH
def test_nothing_leaves_before_there_is_content(dialect: Dialect) -> None:
    relay = Relay(intake_of(dialect))
    relay.begin_attempt(PLAIN, "up", dialect)
    native = write_native(dialect, ["Once"])
    seen = [relay.feed(native[0]), relay.delivered_content]
    assert seen == [Seen.HELD, False]


@BOTH
def test_a_native_stream_passes_as_it_came(dialect: Dialect) -> None:
    relay = Relay(intake_of(dialect))
    body = msgspec.json.decode(relay.begin_attempt(PLAIN, "up", dialect))
    assert body == msgspec.json.decode(REQUESTS[dialect.api]) | {"model": "up"}
    native, out, seen = write_native(dialect, ["Once", " upon"]), b"", Seen.NOTHING
    for block in native:
        seen = relay.feed(block)
        if relay.delivered_content:
            out += relay.take_output()
    assert seen is Seen.DONE
    assert out + relay.write_end() == b"".join(native)
    assert relay.text == "Once upon"
    assert relay.usage is not None
    assert relay.usage.completion_tokens == 2


@BOTH
def test_an_endpoint_of_another_api_answers_a_chat_client(dialect: Dialect) -> None:
    relay, client = Relay(ask('"max_tokens":9')), Client()
    if dialect is MESSAGES:
        relay.begin_attempt(PLAIN, "up", dialect)
    else:
        relay.begin_attempt(PLAIN, "up")
        relay._speak(dialect)  # (an endpoint of it speaks chat too, and would be asked in that)
    for block in write_native(dialect, ["Once", " upon"]):
        relay.feed(block)
        if relay.delivered_content:
            client.take(relay.take_output())
    client.take(relay.write_end())
    assert (client.content, client.finishes, client.done) == ("Once upon", ["stop"], 1)


@BOTH
def test_a_native_answer_that_is_cut_is_continued_by_a_chat_endpoint(dialect: Dialect) -> None:
    relay, listener = Relay(intake_of(dialect)), Listener(dialect)
    relay.begin_attempt(PLAIN, "up", dialect)
    native = write_native(dialect, ["Once", " upon", " a time"])
    cut_at = next(i for i, block in enumerate(native) if b" upon" in block) + 1
    deliver(relay, listener, b"".join(native[:cut_at]))
    assert listener.chat.content == "Once upon"
    body = msgspec.json.decode(relay.begin_attempt(PREFILLER, "two"))
    assert body["messages"][-1] == {"role": "assistant", "content": "Once upon"}
    deliver(relay, listener, role("b") + contents("b", [" a", " time"]) + stop("b") + END)
    listener.take(relay.write_end())
    assert listener.chat.content == "Once upon a time"
    assert listener.chat.finishes == ["stop"]
    assert listener.chat.done == 1
    assert len([kind for kind in listener.types if kind in ("message_start", "response.created")]) == 1


@BOTH
def test_a_chat_answer_that_is_cut_is_continued_by_a_native_endpoint(dialect: Dialect) -> None:
    relay, listener = Relay(intake_of(dialect)), Listener(dialect)
    relay.begin_attempt(PLAIN, "up")
    deliver(relay, listener, role() + contents("a", ["Once", " up"]))
    body = msgspec.json.decode(relay.begin_attempt(PLAIN, "two", dialect))
    assert "messages" not in body or len(body["messages"]) == 1
    for block in write_native(dialect, ["On", "ce upon", " a time"]):
        deliver(relay, listener, block)
    listener.take(relay.write_end())
    assert listener.chat.content == "Once upon a time"
    assert listener.chat.done == 1


@BOTH
def test_a_native_endpoint_goes_on_from_a_prefill_in_what_it_can_be_asked_in(dialect: Dialect) -> None:
    relay, listener = Relay(intake_of(dialect)), Listener(dialect)
    relay.begin_attempt(PLAIN, "up")
    deliver(relay, listener, role() + contents("a", ["Once", " up"]))
    body = msgspec.json.decode(relay.begin_attempt(PREFILLER, "two", dialect))
    assert relay.dialect is (dialect if dialect is MESSAGES else None)
    said = body["messages"][-1]["content"]
    assert said in ("Once up", [{"type": "text", "text": "Once up"}])


@BOTH
def test_a_native_error_event_is_a_broken_stream_and_is_not_passed_on(dialect: Dialect) -> None:
    relay, listener = Relay(intake_of(dialect)), Listener(dialect)
    relay.begin_attempt(PLAIN, "up", dialect)
    native = write_native(dialect, ["Once"])
    cut_at = next(i for i, block in enumerate(native) if b"Once" in block) + 1
    deliver(relay, listener, b"".join(native[:cut_at]))
    error = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    with pytest.raises(Broken):
        relay.feed(error)
    assert relay.take_output() == b""


@BOTH
def test_a_stream_that_can_not_go_on_ends_with_an_error_of_its_own_api(dialect: Dialect) -> None:
    relay, listener = Relay(intake_of(dialect)), Listener(dialect)
    relay.begin_attempt(PLAIN, "up")
    deliver(relay, listener, role() + contents("a", ["Once"]))
    end = relay.write_error(b"{}", "Every endpoint failed", "all_endpoints_failed")
    listener.take(end)
    assert "error" in listener.types or "response.failed" in listener.types
    assert b"Every endpoint failed" in end
    assert not listener.chat.done or DONE not in end


@BOTH
def test_an_event_that_is_not_json_is_skipped_and_counted(dialect: Dialect) -> None:
    relay, listener = Relay(intake_of(dialect)), Listener(dialect)
    relay.begin_attempt(PLAIN, "up", dialect)
    native = write_native(dialect, ["Once"])
    deliver(relay, listener, native[0] + b"data: {oops\n\n" + b"".join(native[1:]))
    assert relay.bad_events == 1
    assert listener.chat.content == "Once"


@BOTH
def test_a_last_event_without_its_blank_line_counts(dialect: Dialect) -> None:
    relay, listener = Relay(intake_of(dialect)), Listener(dialect)
    relay.begin_attempt(PLAIN, "up", dialect)
    deliver(relay, listener, b"".join(write_native(dialect, ["Once"]))[:-2])
    relay.close()
    listener.take(relay.take_output() + relay.write_end())
    assert listener.chat.done == 1


def test_an_event_of_several_lines_is_passed_on_in_one() -> None:
    relay = Relay(ask())
    relay.begin_attempt(PLAIN, "up")
    relay.feed(b'data: {"id":"a","choices":[{"index":0,\ndata: "delta":{"content":"hi"}}]}\n\n')
    assert relay.take_output() == b'data: {"id":"a","choices":[{"index":0, "delta":{"content":"hi"}}]}\n\n'


def test_a_stream_of_chat_events_after_another_dialect_is_chat_again() -> None:
    relay = Relay(ask('"max_tokens":9'))
    relay.begin_attempt(PLAIN, "up", MESSAGES)
    relay.begin_attempt(PLAIN, "up")
    assert relay.feed(event(content="hi")) is Seen.CONTENT
    assert relay.take_output() == event(content="hi")
