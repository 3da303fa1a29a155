"""What the codecs write, as the official SDK reads it; no network: the SDK's own transport is replaced."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import msgspec
import openai
import pydantic
import pytest
from openai.types.responses import Response, ResponseStreamEvent

from providerrank.wire.embeddings import read_embeddings_request
from providerrank.wire.errors import BadRequest
from providerrank.wire.fields import read_fields
from providerrank.wire.raw import Raw
from providerrank.wire.refusal import write_error
from providerrank.wire.responses import RESPONSES
from providerrank.wire.responses_reply import from_chat_reply
from providerrank.wire.responses_writer import Writer
from providerrank.wire.sse import EventReader

USAGE = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}
CALL: dict[str, Any] = {
    "index": 0,
    "id": "call_1",
    "type": "function",
    "function": {"name": "Weather", "arguments": '{"city":'},
}
EVENTS: pydantic.TypeAdapter[Any] = pydantic.TypeAdapter(ResponseStreamEvent)


class Weather(pydantic.BaseModel):
    """Weather of a city."""

    city: str


class Gateway:
    """Answers the SDK as a gateway in front of a chat endpoint would: its request is translated, and so is the answer.

    ``chat`` is what the endpoint was sent.
    """

    def __init__(self, deltas: list[dict[str, Any]], finish: str = "stop", *, fails: bool = False) -> None:
        self.deltas = deltas
        self.finish = finish
        self.fails = fails
        self.chat: dict[str, Any] = {}
        self.body = b""

    def client(self) -> openai.OpenAI:
        transport = httpx2.MockTransport(self.answer)
        return openai.OpenAI(
            api_key="k",
            base_url="http://gateway.test/v1",
            max_retries=0,
            http_client=httpx2.Client(transport=transport),
        )

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        assert request.url.path == "/v1/responses"
        asked = read_fields(request.content)
        try:
            chat, lost = RESPONSES.to_chat(asked)
        except BadRequest as error:
            body = write_error(error.status, str(error), code=error.code, param=error.param)
            return httpx2.Response(error.status, content=body)
        assert lost == ()
        self.chat = {name: msgspec.json.decode(value) for name, value in chat.items()}
        if self.chat.get("stream"):
            self.body = self.stream(asked)
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=self.body)
        self.body = self.reply(asked)
        return httpx2.Response(200, headers={"content-type": "application/json"}, content=self.body)

    def stream(self, asked: dict[str, Raw]) -> bytes:
        writer = Writer("m", asked)
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta} for delta in self.deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": self.finish})
        chunks: list[dict[str, Any]] = [{"id": "chatcmpl-1", "created": 1, "choices": [choice]} for choice in choices]
        if self.fails:
            return b"".join(map(writer.write, map(msgspec.json.encode, chunks[:-1]))) + writer.error(
                "every endpoint failed", "upstream_error"
            )
        chunks.append({"choices": [], "usage": USAGE})
        return b"".join(map(writer.write, map(msgspec.json.encode, chunks))) + writer.end(10, 5)

    def reply(self, asked: dict[str, Raw]) -> bytes:
        message: dict[str, Any] = {"role": "assistant", "content": None}
        for delta in self.deltas:
            for name, value in delta.items():
                message[name] = value if isinstance(value, list) else (message.get(name) or "") + value
        choice = {"index": 0, "message": message, "finish_reason": self.finish}
        answer = {"id": "chatcmpl-1", "created": 1, "choices": [choice], "usage": USAGE}
        return from_chat_reply(msgspec.json.encode(answer), "m", asked)


SAID: list[dict[str, Any]] = [
    {"reasoning_content": "h"},
    {"reasoning_content": "m"},
    {"content": "Hel"},
    {"content": "lo"},
]
CALLED: list[dict[str, Any]] = [
    {"content": "Look."},
    {"tool_calls": [CALL]},
    {"tool_calls": [{"index": 0, "function": {"arguments": '"Rome"}'}}]},
]
REFUSED: list[dict[str, Any]] = [{"refusal": "N"}, {"refusal": "o."}]


@pytest.mark.parametrize(
    ("deltas", "finish", "kinds"),
    [
        (SAID, "stop", ["reasoning", "message"]),
        (CALLED, "tool_calls", ["message", "function_call"]),
        (REFUSED, "stop", ["message"]),
        (SAID, "length", ["reasoning", "message"]),
        ([], "stop", []),
    ],
)
def test_every_event_is_one_the_api_has(deltas: list[dict[str, Any]], finish: str, kinds: list[str]) -> None:
    gateway = Gateway(deltas, finish)
    events = list(gateway.client().responses.create(model="m", input="U", stream=True))
    for payload in EventReader().feed(gateway.body):
        EVENTS.validate_json(payload)
    last = events[-1]
    assert last.type == ("response.incomplete" if finish == "length" else "response.completed")
    assert [item.type for item in last.response.output] == kinds
    Response.model_validate(last.response.to_dict())


def test_the_sdk_adds_a_stream_up_to_the_response_it_ends_with() -> None:
    gateway = Gateway(CALLED, "tool_calls")
    texts, arguments = [], []
    with gateway.client().responses.stream(
        model="m",
        input="U",
        tools=[openai.pydantic_function_tool(Weather)["function"] | {"type": "function"}],  # type: ignore[list-item]
    ) as stream:
        for event in stream:
            if event.type == "response.output_text.delta":
                texts.append(event.snapshot)
            elif event.type == "response.function_call_arguments.delta":
                arguments.append(event.snapshot)
        response = stream.get_final_response()
    assert texts == ["Look."]
    assert arguments[-1] == '{"city":"Rome"}'
    assert response.output_text == "Look."
    call = response.output[1]
    assert call.type == "function_call"
    assert (call.name, call.call_id, call.arguments) == ("Weather", "call_1", '{"city":"Rome"}')
    assert response.usage is not None
    assert response.usage.input_tokens_details.cached_tokens == 4
    assert [tool["function"]["name"] for tool in gateway.chat["tools"]] == ["Weather"]


def test_a_native_stream_taken_over_in_chat_adds_up() -> None:
    native = EventReader().feed(Gateway([{"content": "Hel"}]).stream({})[:-1])
    native = native[: 1 + next(i for i, payload in enumerate(native) if b"output_text.delta" in payload)]
    writer = Writer("m")
    for payload in native:
        writer.note(payload)
    rest = writer.write(b'{"choices":[{"delta":{"content":"lo"},"finish_reason":"stop"}]}') + writer.end(1, 2)
    body = b"".join(b"data: " + payload + b"\n\n" for payload in native) + rest
    reply = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    client = openai.OpenAI(
        api_key="k",
        base_url="http://gateway.test/v1",
        http_client=httpx2.Client(transport=httpx2.MockTransport(lambda _: reply)),
    )
    with client.responses.stream(model="m", input="U") as stream:
        response = stream.get_final_response()
    assert response.output_text == "Hello"
    assert len(response.output) == 1


def test_a_whole_reply_is_a_response_to_the_letter() -> None:
    gateway = Gateway(SAID)
    response = gateway.client().responses.create(
        model="m",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "U"}]},
            {"type": "function_call_output", "call_id": "c", "output": "1"},
        ],
        instructions="Be brief.",
        temperature=0.5,
        metadata={"a": "b"},
        max_output_tokens=64,
        reasoning={"effort": "low"},
        tool_choice="auto",
        tools=[{"type": "function", "name": "f", "parameters": {}, "strict": None}],
        text={"verbosity": "low"},
        store=True,
    )
    assert response.output_text == "Hello"
    whole = Response.model_validate_json(gateway.body)
    assert whole.to_dict() == response.to_dict()
    assert (whole.instructions, whole.temperature, whole.metadata) == ("Be brief.", 0.5, {"a": "b"})
    assert json.loads(gateway.body)["store"] is False
    assert gateway.chat["messages"][0] == {"role": "system", "content": "Be brief."}


def test_parse_gives_what_the_schema_says() -> None:
    gateway = Gateway([{"content": '{"city":"Rome"}'}])
    response = gateway.client().responses.parse(model="m", input="U", text_format=Weather)
    assert response.output_parsed == Weather(city="Rome")
    assert gateway.chat["response_format"]["json_schema"]["name"] == "Weather"
    assert gateway.chat["response_format"]["json_schema"]["strict"] is True


def test_an_answer_of_the_sdk_is_sent_back_as_the_turn_it_was() -> None:
    gateway = Gateway(
        [CALLED[0], {"tool_calls": [CALL | {"function": {"name": "f", "arguments": "{}"}}]}], "tool_calls"
    )
    client = gateway.client()
    first = client.responses.create(model="m", input="U")
    client.responses.create(
        model="m",
        input=[
            {"role": "user", "content": "U"},
            *first.output,  # type: ignore[list-item]  # as the documentation has it
            {"type": "function_call_output", "call_id": "call_1", "output": "20"},
        ],
    )
    assert gateway.chat["messages"][1:] == [
        {
            "role": "assistant",
            "content": "Look.",
            "tool_calls": [{"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "call_1", "content": "20"},
    ]


def test_a_stream_that_fails_raises() -> None:
    for deltas in (SAID, []):
        with pytest.raises(openai.APIError, match="every endpoint failed") as caught:
            list(Gateway(deltas, fails=True).client().responses.create(model="m", input="U", stream=True))
        assert caught.value.code == "upstream_error"
    client = Gateway(SAID, fails=True).client()
    with client.responses.stream(model="m", input="U") as stream, pytest.raises(openai.APIError):
        stream.get_final_response()


def test_a_malformed_request_is_the_sdks_bad_request() -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        Gateway(SAID).client().responses.create(model="m", input=[{"role": "wizard", "content": "U"}])  # type: ignore[list-item, misc]
    assert caught.value.param == "input[0].role"


def test_embeddings_are_asked_for_as_the_sdk_does() -> None:
    bodies: list[bytes] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        bodies.append(request.content)
        data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
        usage = {"prompt_tokens": 1, "total_tokens": 1}
        return httpx2.Response(200, json={"object": "list", "data": data, "model": "m", "usage": usage})

    client = openai.OpenAI(
        api_key="k",
        base_url="http://gateway.test/v1",
        http_client=httpx2.Client(transport=httpx2.MockTransport(answer)),
    )
    assert client.embeddings.create(model="m", input=["a", "b"]).data[0].embedding == [0.5]
    assert read_embeddings_request(bodies[0]).choices == 2
