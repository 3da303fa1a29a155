"""Anthropic's official SDK, as it is published, against a gateway in front of every kind of endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import pydantic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import MessageParam, RawMessageStreamEvent, ToolParam

from providerrank.gateway.settings import BuyerKey, Limits
from providerrank.rules.budget import Budget
from providerrank.sim.faults import Fault, Play
from tests.e2e.sdk_bed import KEY, pair, seller, served
from tests.integration.gateway_bed import CHAT, TOOLS, Bed, Seller, bed, truth, until

PROMPT: str = CHAT["messages"][0]["content"]
MESSAGES: list[MessageParam] = [{"role": "user", "content": PROMPT}]
PARAMETERS: dict[str, object] = TOOLS["tools"][0]["function"]["parameters"]
TOOL: list[ToolParam] = [{"name": "look", "description": "Look.", "input_schema": PARAMETERS}]
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

KINDS = pytest.mark.parametrize("kind", ["chat", "messages", "mixed"])
"""What the endpoints behind the gateway speak."""


def connect(it: Bed, **fields: Any) -> AsyncAnthropic:
    """The client, as it is by default but for its patience."""
    given: dict[str, Any] = {"api_key": KEY, "max_retries": 0, "timeout": 30.0} | fields
    return AsyncAnthropic(base_url=it.url, **given)


@asynccontextmanager
async def asked(*sellers: Seller, limits: Limits | None = None) -> AsyncIterator[tuple[Bed, AsyncAnthropic]]:
    async with served(*sellers, limits=limits) as it, connect(it) as client:
        yield it, client


# ---- answers ---------------------------------------------------------------------------------------------------------


@KINDS
async def test_a_message(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        message = await client.messages.create(model="m", max_tokens=99, messages=MESSAGES)
        [block] = message.content
        assert block.type == "text"
        assert block.text == truth(CHAT)
        assert (message.role, message.stop_reason, message.usage.output_tokens) == ("assistant", "end_turn", 24)
        assert message._request_id
        assert it.outcomes == [("a", "SUCCESS")]


@KINDS
async def test_a_fallback_is_not_seen(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        it.sims["a"].script([Fault.STATUS_503, Fault.CUT_BEFORE_CONTENT])
        message = await client.messages.create(model="m", max_tokens=99, messages=MESSAGES)
        assert [block.type == "text" and block.text for block in message.content] == [truth(CHAT)]
        async with client.messages.stream(model="m", max_tokens=99, messages=MESSAGES) as stream:
            assert await stream.get_final_text() == truth(CHAT)
        assert [name for name, _ in it.outcomes] == ["a", "b", "a", "b"]


@KINDS
async def test_a_stream_cut_in_mid_answer_goes_on(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=5)])
        async with client.messages.stream(model="m", max_tokens=99, messages=MESSAGES) as stream:
            said = "".join([text async for text in stream.text_stream])
            final = await stream.get_final_message()
        assert said == truth(CHAT)
        assert final.stop_reason == "end_turn"
        assert final.usage.output_tokens == 24
        assert [name for name, _ in it.outcomes] == ["a", "b"]


@KINDS
async def test_raw_events(kind: str) -> None:
    async with asked(*pair(kind)) as (_, client):
        stream = await client.messages.create(model="m", max_tokens=99, messages=MESSAGES, stream=True)
        kinds = [event.type async for event in stream if event.type != "content_block_delta"]
        assert kinds == [
            "message_start",
            "content_block_start",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]


@KINDS
async def test_a_tool_is_called_and_its_result_sent_back(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        first = await client.messages.create(
            model="m", max_tokens=99, messages=MESSAGES, tools=TOOL, tool_choice={"type": "any"}
        )
        [call] = first.content
        assert call.type == "tool_use"
        assert (call.name, set(call.input), first.stop_reason) == ("look", {"where", "deep", "x"}, "tool_use")
        turns: list[MessageParam] = [
            *MESSAGES,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]},
        ]
        second = await client.messages.create(model="m", max_tokens=99, messages=turns, tools=TOOL)
        assert [block.type for block in second.content] == ["text"]
        sent = it.received("a")[-1]["messages"]
        assert json.dumps(sent).count(call.id) == 2


@KINDS
async def test_a_tool_called_in_a_stream(kind: str) -> None:
    async with asked(*pair(kind)) as (_, client):
        async with client.messages.stream(model="m", max_tokens=99, messages=MESSAGES, tools=TOOL) as stream:
            parts = [event.partial_json async for event in stream if event.type == "input_json"]
            final = await stream.get_final_message()
        [call] = final.content
        assert call.type == "tool_use"
        assert call.input == json.loads("".join(parts)) == json.loads(truth({**CHAT, **TOOLS}))
        assert final.stop_reason == "tool_use"


@KINDS
async def test_images_and_a_system_prompt(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        turn: MessageParam = {
            "role": "user",
            "content": [
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                {"type": "text", "text": "What is it?", "cache_control": {"type": "ephemeral"}},
            ],
        }
        message = await client.messages.create(
            model="m",
            max_tokens=9,
            system=[{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
            messages=[turn],
            metadata={"user_id": "u-1"},
        )
        assert message.stop_reason == "max_tokens"
        assert PIXEL in json.dumps(it.received("a")[-1])
        assert "Be brief." in json.dumps(it.received("a")[-1])


class Weather(pydantic.BaseModel):
    """Weather of a city."""

    city: str
    degrees: int


@KINDS
async def test_parse_gives_what_the_schema_says(kind: str) -> None:
    async with asked(*pair(kind)) as (_, client):
        parsed = await client.messages.parse(model="m", max_tokens=99, messages=MESSAGES, output_format=Weather)
        assert isinstance(parsed.parsed_output, Weather)


@KINDS
async def test_the_beta_messages(kind: str) -> None:
    # The SDK asks at /v1/messages?beta=true, with its betas in a header.
    async with asked(*pair(kind)) as (_, client):
        message = await client.beta.messages.create(
            model="m", max_tokens=99, messages=[{"role": "user", "content": PROMPT}], betas=["context-1m-2025-08-07"]
        )
        assert [block.type for block in message.content] == ["text"]
        async with client.beta.messages.stream(
            model="m", max_tokens=99, messages=[{"role": "user", "content": PROMPT}]
        ) as stream:
            assert "".join([text async for text in stream.text_stream]) == truth(CHAT)


async def test_the_tool_runner_goes_round_by_itself() -> None:
    @anthropic.beta_async_tool
    async def look(where: str) -> str:
        """Look somewhere."""
        return f"nothing at {where}"

    async with asked() as (it, client):
        runner = client.beta.messages.tool_runner(
            model="m", max_tokens=99, messages=[{"role": "user", "content": PROMPT}], tools=[look]
        )
        final = await runner.until_done()
        assert final.stop_reason == "end_turn"
        assert it.received("a")[-1]["messages"][-1]["role"] == "tool"


async def test_models() -> None:
    async with asked(seller("a")) as (_, client):
        assert [model.id async for model in client.models.list()] == ["m"]
        assert (await client.models.retrieve("m")).display_name == "m"
        with pytest.raises(anthropic.NotFoundError):
            await client.models.retrieve("gone")


async def test_headers_of_the_answer() -> None:
    async with asked() as (_, client):
        raw = await client.messages.with_raw_response.create(
            model="m", max_tokens=9, messages=MESSAGES, extra_headers={"x-request-id": "mine-1"}
        )
        assert raw.headers["x-providerrank-endpoint"] == "a/m"
        assert raw.request_id == "mine-1"


async def test_preferences_by_extra_body() -> None:
    async with asked() as (it, client):
        await client.messages.create(
            model="m", max_tokens=9, messages=MESSAGES, extra_body={"provider": {"order": ["b"]}}
        )
        assert it.outcomes == [("b", "SUCCESS")]


# ---- errors ----------------------------------------------------------------------------------------------------------


async def test_keys_either_way() -> None:
    async with asked() as (it, _):
        async with connect(it, api_key=None, auth_token=KEY) as bearer:
            await bearer.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        async with connect(it, api_key="sk-wrong") as wrong:
            with pytest.raises(anthropic.AuthenticationError, match="Incorrect API key provided") as caught:
                await wrong.messages.create(model="m", max_tokens=9, messages=MESSAGES)
            assert caught.value.type == "authentication_error"
            with pytest.raises(anthropic.AuthenticationError):
                await wrong.models.list()
        async with connect(it, api_key=None, auth_token="sk-wrong") as wrong:
            with pytest.raises(anthropic.AuthenticationError):
                await wrong.messages.create(model="m", max_tokens=9, messages=MESSAGES)


async def test_an_unknown_model() -> None:
    async with asked() as (_, client):
        with pytest.raises(anthropic.NotFoundError, match="known models: m") as caught:
            await client.messages.create(model="claude-17", max_tokens=9, messages=MESSAGES)
        assert caught.value.type == "not_found_error"
        assert caught.value.request_id


async def test_a_malformed_request() -> None:
    async with asked() as (_, client):
        wizard: Any = [{"role": "wizard", "content": "U"}]
        with pytest.raises(anthropic.BadRequestError, match=r"messages\[0\]") as caught:
            await client.messages.create(model="m", max_tokens=9, messages=wizard)
        assert caught.value.type == "invalid_request_error"


@KINDS
async def test_an_endpoints_own_refusal(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        it.sims["a"].script([Fault.CONTENT_POLICY])
        with pytest.raises(anthropic.BadRequestError, match=r"safety|policy") as caught:
            await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        assert caught.value.type == "invalid_request_error"


async def test_a_request_too_large() -> None:
    async with asked(limits=Limits(max_body_bytes=100_000)) as (_, client):
        with pytest.raises(anthropic.RequestTooLargeError) as caught:
            await client.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "x" * 800_000}])
        assert caught.value.status_code == 413


@KINDS
async def test_rate_limits_everywhere(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        for name in "ab":
            it.sims[name].script([Play(Fault.RATE_LIMIT, seconds=30)])
        with pytest.raises(anthropic.RateLimitError) as caught:
            await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        assert caught.value.type == "rate_limit_error"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 30


async def test_a_client_that_retries_comes_through_a_rate_limit() -> None:
    async with asked(seller("a")) as (it, _), connect(it, max_retries=2) as client:
        it.sims["a"].script([Play(Fault.RATE_LIMIT, seconds=4)])
        message = await client.messages.create(model="m", max_tokens=99, messages=MESSAGES)
        assert message.stop_reason == "end_turn"


async def test_a_spent_budget_is_not_retried() -> None:
    keys = (BuyerKey("team", KEY, budget=Budget(spend_per_day_nusd=40_000)),)
    async with bed(Seller("a"), buyer_keys=keys) as it, connect(it, max_retries=2) as client:

        async def spend() -> None:
            while True:
                await client.messages.create(model="m", max_tokens=10, messages=MESSAGES)

        with pytest.raises(anthropic.RateLimitError):
            await spend()
        assert it.gateway.stats.key_requests["team", "4xx"] == 1, "asked once, not three times"


@KINDS
async def test_everything_failing(kind: str) -> None:
    async with asked(*pair(kind)) as (it, client):
        for name in "ab":
            it.sims[name].script([Fault.STATUS_503])
        with pytest.raises(anthropic.InternalServerError, match="unavailable") as caught:
            await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        assert caught.value.type == "api_error"


async def test_too_much_at_once_is_an_overload() -> None:
    async with asked(limits=Limits(max_pending=0)) as (_, client):
        with pytest.raises(anthropic.APIStatusError) as caught:
            await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        assert (caught.value.status_code, caught.value.type) == (503, "overloaded_error")


async def collect(stream: anthropic.AsyncStream[RawMessageStreamEvent], said: list[str]) -> None:
    async for event in stream:
        if event.type == "content_block_delta" and event.delta.type == "text_delta":
            said.append(event.delta.text)  # noqa: PERF401 - what came before an error is to be kept


@KINDS
async def test_a_broken_stream_is_an_error_and_not_the_end(kind: str) -> None:
    first, _ = pair(kind)
    async with asked(first, seller("b", diverge_at=0)) as (it, client):
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=5)])
        said: list[str] = []
        stream = await client.messages.create(model="m", max_tokens=99, messages=MESSAGES, stream=True)
        with pytest.raises(anthropic.APIStatusError, match="a/m: the answer was cut off"):
            await collect(stream, said)
        assert said
        assert truth(CHAT).startswith("".join(said))


@KINDS
async def test_a_stream_that_is_cancelled(kind: str) -> None:
    first, second = pair(kind)
    slow = seller("a", "chat" if kind == "chat" else "messages", tokens_per_s=20.0)
    assert slow.features == first.features
    async with asked(slow, second) as (it, client):
        async with client.messages.stream(model="m", max_tokens=99, messages=MESSAGES) as stream:
            async for _ in stream.text_stream:
                break
        await until(lambda: it.sims["a"].log.cancelled == 1, within_s=1.0)
        await until(lambda: it.outcomes == [("a", "NOBODYS")])


async def test_a_clients_own_timeout() -> None:
    async with asked() as (it, _), connect(it, timeout=1.0) as client:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        with pytest.raises(anthropic.APITimeoutError):
            await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
        await until(lambda: it.outcomes == [("a", "NOBODYS")])


async def test_a_gateway_that_is_gone() -> None:
    async with asked() as (it, client):
        await it.gateway.drain(0.1)
        with pytest.raises(anthropic.APIConnectionError):
            await client.messages.create(model="m", max_tokens=9, messages=MESSAGES)
