"""What choosing and learning cost as the pool grows: `python bench/ranking_scale.py`.

Each figure is the median of several rounds, beside a *floor* taken in the same round: the least any ordered pool can
do for a request in Python, one bisected removal and insertion in a list of the same length and one dict update. A
busy machine slows both alike, so the ratio is steadier than the microseconds.
"""

from __future__ import annotations

import argparse
import gc
import random
import resource
import statistics
import sys
import time
from bisect import bisect_left, insort
from collections.abc import Callable
from pathlib import Path

from providerrank.rules.ask import Ask
from providerrank.rules.catalog import Buyer, Catalog
from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.router import Router

START_US = 1_790_000_000_000_000
STEP_US = 10_000
MODEL = "m"
ENDPOINTS_A_SESSION = 5
BAR_CHOOSE_US = 50.0
BAR_SMALL_US = 12.0
BAR_RERANK_MS = 20.0
BAR_SESSIONS_MIB = 1024.0


def make_router(count: int, rng: random.Random) -> Router:
    endpoints = tuple(
        Endpoint(f"provider{i}/{MODEL}", MODEL, Price.from_usd(rng.uniform(0.2, 1.0), rng.uniform(0.3, 2.0)))
        for i in range(count)
    )
    return Router(Catalog(endpoints, buyer=Buyer(price_cap=Price.from_usd(2.0, 6.0))), rng)


def make_observation(endpoint_id: str, now_us: int, rng: random.Random) -> Observation:
    ttft_us = int(300_000 * 4 ** rng.random())
    if rng.random() < 0.005:
        return Observation(endpoint_id, "chat", now_us, Outcome.FAILURE, None, 900_000)
    return Observation(endpoint_id, "chat", now_us, Outcome.SUCCESS, ttft_us, ttft_us + 2_000_000, 1_000, 200, 200)


def warm(router: Router, count: int, rng: random.Random) -> int:
    """Give every endpoint a little history, so that the board is settled as after a day."""
    now_us = START_US
    for i in range(count * 3):
        now_us += STEP_US
        router.observe(make_observation(f"provider{i % count}/{MODEL}", now_us, rng))
    return now_us


def time_requests(
    router: Router, now_us: int, requests: int, rng: random.Random, session: str | None
) -> tuple[float, int]:
    """Microseconds a request of plan + next + observe, less what making the observation takes."""
    ask = Ask(MODEL, session=session)
    spent = 0
    clock = time.thread_time_ns
    for _ in range(requests):
        now_us += STEP_US
        began = clock()
        endpoint = router.plan(ask, now_us).next(now_us)
        spent += clock() - began
        assert endpoint is not None
        obs = make_observation(endpoint.id, now_us, rng)
        began = clock()
        router.observe(obs, session)
        spent += clock() - began
    return spent / requests / 1e3, now_us


def time_floor(count: int, requests: int, rng: random.Random) -> float:
    keys = sorted(rng.random() for _ in range(count))
    seen: dict[int, float] = {}
    spent = 0
    clock = time.thread_time_ns
    for _ in range(requests):
        at, key = int(rng.random() * count), rng.random()
        began = clock()
        del keys[bisect_left(keys, keys[at])]
        insort(keys, key)
        seen[at] = key
        spent += clock() - began
    return spent / requests / 1e3


def median(rounds: int, measure: Callable[[], float]) -> float:
    return statistics.median(measure() for _ in range(rounds))


def get_resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000, help="requests a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=100_000)
    args = parser.parse_args()
    is_met = True

    print("| endpoints | session | choose + observe | floor | times floor | bar |")
    print("|---|---|---|---|---|---|")
    for count, session in ((3, None), (24, None), (5_000, None), (5_000, "named")):
        rng = random.Random(f"{count} {session}")
        router = make_router(count, rng)
        now_us = warm(router, count, rng)
        _, now_us = time_requests(router, now_us, 2_000, rng, session)
        figures, floors = [], []
        for _ in range(args.rounds):
            figure, now_us = time_requests(router, now_us, args.requests, rng, session)
            figures.append(figure)
            floors.append(time_floor(count, args.requests, rng))
        took, floor = statistics.median(figures), statistics.median(floors)
        bar = BAR_SMALL_US if count == 3 else BAR_CHOOSE_US
        is_met &= took <= bar
        print(f"| {count} | {session or '-'} | {took:.1f} µs | {floor:.2f} µs | {took / floor:.0f} | {bar:g} µs |")

    rng = random.Random(1)
    router = make_router(5_000, rng)
    now_us = warm(router, 5_000, rng)
    router.plan(Ask(MODEL), now_us)
    board = router._boards.get(MODEL, "chat", None)
    keys = [rng.random() for _ in range(5_000)]

    def rerank() -> float:
        began = time.thread_time()
        board.rebuild(now_us)
        return (time.thread_time() - began) * 1e3

    def sort_floor() -> float:
        began = time.thread_time()
        sorted(keys)
        return (time.thread_time() - began) * 1e3

    took, floor = median(9, rerank), median(9, sort_floor)
    is_met &= took <= BAR_RERANK_MS
    print(f"\nFull re-rank of 5000: {took:.1f} ms (bar {BAR_RERANK_MS:g}; sorting 5000 floats alone {floor:.2f} ms)")

    gc.collect()
    before = get_resident_mib()
    for i in range(args.sessions):
        for k in range(ENDPOINTS_A_SESSION):
            obs = make_observation(f"provider{(i * 7 + k * 13) % 5_000}/{MODEL}", now_us + i, rng)
            router.observe(obs, f"session-{i}")
    gc.collect()
    used = get_resident_mib() - before
    is_met &= used <= BAR_SESSIONS_MIB
    each = used * 2**20 / args.sessions
    print(
        f"{args.sessions} sessions of {ENDPOINTS_A_SESSION} endpoints: {used:.0f} MiB, {each:.0f} bytes each"
        f" (bar {BAR_SESSIONS_MIB:g} MiB)"
    )
    print(f"Bars: {'met' if is_met else 'NOT met'}")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
