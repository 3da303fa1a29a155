from __future__ import annotations

import random

from providerrank.sim.constructed import build_long_outage, build_price_changes
from providerrank.sim.oracle import Oracle
from providerrank.sim.policies import Random
from providerrank.sim.routed import Routed
from providerrank.sim.virtual import run


def test_the_router_lives_through_an_outage_of_the_best_and_serves_everybody() -> None:
    oracle = Oracle(build_long_outage(7, hours=30.0))
    score = run(oracle, Routed(oracle.world, random.Random(1)), seed=7)
    assert score.success_share == 1.0
    assert score.regret < run(oracle, Random(oracle.world, random.Random(1)), seed=7).regret / 2


def test_new_prices_move_traffic() -> None:
    oracle = Oracle(build_price_changes(7, hours=24.0))
    score = run(oracle, Routed(oracle.world, random.Random(1)), seed=7)
    assert score.success_share == 1.0
    assert score.regret < 0.10


def test_the_same_seed_gives_the_same_walk() -> None:
    oracle = Oracle(build_long_outage(8, hours=6.0))
    first, second = (run(oracle, Routed(oracle.world, random.Random(2)), seed=8) for _ in range(2))
    assert first == second
