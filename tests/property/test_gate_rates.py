"""The gate's stated error rates, by a simulation short enough for every run. The long one is bench/gate.py."""

from __future__ import annotations

import pytest

from providerrank.rules.replay_test import Decision
from providerrank.sim.gate_world import Miner, World


def count(miner: Miner, *, worlds: int, bundles: int, providers: int = 20, seed: int = 0) -> tuple[float, float]:
    """Share tripped, and mean replays."""
    trips = replays = 0
    for i in range(worlds):
        world = World(seed + i, providers)
        for _ in range(bundles):
            decision, test = world.judge(miner)
            trips += decision is Decision.TRIP
            replays += test.replays
    return trips / (worlds * bundles), replays / (worlds * bundles)


@pytest.mark.parametrize("vantage", [0.7, 1.0, 1.3])
def test_honest_miners_at_any_vantage_point_pass(vantage: float) -> None:
    # At the stated rate of one in a thousand, no trip in a hundred and twenty has chance 0.89; two have 0.006.
    rate, replays = count(Miner(vantage=vantage, records=40), worlds=20, bundles=6)
    assert rate <= 1 / 120
    assert replays <= 60


@pytest.mark.parametrize(
    ("miner", "least"),
    [
        (Miner(understates=2.0, records=40), 0.95),
        (Miner(invents=1.0, records=40), 0.99),
        # Stated 0.95; of 60, 52 or fewer would have chance 0.01.
        (Miner(hides=0.1, records=100), 0.87),
        (Miner(hides_violations=0.1, records=100), 0.87),
    ],
)
def test_cheats_are_caught_within_a_hundred_replays(miner: Miner, least: float) -> None:
    rate, replays = count(miner, worlds=20, bundles=3, seed=100)
    assert rate >= least
    assert replays <= 60


def test_evidence_against_a_small_bundle_adds_up_over_epochs() -> None:
    caught = 0
    for i in range(12):
        world = World(200 + i, providers=1)
        carried = None
        for _ in range(6):
            decision, test = world.judge(Miner(understates=3.0, records=60), carried)
            carried = test.get_carried()
            if decision is Decision.TRIP:
                caught += 1
                break
    assert caught >= 8, "some endpoints are too noisy ever to tell"
