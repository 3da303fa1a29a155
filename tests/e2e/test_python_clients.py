"""litellm and LangChain as clients, unmodified, in an environment of their own (.venv/clients).

`make test` makes it from requirements-clients.lock; where it is not, these tests are skipped.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from providerrank.sim.faults import Fault, Play
from tests.e2e.resident import ClientFailed, Resident
from tests.e2e.sdk_bed import KEY, pair, seller, served
from tests.integration.gateway_bed import CHAT, TOOLS, Bed, truth

HERE = Path(__file__).parent / "python"
PYTHON = Path(sys.prefix) / "clients" / "bin" / "python"
PROMPT: str = CHAT["messages"][0]["content"]
ARGUMENTS = json.loads(truth({**CHAT, **TOOLS}))

pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="litellm and LangChain are not installed beside this environment: make test"
)

LITELLM = pytest.mark.parametrize("provider", ["openai", "anthropic"])
"""How litellm asks: in chat, in messages."""
LANGCHAIN = pytest.mark.parametrize("provider", ["openai", "responses", "anthropic"])
KINDS = pytest.mark.parametrize("kind", ["chat", "messages"])
"""What the endpoints behind the gateway speak."""


@pytest.fixture(scope="module")
def clients() -> Iterator[Resident]:
    with Resident([str(PYTHON), "run.py"], HERE, {"PYTHONPATH": "", "COVERAGE_PROCESS_START": ""}) as resident:
        yield resident


async def ask(clients: Resident, it: Bed, case: str, **fields: Any) -> Any:  # whatever the case tells
    return await clients.ask(case, **{"url": it.url, "key": KEY, "prompt": PROMPT, "tools": TOOLS["tools"]} | fields)


async def fail(clients: Resident, it: Bed, case: str, **fields: Any) -> dict[str, Any]:
    """How the client's error looks to its caller."""
    with pytest.raises(ClientFailed) as caught:
        await ask(clients, it, case, **fields)
    return caught.value.error


# ---- litellm ---------------------------------------------------------------------------------------------------------


@LITELLM
@KINDS
async def test_litellm_chat(clients: Resident, provider: str, kind: str) -> None:
    async with served(*pair(kind)) as it:
        expected = {"text": truth(CHAT), "finish": "stop", "tokens": 24}
        assert await ask(clients, it, "litellm.chat", provider=provider) == expected
        assert await ask(clients, it, "litellm.stream", provider=provider) == expected
        assert (await ask(clients, it, "litellm.async", provider=provider))["text"] == truth(CHAT)


@LITELLM
async def test_litellm_does_not_see_a_fallback(clients: Resident, provider: str) -> None:
    async with served() as it:
        it.sims["a"].script([Fault.STATUS_503, Play(Fault.CUT_ABORT, after=5)])
        assert (await ask(clients, it, "litellm.chat", provider=provider))["text"] == truth(CHAT)
        assert (await ask(clients, it, "litellm.stream", provider=provider))["text"] == truth(CHAT)
        assert [name for name, _ in it.outcomes] == ["a", "b", "a", "b"]


@LITELLM
async def test_litellm_tools(clients: Resident, provider: str) -> None:
    async with served() as it:
        assert await ask(clients, it, "litellm.tools", provider=provider) == {
            "name": "look",
            "arguments": ARGUMENTS,
            "streamed": ARGUMENTS,
            "finish": ["tool_calls", "stop"],
        }


@LITELLM
async def test_litellm_schemas(clients: Resident, provider: str) -> None:
    async with served() as it:
        assert set((await ask(clients, it, "litellm.schema", provider=provider))["parsed"]) == {"city", "degrees"}


async def test_litellm_embeddings_and_responses(clients: Resident) -> None:
    async with served() as it:
        assert (await ask(clients, it, "litellm.embeddings"))["lengths"] == [8, 8]
        assert await ask(clients, it, "litellm.responses") == {"text": truth(CHAT), "streamed": truth(CHAT)}


@LITELLM
async def test_litellm_errors(clients: Resident, provider: str) -> None:
    async with served(seller("a"), seller("b", diverge_at=0)) as it:
        wrong = await fail(clients, it, "litellm.chat", provider=provider, key="sk-wrong")
        assert (wrong["class"], wrong["status"]) == ("AuthenticationError", 401)
        gone = await fail(clients, it, "litellm.chat", provider=provider, model="gone")
        assert (gone["class"], gone["status"]) == ("NotFoundError", 404)
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=5)])
        broken = await fail(clients, it, "litellm.stream", provider=provider)
        assert "a/m: the answer was cut off" in broken["message"]
        for name in "ab":
            it.sims[name].script([Fault.STATUS_503])
        failed = await fail(clients, it, "litellm.chat", provider=provider)
        assert failed["status"] in (500, 502, 503)
        assert "a/m: unavailable" in failed["message"]
        for name in "ab":
            it.sims[name].script([Play(Fault.RATE_LIMIT, seconds=30)])
        limited = await fail(clients, it, "litellm.chat", provider=provider)
        assert (limited["class"], limited["status"]) == ("RateLimitError", 429)


# ---- LangChain -------------------------------------------------------------------------------------------------------


@LANGCHAIN
@KINDS
async def test_langchain_chat(clients: Resident, provider: str, kind: str) -> None:
    async with served(*pair(kind)) as it:
        assert await ask(clients, it, "langchain.invoke", provider=provider) == {"text": truth(CHAT), "tokens": 24}
        assert await ask(clients, it, "langchain.stream", provider=provider) == {"text": truth(CHAT)}
        assert await ask(clients, it, "langchain.async", provider=provider) == {"text": truth(CHAT)}


@LANGCHAIN
async def test_langchain_does_not_see_a_fallback(clients: Resident, provider: str) -> None:
    async with served() as it:
        it.sims["a"].script([Fault.STATUS_503, Play(Fault.CUT_ABORT, after=5)])
        assert (await ask(clients, it, "langchain.invoke", provider=provider))["text"] == truth(CHAT)
        assert (await ask(clients, it, "langchain.stream", provider=provider))["text"] == truth(CHAT)
        assert [name for name, _ in it.outcomes] == ["a", "b", "a", "b"]


@LANGCHAIN
async def test_langchain_tools(clients: Resident, provider: str) -> None:
    async with served() as it:
        told = await ask(clients, it, "langchain.tools", provider=provider)
        assert told.pop("text")
        assert told == {"name": "look", "arguments": ARGUMENTS, "streamed": ARGUMENTS}


@pytest.mark.parametrize(
    ("provider", "methods"),
    [
        ("openai", ["json_schema", "function_calling"]),
        ("responses", ["json_schema", "function_calling"]),
        ("anthropic", ["json_schema", "function_calling"]),
    ],
)
async def test_langchain_structured_output(clients: Resident, provider: str, methods: list[str]) -> None:
    async with served() as it:
        told = await ask(clients, it, "langchain.structured", provider=provider, methods=methods)
        assert [set(told[method]) for method in methods] == [{"city", "degrees"}] * len(methods)


async def test_langchain_embeddings(clients: Resident) -> None:
    async with served() as it:
        assert await ask(clients, it, "langchain.embeddings") == {"lengths": [8, 8], "query": 8}


@LANGCHAIN
async def test_langchain_errors(clients: Resident, provider: str) -> None:
    async with served(seller("a"), seller("b", diverge_at=0)) as it:
        wrong = await fail(clients, it, "langchain.invoke", provider=provider, key="sk-wrong")
        assert "AuthenticationError" in wrong["class"]
        gone = await fail(clients, it, "langchain.invoke", provider=provider, model="gone")
        assert "NotFoundError" in gone["class"]
        it.sims["a"].script([Play(Fault.CUT_ABORT, after=5)])
        broken = await fail(clients, it, "langchain.stream", provider=provider)
        assert "a/m: the answer was cut off" in broken["message"]
        for name in "ab":
            it.sims[name].script([Play(Fault.RATE_LIMIT, seconds=30)])
        limited = await fail(clients, it, "langchain.invoke", provider=provider)
        assert "RateLimitError" in limited["class"]
