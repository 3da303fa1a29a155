from __future__ import annotations

import random

import pytest

from providerrank.rules.cells import Price
from providerrank.sim.constructed import build_all_fail, build_price_changes
from providerrank.sim.oracle import Oracle
from providerrank.sim.policies import Baseline, Cheapest, Halving, Hindsight, LatencyFirst, Perfect, Random, RoundRobin
from providerrank.sim.virtual import Policy, run
from providerrank.sim.worlds import Steps, Track, Ttft, World


def make_world(*shares: float) -> World:
    tracks = tuple(
        Track(f"p{i}/m", Steps.constant(share), Steps.constant(Price.from_usd(1.0 + i, 1.0 + i)), Ttft(0.2, 0.1))
        for i, share in enumerate(shares)
    )
    return World("test", "test", "m", 1.0, tracks, Price.from_usd(10.0, 10.0))


def test_an_hour_of_record_is_a_hundred_requests() -> None:
    oracle = Oracle(make_world(1.0, 1.0))
    score = run(oracle, Cheapest(oracle.world, random.Random(1)), seed=1)
    assert (score.requests, score.successes, score.extra_attempts) == (100, 100, 0)
    assert score.regret == pytest.approx(0.0)


def test_a_failed_attempt_goes_on_and_costs() -> None:
    oracle = Oracle(make_world(0.0, 1.0))
    score = run(oracle, Cheapest(oracle.world, random.Random(1)), seed=1)
    assert score.successes == 100
    assert score.extra_attempts == 100
    assert score.served == {1: 100}
    assert score.oracle_value - score.value == pytest.approx(24.0)
    assert score.choice_loss == pytest.approx(24.0)


def test_where_all_fail_nobody_is_served() -> None:
    oracle = Oracle(make_world(0.0, 0.0))
    score = run(oracle, Cheapest(oracle.world, random.Random(1)), seed=1)
    assert score.successes == 0
    assert score.success_share == 0.0


def test_the_oracles_own_order_has_next_to_no_regret() -> None:
    oracle = Oracle(build_all_fail(1, hours=6.0))
    score = run(oracle, Perfect(oracle, random.Random(1)), seed=1)
    assert abs(score.regret) < 0.004


@pytest.mark.parametrize("policy", [Random, RoundRobin, Cheapest, LatencyFirst, Halving])
def test_every_baseline_lives_through_a_world_of_price_changes(policy: type[Baseline]) -> None:
    oracle = Oracle(build_price_changes(1, hours=12.0))
    score = run(oracle, policy(oracle.world, random.Random(1)), seed=1)
    assert score.requests == 1200
    assert score.success_share > 0.99
    assert score.regret > -0.01


def test_hindsight_beats_chance() -> None:
    oracle = Oracle(build_all_fail(2, hours=6.0))
    told: Policy = Hindsight(oracle, random.Random(1))
    assert run(oracle, told, seed=1).value > run(oracle, Random(oracle.world, random.Random(1)), seed=1).value


def test_the_same_seed_gives_the_same_run() -> None:
    oracle = Oracle(make_world(0.7, 0.9))
    runs = [run(oracle, Cheapest(oracle.world, random.Random(1)), seed=seed) for seed in (5, 5, 6)]
    assert runs[0] == runs[1]
    assert runs[0].value != runs[2].value


def test_a_first_token_past_the_clock_fails_unless_it_is_the_last() -> None:
    class Hasty(Cheapest):
        def first_token_us(self, endpoint: int) -> int | None:
            return 1_000

    oracle = Oracle(make_world(1.0, 1.0))
    score = run(oracle, Hasty(oracle.world, random.Random(1)), seed=1)
    assert score.successes == 100
    assert score.served == {1: 100}


def test_runs_of_one_world_pool() -> None:
    oracle = Oracle(make_world(0.7, 0.9))
    first = run(oracle, Cheapest(oracle.world, random.Random(1)), seed=1)
    total = run(oracle, Cheapest(oracle.world, random.Random(1)), seed=1)
    total.add(first)
    assert total.requests == 200
    assert total.regret == pytest.approx(first.regret)
