"""How many requests an endpoint takes at once, learned from refusals and from crowds."""

from __future__ import annotations

import pytest

from providerrank.rules.ask import Ask
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS
from tests.unit.rules.market import Market, endpoint, row, three


def test_an_endpoint_at_its_learned_limit_is_passed_over_while_another_has_room() -> None:
    it = three()
    for _ in range(10):
        it.router.acquire("a/m")
    assert it.walk()[0] == "a"
    it.see("a", Outcome.RATE_LIMITED)
    it.see("a", times=60)
    for _ in range(10):
        it.router.acquire("a/m")
    plan = it.router.plan(Ask("m"), it.now)
    assert plan.has_room(it.now)
    chosen = plan.next(it.now)
    assert chosen is not None
    assert chosen.provider != "a"
    for _ in range(10):
        it.router.release("a/m")
    assert it.walk()[0] == "a"


def test_one_believed_out_has_no_room_though_its_score_is_better_than_a_suspects() -> None:
    it = Market(endpoint("a", 0.2), endpoint("b", 0.8), endpoint("c", 0.9))
    for name in "abc":
        it.see(name, times=30)
    for _ in range(4):
        it.router.acquire("a/m")
    it.see("a", Outcome.RATE_LIMITED)
    it.fail("b", 1)
    it.fail("c", 3)
    b, c = row(it, "b"), row(it, "c")
    assert (b.state, c.state) == ("suspect", "out")
    assert c.composite > b.effective > 0.0, "its composite alone does not end the search"
    chosen = it.router.plan(Ask("m"), it.now).next(it.now)
    assert chosen is not None
    assert chosen.provider == "b"


def test_where_nobody_has_room_the_best_is_asked_all_the_same() -> None:
    it = three()
    for name in ("a", "b", "c"):
        for _ in range(4):
            it.router.acquire(f"{name}/m")
        it.see(name, Outcome.RATE_LIMITED)
    plan = it.router.plan(Ask("m"), it.now)
    assert not plan.has_room(it.now)
    assert plan.next(it.now) is not None


def test_an_endpoint_that_grows_slow_in_a_crowd_gets_a_limit() -> None:
    it = three()
    it.see("a", times=400, gap_s=1)
    for _ in range(200):
        it.router.acquire("a/m")
    it.see("a", times=400, ms=1_500, gap_s=0.004)
    limit = row(it, "a").concurrency_limit
    assert limit == pytest.approx(180.0, abs=1.0)
    # Each step is given time to show what it does, and goes down from the limit that was learned.
    it.see("a", times=100, ms=1_500, gap_s=0.02)
    assert 150.0 < row(it, "a").concurrency_limit < limit


def test_an_endpoint_that_is_slow_without_a_crowd_is_only_slow() -> None:
    it = three()
    it.see("a", times=400, gap_s=1)
    for _ in range(15):
        it.router.acquire("a/m")
    it.see("a", times=100, ms=1_500, gap_s=0.01)
    assert row(it, "a").concurrency_limit == PARAMS.concurrency_limit


def test_a_limit_is_forgotten_when_there_is_room_enough() -> None:
    it = three()
    for _ in range(200):
        it.router.acquire("a/m")
    it.see("a", Outcome.RATE_LIMITED)
    assert row(it, "a").concurrency_limit == pytest.approx(140.0)
    it.see("a", times=50, gap_s=0.001)
    assert row(it, "a").concurrency_limit > 140.0
    for _ in range(150):
        it.router.release("a/m")
    it.see("a")
    assert row(it, "a").concurrency_limit == PARAMS.concurrency_limit


def test_a_crowd_without_figures_teaches_nothing() -> None:
    market = Market(endpoint("a"))
    for _ in range(20):
        market.router.acquire("a/m")
    market.see("a", Outcome.FAILURE)
    assert row(market, "a").concurrency_limit == PARAMS.concurrency_limit
