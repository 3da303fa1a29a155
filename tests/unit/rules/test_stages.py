"""Requests with wishes of their own: pins, tiers, filters, preferences, caps, and who is refused for them."""

from __future__ import annotations

import pytest

from providerrank.rules.ask import EmptyPool, Preferences, UnknownModel, UnknownTier
from providerrank.rules.catalog import ModelRules, Tier
from providerrank.rules.cells import Price
from providerrank.rules.observation import Observation, Outcome
from tests.unit.rules.market import CAP, Market, S, T, endpoint, row, three, tiered

# Pins, tiers, filters, preferences


def test_pins_come_first_in_their_order_then_the_rest() -> None:
    market = Market(
        endpoint("a", 0.2), endpoint("b", 0.8), endpoint("c", 1.2), models=(ModelRules("m", pin=("c/m", "b/m")),)
    )
    assert market.walk() == ["c", "b", "a"]


def test_a_pin_believed_out_is_passed_over_and_comes_back_the_same_way() -> None:
    market = Market(endpoint("a", 0.2), endpoint("c", 1.2), models=(ModelRules("m", pin=("c/m",)),))
    market.fail("c", 3)
    assert market.walk() == ["a"]
    market.wait(40)
    assert market.walk() == ["c", "a"]


def test_pin_only_leaves_nobody_else() -> None:
    rules = ModelRules("m", pin=("c/m", "gone/m"), pin_only=True)
    market = Market(endpoint("a", 0.2), endpoint("c", 1.2), models=(rules,))
    assert market.walk() == ["c"]
    assert row(market, "a").excluded == "pin_only"
    market.fail("c", 3)
    plan = market.plan()
    assert plan.next(market.now) is None
    assert plan.last_resort(market.now) == endpoint("c", 1.2)
    assert plan.last_resort(market.now) is None


def test_a_high_tier_takes_the_reputable_and_pays_more() -> None:
    market = tiered()
    assert market.walk(tier="high") == ["best", "good"]
    assert row(market, "slow", tier="high").excluded == "min_reputation"
    assert row(market, "best").excluded == "price_cap"
    assert market.walk() == ["good", "slow"]


def test_a_best_effort_tier_looks_at_the_price() -> None:
    assert tiered().walk(tier="best-effort") == ["slow", "good"]


def test_the_unproven_come_after_those_that_meet_the_bar() -> None:
    tiers = (Tier("high", min_reputation=0.85, price_cap_factor=2.0),)
    market = Market(endpoint("new", 0.1), endpoint("good", 1.2), tiers=tiers)
    market.see("good", times=50, ms=200)
    assert market.walk(tier="high") == ["good", "new"]
    assert Market(endpoint("new", 0.1), tiers=tiers).walk(tier="high") == ["new"]


def test_a_tier_without_a_cap_has_nothing_to_raise() -> None:
    market = Market(endpoint("a", 50.0), cap=None, tiers=(Tier("high", price_cap_factor=2.0),))
    assert market.walk(tier="high") == ["a"]


def test_without_a_cap_the_dearest_stands_in_and_nobody_is_excluded() -> None:
    market = Market(endpoint("a", 10.0), endpoint("b", 5.0), cap=None)
    assert row(market, "a").price_score == 0.0
    assert row(market, "b").price_score == pytest.approx(0.75)
    assert market.walk() == ["b", "a"]


def test_features_and_context_exclude() -> None:
    market = Market(
        endpoint("plain", 0.1, features=frozenset()),
        endpoint("small", 0.2, context=1_000),
        endpoint("full", 1.0),
    )
    assert market.walk(features=frozenset({"tools"})) == ["small", "full"]
    assert market.walk(input_tokens=900, output_tokens=200) == ["plain", "full"]
    assert market.walk(input_tokens=900) == ["plain", "small", "full"]
    assert market.walk(output_tokens=5_000) == ["plain", "small", "full"]
    assert market.walk(features=frozenset({"tools"}), input_tokens=1_001) == ["full"]


@pytest.mark.parametrize(
    ("preferences", "expected"),
    [
        (Preferences(), ["a", "b", "c"]),
        (Preferences(order=("C", "nobody", "B/m")), ["c", "b", "a"]),
        (Preferences(order=("c", "b"), allow_fallbacks=False), ["c", "b"]),
        (Preferences(allow_fallbacks=False), ["a"]),
        (Preferences(only=("b", "C/M")), ["b", "c"]),
        (Preferences(ignore=("A",)), ["b", "c"]),
        (Preferences(only=("a", "b"), ignore=("a",)), ["b"]),
        (Preferences(order=("c",), only=("a", "c")), ["c", "a"]),
        (Preferences(order=("c", "b"), only=("b",), allow_fallbacks=False), ["b"]),
        (Preferences(order=("a", "b"), ignore=("a",)), ["b", "c"]),
        (Preferences(max_price=Price.from_usd(1.0, 0.0)), ["a", "b"]),
        (Preferences(max_price=Price.from_usd(0.0, 1.0)), ["a"]),
        (Preferences(sort="price"), ["a", "b", "c"]),
        (Preferences(sort="latency"), ["c", "b", "a"]),
        (Preferences(sort="throughput"), ["b", "c", "a"]),
        (Preferences(sort="latency", order=("b",)), ["b", "c", "a"]),
        (Preferences(sort="latency", ignore=("c",), max_price=Price.from_usd(1.0, 3.0)), ["b", "a"]),
        (Preferences(sort="latency", allow_fallbacks=False), ["c"]),
    ],
)
def test_openrouters_preferences(preferences: Preferences, expected: list[str]) -> None:
    market = Market(endpoint("a", 0.2), endpoint("b", 0.8), endpoint("c", 1.2))
    for _ in range(30):
        for name, ms, total in (("a", 320, 5), ("b", 310, 1), ("c", 300, 2)):
            market.now += S
            market.router.observe(
                Observation(f"{name}/m", "chat", market.now, Outcome.SUCCESS, ms * 1000, total * S, 10, 100)
            )
    assert market.walk(preferences=preferences) == expected


def test_a_request_sort_replaces_the_pins_and_its_order_comes_before_them() -> None:
    market = Market(endpoint("a", 0.2), endpoint("b", 0.8), endpoint("c", 1.2), models=(ModelRules("m", pin=("c/m",)),))
    assert market.walk(preferences=Preferences(sort="price")) == ["a", "b", "c"]
    assert market.walk(preferences=Preferences(order=("b",))) == ["b", "c", "a"]


def test_an_unmeasured_throughput_sorts_last() -> None:
    market = three()
    market.router.observe(Observation("c/m", "json", market.now, Outcome.SUCCESS, 1000, 2000, 1, 10))
    market = Market(endpoint("a"), endpoint("b"))
    market.see("b")
    assert market.walk(preferences=Preferences(sort="throughput")) == ["b", "a"]


def test_require_parameters_asks_for_the_optional_too() -> None:
    market = Market(endpoint("a", 0.2, features=frozenset({"tools"})), endpoint("b", 1.2))
    asked = frozenset({"tools", "logprobs"})
    assert market.walk(features=asked) == ["a", "b"]
    assert market.walk(features=asked, preferences=Preferences(require_parameters=True)) == ["b"]


def test_no_fallbacks_means_no_other_endpoint_or_model() -> None:
    models = (ModelRules("m", fallback_models=("n",)),)
    market = Market(endpoint("a", 0.2), endpoint("b", 0.9), endpoint("z", model="n"), models=models)
    plan = market.plan(preferences=Preferences(allow_fallbacks=False))
    assert plan.more(market.now)
    first = plan.next(market.now)
    assert first == endpoint("a", 0.2)
    assert plan.next(market.now) is None
    assert not plan.more(market.now)
    assert not plan.more_here(market.now)
    assert not plan.advance(market.now)
    assert plan.last_resort(market.now) is None
    market.router.cool("b/m", market.now + S)
    assert plan.earliest_cooled_us(market.now) is None
    market.router.cool("a/m", market.now + S)
    assert plan.earliest_cooled_us(market.now) == (first, market.now + S)


# Refusals


def test_an_unknown_model_names_the_known_ones() -> None:
    market = Market(endpoint("a"), endpoint("z", model="n"), models=(ModelRules("m", aliases=("default", "n")),))
    with pytest.raises(UnknownModel, match=r"^Unknown model 'x'; known models: m, n\.$") as caught:
        market.plan("x")
    assert (caught.value.name, caught.value.known) == ("x", ("m", "n"))
    with pytest.raises(UnknownModel):
        market.router.ranking("x", T)
    assert market.router.resolve("default") == "m"
    assert market.router.resolve("n") == "n"
    assert market.router.resolve("x") is None
    assert market.router.models() == ["m", "n"]


def test_an_unknown_tier_names_the_known_ones() -> None:
    with pytest.raises(UnknownTier, match=r"^Unknown tier 'x'; known tiers: high\.$") as caught:
        Market(endpoint("a"), tiers=(Tier("high"),)).plan(tier="x")
    assert (caught.value.name, caught.value.known) == ("x", ("high",))
    with pytest.raises(UnknownTier, match="known tiers: none"):
        Market(endpoint("a")).plan(tier="x")


def test_a_pool_the_cap_emptied_names_the_cheapest() -> None:
    market = Market(endpoint("a", 5.0), endpoint("b", 4.0))
    with pytest.raises(EmptyPool) as caught:
        market.plan()
    error = caught.value
    assert error.filters == {"price_cap": 2}
    assert error.nearest == endpoint("b", 4.0)
    assert error.cheapest == Price.from_usd(4.0, 12.0)
    assert str(error) == (
        "No endpoint of model 'm' can serve this request: price_cap excludes 2; nearest is b/m (excluded by price_cap);"
        " the cheapest price is $4 in, $12 out per million tokens."
    )


def test_an_empty_pool_counts_each_filter() -> None:
    market = Market(
        endpoint("a", 5.0, features=frozenset()),
        endpoint("b", 1.0, context=10),
        endpoint("c", 1.0, features=frozenset()),
        endpoint("d", 1.1),
        tiers=(Tier("high", min_reputation=0.99),),
    )
    market.see("d", times=30, ms=2_000)
    with pytest.raises(EmptyPool) as caught:
        market.plan(
            tier="high",
            features=frozenset({"tools"}),
            input_tokens=100,
            preferences=Preferences(ignore=("c",), max_price=Price.from_usd(3.0, 9.0)),
        )
    assert caught.value.filters == {
        "features": 2,
        "price_cap": 1,
        "max_price": 1,
        "context": 1,
        "ignore": 1,
        "min_reputation": 1,
    }
    assert caught.value.nearest == endpoint("b", 1.0, context=10)
    assert caught.value.nearest_filters == ("context",)
    assert caught.value.cheapest == Price.from_usd(5.0, 15.0)


@pytest.mark.parametrize(
    ("preferences", "name"),
    [
        (Preferences(only=("nobody",)), "only"),
        (Preferences(ignore=("a", "b")), "ignore"),
        (Preferences(order=("nobody",), allow_fallbacks=False), "only"),
        (Preferences(max_price=Price.from_usd(0.01, 0.0)), "max_price"),
    ],
)
def test_an_empty_pool_says_which_preference_did_it(preferences: Preferences, name: str) -> None:
    with pytest.raises(EmptyPool) as caught:
        Market(endpoint("a"), endpoint("b")).plan(preferences=preferences)
    assert caught.value.filters == {name: 2}
    assert (caught.value.cheapest is not None) == (name == "max_price")


def test_a_model_without_endpoints_says_so() -> None:
    market = Market(endpoint("a", model="n"), models=(ModelRules("m"),))
    with pytest.raises(EmptyPool, match="it has none") as caught:
        market.plan()
    assert caught.value.nearest is None
    with pytest.raises(EmptyPool, match="pin_only"):
        Market(endpoint("a"), models=(ModelRules("m", pin=("x/m",), pin_only=True),)).plan()


# ---- who asks --------------------------------------------------------------------------------------------------------


def test_a_cap_of_ones_own_is_the_lower_on_each_side() -> None:
    market = Market(endpoint("cheap", 0.5), endpoint("dear", 1.5), cap=CAP)
    assert set(market.walk()) == {"cheap", "dear"}
    assert market.walk(price_cap=Price.from_usd(1.0, 3.0)) == ["cheap"]
    # Higher than the buyer's: the buyer's holds.
    market = Market(endpoint("cheap", 0.5), endpoint("dear", 3.0), cap=CAP)
    assert market.walk(price_cap=Price.from_usd(9.0, 27.0)) == ["cheap"]
    # One side each.
    market = Market(endpoint("a", 1.0), cap=Price.from_usd(0.5, 100.0))
    with pytest.raises(EmptyPool):
        market.plan(price_cap=Price.from_usd(100.0, 0.1))


def test_a_cap_of_ones_own_without_the_buyers() -> None:
    market = Market(endpoint("cheap", 0.5), endpoint("dear", 1.5), cap=None)
    assert market.walk(price_cap=Price.from_usd(1.0, 3.0)) == ["cheap"]
    assert set(market.walk()) == {"cheap", "dear"}


def test_a_cap_of_ones_own_is_that_of_the_tier_where_it_is_lower() -> None:
    tiers = (Tier("high", price_cap_factor=2.0),)
    market = Market(endpoint("cheap", 0.5), endpoint("dear", 3.0), cap=CAP, tiers=tiers)
    assert set(market.walk(tier="high")) == {"cheap", "dear"}
    assert market.walk(tier="high", price_cap=CAP) == ["cheap"]


def test_fallback_models_are_those_allowed() -> None:
    models = (ModelRules("m", fallback_models=("n", "o")), ModelRules("n", aliases=("second",)))
    market = Market(endpoint("a"), endpoint("b", model="n"), endpoint("c", model="o"), models=models)
    assert market.walk() == ["a", "b/n", "c/o"]
    assert market.walk(allowed_models=frozenset({"m", "o"})) == ["a", "c/o"]
    assert market.walk(allowed_models=frozenset({"m"})) == ["a"]
    assert market.walk(allowed_models=frozenset({"m", "n"}), fallback_models=("o", "second")) == ["a", "b/n"]


def test_the_dearest_price_is_of_all_that_may_be_asked() -> None:
    models = (ModelRules("m", fallback_models=("n",)),)
    market = Market(endpoint("a", 1.0), endpoint("b", 2.0), endpoint("c", 5.0, model="n"), models=models, cap=None)
    assert market.plan().get_dearest() == Price.from_usd(5.0, 15.0)
    assert market.plan(allowed_models=frozenset({"m"})).get_dearest() == Price.from_usd(2.0, 6.0)
    assert market.plan(preferences=Preferences(only=("a",), allow_fallbacks=False)).get_dearest() == (
        Price.from_usd(1.0, 3.0)
    )
    market.router.reprice({"c/n": Price.from_usd(7.0, 1.0)})
    assert market.plan().get_dearest() == Price.from_usd(7.0, 6.0)
    assert market.plan().get_dearest() == Price.from_usd(7.0, 6.0)
