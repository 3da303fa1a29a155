"""Simulated endpoints in the Responses and Messages APIs, as the official SDKs read them, and every fault there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import openai
import pydantic
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types.responses import Response, ResponseStreamEvent

from providerrank.sim.apis import APIS, MESSAGES, get_skip
from providerrank.sim.faults import CONNECTION_FAULTS, LISTENER_FAULTS, ON_OPEN_CONNECTION, QUIRKS, Fault, Play
from providerrank.sim.faulty import REPLACEMENTS
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec
from tests.integration.sim_wire import CHAT, End, Reply, Wire, ask, request

PROMPT = "question 1 [[tokens=24]]"
SCHEMA = {"type": "object", "properties": {"n": {"const": "a long enough argument"}}, "required": ["n"]}
RESPONSES_BODY: dict[str, Any] = {"model": "m", "input": PROMPT}
MESSAGES_BODY: dict[str, Any] = {"model": "m", "max_tokens": 99, "messages": [{"role": "user", "content": PROMPT}]}
BODIES = {"responses": RESPONSES_BODY, "messages": MESSAGES_BODY}
TOOLS: dict[str, Any] = {
    "responses": {"tools": [{"type": "function", "name": "f", "parameters": SCHEMA, "strict": None}]},
    "messages": {"tools": [{"name": "f", "input_schema": SCHEMA}]},
}
FORMATS: dict[str, Any] = {
    "responses": {"text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA}}},
    "messages": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
}
NATIVE = pytest.mark.parametrize("api", ["responses", "messages"])
WHOLE: dict[str, pydantic.TypeAdapter[Any]] = {
    "responses": pydantic.TypeAdapter(Response),
    "messages": pydantic.TypeAdapter(Message),
}
EVENT: dict[str, pydantic.TypeAdapter[Any]] = {
    "responses": pydantic.TypeAdapter(ResponseStreamEvent),
    "messages": pydantic.TypeAdapter(RawMessageStreamEvent),
}
LAST = {"responses": ["response.completed"], "messages": ["message_delta", "message_stop"]}
HEAD = "anthropic-version: 2023-06-01\r\n"


@contextlib.asynccontextmanager
async def sim(*apis: Any, **fields: Any) -> AsyncIterator[Any]:
    async with SimProviders([EndpointSpec(name="one", apis=apis or ("chat", "responses", "messages"), **fields)]) as it:
        yield it["one"]


async def say(port: int, api: str, stream: bool = False, head: str = HEAD, **fields: Any) -> Reply:
    async with Wire(port) as wire:
        body = {**BODIES[api], **fields, **({"stream": True} if stream else {})}
        await wire.send(request(body, f"/v1/{api}", head))
        return await wire.reply()


def get_objects(reply: Reply, api: str) -> list[dict[str, Any]]:
    """A stream's complete events, each held to the SDK's type and to its own name."""
    text = reply.body.decode().replace("\r\n", "\n").replace(": keep-alive\n\n", "")
    objects = []
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        if data == "data: {not json":
            continue
        made = json.loads(data.removeprefix("data: "))
        assert name == f"event: {made['type']}"
        if made["type"] not in ("ping", "error"):
            EVENT[api].validate_python(made, strict=False)
        objects.append(made)
    return objects


def get_said(objects: list[dict[str, Any]]) -> str:
    """Text, or a tool's arguments, of a whole answer (one object) or of a stream's events."""
    said = []
    for one in objects:
        if one["type"] == "content_block_delta":
            said.append(one["delta"].get("text") or one["delta"].get("partial_json"))
        elif one["type"] in ("response.output_text.delta", "response.function_call_arguments.delta"):
            said.append(one["delta"])
    return "".join(said)


def get_text(whole: dict[str, Any]) -> str:
    """Likewise, of a whole answer."""
    if whole.get("object") == "response":
        [item] = whole["output"]
        return str(item["arguments"] if item["type"] == "function_call" else item["content"][0]["text"])
    [block] = whole["content"]
    return json.dumps(block["input"], separators=(",", ":")) if block["type"] == "tool_use" else str(block["text"])


def kinds(objects: list[dict[str, Any]]) -> list[str]:
    return [one["type"] for one in objects]


# --- answers ---------------------------------------------------------------------------------------------------------


@NATIVE
async def test_one_question_has_one_answer_in_every_api_whole_or_streamed(api: str) -> None:
    async with sim() as one:
        usual = await ask(one.port, CHAT)
        whole = await say(one.port, api)
        WHOLE[api].validate_json(whole.body)
        stream = get_objects(await say(one.port, api, stream=True), api)
        assert get_text(whole.json()) == get_said(stream) == usual.text
        assert kinds(stream)[-len(LAST[api]) :] == LAST[api]
        usage, tokens = whole.json()["usage"], usual.json()["usage"]
        assert (usage["input_tokens"], usage["output_tokens"]) == (tokens["prompt_tokens"], tokens["completion_tokens"])
        told = stream[-1]["response"]["usage"] if api == "responses" else stream[-2]["usage"]
        assert told == usage


@NATIVE
@pytest.mark.parametrize("more", [TOOLS, FORMATS], ids=["tools", "format"])
async def test_tools_are_called_and_formats_kept(more: dict[str, Any], api: str) -> None:
    async with sim() as one:
        whole = await say(one.port, api, **more[api])
        WHOLE[api].validate_json(whole.body)
        stream = get_objects(await say(one.port, api, stream=True, **more[api]), api)
        assert get_text(whole.json()) == get_said(stream) == '{"n":"a long enough argument"}'
        broken = get_text((await play(one, Fault.SCHEMA_VIOLATION, api, **more[api])).json())
        assert broken != get_said(stream)


async def test_the_official_clients_add_a_stream_up_to_what_it_says() -> None:
    async with sim(key="k") as one:
        async with openai.AsyncOpenAI(base_url=one.url, api_key="k", max_retries=0) as client:
            async with client.responses.stream(model="m", input=PROMPT) as stream:
                async for _ in stream:
                    pass
                response = await stream.get_final_response()
            assert response.output_text == (await client.responses.create(model="m", input=PROMPT)).output_text
        url = one.url.removesuffix("/v1")
        async with anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=0) as other:
            async with other.messages.stream(**MESSAGES_BODY) as streamed:
                message = await streamed.get_final_message()
            whole = await other.messages.create(**MESSAGES_BODY)
            assert [block.text for block in message.content if block.type == "text"] == [
                block.text for block in whole.content if block.type == "text"
            ]
            assert (message.stop_reason, message.usage.output_tokens) == ("end_turn", 24)


async def test_an_answer_that_is_cut_by_its_limit_says_so() -> None:
    async with sim() as one:
        whole = (await say(one.port, "responses", max_output_tokens=5)).json()
        assert (whole["status"], whole["incomplete_details"]) == ("incomplete", {"reason": "max_output_tokens"})
        last = get_objects(await say(one.port, "responses", stream=True, max_output_tokens=5), "responses")[-1]
        assert (last["type"], last["response"]["usage"]["output_tokens"]) == ("response.incomplete", 5)
        message = (await say(one.port, "messages", max_tokens=5)).json()
        assert (message["stop_reason"], message["usage"]["output_tokens"]) == ("max_tokens", 5)


async def test_a_message_says_where_it_was_told_to_stop() -> None:
    async with sim() as one:
        text = get_text((await say(one.port, "messages")).json())
        stop = text.split()[3]
        message = (await say(one.port, "messages", stop_sequences=[stop])).json()
        assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", stop)
        assert text.startswith(get_text(message))


async def test_a_conversation_with_a_tool_means_the_same_in_every_api() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chat = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    used = {"type": "tool_use", "id": "c1", "name": "f", "input": {}}
    messages = [
        {"role": "user", "content": PROMPT},
        {"role": "assistant", "content": [used]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "rain"}]},
    ]
    items = [
        {"role": "user", "content": [{"type": "input_text", "text": PROMPT}]},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "rain"},
    ]
    async with sim() as one:
        usual = (await ask(one.port, {"model": "m", "messages": chat})).text
        message = (await say(one.port, "messages", system="Be kind.", messages=messages)).json()
        response = (await say(one.port, "responses", instructions="Be kind.", input=items)).json()
        assert get_text(message) == get_text(response) == usual


# --- refusals of its own accord --------------------------------------------------------------------------------------


async def test_what_an_endpoint_does_not_speak_is_404_in_the_shape_of_its_maker() -> None:
    async with sim("messages") as one:
        reply = await ask(one.port, CHAT)
        assert (reply.status, reply.json()["error"]["type"]) == (404, "not_found_error")
    async with sim("chat") as one:
        reply = await say(one.port, "messages")
        assert (reply.status, reply.json()["error"]["code"]) == (404, "unknown_url")


@pytest.mark.parametrize(
    ("apis", "head", "status"),
    [
        (("messages",), "x-api-key: k\r\n", 200),
        (("messages",), "authorization: Bearer k\r\n", 401),
        (("chat", "messages"), "authorization: Bearer k\r\n", 200),
        (("chat", "messages"), "x-api-key: other\r\n", 401),
    ],
)
async def test_anthropic_takes_its_own_header_for_a_key(apis: tuple[str, ...], head: str, status: int) -> None:
    async with sim(*apis, key="k") as one:
        assert (await say(one.port, "messages", head=HEAD + head)).status == status
        assert (await say(one.port, "messages", head=head)).status in (400, 401)  # without the version


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"frequency_penalty": 1}, "unknown field"),
        ({"max_tokens": None}, "max_tokens"),
        ({"temperature": 1.5}, "temperature"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "assistant", "content": "x"}]}, "first message"),
        ({"messages": [{"role": "user", "content": " "}]}, "non-whitespace"),
        (
            {"messages": [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y "}]},
            "trailing whitespace",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c"}]}]}, "must match"),
        ({"tool_choice": {"type": "auto"}}, "tool_choice"),
    ],
)
async def test_what_anthropic_does_not_take_is_refused(fields: dict[str, Any], words: str) -> None:
    async with sim() as one:
        reply = await say(one.port, "messages", **fields)
        assert (reply.status, reply.json()["error"]["type"]) == (400, "invalid_request_error")
        assert words in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"max_tokens": 5}, "max_tokens"),
        ({"input": ""}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "c", "output": "x"}]}, "input"),
        ({"input": [{"role": "nobody", "content": "x"}]}, "input[0].role"),
    ],
)
async def test_what_openai_does_not_take_is_refused(fields: dict[str, Any], param: str) -> None:
    async with sim() as one:
        reply = await say(one.port, "responses", **fields)
        assert (reply.status, reply.json()["error"]["param"]) == (400, param)


# --- faults ----------------------------------------------------------------------------------------------------------


async def play(one: Any, fault: Fault | Play, api: str, stream: bool = False, **fields: Any) -> Reply:
    one.script([fault])
    reply = await say(one.port, api, stream, **fields)
    assert one.script_left == 0
    return reply


def status_of(fault: Fault) -> int | None:
    if fault.startswith("status_"):
        return int(fault.removeprefix("status_"))
    if fault.startswith("rate_limit"):
        return 429
    known = {
        Fault.CONTEXT_LENGTH: 400,
        Fault.CONTENT_POLICY: 400,
        Fault.UNSUPPORTED_400: 400,
        Fault.UNSUPPORTED_422: 422,
    }
    return known.get(fault)


WITH_STATUS = [fault for fault in Fault if status_of(fault) is not None]
PAGES = (Fault.STATUS_502, Fault.STATUS_504)


@NATIVE
@pytest.mark.parametrize("fault", WITH_STATUS, ids=str)
async def test_errors_have_the_status_and_the_api_s_own_shape(fault: Fault, api: str) -> None:
    async with sim() as one:
        reply = await play(one, fault, api, stream=True)
        assert reply.status == status_of(fault)
        if fault in PAGES:
            return
        error = reply.json()["error"]
        assert set(error) == ({"message", "type", "param", "code"} if api == "responses" else {"type", "message"})
        if api == "messages":
            assert reply.json()["type"] == "error"
            kind = {429: "rate_limit_error", 529: "overloaded_error", 401: "authentication_error"}
            assert error["type"] == kind.get(reply.status or 0, error["type"])


# Of a stream: what it ends with, as events and on the wire; ``...``: the API's own last events.
STREAMS: dict[Fault, tuple[Any, End]] = {
    Fault.STALL_BEFORE_CONTENT: (None, End.QUIET),
    Fault.CUT_BEFORE_CONTENT: (None, End.RESET),
    Fault.STALL_MID_STREAM: (None, End.QUIET),
    Fault.CUT_ABORT: (None, End.RESET),
    Fault.TOOL_CUT: (None, End.RESET),
    Fault.CUT_CLEAN: (None, End.COMPLETE),
    Fault.CUT_JSON: (None, End.COMPLETE),
    Fault.NO_FINISH: (None, End.COMPLETE),
    Fault.EMPTY_BODY: (None, End.COMPLETE),
    Fault.ERROR_EVENT_FIRST: ({"responses": ["error"], "messages": ["error"]}, End.COMPLETE),
    Fault.ERROR_EVENT_MIDWAY: ({"responses": ["response.failed"], "messages": ["error"]}, End.COMPLETE),
    Fault.NO_DONE: ({"messages": ["message_delta"]}, End.COMPLETE),
    Fault.NO_DONE_HELD: ({"responses": ["response.completed"], "messages": ["message_delta"]}, End.QUIET),
    Fault.NON_JSON_EVENT: (LAST, End.COMPLETE),
    Fault.SPLIT_BYTES: (LAST, End.COMPLETE),
    Fault.SPLIT_UTF8: (LAST, End.COMPLETE),
    Fault.CRLF_LINES: (LAST, End.COMPLETE),
    Fault.COMMENT_LINES: (LAST, End.COMPLETE),
}


@NATIVE
@pytest.mark.parametrize("fault", STREAMS, ids=str)
async def test_a_stream_breaks_as_its_fault_says(fault: Fault, api: str) -> None:
    async with sim() as one:
        usual = get_said(get_objects(await say(one.port, api, stream=True), api))
        reply = await play(one, fault, api, stream=True)
        last, end = STREAMS[fault]
        if get_skip(APIS[f"/v1/{api}"], fault, streamed=True) is not None:
            assert (one.log.last.fault, one.log.last.skipped) == (None, fault)
            assert one.log.skipped == {fault: 1}
            return
        assert one.log.last.fault is fault
        objects = get_objects(reply, api)
        assert (reply.status, reply.end) == (200, end)
        finishes = [kind for kind in kinds(objects) if kind in LAST[api]]
        if last is None:
            assert finishes == []
            assert usual.startswith(get_said(objects))
        else:
            assert kinds(objects)[-len(last[api]) :] == last[api]
            assert get_said(objects) == ("" if fault is Fault.ERROR_EVENT_FIRST else get_said(objects))
        if fault in QUIRKS:
            assert get_said(objects) == usual
        if fault is Fault.NON_JSON_EVENT:
            assert b"data: {not json" in reply.body


@NATIVE
async def test_a_tool_call_is_cut_within_its_arguments(api: str) -> None:
    async with sim() as one:
        objects = get_objects(await play(one, Fault.TOOL_CUT, api, stream=True, **TOOLS[api]), api)
        said = get_said(objects)
        assert '{"n":"a long enough argument"}'.startswith(said)
        assert 0 < len(said) < 30


@NATIVE
async def test_no_usage_and_too_much_of_it(api: str) -> None:
    async with sim() as one:
        if api == "responses":
            assert not (await play(one, Fault.NO_USAGE, api)).json()["usage"]
            assert b'"output_tokens"' not in (await play(one, Fault.NO_USAGE, api, stream=True)).body
        usage = (await say(one.port, api)).json()["usage"]
        billed = (await play(one, Fault.OVER_BILLING, api)).json()["usage"]
        assert billed["output_tokens"] == 2 * usage["output_tokens"]


@NATIVE
async def test_an_error_object_is_the_api_s_own(api: str) -> None:
    async with sim() as one:
        reply = await play(one, Fault.ERROR_OBJECT, api)
        assert (reply.status, reply.json()["error"]["type"]) == (
            200,
            "overloaded_error" if api == "messages" else "server_error",
        )


@NATIVE
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("fault", list(Fault), ids=str)
async def test_every_fault_is_played_or_skipped_in_so_many_words(fault: Fault, stream: bool, api: str) -> None:
    if fault in LISTENER_FAULTS | CONNECTION_FAULTS:
        assert ON_OPEN_CONNECTION[fault] in REPLACEMENTS  # Before any API is spoken.
        return
    async with sim() as one:
        usual = await say(one.port, api, stream)
        reply = await play(one, Play(fault, size=1000, seconds=0.01), api, stream)
        skipped = get_skip(APIS[f"/v1/{api}"], fault, stream)
        if skipped is None:
            assert (one.log.last.fault, one.log.last.skipped) == (fault, None)
        else:
            assert (one.log.last.fault, one.log.last.skipped) == (None, fault)
            assert (reply.status, reply.end) == (200, End.COMPLETE)
            assert get_said(get_objects(reply, api)) == get_said(get_objects(usual, api)) if stream else reply.json()


def test_what_has_no_meaning_is_said_with_a_reason() -> None:
    skips = {(api.name, fault) for api in APIS.values() for fault in Fault if get_skip(api, fault, streamed=True)}
    assert skips == {
        ("responses", Fault.NO_DONE),
        ("messages", Fault.NO_USAGE),
        ("completions", Fault.SCHEMA_VIOLATION),
        ("embeddings", Fault.SCHEMA_VIOLATION),
    }
    assert get_skip(MESSAGES, Fault.NON_JSON_EVENT, streamed=False)
