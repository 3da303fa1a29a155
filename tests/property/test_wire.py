"""However bytes are cut on their way, they mean the same; and no bytes make a reader do worse than refuse them."""

from __future__ import annotations

import json

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from providerrank.wire.answer import read_event, read_reply, rewrite_event, write_usage_event
from providerrank.wire.errors import BadHttp, BadRequest, Malformed, TooLarge, WireError
from providerrank.wire.http1 import RequestReader, ResponseReader, clean_value, write_chunk, write_head
from providerrank.wire.intake import CHAT_API, TEXT_API
from providerrank.wire.refusal import read_error
from providerrank.wire.request import read_request
from providerrank.wire.retry_after import MAX_US, read_retry_after_us
from providerrank.wire.sse import EventReader, read_block, write_event

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=8,
)


@st.composite
def cuts_of(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """``data`` as it may arrive."""
    places = sorted(draw(st.sets(st.integers(0, len(data)), max_size=12)))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


# ---- event streams ----------------------------------------------------------------------------------------------

LINES = st.one_of(
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8).map("data: {}".format),
    st.sampled_from(
        ["", "", "", "data", "data:", "data:x", ": comment", "event: error", "id: 1", "retry: 5", "data: é🦔"]
    ),
)
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\r"])


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    lines = draw(st.lists(LINES, max_size=12))
    one_kind = draw(st.none() | LINE_ENDS)
    return "".join(line + (one_kind or draw(LINE_ENDS)) for line in lines).encode()


def read_all(reads: list[bytes]) -> list[bytes]:
    reader = EventReader()
    events = [event for data in reads for event in reader.feed(data)]
    last = reader.close()
    return events if last is None else [*events, last]


def read_by_the_standard(stream: bytes) -> list[bytes]:
    """The same, line by line and all at once; a last event needs no blank line."""
    text = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    blocks: list[list[bytes]] = [[]]
    for line in text.split(b"\n"):
        if line:
            blocks[-1].append(line)
        else:
            blocks.append([])
    events = [read_block(b"\n".join(block)) for block in blocks if block]
    return [event for event in events if event is not None]


@given(streams())
@example(b"data: a\r\n\r\ndata: b\r\n\r\n")
@example(b"data: a\r\rdata: b\r\r")
@example("data: é🦔\n\n: x\n\ndata: a\ndata: b\n\n".encode())
def test_a_stream_cut_at_any_byte_is_the_same_events(stream: bytes) -> None:
    whole = read_by_the_standard(stream)
    assert read_all([stream]) == whole
    for place in range(len(stream) + 1):
        assert read_all([stream[:place], stream[place:]]) == whole
    assert read_all([stream[i : i + 1] for i in range(len(stream))]) == whole


@given(st.data(), streams())
def test_a_stream_cut_into_any_pieces_is_the_same_events(data: st.DataObject, stream: bytes) -> None:
    assert read_all(data.draw(cuts_of(stream))) == read_by_the_standard(stream)


@given(st.data(), st.lists(JSON_VALUES, max_size=5))
def test_events_that_are_written_are_read_back(data: st.DataObject, values: list[object]) -> None:
    payloads = [msgspec.json.encode(value) for value in values]
    stream = b"".join(write_event(payload) for payload in payloads)
    assert read_all(data.draw(cuts_of(stream))) == payloads


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_are_some_events(reads: list[bytes]) -> None:
    assert read_all(reads) == read_all([b"".join(reads)])


# ---- requests ---------------------------------------------------------------------------------------------------


@st.composite
def requests(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    """A request and its fields as they are written, in order."""
    prompt, other = draw(st.sampled_from([("messages", "prompt"), ("prompt", "x")]))
    names = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=6), max_size=4, unique=True))
    space = draw(st.sampled_from(["", " ", "\n\t"]))
    fields = {
        "model": '"m"',
        prompt: '[{"role":"user","content":"h\\u00e9 "}]' if prompt == "messages" else '"h\\u00e9 "',
    }
    taken = {"model", prompt, other, "stream", "stream_options", "models", "provider", "n", "tools", "logprobs",
             "response_format", "max_tokens", "max_completion_tokens"}  # fmt: skip
    for name in names:
        if name not in taken:
            fields[name] = json.dumps(draw(JSON_VALUES), ensure_ascii=draw(st.booleans()))
    for name, values in {
        "stream": ["true", "false", "null"],
        "stream_options": ['{"include_usage":true}', "{}", "null"],
        "models": ['["n"]', "[]", "null"],
        "provider": ['{"order": ["a"]}', "null", "{}"],
        "max_tokens": ["5", "null"],
    }.items():
        if draw(st.booleans()):
            fields[name] = draw(st.sampled_from(values))
    order = draw(st.permutations(list(fields)))
    body = ",".join(f"{space}{json.dumps(name)}{space}:{space}{fields[name]}{space}" for name in order)
    return f"{{{body}}}".encode("utf-8", "surrogatepass"), {name: fields[name] for name in order}


@given(requests(), st.text(st.characters(exclude_categories=["Cs"])))
def test_every_field_but_ours_is_passed_on_as_it_was_sent(
    request: tuple[bytes, dict[str, str]], upstream_model: str
) -> None:
    sent, fields = request
    intake = read_request(CHAT_API if "messages" in fields else TEXT_API, sent)
    passed = {
        name: bytes(value)
        for name, value in msgspec.json.decode(intake.body(upstream_model), type=dict[str, msgspec.Raw]).items()
    }
    expected = {name: value.encode() for name, value in fields.items() if name not in ("models", "provider")}
    assert msgspec.json.decode(passed.pop("model")) == upstream_model
    del expected["model"]
    if fields.get("stream") == "true" and not intake.wants_usage:
        expected["stream_options"] = b'{"include_usage":true}'
    assert passed == expected
    kept = [name for name in fields if name in passed]
    assert [name for name in passed if name in kept] == kept


@given(st.binary(max_size=200) | JSON_VALUES.map(msgspec.json.encode), st.sampled_from([CHAT_API, TEXT_API]))
def test_any_body_is_a_request_or_refused(body: bytes, api: str) -> None:
    try:
        read_request(api, body)
    except BadRequest as refused:
        assert refused.status == 400
        assert str(refused)


FIELDS_OF_OURS = ["model", "messages", "prompt", "stream", "stream_options", "models", "provider", "n", "tools",
                  "logprobs", "response_format", "max_tokens", "max_completion_tokens"]  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS_OF_OURS), JSON_VALUES), st.sampled_from([CHAT_API, TEXT_API]))
def test_fields_of_any_type_are_read_or_refused(fields: dict[str, object], api: str) -> None:
    fields.setdefault("model", "m")
    fields.setdefault("messages", [1])
    fields.setdefault("prompt", "once")
    try:
        intake = read_request(api, msgspec.json.encode(fields))
    except BadRequest as refused:
        assert refused.param in fields
        return
    intake.body("u")
    if api == CHAT_API:
        intake.continuation("u", "delivered")


# ---- answers ----------------------------------------------------------------------------------------------------

ANY_JSON = st.binary(max_size=100) | JSON_VALUES.map(msgspec.json.encode)
ERRORS = st.fixed_dictionaries({}, optional=dict.fromkeys(["error", "message", "detail", "code", "type"], JSON_VALUES))


@given(ANY_JSON | ERRORS.map(msgspec.json.encode), st.integers(100, 599))
def test_any_error_body_can_be_read(body: bytes, status: int) -> None:
    reading = read_error(status, body)
    assert len(reading.message) <= 200
    assert "\n" not in reading.message


@given(ANY_JSON)
def test_any_body_is_an_answer_or_malformed(body: bytes) -> None:
    try:
        reply = read_reply(body)
    except Malformed as error:
        assert str(error)
    else:
        assert reply.choices


DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "content": st.none() | st.text(),
        "role": st.text(),
        "reasoning": st.none() | st.text(),
        "x": JSON_VALUES,
    },
)
CHOICES = st.fixed_dictionaries(
    {"index": st.just(0)},
    optional={"delta": st.none() | DELTAS, "text": st.none() | st.text(), "finish_reason": st.none() | st.text()},
)
EVENTS = st.fixed_dictionaries(
    {"choices": st.none() | st.lists(CHOICES, max_size=2)},
    optional={"id": st.none() | st.text(), "created": st.integers(), "x": JSON_VALUES},
)


@given(EVENTS, st.none() | st.text(), st.none() | st.text())
def test_only_what_is_rewritten_changes(event: dict[str, object], event_id: str | None, content: str | None) -> None:
    payload = msgspec.json.encode(event)
    read_event(payload)
    rewritten = msgspec.json.decode(rewrite_event(payload, event_id=event_id, content=content, reasoning=None))
    expected = msgspec.json.decode(payload)
    if event_id is not None:
        expected["id"] = event_id
    if expected["choices"]:
        first = expected["choices"][0]
        if first.get("delta") is not None:
            first["delta"].pop("role", None)
            if content is not None:
                first["delta"]["content"] = content
        elif content is not None:
            first["text"] = content
    assert rewritten == expected


@given(ANY_JSON, st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_usage_event_can_follow_anything(template: bytes, prompt: int, completion: int) -> None:
    event = msgspec.json.decode(write_usage_event(template, prompt, completion))
    assert event["choices"] == []
    assert event["usage"]["total_tokens"] == prompt + completion


# ---- Retry-After ------------------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.sampled_from([b"retry-after", b"retry-after-ms"]),
        st.binary(max_size=40)
        | st.from_regex(rb"\A[A-Z][a-z]{2}, [0-9]{1,2} [A-Z][a-z]{2} [0-9]{1,5} [0-9:]{1,8} ?[A-Z0-9+-]{0,6}\Z")
        | st.floats().map(lambda number: str(number).encode()),
    ),
    st.integers(0, 2**53),
)
def test_any_retry_after_is_within_an_hour_or_nothing(headers: dict[bytes, bytes], now_us: int) -> None:
    wait_us = read_retry_after_us(headers, now_us)
    assert wait_us is None or 0 <= wait_us <= MAX_US


# ---- HTTP/1.1 ---------------------------------------------------------------------------------------------------

TOKENS = st.text("abcxyz-", min_size=1, max_size=6)
BODIES = st.binary(max_size=30)


@st.composite
def messages(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A request on the wire, and its body."""
    body = draw(BODIES)
    lines = b"".join(f"x-{name}: {value}\r\n".encode() for name, value in draw(st.dictionaries(TOKENS, TOKENS)).items())
    if draw(st.booleans()):
        return b"POST /a HTTP/1.1\r\n%bContent-Length: %d\r\n\r\n%b" % (lines, len(body), body), body
    pieces = [piece for piece in draw(cuts_of(body)) if piece]
    chunks = b"".join(write_chunk(piece) for piece in pieces)
    return b"POST /a HTTP/1.1\r\n%bTransfer-Encoding: chunked\r\n\r\n%b0\r\n\r\n" % (lines, chunks), body


@given(st.data(), st.lists(messages(), max_size=4))
def test_requests_cut_into_any_pieces_are_the_same_requests(
    data: st.DataObject, sent: list[tuple[bytes, bytes]]
) -> None:
    reader = RequestReader(1_000, 1_000)
    for piece in data.draw(cuts_of(b"".join(message for message, _ in sent))):
        reader.feed(piece)
    assert [request.body for request in reader.requests] == [body for _, body in sent]
    assert not reader.busy


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"POST / HTTP/1.1\r\n", b"\r\n", b"Content-Length: 5\r\n"])))
def test_any_bytes_are_requests_or_refused(reads: list[bytes]) -> None:
    reader = RequestReader(200, 200)
    try:
        for data in reads:
            reader.feed(data)
    except (BadHttp, TooLarge) as refused:
        assert str(refused)


@given(st.data(), BODIES, st.sampled_from(["length", "chunked", "close"]), st.booleans())
def test_an_answer_cut_into_any_pieces_is_the_same_answer(
    data: st.DataObject, body: bytes, framing: str, interim: bool
) -> None:
    wire = b"HTTP/1.1 100 Continue\r\n\r\n" if interim else b""
    if framing == "length":
        wire += write_head(200, [(b"Content-Length", b"%d" % len(body))]) + body
    elif framing == "chunked":
        chunks = b"".join(write_chunk(piece) for piece in data.draw(cuts_of(body)) if piece)
        wire += write_head(200, [(b"Transfer-Encoding", b"chunked")]) + chunks + b"0\r\n\r\n"
    else:
        wire += write_head(200, []) + body
    heard: list[object] = []
    parts: list[bytes] = []
    reader = ResponseReader(lambda status, _: heard.append(status), parts.append, lambda: heard.append("end"))
    for piece in data.draw(cuts_of(wire)):
        reader.feed(piece)
    if reader.eof():
        heard.append("end")
    assert heard == [200, "end"]
    assert b"".join(parts) == body


@given(st.lists(st.binary(max_size=60) | st.sampled_from([b"HTTP/1.1 200 OK\r\n", b"\r\n", b"Content-Length: 5\r\n"])))
def test_any_bytes_are_answers_or_refused(reads: list[bytes]) -> None:
    reader = ResponseReader(lambda *_: None, lambda _: None, lambda: None, 200)
    try:
        for data in reads:
            reader.feed(data)
    except WireError as refused:
        assert isinstance(refused, BadHttp)


@given(st.binary())
def test_a_clean_value_can_not_end_its_line(value: bytes) -> None:
    clean = clean_value(value)
    assert clean is None or (clean == value and all(32 <= byte < 127 for byte in clean))
