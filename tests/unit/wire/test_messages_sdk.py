"""Anthropic's own client, offline: what it sends is understood, what we write it reads as what was meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types import (
    Message,
    MessageParam,
    TextBlock,
    ThinkingBlock,
    ToolParam,
    ToolResultBlockParam,
    ToolUseBlock,
)

from providerrank.wire.fields import read_fields
from providerrank.wire.messages_error import write_error
from providerrank.wire.messages_reply import from_chat_reply
from providerrank.wire.messages_request import to_chat
from providerrank.wire.messages_writer import Writer

Handler = Callable[[httpx2.Request], httpx2.Response]


def make_client(handler: Handler) -> anthropic.Anthropic:
    return anthropic.Anthropic(
        api_key="k",
        base_url="http://gateway",
        max_retries=0,
        http_client=httpx2.Client(transport=httpx2.MockTransport(handler)),
    )


def chunk(finish: str | None = None, **delta: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return json.dumps({"id": "chatcmpl-1", "choices": [choice]}).encode()


def tool_delta(index: int, arguments: str, name: str | None = None) -> bytes:
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name is not None:
        call |= {"id": f"call_{index}", "type": "function"}
        call["function"]["name"] = name
    return chunk(tool_calls=[call])


CHUNKS = [
    chunk(role="assistant", content=""),
    chunk(reasoning_content="Which "),
    chunk(reasoning_content="tool?"),
    chunk(content="Looking"),
    chunk(content=" it up."),
    tool_delta(0, "", "weather"),
    tool_delta(1, "", "time"),
    tool_delta(0, '{"city":'),
    tool_delta(1, '{"zone": "CET"'),
    tool_delta(0, '"Paris"}'),
    tool_delta(1, "}"),
    chunk("tool_calls"),
    json.dumps(
        {
            "choices": [],
            "usage": {"prompt_tokens": 50, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 40}},
        }
    ).encode(),
]
"""An answer with everything in it, two tool calls side by side."""

COMPLETION = {
    "id": "chatcmpl-1",
    "choices": [
        {
            "index": 0,
            "finish_reason": "tool_calls",
            "message": {
                "role": "assistant",
                "reasoning_content": "Which tool?",
                "content": "Looking it up.",
                "tool_calls": [
                    {"id": "call_0", "function": {"name": "weather", "arguments": '{"city":"Paris"}'}},
                    {"id": "call_1", "function": {"name": "time", "arguments": '{"zone": "CET"}'}},
                ],
            },
        }
    ],
    "usage": {"prompt_tokens": 50, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 40}},
}
"""The same answer whole."""


def check_message(message: Message) -> None:
    thinking, text, first, second = message.content
    assert isinstance(thinking, ThinkingBlock)
    assert (thinking.thinking, thinking.signature) == ("Which tool?", "")
    assert isinstance(text, TextBlock)
    assert text.text == "Looking it up."
    assert isinstance(first, ToolUseBlock)
    assert (first.id, first.name, first.input) == ("call_0", "weather", {"city": "Paris"})
    assert isinstance(second, ToolUseBlock)
    assert (second.id, second.name, second.input) == ("call_1", "time", {"zone": "CET"})
    assert (message.stop_reason, message.stop_sequence) == ("tool_use", None)
    assert (message.id, message.model, message.role) == ("msg_chatcmpl-1", "m", "assistant")
    usage = message.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (10, 40, 20)


def write_stream(chunks: list[bytes]) -> bytes:
    writer = Writer("m")
    return b"".join(map(writer.write, chunks)) + writer.end(50, 20)


def serve_stream(stream: bytes) -> Handler:
    return lambda _: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=stream)


ASK: list[MessageParam] = [{"role": "user", "content": "Hi"}]


def test_a_stream_is_accumulated_to_the_message_that_was_meant() -> None:
    client = make_client(serve_stream(write_stream(CHUNKS)))
    with client.messages.stream(model="m", max_tokens=9, messages=ASK) as stream:
        check_message(stream.get_final_message())


def test_each_event_of_a_stream_is_one_of_the_client_s_types() -> None:
    client = make_client(serve_stream(write_stream(CHUNKS)))
    events = list(client.messages.create(model="m", max_tokens=9, messages=ASK, stream=True))
    assert events[0].type == "message_start"
    assert events[-1].type == "message_stop"
    for event in events:
        # Anew, and strictly: the client itself does not validate what it receives.
        type(event).model_validate(event.model_dump(), strict=True)


def test_a_whole_answer_is_the_message_that_was_meant() -> None:
    body = from_chat_reply(json.dumps(COMPLETION).encode(), "m")
    client = make_client(lambda _: httpx2.Response(200, json=json.loads(body)))
    check_message(client.messages.create(model="m", max_tokens=9, messages=ASK))
    Message.model_validate_json(body, strict=True)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (503, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
def test_an_error_is_raised_as_the_client_s_own(status: int, kind: type[anthropic.APIStatusError]) -> None:
    client = make_client(lambda _: httpx2.Response(status, content=write_error(status, "No 'x' here.")))
    with pytest.raises(kind) as caught:
        client.messages.create(model="m", max_tokens=9, messages=ASK)
    assert "No 'x' here." in str(caught.value)


def test_an_error_in_mid_answer_is_raised_and_not_taken_for_its_end() -> None:
    writer = Writer("m")
    begun = writer.write(chunk(content="Half an ans"))
    client = make_client(serve_stream(begun + writer.error("every endpoint failed", "server_error")))
    said: list[str] = []
    with pytest.raises(anthropic.APIStatusError, match="every endpoint failed"):  # noqa: SIM117
        with client.messages.stream(model="m", max_tokens=9, messages=ASK) as stream:
            said.extend(event.type for event in stream)
    assert "message_stop" not in said


def test_a_request_the_client_sends_is_understood() -> None:
    seen: list[bytes] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        seen.append(request.content)
        assert request.url.path == "/v1/messages"
        return httpx2.Response(200, content=from_chat_reply(json.dumps(COMPLETION).encode(), "m"))

    client = make_client(handle)
    tool: ToolParam = {
        "name": "weather",
        "description": "Weather of a city",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
    answer = client.messages.create(model="m", max_tokens=9, messages=ASK, tools=[tool])
    results: list[ToolResultBlockParam] = [
        {"type": "tool_result", "tool_use_id": block.id, "content": [{"type": "text", "text": "22"}]}
        for block in answer.content
        if isinstance(block, ToolUseBlock)
    ]
    client.messages.create(
        model="m",
        max_tokens=9,
        system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        messages=[*ASK, {"role": "assistant", "content": answer.content}, {"role": "user", "content": results}],
        tools=[tool],
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 2048},
        stop_sequences=["END"],
        metadata={"user_id": "u"},
        output_config={"format": {"type": "json_schema", "schema": {"type": "object"}}},
    )
    chat, lost = to_chat(read_fields(seen[-1]))
    assert lost == ()
    written = {name: json.loads(bytes(raw)) for name, raw in chat.items()}
    assert [message["role"] for message in written["messages"]] == ["system", "user", "assistant", "tool", "tool"]
    assert written["messages"][2]["reasoning_content"] == "Which tool?"
    assert [call["id"] for call in written["messages"][2]["tool_calls"]] == ["call_0", "call_1"]
    assert [message.get("tool_call_id") for message in written["messages"][3:]] == ["call_0", "call_1"]
    assert written["tools"][0]["function"]["parameters"] == tool["input_schema"]
    assert written["parallel_tool_calls"] is False
    assert written["reasoning_effort"] == "low"
    assert written["stop"] == ["END"]
    assert written["response_format"]["json_schema"]["schema"] == {"type": "object"}
