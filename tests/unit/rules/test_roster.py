"""A catalog laid out anew: who stays, who moves, who is retired, and what running plans see of it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from providerrank.rules.ask import Ask, EmptyPool, UnknownModel, UnknownTier
from providerrank.rules.catalog import Catalog, ModelRules, Tier
from providerrank.rules.cells import Cell
from providerrank.rules.observation import Outcome
from providerrank.rules.router import Router
from providerrank.rules.window import Window
from tests.unit.rules.market import Market, S, endpoint

A, B, C = endpoint("a"), endpoint("b"), endpoint("c")


def reconfigure(market: Market, *endpoints: object, **fields: object) -> None:
    catalog = replace(market.router._boards.catalog, endpoints=endpoints, **fields)  # type: ignore[arg-type]  # fields by name
    market.router.reconfigure(catalog)


def make_window(requests: int) -> Window:
    market = Market(A)
    market.see("a", times=requests)
    [(_, window)] = market.router.windows()
    return window


def test_a_plan_under_way_goes_on_as_it_began() -> None:
    market = Market(A, B)
    market.see("a", times=5, ms=100)
    plan = market.plan()
    reconfigure(market, C)

    first = plan.next(market.now)
    assert first is not None
    assert first.id == "a/m"
    market.router.acquire("a/m")
    market.router.cool("a/m", market.now + S)
    market.see("a", Outcome.FAILURE)
    market.router.release("a/m")
    second = plan.next(market.now)
    assert second is not None
    assert second.id == "b/m"
    assert market.walk() == ["c"]
    assert market.router.first_token_us("a/m", "chat")


def test_the_retired_are_kept_until_forgotten_and_learned_of_meanwhile() -> None:
    market = Market(A, B)
    market.see("a", times=3)
    reconfigure(market, B)
    market.see("a")
    kept = {cell.endpoint_id: window.requests for cell, window in market.router.windows()}
    assert kept["a/m"] > 3.9

    market.router.forget_retired()
    market.see("a")
    market.router.cool("a/m", market.now + S)
    assert market.router.windows() == []


def test_one_that_comes_back_before_it_is_forgotten_is_the_same() -> None:
    market = Market(A, B)
    market.see("a", times=3)
    market.fail("a", 3)
    reconfigure(market, B)
    reconfigure(market, A, B)
    market.router.forget_retired()
    [row] = [row for row in market.router.ranking("m", market.now).rows if row.endpoint.id == "a/m"]
    assert row.requests > 2
    assert row.state == "out"


def test_windows_are_taken_for_whoever_is_new_only() -> None:
    market = Market(A)
    market.see("a", times=2)
    old = make_window(50)
    windows = [(Cell("a/m", "chat"), old), (Cell("b/m", "chat"), old), (Cell("nobody/m", "chat"), old)]
    market.router.reconfigure(Catalog((A, B)), windows)
    found = {cell.endpoint_id: window.requests for cell, window in market.router.windows(changed_only=False)}
    assert found["a/m"] < 3
    assert found["b/m"] > 49


def test_rules_of_a_model_are_replaced() -> None:
    market = Market(A, B, endpoint("z", model="n"), models=(ModelRules("m", aliases=("old",)),), tiers=(Tier("t"),))
    market.see("a", times=30, ms=100)
    assert market.walk() == ["a", "b"]
    market.plan(tier="t")
    rules = ModelRules("m", aliases=("new",), pin=("b/m",), fallback_models=("n",))
    reconfigure(market, A, B, endpoint("z", model="n"), models=(rules,), tiers=(Tier("u"),))
    assert market.walk() == ["b", "a", "z/n"]
    assert market.router.resolve("new") == "m"
    assert market.router.resolve("old") is None
    with pytest.raises(UnknownTier):
        market.plan(tier="t")
    market.plan(tier="u")


def test_a_model_that_is_gone_is_unknown() -> None:
    market = Market(A, endpoint("z", model="n"))
    reconfigure(market, A)
    assert market.router.models() == ["m"]
    with pytest.raises(UnknownModel):
        market.plan("n")


def test_prices_and_features_are_those_of_the_new_catalog() -> None:
    market = Market(A, B)
    market.plan()
    reconfigure(market, endpoint("a", 100.0), endpoint("b", features=frozenset()))
    assert market.walk() == ["b"]
    with pytest.raises(EmptyPool):
        market.plan(features=frozenset({"tools"}))


def test_an_endpoint_that_changes_its_model_takes_its_history_along() -> None:
    market = Market(A, B)
    market.see("a", times=40, ms=5_000)
    market.see("b", times=1)
    market.walk()
    slow = market.router.ranking("m", market.now).rows
    assert {row.endpoint.provider for row in slow} == {"a", "b"}
    moved = replace(A, model="other")
    reconfigure(market, moved, B)

    [row] = market.router.ranking("other", market.now).rows
    assert row.requests > 39
    # What the slow one contributed to its first model is gone with it.
    [left] = market.router.ranking("m", market.now).rows
    assert left.ttft_us < next(row.ttft_us for row in slow if row.endpoint.provider == "b")
    market.see("a/m")
    assert market.walk("other") == ["a"]


def test_revisits_survive_new_positions() -> None:
    """Two endpoints due at one moment under what was one position in two catalogs."""
    market = Market(A, B)
    market.see("a", gap_s=0)
    reconfigure(market, B, A)
    market.see("b", gap_s=0)
    reconfigure(market, C, B)
    market.see("c", gap_s=0)
    market.wait(600)
    assert sorted(market.walk()) == ["b", "c"]


def test_new_prices_are_not_undone_by_the_catalog_they_replaced() -> None:
    market = Market(A, B)
    catalog = market.router._boards.catalog
    market.router.reprice({"a/m": endpoint("a", 1.5).price})
    market.router.reconfigure(catalog)
    [row] = [row for row in market.router.ranking("m", market.now).rows if row.endpoint.id == "a/m"]
    assert row.endpoint == A


def test_in_flight_elsewhere_is_told() -> None:
    market = Market(A, B)
    market.router.set_in_flight({"a/m": 3, "gone/m": 1})
    assert {row.endpoint.id: row.in_flight for row in market.router.ranking("m", market.now).rows} == {
        "a/m": 3,
        "b/m": 0,
    }
    market.router.set_in_flight({})
    assert all(row.in_flight == 0 for row in market.router.ranking("m", market.now).rows)


def test_a_beginner_leaves_alone_what_is_cooling_or_out_elsewhere() -> None:
    market = Market(A, B, C)
    market.see("a", times=5)
    market.fail("a", 3)
    market.router.cool("b/m", market.now + 20 * S)
    twin = Router(Catalog((A, B, C)), random.Random(0))
    twin.resume([*market.router.conditions(), *Market(endpoint("unknown")).router.conditions()])

    chosen = twin.plan(Ask("m"), market.now).next(market.now)
    assert chosen is not None
    assert chosen.id == "c/m"
    # The session fades as it would have where it was seen.
    twin.plan(Ask("m"), market.now + 1_200 * S)
    assert {row.state for row in twin.ranking("m", market.now + 1_200 * S).rows} == {"ok"}


def test_the_same_catalog_again_changes_nothing() -> None:
    market = Market(A, B)
    market.see("a", times=3)
    market.plan()
    board = market.router._boards.get("m", "chat", None)
    reconfigure(market, A, B)
    assert market.router._boards.get("m", "chat", None) is board


def test_what_is_retired_is_told_until_it_is_forgotten() -> None:
    market = Market(A, B)
    told = [market.router.has_retired]
    reconfigure(market, B)
    told.append(market.router.has_retired)
    market.router.forget_retired()
    told.append(market.router.has_retired)
    assert told == [False, True, False]
