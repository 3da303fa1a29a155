from __future__ import annotations

import gc
import math

import pytest

from providerrank.rules.ask import EmptyPool, Preferences
from providerrank.rules.catalog import ModelRules, Tier
from providerrank.rules.cells import Price
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.sight import AGAIN_US, FRESH_US, MAX_ROWS, NEVER_US, Looks, Sight
from tests.unit.rules.market import CAP, Market, endpoint


def looking(*names: str, rows: int = 1000, usd: float = 1.0) -> Market:
    return Market(*(endpoint(name, usd) for name in names), looks=Looks(rows, PARAMS))


def test_a_router_that_nobody_asks_to_look_takes_no_sights() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    plan = market.plan()
    [sight] = plan.sights
    assert (len(sight), sight.until_us, sight.get_rows()) == (0, NEVER_US, [])
    plan.next(market.now)
    plan.next(market.now)
    assert plan.sights == (sight,)


def test_requests_of_one_second_share_a_sight() -> None:
    market = looking("a", "b")
    first = market.plan().sights
    market.now += FRESH_US - 1
    again = market.plan().sights
    assert len(again) == len(first) == 1
    assert again[0] is first[0]
    market.now += 1
    assert market.plan().sights is not first


def test_a_sight_shows_what_the_ranking_shows() -> None:
    market = Market(endpoint("a"), endpoint("b", 1.5), endpoint("dear", 9.0), looks=Looks(100, PARAMS))
    market.see("a", ms=600, times=30)
    market.see("b", ms=250, times=5)
    market.fail("b", times=3)
    market.router.acquire("a/m")
    market.router.cool("b/m", market.now + 5_000_000)
    ranking = market.router.ranking("m", market.now)
    [sight] = market.plan().sights
    assert (sight.model, sight.task, sight.members, sight.left_out) == ("m", "chat", 2, 0)
    rows = {row.endpoint.id: row for row in sight.get_rows()}
    assert list(rows)[-1] == "dear/m"
    for expected in ranking.rows:
        row = rows[expected.endpoint.id]
        assert row.over_cap == (expected.excluded is not None)
        for name in ("composite", "reputation", "latency", "reliability", "uptime", "price_score", "success", "belief"):
            assert getattr(row, name) == pytest.approx(getattr(expected, name)), name
        assert row.effective == pytest.approx(expected.effective)
        assert row.ttft_us == pytest.approx(expected.ttft_us)
        assert row.cost_nusd == expected.cost_nusd
        assert row.evidence == pytest.approx(expected.requests)
        assert (row.in_flight, row.concurrency_limit) == (expected.in_flight, expected.concurrency_limit)
        assert row.cooling_until_us == (expected.cooling_until_us or 0)
        assert row.honesty == 1.0
        assert row.hold_until_us == 0


def test_a_refusal_of_our_key_shows_until_when_it_holds() -> None:
    market = looking("a", "b")
    market.see("a", Outcome.REFUSED_US)
    [sight] = market.plan().sights
    [held] = [row for row in sight.get_rows() if row.hold_until_us]
    assert held.endpoint.id == "a/m"
    assert held.hold_until_us == market.now + PARAMS.refused_trial_us


def test_later_choices_are_seen_anew_but_not_more_often_than_every_few_milliseconds() -> None:
    market = looking("a", "b", "c", "d")
    plan = market.plan()
    first = plan.sights
    plan.next(market.now)
    assert plan.sights is first
    market.now += AGAIN_US - 1
    plan.next(market.now)
    assert plan.sights == first
    market.now += 1
    plan.next(market.now)
    assert len(plan.sights) == 2
    assert plan.sights[1].at_us == market.now
    plan.next(market.now)
    assert len(plan.sights) == 2


def test_a_request_of_very_many_attempts_keeps_a_bounded_number_of_sights() -> None:
    market = looking(*(f"e{at}" for at in range(30)))
    plan = market.plan()
    while plan.next(market.now) is not None:
        market.now += AGAIN_US
    assert len(plan.sights) == 16


def test_the_last_resort_is_seen_as_it_was() -> None:
    market = looking("a", "b")
    for name in ("a", "b"):
        market.fail(name, times=4)
    plan = market.plan()
    assert plan.next(market.now) is None
    market.now += AGAIN_US
    assert plan.last_resort(market.now) is not None
    assert plan.sights[-1].at_us == market.now


def test_a_large_market_is_kept_by_its_head() -> None:
    market = Market(
        *(endpoint(f"e{at}", 0.01 + at / 100) for at in range(150)),
        *(endpoint(f"dear{at}", 5.0) for at in range(100)),
        looks=Looks(1000, PARAMS),
    )
    [sight] = market.plan().sights
    assert len(sight) == 2 * MAX_ROWS
    assert sight.members == MAX_ROWS
    assert sight.left_out == 250 - 2 * MAX_ROWS
    best = [row.endpoint.id for row in market.router.ranking("m", market.now).rows[:MAX_ROWS]]
    assert [row.endpoint.id for row in sight.get_rows()[:MAX_ROWS]] == best


def test_all_sights_together_are_bounded_and_the_oldest_lose_their_rows() -> None:
    looks = Looks(12, PARAMS)
    market = Market(endpoint("a"), endpoint("b"), endpoint("c"), looks=looks)
    sights: list[Sight] = []
    for _ in range(5):
        sights += market.plan().sights
        market.now += FRESH_US
        assert looks.rows <= 12
    assert [len(sight) for sight in sights] == [0, 0, 3, 3, 3]
    assert sights[0].left_out == 3
    assert sights[0].get_rows() == []
    assert looks.rows == 12


def test_a_sight_that_nothing_remembers_any_more_is_gone() -> None:
    looks = Looks(1_000, PARAMS)
    market = Market(endpoint("a"), endpoint("b"), endpoint("c"), looks=looks)
    for _ in range(50):
        market.plan()
        market.now += FRESH_US
    assert looks.rows <= 2 * 4, "the board's own, and the one before it"


def test_one_that_is_remembered_keeps_its_rows_whatever_has_gone_since() -> None:
    looks = Looks(1_000, PARAMS)
    market = Market(endpoint("a"), endpoint("b"), endpoint("c"), looks=looks)
    [remembered] = market.plan().sights
    for _ in range(50):
        market.now += FRESH_US
        market.plan()
    assert len(remembered.get_rows()) == 3


def test_empty_sights_count_too() -> None:
    looks = Looks(10, PARAMS)
    market = Market(endpoint("a"), models=(ModelRules("none"),), looks=looks)
    for _ in range(50):
        with pytest.raises(EmptyPool):
            market.plan("none")
        market.now += FRESH_US
    assert looks.rows <= 10


def test_what_is_told_of_a_plan_holds_no_router() -> None:
    market = looking("a", "b")
    market.see("a", session="s")
    plan = market.plan(session="s", preferences=Preferences(order=("b",), only=("a", "b")))
    plan.next(market.now)
    told = (plan.tell(), plan.sights)
    seen: set[int] = set()
    todo: list[object] = list(told)
    while todo:
        one = todo.pop()
        if id(one) in seen or isinstance(one, type):
            continue
        seen.add(id(one))
        assert type(one).__name__ not in {"Router", "Board", "EndpointState", "CellState", "Standing", "ModelState"}
        todo += gc.get_referents(one)


def test_a_plain_plan_tells_what_all_of_its_board_tell() -> None:
    market = looking("a", "b")
    market.plan()
    told = market.plan().tell()
    again = market.plan().tell()
    assert len(again) == len(told) == 1
    assert again[0] is told[0]
    plan = market.plan()
    plan.require(frozenset({"tools"}))
    [lane] = plan.tell()
    assert lane.pool is not None
    assert told[0].pool is None


def test_lanes_of_pins_tiers_and_caps() -> None:
    market = Market(
        endpoint("a"),
        endpoint("b"),
        models=(ModelRules("m", pin=("b/m",)),),
        tiers=(Tier("high", min_reputation=0.5, price_cap_factor=2.0),),
        looks=Looks(100, PARAMS),
    )
    [lane] = market.plan().tell()
    assert (lane.model, lane.pins, lane.min_reputation, lane.price_cap) == ("m", ("b/m",), None, CAP)
    assert (lane.pool, lane.order, lane.sort, lane.refused) == (None, (), None, "")
    [lane] = market.plan(tier="high").tell()
    assert (lane.min_reputation, lane.price_cap) == (0.5, Price.from_usd(4.0, 12.0))
    assert lane.pool is not None


def test_lanes_of_preferences() -> None:
    market = looking("a", "b", "c")
    [lane] = market.plan(preferences=Preferences(order=("B", "c/m"), ignore=("a",))).tell()
    assert lane.order == ("b/m", "c/m")
    assert lane.pool is not None
    assert lane.pool.ignore == {"a"}
    assert lane.sort is None
    [lane] = market.plan(preferences=Preferences(sort="price")).tell()
    assert (lane.sort, lane.order) == ("price", ())


def test_filters_too_long_to_keep_are_not_kept() -> None:
    market = looking("a", "b")
    [lane] = market.plan(preferences=Preferences(ignore=tuple(f"name-{at}" for at in range(1000)))).tell()
    assert (lane.pool, lane.is_pool_kept) == (None, False)


def test_models_passed_over_are_told_with_what_they_looked_like() -> None:
    market = Market(
        endpoint("a", features=frozenset()),
        endpoint("b", model="n"),
        models=(ModelRules("m", fallback_models=("n", "o")), ModelRules("o")),
        looks=Looks(100, PARAMS),
    )
    plan = market.plan(features=frozenset({"tools"}))
    lanes = plan.tell()
    assert [lane.model for lane in lanes] == ["m", "o", "n"]
    assert "features excludes 1" in lanes[0].refused
    assert lanes[2].refused == ""
    assert [(sight.model, len(sight)) for sight in plan.sights] == [("m", 1), ("o", 0), ("n", 1)]


def test_a_refused_request_keeps_what_it_takes_to_explain_it() -> None:
    market = looking("a", "b")
    with pytest.raises(EmptyPool) as refused:
        market.plan(preferences=Preferences(only=("x",)))
    [lane] = refused.value.lanes
    assert lane.refused == str(refused.value)
    assert lane.pool is not None
    assert lane.pool.only == {"x"}
    [sight] = refused.value.sights
    assert len(sight) == 2


def test_a_sight_of_nothing() -> None:
    sight = Sight(None, 0, PARAMS)
    assert (len(sight), sight.model, sight.members, sight.left_out) == (0, "", 0, 0)
    assert math.isfinite(sight.until_us)
