"""How long one Yuma epoch takes: 256 miners weighted by 64 validators, every weight set. Bar: 100 ms.

python -m bench.yuma
"""

from __future__ import annotations

import random
import statistics
import time

from providerrank.rules import yuma

MINERS, VALIDATORS, ROUNDS, BAR_MS = 256, 64, 15, 100.0


def make_subnet(seed: int) -> yuma.Subnet:
    rng = random.Random(seed)
    n = MINERS + VALIDATORS
    miners = range(VALIDATORS, n)
    return yuma.Subnet(
        block=1_000,
        stake=[rng.randrange(1, 10**12) if uid < VALIDATORS else 0 for uid in range(n)],
        last_update=[900] * n,
        registered_at=[0] * n,
        permits=[uid < VALIDATORS for uid in range(n)],
        weights={uid: [(miner, rng.randrange(65_536)) for miner in miners] for uid in range(VALIDATORS)},
        bonds={uid: [(miner, rng.randrange(65_536)) for miner in miners] for uid in range(VALIDATORS)},
    )


def measure(settings: yuma.Settings) -> float:
    spent = []
    for seed in range(ROUNDS):
        subnet = make_subnet(seed)
        begun = time.perf_counter()
        yuma.compute_epoch(subnet, 10**9, settings)
        spent.append(1_000 * (time.perf_counter() - begun))
    return statistics.median(spent)


def main() -> None:
    for name, settings in (
        ("original bonds (the chain's default)", yuma.Settings()),
        ("Yuma 3", yuma.Settings(yuma3=True)),
        ("Yuma 3, liquid alpha", yuma.Settings(yuma3=True, liquid_alpha=True)),
    ):
        spent = measure(settings)
        print(f"{MINERS} miners x {VALIDATORS} validators, {name}: {spent:.1f} ms (bar {BAR_MS:.0f} ms)")


if __name__ == "__main__":
    main()
