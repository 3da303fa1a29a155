"""The official SDK's other APIs and helpers: responses, embeddings, parsing, and what its chat helpers read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pydantic
import pytest
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletionMessageParam
from openai.types.responses import FunctionToolParam, ResponseInputItemParam, ResponseStreamEvent

from providerrank.gateway.settings import Limits
from providerrank.sim.faults import Fault, Play
from tests.e2e.sdk_bed import KEY, pair, seller, served
from tests.integration.gateway_bed import CHAT, TOOLS, Bed, Seller, truth, until

PROMPT: str = CHAT["messages"][0]["content"]
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": PROMPT}]
PARAMETERS: dict[str, object] = TOOLS["tools"][0]["function"]["parameters"]
TOOL: FunctionToolParam = {"type": "function", "name": "look", "parameters": PARAMETERS, "strict": None}
PIXEL = (
    "data:image/png;base64,"
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

KINDS = pytest.mark.parametrize("kind", ["chat", "responses", "messages", "mixed"])
"""What the endpoints behind the gateway speak."""


@asynccontextmanager
async def asked(
    *sellers: Seller, limits: Limits | None = None, **fields: Any
) -> AsyncIterator[tuple[Bed, AsyncOpenAI]]:
    fields = {"max_retries": 0, "timeout": 30.0} | fields
    async with (
        served(*sellers, limits=limits) as it,
        AsyncOpenAI(base_url=f"{it.url}/v1", api_key=KEY, **fields) as client,
    ):
        yield it, client


class Weather(pydantic.BaseModel):
    """Weather of a city."""

    city: str
    degrees: int


# ---- responses -------------------------------------------------------------------------------------------------------


@KINDS
async def test_a_response(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        response = await client.responses.create(model="m", input=PROMPT)
        assert response.output_text == truth(CHAT)
        assert (response.status, response.error) == ("completed", None)
        assert response.usage is not None
        assert response.usage.output_tokens == 24
        assert response._request_id
        assert it.outcomes == [("a", "SUCCESS")]


@KINDS
async def test_a_response_streamed(kind: str) -> None:
    async with asked(*pair(kind)) as (_, client):
        async with client.responses.stream(model="m", input=PROMPT) as stream:
            said = "".join([event.delta async for event in stream if event.type == "response.output_text.delta"])
            final = await stream.get_final_response()
        assert said == final.output_text == truth(CHAT)


@KINDS
async def test_a_responses_fallback_is_not_seen(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        it.sims["a"].script([Fault.STATUS_503, Play(Fault.CUT_ABORT, after=5)])
        assert (await client.responses.create(model="m", input=PROMPT)).output_text == truth(CHAT)
        async with client.responses.stream(model="m", input=PROMPT) as stream:
            final = await stream.get_final_response()
        assert final.output_text == truth(CHAT)
        assert len(final.output) == 1
        assert [name for name, _ in it.outcomes] == ["a", "b", "a", "b"]


@KINDS
async def test_a_response_calls_a_tool_and_takes_its_output(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        first = await client.responses.create(model="m", input=PROMPT, tools=[TOOL], tool_choice="required")
        [call] = first.output
        assert call.type == "function_call"
        assert (call.name, json.loads(call.arguments)) == ("look", json.loads(truth({**CHAT, **TOOLS})))
        turns: list[ResponseInputItemParam] = [
            {"role": "user", "content": PROMPT},
            call.to_dict(),  # type: ignore[list-item]
            {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"},
        ]
        second = await client.responses.create(model="m", input=turns, tools=[TOOL])
        assert second.output_text
        assert json.dumps(it.received("a")[-1]).count(call.call_id) == 2
        async with client.responses.stream(model="m", input=PROMPT, tools=[TOOL]) as stream:
            parts = [event.delta async for event in stream if event.type == "response.function_call_arguments.delta"]
        assert "".join(parts) == truth({**CHAT, **TOOLS})


@KINDS
async def test_a_response_parsed(kind: str) -> None:
    async with asked(*pair(kind)) as (_, client):
        response = await client.responses.parse(model="m", input=PROMPT, text_format=Weather)
        assert isinstance(response.output_parsed, Weather)
        async with client.responses.stream(model="m", input=PROMPT, text_format=Weather) as stream:
            assert isinstance((await stream.get_final_response()).output_parsed, Weather)


@KINDS
async def test_a_response_to_an_image(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        response = await client.responses.create(
            model="m",
            instructions="Be brief.",
            input=[
                {
                    "role": "user",
                    "content": [
                        {"type": "input_text", "text": "What is it?"},
                        {"type": "input_image", "image_url": PIXEL, "detail": "auto"},
                    ],
                }
            ],
            max_output_tokens=16,
        )
        assert response.status == "incomplete"
        assert PIXEL.partition(",")[2] in json.dumps(it.received("a")[-1])


async def test_errors_of_responses() -> None:
    async with asked() as (it, client):
        with pytest.raises(openai.NotFoundError, match="known models: m"):
            await client.responses.create(model="gone", input=PROMPT)
        with pytest.raises(openai.BadRequestError, match="previous_response_id") as refused:
            await client.responses.create(model="m", input=PROMPT, previous_response_id="resp_1")
        assert refused.value.code
        it.sims["a"].script([Fault.STATUS_503])
        it.sims["b"].script([Fault.STATUS_503])
        with pytest.raises(openai.InternalServerError, match="unavailable"):
            await client.responses.create(model="m", input=PROMPT)
        with pytest.raises(openai.AuthenticationError):
            await client.with_options(api_key="sk-wrong").responses.create(model="m", input=PROMPT)


async def collect(stream: openai.AsyncStream[ResponseStreamEvent], said: list[str]) -> None:
    async for event in stream:
        if event.type == "response.output_text.delta":
            said.append(event.delta)  # noqa: PERF401 - what came before an error is to be kept


@pytest.mark.parametrize("kind", ["chat", "responses", "messages"])
async def test_a_response_broken_in_mid_answer_raises(kind: str) -> None:
    first, _ = pair(kind)
    async with asked(first, seller("b", diverge_at=0)) as (it, client):
        await client.responses.create(model="m", input=PROMPT)  # what has no chat API has said so by now
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=5)] * 2)
        said: list[str] = []
        stream = await client.responses.create(model="m", input=PROMPT, stream=True)
        with pytest.raises(openai.APIError, match="a/m: the answer was cut off"):
            await collect(stream, said)
        assert said
        assert truth(CHAT).startswith("".join(said))
        async with client.responses.stream(model="m", input=PROMPT) as helper:
            with pytest.raises(openai.APIError):
                await helper.get_final_response()


async def test_a_response_that_is_cancelled() -> None:
    async with asked(seller("a", "responses", tokens_per_s=20.0), seller("b")) as (it, client):
        stream = await client.responses.create(model="m", input=PROMPT, stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        await until(lambda: it.sims["a"].log.cancelled == 1, within_s=1.0)


# ---- embeddings ------------------------------------------------------------------------------------------------------


async def test_embeddings() -> None:
    # The SDK asks for base64 unless told otherwise, and decodes it.
    async with asked() as (it, client):
        it.sims["a"].script([Fault.STATUS_500])
        answer = await client.embeddings.create(model="m", input=["one", "two"])
        assert it.received("b")[0]["encoding_format"] == "base64"
        plain = await client.embeddings.create(model="m", input=["one", "two"], encoding_format="float")
        assert [len(one.embedding) for one in answer.data] == [8, 8]
        assert [one.embedding for one in answer.data] == [pytest.approx(one.embedding) for one in plain.data]
        short = await client.embeddings.create(model="m", input="one", dimensions=4)
        assert len(short.data[0].embedding) == 4
        assert answer.usage.prompt_tokens > 0
        with pytest.raises(openai.NotFoundError):
            await client.embeddings.create(model="gone", input="one")
        with pytest.raises(openai.BadRequestError) as caught:
            await client.embeddings.create(model="m", input=[])
        assert caught.value.param == "input"


async def test_embeddings_that_are_malformed_fall_back() -> None:
    async with asked() as (it, client):
        for fault in (Fault.MALFORMED_JSON, Fault.TRUNCATED_BODY, Fault.ERROR_OBJECT, Fault.EMPTY_BODY):
            it.sims["a"].script([fault])
            assert len((await client.embeddings.create(model="m", input="one")).data) == 1
        assert it.sims["b"].log.requests == 4


# ---- helpers of chat -------------------------------------------------------------------------------------------------


@KINDS
async def test_chat_parsed(kind: str) -> None:
    async with asked(*pair(kind)) as (_, client):
        answer = await client.chat.completions.parse(model="m", messages=MESSAGES, response_format=Weather)
        assert isinstance(answer.choices[0].message.parsed, Weather)
        async with client.chat.completions.stream(model="m", messages=MESSAGES, response_format=Weather) as stream:
            final = await stream.get_final_completion()
        assert isinstance(final.choices[0].message.parsed, Weather)


@KINDS
async def test_tools_parsed(kind: str) -> None:
    async with asked(*pair(kind)) as (_, client):
        tools = [openai.pydantic_function_tool(Weather)]
        answer = await client.chat.completions.parse(model="m", messages=MESSAGES, tools=tools)
        [call] = answer.choices[0].message.tool_calls or []
        assert isinstance(call.function.parsed_arguments, Weather)
        async with client.chat.completions.stream(model="m", messages=MESSAGES, tools=tools) as stream:
            done = [event async for event in stream if event.type == "tool_calls.function.arguments.done"]
        assert [event.name for event in done] == ["Weather"]
        assert isinstance(done[0].parsed_arguments, Weather)


@KINDS
async def test_a_tools_result_is_sent_back(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        first = await client.chat.completions.create(
            model="m",
            messages=MESSAGES,
            tools=TOOLS["tools"],
            tool_choice={"type": "function", "function": {"name": "look"}},
            parallel_tool_calls=False,
        )
        message = first.choices[0].message
        [call] = message.tool_calls or []
        turns: list[ChatCompletionMessageParam] = [
            *MESSAGES,
            message,  # type: ignore[list-item]  # as the documentation has it
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"},
        ]
        second = await client.chat.completions.create(model="m", messages=turns, tools=TOOLS["tools"])
        assert second.choices[0].finish_reason == "stop"
        assert json.dumps(it.received("a")[-1]).count(call.id) == 2


async def test_fields_that_routing_does_not_know_reach_the_endpoint_as_they_came() -> None:
    fields: dict[str, Any] = {
        "user": "u-1",
        "seed": 7,
        "logit_bias": {"50256": -100},
        "presence_penalty": 0.5,
        "store": True,
        "metadata": {"a": "b"},
        "service_tier": "auto",
        "reasoning_effort": "low",
        "prompt_cache_key": "k",
        "top_logprobs": 2,
        "logprobs": True,
        "extra_body": {"chat_template_kwargs": {"enable_thinking": False}, "min_p": 0.1},
    }
    async with asked() as (it, client):
        await client.chat.completions.create(model="m", messages=MESSAGES, **fields)
        sent = it.received("a")[0]
        expected = fields | fields["extra_body"]
        del expected["extra_body"]
        assert {name: sent[name] for name in expected} == expected
        assert sent["model"] == "upstream-m"


async def test_several_choices() -> None:
    # The simulated endpoint gives one, whatever is asked: what counts is that the stream ends with those there are.
    async with asked() as (it, client):
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, n=2, stream=True)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
        assert "".join(said) == truth(CHAT)
        assert it.received("a")[0]["n"] == 2


@pytest.mark.parametrize(
    "fault",
    [Fault.COMMENT_LINES, Fault.CRLF_LINES, Fault.SPLIT_BYTES, Fault.SPLIT_UTF8, Fault.NON_JSON_EVENT, Fault.NO_DONE],
)
async def test_odd_streams_are_plain_to_the_client(fault: Fault) -> None:
    async with asked() as (it, client):
        it.sims["a"].script([fault] * 2)
        stream = await client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices) == truth(CHAT)
        assert [chunk.usage.completion_tokens for chunk in chunks if chunk.usage] == [24]
        async with client.responses.stream(model="m", input=PROMPT) as helper:
            assert (await helper.get_final_response()).output_text == truth(CHAT)


async def test_what_is_not_served_says_so() -> None:
    async with asked() as (_, client):
        with pytest.raises(openai.NotFoundError, match="nothing at /v1/images/generations"):
            await client.images.generate(model="m", prompt="A cat.")
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve("resp_1")
