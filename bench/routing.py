"""How close routing comes to an oracle: `make bench-routing`, or `python -m bench.routing --help`."""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from providerrank.rules.params import PARAMS, Params
from providerrank.sim import policies
from providerrank.sim.constructed import BUILDERS
from providerrank.sim.oracle import Oracle
from providerrank.sim.recorded import Recorded
from providerrank.sim.routed import Routed
from providerrank.sim.virtual import Policy, Score, run
from providerrank.sim.worlds import World

ROOT = Path(__file__).resolve().parent.parent
DEFAULT_DATA = ROOT.parent / "shared" / "data"

STARTS = ("07-06", "07-10", "07-18", "07-22", "07-26", "07-30", "08-03", "08-07")
"""First days of the three-day stretches of record, on either side of the gap of July 15 to 17."""
STRETCH_HOURS = 72.0
TUNING_MODELS = ("deepseek/deepseek-v3.2", "meta-llama/llama-3.3-70b-instruct", "openai/gpt-oss-120b")
TUNING_STARTS = ("07-06", "07-18", "07-26", "08-03")
"""Parameters were chosen on these models in these stretches only, and on built worlds of seeds from 1000 on;
every other stretch and model, and built worlds of seeds below 1000, judge."""

MAX_MEAN_REGRET = 0.03
MAX_WORLD_REGRET = 0.05
MIN_SUCCESS = 0.9995

SOCKET_HOURS = 12.0
"""Of each world, over sockets, where the command does not say: two minutes of real time."""


@dataclass(frozen=True)
class Job:
    """One world instance, by name, so that a worker process can build it."""

    kind: str
    key: str
    start: str
    seed: int
    is_for_tuning: bool


def list_jobs(recorded: Recorded | None, seeds: int, split: str) -> list[Job]:
    jobs = []
    if recorded is not None:
        for model in recorded.models:
            for place, start in enumerate(STARTS):
                tuning = model in TUNING_MODELS and start in TUNING_STARTS
                jobs += [Job("recorded", model, start, 100 * place + seed, tuning) for seed in range(seeds)]
    for builder in BUILDERS:
        jobs += [Job("built", builder.__name__, "", seed, False) for seed in range(seeds)]
        jobs += [Job("built", builder.__name__, "", 1000 + seed, True) for seed in range(seeds) if split == "tune"]
    return [job for job in jobs if split == "all" or job.is_for_tuning == (split == "tune")]


_loaded: dict[Path, Recorded] = {}


def load(data: Path) -> Recorded | None:
    if data not in _loaded:
        try:
            _loaded[data] = Recorded(data)
        except FileNotFoundError as error:
            print(f"Recorded worlds are skipped, built ones run: {error}.", file=sys.stderr)
            return None
    return _loaded[data]


def build(job: Job, data: Path) -> World:
    if job.kind == "built":
        return next(builder for builder in BUILDERS if builder.__name__ == job.key)(job.seed)
    recorded = load(data)
    assert recorded is not None
    start = datetime.fromisoformat(f"2026-{job.start}").replace(tzinfo=UTC)
    return recorded.world(job.key, start, STRETCH_HOURS, seed=job.seed, is_for_tuning=job.is_for_tuning)


POLICIES: dict[str, Callable[[Oracle, random.Random, Params], Policy]] = {
    "providerrank": lambda oracle, rng, params: Routed(oracle.world, rng, params),
    "perfect": lambda oracle, rng, _: policies.Perfect(oracle, rng),
    "static (hindsight)": lambda oracle, rng, _: policies.Hindsight(oracle, rng),
    "halving": lambda oracle, rng, _: policies.Halving(oracle.world, rng),
    "latency first": lambda oracle, rng, _: policies.LatencyFirst(oracle.world, rng),
    "cheapest": lambda oracle, rng, _: policies.Cheapest(oracle.world, rng),
    "round robin": lambda oracle, rng, _: policies.RoundRobin(oracle.world, rng),
    "random": lambda oracle, rng, _: policies.Random(oracle.world, rng),
}


@dataclass(frozen=True)
class Result:
    world: str
    endpoints: list[str]
    scores: dict[str, Score]


def work(args: tuple[Job, Path, list[str], Params, float | None, bool]) -> Result:
    job, data, names, params, hours, over_sockets = args
    world = build(job, data)
    oracle = Oracle(world)
    scores = {}
    if over_sockets:
        from bench.routing_sockets import run as run_over_sockets

        scores["over sockets"] = run_over_sockets(oracle, params, job.seed, hours or SOCKET_HOURS)
        hours = hours or SOCKET_HOURS
    for name in names:
        policy = POLICIES[name](oracle, random.Random(f"{name} {job.seed}"), params)
        scores[name] = run(oracle, policy, job.seed, hours)
    return Result(world.name, [track.endpoint_id for track in world.tracks], scores)


def parse_params(changes: list[str]) -> Params:
    params = PARAMS
    for change in changes:
        name, _, value = change.partition("=")
        old = getattr(params, name)
        params = replace(params, **{name: type(old)(float(value))})
    return params


def pooled(results: list[Result]) -> Iterator[tuple[str, list[Result], dict[str, Score]]]:
    by_world: dict[str, list[Result]] = {}
    for result in results:
        by_world.setdefault(result.world, []).append(result)
    for world, group in by_world.items():
        total: dict[str, Score] = {}
        for result in group:
            for name, score in result.scores.items():
                total.setdefault(name, Score()).add(score)
        yield world, group, total


def report(results: list[Result], names: list[str], shares: bool) -> bool:
    ours = names[0]
    others = names[1:]
    print(f"| world | regret | worst seed | success | extra | oracle's extra | {' | '.join(others)} |")
    print("|" + "---|" * (6 + len(others)))
    means: dict[str, list[float]] = {name: [] for name in names}
    worst, least = ("", 0.0), 1.0
    for world, group, total in pooled(results):
        mine = total[ours]
        for name in names:
            means[name].append(total[name].regret)
        worst = max(worst, (world, mine.regret), key=lambda item: item[1])
        least = min(least, mine.success_share)
        # Over sockets the oracle makes no attempts: its value is an expectation.
        oracle_extra = f"{mine.oracle_extra_attempts / mine.requests:.4f}" if mine.oracle_successes else "-"
        per_seed = max(result.scores[ours].regret for result in group)
        print(
            f"| {world} | {mine.regret:.2%} | {per_seed:.2%} | {mine.success_share:.3%} | {mine.extra_per_request:.4f} "
            f"| {oracle_extra} | " + " | ".join(f"{total[name].regret:.1%}" for name in others) + " |"
        )
        if shares:
            for result in group:
                score = result.scores[ours]
                parts = [
                    f"{result.endpoints[i].partition('/')[0]} {score.first[i] / score.requests:.1%} "
                    f"(oracle {score.best[i] / score.requests:.1%})"
                    for i, _ in (score.first | score.best).most_common(8)
                ]
                print(f"|   | choice {score.choice_loss / score.oracle_value:.2%} | " + ", ".join(parts) + " |")
    for label, fold in (("mean", mean), ("worst", max)):
        cells = " | ".join(f"{fold(means[name]):.1%}" for name in others)
        success = f"{least:.3%}" if fold is max else ""
        print(f"| **{label}** | **{fold(means[ours]):.2%}** | | {success} | | | {cells} |")
    is_met = mean(means[ours]) <= MAX_MEAN_REGRET and worst[1] <= MAX_WORLD_REGRET and least >= MIN_SUCCESS
    print(
        f"\nBars (mean regret <= {MAX_MEAN_REGRET:.0%}, any world <= {MAX_WORLD_REGRET:.0%}, "
        f"success >= {MIN_SUCCESS:.2%}): {'met' if is_met else 'NOT met'}; worst world: {worst[0]}, {worst[1]:.2%}."
    )
    return is_met


def mean(values: list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--virtual", action="store_true", help="in virtual time (the default)")
    kind.add_argument(
        "--sockets", action="store_true", help="the gateway over real sockets, in real time: 10 s an hour"
    )
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("PROVIDERRANK_DATA", DEFAULT_DATA)))
    parser.add_argument("--split", choices=["tune", "verify", "all"], default="verify")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--hours", type=float, default=None, help="only the first hours of each world")
    parser.add_argument("--world", default="", help="only these: parts of builder, model or start, comma-separated")
    parser.add_argument("--policies", default=",".join(POLICIES), help="the first is the one judged")
    parser.add_argument(
        "--set", action="append", default=[], metavar="PARAM=VALUE", help="run with a changed parameter"
    )
    parser.add_argument("--shares", action="store_true", help="also where requests went, per seed")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    names = args.policies.split(",")
    params = parse_params(args.set)
    began = time.perf_counter()
    jobs = list_jobs(load(args.data), args.seeds, args.split)
    if args.world:
        jobs = [job for job in jobs if any(part in f"{job.key} {job.start}" for part in args.world.split(","))]
    work_items = [(job, args.data, names, params, args.hours, args.sockets) for job in jobs]
    if args.sockets:
        names = ["over sockets", *names]
    with ProcessPoolExecutor(args.jobs) as pool:
        results = list(pool.map(work, work_items, chunksize=1))
    is_met = report(results, names, args.shares)
    requests = sum(result.scores[names[0]].requests for result in results)
    print(f"{len(results)} runs of {len(jobs)} worlds, {requests:,} requests, {time.perf_counter() - began:.0f} s.")
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
