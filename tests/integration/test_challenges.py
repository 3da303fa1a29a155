"""Challenges where they are used: solutions in the real sandbox, requests to the real model."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import httpx
import pytest

from providerrank.engines.sandbox import Sandbox
from providerrank.rules.cells import CODE, TASKS, Cell
from providerrank.rules.challenge import TEMPLATES, compute_challenge
from providerrank.rules.challenges.expect_code import CodeRun
from providerrank.rules.challenges.shape import Answer, Reason, ToolCall, Verdict
from providerrank.rules.params import ChallengeParams
from providerrank.sim.llama import MODEL_NAME, LocalEndpoint, ModelMissingError, find_model
from providerrank.wire.opening import hash_answer

SHORT = ChallengeParams(long_context_characters=1_500)

try:
    GGUF: Path | None = find_model()
    MISSING = ""
except ModelMissingError as missing:
    GGUF, MISSING = None, str(missing)


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
@pytest.mark.parametrize("name", TEMPLATES[CODE])
async def test_solutions_pass_in_the_sandbox_and_spoilt_ones_do_not(name: str) -> None:
    sandbox = Sandbox()
    challenge = compute_challenge(b"beacon", Cell("a/m", CODE), 0, template=name)
    run = challenge.check(challenge.solution)
    assert isinstance(run, CodeRun)
    assert run.judge(await sandbox.run(run.job)) == Verdict(Reason.PASS)
    spoilt = challenge.check(Answer(challenge.solution.text.replace("return ", "return not ")))
    assert isinstance(spoilt, CodeRun)
    assert not spoilt.judge(await sandbox.run(spoilt.job)).passed


@pytest.mark.model
@pytest.mark.skipif(GGUF is None, reason=MISSING or "the model is here")
async def test_the_real_model_takes_every_kind_of_request_and_every_answer_gets_a_verdict() -> None:
    endpoint = LocalEndpoint("asked", GGUF)
    await endpoint.start()
    try:
        async with httpx.AsyncClient(base_url=endpoint.base_url, timeout=60) as http:
            for task in TASKS:
                challenge = compute_challenge(b"beacon", Cell("local/m", task), 0, SHORT)
                body = {**challenge.body, "model": MODEL_NAME, "max_tokens": 24}
                answer = await ask(http, body)
                assert len(hash_answer(answer)) == 64
                assert isinstance(challenge.check(answer), Verdict | CodeRun)
    finally:
        await endpoint.stop()


async def ask(http: httpx.AsyncClient, body: Mapping[str, object]) -> Answer:
    response = await http.post("/chat/completions", json=body)
    assert response.status_code == 200, response.text
    message = response.json()["choices"][0]["message"]
    calls = message.get("tool_calls") or []
    return Answer(
        message.get("content") or "",
        tuple(ToolCall(call["function"]["name"], call["function"]["arguments"]) for call in calls),
    )
