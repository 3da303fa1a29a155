"""A router that is given another catalog keeps what it knows of everyone who stays, whatever has happened before."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from providerrank.rules.catalog import Catalog, ModelRules, Tier
from providerrank.rules.cells import Cell
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import Ranked
from providerrank.rules.router import Router
from tests.property.test_router import events, play
from tests.unit.rules.market import Market, S, endpoint

NAMES = "abcde"
ENDPOINTS = tuple(endpoint(name, 0.3 + 0.25 * i) for i, name in enumerate(NAMES))
OTHERS = (endpoint("x", model="other"), endpoint("y", model="other"))


def get_catalog(market: Market) -> Catalog:
    return market.router._boards.catalog


def get_rows(market: Market, model: str = "m") -> dict[str, Ranked]:
    return {row.endpoint.provider: row for row in market.router.ranking(model, market.now).rows}


def get_records(router: Router) -> dict[Cell, object]:
    return {cell: window.to_record() for cell, window in router.windows(changed_only=False)}


@settings(deadline=None)
@given(events, events)
def test_what_is_the_same_changes_nothing(before: list[tuple[object, ...]], after: list[tuple[object, ...]]) -> None:
    walks, records = [], []
    for reconfigures in (False, True):
        market = Market(*ENDPOINTS, exploration=0.5, seed=3)
        play(market, before)
        if reconfigures:
            market.router.reconfigure(replace(get_catalog(market)))
        play(market, after)
        walks.append(market.walk())
        records.append(get_records(market.router))
    assert walks[0] == walks[1]
    assert records[0] == records[1]


@settings(deadline=None)
@given(events)
def test_what_concerns_others_moves_nobody(script: list[tuple[object, ...]]) -> None:
    market, twin = Market(*ENDPOINTS), Market(*ENDPOINTS)
    play(market, script)
    play(twin, script)
    known, catalog = get_records(market.router), get_catalog(market)

    market.router.reconfigure(
        replace(catalog, endpoints=(*OTHERS, *ENDPOINTS), tiers=(Tier("high"),), models=(ModelRules("other"),))
    )

    assert get_rows(market) == get_rows(twin)
    assert {
        cell: record for cell, record in get_records(market.router).items() if cell.endpoint_id[0] in NAMES
    } == known
    assert market.router.models() == ["other", "m"]


@settings(deadline=None)
@given(events, st.permutations(NAMES), st.integers(1, 5), events)
def test_those_who_stay_keep_what_is_known_of_them(
    before: list[tuple[object, ...]], order: list[str], count: int, after: list[tuple[object, ...]]
) -> None:
    market = Market(*ENDPOINTS)
    play(market, before)
    rows, catalog, now = get_rows(market), get_catalog(market), market.now
    states = dict(market.router._endpoints)
    staying = [endpoint(name, 2.0) for name in order[:count]]

    market.router.reconfigure(replace(catalog, endpoints=tuple(staying)))

    for name, row in get_rows(market).items():
        then = rows[name]
        assert market.router._endpoints[f"{name}/m"] is states[f"{name}/m"]
        assert (row.belief, row.cooling_until_us, row.in_flight) == (then.belief, then.cooling_until_us, then.in_flight)
        assert row.requests == then.requests
        assert row.endpoint.price.input_nusd == 2_000_000_000
    assert list(market.router.ranking("m", now).rows) == sorted(
        market.router.ranking("m", now).rows, key=lambda row: -row.effective
    )
    # Whoever is gone is never offered, and what is still learned of it disturbs nobody.
    play(market, after)
    assert set(market.walk()) <= set(order[:count])
    market.router.forget_retired()
    assert set(market.router._endpoints) == {f"{name}/m" for name in order[:count]}
    market.wait(1_200)
    assert sorted(market.walk()) == sorted(order[:count])


@settings(deadline=None)
@given(events, st.permutations(NAMES), st.integers(0, 4))
def test_priors_are_those_of_whoever_is_there(script: list[tuple[object, ...]], order: list[str], count: int) -> None:
    """Leaving and coming back leaves the model's prior where it was."""
    market = Market(*ENDPOINTS)
    play(market, script)
    before = get_rows(market)
    catalog = get_catalog(market)
    sums = [
        (prior.weight, prior.success_sum, prior.log_sum) for prior in market.router._boards.models["m"].priors.values()
    ]

    market.router.reconfigure(
        replace(catalog, endpoints=(*OTHERS, *(endpoint(name) for name in order[:count])), models=(ModelRules("m"),))
    )
    assert market.router.has_retired is (count < len(NAMES))
    market.router.reconfigure(catalog)
    assert not market.router.has_retired or {"x/other", "y/other"} == market.router._boards.roster.retired
    after = get_rows(market)

    assert {name: row.requests for name, row in after.items()} == {name: row.requests for name, row in before.items()}
    for prior, then in zip(market.router._boards.models["m"].priors.values(), sums, strict=True):
        for figure, was in zip((prior.weight, prior.success_sum, prior.log_sum), then, strict=True):
            assert abs(figure - was) < 0.2 * abs(was) + 1e-6


@settings(deadline=None)
@given(events, st.integers(0, 300))
def test_one_that_begins_beside_another_routes_as_it_does(script: list[tuple[object, ...]], wait: int) -> None:
    market = Market(*ENDPOINTS)
    play(market, script)
    market.wait(wait)
    router = market.router
    twin = Router(get_catalog(market), random.Random(0), windows=router.windows(changed_only=False))
    conditions = router.conditions()

    twin.resume(conditions)

    mine = {row.endpoint.id: row for row in router.ranking("m", market.now).rows}
    its = {row.endpoint.id: row for row in twin.ranking("m", market.now).rows}
    for endpoint_id, row in mine.items():
        other = its[endpoint_id]
        assert (other.belief, other.cooling_until_us, other.concurrency_limit, other.state) == (
            row.belief,
            row.cooling_until_us,
            row.concurrency_limit,
            row.state,
        )
        assert abs(other.composite - row.composite) < 0.02
        assert other.requests == row.requests
    assert twin.conditions() == conditions


@settings(deadline=None)
@given(events, st.sampled_from([(), ("a/m",), ("b/m", "c/m")]))
def test_usable_is_what_the_ranking_says(script: list[tuple[object, ...]], pin: tuple[str, ...]) -> None:
    market = Market(*ENDPOINTS, models=(ModelRules("m", pin=pin, pin_only=bool(pin)),))
    play(market, script)
    rows = market.router.ranking("m", market.now).rows
    states = market.router._endpoints
    usable = any(
        row.excluded is None and row.belief <= PARAMS.belief_out and market.now >= states[row.endpoint.id].hold_until_us
        for row in rows
    )
    assert market.router.has_usable(market.now) is usable
    if usable:
        assert any(row.state not in {"out", "excluded"} for row in rows)


def test_an_outage_of_all_is_not_usable_and_passes() -> None:
    market = Market(*ENDPOINTS)
    assert market.router.has_usable(market.now)
    for name in NAMES:
        market.see(name, Outcome.REFUSED_US, gap_s=0)
    assert not market.router.has_usable(market.now)
    assert market.router.has_usable(market.now + 3_600 * S)
