"""A chat stream survives the Responses API and back, however it is cut; and no bytes break a codec."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from providerrank.wire.answer import read_event, read_reply
from providerrank.wire.embeddings import read_embeddings_reply, read_embeddings_request
from providerrank.wire.errors import BadRequest, Malformed
from providerrank.wire.raw import Raw
from providerrank.wire.request import read_translated
from providerrank.wire.responses import RESPONSES
from providerrank.wire.responses_reader import Reader
from providerrank.wire.responses_reply import from_chat_reply, to_chat_reply
from providerrank.wire.responses_writer import Writer
from providerrank.wire.sse import DONE, EventReader

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
TOKENS = st.integers(0, 10**6)


class Meaning:
    """What a chat stream says in all."""

    def __init__(self) -> None:
        self.content = self.reasoning = self.refusal = ""
        self.calls: dict[int, list[str]] = {}
        self.finish: str | None = None
        self.usage: tuple[int, int, int, int] | None = None

    def take(self, chunk: dict[str, Any]) -> None:
        usage = chunk.get("usage")
        if usage is not None:
            self.usage = (
                usage["prompt_tokens"],
                usage["completion_tokens"],
                usage.get("prompt_tokens_details", {}).get("cached_tokens", 0),
                usage.get("completion_tokens_details", {}).get("reasoning_tokens", 0),
            )
        for choice in chunk["choices"]:
            delta = choice["delta"]
            self.content += delta.get("content") or ""
            self.reasoning += delta.get("reasoning_content") or ""
            self.refusal += delta.get("refusal") or ""
            for call in delta.get("tool_calls", ()):
                function = call["function"]
                said = self.calls.setdefault(call["index"], ["", "", ""])
                said[0] += call.get("id") or ""
                said[1] += function.get("name") or ""
                said[2] += function.get("arguments") or ""
            self.finish = choice.get("finish_reason") or self.finish

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Meaning) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]  # it is compared, never kept

    def __repr__(self) -> str:
        return repr(vars(self))


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"id": "chatcmpl-1", "created": 1, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@st.composite
def chats(draw: st.DrawFn) -> list[dict[str, Any]]:
    """A whole chat stream: deltas of every kind in any order, a finish, a usage."""
    chunks: list[dict[str, Any]] = [chunk({"role": "assistant", "content": ""})]
    calls = 0
    for kind in draw(
        st.lists(st.sampled_from(["content", "reasoning_content", "refusal", "call", "more"]), max_size=12)
    ):
        if kind == "call":
            function = {"name": draw(TEXTS), "arguments": draw(st.just("") | TEXTS)}
            call = {"index": calls, "id": f"call_{calls}", "type": "function", "function": function}
            chunks.append(chunk({"tool_calls": [call]}))
            calls += 1
        elif kind == "more":
            if calls:
                more = {"index": draw(st.integers(0, calls - 1)), "function": {"arguments": draw(TEXTS)}}
                chunks.append(chunk({"tool_calls": [more]}))
        else:
            chunks.append(chunk({kind: draw(TEXTS)}))
    finish = draw(st.sampled_from(["length", "content_filter", "tool_calls" if calls else "stop"]))
    prompt, completion = draw(TOKENS), draw(TOKENS)
    usage: dict[str, Any] = {"prompt_tokens": prompt, "completion_tokens": completion}
    if draw(st.booleans()):
        usage["prompt_tokens_details"] = {"cached_tokens": draw(st.integers(0, prompt))}
        usage["completion_tokens_details"] = {"reasoning_tokens": draw(st.integers(0, completion))}
    return [*chunks, chunk({}, finish), {"choices": [], "usage": usage}]


def meaning_of(chunks: list[dict[str, Any]]) -> Meaning:
    meaning = Meaning()
    for each in chunks:
        meaning.take(each)
    return meaning


def write(writer: Writer, chunks: list[dict[str, Any]]) -> bytes:
    usage = chunks[-1]["usage"]
    out = b"".join(writer.write(msgspec.json.encode(each)) for each in chunks)
    return out + writer.end(usage["prompt_tokens"], usage["completion_tokens"])


def read(payloads: list[bytes]) -> list[dict[str, Any]]:
    reader = Reader()
    chunks = [each for payload in payloads for each in reader.read(payload)]
    assert chunks.pop() == DONE
    for each in chunks:
        read_event(each)  # as the relay will
    return [msgspec.json.decode(each) for each in chunks]


@given(chats(), st.data())
def test_a_chat_stream_written_and_read_back_means_the_same(chat: list[dict[str, Any]], data: st.DataObject) -> None:
    out = write(Writer("m"), chat)
    cut = data.draw(st.integers(0, len(out)))
    reader = EventReader()
    payloads = reader.feed(out[:cut]) + reader.feed(out[cut:])
    assert meaning_of(read(payloads)) == meaning_of(chat)


@given(chats())
def test_events_are_numbered_and_close_what_they_open(chat: list[dict[str, Any]]) -> None:
    events = [msgspec.json.decode(payload) for payload in EventReader().feed(write(Writer("m"), chat))]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    opened = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    closed = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    assert sorted(opened) == sorted(item["id"] for item in closed.values())
    assert len(set(opened)) == len(opened)
    assert events[-1]["response"]["output"] == [closed[index] for index in range(len(closed))]


@given(chats())
def test_the_whole_answer_of_a_stream_means_what_the_stream_did(chat: list[dict[str, Any]]) -> None:
    events = EventReader().feed(write(Writer("m"), chat))
    reply = msgspec.json.decode(to_chat_reply(msgspec.json.encode(msgspec.json.decode(events[-1])["response"])))
    whole = meaning_of(chat)
    message = reply["choices"][0]["message"]
    assert (message["content"] or "") == whole.content
    assert message.get("reasoning_content", "") == whole.reasoning
    assert message.get("refusal", "") == whole.refusal
    calls = [[c["id"], c["function"]["name"], c["function"]["arguments"]] for c in message.get("tool_calls", ())]
    assert calls == list(whole.calls.values())
    assert reply["choices"][0]["finish_reason"] == whole.finish


@given(chats(), st.data())
def test_a_native_stream_taken_over_anywhere_means_the_same(chat: list[dict[str, Any]], data: st.DataObject) -> None:
    """A chat is cut in two; one endpoint answers natively up to there, another goes on in chat."""
    kinds = ("content", "reasoning_content", "refusal")
    words = [each for each in chat if each["choices"] and any(k in each["choices"][0]["delta"] for k in kinds)]
    cut = data.draw(st.integers(0, len(words)))
    first = Writer("native")
    native = EventReader().feed(b"".join(first.write(msgspec.json.encode(each)) for each in words[:cut]))
    writer = Writer("m")
    for payload in native:
        writer.note(payload)
    rest = [*words[cut:], chunk({}, "stop"), chat[-1]]
    payloads = native + EventReader().feed(write(writer, rest))
    assert meaning_of(read(payloads)) == meaning_of([*words[:cut], *rest])
    numbers = [msgspec.json.decode(payload)["sequence_number"] for payload in payloads]
    assert numbers == list(range(len(numbers)))
    # As if one had written it all: nothing shows where another took over.
    alone = EventReader().feed(write(Writer("native"), [*words[:cut], *rest]))
    assert [msgspec.json.decode(p)["type"] for p in payloads] == [msgspec.json.decode(p)["type"] for p in alone]


# ---- hostile bytes ----------------------------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        "type", "role", "content", "input", "model", "tools", "tool_choice", "name", "text", "format", "schema", "id",
        "output", "item", "part", "delta", "response", "status", "error", "usage", "input_tokens", "output_tokens",
        "call_id", "arguments", "output_index", "content_index", "choices", "message", "finish_reason", "index",
        "tool_calls", "function", "logprobs", "sequence_number", "created", "created_at", "summary", "token", "logprob",
        "bytes", "top_logprobs", "annotations", "embedding", "data", "dimensions", "metadata", "refusal", "annotation",
        "prompt_tokens", "completion_tokens", "prompt_tokens_details", "cached_tokens", "url_citation", "reasoning",
    ]
)  # fmt: skip
WORDS = st.sampled_from(
    [
        "message", "reasoning", "function_call", "function_call_output", "input_text", "output_text", "input_image",
        "user", "assistant", "completed", "incomplete", "response.created", "response.output_text.delta",
        "response.output_text.done", "response.output_item.added", "response.output_item.done", "response.completed",
        "response.content_part.added", "response.function_call_arguments.delta", "response.failed", "error", "stop",
        "response.output_text.annotation.added", "response.reasoning_summary_text.delta", "response.refusal.delta",
        "function", "json_schema", "allowed_tools", "auto", "url_citation", "summary_text",
    ]
)  # fmt: skip
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=4)
    | WORDS,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(NAMES, values, max_size=5),
    max_leaves=24,
)


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """JSON of known names and any values, sometimes with bytes of it replaced."""
    # (msgspec writes no integer past 64 bits.)
    body = bytearray(json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass"))
    for place in draw(st.lists(st.integers(0, max(len(body) - 1, 0)), max_size=2)):
        if body:
            body[place] = draw(st.integers(0, 255))
    return bytes(body)


VECTORS = Path(__file__).parents[1] / "vectors" / "dialects" / "responses"


def load_inputs() -> list[Any]:
    """Every valid (and every rejected) input of the vectors, to be spoiled."""
    inputs: list[Any] = []
    for name in ("requests", "replies", "native_replies"):
        inputs += [case["input"] for case in msgspec.json.decode((VECTORS / f"{name}.json").read_bytes())]
    for name, keys in (("native_streams", ("event",)), ("streams", ("note", "write"))):
        for case in msgspec.json.decode((VECTORS / f"{name}.json").read_bytes()):
            inputs += [step[key] for step in case["steps"] for key in keys if key in step]
    return inputs


INPUTS = load_inputs()


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """An input of the vectors with one value in it replaced by any other."""
    whole = [copy.deepcopy(draw(st.sampled_from(INPUTS)))]
    places: list[tuple[Any, Any]] = []
    to_visit: list[Any] = [whole]
    while to_visit:
        value = to_visit.pop()
        keys = list(value) if isinstance(value, dict) else range(len(value))
        for key in keys:
            places.append((value, key))
            if isinstance(value[key], dict | list):
                to_visit.append(value[key])
    holder, key = places[draw(st.integers(0, len(places) - 1))]
    holder[key] = draw(VALUES)
    return json.dumps(whole[0]).encode()


ANY = st.binary(max_size=20) | bodies() | spoiled()


@given(ANY)
def test_no_request_does_worse_than_to_be_refused(body: bytes) -> None:
    for read_one in (lambda b: read_translated(RESPONSES, b), read_embeddings_request):
        try:
            intake = read_one(body)
        except BadRequest:
            continue
        intake.body("up")


@given(st.dictionaries(NAMES, VALUES, max_size=4), VALUES, st.lists(VALUES, max_size=3))
def test_no_field_does_worse_than_to_be_refused(fields: dict[str, Any], given_input: Any, tools: list[Any]) -> None:
    whole = {"model": "m", "input": given_input, "tools": tools} | fields
    raws = {name: Raw(json.dumps(value).encode()) for name, value in whole.items()}
    try:
        chat, _ = RESPONSES.to_chat(raws)
    except BadRequest as error:
        assert error.param is not None
        return
    assert msgspec.json.decode(chat["messages"])


@given(ANY)
def test_no_answer_does_worse_than_to_be_malformed(body: bytes) -> None:
    for read_one in (lambda b: from_chat_reply(b, "m"), lambda b: read_embeddings_reply(b, 1)):
        try:
            read_one(body)
        except Malformed:
            pass
    try:
        read_reply(to_chat_reply(body))
    except Malformed:
        pass


@given(st.lists(ANY, max_size=5))
def test_no_event_does_worse_than_to_be_malformed(payloads: list[bytes]) -> None:
    reader, writer = Reader(), Writer("m")
    for payload in payloads:
        try:
            reader.read(payload)
        except Malformed:
            pass
        writer.note(payload)
    for payload in payloads:
        try:
            writer.write(payload)
        except Malformed:
            pass
    writer.error("m", "server_error")
    writer.end(1, 1)
    other = Writer("m")
    for payload in payloads:
        other.note(payload)
    other.end(1, 1)
