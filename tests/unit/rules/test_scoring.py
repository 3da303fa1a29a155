"""Scores: their bounds, what moves them which way, and that the truth as one believes it pays best."""

from __future__ import annotations

import math
import random
import statistics
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules import scoring
from providerrank.rules.cells import Cell
from providerrank.rules.market_params import MARKET
from providerrank.rules.observation import Outcome
from providerrank.rules.outcomes import Outcomes, Sample
from providerrank.rules.records import PPM, Forecast, Record, Route, Signal, compute_microlog
from providerrank.rules.scoring import Gain

CELL = Cell("p/m", "chat")
Z = (-1.2816, -0.6745, 0.0, 0.6745, 1.2816, 1.6449)
"""Standard normal quantiles at the forecast's levels."""


def make_forecast(mean: float, sd: float, success: float = 0.97, schema: float = 0.95, **changes: Any) -> Forecast:
    ttft = tuple(round(1e6 * (mean + sd * z)) for z in Z)
    total = tuple(round(1e6 * (mean + 1.0 + sd * z)) for z in Z)
    forecast = Forecast(CELL, ttft, total, round(PPM * success), round(PPM * schema))
    return replace(forecast, **changes)


def draw_samples(
    rng: random.Random, mean: float, sd: float, success: float = 0.97, schema: float = 0.95, *, count: int = 30
) -> list[Sample]:
    samples = []
    for _ in range(count):
        if rng.random() >= success:
            samples.append(Sample(Outcome.FAILURE, None, None))
            continue
        status = Outcome.SUCCESS if rng.random() < schema else Outcome.SCHEMA_VIOLATION
        ttft_us = round(math.exp(rng.gauss(mean, sd)))
        samples.append(Sample(status, ttft_us, round(math.exp(rng.gauss(mean + 1.0, sd)))))
    return samples


MEAN, SD = math.log(500_000), 0.3
TRUTH = make_forecast(MEAN, SD)
BASELINE = make_forecast(MEAN + 0.35, 0.6, 0.9, 0.8)


def compute_gain(forecast: Forecast, baseline: Forecast, samples: list[Sample]) -> float:
    seen = Outcomes.count(samples)
    own, public = scoring.compute_loss(forecast, seen), scoring.compute_loss(baseline, seen)
    return scoring.compute_gain({CELL: own}, {CELL: (public,)}, {CELL: 1.0}).share


def compute_expected_gain(forecast: Forecast, rounds: int = 150) -> float:
    """Over the same outcomes for every forecast."""
    rng = random.Random(7)
    draws = (draw_samples(rng, MEAN, SD) for _ in range(rounds))
    return sum(compute_gain(forecast, BASELINE, samples) for samples in draws) / rounds


@pytest.mark.parametrize(
    ("lie", "why"),
    [
        (make_forecast(MEAN - 0.2, SD), "faster than believed"),
        (make_forecast(MEAN + 0.2, SD), "slower"),
        (make_forecast(MEAN, 0.15), "surer"),
        (make_forecast(MEAN, 0.6), "less sure"),
        (make_forecast(MEAN, SD, success=1.0, schema=0.85), "more often"),
        (make_forecast(MEAN, SD, success=0.8), "less often"),
        (make_forecast(MEAN, SD, schema=0.7), "less schema"),
        (BASELINE, "what everyone knew"),
    ],
)
def test_the_truth_as_believed_pays_best(lie: Forecast, why: str) -> None:
    assert compute_expected_gain(TRUTH) > compute_expected_gain(lie), why


def test_loss_is_the_sum_of_its_parts_worked_by_hand() -> None:
    exact = Forecast(CELL, (compute_microlog(1_000),) * 6, (compute_microlog(2_000),) * 6, 900_000, 800_000)
    samples = [
        Sample(Outcome.SUCCESS, 1_000, 2_000),
        Sample(Outcome.SCHEMA_VIOLATION, 1_000, 2_000),
        Sample(Outcome.FAILURE, None, None),
    ]
    success = (0.1**2 + 0.1**2 + 0.9**2) / 3
    schema = (0.2**2 + 0.8**2) / 2
    assert scoring.compute_loss(exact, Outcomes.count(samples)) == pytest.approx(success + schema)
    assert scoring.compute_loss(exact, Outcomes.count(samples[2:])) == pytest.approx(0.81), (
        "no answer: nothing else to judge"
    )
    untimed = [Sample(Outcome.SUCCESS, None, None)]
    assert scoring.compute_loss(exact, Outcomes.count(untimed)) == pytest.approx(0.1**2 + 0.2**2)


def test_a_gain_is_what_the_public_did_not_know() -> None:
    samples = [Sample(Outcome.SUCCESS, 1_000, 2_000)] * 30
    sure = Forecast(CELL, (compute_microlog(1_000),) * 6, (compute_microlog(2_000),) * 6, PPM, PPM)
    assert compute_gain(sure, BASELINE, samples) == 1.0
    assert compute_gain(BASELINE, BASELINE, samples) == 0.0
    assert compute_gain(BASELINE, sure, samples) < -1.0, "kept, not clipped: what a gamble loses it pays"


CELLS = [Cell(f"p{i}/m", "chat") for i in range(12)]


def test_gains_are_summed_over_cells_by_demand_before_they_are_divided() -> None:
    a, b, c = CELLS[:3]
    demand = {a: 3.0, b: 1.0, c: 2.0}
    public = {a: (0.5, 9.0), b: (0.4, 9.0), c: (0.3, 9.0)}
    gain = scoring.compute_gain({a: 0.4, b: 0.8}, public, demand)
    assert gain.share == pytest.approx((3 * 0.1 - 1 * 0.4) / (3 * 0.5 + 0.4 + 2 * 0.3))
    assert gain.sigmas == 0.0, "two cells tell nothing of luck"


def test_the_public_forecast_to_beat_is_the_best_on_the_bundles_own_cells() -> None:
    a, b = CELLS[:2]
    public = {a: (0.5, 0.2), b: (0.1, 0.9)}
    demand = {a: 1.0, b: 1.0}
    assert scoring.compute_gain({a: 0.2}, public, demand).share == 0.0
    assert scoring.compute_gain({b: 0.1}, public, demand).share == 0.0
    assert scoring.compute_gain({a: 0.1, b: 0.4}, public, demand).share == pytest.approx(0.1 / 0.6)


def test_nothing_to_judge_is_no_gain() -> None:
    assert scoring.compute_gain({}, {CELL: (0.5,)}, {CELL: 1.0}) == Gain(0.0, 0.0)
    assert scoring.compute_gain({CELL: 0.1}, {CELL: (0.5,)}, {CELL: 0.0}) == Gain(0.0, 0.0)


def test_a_public_forecast_that_is_all_but_right_cannot_be_beaten_by_much() -> None:
    assert scoring.compute_gain({CELL: 0.0}, {CELL: (1e-9,)}, {CELL: 1.0}).share == pytest.approx(1e-6)


def test_sigmas_are_wilcoxons() -> None:
    # All twelve positive: the rank sum 78 over the root of the squares' sum 650.
    assert scoring.compute_sigmas([0.1 * (i + 1) for i in range(12)]) == pytest.approx(78 / math.sqrt(650))
    assert scoring.compute_sigmas([-0.1 * (i + 1) for i in range(12)]) == pytest.approx(-78 / math.sqrt(650))
    mixed = [1.0, -2.0, 3.0, -4.0, 5.0, -6.0, 7.0, -8.0, 9.0, -10.0]
    assert scoring.compute_sigmas(mixed) == pytest.approx(-5 / math.sqrt(385))
    assert scoring.compute_sigmas([*mixed, 0.0]) == scoring.compute_sigmas(mixed)
    assert scoring.compute_sigmas(mixed[:9]) == 0.0, "nine cells tell nothing of luck"


def test_luck_is_within_its_sigmas() -> None:
    rng = random.Random(5)
    found = [scoring.compute_sigmas([rng.gauss(0, rng.choice((0.01, 1.0))) for _ in range(30)]) for _ in range(2_000)]
    assert statistics.stdev(found) == pytest.approx(1.0, abs=0.06)
    assert sum(one >= MARKET.news_sigmas for one in found) <= 10


@pytest.mark.parametrize(
    ("samples", "records", "answered", "counted"),
    [(30, 20, 14, True), (29, 99, 99, False), (99, 19, 19, False), (99, 99, 13, False)],
)
def test_thirty_samples_and_twenty_records_make_a_cell_count(
    samples: int, records: int, answered: int, *, counted: bool
) -> None:
    assert scoring.is_counted(samples, records, answered) is counted


def test_the_baseline_says_again_what_was() -> None:
    trailing = [Sample(Outcome.SUCCESS, 1_000 * (i + 1), 2_000 * (i + 1)) for i in range(10)]
    trailing += [Sample(Outcome.SCHEMA_VIOLATION, 11_000, 22_000), Sample(Outcome.FAILURE, None, None)]
    baseline = scoring.compute_baseline(CELL, trailing)
    assert baseline.ttft_micrologs == tuple(compute_microlog(x) for x in (2_000, 3_000, 6_000, 9_000, 10_000, 11_000))
    assert baseline.total_micrologs[2] == compute_microlog(12_000)
    assert baseline.success_ppm == round(PPM * 12 / 14)
    assert baseline.schema_ppm == round(PPM * 11 / 13)
    usual = scoring.compute_baseline(CELL, trailing, usual=0.99, usual_schema=0.9)
    assert usual.success_ppm == round(PPM * (11 + 1.98) / 14)
    assert usual.schema_ppm == round(PPM * (10 + 1.8) / 13)
    with pytest.raises(ValueError, match="p/m chat"):
        scoring.compute_baseline(CELL, [Sample(Outcome.FAILURE, None, None)])
    with pytest.raises(ValueError, match="p/m chat"):
        scoring.compute_baseline(CELL, [Sample(Outcome.SUCCESS, 5, None)])


# ---- usefulness ------------------------------------------------------------------------------------------------


def make_signal(**shares: int) -> Signal:
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return Signal("m", "chat", tuple(Route(f"{name}/m", share * 10_000) for name, share in ordered))


UTILITIES = {"a/m": 0.9, "b/m": 0.6, "c/m": 0.3}


@pytest.mark.parametrize(
    ("signal", "expected"),
    [
        (make_signal(a=100), 1.0),
        (make_signal(a=50, b=50), 0.5),
        (make_signal(a=34, b=33, c=33), 0.01),
        (make_signal(c=100), 0.0),
        (make_signal(unmeasured=60, a=40), 1.0),
        (make_signal(unmeasured=100), 0.0),
    ],
)
def test_usefulness_is_what_of_the_gain_a_signal_gains(signal: Signal, expected: float) -> None:
    assert scoring.compute_usefulness(signal, UTILITIES) == pytest.approx(expected)


def test_there_is_nothing_to_be_useful_for_where_all_are_equal_or_unknown() -> None:
    assert scoring.compute_usefulness(make_signal(a=100), {"a/m": 0.5, "b/m": 0.5}) == 0.0
    assert scoring.compute_usefulness(make_signal(a=100), {}) == 0.0


def test_utility_counts_what_passes_and_how_soon() -> None:
    samples = [
        Sample(Outcome.SUCCESS, 200_000, 1),  # faster than the chat target of 0.3 s earns no more
        Sample(Outcome.SUCCESS, 600_000, 1),
        Sample(Outcome.SCHEMA_VIOLATION, 100_000, 1),
        Sample(Outcome.FAILURE, None, None),
    ]
    assert scoring.compute_utility(samples, "chat") == pytest.approx((1.0 + 0.5) / 4)
    assert scoring.compute_utility(samples, "long-context") == pytest.approx(2 / 4)


# ---- freshness ------------------------------------------------------------------------------------------------------


def make_record(started_us: int, response: str = "a") -> Record:
    return Record(CELL, 0, "0", response, "0", started_us, 5, 9, None, None, Outcome.SUCCESS, "pass")


def test_freshness_halves_every_tempo_and_restamps_are_worth_nothing() -> None:
    tempo = 1_000
    now = 10_000
    records = [make_record(now), make_record(now - tempo, "b"), make_record(now + 5, "c")]
    assert scoring.compute_freshness(records, now, tempo) == pytest.approx((1 + 0.5 + 1) / 3)
    old = make_record(now - 9 * tempo)
    seen = {scoring.get_fingerprint(old)}
    assert scoring.get_fingerprint(old) == scoring.get_fingerprint(make_record(now))
    assert scoring.compute_freshness(records, now, tempo, seen) == pytest.approx((0 + 0.5 + 1) / 3)
    assert scoring.compute_freshness([], now, tempo) == 0.0


# ---- the whole -------------------------------------------------------------------------------------------------

share = st.floats(0, 1)


@given(coverage=share, freshness=share, gain=st.floats(-50, 1), usefulness=share)
def test_scores_are_bounded_and_a_closed_gate_is_zero(
    coverage: float, freshness: float, gain: float, usefulness: float
) -> None:
    def get_score(gate: int) -> float:
        return scoring.compute_score(
            gate=gate, coverage=coverage, freshness=freshness, gain=gain, usefulness=usefulness
        )

    assert get_score(0) == 0.0
    assert -1.0 <= get_score(1) <= 1.0
    assert get_score(1) <= max(0.0, gain)
    if gain <= 0.0:
        assert get_score(1) == max(-1.0, gain), "one does not lose less for having covered less"
    elif coverage < MARKET.coverage_min:
        assert get_score(1) == 0.0


@given(parts=st.lists(st.floats(0.25, 1), min_size=4, max_size=4), at=st.integers(0, 3), more=share)
def test_better_parts_never_score_less(parts: list[float], at: int, more: float) -> None:
    def get_score(parts: list[float]) -> float:
        coverage, freshness, gain, usefulness = parts
        return scoring.compute_score(gate=1, coverage=coverage, freshness=freshness, gain=gain, usefulness=usefulness)

    better = [*parts]
    better[at] = min(1.0, better[at] + more)
    assert get_score(better) >= get_score(parts)


def test_the_formula_worked_by_hand() -> None:
    score = scoring.compute_score(gate=1, coverage=0.5, freshness=0.8, gain=0.1, usefulness=0.5)
    assert score == pytest.approx(0.5 * 0.8 * 0.1 * (0.7 + 0.3 * 0.5))
