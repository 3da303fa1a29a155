"""Every fault of the table at random behind a real gateway, one endpoint healthy: what does the client see?

    python bench/nothing_shown.py --requests 2000

Each faulty endpoint meets each request with a fault drawn from the closed list in ``sim/faults.py``. Half of the
requests stream, some carry tools, some a JSON schema. What the client receives is held, to the character, against what
a healthy endpoint says to the same prompt. Failures the table says the client is to see (the endpoint's own 4xx, a
stream cut after tool-call deltas) are counted apart; anything else is a failure of this benchmark (exit 1).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace

import httpx
import uvloop

from providerrank.gateway.server import Gateway
from providerrank.gateway.settings import Clocks, GatewaySettings, Upstream
from providerrank.rules.catalog import Buyer, Catalog
from providerrank.rules.cells import ASSUMED_FEATURES, Endpoint, Price
from providerrank.rules.params import PARAMS
from providerrank.rules.router import Router
from providerrank.sim.faults import LISTENER_FAULTS, Fault
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec

MODEL = "m"
CLOCKS = Clocks(connect_us=300_000, first_token_us=400_000, idle_us=500_000, total_us=30_000_000, patience_us=1_000_000)

ALWAYS_TRY = replace(PARAMS, belief_ceiling=0.4, refused_trial_us=0, refused_trial_max_us=0)
"""No endpoint is ever believed out: the router would otherwise learn at once to avoid what is to be met here."""

LEFT_OUT = LISTENER_FAULTS | {Fault.SCHEMA_VIOLATION}
"""Faults of a listener are not drawn per request. A broken schema is seen only when a stream is over, and then it
has been delivered: it counts against the endpoint, and has tests of its own."""

SHOWN_STATUS = {400, 410, 418, 451}
"""The endpoint's own refusals: another endpoint would agree, so the client is told."""

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "look",
            "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]},
        },
    }
]
SCHEMA = {
    "type": "json_schema",
    "json_schema": {
        "name": "s",
        "schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
    },
}


@dataclass
class Tally:
    """What the client saw."""

    whole: int = 0
    shown_refusals: int = 0
    shown_tool_cuts: int = 0
    wrong: list[str] = field(default_factory=list)
    attempts: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)


def make_body(number: int, rng: random.Random, order: list[str]) -> dict[str, object]:
    """One request: what it asks is drawn, where it must go first is drawn too, so that faults are met."""
    body: dict[str, object] = {
        "model": MODEL,
        "messages": [
            {
                "role": "user",
                "content": f"{number}: tell me about {rng.random()}. [[tokens={rng.randint(4, 40)}]]",
            }
        ],
        "temperature": 0,
        "stream": rng.random() < 0.5,
    }
    kind = rng.random()
    if kind < 0.15:
        body["tools"] = TOOLS
    elif kind < 0.25:
        body["response_format"] = SCHEMA
    if body["stream"] and rng.random() < 0.5:
        body["stream_options"] = {"include_usage": True}
    body["provider"] = {"order": order}
    return body


async def ask(client: httpx.AsyncClient, url: str, body: dict[str, object]) -> tuple[int, dict[str, str], str, str]:
    """Status, headers, text and tool arguments received, and how it ended ('' when whole)."""
    if not body["stream"]:
        reply = await client.post(url, json=body)
        if reply.status_code != 200:
            return reply.status_code, dict(reply.headers), reply.text, "refused"
        choice = reply.json()["choices"][0]
        return (
            200,
            dict(reply.headers),
            get_said(choice["message"]),
            "" if choice["finish_reason"] else "no finish reason",
        )
    said, finished, done, error, usage = "", False, False, "", False
    async with client.stream("POST", url, json=body) as reply:
        if reply.status_code != 200:
            return reply.status_code, dict(reply.headers), (await reply.aread()).decode(), "refused"
        async for line in reply.aiter_lines():
            if not line.startswith("data: "):
                continue
            if line == "data: [DONE]":
                done = True
                continue
            event = json.loads(line[6:])
            if "error" in event:
                error = f"error event: {event['error']['message']}"
                continue
            usage = usage or bool(event.get("usage"))
            for choice in event.get("choices", ()):
                said += get_said(choice["delta"])
                finished = finished or choice.get("finish_reason") is not None
    if error:
        return 200, dict(reply.headers), said, f"{error} and [DONE]" if done else error
    if not (finished and done):
        return 200, dict(reply.headers), said, "cut without a word"
    if "stream_options" in body and not usage:
        return 200, dict(reply.headers), said, "no usage"
    return 200, dict(reply.headers), said, ""


def get_said(message: dict[str, object]) -> str:
    """Text, or the arguments of tool calls."""
    said = message.get("content") or ""
    assert isinstance(said, str)
    calls = message.get("tool_calls") or []
    assert isinstance(calls, list)
    return said + "".join(call["function"].get("arguments") or "" for call in calls)


async def judge(client: httpx.AsyncClient, urls: tuple[str, str], body: dict[str, object], tally: Tally) -> None:
    """One request through the gateway, held against the truth."""
    gateway, truth = urls
    began = time.perf_counter()
    label = f"{'stream' if body['stream'] else 'plain'} {[k for k in ('tools', 'response_format') if k in body]}"
    try:
        status, headers, said, problem = await ask(client, gateway, body)
    except httpx.HTTPError as error:
        tally.wrong.append(f"{label}: {type(error).__name__} {error}")
        return
    tally.seconds.append(time.perf_counter() - began)
    tally.attempts[int(headers.get("x-providerrank-attempts", 0))] += 1
    if status in SHOWN_STATUS and "no_endpoint" not in said:
        tally.shown_refusals += 1
    elif status != 200:
        tally.wrong.append(f"{label}: HTTP {status} {said[:1500]}")
    elif problem.startswith("error event:") and "tools" in body:
        tally.shown_tool_cuts += 1
    elif problem:
        tally.wrong.append(f"{label}: {problem}; begun by {headers['x-providerrank-endpoint']}")
    else:
        _, _, expected, _ = await ask(client, truth, {**body, "stream": False})
        if said == expected:
            tally.whole += 1
        else:
            tally.wrong.append(f"{label}: says {said[:150]!r} and not {expected[:150]!r}")


async def run(requests: int, faulty: int, seed: int, concurrency: int, only: list[str]) -> Tally:
    """The whole benchmark in one process."""
    rng = random.Random(seed)
    faults = [f for f in Fault if f not in LEFT_OUT and (not only or f.value in only)]
    names = [f"bad{i}" for i in range(faulty)]
    specs = [EndpointSpec(name=name, prefill=i % 2 == 0) for i, name in enumerate(names)]
    specs += [EndpointSpec(name="healthy", prefill=True), EndpointSpec(name="truth")]
    async with SimProviders(specs, seed=seed) as sims:
        upstreams = []
        for name in [*names, "healthy"]:
            features = ASSUMED_FEATURES | (frozenset({"prefill"}) if sims[name].spec.prefill else frozenset())
            endpoint = Endpoint(f"{name}/{MODEL}", MODEL, Price.from_usd(1, 1), features=features)
            upstreams.append(Upstream(endpoint, sims[name].url, MODEL, "sk-secret-of-the-endpoint"))
        for name in names:
            sims[name].set_chances({fault: 0.75 / len(faults) for fault in faults})
        catalog = Catalog(tuple(u.endpoint for u in upstreams), (), Buyer())
        gateway = Gateway(
            GatewaySettings(port=0, upstreams=tuple(upstreams), clocks=CLOCKS), Router(catalog, rng, ALWAYS_TRY)
        )
        await gateway.start()
        tally = Tally()
        urls = (f"http://127.0.0.1:{gateway.port}/v1/chat/completions", f"{sims['truth'].url}/chat/completions")
        gate = asyncio.Semaphore(concurrency)
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None)) as client:

            async def one(number: int) -> None:
                async with gate:
                    body = make_body(number, rng, rng.sample(names, faulty))
                    await judge(client, urls, body, tally)

            await asyncio.gather(*(one(i) for i in range(requests)))
        met = Counter(r.fault.value for name in names for r in sims[name].log if r.fault is not None)
        await gateway.drain(2)
    print(f"faults met (of the last requests each endpoint remembers): {sum(met.values())} of {len(met)} kinds")
    return tally


def main() -> int:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--faulty", type=int, default=8, help="faulty endpoints beside the healthy one")
    parser.add_argument("--concurrency", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], help="inject only this fault (repeatable)")
    args = parser.parse_args()
    uvloop.install()
    began = time.perf_counter()
    tally = asyncio.run(run(args.requests, args.faulty, args.seed, args.concurrency, args.only))
    seconds = sorted(tally.seconds)
    print(f"requests {args.requests} in {time.perf_counter() - began:.0f} s; whole and right {tally.whole}")
    print(
        f"shown as the table says: endpoints' own refusals {tally.shown_refusals}, "
        f"streams cut after tool-call deltas {tally.shown_tool_cuts}"
    )
    print(f"attempts a request: {dict(sorted(tally.attempts.items()))}")
    median = seconds[len(seconds) // 2]
    print(f"slowest answer {seconds[-1]:.2f} s (deadline {CLOCKS.total_us / 1e6:.0f} s), median {median:.3f} s")
    print(f"client-visible failures: {len(tally.wrong)}")
    for line in tally.wrong[:20]:
        print("  ", line)
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
