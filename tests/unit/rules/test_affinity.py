"""A conversation stays where its prompt is cached, unless leaving gains more than the cache saves."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from providerrank.rules.affinity import Homes, compute_cached_price_score, compute_saved_share
from providerrank.rules.ask import Ask, Preferences
from providerrank.rules.catalog import Buyer, Catalog, ModelRules
from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import MINUTE_US, PARAMS, SECOND_US
from providerrank.rules.router import Router
from providerrank.rules.state import EndpointState, ModelState
from providerrank.rules.why import Why

NOW = 1_700_000_000 * SECOND_US
PROMPT = 20_000


def endpoint(name: str, usd: float = 1.0, cached_usd: float | None = 0.1) -> Endpoint:
    return Endpoint(f"{name}/m", "m", Price.from_usd(usd, usd, cached_usd))


def router_of(*endpoints: Endpoint, **ttfts_us: int) -> Router:
    """A router that has seen each endpoint often; ``ttfts_us`` by provider."""
    router = Router(
        Catalog(endpoints, buyer=Buyer(Price.from_usd(2.0, 2.0), exploration=0.0)),
        random.Random(1),
    )
    for at in range(200):
        for one in endpoints:
            ttft = ttfts_us.get(one.provider, 400_000)
            router.observe(Observation(one.id, "chat", NOW - (200 - at) * 1000, Outcome.SUCCESS, ttft, ttft))
    return router


def ask(preferences: Preferences | None = None) -> Ask:
    return Ask("m", input_tokens=PROMPT, output_tokens=100, preferences=preferences)


def choose(router: Router, prefix: int, now_us: int = NOW, asked: Ask | None = None) -> tuple[str, Why]:
    plan = router.plan(asked or ask(), now_us, prefix)
    chosen = plan.next(now_us)
    assert chosen is not None
    return chosen.provider, plan.why


def test_a_conversation_stays_with_a_slightly_slower_home() -> None:
    router = router_of(endpoint("fast"), endpoint("home"), home=520_000)
    assert choose(router, 7) == ("fast", Why.BEST)
    router.settle(7, "home/m", PROMPT, None, NOW)
    assert choose(router, 7) == ("home", Why.CACHE)
    assert choose(router, 8)[0] == "fast"
    assert choose(router, 0)[0] == "fast"


def test_it_leaves_for_a_gain_above_the_cache() -> None:
    router = router_of(endpoint("fast"), endpoint("home"), home=2_500_000)
    router.settle(7, "home/m", PROMPT, None, NOW)
    assert choose(router, 7) == ("fast", Why.BEST)


def test_nothing_holds_it_where_the_cache_saves_nothing() -> None:
    router = router_of(endpoint("fast"), endpoint("home", cached_usd=None), home=520_000)
    router.settle(7, "home/m", PROMPT, None, NOW)
    assert choose(router, 7)[0] == "fast"


def test_a_cache_is_forgotten_when_its_time_is_over() -> None:
    router = router_of(endpoint("fast"), endpoint("home"), home=520_000)
    router.settle(7, "home/m", PROMPT, None, NOW)
    assert choose(router, 7, NOW + 5 * MINUTE_US)[0] == "home"
    assert choose(router, 7, NOW + 5 * MINUTE_US + 1)[0] == "fast"


def test_an_endpoint_that_never_finds_its_cache_holds_nobody() -> None:
    router = router_of(endpoint("fast"), endpoint("home"), home=520_000)
    for turn in range(60):
        router.settle(7, "home/m", PROMPT, 0 if turn else None, NOW)
    assert choose(router, 7)[0] == "fast"
    for _ in range(60):
        router.settle(7, "home/m", PROMPT, PROMPT, NOW)
    assert choose(router, 7)[0] == "home"


def test_a_home_that_fails_is_left() -> None:
    router = router_of(endpoint("fast"), endpoint("home"), home=520_000)
    router.settle(7, "home/m", PROMPT, None, NOW)
    for _ in range(4):
        router.observe(Observation("home/m", "chat", NOW, Outcome.FAILURE))
    assert choose(router, 7)[0] == "fast"
    router = router_of(endpoint("fast"), endpoint("home"), home=520_000)
    router.settle(7, "home/m", PROMPT, None, NOW)
    router.cool("home/m", NOW + SECOND_US)
    assert choose(router, 7)[0] == "fast"


def test_the_next_endpoint_after_a_failure_is_by_rank() -> None:
    router = router_of(endpoint("fast"), endpoint("home"), endpoint("third"), home=520_000, third=600_000)
    router.settle(7, "home/m", PROMPT, None, NOW)
    plan = router.plan(ask(), NOW, 7)
    first, second = plan.next(NOW), plan.next(NOW)
    assert first is not None
    assert second is not None
    assert (first.provider, second.provider) == ("home", "fast")


def test_the_request_s_own_order_comes_first() -> None:
    router = router_of(endpoint("fast"), endpoint("home"), home=520_000)
    router.settle(7, "home/m", PROMPT, None, NOW)
    assert choose(router, 7, asked=ask(Preferences(order=("fast",)))) == ("fast", Why.FIRST)
    assert choose(router, 7, asked=ask(Preferences(ignore=("home",))))[0] == "fast"


def test_a_home_of_another_model_is_nobody_s() -> None:
    router = Router(
        Catalog((endpoint("a"), Endpoint("b/n", "n", Price(1, 1))), (ModelRules("m"), ModelRules("n"))),
        random.Random(1),
    )
    router.settle(7, "b/n", PROMPT, None, NOW)
    router.settle(7, "nobody/x", PROMPT, None, NOW)
    assert choose(router, 7)[0] == "a"


def test_a_cache_is_not_spent_on_exploration() -> None:
    endpoints = (endpoint("home"), endpoint("other"))
    router = Router(Catalog(endpoints, buyer=Buyer(exploration=1.0)), random.Random(1))
    router.settle(7, "home/m", PROMPT, None, NOW)
    assert {choose(router, 7)[0] for _ in range(50)} == {"home"}


# ---- the memory of homes ---------------------------------------------------------------------------------------------


def state_of(one: Endpoint) -> EndpointState:
    return EndpointState(one, ModelState(ModelRules("m")), 0, PARAMS)


def test_homes_are_bounded_and_the_longest_unused_goes() -> None:
    homes, state = Homes(replace(PARAMS, max_homes=2)), state_of(endpoint("a"))
    for prefix in (1, 2, 1, 3):
        homes.settle(prefix, state, 10, None, NOW)
    assert len(homes) == 2
    assert homes.find(2, NOW) is None
    assert homes.find(1, NOW) is not None


def test_hits_are_learned_only_from_the_same_home() -> None:
    homes, one, other = Homes(PARAMS), state_of(endpoint("a")), state_of(endpoint("b"))
    homes.settle(1, one, 100, 0, NOW)
    homes.settle(1, other, 100, 0, NOW)
    assert (one.cache_hits, other.cache_hits) == (1.0, 1.0)
    homes.settle(1, other, 200, 50, NOW)
    assert other.cache_hits == pytest.approx(1.0 - 0.125 * 0.5)
    homes.settle(1, other, 0, 0, NOW)
    homes.settle(1, other, 0, 0, NOW)
    assert other.cache_hits < 1.0


@pytest.mark.parametrize(
    ("price", "cached", "share"),
    [
        (Price.from_usd(1.0, 1.0, 0.1), 0, 0.0),
        (Price.from_usd(1.0, 0.0, 0.25), 1000, 0.75),
        (Price.from_usd(1.0, 0.0, 0.25), 5000, 0.75),
        (Price.from_usd(1.0, 1.0), 1000, 0.0),
        (Price.from_usd(0.0, 0.0, 0.0), 1000, 0.0),
        (Price.from_usd(1.0, 1.0, 3.0), 1000, 0.0),
    ],
)
def test_the_share_that_is_saved(price: Price, cached: int, share: float) -> None:
    assert compute_saved_share(price, 1000, 500, cached) == pytest.approx(share)


def test_a_cached_price_scores_as_that_price_would() -> None:
    # Half the cap scores 0.75; with half of it saved, a quarter of the cap scores 0.9375.
    assert compute_cached_price_score(0.75, 0.5, PARAMS) == pytest.approx(0.9375)
    assert compute_cached_price_score(0.75, 0.0, PARAMS) == pytest.approx(0.75)
