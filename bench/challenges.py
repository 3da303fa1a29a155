"""How the real small model does at the challenges: `python -m bench.challenges [PER_TASK] [LONG_CHARACTERS]`.

Information, not a bar: a model of 135 million parameters fails most tasks, and a market of such endpoints then tells
them apart by latency and success. It shows that requests are accepted as they are and every answer gets a verdict.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import Counter
from collections.abc import Mapping

import httpx

from providerrank.engines.sandbox import Sandbox
from providerrank.rules.cells import TASKS, Cell
from providerrank.rules.challenge import compute_challenge
from providerrank.rules.challenges.shape import Answer, ToolCall, Verdict
from providerrank.rules.params import ChallengeParams
from providerrank.sim.llama import MODEL_NAME, LocalEndpoint, find_model
from providerrank.wire.opening import hash_answer


async def ask(http: httpx.AsyncClient, body: Mapping[str, object]) -> Answer:
    response = await http.post("/chat/completions", json={**body, "model": MODEL_NAME})
    if response.status_code != 200:
        raise SystemExit(f"refused: {response.status_code} {response.text[:300]}")
    message = response.json()["choices"][0]["message"]
    calls = message.get("tool_calls") or []
    return Answer(
        message.get("content") or "",
        tuple(ToolCall(call["function"]["name"], call["function"]["arguments"]) for call in calls),
    )


async def main(per_task: int, params: ChallengeParams) -> None:
    sandbox = Sandbox()
    endpoint = LocalEndpoint("measured", find_model())
    await endpoint.start()
    try:
        async with httpx.AsyncClient(base_url=endpoint.base_url, timeout=300) as http:
            for task in TASKS:
                verdicts: Counter[str] = Counter()
                begun = time.perf_counter()
                repeated = 0
                for index in range(per_task):
                    challenge = compute_challenge(b"bench", Cell("local/smollm2", task), index, params)
                    answer = await ask(http, challenge.body)
                    if index == 0:
                        repeated = hash_answer(await ask(http, challenge.body)) == hash_answer(answer)
                    outcome = challenge.check(answer)
                    if not isinstance(outcome, Verdict):
                        outcome = outcome.judge(await sandbox.run(outcome.job))
                    verdicts[outcome.reason.value] += 1
                seconds = (time.perf_counter() - begun) / (per_task + 1)
                shown = ", ".join(f"{reason} {count}" for reason, count in verdicts.most_common())
                print(
                    f"{task:13} {verdicts['pass']}/{per_task} pass  {seconds:.1f} s each  "
                    f"asked again: {'same' if repeated else 'another'} answer  ({shown})",
                    flush=True,
                )
    finally:
        await endpoint.stop()


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 12
    characters = int(sys.argv[2]) if len(sys.argv) > 2 else 1_500
    asyncio.run(main(count, ChallengeParams(long_context_characters=characters)))
