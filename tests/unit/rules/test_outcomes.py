"""Losses of quantile forecasts, counted quickly: the same as the definition, sum by sum."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.observation import Outcome
from providerrank.rules.outcomes import Outcomes, Sample, Spread, compute_brier
from providerrank.rules.records import PPM, QUANTILES_PPM

Z = (-1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449)
"""Standard normal quantiles at the forecast's levels."""
microlog = st.integers(0, 40_000_000)


def compute_by_definition(quantiles: list[int], values: list[int]) -> float:
    total = 0.0
    for value in values:
        for level, quantile in zip(QUANTILES_PPM, quantiles, strict=True):
            error = value - quantile
            total += error * level if error >= 0 else -error * (PPM - level)
    return 2 * total / len(values) / len(QUANTILES_PPM) / PPM / 1e6


@given(values=st.lists(microlog, min_size=1, max_size=40), quantiles=st.lists(microlog, min_size=6, max_size=6))
def test_it_is_the_definition(values: list[int], quantiles: list[int]) -> None:
    found = Spread.sort(values).compute_pinball(sorted(quantiles))
    assert found == pytest.approx(compute_by_definition(sorted(quantiles), values), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("level", range(6))
def test_each_quantile_by_itself_is_best_where_it_belongs(level: int) -> None:
    rng = random.Random(level)
    outcomes = Spread.sort(round(1e6 * rng.gauss(0, 1)) for _ in range(4_000))

    def compute_mean(shift: float) -> float:
        quantiles = [round(1e6 * z) for z in Z]
        quantiles[level] += round(1e6 * shift)
        return outcomes.compute_pinball(quantiles)

    assert compute_mean(0.0) < min(compute_mean(-0.25), compute_mean(0.25))


def test_pinball_is_about_the_crps() -> None:
    # Of a standard normal forecast at its own mean: CRPS = 2 * phi(0) - 1 / sqrt(pi) = 0.2337.
    at_the_mean = Spread.sort([0]).compute_pinball([round(1e6 * z) for z in Z])
    assert at_the_mean == pytest.approx(0.2337, abs=0.1)
    assert Spread.sort([500_000]).compute_pinball([500_000] * 6) == 0.0
    assert Spread.sort([1_000_000]).compute_pinball([0] * 6) == pytest.approx(2 * sum(QUANTILES_PPM) / 6 / PPM)
    assert Spread.sort([]).compute_pinball([0] * 6) == 0.0


def test_samples_are_counted_by_what_became_of_them() -> None:
    seen = Outcomes.count(
        [
            Sample(Outcome.SUCCESS, 1_000, 2_000),
            Sample(Outcome.SUCCESS, None, None),
            Sample(Outcome.SCHEMA_VIOLATION, 500, 900),
            Sample(Outcome.FAILURE, None, None),
        ]
    )
    assert (seen.requests, seen.completed, seen.passed) == (4, 3, 2)
    assert len(seen.ttft.values) == len(seen.total.values) == 2
    assert list(seen.ttft.values) == sorted(seen.ttft.values)


def test_brier_is_the_mean_square_of_what_was_missed() -> None:
    assert compute_brier(900_000, 9, 10) == pytest.approx((9 * 0.01 + 0.81) / 10)
    assert compute_brier(0, 0, 0) == 0.0
