"""The same worlds over real sockets: our gateway against simulated providers, 10 requests a second.

An hour of record passes in 10 s. Every endpoint is a listening server that answers with its probability and its TTFT of
the moment, and 503 otherwise. TTFT is what the client sees, from sending the request to the first content, failed
attempts and the gateway's own time included. The oracle's value is the expected value of its order at each request.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from dataclasses import dataclass

import httpx

from providerrank.gateway.server import Gateway
from providerrank.gateway.settings import GatewaySettings, Upstream
from providerrank.rules.catalog import Buyer, Catalog
from providerrank.rules.params import Params
from providerrank.rules.router import Router
from providerrank.sim.behaviour import State
from providerrank.sim.oracle import EXTRA_ATTEMPT_COST, Oracle, compute_ttft_score, compute_value
from providerrank.sim.providers import SimProviders
from providerrank.sim.spec import EndpointSpec
from providerrank.sim.virtual import REQUESTS_PER_S, SECONDS_PER_HOUR, Score
from providerrank.sim.worlds import TAIL_FACTOR, TAIL_SIGMA, Track


@dataclass(slots=True)
class TrackBehaviour:
    """A track as a server's behaviour; each question draws whether this request is of the body or the tail."""

    track: Track
    rng: random.Random

    def at(self, t_s: float) -> State:
        hour = t_s / SECONDS_PER_HOUR
        ttft, drift = self.track.ttft, self.track.drift.at(hour)
        is_slow = self.rng.random() < ttft.tail_share
        return State(
            success=self.track.success.at(hour),
            ttft_median_s=ttft.median_s * drift * (TAIL_FACTOR if is_slow else 1.0),
            ttft_sigma=TAIL_SIGMA if is_slow else ttft.sigma,
        )


async def run_world(oracle: Oracle, params: Params, seed: int, hours: float) -> Score:
    world = oracle.world
    positions = {track.endpoint_id: i for i, track in enumerate(world.tracks)}
    specs = [EndpointSpec(name=track.endpoint_id, reply_tokens=4) for track in world.tracks]
    behaviours = {t.endpoint_id: TrackBehaviour(t, random.Random(f"{seed} {t.endpoint_id}")) for t in world.tracks}
    score = Score()
    async with SimProviders(specs, behaviours, seed=seed) as sims:
        endpoints = world.endpoints()
        upstreams = tuple(Upstream(e, sims[e.id].url, world.model) for e in endpoints)
        buyer = Buyer(world.cap, exploration=params.exploration_floor)
        router = Router(Catalog(endpoints, buyer=buyer), random.Random(seed), params)
        gateway = Gateway(GatewaySettings(port=0, upstreams=upstreams), router)
        await gateway.start()
        url = f"http://127.0.0.1:{gateway.port}/v1/chat/completions"
        body = {"model": world.model, "stream": True, "messages": [{"role": "user", "content": "Say a few words."}]}
        hours_of_prices = sorted({hour for t in world.tracks for hour in t.price.hours if 0.0 < hour < hours})

        async def one(client: httpx.AsyncClient, hour: float) -> None:
            moment = oracle.moment(hour)
            score.requests += 1
            score.oracle_value += moment.value
            score.best[moment.order[0]] += 1
            began = time.perf_counter()
            ttft_s, is_whole = 0.0, False
            async with client.stream("POST", url, json=body) as response:
                attempts = int(response.headers.get("x-providerrank-attempts", "1"))
                endpoint = positions.get(response.headers.get("x-providerrank-endpoint", ""))
                async for line in response.aiter_lines():
                    if not line.startswith("data: "):
                        continue
                    data = line[6:]
                    is_whole = data == "[DONE]"
                    if not is_whole and not ttft_s:
                        choices = json.loads(data).get("choices") or [{}]
                        if choices[0].get("delta", {}).get("content"):
                            ttft_s = time.perf_counter() - began
            score.extra_attempts += attempts - 1
            score.value -= EXTRA_ATTEMPT_COST * (attempts - 1)
            if response.status_code == 200 and is_whole and ttft_s and endpoint is not None:
                score.successes += 1
                score.served[endpoint] += 1
                score.value += compute_value(compute_ttft_score(ttft_s), moment.relative_prices[endpoint])

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
        async with httpx.AsyncClient(timeout=320.0, limits=limits) as client, asyncio.TaskGroup() as group:
            sims.restart_clock()
            loop = asyncio.get_running_loop()
            started = loop.time()
            for number in range(round(hours * SECONDS_PER_HOUR * REQUESTS_PER_S)):
                await asyncio.sleep(max(0.0, started + number / REQUESTS_PER_S - loop.time()))
                hour = (loop.time() - started) / SECONDS_PER_HOUR
                while hours_of_prices and hours_of_prices[0] <= hour:
                    hours_of_prices.pop(0)
                    router.reprice({track.endpoint_id: track.price.at(hour) for track in world.tracks})
                group.create_task(one(client, min(hour, world.hours)))
        await gateway.drain(1.0)
    return score


def run(oracle: Oracle, params: Params, seed: int, hours: float) -> Score:
    try:
        import uvloop
    except ImportError:
        return asyncio.run(run_world(oracle, params, seed, hours))
    return uvloop.run(run_world(oracle, params, seed, hours))
