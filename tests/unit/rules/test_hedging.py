"""When a second attempt may begin, how many may, and what one that lost teaches."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from providerrank.rules.belief import compute_silence_posterior
from providerrank.rules.hedging import HedgeBudget, compute_hedge_us
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.window import Window
from tests.unit.rules.market import Market, endpoint

MS = 1_000
S = 1_000_000


def fill(ttfts_us: list[int], at_us: int = S) -> Window:
    window = Window()
    for ttft_us in ttfts_us:
        window.observe(Observation("a/m", "chat", at_us, Outcome.SUCCESS, ttft_us, ttft_us + S))
    return window


# ---- the budget ------------------------------------------------------------------------------------------------------


def test_it_begins_empty() -> None:
    assert not HedgeBudget(1.0).has_one()


def test_each_request_earns_its_share() -> None:
    budget = HedgeBudget(0.05)
    budget.requests = 19
    assert not budget.has_one()
    budget.requests = 20
    assert budget.has_one()
    budget.take()
    assert (budget.taken, budget.has_one()) == (1, False)


def test_no_more_is_saved_up_than_so_many_requests_earn() -> None:
    budget = HedgeBudget(0.05)
    budget.requests = 1_000_000
    while budget.has_one():
        budget.take()
    assert budget.taken == 0.05 * PARAMS.hedge_saved_requests


def test_a_small_share_can_still_be_saved_up_for() -> None:
    budget = HedgeBudget(0.0001)
    budget.requests = 9_999
    assert not budget.has_one()
    budget.requests = 10_000
    assert budget.has_one()


def test_at_no_moment_there_were_more_than_the_share() -> None:
    """Whatever asks for them, and though millionths are added thousands of times."""
    draw = random.Random(5).random
    budget = HedgeBudget(0.05)
    for number in range(1, 20_001):
        budget.requests = number
        if draw() < 0.3 and budget.has_one():
            budget.take()
        assert budget.taken <= 0.05 * number
    assert budget.taken > 0.04 * number, "what is paid for is to be had"


def test_another_share_holds_for_what_comes() -> None:
    budget = HedgeBudget(0.05)
    budget.requests = 40
    budget.change(0.0)
    budget.requests = 400
    taken = 0
    while budget.has_one():
        budget.take()
        taken += 1
    assert taken == 2
    budget.change(0.5)
    budget.requests = 402
    assert budget.has_one()


def test_a_share_of_nothing_pays_for_nothing() -> None:
    budget = HedgeBudget(0.0)
    budget.requests = 1_000_000
    assert not budget.has_one()


# ---- when ------------------------------------------------------------------------------------------------------------


OTHER_US = 400 * MS
"""What another endpoint is expected to take."""


def test_after_the_95th_percentile() -> None:
    after_us = compute_hedge_us(fill([300 * MS] * 93 + [2 * S] * 4 + [9 * S] * 3), OTHER_US)
    assert after_us == pytest.approx(2 * S, rel=0.05)
    after_us = compute_hedge_us(fill([300 * MS] * 96 + [2 * S] * 4), OTHER_US)
    assert after_us == pytest.approx(300 * MS, rel=0.05)


@pytest.mark.parametrize("ttft_us", [101 * MS, 333_333, 1 * S, 24_330_000])
def test_what_is_as_slow_as_the_p95_is_not_slower_than_it(ttft_us: int) -> None:
    """Whatever the sketch's error: or more than one in twenty would be hedged."""
    window = fill([100 * MS] * 90 + [ttft_us] * 6 + [60 * S] * 4)
    after_us = compute_hedge_us(window, OTHER_US)
    assert after_us is not None
    assert ttft_us <= after_us <= 1.05 * ttft_us


def test_later_where_one_so_slow_is_about_to_speak() -> None:
    """The p95 is at 300 ms; most of what is slower is there by 500 ms, and what is not takes seconds."""
    window = fill([300 * MS] * 950 + [400 * MS] * 30 + [500 * MS] * 19 + [9 * S])
    assert window.p95_us == pytest.approx(300 * MS, rel=0.05)
    assert compute_hedge_us(window, OTHER_US) == pytest.approx(500 * MS, rel=0.05)
    assert compute_hedge_us(window, 150 * MS) == pytest.approx(300 * MS, rel=0.05), "a faster one is worth it sooner"


def test_of_a_light_tail_only_what_is_slower_than_any() -> None:
    window = fill([300 * MS + 2 * MS * at for at in range(100)])
    assert compute_hedge_us(window, OTHER_US) == pytest.approx(500 * MS, rel=0.05)


def test_one_in_ten_is_enough() -> None:
    for slow, after_us in ((4, 500 * MS), (6, 300 * MS)):
        window = fill([300 * MS] * 950 + [500 * MS] * (50 - slow) + [9 * S] * slow)
        assert compute_hedge_us(window, OTHER_US) == pytest.approx(after_us, rel=0.05)


def test_never_before_enough_was_seen() -> None:
    few = int(PARAMS.hedge_requests) - 1
    assert compute_hedge_us(None, OTHER_US) is None
    assert compute_hedge_us(Window(), OTHER_US) is None
    assert compute_hedge_us(fill([300 * MS] * few), OTHER_US) is None
    assert compute_hedge_us(fill([300 * MS] * (few + 2)), OTHER_US) is not None


def test_never_sooner_than_anybody_would_feel() -> None:
    assert compute_hedge_us(fill([5 * MS] * 50), OTHER_US) == PARAMS.hedge_floor_us


def test_the_p95_follows_what_comes() -> None:
    window = fill([300 * MS] * 40)
    assert window.p95_us == pytest.approx(300 * MS, rel=0.05)
    for _ in range(10):
        window.observe(Observation("a/m", "chat", S, Outcome.SUCCESS, 3 * S, 4 * S))
    assert window.p95_us == pytest.approx(3 * S, rel=0.05)
    assert (window.p95_us or 0) >= (window.quantile_us(0.95) or 0)
    assert Window().p95_us is None


def test_the_router_knows_it_by_endpoint_and_task() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    assert market.router.hedge_us("a/m", "chat") is None
    market.see("a", times=50, ms=400)
    market.wait(2)
    market.see("a", ms=400)
    assert market.router.hedge_us("a/m", "chat") == pytest.approx(400 * MS, rel=0.05)
    assert market.router.hedge_us("a/m", "an unheard-of task") == market.router.hedge_us("a/m", "chat")
    assert market.router.hedge_us("a/m", "tools") is None
    assert market.router.hedge_us("b/m", "chat") is None


def test_the_router_finds_it_anew_now_and_then() -> None:
    market = Market(endpoint("a"))
    market.see("a", times=50, ms=400)
    market.wait(2)
    market.see("a", ms=400)
    before = market.router.hedge_us("a/m", "chat")
    market.see("a", times=9, ms=5_000, gap_s=0.1)
    assert market.router.hedge_us("a/m", "chat") == before
    market.see("a", times=9, ms=5_000, gap_s=0.1)
    assert market.router.hedge_us("a/m", "chat") == pytest.approx(5 * S, rel=0.05)


# ---- on whom ---------------------------------------------------------------------------------------------------------


def known(*names: str) -> Market:
    market = Market(*(endpoint(name) for name in names))
    for name in names:
        market.see(name, times=50)
    return market


def test_a_second_attempt_goes_where_a_first_would_go_next() -> None:
    market = known("a", "b")
    plan = market.plan()
    first = plan.next(market.now)
    second = plan.next(market.now, spare=True)
    assert first is not None
    assert second is not None
    assert first is not second
    assert plan.next(market.now, spare=True) is None


def test_it_does_not_go_where_one_was_refused_for_being_too_many() -> None:
    market = known("a", "b")
    plan = market.plan()
    assert plan.next(market.now) is not None
    other = next(name for name in ("a/m", "b/m") if market.router._endpoints[name] not in plan._tried)
    state = market.router._endpoints[other]
    state.in_flight = 1_000
    assert state.has_room(PARAMS), "a limit nobody has met is none"
    state.limit = 10.0
    assert plan.next(market.now, spare=True) is None
    state.in_flight = 9
    assert plan.next(market.now, spare=True) is not None


def test_it_does_not_go_where_nobody_is_believed_well() -> None:
    market = known("a", "b")
    market.fail("b", times=4)
    plan = market.plan()
    first = plan.next(market.now)
    assert first is not None
    assert first.id == "a/m"
    assert plan.next(market.now, spare=True) is None


# ---- what a loser teaches --------------------------------------------------------------------------------------------


def lose(market: Market, name: str, silent_us: int, session: str | None = None, task: str = "chat") -> None:
    market.router.observe(
        Observation(f"{name}/m", task, market.now, Outcome.NOBODYS, total_us=silent_us, silent_us=silent_us), session
    )


def test_its_mass_goes_where_the_longer_ones_are() -> None:
    window = fill([300 * MS] * 90 + [1 * S] * 5 + [4 * S] * 5)
    spread = window.compute_spread(600 * MS)
    assert sorted(spread.values()) == [0.5, 0.5]
    assert window.get_longer_share(600 * MS) == pytest.approx(0.1)
    mean = window.observe_spread(2 * S, spread)
    assert window.timed == pytest.approx(101, rel=1e-3)
    assert window.requests == pytest.approx(100, rel=1e-3), "it neither succeeded nor failed"
    assert 2.718281828**mean == pytest.approx((1 * S * 4 * S) ** 0.5, rel=0.05)


def test_longer_than_any_seen_it_is_at_least_that() -> None:
    window = fill([300 * MS] * 10)
    assert window.get_longer_share(1 * S) == 0.0
    window.observe_spread(S, window.compute_spread(1 * S))
    assert window.quantile_us(1.0) == pytest.approx(1 * S, rel=0.05)


def test_nothing_known_nothing_is_longer() -> None:
    assert Window().get_longer_share(S) == 0.0


def test_it_is_added_whatever_the_time_since() -> None:
    window = fill([300 * MS] * 10)
    later = S + 50 * PARAMS.history_half_life_us
    window.observe_spread(later, window.compute_spread(100 * MS))
    assert window.at_us == later
    assert window.timed == pytest.approx(1.0)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_losers_do_not_make_a_cell_look_faster_or_slower_than_it_is(seed: int) -> None:
    """Every answer slower than the p95 is dropped there; forgotten, they would leave a cell without a tail."""
    rng = random.Random(seed)
    true, seen, forgotten = Window(), Window(), Window()
    for number in range(4_000):
        ttft_us = int(300 * MS * rng.lognormvariate(0.0, 0.8))
        obs = Observation("a/m", "chat", S, Outcome.SUCCESS, ttft_us, ttft_us + S)
        true.observe(obs)
        after_us = compute_hedge_us(seen, OTHER_US) if number >= 200 else None
        limit_us = None if after_us is None else after_us + 400 * MS
        if limit_us is not None and ttft_us > limit_us:
            seen.observe_spread(S, seen.compute_spread(limit_us))
        else:
            seen.observe(obs)
            forgotten.observe(obs)
    for quantile in (0.5, 0.9, 0.95):
        assert seen.quantile_us(quantile) == pytest.approx(true.quantile_us(quantile), rel=0.07)
    assert (seen.p99_us or 0) > 0.8 * (true.p99_us or 0)
    assert (forgotten.p99_us or 0) < 0.8 * (true.p99_us or 0)


def test_the_endpoint_and_its_cell_learn_the_same() -> None:
    market = known("a")
    market.see("a", times=30, task="tools")
    state = market.router._endpoints["a/m"]
    cells = [cell.window for cell in state.cells.values() if cell.window is not None]
    assert len(cells) == 2
    before = state.window.timed
    lose(market, "a", 2 * S)
    assert state.window.timed == pytest.approx(before + 1, rel=1e-3)
    assert state.window.timed == pytest.approx(sum(window.timed for window in cells), rel=1e-3)
    merged = Window.merged(*cells)
    assert merged.quantile_us(1.0) == state.window.quantile_us(1.0)


def test_it_is_kept() -> None:
    market = known("a")
    market.router.windows()
    lose(market, "a", 2 * S)
    assert len(market.router.windows()) == 1


def test_its_endpoint_ranks_as_slower() -> None:
    market = known("a", "b")
    before = market.router.ranking("m", market.now).rows
    for _ in range(3):
        lose(market, "a", 5 * S)
        market.see("a")
    after = {row.endpoint.provider: row for row in market.router.ranking("m", market.now).rows}
    was = {row.endpoint.provider: row for row in before}
    assert after["a"].ttft_us > was["a"].ttft_us
    assert after["a"].latency < was["a"].latency
    assert after["a"].success >= was["a"].success - 1e-9, "slow is not failed"
    assert after["b"].ttft_us == pytest.approx(was["b"].ttft_us, rel=0.05)


def test_eight_unusual_silences_in_a_row_put_it_out() -> None:
    market = known("a", "b")
    for count in range(8):
        assert market.router.ranking("m", market.now).rows[0].state != "out", count
        lose(market, "a", 9 * S)
    shown = {row.endpoint.provider: row.state for row in market.router.ranking("m", market.now).rows}
    assert shown == {"a": "out", "b": "ok"}
    market.see("a", times=2)
    shown = {row.endpoint.provider: row.state for row in market.router.ranking("m", market.now).rows}
    assert shown["a"] != "out", "an answer brings it back"


def test_time_before_it_was_out_counts_as_up() -> None:
    market = known("a")
    market.wait(3600)
    for _ in range(8):
        lose(market, "a", 9 * S)
    market.wait(20)
    market.see("a", times=3)
    [row] = market.router.ranking("m", market.now).rows
    assert row.uptime > 0.98


def test_a_usual_silence_says_nothing_of_an_outage() -> None:
    market = known("a")
    for _ in range(5):
        lose(market, "a", 1 * MS)
    state = market.router._endpoints["a/m"]
    assert state.belief == PARAMS.belief_floor
    assert not state.suspect


def test_silence_is_weighed_by_how_unusual_it_is() -> None:
    beliefs = [compute_silence_posterior(0.01, longer) for longer in (1.0, 0.8, 0.5, 0.2, 0.0)]
    assert beliefs[0] == pytest.approx(0.01)
    assert beliefs[0] < beliefs[1] < beliefs[2]
    assert beliefs[2] == beliefs[3] == beliefs[4], "slow ones come in runs"


def test_a_named_session_learns_it_too() -> None:
    market = known("a", "b")
    market.see("a", times=3, session="mine")
    for _ in range(8):
        lose(market, "a", 9 * S, session="mine")
    shown = {row.endpoint.provider: row for row in market.router.ranking("m", market.now, session="mine").rows}
    assert shown["a"].state == "out"
    market.see("a", times=4)
    overall = {row.endpoint.provider: row for row in market.router.ranking("m", market.now).rows}
    own = {row.endpoint.provider: row for row in market.router.ranking("m", market.now, session="mine").rows}
    assert overall["a"].state != "out"
    assert own["a"].belief > overall["a"].belief


def test_of_a_cell_nobody_timed_a_short_silence_says_nothing() -> None:
    market = Market(endpoint("a"))
    lose(market, "a", 10 * MS)
    assert not market.router.windows()
    lose(market, "a", 20 * S)
    [(_, window)] = market.router.windows()
    assert window.timed == pytest.approx(1.0)


def test_one_that_only_failed_was_never_timed() -> None:
    market = Market(endpoint("a"))
    market.fail("a")
    lose(market, "a", 10 * MS)
    [(_, window)] = market.router.windows()
    assert not window.timed
    lose(market, "a", 20 * S)
    assert window.timed == pytest.approx(1.0)


def test_other_parameters_other_figures() -> None:
    window = fill([300 * MS] * 50)
    assert compute_hedge_us(window, OTHER_US, replace(PARAMS, hedge_requests=100.0)) is None
    assert compute_hedge_us(window, OTHER_US, replace(PARAMS, hedge_floor_us=S)) == S
