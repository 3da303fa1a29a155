"""What is translated to Anthropic's API and back is what it was; no bytes make a translator do worse than refuse."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from providerrank.wire.dialect import Fields
from providerrank.wire.errors import BadRequest, Malformed
from providerrank.wire.fields import read_fields
from providerrank.wire.messages_ask import from_chat
from providerrank.wire.messages_reader import Reader
from providerrank.wire.messages_reply import from_chat_reply, to_chat_reply
from providerrank.wire.messages_request import to_chat
from providerrank.wire.messages_writer import Writer
from providerrank.wire.sse import DONE, EventReader

Json = Any

TEXTS = st.text('ab é🦔\n"{}\\', min_size=1, max_size=8)
SPEECH = TEXTS.filter(lambda text: bool(text.strip()))
NAMES = st.text("abc_", min_size=1, max_size=4)
OBJECTS = st.dictionaries(NAMES, st.integers(-9, 9) | TEXTS | st.lists(st.booleans(), max_size=2), max_size=3)


def cut(draw: st.DrawFn, text: str) -> list[str]:
    places = sorted(draw(st.sets(st.integers(0, len(text)), max_size=4)))
    return [text[start:end] for start, end in zip([0, *places], [*places, len(text)], strict=True)]


# ---- streams ----------------------------------------------------------------------------------------------------


class Answer(msgspec.Struct):
    """What a stream of chat chunks says."""

    text: str = ""
    reasoning: str = ""
    calls: dict[int, tuple[str, str, str]] = {}
    finish: str | None = None
    usage: tuple[int, int, int] | None = None

    @property
    def called(self) -> list[tuple[str, str, Json]]:
        return [(identity, name, json.loads(given)) for identity, name, given in self.calls.values()]


def read_chunks(chunks: list[bytes]) -> Answer:
    answer = Answer()
    for chunk in chunks:
        event = json.loads(chunk)
        for choice in event["choices"]:
            delta = choice["delta"]
            answer.text += delta.get("content") or ""
            answer.reasoning += delta.get("reasoning_content") or ""
            for call in delta.get("tool_calls", ()):
                identity, name, arguments = answer.calls.get(call["index"], ("", "", ""))
                said = call["function"]
                answer.calls[call["index"]] = (
                    identity or call.get("id", ""),
                    name or said.get("name", ""),
                    arguments + said.get("arguments", ""),
                )
            answer.finish = choice["finish_reason"] or answer.finish
        if event.get("usage"):
            used = event["usage"]
            cached = used["prompt_tokens_details"]["cached_tokens"]
            answer.usage = (used["prompt_tokens"], used["completion_tokens"], cached)
    return answer


def to_chunk(delta: Json, finish: str | None = None) -> bytes:
    return json.dumps({"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}).encode()


@st.composite
def chat_streams(draw: st.DrawFn) -> tuple[list[bytes], int]:
    """Chunks of one answer: reasoning, text and tool calls in any order, the calls one by one or side by side.

    With it, how many chunks can be native before others take over: those before the first tool call.
    """
    chunks = []
    for _ in range(draw(st.integers(0, 4))):
        field = draw(st.sampled_from(["content", "reasoning_content"]))
        chunks += [to_chunk({field: piece}) for piece in cut(draw, draw(TEXTS))]
    spoken = len(chunks)
    calls: list[list[Json]] = []
    for i in range(draw(st.integers(0, 3))):
        arguments = draw(st.just("") | OBJECTS.map(json.dumps))
        pieces: list[Json] = [{"arguments": piece} for piece in cut(draw, arguments)]
        pieces[0]["name"] = draw(NAMES)
        calls.append([{"index": i, "function": piece} for piece in pieces])
        calls[i][0] |= {"id": f"call_{i}", "type": "function"}
    if draw(st.booleans()):
        deltas = [delta for call in calls for delta in call]
    else:
        # The first piece of each in order, as endpoints begin them; the rest however they come.
        deltas = [call.pop(0) for call in calls]
        while any(calls):
            deltas.append(draw(st.sampled_from([call for call in calls if call])).pop(0))
    chunks += [to_chunk({"tool_calls": [delta]}) for delta in deltas]
    finish = "tool_calls" if calls else draw(st.sampled_from(["stop", "length", "content_filter"]))
    prompt, completion = draw(st.integers(0, 99)), draw(st.integers(0, 99))
    cached = draw(st.integers(0, prompt))
    usage = {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    return [*chunks, to_chunk({}, finish), json.dumps({"id": "c", "choices": [], "usage": usage}).encode()], spoken


def read_stream(stream: bytes, size: int) -> list[bytes]:
    """The chat chunks that a message stream means, whose bytes came so many at a time."""
    events, reader = EventReader(), Reader()
    payloads = [payload for i in range(0, len(stream), size) for payload in events.feed(stream[i : i + size])]
    assert events.close() is None
    chunks = [chunk for payload in payloads for chunk in reader.read(payload)]
    assert chunks.pop() == DONE
    return chunks


def complete(answer: Answer) -> Answer:
    """A call without arguments has an empty object of them."""
    answer.calls = {i: (identity, name, given or "{}") for i, (identity, name, given) in answer.calls.items()}
    return answer


def check_same(told: Answer, meant: Answer) -> None:
    assert (told.text, told.reasoning, told.finish, told.usage) == (
        meant.text,
        meant.reasoning,
        meant.finish,
        meant.usage,
    )
    assert told.called == meant.called


@settings(deadline=None)
@given(chat_streams(), st.integers(1, 200))
def test_a_chat_stream_written_as_messages_and_read_back_is_the_same_answer(
    stream: tuple[list[bytes], int], size: int
) -> None:
    chunks, _ = stream
    meant = complete(read_chunks(chunks))
    assert meant.usage is not None
    writer = Writer("m")
    written = b"".join(map(writer.write, chunks)) + writer.end(*meant.usage[:2])
    check_same(read_chunks(read_stream(written, size)), meant)


@settings(deadline=None)
@given(chat_streams(), st.data())
def test_another_endpoint_goes_on_where_a_native_stream_was_cut(
    stream: tuple[list[bytes], int], data: st.DataObject
) -> None:
    chunks, spoken = stream
    place = data.draw(st.integers(0, spoken))
    first = Writer("m")
    native = b"".join(map(first.write, chunks[:place]))
    meant = complete(read_chunks(chunks))
    assert meant.usage is not None
    second = Writer("m")
    for payload in EventReader().feed(native):
        second.note(payload)
    rest = b"".join(map(second.write, chunks[place:])) + second.end(*meant.usage[:2])
    check_same(read_chunks(read_stream(native + rest, 4096)), meant)


@settings(deadline=None)
@given(chat_streams(), st.data())
def test_blocks_start_in_order_grow_while_open_and_are_all_closed(
    stream: tuple[list[bytes], int], data: st.DataObject
) -> None:
    chunks, _ = stream
    fails = data.draw(st.booleans())
    writer = Writer("m")
    written = b"".join(map(writer.write, chunks))
    written += writer.error("x", "api_error") if fails else writer.end(1, 1)
    events = [json.loads(payload) for payload in EventReader().feed(written)]
    assert events[0]["type"] == "message_start"
    assert [event["type"] for event in events].count("message_start") == 1
    opened: set[int] = set()
    started = 0
    for event in events[1:]:
        match event["type"]:
            case "content_block_start":
                assert event["index"] == started
                started += 1
                opened.add(event["index"])
            case "content_block_delta":
                assert event["index"] in opened
            case "content_block_stop":
                opened.remove(event["index"])
    assert fails or not opened
    assert [event["type"] for event in events[-2:]] == ["message_delta", "message_stop"] or fails
    assert not fails or events[-1]["type"] == "error"


# ---- requests ---------------------------------------------------------------------------------------------------

IMAGES = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}},
    ]
)
PARTS = st.lists(st.builds(lambda text: {"type": "text", "text": text}, SPEECH) | IMAGES, min_size=1, max_size=3)


@st.composite
def conversations(draw: st.DrawFn) -> list[Json]:
    """Chat messages as the API has them: users ask, the assistant answers, maybe by way of tools."""
    messages: list[Json] = []
    if draw(st.booleans()):
        messages.append({"role": "system", "content": draw(SPEECH)})
    for turn in range(draw(st.integers(1, 3))):
        messages.append({"role": "user", "content": draw(SPEECH | PARTS)})
        for step in range(draw(st.integers(0, 2))):
            calls = [
                {
                    "id": f"call_{turn}_{step}_{i}",
                    "type": "function",
                    "function": {"name": draw(NAMES), "arguments": json.dumps(draw(OBJECTS))},
                }
                for i in range(draw(st.integers(1, 2)))
            ]
            messages.append({"role": "assistant", "content": draw(st.none() | SPEECH), "tool_calls": calls})
            messages += [
                {"role": "tool", "tool_call_id": call["id"], "content": draw(st.just("") | SPEECH)} for call in calls
            ]
        messages.append({"role": "assistant", "content": draw(SPEECH).rstrip()})
    if draw(st.booleans()):
        messages.pop()
    return messages


@st.composite
def requests(draw: st.DrawFn) -> dict[str, Json]:
    """Chat requests whose every field can be carried, in the words that come back."""
    request: dict[str, Json] = {"model": "m", "messages": draw(conversations()), "max_tokens": draw(st.integers(1, 99))}
    if draw(st.booleans()):
        tools = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
        request["tools"] = [
            {"type": "function", "function": {"name": name, "parameters": {"type": "object", "title": name}}}
            for name in tools
        ]
        choice = draw(st.sampled_from([None, "auto", "none", "required", "one"]))
        if choice is not None:
            named = {"type": "function", "function": {"name": tools[0]}}
            request["tool_choice"] = named if choice == "one" else choice
            if choice != "none" and draw(st.booleans()):
                request["parallel_tool_calls"] = False
    for name, values in (
        ("temperature", st.floats(0, 0.99)),
        ("top_p", st.floats(0, 0.99)),
        ("stop", st.lists(SPEECH, min_size=1, max_size=2)),
    ):
        if draw(st.booleans()):
            request[name] = draw(values)
    if draw(st.booleans()):
        request["stream"] = True
        request["stream_options"] = {"include_usage": True}
    if draw(st.booleans()):
        schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
        request["response_format"] = {"type": "json_schema", "json_schema": schema}
    return request


def to_fields(request: dict[str, Json]) -> Fields:
    return read_fields(json.dumps(request).encode())


def normalize(request: dict[str, Json]) -> dict[str, Json]:
    """Apart from the form: arguments as values, one text part as its text, assistants of a role as one."""
    for message in request["messages"]:
        for call in message.get("tool_calls", ()):
            call["function"]["arguments"] = json.loads(call["function"]["arguments"])
        content = message["content"]
        if isinstance(content, list) and len(content) == 1 and content[0]["type"] == "text":
            message["content"] = content[0]["text"]
    return request


@settings(deadline=None)
@given(requests())
def test_a_chat_request_comes_back_from_the_messages_api_as_it_was(request: dict[str, Json]) -> None:
    written, lost = from_chat(to_fields(request))
    assert lost == ()
    back, lost = to_chat(written)
    assert lost == ()
    assert normalize(json.loads(msgspec.json.encode(back))) == normalize(request)


# ---- any bytes --------------------------------------------------------------------------------------------------

WORDS = """
messages role content system user assistant tool type text image image_url url source base64 data media_type
document thinking redacted_thinking signature tool_use tool_result tool_use_id input id name is_error tools
input_schema tool_choice auto any none function parameters arguments tool_calls tool_call_id max_tokens stream
temperature top_p stop stop_sequences output_config format json_schema schema effort high reasoning_effort
response_format enabled budget_tokens choices delta index message usage finish_reason stop_reason
content_block content_block_start content_block_delta content_block_stop text_delta input_json_delta
thinking_delta partial_json message_start message_delta message_stop error input_tokens output_tokens
prompt_tokens prompt_tokens_details cached_tokens refusal reasoning_content
"""
WORDS_OF_THE_APIS = st.sampled_from(WORDS.split())
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    LEAVES | WORDS_OF_THE_APIS | st.text(max_size=4),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(WORDS_OF_THE_APIS, values, max_size=4),
    max_leaves=12,
)
ANYTHING = st.binary(max_size=40) | VALUES.map(msgspec.json.encode)
DEEP = b'{"messages":' + b"[" * 9000 + b"]" * 9000 + b"}"
NOT_UTF8 = b'{"type":"message","content":[{"type":"text","text":"\xff"}],"messages":[{"role":"user","content":"\xff"}]}'


@st.composite
def likely_requests(draw: st.DrawFn) -> bytes:
    """Requests that are right at their top, and wrong anywhere below."""
    messages: list[Json] = [{"role": draw(st.sampled_from(["user", "assistant"])), "content": "x"}]
    fields = draw(st.dictionaries(WORDS_OF_THE_APIS, VALUES, max_size=3))
    blocks = st.fixed_dictionaries({"type": WORDS_OF_THE_APIS}).flatmap(
        lambda block: st.dictionaries(WORDS_OF_THE_APIS, VALUES, max_size=4).map(lambda more: more | block)
    )
    content = draw(st.lists(blocks, max_size=3))
    messages.append({"role": draw(st.sampled_from(["user", "assistant", "tool"])), "content": content})
    return msgspec.json.encode({"max_tokens": 5, "messages": messages} | fields)


@settings(deadline=None)
@given(ANYTHING | likely_requests())
@example(DEEP)
@example(NOT_UTF8)
def test_any_request_is_translated_or_refused(body: bytes) -> None:
    for translate in (to_chat, from_chat):
        try:
            written, lost = translate(read_fields(body))
        except BadRequest as refused:
            assert str(refused)
        else:
            assert json.loads(msgspec.json.encode(written))["messages"]
            assert all(isinstance(name, str) for name in lost)


EVENTS = st.fixed_dictionaries({"type": WORDS_OF_THE_APIS}).flatmap(
    lambda event: st.dictionaries(WORDS_OF_THE_APIS, VALUES, max_size=4).map(lambda more: more | event)
)


@settings(deadline=None)
@given(ANYTHING)
@example(DEEP)
@example(NOT_UTF8)
def test_any_answer_is_translated_or_malformed(body: bytes) -> None:
    try:
        json.loads(from_chat_reply(body, "m"))
    except Malformed as refused:
        assert str(refused)
    try:
        json.loads(to_chat_reply(body))
    except Malformed as refused:
        assert str(refused)


@settings(deadline=None)
@given(st.lists(ANYTHING | EVENTS.map(msgspec.json.encode), max_size=6))
@example([DEEP])
@example([NOT_UTF8])
def test_any_events_are_read_written_and_followed_or_malformed(payloads: list[bytes]) -> None:
    reader, writer, follower = Reader(), Writer("m"), Writer("m")
    for payload in payloads:
        try:
            for chunk in reader.read(payload):
                assert chunk == DONE or json.loads(chunk)
        except Malformed as refused:
            assert str(refused)
        try:
            writer.write(payload)
        except Malformed as refused:
            assert str(refused)
        follower.note(payload)
    for last in (writer, follower):
        assert EventReader().feed(last.end(1, 1)) or not last.error("x", "y")
