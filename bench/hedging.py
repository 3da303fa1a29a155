"""What hedging is worth on recorded TTFTs: `make bench-hedging`, or `python -m bench.hedging --help`.

Virtual time through the real rules: `rules.attempts` walks, `rules.router` ranks and learns, `rules.hedging` pays. Only
the wire is replaced: an attempt's TTFT and length are the next of those recorded of its provider and model, in their
order (slow ones come in runs), each run from another start. Clocks are looked at every 20 ms, as the gateway does.

Each pool lives three times through as many requests: without insurance (no hedging, no first-token clock), with the
adaptive first-token clock alone (`hedge = 0`), and with both (the default).
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import heapq
import os
import random
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from providerrank.gateway.server import TICK_S
from providerrank.rules.ask import Ask
from providerrank.rules.attempt import Attempt, Try
from providerrank.rules.attempts import Attempts, Hedge, Timing
from providerrank.rules.catalog import Buyer, Catalog, ModelRules
from providerrank.rules.cells import CHAT, Endpoint, Price
from providerrank.rules.hedging import HedgeBudget
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.router import Router

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DATA = ROOT.parent / "shared" / "data"

S = 1_000_000
EPOCH_US = 1_780_000_000 * S
TICK_US = round(TICK_S * S)
TIMING = Timing(connect_us=2 * S, idle_us=15 * S, total_us=300 * S, patience_us=3 * S)
REQUESTS_PER_S = 5.0
"""As many as were under way at once when the data was recorded, with answers of a second."""
MIN_ROWS = 50
"""Answers a pair needs to have been recorded with: a p95 of fewer says nothing."""
HEAVY = 10.0
"""A tail is heavy where the 99th percentile is more than this many times the median: no log-normal body does that."""

MIN_GAIN = 2.0
MAX_EXTRA = 0.05

Timed = tuple[int, int]
"""TTFT, and from there to the end; microseconds."""
Recorded = dict[tuple[str, str], list[Timed]]
"""By model and provider."""


def load(data: Path) -> Recorded:
    """Answers as recorded, in order; errors are left out, as this is about those who answer slowly."""
    recorded: Recorded = defaultdict(list)
    with (data / "llmperf_leaderboard" / "requests.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if not row["error_code"] and row["ttft_s"]:
                ttft_s = float(row["ttft_s"])
                rest_s = max(0.0, float(row["e2e_s"]) - ttft_s)
                recorded[row["model"], row["provider"]].append((round(ttft_s * S), round(rest_s * S)))
    return {pair: timed for pair, timed in recorded.items() if len(timed) >= MIN_ROWS}


@dataclass(frozen=True)
class World:
    """One pool: endpoints by provider, and what each is like."""

    name: str
    endpoints: dict[str, list[Timed]]
    pin: str | None = None
    """Asked first, whatever the ranking says."""
    is_heavy: bool = False
    """The tail of what is asked first is heavy: where the bar applies."""


@dataclass
class Result:
    """One run."""

    ttfts_us: list[int] = field(default_factory=list)
    hedges: int = 0
    won: int = 0
    attempts: int = 0
    failed: int = 0
    clock_faults: int = 0

    def add(self, other: Result) -> None:
        self.ttfts_us += other.ttfts_us
        self.hedges += other.hedges
        self.won += other.won
        self.attempts += other.attempts
        self.failed += other.failed
        self.clock_faults += other.clock_faults


class Request:
    """One request, driven as `gateway.exchange` does."""

    def __init__(self, run: Run, now_us: int) -> None:
        self.run = run
        self.began_us = now_us
        self.machine = Attempts(run.router.plan(Ask("m"), now_us), TIMING, run.rng.random)
        self.is_done = False
        self.look_us = 0

    # ---- what the machine asks (Watch) ----

    @property
    def hedges(self) -> HedgeBudget:
        return self.run.budget

    def get_hedge_us(self, endpoint: Endpoint) -> int | None:
        return self.run.router.hedge_us(endpoint.id, CHAT) if self.run.share else None

    def get_silence_us(self, endpoint: Endpoint, budget_us: int) -> int:
        return (
            min(self.run.router.first_token_us(endpoint.id, CHAT), budget_us // 2) if self.run.has_clock else budget_us
        )

    # ---- what happens ----

    def act(self, action: object, now_us: int) -> None:
        """Do what the machine says."""
        for attempt in self.machine.log:
            if attempt.ended_us is not None:
                self.account(attempt, now_us)
        if isinstance(action, (Try, Hedge)):
            self.run.begin(self, action.attempt)
        elif action is not None and self.machine.attempt is None:
            self.is_done = True
            self.run.result.failed += 1
        self.schedule()

    def schedule(self) -> None:
        """The next look at the clocks that may say anything."""
        due_us = self.machine.due_us
        if not self.is_done and not self.machine.committed and due_us != self.look_us:
            self.look_us = due_us
            self.run.push(-(-(due_us - EPOCH_US) // TICK_US) * TICK_US + EPOCH_US, self, None, "look")

    def account(self, attempt: Attempt, now_us: int) -> None:
        """Over without an answer: learned from once."""
        if self.run.live.pop(id(attempt), None) is None:
            return
        self.run.router.release(attempt.endpoint.id)
        self.run.result.clock_faults += attempt.fault is not None
        total_us = now_us - attempt.started_us
        silent_us = total_us if attempt.beaten else None
        self.run.router.observe(
            Observation(attempt.endpoint.id, CHAT, now_us, attempt.outcome, total_us=total_us, silent_us=silent_us)
        )

    def look(self, now_us: int) -> None:
        if not self.is_done and not self.machine.committed and now_us >= self.machine.due_us:
            self.act(self.machine.clock(now_us, self), now_us)

    def content(self, attempt: Attempt, now_us: int) -> None:
        if self.machine.first_content(now_us, attempt) is None:
            return
        rivals = [one for one in self.machine.log if one.beaten]
        self.run.result.won += attempt.hedge
        for one in rivals:
            self.account(one, now_us)
        self.is_done = True
        self.run.result.ttfts_us.append(now_us - self.began_us)

    def end(self, attempt: Attempt, now_us: int) -> None:
        if self.run.live.pop(id(attempt), None) is None:
            return
        assert attempt.first_content_us is not None
        ttft_us = attempt.first_content_us - attempt.started_us
        self.run.router.release(attempt.endpoint.id)
        self.run.router.observe(
            Observation(
                attempt.endpoint.id, CHAT, now_us, Outcome.SUCCESS, ttft_us, now_us - attempt.started_us, 550, 150
            )
        )


class Run:
    """One pool under steady traffic."""

    def __init__(self, world: World, share: float, seed: int, exploration: float, has_clock: bool = True) -> None:
        self.rng = random.Random(f"{seed} {world.name}")
        self.share = share
        self.has_clock = has_clock
        self.budget = HedgeBudget(share)
        self.result = Result()
        self.live: dict[int, Attempt] = {}
        self._world = world
        self._at = {name: self.rng.randrange(len(timed)) for name, timed in world.endpoints.items()}
        self._heap: list[tuple[int, int, Request, Attempt | None, str]] = []
        self._serial = 0
        price = Price.from_usd(1.0, 1.0)
        endpoints = tuple(Endpoint(f"{name}/m", "m", price) for name in world.endpoints)
        pin = () if world.pin is None else (f"{world.pin}/m",)
        catalog = Catalog(endpoints, (ModelRules("m", pin=pin),), Buyer(exploration=exploration))
        self.router = Router(catalog, self.rng)

    def push(self, at_us: int, request: Request, attempt: Attempt | None, what: str) -> None:
        self._serial += 1
        heapq.heappush(self._heap, (at_us, self._serial, request, attempt, what))

    def begin(self, request: Request, attempt: Attempt) -> None:
        """An attempt is on the wire, on a kept connection."""
        name = attempt.endpoint.provider
        timed = self._world.endpoints[name]
        ttft_us, rest_us = timed[self._at[name] % len(timed)]
        self._at[name] += 1
        self.live[id(attempt)] = attempt
        self.router.acquire(attempt.endpoint.id)
        self.result.attempts += 1
        self.result.hedges += attempt.hedge
        request.machine.connected(attempt.started_us, attempt)
        self.push(attempt.started_us + ttft_us, request, attempt, "content")
        self.push(attempt.started_us + ttft_us + rest_us, request, attempt, "end")

    def run(self, requests: int) -> Result:
        now_us = EPOCH_US
        for _ in range(requests):
            now_us += round(self.rng.expovariate(REQUESTS_PER_S) * S)
            self._until(now_us)
            self.budget.requests += 1
            request = Request(self, now_us)
            request.act(request.machine.begin(now_us), now_us)
        self._until(None)
        assert self.result.hedges <= self.share * requests
        return self.result

    def _until(self, until_us: int | None) -> None:
        heap = self._heap
        while heap and (until_us is None or heap[0][0] <= until_us):
            at_us, _, request, attempt, what = heapq.heappop(heap)
            if attempt is None:
                request.look(at_us)
            elif what == "content":
                request.content(attempt, at_us)
            else:
                request.end(attempt, at_us)


def compute_quantile(values: Iterable[int], share: float) -> int:
    """Of values in any order, by rank."""
    order = sorted(values)
    return order[min(len(order) - 1, int(share * len(order)))]


def is_heavy(timed: list[Timed]) -> bool:
    """Whether the slowest in a hundred are another matter than the usual ones."""
    ttfts = [ttft for ttft, _ in timed]
    return compute_quantile(ttfts, 0.99) > HEAVY * compute_quantile(ttfts, 0.5)


def mix(parts: list[list[Timed]], rng: random.Random) -> list[Timed]:
    """An endpoint that is itself a router: each request is served by any of these."""
    rows = [row for part in parts for row in part]
    rng.shuffle(rows)
    return rows


def shuffle(recorded: Recorded) -> Recorded:
    """The same answers in no order: slow ones come alone."""
    rng = random.Random(0)
    return {pair: rng.sample(timed, len(timed)) for pair, timed in sorted(recorded.items())}


def list_worlds(recorded: Recorded) -> Iterator[World]:
    """Pools of four kinds."""
    models = sorted({model for model, _ in recorded})
    for (model, provider), timed in sorted(recorded.items()):
        pool = {other: recorded[model, other] for m, other in sorted(recorded) if m == model}
        yield World(f"{model}; {provider} first, the others behind it", pool, provider, is_heavy(timed))
    for (model, provider), timed in sorted(recorded.items()):
        twins = {f"{provider}-1": timed, f"{provider}-2": timed}
        yield World(f"{model}; {provider} twice", twins, None, is_heavy(timed))
    for model in models:
        mixed = mix([timed for (m, _), timed in sorted(recorded.items()) if m == model], random.Random(model))
        yield World(f"{model}; two that resell all of them", {"x": mixed, "y": mixed}, None, is_heavy(mixed))
    for model in models:
        pool = {provider: timed for (m, provider), timed in sorted(recorded.items()) if m == model}
        yield World(f"{model}; all, by rank", pool)


@dataclass
class Row:
    """One pool's three runs."""

    world: World
    bare: Result = field(default_factory=Result)
    clocked: Result = field(default_factory=Result)
    hedged: Result = field(default_factory=Result)

    @property
    def requests(self) -> int:
        return len(self.hedged.ttfts_us) + self.hedged.failed

    def get_p99s(self) -> tuple[float, float, float]:
        bare, clocked, hedged = (
            compute_quantile(result.ttfts_us, 0.99) / S for result in (self.bare, self.clocked, self.hedged)
        )
        return bare, clocked, hedged

    @property
    def bound(self) -> float:
        """The best anybody could do who acts after the p95 alone: p99 over p95 and the others' median."""
        p95, p99 = (compute_quantile(self.bare.ttfts_us, share) for share in (0.95, 0.99))
        medians = [compute_quantile([t for t, _ in timed], 0.5) for timed in self.world.endpoints.values()]
        return p99 / (p95 + min(medians))

    @property
    def extra(self) -> float:
        return self.hedged.hedges / self.requests

    @property
    def is_met(self) -> bool:
        _, clocked, hedged = self.get_p99s()
        return clocked >= MIN_GAIN * hedged and self.extra <= MAX_EXTRA

    def show(self) -> str:
        p50, p95 = (
            " / ".join(f"{compute_quantile(result.ttfts_us, share) / S:.2f}" for result in self.results)
            for share in (0.5, 0.95)
        )
        bare, clocked, hedged = self.get_p99s()
        won = f"{self.hedged.won / self.hedged.hedges:.0%}" if self.hedged.hedges else "-"
        more = [(result.attempts - self.requests) / self.requests for result in self.results]
        verdict = ("met" if self.is_met else "**not met**") if self.world.is_heavy else ""
        return (
            f"| {self.world.name} | {p50} | {p95} | {bare:.2f} / {clocked:.2f} / {hedged:.2f} | {clocked / hedged:.2f} "
            f"| {bare / hedged:.2f} | {self.bound:.2f} | {self.extra:.2%} | {won} | "
            f"{' / '.join(f'{one:.2%}' for one in more)} | {verdict} |"
        )

    @property
    def results(self) -> tuple[Result, Result, Result]:
        return self.bare, self.clocked, self.hedged


def run_sockets(worlds: Iterable[World], share: float, requests: int) -> int:
    """The first pool over real sockets, without and with hedging."""
    from bench.hedging_sockets import run_pool

    world = next(iter(worlds))
    endpoints = {name: [ttft / S for ttft, _ in timed] for name, timed in world.endpoints.items()}
    print(f"{world.name}, over sockets, {requests} requests, {REQUESTS_PER_S * 4:g} a second")
    for wanted in (0.0, share):
        result = asyncio.run(run_pool(endpoints, world.pin, wanted, requests, REQUESTS_PER_S * 4, seed=0))
        shown = " / ".join(f"{compute_quantile(result.ttfts_us, at) / S:.2f}" for at in (0.5, 0.95, 0.99))
        print(
            f"hedge = {wanted:g}: p50 / p95 / p99 {shown} s; {result.hedges} hedged, {result.won} of them won; "
            f"{result.attempts / requests - 1:.2%} attempts beyond one; {result.cancelled} cancelled on the wire; "
            f"{result.failed} failed",
            flush=True,
        )
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PROVIDERRANK_DATA", DEFAULT_DATA)))
    parser.add_argument("--requests", type=int, default=4_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--share", type=float, default=PARAMS.hedge_share)
    parser.add_argument("--exploration", type=float, default=PARAMS.exploration_floor)
    parser.add_argument("--shuffle", action="store_true", help="slow answers come alone, not in the runs they came in")
    parser.add_argument("--sockets", action="store_true", help="the first pool over real sockets instead")
    parser.add_argument("--only", default="", help="pools whose name has this in it")
    args = parser.parse_args()
    try:
        recorded = load(args.data)
    except FileNotFoundError as error:
        print(f"Nothing to replay: {error}.", file=sys.stderr)
        return 0
    if args.shuffle:
        recorded = shuffle(recorded)
    worlds = [world for world in list_worlds(recorded) if args.only in world.name]
    if args.sockets:
        return run_sockets(worlds, args.share, args.requests)
    print("Each figure: without insurance / with the first-token clock / with clock and hedging. Seconds.\n")
    print(
        "| pool | p50 | p95 | p99 | p99 gain | over none | bound | hedged | of these won | attempts beyond one | bar |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    all_met = True
    for world in worlds:
        row = Row(world)
        for seed in range(args.seeds):
            row.bare.add(Run(world, 0.0, seed, args.exploration, has_clock=False).run(args.requests))
            row.clocked.add(Run(world, 0.0, seed, args.exploration).run(args.requests))
            row.hedged.add(Run(world, args.share, seed, args.exploration).run(args.requests))
        print(row.show(), flush=True)
        all_met &= row.is_met or not world.is_heavy
    return 0 if all_met else 1


if __name__ == "__main__":
    raise SystemExit(main())
