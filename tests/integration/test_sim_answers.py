"""Answers as the official SDK reads them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import jsonschema_rs
import msgspec
import openai
import pytest
from openai.types.chat import ChatCompletionMessageFunctionToolCall

from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec, ListPrice
from tests.integration.sim_wire import CHAT, STREAM, ask

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 3}, "days": {"type": "integer", "minimum": 1}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [{"type": "function", "function": {"name": "forecast", "parameters": SCHEMA}}]
MESSAGES: list[Any] = [{"role": "user", "content": "question 1 [[tokens=24]]"}]


@contextlib.asynccontextmanager
async def client(**fields: Any) -> AsyncIterator[openai.AsyncOpenAI]:
    async with (
        SimProviders([EndpointSpec(name="one", key="secret", **fields)]) as sims,
        openai.AsyncOpenAI(base_url=sims["one"].url, api_key="secret", max_retries=0, timeout=10) as made,
    ):
        yield made


async def test_a_chat_is_the_same_whole_and_streamed() -> None:
    async with client() as api:
        whole = await api.chat.completions.create(model="m", messages=MESSAGES)
        assert whole.choices[0].finish_reason == "stop"
        assert whole.model == "m"
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 24
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + 24
        stream = await api.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
        assert text == whole.choices[0].message.content
        assert len(chunks) == 1 + 24 + 1 + 1
        assert chunks[-2].choices[0].finish_reason == "stop"
        assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)


async def test_a_stream_has_usage_only_when_asked() -> None:
    async with client() as api:
        stream = await api.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        assert all(chunk.usage is None and chunk.choices for chunk in [chunk async for chunk in stream])


async def test_a_tool_is_called_whole_and_streamed() -> None:
    async with client() as api:
        whole = await api.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS)
        assert whole.choices[0].finish_reason == "tool_calls"
        assert whole.choices[0].message.tool_calls is not None
        (call,) = whole.choices[0].message.tool_calls
        assert isinstance(call, ChatCompletionMessageFunctionToolCall)
        assert call.function.name == "forecast"
        jsonschema_rs.validate(SCHEMA, msgspec.json.decode(call.function.arguments))
        stream = await api.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS, stream=True)
        choices = [choice async for chunk in stream for choice in chunk.choices]
        deltas = [delta for choice in choices for delta in choice.delta.tool_calls or ()]
        functions = [delta.function for delta in deltas if delta.function is not None]
        assert functions[0].name == "forecast"
        assert (deltas[0].id or "").startswith("call_")
        assert "".join(function.arguments or "" for function in functions) == call.function.arguments
        assert len(functions) > 3
        assert choices[-1].finish_reason == "tool_calls"


async def test_json_follows_its_schema_whole_and_streamed() -> None:
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    async with client() as api:
        whole = await api.chat.completions.create(model="m", messages=MESSAGES, response_format=wanted)
        content = whole.choices[0].message.content or ""
        jsonschema_rs.validate(SCHEMA, msgspec.json.decode(content))
        stream = await api.chat.completions.create(model="m", messages=MESSAGES, response_format=wanted, stream=True)
        parts = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
        assert "".join(parts) == content


async def test_a_completion_is_the_same_whole_and_streamed() -> None:
    async with client() as api:
        whole = await api.completions.create(model="m", prompt="once", max_tokens=9)
        assert whole.choices[0].finish_reason == "length"
        stream = await api.completions.create(model="m", prompt="once", max_tokens=9, stream=True)
        chunks = [chunk async for chunk in stream]
        assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == whole.choices[0].text != ""
        assert chunks[-1].choices[0].finish_reason == "length"


@pytest.mark.parametrize("cut", [1, 10, 37, 60])
async def test_a_cut_answer_is_continued_elsewhere_by_prefill(cut: int) -> None:
    async with client(prefill=True) as api:
        whole = (await api.chat.completions.create(model="m", messages=MESSAGES)).choices[0].message.content or ""
        prefilled = [*MESSAGES, {"role": "assistant", "content": whole[:cut]}]
        stream = await api.chat.completions.create(model="m", messages=prefilled, stream=True)
        rest = [choice.delta.content or "" async for chunk in stream for choice in chunk.choices]
        assert whole[:cut] + "".join(rest) == whole


async def test_embeddings_are_a_function_of_the_text() -> None:
    async with client() as api:
        both = await api.embeddings.create(model="m", input=["one", "two"])
        again = await api.embeddings.create(model="m", input="two", encoding_format="float")
        one, two = (item.embedding for item in both.data)
        assert len(one) == 8
        assert one != two
        assert again.data[0].embedding == pytest.approx(two, rel=1e-6)  # The first came as 32-bit floats in base64.
        assert sum(value * value for value in two) == pytest.approx(1.0, rel=1e-6)
        assert len((await api.embeddings.create(model="m", input="x", dimensions=3)).data[0].embedding) == 3


async def test_the_models_are_listed_with_their_price() -> None:
    async with client(model="served", price=ListPrice(input=0.5, output=2.0), context_window=999) as api:
        (model,) = (await api.models.list()).data
        listed = model.model_dump()
        assert (listed["id"], listed["context_length"]) == ("served", 999)
        assert listed["pricing"] == {"prompt": "5e-07", "completion": "2e-06"}


async def test_refusals_are_the_sdk_s_own_errors() -> None:
    async with client(model="served", context_window=50) as api:
        with pytest.raises(openai.NotFoundError):
            await api.chat.completions.create(model="other", messages=MESSAGES)
        with pytest.raises(openai.BadRequestError) as refused:
            await api.chat.completions.create(model="served", messages=MESSAGES, max_tokens=60)
        assert refused.value.code == "context_length_exceeded"
        with pytest.raises(openai.AuthenticationError):
            await api.with_options(api_key="wrong").chat.completions.create(model="served", messages=MESSAGES)
        with pytest.raises(openai.AuthenticationError):
            await api.with_options(api_key="wrong").models.list()


async def test_a_paced_stream_comes_bit_by_bit() -> None:
    async with SimProviders([EndpointSpec(name="slow", tokens_per_s=60)]) as sims:
        reply = await ask(sims["slow"].port, STREAM)
        assert len(reply.pieces) > 3  # 24 are due 17 ms apart; a busy machine may make some of them meet.
        plain = await ask(sims["slow"].port, CHAT)
        assert plain.text == reply.text
