"""The clients people use from Node.js, unmodified: `openai`, `@anthropic-ai/sdk` and the Vercel AI SDK.

They run in one Node.js process (tests/e2e/node/run.mjs) against a gateway in this one. `make test` installs them; where
they are not, these tests are skipped.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from providerrank.gateway.settings import Limits
from providerrank.sim.faults import Fault, Play
from tests.e2e.resident import ClientFailed, Resident
from tests.e2e.sdk_bed import KEY, pair, seller, served
from tests.integration.gateway_bed import CHAT, TOOLS, Bed, truth, until

HERE = Path(__file__).parent / "node"
NODE = shutil.which("node")
PROMPT: str = CHAT["messages"][0]["content"]
ARGUMENTS = json.loads(truth({**CHAT, **TOOLS}))

pytestmark = [
    pytest.mark.skipif(NODE is None, reason="Node.js is not installed"),
    pytest.mark.skipif(
        not (HERE / "node_modules").is_dir(), reason="the npm packages of tests/e2e/node are not installed: make test"
    ),
]

CHATS = pytest.mark.parametrize("kind", ["chat", "messages"])
"""What the endpoints behind the gateway speak."""
RESPONSES = pytest.mark.parametrize("kind", ["chat", "responses"])
PROVIDERS = pytest.mark.parametrize("provider", ["compatible", "openai", "anthropic"])
"""How the AI SDK asks: in chat, in responses, in messages."""


@pytest.fixture(scope="module")
def node() -> Iterator[Resident]:
    assert NODE is not None
    with Resident([NODE, "run.mjs"], HERE) as resident:
        yield resident


async def ask(node: Resident, it: Bed, case: str, **fields: Any) -> Any:  # whatever the case tells
    return await node.ask(case, **{"url": it.url, "key": KEY, "prompt": PROMPT, "tools": TOOLS["tools"]} | fields)


async def fail(node: Resident, it: Bed, case: str, **fields: Any) -> dict[str, Any]:
    """How the client's error looks to its caller."""
    with pytest.raises(ClientFailed) as caught:
        await ask(node, it, case, **fields)
    return caught.value.error


# ---- openai ----------------------------------------------------------------------------------------------------------


@CHATS
async def test_openai_chat(node: Resident, kind: str) -> None:
    async with served(*pair(kind)) as it:
        plain = await ask(node, it, "openai.plain")
        assert plain.pop("id").startswith("req-")
        assert plain == {"text": truth(CHAT), "finish": "stop", "tokens": 24, "endpoint": "a/m"}
        assert await ask(node, it, "openai.stream") == {"text": truth(CHAT), "usages": 1}
        assert await ask(node, it, "openai.helper") == {"text": truth(CHAT), "finish": "stop"}


@CHATS
async def test_openai_does_not_see_a_fallback(node: Resident, kind: str) -> None:
    async with served(*pair(kind)) as it:
        it.sims["a"].script([Fault.STATUS_503, Play(Fault.CUT_ABORT, after=5)])
        assert (await ask(node, it, "openai.plain"))["text"] == truth(CHAT)
        assert (await ask(node, it, "openai.stream"))["text"] == truth(CHAT)
        assert [name for name, _ in it.outcomes] == ["a", "b", "a", "b"]


@CHATS
async def test_openai_tools_and_schemas(node: Resident, kind: str) -> None:
    async with served(*pair(kind)) as it:
        called = await ask(node, it, "openai.tools")
        assert json.loads(called["arguments"]) == json.loads(called["streamed"]) == ARGUMENTS
        assert (called["name"], called["finish"]) == ("look", "stop")
        ran = await ask(node, it, "openai.runTools")
        assert ran["called"] == ARGUMENTS
        assert ran["text"]
        assert set((await ask(node, it, "openai.parse"))["parsed"]) == {"city", "degrees"}


async def test_openai_embeddings_completions_models(node: Resident) -> None:
    async with served() as it:
        vectors = await ask(node, it, "openai.embeddings")
        assert vectors["lengths"] == [8, 8]
        assert vectors["first"] == pytest.approx(vectors["plain"])
        assert it.received("a")[0]["encoding_format"] == "base64"
        assert (await ask(node, it, "openai.completion"))["text"]
        assert await ask(node, it, "openai.models") == {"names": ["m"]}


@RESPONSES
async def test_openai_responses(node: Resident, kind: str) -> None:
    async with served(*pair(kind)) as it:
        told = await ask(node, it, "openai.response")
        assert told["text"] == told["streamed"] == told["helped"] == truth(CHAT)
        assert (told["last"], told["tokens"]) == ("response.completed", 24)
        assert set(told["parsed"]) == {"city", "degrees"}
        called = await ask(node, it, "openai.responseTools")
        assert json.loads(called["arguments"]) == ARGUMENTS
        assert called["text"]


async def test_openai_errors(node: Resident) -> None:
    async with served(limits=Limits(max_body_bytes=100_000)) as it:
        wrong = await fail(node, it, "openai.plain", key="sk-wrong")
        assert (wrong["class"], wrong["status"], wrong["code"]) == ("AuthenticationError", 401, "invalid_api_key")
        gone = await fail(node, it, "openai.plain", model="gone")
        assert (gone["class"], gone["code"], gone["param"]) == ("NotFoundError", "model_not_found", "model")
        assert gone["id"]
        large = await fail(node, it, "openai.plain", prompt="x" * 800_000)
        assert large["status"] == 413
        it.sims["a"].script([Fault.CONTENT_POLICY])
        refused = await fail(node, it, "openai.plain")
        assert (refused["class"], refused["code"]) == ("BadRequestError", "content_policy_violation")
        for name in "ab":
            it.sims[name].script([Fault.STATUS_503])
        failed = await fail(node, it, "openai.plain")
        assert (failed["class"], failed["status"]) == ("InternalServerError", 502)
        assert "a/m: unavailable" in failed["message"]
        for name in "ab":
            it.sims[name].script([Play(Fault.RATE_LIMIT, seconds=30)])
        limited = await fail(node, it, "openai.plain")
        assert limited["class"] == "RateLimitError"
        assert 1 <= int(limited["retryAfter"]) <= 30


@pytest.mark.parametrize("case", ["openai.stream", "openai.responseStream", "anthropic.stream"])
async def test_a_broken_stream_throws(node: Resident, case: str) -> None:
    async with served(seller("a"), seller("b", diverge_at=0)) as it:
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=5)])
        broken = await fail(node, it, case)
        assert broken["class"] == "APIError"
        assert "a/m: the answer was cut off" in broken["message"]


@pytest.mark.parametrize("case", ["openai.abort", "anthropic.abort", "ai.abort"])
async def test_an_abort_cancels_what_is_upstream(node: Resident, case: str) -> None:
    async with served(seller("a", tokens_per_s=20.0), seller("b")) as it:
        told = await ask(node, it, case)
        assert 1 <= told["seen"] < 24
        await until(lambda: it.sims["a"].log.cancelled == 1, within_s=1.0)
        await until(lambda: it.outcomes == [("a", "NOBODYS")])


async def test_an_abort_before_the_answer(node: Resident) -> None:
    async with served() as it:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        assert (await fail(node, it, "openai.abortEarly"))["class"] == "APIUserAbortError"
        await until(lambda: it.outcomes == [("a", "NOBODYS")], within_s=1.0)
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        late = await fail(node, it, "openai.plain", timeout=500)
        assert late["class"] == "APIConnectionTimeoutError"
        await until(lambda: len(it.outcomes) == 2, within_s=1.0)


async def test_clients_that_retry_come_through_a_rate_limit(node: Resident) -> None:
    async with served(seller("a")) as it:
        for case in ("openai.plain", "anthropic.plain"):
            it.sims["a"].script([Play(Fault.RATE_LIMIT, seconds=4)])
            assert (await ask(node, it, case, retries=2))["text"] == truth(CHAT)


# ---- anthropic -------------------------------------------------------------------------------------------------------


@CHATS
async def test_anthropic_messages(node: Resident, kind: str) -> None:
    async with served(*pair(kind)) as it:
        for bearer in (False, True):
            plain = await ask(node, it, "anthropic.plain", bearer=bearer)
            assert plain.pop("id").startswith("req-")
            assert plain == {"text": truth(CHAT), "stop": "end_turn", "tokens": 24, "endpoint": "a/m"}
        streamed = await ask(node, it, "anthropic.stream")
        assert streamed["text"] == truth(CHAT)
        assert (streamed["kinds"][0], streamed["kinds"][-1]) == ("message_start", "message_stop")
        assert await ask(node, it, "anthropic.helper") == {"text": truth(CHAT), "stop": "end_turn", "tokens": 24}
        assert (await ask(node, it, "anthropic.beta"))["text"] == truth(CHAT)
        assert (await ask(node, it, "anthropic.models"))["names"] == ["m"]


@CHATS
async def test_anthropic_does_not_see_a_fallback(node: Resident, kind: str) -> None:
    async with served(*pair(kind)) as it:
        it.sims["a"].script([Fault.STATUS_529, Play(Fault.CUT_ABORT, after=5)])
        assert (await ask(node, it, "anthropic.plain"))["text"] == truth(CHAT)
        assert (await ask(node, it, "anthropic.helper"))["text"] == truth(CHAT)
        assert [name for name, _ in it.outcomes] == ["a", "b", "a", "b"]


@CHATS
async def test_anthropic_tools_and_schemas(node: Resident, kind: str) -> None:
    async with served(*pair(kind)) as it:
        called = await ask(node, it, "anthropic.tools")
        assert called == {
            "name": "look",
            "input": ARGUMENTS,
            "stop": "tool_use",
            "then": "text",
            "streamed": ARGUMENTS,
        }
        assert set((await ask(node, it, "anthropic.parse"))["parsed"]) == {"city"}


async def test_anthropic_runs_tools_by_itself(node: Resident) -> None:
    async with served() as it:
        assert await ask(node, it, "anthropic.runTools") == {"called": ARGUMENTS, "stop": "end_turn"}


async def test_anthropic_errors(node: Resident) -> None:
    async with served() as it:
        for bearer in (False, True):
            wrong = await fail(node, it, "anthropic.plain", key="sk-wrong", bearer=bearer)
            assert (wrong["class"], wrong["status"]) == ("AuthenticationError", 401)
        gone = await fail(node, it, "anthropic.plain", model="gone")
        assert (gone["class"], gone["type"]) == ("NotFoundError", "not_found_error")
        assert gone["id"]
        for name in "ab":
            it.sims[name].script([Fault.STATUS_503])
        failed = await fail(node, it, "anthropic.plain")
        assert (failed["class"], failed["type"]) == ("InternalServerError", "api_error")
        for name in "ab":
            it.sims[name].script([Play(Fault.RATE_LIMIT, seconds=30)])
        limited = await fail(node, it, "anthropic.plain")
        assert (limited["class"], limited["type"]) == ("RateLimitError", "rate_limit_error")
        assert 1 <= int(limited["retryAfter"]) <= 30


# ---- the Vercel AI SDK -----------------------------------------------------------------------------------------------


@PROVIDERS
async def test_ai_text(node: Resident, provider: str) -> None:
    async with served() as it:
        expected = {"text": truth(CHAT), "finish": "stop", "tokens": 24}
        assert await ask(node, it, "ai.text", provider=provider) == expected
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=5)])
        assert await ask(node, it, "ai.stream", provider=provider) == expected
        assert [name for name, _ in it.outcomes] == ["a", "a", "b"]


@PROVIDERS
async def test_ai_tools(node: Resident, provider: str) -> None:
    async with served() as it:
        told = await ask(node, it, "ai.tools", provider=provider)
        assert (told["called"], told["again"]) == (ARGUMENTS, ARGUMENTS)
        assert (told["steps"], told["streamedSteps"]) == (2, 2)
        assert told["text"]


@PROVIDERS
async def test_ai_objects(node: Resident, provider: str) -> None:
    async with served() as it:
        told = await ask(node, it, "ai.object", provider=provider)
        assert set(told["object"]) == set(told["streamed"]) == {"city", "degrees"}


async def test_ai_embeddings(node: Resident) -> None:
    async with served() as it:
        told = await ask(node, it, "ai.embeddings")
        assert told["lengths"] == [8, 8]
        assert told["tokens"] > 0


@PROVIDERS
async def test_ai_errors(node: Resident, provider: str) -> None:
    async with served(seller("a"), seller("b", diverge_at=0)) as it:
        wrong = await fail(node, it, "ai.text", provider=provider, key="sk-wrong")
        assert (wrong["class"], wrong["status"], wrong["retryable"]) == ("APICallError", 401, False)
        assert "Incorrect API key" in wrong["message"]
        for name in "ab":
            it.sims[name].script([Fault.STATUS_503])
        failed = await fail(node, it, "ai.text", provider=provider)
        assert (failed["status"], failed["retryable"]) == (502, True)
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=5)])
        broken = await fail(node, it, "ai.stream", provider=provider)
        assert "a/m: the answer was cut off" in broken["message"]
        for name in "ab":
            it.sims[name].script([Play(Fault.RATE_LIMIT, seconds=30)])
        limited = await fail(node, it, "ai.text", provider=provider)
        assert (limited["status"], limited["retryable"]) == (429, True)
        assert 1 <= int(limited["retryAfter"]) <= 30
