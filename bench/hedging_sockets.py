"""One pool of `bench.hedging` over real sockets: our gateway, endpoints with the recorded TTFTs, real streams.

Run by `python -m bench.hedging --sockets`. A sanity check of the virtual runs, and of what they leave out: connections
are made and closed, losers are cancelled on the wire, and endpoints say how many of their requests were dropped.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field

import httpx

from providerrank.gateway.server import Gateway
from providerrank.gateway.settings import GatewaySettings, Upstream
from providerrank.rules.catalog import Buyer, Catalog, ModelRules
from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.router import Router
from providerrank.sim.behaviour import State
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec


@dataclass(slots=True)
class Replayed:
    """The next recorded TTFT at each request."""

    ttfts_s: list[float]
    place: int

    def at(self, t_s: float) -> State:
        del t_s
        self.place += 1
        return State(ttft_median_s=self.ttfts_s[self.place % len(self.ttfts_s)])


@dataclass(slots=True)
class SocketResult:
    """What the clients saw and what the endpoints did."""

    ttfts_us: list[int] = field(default_factory=list)
    failed: int = 0
    hedges: int = 0
    won: int = 0
    attempts: int = 0
    cancelled: int = 0


async def run_pool(
    endpoints: dict[str, list[float]], first: str | None, share: float, requests: int, requests_per_s: float, seed: int
) -> SocketResult:
    rng = random.Random(seed)
    result = SocketResult()
    specs = [EndpointSpec(name=name, reply_tokens=4) for name in endpoints]
    behaviours = {name: Replayed(ttfts, rng.randrange(len(ttfts))) for name, ttfts in endpoints.items()}
    async with SimProviders(specs, behaviours, seed=seed) as sims:
        price = Price.from_usd(1.0, 1.0)
        upstreams = tuple(Upstream(Endpoint(f"{name}/m", "m", price), sims[name].url, "m") for name in endpoints)
        pin = () if first is None else (f"{first}/m",)
        catalog = Catalog(tuple(u.endpoint for u in upstreams), (ModelRules("m", pin=pin),), Buyer(exploration=0.02))
        gateway = Gateway(
            GatewaySettings(port=0, upstreams=upstreams, hedge=share), Router(catalog, random.Random(seed))
        )
        await gateway.start()
        url = f"http://127.0.0.1:{gateway.port}/v1/chat/completions"
        body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "Say a few words."}]}

        async def one(client: httpx.AsyncClient) -> None:
            began = time.perf_counter()
            ttft_us, is_whole = 0, False
            async with client.stream("POST", url, json=body) as response:
                result.attempts += int(response.headers.get("x-providerrank-attempts", "1"))
                async for line in response.aiter_lines():
                    if line.startswith("data: {") and not ttft_us and '"content":"' in line.replace('"content":""', ""):
                        ttft_us = round((time.perf_counter() - began) * 1e6)
                    is_whole = is_whole or line == "data: [DONE]"
            if is_whole and ttft_us:
                result.ttfts_us.append(ttft_us)
            else:
                result.failed += 1

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        async with httpx.AsyncClient(timeout=320.0, limits=limits) as client, asyncio.TaskGroup() as group:
            loop = asyncio.get_running_loop()
            due = loop.time()
            for _ in range(requests):
                due += rng.expovariate(requests_per_s)
                await asyncio.sleep(max(0.0, due - loop.time()))
                group.create_task(one(client))
        result.hedges, result.won = gateway.stats.hedges, gateway.stats.hedges_won
        result.cancelled = sum(sims[name].log.cancelled for name in endpoints)
        assert not any(gateway.stats.in_flight.values()), "an attempt was left behind"
        await gateway.drain(1.0)
    return result
