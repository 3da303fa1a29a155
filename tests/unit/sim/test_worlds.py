from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.cells import Price
from providerrank.sim.constructed import BUILDERS, during
from providerrank.sim.oracle import Oracle, compute_ttft_score
from providerrank.sim.worlds import Steps, Track, Ttft, World, compute_cap


def test_a_step_holds_until_the_next() -> None:
    steps = Steps((1.0, 2.0), ("a", "b"))
    assert [steps.at(hour) for hour in (0.0, 1.0, 1.9, 2.0, 9.0)] == ["a", "a", "a", "b", "b"]


def test_steps_out_of_order_are_refused() -> None:
    with pytest.raises(ValueError, match="in order"):
        Steps((2.0, 1.0), (1, 2))
    with pytest.raises(ValueError, match="at least one"):
        Steps[int]((), ())


def test_an_outage_is_laid_over_what_was_there() -> None:
    steps = during(Steps((0.0, 3.0, 5.0), (1.0, 0.8, 0.9)), 2.0, 4.0, 0.0)
    assert [steps.at(hour) for hour in (1.0, 2.0, 3.5, 4.0, 5.0)] == [1.0, 0.0, 0.0, 0.8, 0.9]


@pytest.mark.parametrize(
    ("ttft", "factor"),
    [(Ttft(0.3, 0.3), 1.0), (Ttft(0.2, 0.1), 1.2), (Ttft(0.6, 0.5, 0.09), 1.0), (Ttft(0.1, 0.0), 1.0)],
)
def test_the_expected_score_is_the_mean_of_what_is_drawn(ttft: Ttft, factor: float) -> None:
    rng, count = random.Random(2), 40_000
    mean = sum(compute_ttft_score(ttft.quantile_s(rng.random(), factor)) for _ in range(count)) / count
    assert ttft.expected_score(factor) == pytest.approx(mean, abs=0.006)


@given(st.floats(0.0, 1.0, exclude_max=True), st.floats(0.05, 4.0), st.floats(0.0, 0.6), st.floats(0.0, 0.2))
def test_any_draw_gives_a_ttft(u: float, median_s: float, sigma: float, tail: float) -> None:
    assert 0.0 < Ttft(median_s, sigma, tail).quantile_s(u) <= 60.0


def test_the_cap_follows_the_median_price() -> None:
    prices = [Price.from_usd(1.0, 2.0), Price.from_usd(2.0, 4.0), Price.from_usd(9.0, 9.0)]
    assert compute_cap(prices) == Price.from_usd(3.0, 6.0)


def test_a_world_refuses_a_name_twice() -> None:
    track = Track("a/m", Steps.constant(1.0), Steps.constant(Price(1, 1)), Ttft(0.3, 0.1))
    with pytest.raises(ValueError, match="twice"):
        World("w", "test", "m", 1.0, (track, track), Price(2, 2))
    with pytest.raises(ValueError, match="no endpoints"):
        World("w", "test", "m", 1.0, (), Price(2, 2))


@pytest.mark.parametrize("builder", BUILDERS)
def test_a_built_world_depends_on_its_seed_alone_and_can_be_lived_in(builder: object) -> None:
    assert callable(builder)
    world = builder(3)
    assert isinstance(world, World)
    assert world == builder(3)
    assert world != builder(4)
    oracle = Oracle(world)
    for hour in range(int(world.hours)):
        moment = oracle.moment(hour + 0.5)
        assert all(0.0 <= p <= 1.0 for p in moment.success)
        assert moment.value > 0.3
