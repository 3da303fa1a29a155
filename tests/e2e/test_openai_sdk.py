"""The official SDK, as it is published, against a gateway in front of simulated endpoints."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AsyncOpenAI,
    AsyncStream,
    AuthenticationError,
    BadRequestError,
    InternalServerError,
    NotFoundError,
    OpenAI,
    PermissionDeniedError,
    RateLimitError,
)
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessageParam, ChatCompletionToolParam
from openai.types.shared_params import ResponseFormatJSONSchema

from providerrank.gateway.settings import BuyerKey, Clocks, Limits
from providerrank.rules.budget import Budget
from providerrank.sim.faults import Fault, Play
from providerrank.sim.spec import EndpointSpec
from tests.integration.gateway_bed import CHAT, SCHEMA, TEXT, TOOLS, Bed, Seller, bed, truth, until

T = TypeVar("T")

KEY = "sk-test"
MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": CHAT["messages"][0]["content"]}]
TOOL: list[ChatCompletionToolParam] = TOOLS["tools"]
FORMAT: ResponseFormatJSONSchema = SCHEMA["response_format"]


def connect(it: Bed, key: str = KEY, timeout: float = 30.0, max_retries: int = 0) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{it.url}/v1", api_key=key, timeout=timeout, max_retries=max_retries)


@asynccontextmanager
async def served(*sellers: Seller, limits: Limits | None = None) -> AsyncIterator[tuple[Bed, AsyncOpenAI]]:
    """A gateway that wants a key, and a client that has it."""
    sellers = sellers or (Seller("a"), Seller("b"))
    clocks = Clocks(first_token_us=5_000_000, idle_us=1_000_000)
    async with bed(*sellers, keys=(KEY,), clocks=clocks, limits=limits) as it, connect(it) as client:
        yield it, client


async def in_thread(it: Bed, ask: Callable[[OpenAI], T], key: str = KEY) -> T:
    """Ask with the synchronous client, which would block the loop that serves it."""

    def run() -> T:
        with OpenAI(base_url=f"{it.url}/v1", api_key=key, timeout=30.0, max_retries=0) as client:
            return ask(client)

    return await asyncio.to_thread(run)


# ---- answers ---------------------------------------------------------------------------------------------------------


async def test_chat() -> None:
    async with served() as (it, client):
        answer = await client.chat.completions.create(model="m", messages=MESSAGES)
        assert answer.choices[0].message.content == truth(CHAT)
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 24
        assert it.outcomes == [("a", "SUCCESS")]


async def test_a_fallback_is_not_seen() -> None:
    async with served() as (it, client):
        it.sims["a"].script([Fault.STATUS_503, Fault.CUT_ABORT])
        answer = await client.chat.completions.create(model="m", messages=MESSAGES)
        assert answer.choices[0].message.content == truth(CHAT)
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True, temperature=0)
        said = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(said) == truth(CHAT)


@pytest.mark.parametrize("usage", [False, True])
async def test_streaming(usage: bool) -> None:
    async with served() as (_, client):
        stream = await client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": usage}
        )
        chunks = [chunk async for chunk in stream]
        said = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
        assert "".join(said) == truth(CHAT)
        assert chunks[0].choices[0].delta.role == "assistant"
        usages = [chunk.usage for chunk in chunks if chunk.usage is not None]
        assert [one.completion_tokens for one in usages] == ([24] if usage else [])


async def test_the_stream_helper_adds_up_to_the_same_answer() -> None:
    async with served() as (_, client), client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        final = await stream.get_final_completion()
        assert final.choices[0].message.content == truth(CHAT)


async def test_tools() -> None:
    async with served() as (_, client):
        answer = await client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOL)
        [call] = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "look"
        assert set(json.loads(call.function.arguments)) == {"where", "deep", "x"}
        assert answer.choices[0].finish_reason == "tool_calls"


async def test_tools_streamed() -> None:
    async with served() as (_, client):
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOL, stream=True)
        parts = [
            call.function
            async for chunk in stream
            for choice in chunk.choices
            for call in choice.delta.tool_calls or []
            if call.function is not None
        ]
        assert [part.name for part in parts if part.name] == ["look"]
        assert "".join(part.arguments or "" for part in parts) == truth({**CHAT, **TOOLS})


async def test_a_json_schema() -> None:
    async with served() as (it, client):
        it.sims["a"].script([Fault.SCHEMA_VIOLATION])
        answer = await client.chat.completions.create(model="m", messages=MESSAGES, response_format=FORMAT)
        assert isinstance(json.loads(answer.choices[0].message.content or "")["a"], int)
        assert it.received("b")[0]["response_format"] == FORMAT


async def test_completions() -> None:
    async with served() as (_, client):
        answer = await client.completions.create(model="m", prompt=TEXT["prompt"])
        assert answer.choices[0].text == truth(TEXT)
        stream = await client.completions.create(model="m", prompt=TEXT["prompt"], stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == truth(TEXT)


async def test_models() -> None:
    async with served(Seller("a"), Seller("b", model="vendor/n")) as (_, client):
        assert {model.id async for model in client.models.list()} == {"m", "vendor/n"}


async def test_headers_of_the_answer() -> None:
    async with served() as (_, client):
        raw = await client.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES, extra_headers={"x-request-id": "mine-1", "x-providerrank-session": "s"}
        )
        assert raw.headers["x-providerrank-endpoint"] == "a/m"
        assert raw.headers["x-providerrank-attempts"] == "1"
        assert raw.request_id == "mine-1"
        assert raw.parse().choices[0].message.content == truth(CHAT)
        async with client.chat.completions.with_streaming_response.create(
            model="m", messages=MESSAGES, stream=True
        ) as streamed:
            assert streamed.headers["x-providerrank-endpoint"] == "a/m"
            assert "data: [DONE]" in [line async for line in streamed.iter_lines()]


async def test_preferences_by_extra_body() -> None:
    async with served() as (it, client):
        raw = await client.chat.completions.with_raw_response.create(
            model="m", messages=MESSAGES, extra_body={"provider": {"order": ["b"]}, "models": ["m"]}
        )
        assert raw.headers["x-providerrank-endpoint"] == "b/m"
        assert not {"provider", "models"} & set(it.received("b")[0])


async def test_the_synchronous_client() -> None:
    def ask(client: OpenAI) -> tuple[str | None, str, list[str]]:
        plain = client.chat.completions.create(model="m", messages=MESSAGES).choices[0].message.content
        stream = client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        return plain, said, [model.id for model in client.models.list()]

    async with served() as (it, _):
        assert await in_thread(it, ask) == (truth(CHAT), truth(CHAT), ["m"])
        with pytest.raises(AuthenticationError):
            await in_thread(it, ask, key="sk-wrong")


# ---- errors ----------------------------------------------------------------------------------------------------------


async def test_a_wrong_key() -> None:
    async with served() as (it, _), connect(it, key="sk-wrong") as client:
        with pytest.raises(AuthenticationError, match="Incorrect API key provided") as caught:
            await client.chat.completions.create(model="m", messages=MESSAGES)
        assert caught.value.code == "invalid_api_key"
        with pytest.raises(AuthenticationError):
            await client.models.list()


async def test_an_unknown_model() -> None:
    async with served() as (_, client):
        with pytest.raises(NotFoundError, match="known models: m") as caught:
            await client.chat.completions.create(model="gpt-17", messages=MESSAGES)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert caught.value.request_id


async def test_an_endpoints_own_refusal() -> None:
    async with served() as (it, client):
        it.sims["a"].script([Fault.CONTENT_POLICY])
        with pytest.raises(BadRequestError, match="our safety system") as caught:
            await client.chat.completions.create(model="m", messages=MESSAGES)
        assert caught.value.code == "content_policy_violation"


async def test_a_request_too_large() -> None:
    # The SDK writes all of a body before it reads anything.
    async with served(limits=Limits(max_body_bytes=1_000_000)) as (it, client):
        large: list[ChatCompletionMessageParam] = [{"role": "user", "content": "x" * 8_000_000}]
        for _ in range(3):
            with pytest.raises(APIStatusError) as caught:
                await client.chat.completions.create(model="m", messages=large)
            assert caught.value.status_code == 413

        def ask(sync: OpenAI) -> int:
            with pytest.raises(APIStatusError) as caught:
                sync.chat.completions.create(model="m", messages=large)
            return caught.value.status_code

        assert await in_thread(it, ask) == 413


async def test_rate_limits_everywhere() -> None:
    async with served() as (it, client):
        for name in "ab":
            it.sims[name].script([Play(Fault.RATE_LIMIT, seconds=30)])
        with pytest.raises(RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=MESSAGES)
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 30


async def test_a_client_that_retries_comes_through_a_rate_limit() -> None:
    async with served(Seller("a")) as (it, _), connect(it, max_retries=2) as client:
        # Past our patience (3 s), within the client's own.
        it.sims["a"].script([Play(Fault.RATE_LIMIT, seconds=4)])
        answer = await client.chat.completions.create(model="m", messages=MESSAGES)
        assert answer.choices[0].message.content == truth(CHAT)


@asynccontextmanager
async def limited(budget: Budget) -> AsyncIterator[tuple[Bed, AsyncOpenAI]]:
    """A gateway whose one key has a budget; the client retries as it does by default."""
    keys = (BuyerKey("team", KEY, models=frozenset({"m"}), budget=budget),)
    sellers = Seller("a"), Seller("b", model="other")
    async with bed(*sellers, buyer_keys=keys) as it, connect(it, max_retries=2) as client:
        yield it, client


async def test_a_rate_limit_of_the_key_itself() -> None:
    async with limited(Budget(requests_per_minute=1)) as (it, client):
        raw = await client.chat.completions.with_raw_response.create(model="m", messages=MESSAGES)
        assert raw.headers["x-ratelimit-remaining-requests"] == "0"
        with pytest.raises(RateLimitError) as caught:
            await client.with_options(max_retries=0).chat.completions.create(model="m", messages=MESSAGES)
        assert 50 <= int(caught.value.response.headers["retry-after"]) <= 60
        assert caught.value.code == "rate_limit_exceeded"
        assert it.gateway.stats.key_requests == {("team", "2xx"): 1, ("team", "4xx"): 1}


async def test_a_spent_budget_is_not_retried() -> None:
    async with limited(Budget(spend_per_day_nusd=40_000)) as (it, client):

        async def spend() -> None:
            while True:
                await client.chat.completions.create(model="m", messages=MESSAGES, max_tokens=10)

        with pytest.raises(RateLimitError) as caught:
            await spend()
        assert caught.value.code == "insufficient_quota"
        assert int(caught.value.response.headers["retry-after"]) > 0
        assert it.gateway.stats.key_requests["team", "4xx"] == 1, "asked once, not three times"


async def test_a_model_the_key_may_not_use() -> None:
    async with limited(Budget()) as (_, client):
        with pytest.raises(PermissionDeniedError) as caught:
            await client.chat.completions.create(model="other", messages=MESSAGES)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert [model.id async for model in client.models.list()] == ["m"]


async def test_everything_failing() -> None:
    async with served() as (it, client):
        for name in "ab":
            it.sims[name].script([Fault.STATUS_503])
        with pytest.raises(InternalServerError, match=r"a/m: unavailable .*b/m: unavailable") as caught:
            await client.chat.completions.create(model="m", messages=MESSAGES)
        assert caught.value.status_code == 502


async def collect(stream: AsyncStream[ChatCompletionChunk], chunks: list[ChatCompletionChunk]) -> None:
    async for chunk in stream:
        chunks.append(chunk)  # noqa: PERF401 - what came before an error is to be kept


async def test_a_broken_stream_is_an_error_and_not_the_end() -> None:
    async with served(Seller("a"), Seller("b", spec=EndpointSpec(name="b", diverge_at=0))) as (it, client):
        it.sims["a"].script([Fault.CUT_ABORT])
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        chunks: list[ChatCompletionChunk] = []
        with pytest.raises(APIError, match="a/m: the answer was cut off"):
            await collect(stream, chunks)
        said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        assert said
        assert truth(CHAT).startswith(said)


async def test_a_clients_own_timeout() -> None:
    async with served() as (it, _), connect(it, timeout=1.0) as client:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        with pytest.raises(APITimeoutError):
            await client.chat.completions.create(model="m", messages=MESSAGES)
        await until(lambda: it.outcomes == [("a", "NOBODYS")])


async def test_a_stream_that_is_cancelled() -> None:
    slow = EndpointSpec(name="a", tokens_per_s=20.0)
    async with served(Seller("a", spec=slow)) as (it, client):
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for chunk in stream:
            if chunk.choices[0].delta.content:
                break  # the first words are there, the rest is still being written
        await stream.close()
        await until(lambda: it.sims["a"].log.cancelled == 1, within_s=1.0)
        await until(lambda: it.outcomes == [("a", "NOBODYS")])
        # And the client is as good as new.
        answer = await client.chat.completions.create(model="m", messages=MESSAGES, max_tokens=1)
        assert answer.choices[0].finish_reason == "length"


async def test_a_gateway_that_is_gone() -> None:
    async with served() as (it, client):
        await it.gateway.drain(0.1)
        with pytest.raises(APIConnectionError):
            await client.chat.completions.create(model="m", messages=MESSAGES)
