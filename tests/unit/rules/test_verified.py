"""Verified reputations: how forecasts and validators are combined, and how the ranking takes them."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.ask import Ask
from providerrank.rules.catalog import Buyer, Catalog, ModelRules
from providerrank.rules.cells import CHAT, TOOLS, Cell, Endpoint, Price
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.records import MICROLOG, PPM
from providerrank.rules.router import Router
from providerrank.rules.verified import (
    VERIFIED_HALF_LIFE_US,
    VERIFIED_REQUESTS,
    combine_findings,
    combine_forecasts,
    compute_median,
)
from tests.findings import AT_US, make_finding, make_forecast

CELL = Cell("a/m", CHAT)
OTHER = Cell("b/m", CHAT)


def test_a_median_is_where_half_of_the_weight_is_reached() -> None:
    assert compute_median([(1, 1.0), (2, 1.0), (3, 1.0)]) == 2
    assert compute_median([(1, 1.0), (9, 1.0)]) == 1
    assert compute_median([(9, 3.0), (1, 1.0)]) == 9
    assert compute_median([(5, 0.0), (7, 0.1)]) == 7
    with pytest.raises(ValueError, match="median of nothing"):
        compute_median([(5, 0.0)])


@given(
    st.lists(st.tuples(st.floats(0.01, 30), st.floats(0.5, 1), st.floats(0.01, 1)), min_size=1, max_size=9),
    st.floats(0.01, 30),
)
def test_who_holds_less_than_half_of_the_weight_cannot_leave_the_range_of_the_others(
    honest: list[tuple[float, float, float]], lie_s: float
) -> None:
    weighted = [(make_forecast(CELL, ttft_s, success), weight) for ttft_s, success, weight in honest]
    total = sum(weight for _, weight in weighted)
    combined = combine_forecasts(CELL, [*weighted, (make_forecast(CELL, lie_s, 0.0), 0.99 * total)])
    for level, value in enumerate(combined.ttft_micrologs):
        said = [forecast.ttft_micrologs[level] for forecast, _ in weighted]
        assert min(said) <= value <= max(said)
    assert list(combined.ttft_micrologs) == sorted(combined.ttft_micrologs)
    assert all(a <= b for a, b in zip(combined.ttft_micrologs, combined.total_micrologs, strict=True))


def test_a_forecast_without_weight_moves_nothing() -> None:
    honest = [(make_forecast(CELL, 0.3), 0.4), (make_forecast(CELL, 0.5), 0.4)]
    with_liar = [*honest, (make_forecast(CELL, 0.01), 0.0), (make_forecast(CELL, 0.02), -1.0)]
    assert combine_forecasts(CELL, with_liar) == combine_forecasts(CELL, honest)


def test_of_a_validator_the_newest_finding_counts_and_without_stake_none() -> None:
    old = make_finding(CELL, 9.0, epoch=6, at_us=AT_US - 1)
    new = make_finding(CELL, 0.3, epoch=7)
    poor = make_finding(CELL, 0.01, validator="5Poor", stake=0)
    for order in ([old, new, poor], [poor, new, old]):
        verified = combine_findings(order)[CELL]
        assert verified.findings == (new,)
        assert verified.epoch == 7
        assert verified.replays == 40
    assert combine_findings([poor]) == {}


def test_validators_are_weighted_by_stake() -> None:
    findings = [
        make_finding(CELL, 0.3, validator="5A", stake=40),
        make_finding(CELL, 0.3, validator="5B", stake=30),
        make_finding(CELL, 0.01, validator="5C", stake=60),
        make_finding(OTHER, 1.0, validator="5C", stake=60),
    ]
    verified = combine_findings(findings)
    levels = make_forecast(CELL, 0.3).ttft_micrologs
    assert verified[CELL].log_ttft == pytest.approx((0.7 * levels[2] + 0.3 * levels[5]) / MICROLOG)
    assert [finding.validator for finding in verified[CELL].findings] == ["5A", "5B", "5C"]
    assert verified[OTHER].replays == 40


def test_a_broken_schema_is_a_failure_to_a_gateway() -> None:
    finding = replace(make_finding(CELL), forecast=make_forecast(CELL, 0.3, 0.9, 0.5))
    assert combine_findings([finding])[CELL].success == pytest.approx(0.45, abs=1 / PPM)


def test_it_fades() -> None:
    verified = combine_findings([make_finding(CELL)])[CELL]
    assert verified.get_worth(AT_US) == VERIFIED_REQUESTS
    assert verified.get_worth(AT_US - 5) == VERIFIED_REQUESTS
    assert verified.get_worth(AT_US + VERIFIED_HALF_LIFE_US) == pytest.approx(VERIFIED_REQUESTS / 2)


# ---- in the ranking ----------------------------------------------------------------------------------------------


def make_router(*, verified_first: bool = False, names: str = "abc", pin: tuple[str, ...] = ()) -> Router:
    endpoints = tuple(Endpoint(f"{name}/m", "m", Price.from_usd(1, 1)) for name in names)
    buyer = Buyer(verified_first=verified_first, exploration=0.0)
    return Router(Catalog(endpoints, (ModelRules("m", pin=pin),), buyer), random.Random(1))


def get_order(router: Router, now_us: int = AT_US, task: str = CHAT) -> list[str]:
    return [row.endpoint.provider for row in router.ranking("m", now_us, task).rows]


def choose_all(router: Router, now_us: int = AT_US) -> list[str]:
    plan = router.plan(Ask("m"), now_us)
    chosen = []
    while (endpoint := plan.next(now_us)) is not None:
        chosen.append(endpoint.provider)
    return chosen


def test_what_is_verified_ranks_endpoints_nobody_here_has_asked() -> None:
    router = make_router()
    router.verify(combine_findings([make_finding(Cell("b/m", CHAT), 0.2), make_finding(Cell("c/m", CHAT), 2.0)]))
    assert get_order(router) == ["b", "a", "c"]
    rows = {row.endpoint.provider: row for row in router.ranking("m", AT_US).rows}
    assert rows["a"].verified is None
    assert rows["b"].verified is not None
    assert rows["b"].ttft_us < 0.3e6
    assert choose_all(router) == ["b", "a", "c"]


def test_it_is_told_of_a_task_asked_for_only_later() -> None:
    router = make_router()
    router.verify(combine_findings([make_finding(Cell("c/m", TOOLS), 0.2)]))
    assert get_order(router, task=TOOLS)[0] == "c"
    assert all(row.verified is None for row in router.ranking("m", AT_US).rows)


def test_what_is_no_longer_found_no_longer_counts() -> None:
    router = make_router()
    before = [row.composite for row in router.ranking("m", AT_US).rows]
    router.verify(combine_findings([make_finding(CELL, 0.1)]))
    assert [row.composite for row in router.ranking("m", AT_US).rows] != before
    router.verify({})
    assert [row.composite for row in router.ranking("m", AT_US).rows] == pytest.approx(before)


def test_much_of_its_own_outweighs_what_is_verified() -> None:
    router = make_router()
    router.verify(combine_findings([make_finding(CELL, 0.2)]))
    for at in range(500):
        router.observe(Observation("a/m", CHAT, AT_US + at, Outcome.SUCCESS, ttft_us=3_000_000, total_us=4_000_000))
    [row] = [row for row in router.ranking("m", AT_US + 500).rows if row.endpoint.provider == "a"]
    assert row.ttft_us > 2_500_000


def test_after_a_day_it_is_verified_no_more() -> None:
    router = make_router(verified_first=True)
    router.verify(combine_findings([make_finding(CELL)]))
    late_us = AT_US + 8 * VERIFIED_HALF_LIFE_US
    assert all(row.verified is None for row in router.ranking("m", late_us).rows)


def test_a_new_catalog_keeps_it() -> None:
    router = make_router(names="ab")
    router.verify(combine_findings([make_finding(CELL, 0.5), make_finding(Cell("c/m", CHAT), 0.1)]))
    router.reconfigure(Catalog(tuple(Endpoint(f"{name}/m", "m", Price.from_usd(1, 1)) for name in "abc")))
    assert get_order(router) == ["c", "a", "b"]


@given(st.floats(0.05, 20), st.floats(0.3, 1), st.floats(1.0, 5.0), st.floats(0.0, 0.3), st.integers(0, 40))
def test_better_in_one_part_never_ranks_lower(
    ttft_s: float, success: float, faster: float, gain: float, seen: int
) -> None:
    def get_composite(ttft_s: float, success: float) -> float:
        router = make_router()
        for at in range(seen):
            router.observe(Observation("a/m", CHAT, AT_US - 50 + at, Outcome.SUCCESS, ttft_us=900_000, total_us=10**6))
        router.verify(combine_findings([make_finding(CELL, ttft_s, success)]))
        return next(row.composite for row in router.ranking("m", AT_US).rows if row.endpoint.id == "a/m")

    plain = get_composite(ttft_s, success)
    assert get_composite(ttft_s / faster, success) >= plain - 1e-9
    assert get_composite(ttft_s, min(1.0, success + gain)) >= plain - 1e-9


# ---- trusting only what is verified ------------------------------------------------------------------------------


def test_the_verified_come_first_and_the_others_only_when_none_of_them_is_left() -> None:
    router = make_router(verified_first=True)
    # Slow and unreliable, and the only one anybody vouches for.
    router.verify(combine_findings([make_finding(Cell("c/m", CHAT), 5.0, 0.7)]))
    assert get_order(router)[0] == "c"
    assert choose_all(router)[0] == "c"
    assert sorted(choose_all(router)) == ["a", "b", "c"]
    plan = router.plan(Ask("m"), AT_US)
    first = plan.next(AT_US)
    assert first is not None
    assert first.provider == "c"
    assert plan.more_here(AT_US)


def test_where_nothing_is_verified_requests_are_served_all_the_same() -> None:
    assert sorted(choose_all(make_router(verified_first=True))) == ["a", "b", "c"]


def test_a_pin_stands_above_trust() -> None:
    router = make_router(verified_first=True, pin=("a/m",))
    router.verify(combine_findings([make_finding(Cell("c/m", CHAT))]))
    assert choose_all(router)[:2] == ["a", "c"]


def test_who_has_room_is_looked_for_among_the_verified() -> None:
    router = make_router(verified_first=True)
    router.verify(combine_findings([make_finding(Cell("b/m", CHAT), 0.2), make_finding(Cell("c/m", CHAT), 1.0)]))
    for _ in range(8):
        router.acquire("b/m")
    router.observe(Observation("b/m", CHAT, AT_US, Outcome.RATE_LIMITED))
    assert choose_all(router)[-1] == "a"


def test_nothing_is_tried_out() -> None:
    endpoints = tuple(Endpoint(f"{name}/m", "m", Price.from_usd(1, 1)) for name in "abc")
    router = Router(Catalog(endpoints, (), Buyer(verified_first=True, exploration=1.0)), random.Random(1))
    router.verify(combine_findings([make_finding(Cell("c/m", CHAT), 5.0)]))
    assert {choose_all(router)[0] for _ in range(50)} == {"c"}


def test_log_ttft_is_in_the_units_of_latency() -> None:
    verified = combine_findings([make_finding(CELL, 0.3)])[CELL]
    expected = 0.7 * math.log(0.3e6) + 0.3 * math.log(0.3e6 * 1.5)
    assert verified.log_ttft == pytest.approx(expected, abs=1e-5)
    assert PARAMS.ttft_median_power == 0.7
