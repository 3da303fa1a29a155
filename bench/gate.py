"""The gate's error rates, by simulation: honest miners that trip, cheats that do not, and replays per verdict.

    python -m bench.gate --write      # into bench/RESULTS-gate.md

Worlds of `providerrank.sim.gate_world`. Where the recorded requests of llmperf_leaderboard are at hand
(``../shared/data`` beside the repository, or PROVIDERRANK_DATA) the noise of endpoints is theirs.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import statistics
import time
from collections import Counter, defaultdict
from pathlib import Path

from providerrank.rules.gate import compute_openings
from providerrank.rules.replay_test import Decision
from providerrank.sim.gate_world import Miner, World

HERE = Path(__file__).parent
DATA = Path(os.environ.get("PROVIDERRANK_DATA", HERE.parents[1] / "shared" / "data"))

HONEST = [
    ("honest, same vantage point", Miner(records=60), 20, 1_600),
    ("honest, 30 % nearer", Miner(vantage=0.7, records=60), 20, 1_600),
    ("honest, 30 % farther", Miner(vantage=1.3, records=60), 20, 800),
    ("honest, 30 % nearer", Miner(vantage=0.7, records=60), 6, 3_000),
    ("honest, 30 % nearer", Miner(vantage=0.7, records=60), 3, 4_000),
    ("honest, 30 % nearer", Miner(vantage=0.7, records=60), 1, 2_000),
]
CHEATS = [
    ("latency halved", Miner(understates=2.0, records=60), 20, 400),
    ("latency halved, 30 % nearer", Miner(vantage=0.7, understates=2.0, records=60), 20, 200),
    ("latency halved, 30 % farther", Miner(vantage=1.3, understates=2.0, records=60), 20, 200),
    ("latency halved", Miner(understates=2.0, records=60), 8, 400),
    ("latency a third", Miner(understates=3.0, records=60), 20, 200),
    ("latency / 1.25", Miner(understates=1.25, records=60), 20, 200),
    ("10 points of failures hidden", Miner(hides=0.1, records=100), 20, 800),
    ("10 points of failures hidden", Miner(hides=0.1, records=100), 8, 400),
    ("10 points of failures hidden, 25 records a provider", Miner(hides=0.1, records=25), 20, 400),
    ("20 points of failures hidden", Miner(hides=0.2, records=100), 20, 200),
    ("10 points of failed checks hidden", Miner(hides_violations=0.1, records=100), 20, 800),
    ("all answers from elsewhere", Miner(invents=1.0, records=60), 20, 200),
    ("20 % of answers from elsewhere", Miner(invents=0.2, records=60), 20, 200),
]


def read_residuals() -> list[list[float]]:
    """Log TTFT of each recorded endpoint's successes, less its median; none where the data is absent."""
    path = DATA / "llmperf_leaderboard" / "requests.csv"
    if not path.exists():
        return []
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    with path.open() as lines:
        for row in csv.DictReader(lines):
            if row["ttft_s"] and not row["error_code"]:
                times[row["provider"], row["model"]].append(math.log(max(float(row["ttft_s"]), 1e-3)))
    return [[x - statistics.median(v) for x in v] for v in times.values() if len(v) >= 50]


def measure(miner: Miner, providers: int, bundles: int, residuals: list[list[float]], seed: int) -> tuple[int, float]:
    """Trips, and mean replays to the verdict."""
    worlds = max(20, bundles // 40)
    trips, replays = Counter[Decision](), 0
    for i in range(worlds):
        world = World(seed + i, providers, residuals=residuals)
        for _ in range(bundles // worlds):
            decision, test = world.judge(miner)
            trips[decision] += 1
            replays += test.replays
    return trips[Decision.TRIP], replays / trips.total()


def measure_carried(providers: int, worlds: int, epochs: int, residuals: list[list[float]]) -> str:
    """Honest hotkeys over many epochs, wealth carried from one to the next and forgotten by a trip."""
    trips = 0
    for i in range(worlds):
        world, carried = World(70_000 + i, providers, residuals=residuals), None
        for _ in range(epochs):
            decision, test = world.judge(Miner(vantage=0.7, records=60), carried)
            carried = test.get_carried()
            if decision is Decision.TRIP:
                trips, carried = trips + 1, None
    return (
        f"Wealth carried: {worlds} honest hotkeys (30 % nearer, {providers} providers) over {epochs} epochs each: "
        f"{trips} of {worlds * epochs} bundles tripped."
    )


def format_rate(trips: int, bundles: int) -> str:
    """A rate with its 95 % interval's upper end where nothing, or little, was seen (Wilson)."""
    rate, z = trips / bundles, 1.96
    middle = (rate + z * z / (2 * bundles)) / (1 + z * z / bundles)
    half = z * math.sqrt(rate * (1 - rate) / bundles + z * z / (4 * bundles * bundles)) / (1 + z * z / bundles)
    return f"{rate:.4f} | {max(0.0, middle - half):.4f} to {middle + half:.4f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="into bench/RESULTS-gate.md")
    parser.add_argument("--share", type=float, default=1.0, help="of the bundles")
    options = parser.parse_args()
    begun, residuals = time.time(), read_residuals()
    lines = [
        "# Gate: error rates measured",
        "",
        "`python -m bench.gate --write`. Each bundle is judged by the rules themselves, replay by replay, at most 100;",
        "a replay is doubled: one measurement during the epoch, which serves all bundles, and one after it.",
        f"Noise of endpoints: {'recorded (llmperf_leaderboard)' if residuals else 'fitted normal'}.",
        "",
        "| miner | providers | bundles | tripped | 95 % interval | mean replays |",
        "|---|---|---|---|---|---|",
    ]  # fmt: skip
    honest_trips = honest_bundles = 0
    for i, (name, miner, providers, bundles) in enumerate(HONEST + CHEATS):
        count = max(40, round(bundles * options.share))
        count -= count % max(20, count // 40)
        trips, replays = measure(miner, providers, count, residuals, seed=10_000 * i)
        if i < len(HONEST):
            honest_trips += trips
            honest_bundles += count
        lines.append(f"| {name} | {providers} | {count} | {format_rate(trips, count)} | {replays:.0f} |")
        print(lines[-1], flush=True)
    leaves = compute_openings()
    carried = [measure_carried(n, round(80 * options.share), 40, residuals) for n in (3, 8)]
    print(*carried, sep="\n")
    lines += [
        "",
        f"Honest bundles altogether: {honest_trips} of {honest_bundles} tripped "
        f"(rate and 95 % interval: {format_rate(honest_trips, honest_bundles)}).".replace(" | ", ", "),
        "",
        *carried,
        "",
        f"Integrity, exact: {leaves} leaves opened catch 5 % of leaves that cannot be opened truly with chance "
        f"{1 - 0.95**leaves:.3f}; a stale replay (another epoch's prompt) is such a leaf, and a wholly stale "
        "bundle falls with the first.",
        "",
        f"{time.time() - begun:.0f} s on one core.",
    ]
    if options.write:
        (HERE / "RESULTS-gate.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
