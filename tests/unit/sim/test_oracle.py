from __future__ import annotations

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.cells import Price
from providerrank.sim.oracle import (
    Oracle,
    compute_best_order,
    compute_expected_value,
    compute_ttft_score,
    compute_value,
)
from providerrank.sim.worlds import Steps, Track, Ttft, World

SHARES = st.floats(0.0, 1.0)
ENDPOINTS = st.lists(st.tuples(SHARES, st.floats(0.36, 1.0)), min_size=1, max_size=5)


@given(ENDPOINTS)
def test_no_order_of_any_subset_is_worth_more_than_the_best_order(endpoints: list[tuple[float, float]]) -> None:
    success = [p for p, _ in endpoints]
    values = [v for _, v in endpoints]
    best = compute_expected_value(compute_best_order(success, values), success, values)
    for size in range(1, len(endpoints) + 1):
        for order in itertools.permutations(range(len(endpoints)), size):
            assert compute_expected_value(order, success, values) <= best + 1e-9


def test_a_reliable_endpoint_goes_before_a_slightly_better_one_that_fails() -> None:
    assert compute_best_order([0.8, 1.0], [0.92, 0.90])[0] == 1
    assert compute_best_order([0.99, 1.0], [0.92, 0.90])[0] == 0


def test_trying_stops_where_it_costs_more_than_it_brings() -> None:
    assert compute_best_order([1.0, 0.2], [0.9, 0.9]) == (0,)


def test_one_attempt_is_made_even_where_none_is_worth_it() -> None:
    assert compute_best_order([0.1, 0.2], [0.9, 0.9]) == (1,)


def test_the_expected_value_is_the_mean_of_what_is_drawn() -> None:
    success, values, order = [0.5, 0.7, 0.9], [0.9, 0.8, 0.6], [1, 0, 2]
    rng, total, count = random.Random(1), 0.0, 100_000
    for _ in range(count):
        for attempts, i in enumerate(order):
            total -= 0.24 if attempts else 0.0
            if rng.random() < success[i]:
                total += values[i]
                break
    assert total / count == pytest.approx(compute_expected_value(order, success, values), abs=0.005)


def test_value_of_a_request_is_the_composite_as_realised() -> None:
    assert compute_value(compute_ttft_score(0.2), 0.0) == pytest.approx(1.0)
    assert compute_value(compute_ttft_score(0.6), 0.5) == pytest.approx(0.6 * (0.4 * 0.5 + 0.6) + 0.4 * 0.75)
    assert compute_value(0.0, 1.0) == pytest.approx(0.36)


def test_an_endpoint_above_the_cap_is_in_nobodys_pool() -> None:
    cheap, dear = Price.from_usd(1.0, 1.0), Price.from_usd(3.0, 3.0)
    world = World(
        "cap",
        "test",
        "m",
        2.0,
        (
            Track("slow/m", Steps.constant(1.0), Steps.constant(cheap), Ttft(3.0, 0.1)),
            Track("fast/m", Steps.constant(1.0), Steps((0.0, 1.0), (dear, cheap)), Ttft(0.1, 0.1)),
        ),
        cap=Price.from_usd(2.0, 2.0),
    )
    oracle = Oracle(world)
    assert oracle.moment(0.5).order == (0,)
    assert oracle.moment(1.5).order[0] == 1
