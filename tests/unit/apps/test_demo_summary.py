"""The demo's sums: what was counted, at whose price."""

from __future__ import annotations

import pytest

from providerrank.apps.demo.summary import (
    Counters,
    Failure,
    Summary,
    Tally,
    compute_cost_usd,
    compute_quantile,
    compute_summary,
)
from providerrank.rules.cells import Price

PRICES = {
    "dear/m": Price.from_usd(1.0, 2.0),
    "fair/m": Price.from_usd(0.5, 1.0),
    "cheap/m": Price.from_usd(0.1, 0.2),
}
COUNTERS = Counters(
    attempts=12,
    fallbacks=2,
    continuations=1,
    input_tokens={"fair/m": 600_000, "cheap/m": 400_000},
    output_tokens={"fair/m": 100_000, "cheap/m": 300_000},
)


def summarise(tally: Tally, counters: Counters = COUNTERS) -> Summary:
    return compute_summary(real_model=True, seconds=60.04, tally=tally, counters=counters, prices=PRICES, events=["x"])


@pytest.mark.parametrize(
    ("values", "q", "expected"),
    [
        ([], 0.5, None),
        ([7.0], 0.5, 7.0),
        ([7.0], 0.95, 7.0),
        ([3.0, 1.0, 2.0], 0.5, 2.0),
        ([4.0, 3.0, 1.0, 2.0], 0.5, 2.0),
        (list(range(1, 101)), 0.95, 95),
        (list(range(1, 101)), 1.0, 100),
    ],
)
def test_a_quantile_is_the_smallest_value_that_enough_do_not_exceed(
    values: list[float], q: float, expected: float | None
) -> None:
    assert compute_quantile(values, q) == expected


def test_cost_is_each_endpoints_tokens_at_its_own_price() -> None:
    assert compute_cost_usd(COUNTERS, PRICES) == pytest.approx(0.6 * 0.5 + 0.1 * 1.0 + 0.4 * 0.1 + 0.3 * 0.2)


def test_the_comparisons_price_the_same_tokens() -> None:
    summary = summarise(Tally())
    assert (summary.input_tokens, summary.output_tokens) == (1_000_000, 400_000)
    assert summary.cost_dearest_usd == pytest.approx(1.0 + 0.4 * 2.0)
    assert summary.cost_cheapest_usd == pytest.approx(0.1 + 0.4 * 0.2)
    assert summary.cost_cheapest_usd < summary.cost_usd < summary.cost_dearest_usd


def test_a_failure_is_a_request_and_no_answer() -> None:
    tally = Tally()
    tally.add_answer("fair/m", 120_000)
    tally.add_answer("cheap/m", None)
    tally.add_answer("fair/m", 340_000)
    tally.add_failure(Failure(3.5, "chat", "no finish reason"))
    summary = summarise(tally)
    assert (summary.requests, summary.streamed, summary.client_visible_failures) == (4, 2, 1)
    assert summary.answered_by == {"fair/m": 2, "cheap/m": 1}
    assert summary.ttft_p50_ms == 120.0
    assert summary.ttft_p95_ms == 340.0
    assert summary.failures == [Failure(3.5, "chat", "no finish reason")]


def test_nothing_asked_adds_up_to_nothing() -> None:
    summary = summarise(Tally(), Counters())
    assert summary.requests == summary.attempts == 0
    assert summary.cost_usd == summary.cost_dearest_usd == 0.0
    assert summary.ttft_p50_ms is None
