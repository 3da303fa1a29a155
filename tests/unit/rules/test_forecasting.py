"""From measurements to forecasts and signals."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.cells import CHAT, Cell
from providerrank.rules.consistency import find_forecast_fault, find_signal_fault
from providerrank.rules.forecasting import (
    Seen,
    compute_forecast,
    compute_promise,
    compute_quantiles,
    compute_signal,
    compute_spread,
)
from providerrank.rules.observation import Outcome
from providerrank.rules.outcomes import Outcomes, Sample
from providerrank.rules.records import PPM, compute_duration_us
from providerrank.rules.scoring import compute_loss
from tests.findings import make_forecast

CELL = Cell("a/m", CHAT)
NOW_US = 1_700_000_000_000_000
HALF_LIFE_US = 3_600_000_000

seens = st.builds(
    Seen,
    at_us=st.integers(NOW_US - 10**11, NOW_US + 10**6),
    status=st.sampled_from(Outcome),
    ttft_us=st.one_of(st.none(), st.integers(0, 10**9)),
    total_us=st.one_of(st.none(), st.integers(0, 10**9)),
)


def see(ttft_us: int, at_us: int = NOW_US, status: Outcome = Outcome.SUCCESS) -> Seen:
    return Seen(at_us, status, ttft_us, ttft_us * 3)


@given(st.lists(seens, max_size=30))
def test_whatever_was_seen_the_forecast_is_one_that_may_be_signed(seen: list[Seen]) -> None:
    forecast = compute_forecast(CELL, seen, NOW_US, HALF_LIFE_US)
    if forecast is None:
        completed = (Outcome.SUCCESS, Outcome.SCHEMA_VIOLATION)
        assert not any(one.status in completed and None not in (one.ttft_us, one.total_us) for one in seen)
    else:
        assert find_forecast_fault(forecast) is None
        assert 0.0 <= compute_promise(forecast) <= 1.0


def test_what_is_newer_counts_more() -> None:
    seen = [see(100_000, NOW_US - 5 * HALF_LIFE_US) for _ in range(10)] + [see(900_000) for _ in range(3)]
    forecast = compute_forecast(CELL, seen, NOW_US, HALF_LIFE_US)
    assert forecast is not None
    assert compute_duration_us(forecast.ttft_micrologs[2]) == pytest.approx(900_000, rel=1e-4)


def test_shares_lean_on_what_is_usual_while_little_is_known() -> None:
    one = compute_forecast(CELL, [see(1_000)], NOW_US, HALF_LIFE_US)
    many = compute_forecast(
        CELL,
        [see(1_000)] * 50 + [Seen(NOW_US, Outcome.FAILURE, None, 9)] * 50 + [see(9, NOW_US, Outcome.SCHEMA_VIOLATION)],
        NOW_US,
        HALF_LIFE_US,
    )
    assert one is not None
    assert many is not None
    assert 0.97 * PPM < one.success_ppm < PPM
    assert many.success_ppm == pytest.approx(PPM * (51 + 1.96) / 103, abs=1)
    assert many.schema_ppm == pytest.approx(PPM * (50 + 1.96) / 53, abs=1)


def test_it_is_better_than_a_forecast_that_flatters() -> None:
    rng = random.Random(1)
    draws = [round(math.exp(rng.gauss(12, 0.3))) for _ in range(400)]
    forecast = compute_forecast(CELL, map(see, draws[:200]), NOW_US, HALF_LIFE_US)
    flattering = compute_forecast(CELL, [see(one // 2) for one in draws[:200]], NOW_US, HALF_LIFE_US)
    assert forecast is not None
    assert flattering is not None
    samples = Outcomes.count([Sample(Outcome.SUCCESS, one, one * 3) for one in draws[200:]])
    assert compute_loss(forecast, samples) < compute_loss(flattering, samples) / 2


def test_quantiles_of_a_weighted_sample() -> None:
    assert compute_quantiles([(7, 1.0)]) == (7,) * 6
    assert compute_quantiles([(value, 1.0) for value in range(1, 101)]) == (10, 25, 50, 75, 90, 95)
    assert compute_quantiles([(1, 9.0), (2, 1.0)]) == (1, 1, 1, 1, 1, 2)


def test_the_spread_takes_two() -> None:
    assert compute_spread([see(5)]) is None
    assert compute_spread([see(1_000), see(1_000), Seen(NOW_US, Outcome.FAILURE, None, None)]) == 0.0
    assert compute_spread([see(1_000), see(2_000)]) == pytest.approx(math.log(2) / math.sqrt(2))


def test_a_promise_falls_with_waiting_and_with_failing() -> None:
    best = compute_promise(make_forecast(CELL, 0.1, 1.0))
    assert best == pytest.approx(1.0)
    assert compute_promise(make_forecast(CELL, 0.6, 1.0)) == pytest.approx(0.5, abs=0.06)
    assert compute_promise(make_forecast(CELL, 0.1, 0.5)) == pytest.approx(0.5)
    assert compute_promise(make_forecast(CELL, 0.1, 1.0, 0.5)) == pytest.approx(0.5)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3).map(lambda n: n + "/m"), st.floats(0, 1), min_size=1))
def test_the_signal_follows_the_promises(promises: dict[str, float]) -> None:
    signal = compute_signal("m", CHAT, promises)
    assert find_signal_fault(signal) is None
    assert len(signal.routes) == len(promises)
    ordered = [promises[route.endpoint_id] for route in signal.routes]
    assert all(high >= low - 1e-9 for high, low in itertools.pairwise(ordered))


def test_much_better_takes_nearly_all_and_nearly_as_good_shares() -> None:
    apart = compute_signal("m", CHAT, {"a/m": 0.9, "b/m": 0.4})
    close = compute_signal("m", CHAT, {"a/m": 0.9, "b/m": 0.9})
    assert apart.routes[0].weight_ppm > 0.99 * PPM
    assert [route.weight_ppm for route in close.routes] == [PPM // 2, PPM // 2]
