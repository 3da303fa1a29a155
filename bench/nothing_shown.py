"""Every fault of the table at random behind a real gateway, one endpoint healthy: what does the client see?

    python -m bench.nothing_shown --requests 20000
    python -m bench.nothing_shown --requests 20000 --kill        # `serve` with several workers, killed and reloaded

Requests of every API there is (chat, completions, embeddings, Responses, Messages; half of them streamed, some with
tools, some to a schema) meet endpoints of every kind, each of which meets three requests in four with a fault drawn
from the closed list in ``sim/faults.py``. What the client receives is held, to the character, against what a healthy
endpoint says to the same prompt, and its form against strict readers of each API. Failures the table says the client is
to see (the endpoint's own 4xx, a stream cut after tool-call deltas) are counted apart; anything else is a failure of
this benchmark (exit 1).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from dataclasses import replace

import uvloop

from bench import killed
from bench.asking import (
    Tally,
    Wire,
    break_endpoints,
    count_faults,
    draw,
    make_specs,
    make_upstream,
    show_faults,
    write_request,
)
from providerrank.gateway.server import Gateway
from providerrank.gateway.settings import Clocks, GatewaySettings
from providerrank.rules.catalog import Buyer, Catalog
from providerrank.rules.params import PARAMS
from providerrank.rules.router import Router
from providerrank.sim.providers import SimProviders

CLOCKS = Clocks(connect_us=300_000, first_token_us=400_000, idle_us=500_000, total_us=30_000_000, patience_us=1_000_000)

ALWAYS_TRY = replace(PARAMS, belief_ceiling=0.4, refused_trial_us=0, refused_trial_max_us=0)
"""No endpoint is ever believed out: the router would otherwise learn at once to avoid what is to be met here."""


async def run(requests: int, each: int, seed: int, concurrency: int, only: list[str]) -> Tally:
    """The whole benchmark in one process."""
    rng = random.Random(seed)
    async with SimProviders(make_specs(each), seed=seed) as sims:
        upstreams = tuple(make_upstream(sim.spec, sim.url) for sim in sims)
        names = break_endpoints(sims, 0.75, only)
        counters = count_faults(sims)
        catalog = Catalog(tuple(u.endpoint for u in upstreams), (), Buyer())
        gateway = Gateway(GatewaySettings(port=0, upstreams=upstreams, clocks=CLOCKS), Router(catalog, rng, ALWAYS_TRY))
        await gateway.start()
        tally = Tally()
        numbers = iter(range(requests))

        async def client() -> None:
            wire = Wire("127.0.0.1", gateway.port)
            for number in numbers:
                api, question = draw(number, rng)
                data = write_request(api, question, rng.sample(names, min(8, len(names))))
                began = time.perf_counter()
                await wire.connect()
                reply = await wire.ask(data)
                tally.seconds.append(time.perf_counter() - began)
                tally.judge(api, question, reply)
            wire.close()

        await asyncio.gather(*(client() for _ in range(concurrency)))
        await gateway.drain(2)
        left = sum(gateway.stats.in_flight.values())
        if left:
            tally.wrong.append(f"{left} requests still counted in flight after the last")
    show_faults(counters)
    return tally


def main() -> int:
    """Parse the command line, run, report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument(
        "--faulty", type=int, default=3, help="faulty endpoints of each of four kinds, beside the healthy one"
    )
    parser.add_argument("--concurrency", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], help="inject only this fault (repeatable)")
    parser.add_argument(
        "--kill", action="store_true", help="`serve` with workers, one killed -9 every two seconds, reloads between"
    )
    parser.add_argument("--workers", type=int, default=3, help="with --kill")
    args = parser.parse_args()
    uvloop.install()
    began = time.perf_counter()
    if args.kill:
        tally = asyncio.run(killed.run(args.requests, args.faulty, args.seed, args.concurrency, args.workers))
    else:
        tally = asyncio.run(run(args.requests, args.faulty, args.seed, args.concurrency, args.only))
    seconds = sorted(tally.seconds)
    print(f"requests {args.requests} in {time.perf_counter() - began:.0f} s; whole and right {tally.whole.total()}")
    tally.show()
    median = seconds[len(seconds) // 2]
    print(f"slowest answer {seconds[-1]:.2f} s (deadline {CLOCKS.total_us / 1e6:.0f} s), median {median:.3f} s")
    print(f"client-visible failures outside the table: {len(tally.wrong)}")
    for line in tally.wrong[:20]:
        print("  ", line)
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
