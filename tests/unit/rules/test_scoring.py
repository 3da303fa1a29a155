"""Scores: their bounds, what moves them which way, and that the truth as one believes it pays best."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules import scoring
from providerrank.rules.cells import Cell
from providerrank.rules.market_params import MARKET
from providerrank.rules.observation import Outcome
from providerrank.rules.records import PPM, QUANTILES_PPM, Forecast, Record, Route, Signal, compute_microlog
from providerrank.rules.scoring import CellScore, Sample

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


def compute_expected_accuracy(forecast: Forecast, rounds: int = 150) -> float:
    """Over the same outcomes for every forecast."""
    rng = random.Random(7)
    draws = (draw_samples(rng, MEAN, SD) for _ in range(rounds))
    return sum(scoring.compute_accuracy(forecast, BASELINE, samples) for samples in draws) / rounds


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
    assert compute_expected_accuracy(TRUTH) > compute_expected_accuracy(lie), why


@pytest.mark.parametrize("level", range(6))
def test_each_quantile_by_itself_is_best_where_it_belongs(level: int) -> None:
    rng = random.Random(level)
    outcomes = [round(1e6 * rng.gauss(0, 1)) for _ in range(4_000)]

    def compute_mean(shift: float) -> float:
        quantiles = [round(1e6 * z) for z in Z]
        quantiles[level] += round(1e6 * shift)
        return sum(scoring.compute_pinball(quantiles, outcome) for outcome in outcomes) / len(outcomes)

    assert compute_mean(0.0) < min(compute_mean(-0.25), compute_mean(0.25))


def test_pinball_is_about_the_crps() -> None:
    # Of a standard normal forecast at its own mean: CRPS = 2 * phi(0) - 1 / sqrt(pi) = 0.2337.
    quantiles = [round(1e6 * z) for z in Z]
    assert scoring.compute_pinball(quantiles, 0) == pytest.approx(0.2337, abs=0.1)
    assert scoring.compute_pinball([500_000] * 6, 500_000) == 0.0
    below = 2 * sum(level for level in QUANTILES_PPM) / 6 / PPM
    assert scoring.compute_pinball([0] * 6, 1_000_000) == pytest.approx(below)


def test_loss_is_the_sum_of_its_parts_worked_by_hand() -> None:
    exact = Forecast(CELL, (compute_microlog(1_000),) * 6, (compute_microlog(2_000),) * 6, 900_000, 800_000)
    samples = [
        Sample(Outcome.SUCCESS, 1_000, 2_000),
        Sample(Outcome.SCHEMA_VIOLATION, 1_000, 2_000),
        Sample(Outcome.FAILURE, None, None),
    ]
    success = (0.1**2 + 0.1**2 + 0.9**2) / 3
    schema = (0.2**2 + 0.8**2) / 2
    assert scoring.compute_loss(exact, samples) == pytest.approx(success + schema)
    assert scoring.compute_loss(exact, samples[2:]) == pytest.approx(0.81), "no answer: nothing else to judge"
    untimed = [Sample(Outcome.SUCCESS, None, None)]
    assert scoring.compute_loss(exact, untimed) == pytest.approx(0.1**2 + 0.2**2)


def test_accuracy_is_bounded_and_beats_only_the_baseline() -> None:
    samples = [Sample(Outcome.SUCCESS, 1_000, 2_000)] * 30
    sure = Forecast(CELL, (compute_microlog(1_000),) * 6, (compute_microlog(2_000),) * 6, PPM, PPM)
    assert scoring.compute_accuracy(sure, BASELINE, samples) == 1.0
    assert scoring.compute_accuracy(BASELINE, BASELINE, samples) == 0.0
    assert scoring.compute_accuracy(BASELINE, sure, samples) == 0.0, "however small the baseline's own loss"


@pytest.mark.parametrize(("samples", "records", "counted"), [(30, 20, True), (29, 99, False), (99, 19, False)])
def test_thirty_samples_and_twenty_records_make_a_cell_count(samples: int, records: int, *, counted: bool) -> None:
    assert scoring.is_counted(samples, records) is counted


def test_the_baseline_says_again_what_was() -> None:
    trailing = [Sample(Outcome.SUCCESS, 1_000 * (i + 1), 2_000 * (i + 1)) for i in range(10)]
    trailing += [Sample(Outcome.SCHEMA_VIOLATION, 11_000, 22_000), Sample(Outcome.FAILURE, None, None)]
    baseline = scoring.compute_baseline(CELL, trailing)
    assert baseline.ttft_micrologs == tuple(compute_microlog(x) for x in (2_000, 3_000, 6_000, 9_000, 10_000, 11_000))
    assert baseline.total_micrologs[2] == compute_microlog(12_000)
    assert baseline.success_ppm == round(PPM * 12 / 14)
    assert baseline.schema_ppm == round(PPM * 11 / 13)
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


# ---- coverage and freshness ------------------------------------------------------------------------------------


def test_coverage_is_the_share_of_demand() -> None:
    other = Cell("q/m", "chat")
    demand = {CELL: 3.0, other: 1.0}
    assert scoring.compute_coverage({CELL}, demand) == 0.75
    assert scoring.compute_coverage({CELL, Cell("nobody/asks", "chat")}, demand) == 0.75
    assert scoring.compute_coverage({CELL}, {}) == 0.0


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
cell_scores = st.lists(st.builds(CellScore, share, share, share), max_size=8)


@given(cells=cell_scores, coverage=share)
def test_scores_are_bounded_and_a_closed_gate_is_zero(cells: list[CellScore], coverage: float) -> None:
    assert 0.0 <= scoring.compute_score(gate=1, coverage=coverage, cells=cells) <= 1.0 + 1e-12
    assert scoring.compute_score(gate=0, coverage=coverage, cells=cells) == 0.0
    assert scoring.compute_score(gate=1, coverage=0.0, cells=cells) == 0.0


@given(cells=st.lists(st.builds(CellScore, share, share, share), min_size=1, max_size=6), more=share)
def test_better_parts_never_score_less(cells: list[CellScore], more: float) -> None:
    def get_score(first: CellScore, coverage: float = 0.5) -> float:
        return scoring.compute_score(gate=1, coverage=coverage, cells=[first, *cells[1:]])

    base = get_score(cells[0])
    for name in ("accuracy", "usefulness", "freshness"):
        better = min(1.0, getattr(cells[0], name) + more)
        assert get_score(replace(cells[0], **{name: better})) >= base - 1e-12
    assert get_score(cells[0], coverage=min(1.0, 0.5 + more)) >= base - 1e-12


def test_the_formula_worked_by_hand() -> None:
    cells = [CellScore(accuracy=0.5, usefulness=1.0, freshness=0.5), CellScore(0.0, 0.0, 1.0)]
    expected = 0.8 * (0.5 * (MARKET.accuracy_weight * 0.5 + MARKET.usefulness_weight)) / 2
    assert scoring.compute_score(gate=1, coverage=0.8, cells=cells) == pytest.approx(expected)
