"""What a request is offered, and how what was seen changes it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from providerrank.rules.ask import Ask, EmptyPool, Preferences, UnknownModel, UnknownTier
from providerrank.rules.catalog import Buyer, Catalog, ModelRules, Tier
from providerrank.rules.cells import Cell, Price
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import Ranked, Weights
from providerrank.rules.router import Router
from providerrank.rules.window import Window
from tests.unit.rules.market import CAP, Market, S, T, endpoint


def row(market: Market, name: str, session: str | None = None, task: str = "chat", tier: str | None = None) -> Ranked:
    ranking = market.router.ranking("m", market.now, task, tier, session)
    return next(r for r in ranking.rows if r.endpoint.id == f"{name}/m")


def three() -> Market:
    """Three endpoints, well apart in price, all measured alike."""
    market = Market(endpoint("a", 0.2), endpoint("b", 0.8), endpoint("c", 1.2))
    for name in "abc":
        market.see(name, times=30)
    return market


# Rank order


def test_equal_in_all_else_the_cheaper_is_first() -> None:
    assert three().walk() == ["a", "b", "c"]


def test_one_failure_in_ten_ranks_below_ten_percent_of_the_cap_dearer() -> None:
    market = Market(endpoint("flaky", 1.0), endpoint("steady", 1.2))
    for _ in range(30):
        market.see("flaky", times=9, gap_s=10)
        market.see("steady", times=10, gap_s=10)
        market.see("flaky", Outcome.FAILURE, gap_s=10)
    market.see("flaky", times=5, gap_s=10)
    market.wait(600)
    assert market.walk() == ["steady", "flaky"]


def test_nobody_known_ties_are_broken_by_the_catalog() -> None:
    assert [r.endpoint.id for r in Market(endpoint("x"), endpoint("y")).router.ranking("m", T).rows] == ["x/m", "y/m"]


def test_what_is_unknown_is_taken_to_be_like_the_others_of_its_model() -> None:
    market = Market(endpoint("a"), endpoint("b"), endpoint("new"))
    before = row(market, "new").ttft_us
    for name in "ab":
        market.see(name, times=50, ms=3_000)
    assert row(market, "new").ttft_us > 1.8 * before
    assert row(market, "new").requests == 0.0


def test_a_large_board_is_scored_anew_at_most_once_a_second() -> None:
    market = Market(*(endpoint(f"e{i}") for i in range(80)))
    board = market.router._boards.get("m", "chat", None)
    board.refresh(market.now)
    market.see("e0", times=1, ms=9_000)
    market.see("e1", times=1, ms=9_000)
    board.refresh(market.now)
    unknown = next(s for s in board.members if s.state.id == "e50/m")
    before = unknown.composite
    market.see("e2", times=1, ms=9_000)
    market.see("e3", times=1, ms=9_000)
    board.refresh(market.now)
    first = unknown.composite
    market.wait(1.5)
    board.refresh(market.now)
    assert first == before
    assert unknown.composite < before


def test_the_board_keeps_its_order_through_any_observations() -> None:
    rng = random.Random(5)
    market = Market(*(endpoint(f"e{i}", rng.uniform(0.1, 1.5)) for i in range(70)))
    board = market.router._boards.get("m", "chat", None)
    for _ in range(400):
        outcome = Outcome.FAILURE if rng.random() < 0.2 else Outcome.SUCCESS
        market.see(f"e{rng.randrange(70)}", outcome, ms=rng.randrange(100, 4000), gap_s=0.02)
        board.refresh(market.now)
        assert board.keys == sorted(board.keys) == [s.key for s in board.members]
    assert len({s.state.id for s in board.members}) == 70


# Session


def test_three_failures_in_a_row_drop_the_best_within_the_session() -> None:
    market = three()
    market.fail("a", 3)
    assert row(market, "a").belief > 0.5
    assert row(market, "a").state == "out"
    assert market.walk() == ["b", "c"]


def test_it_comes_back_by_a_try_when_the_belief_has_fallen_and_by_success() -> None:
    market = three()
    market.fail("a", 3)
    market.wait(35)
    assert market.plan().next(market.now) == market.router._endpoints["a/m"].endpoint
    # One try at a time: the next request goes elsewhere until the first reports.
    assert market.walk()[0] == "b"
    market.see("a")
    assert market.walk()[0] == "a"
    market.see("a", times=2)
    assert row(market, "a").state == "ok"


def test_a_failed_try_sends_it_away_again() -> None:
    market = three()
    market.fail("a", 3)
    market.wait(35)
    assert market.walk()[0] == "a"
    market.fail("a")
    assert market.walk() == ["b", "c"]


def test_a_suspect_whose_lead_is_less_than_a_try_costs_waits() -> None:
    market = Market(endpoint("a", 0.9), endpoint("b", 1.05))
    market.see("a", times=30)
    market.see("b", times=30)
    assert market.walk()[0] == "a"
    market.fail("a", 3)
    market.wait(21)
    assert market.walk()[0] == "b"
    market.wait(60)
    assert market.walk()[0] == "a"


def test_a_try_nobody_can_judge_frees_the_next_one() -> None:
    market = three()
    market.fail("a", 3)
    market.wait(35)
    assert market.walk()[0] == "a"
    market.see("a", Outcome.NOBODYS)
    assert market.walk()[0] == "a"


def test_a_suspect_that_heals_with_time_alone_is_like_any_other() -> None:
    market = three()
    market.fail("a", 3)
    market.wait(600)
    assert market.walk() == ["a", "b", "c"]
    assert not market.router._endpoints["a/m"].suspect


def test_a_lower_ttft_than_its_history_lifts_it() -> None:
    market = Market(endpoint("a", 1.0), endpoint("b", 1.1))
    for name in "ab":
        market.see(name, times=200, ms=1_000)
    market.wait(1_800)
    before = row(market, "b").composite
    market.see("b", times=10, ms=300)
    assert row(market, "b").composite > before + 0.02
    assert market.walk() == ["b", "a"]
    market.wait(3_600)
    # Fades as the session does, even though nobody looked at it meanwhile.
    assert market.walk() == ["a", "b"]


def test_a_globally_third_endpoint_degraded_now_is_skipped_for_a_healthy_fourth() -> None:
    market = Market(*(endpoint(name, 0.4 + 0.3 * i) for i, name in enumerate("abcd")))
    for name in "abcd":
        market.see(name, times=30)
    assert market.walk() == ["a", "b", "c", "d"]
    market.fail("c", 3)
    assert market.walk() == ["a", "b", "d"]


def test_a_refusal_puts_it_out_at_once_and_each_further_one_for_longer() -> None:
    market = three()
    market.see("a", Outcome.REFUSED_US)
    assert market.walk() == ["b", "c"]
    success = row(market, "a").success
    market.wait(31)
    assert market.walk()[0] == "a"
    market.see("a", Outcome.REFUSED_US)
    market.wait(50)
    assert row(market, "a").state == "out"
    assert market.walk() == ["b", "c"]
    market.wait(12)
    assert market.walk()[0] == "a"
    # Our key being wrong says nothing of its quality.
    assert row(market, "a").success >= success - 0.001
    market.see("a", times=4)
    state = market.router._endpoints["a/m"]
    assert (state.refusals, state.hold_until_us) == (0, 0)


def test_a_schema_violation_counts_against_reliability_but_is_no_sign_of_an_outage() -> None:
    market = three()
    before = row(market, "a")
    market.see("a", Outcome.SCHEMA_VIOLATION, times=5)
    after = row(market, "a")
    assert after.belief == before.belief == PARAMS.belief_floor
    assert after.reliability < before.reliability - 0.1


def test_a_rate_limit_weighs_less_than_a_failure_and_teaches_the_limit() -> None:
    limited, failed = three(), three()
    for _ in range(10):
        limited.router.acquire("a/m")
    limited.see("a", Outcome.RATE_LIMITED)
    failed.fail("a")
    assert row(failed, "a").success < row(limited, "a").success < row(three(), "a").success
    assert row(failed, "a").belief > row(limited, "a").belief > PARAMS.belief_floor
    assert row(limited, "a").concurrency_limit == pytest.approx(7.0)
    limited.see("a", times=3)
    assert 7.2 < row(limited, "a").concurrency_limit < 7.6
    limited.see("a", times=3000, gap_s=0.001)
    assert row(limited, "a").concurrency_limit == PARAMS.concurrency_limit


def test_what_is_nobodys_fault_changes_nothing() -> None:
    market = three()
    market.walk()
    before = row(market, "a")
    market.see("a", Outcome.NOBODYS, times=5, gap_s=0)
    assert row(market, "a") == before
    assert len(market.router.windows()) == 3
    market.see("a", Outcome.NOBODYS)
    assert market.router.windows() == []


def test_an_observation_on_an_unknown_endpoint_is_ignored() -> None:
    market = three()
    market.see("gone")
    assert market.walk() == ["a", "b", "c"]


def test_failures_an_outage_explains_are_not_held_against_the_healthy_rate() -> None:
    market = three()
    market.fail("a", 10)
    window = market.router._endpoints["a/m"].window
    assert window.explained > 8.0
    assert window.failures < 2.0


def test_time_believed_out_is_downtime_for_every_cell() -> None:
    market = three()
    market.see("a", times=5, task="json")
    row(market, "a", task="tools")
    for _ in range(3):  # Each time down until it is due for a try, and that fails.
        market.fail("a", 3)
        market.wait(15)
    market.fail("a", 1)
    market.wait(100)
    market.see("a", times=4)
    chat, json = row(market, "a"), row(market, "a", task="json")
    down_s = 3 * 15 + 20
    assert chat.uptime == pytest.approx(1 - down_s / 1_960, abs=0.003)
    assert json.uptime == pytest.approx(1 - down_s / 1_960, abs=0.003)
    assert row(market, "b").uptime == 1.0


def test_an_endpoint_nobody_tries_is_not_down_for_longer_than_it_is_believed_out() -> None:
    market = three()
    market.fail("a", 3)
    market.wait(3_600)
    market.see("a")
    assert row(market, "a").uptime > 1 - 30 / 3_600


def test_a_named_session_sees_its_own_failures_first() -> None:
    market = three()
    market.fail("a", 3, session="mine")
    market.see("a", times=5, gap_s=0.01, session="other")
    assert row(market, "a").state == "ok"
    assert row(market, "a", session="mine").belief > 0.5
    assert market.walk(session="mine") == ["b", "c"]
    assert market.walk(session="other")[0] == "a"
    assert market.walk()[0] == "a"


def test_a_named_sessions_own_latency_moves_its_own_view() -> None:
    market = Market(endpoint("a", 0.9), endpoint("b", 1.0))
    for name in "ab":
        market.see(name, times=400, ms=600)
    market.see("a", times=12, ms=3_000, session="mine")
    market.see("a", times=400, ms=600, gap_s=0.01)
    assert row(market, "a", session="mine").ttft_us > row(market, "a").ttft_us * 1.3
    assert market.walk()[0] == "a"
    assert market.walk(session="mine") == ["b", "a"]


def test_a_conversation_stays_where_it_is_within_the_best_class() -> None:
    market = Market(endpoint("a", 1.0), endpoint("b", 1.005))
    for name in "ab":
        market.see(name, times=50)
    market.see("b", times=2, session="mine")
    assert {market.plan(session="mine").next(market.now) for _ in range(20)} == {endpoint("b", 1.005)}
    market.see("b", Outcome.RATE_LIMITED, session="mine")
    market.router.cool("b/m", market.now + S)
    assert market.walk(session="mine") == ["a"]


def test_a_failure_seen_only_once_in_a_session_leaves_the_endpoint_usable() -> None:
    market = three()
    market.fail("b", session="mine")
    market.router.cool("a/m", market.now + S)
    assert market.walk(session="mine") in (["b", "c"], ["c", "b"])


def test_a_session_cell_of_another_task_or_another_model_is_not_this_boards() -> None:
    market = Market(endpoint("a"), endpoint("z", model="n"))
    market.see("a", session="mine", task="json")
    market.see("z/n", session="mine")
    assert market.walk(session="mine") == ["a"]


def test_a_session_keeps_to_the_requests_own_list() -> None:
    market = three()
    market.see("a", session="mine")
    market.see("b", session="mine")
    assert market.walk(session="mine", preferences=Preferences(order=("c",), allow_fallbacks=False)) == ["c"]


def test_sessions_are_forgotten_least_recently_used_first() -> None:
    market = Market(endpoint("a"), endpoint("b"), params=replace(PARAMS, max_sessions=2, max_session_cells=1))
    for session in ("one", "two", "one", "three"):
        market.see("a", session=session)
    market.see("b", session="one")
    sessions = market.router._sessions
    assert len(sessions) == 2
    assert sessions.get("two") is None
    one = sessions.get("one")
    assert one is not None
    assert [cell.endpoint.id for cell in one] == ["b/m"]


# Choice


def test_within_a_class_the_less_loaded_of_two_is_taken() -> None:
    market = Market(endpoint("a", 1.0), endpoint("b", 1.005))
    for _ in range(3):
        market.router.acquire("a/m")
    assert market.walk()[0] == "b"
    for _ in range(3):
        market.router.release("a/m")
    market.router.release("a/m")
    assert row(market, "a").in_flight == 0
    assert market.walk()[0] == "a"


def test_load_does_not_reach_across_classes() -> None:
    market = three()
    for _ in range(50):
        market.router.acquire("a/m")
    assert market.walk()[0] == "a"


def test_a_class_is_shared_out_at_random() -> None:
    market = Market(*(endpoint(f"e{i}", 1.0) for i in range(10)))
    firsts = {market.walk()[0] for _ in range(200)}
    assert len(firsts) >= 8


def test_in_a_class_nobody_out_or_cooling_is_drawn() -> None:
    market = Market(*(endpoint(f"e{i}", 1.0) for i in range(12)))
    for i in range(2, 12):
        market.router.cool(f"e{i}/m", market.now + 60 * S)
    assert {market.walk()[0] for _ in range(60)} <= {"e0", "e1"}


def test_exploration_tries_what_is_not_best_now_and_then() -> None:
    market = Market(endpoint("a", 0.9), endpoint("b", 1.0), exploration=0.3)
    market.see("a", times=400, gap_s=0.01, ms=500)
    market.see("b", times=1, ms=600)
    firsts = [market.walk()[0] for _ in range(600)]
    assert 3 <= firsts.count("b") <= 120


def test_no_exploration_asked_none_given() -> None:
    market = Market(endpoint("a", 0.5), endpoint("b", 1.0))
    assert {market.walk()[0] for _ in range(100)} == {"a"}


def test_a_cold_pool_is_sampled_until_evidence_comes() -> None:
    market = Market(*(endpoint(f"e{i}", 0.2 + 0.06 * i) for i in range(24)), exploration=0.001)
    cold = {market.walk()[0] for _ in range(200)}
    for i in range(24):
        market.see(f"e{i}", times=60, gap_s=0.01, ms=300)
    warm = {market.walk()[0] for _ in range(200)}
    assert len(cold) > 8
    assert len(warm) <= 8


def test_sampling_reaches_everyone_of_a_large_pool_in_time() -> None:
    market = Market(*(endpoint(f"e{i}", 0.5 + 0.001 * i) for i in range(60)), exploration=1.0)
    market.router.cool("e0/m", market.now + S)
    market.fail("e1", 3)
    firsts = {market.plan().next(market.now) for _ in range(600)}
    assert len(firsts) > 40
    assert not {"e0/m", "e1/m"} & {e.id for e in firsts if e is not None}


def test_sampling_finds_nobody_when_all_are_out() -> None:
    market = Market(endpoint("a"), endpoint("b"), exploration=1.0)
    market.fail("a", 4)
    market.fail("b", 4)
    assert market.walk() == []


def test_a_tier_with_a_bar_never_explores() -> None:
    tier = Tier("high", min_reputation=0.1)
    market = Market(endpoint("a", 0.5), endpoint("b", 1.4), tiers=(tier,), exploration=1.0)
    market.see("a", times=5)
    market.see("b", times=5)
    assert {market.walk(tier="high")[0] for _ in range(50)} == {"a"}


# Steps of a plan


def test_cooling_lasts_until_the_later_deadline() -> None:
    market = three()
    market.router.cool("a/m", market.now + 5 * S)
    market.router.cool("a/m", market.now + 2 * S)
    assert market.walk() == ["b", "c"]
    assert row(market, "a").state == "cooling"
    assert row(market, "a").cooling_until_us == market.now + 5 * S
    market.wait(5)
    assert market.walk() == ["a", "b", "c"]


def test_what_one_request_requires_narrows_no_other() -> None:
    market = three()
    plan, other = market.plan(), market.plan()
    plan.require(frozenset({"prefill"}))
    assert not plan.more(market.now)
    assert plan.next(market.now) is None
    assert other.next(market.now) is not None
    assert market.plan().next(market.now) is not None


def test_the_earliest_cooled_is_told_tried_or_not() -> None:
    market = three()
    plan = market.plan()
    assert plan.earliest_cooled_us(market.now) is None
    tried = plan.next(market.now)
    assert tried is not None
    market.router.cool(tried.id, market.now + 9 * S)
    market.router.cool("b/m", market.now + 3 * S)
    assert plan.earliest_cooled_us(market.now) == (endpoint("b", 0.8), market.now + 3 * S)
    plan.require(frozenset({"prefill"}))
    assert plan.earliest_cooled_us(market.now) is None


def test_more_is_true_while_anyone_untried_is_left() -> None:
    market = Market(endpoint("a"), endpoint("z", model="n"), models=(ModelRules("m", fallback_models=("n",)),))
    plan = market.plan()
    assert plan.more(market.now)
    plan.next(market.now)
    assert not plan.more_here(market.now)
    assert plan.more(market.now)
    assert plan.advance(market.now)
    assert plan.model == "n"
    assert plan.next(market.now) == endpoint("z", model="n")
    assert not plan.more(market.now)
    assert not plan.advance(market.now)
    assert plan.last_resort(market.now) is None


def test_a_model_whose_endpoints_are_all_out_yields_to_its_fallback_and_is_the_last_resort() -> None:
    models = (ModelRules("m", fallback_models=("n",)),)
    market = Market(endpoint("a"), endpoint("b", 1.4), endpoint("z", model="n"), models=models)
    market.see("a", times=30)
    market.see("b", times=30)
    market.fail("a", 4)
    market.fail("b", 4)
    plan = market.plan()
    assert plan.next(market.now) is None
    assert plan.more(market.now)
    assert market.plan().last_resort(market.now, here=True) == endpoint("a")
    assert plan.advance(market.now)
    assert market.plan("n").last_resort(market.now, here=True) == endpoint("z", model="n")
    assert plan.next(market.now) == endpoint("z", model="n")
    assert plan.next(market.now) is None
    assert plan.more(market.now)
    assert plan.last_resort(market.now) == endpoint("a")
    assert plan.model == "m"
    assert plan.last_resort(market.now) == endpoint("b", 1.4)
    assert plan.last_resort(market.now) is None


def test_a_plan_sees_what_other_requests_met_meanwhile() -> None:
    market = three()
    plan = market.plan()
    assert plan.next(market.now) == endpoint("a", 0.2)
    market.fail("b", 4)
    assert plan.next(market.now) == endpoint("c", 1.2)


def test_what_a_refusal_names_is_required_of_the_rest() -> None:
    market = Market(
        endpoint("a", 0.5, context=8_000), endpoint("b", 0.8, context=8_000), endpoint("c", 1.2, context=32_000)
    )
    plan = market.plan()
    assert plan.next(market.now) == endpoint("a", 0.5, context=8_000)
    plan.require(context_over=8_000)
    plan.require(frozenset({"tools"}))
    assert plan.next(market.now) == endpoint("c", 1.2, context=32_000)
    assert plan.next(market.now) is None


def test_the_requests_own_fallback_models_replace_the_configured_ones() -> None:
    models = (ModelRules("m", aliases=("default",), fallback_models=("n",)),)
    market = Market(endpoint("a"), endpoint("y", model="n"), endpoint("z", model="o"), models=models)
    assert market.walk("default") == ["a", "y/n"]
    assert market.walk(fallback_models=("nonsense", "m", "o", "o")) == ["a", "z/o"]


def test_a_model_nobody_can_serve_yields_to_one_that_can() -> None:
    market = Market(endpoint("a", 5.0), endpoint("z", model="n"), models=(ModelRules("m", fallback_models=("n",)),))
    plan = market.plan()
    assert plan.model == "n"
    market = Market(endpoint("a"), endpoint("z", 5.0, model="n"), models=(ModelRules("m", fallback_models=("n",)),))
    assert market.walk() == ["a"]


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


def tiered() -> Market:
    tiers = (
        Tier("high", min_reputation=0.85, weights=Weights(0.9, 0.1), price_cap_factor=2.0),
        Tier("best-effort", weights=Weights(0.2, 0.8)),
    )
    market = Market(endpoint("slow", 0.3), endpoint("good", 1.0), endpoint("best", 3.0), tiers=tiers)
    market.see("slow", times=50, ms=3_000)
    market.see("good", times=50, ms=360)
    market.see("best", times=50, ms=250)
    return market


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


# History, clocks, metering, prices


def test_what_was_learned_survives_a_restart() -> None:
    market = three()
    market.see("a", times=10, task="json", ms=900)
    kept = market.router.windows()
    assert {(cell.endpoint_id, cell.task) for cell, _ in kept} == {
        ("a/m", "chat"),
        ("a/m", "json"),
        ("b/m", "chat"),
        ("c/m", "chat"),
    }
    assert market.router.windows() == []
    market.see("b")
    assert [cell for cell, _ in market.router.windows()] == [Cell("b/m", "chat")]
    assert len(market.router.windows(changed_only=False)) == 4
    records = [(cell, Window.from_record(window.to_record())) for cell, window in kept]
    again = Router(
        Catalog(tuple(s.endpoint for s in market.router._endpoints.values())), random.Random(0), PARAMS, records
    )
    for endpoint_id in ("a/m", "b/m"):
        old, new = market.router._endpoints[endpoint_id].window, again._endpoints[endpoint_id].window
        assert new.requests == pytest.approx(old.requests, rel=0.05)
        assert new.log_ttft == old.log_ttft
    assert again._boards.models["m"].observed == pytest.approx(100, rel=0.05)


def test_windows_of_the_same_cell_merge_and_of_unknown_endpoints_are_dropped() -> None:
    window = Window()
    window.observe(Observation("a/m", "chat", T, Outcome.SUCCESS, 1000, 2000))
    kept = [(Cell("a/m", "chat"), window), (Cell("a/m", "made-up"), window), (Cell("gone/m", "chat"), window)]
    router = Router(Catalog((endpoint("a"),)), random.Random(0), PARAMS, kept)
    [(cell, merged)] = router.windows(changed_only=False)
    assert cell == Cell("a/m", "chat")
    assert merged.requests == pytest.approx(2.0)


def test_a_cell_without_its_own_window_borrows_the_endpoints() -> None:
    market = three()
    market.see("a", times=30, ms=2_000)
    assert row(market, "a", task="tools").ttft_us == pytest.approx(row(market, "a").ttft_us, rel=0.5)
    assert row(market, "a", task="tools").requests > 50
    market.see("a", times=40, task="tools", ms=100)
    market.see("a", times=2, task="json", ms=100)
    assert row(market, "a", task="tools").ttft_us < 200_000
    assert market.router._endpoints["a/m"].window.requests == pytest.approx(102, rel=0.01)
    assert row(market, "a").ttft_us > 200_000


def test_an_unknown_task_is_chat_and_grows_nothing() -> None:
    market = three()
    for i in range(50):
        market.walk(task=f"made-up-{i}")
        market.see("a", task=f"made-up-{i}")
    assert len(market.router._boards) == 1
    assert list(market.router._endpoints["a/m"].cells) == ["chat"]
    assert market.router.ranking("m", market.now, "made-up").task == "chat"


def test_the_first_token_clock_follows_the_cell() -> None:
    market = Market(endpoint("a"), endpoint("b"), endpoint("c"))
    assert market.router.first_token_us("a/m", "chat") == PARAMS.first_token_default_us
    market.see("a", times=19)
    assert market.router.first_token_us("a/m", "chat") == PARAMS.first_token_default_us
    market.see("a", times=10)
    assert market.router.first_token_us("a/m", "chat") == PARAMS.first_token_floor_us
    market.see("b", times=30, ms=4_000)
    assert market.router.first_token_us("b/m", "chat") == pytest.approx(8 * S, rel=0.03)
    market.see("c", times=30, ms=100_000)
    assert market.router.first_token_us("c/m", "chat") == PARAMS.first_token_ceiling_us
    market.fail("a", 3)
    assert market.router.first_token_us("a/m", "json") == PARAMS.first_token_default_us


def test_a_cell_that_only_failed_has_no_clock_of_its_own() -> None:
    market = Market(endpoint("a"))
    market.fail("a", 40)
    assert market.router.first_token_us("a/m", "chat") == PARAMS.first_token_default_us


def test_a_seller_that_bills_over_ranks_lower() -> None:
    market = Market(endpoint("a", 0.9), endpoint("b", 1.0))
    for name, billed in (("a", 200), ("b", 100)):
        market.see(name, times=60, billed=billed)
    assert row(market, "a").billing_ratio == pytest.approx(2.0)
    assert row(market, "a").composite < 0.6 * row(market, "b").composite
    assert market.walk() == ["b", "a"]


def test_a_ratio_that_is_usual_for_the_model_accuses_nobody() -> None:
    """Tokens are shorter in some languages than the estimate thinks: everybody then bills more than was counted."""
    market = Market(endpoint("a", 0.9), endpoint("b", 1.0), endpoint("c", 1.1))
    for name, billed in (("a", 250), ("b", 245), ("c", 500)):
        market.see(name, times=60, billed=billed)
    assert row(market, "a").billing_ratio == pytest.approx(1.0)
    assert row(market, "b").billing_ratio == pytest.approx(0.98)
    assert row(market, "c").billing_ratio == pytest.approx(2.0)
    assert market.walk() == ["a", "b", "c"]


def test_where_nobody_else_sells_nobody_is_accused() -> None:
    market = Market(endpoint("a"))
    market.see("a", times=60, billed=300)
    assert row(market, "a").billing_ratio == pytest.approx(1.0)


def test_new_prices_reorder() -> None:
    market = three()
    market.router.reprice({"a/m": Price.from_usd(0.2, 0.6)})
    assert market.walk() == ["a", "b", "c"]
    market.router.reprice({"a/m": Price.from_usd(1.6, 4.8), "b/m": Price.from_usd(0.8, 2.4)})
    assert market.walk() == ["b", "c", "a"]
    market.router.reprice({"a/m": Price.from_usd(9.0, 9.0)})
    assert market.walk() == ["b", "c"]
    market.see("b")
    assert len(market.router._endpoints["b/m"].standings) == 1


def test_the_ranking_shows_everything() -> None:
    market = tiered()
    market.fail("slow")
    ranking = market.router.ranking("m", market.now)
    assert (ranking.model, ranking.task, ranking.tier, ranking.version) == ("m", "chat", None, PARAMS.version)
    assert [(r.endpoint.id, r.rank, r.state) for r in ranking.rows] == [
        ("good/m", 1, "ok"),
        ("slow/m", 2, "suspect"),
        ("best/m", None, "excluded"),
    ]
    good = ranking.rows[0]
    assert good.cost_nusd == pytest.approx(1_200 * 1_000 + 200 * 3_000)
    assert good.composite == pytest.approx(0.6 * good.reputation + 0.4 * good.price_score)
    assert good.throughput == pytest.approx(100.0)
    assert ranking.rows[-1].reputation > good.reputation


def test_the_buyers_weights_rank() -> None:
    endpoints = (endpoint("slow", 0.2), endpoint("fast", 1.2))
    for weights, first in ((Weights(1.0, 0.0), "fast/m"), (Weights(0.0, 3.0), "slow/m")):
        router = Router(Catalog(endpoints, buyer=Buyer(CAP, weights, 0.0)), random.Random(0))
        for i in range(20):
            for name, ms in (("slow", 3_000), ("fast", 200)):
                router.observe(Observation(f"{name}/m", "chat", T + i * S, Outcome.SUCCESS, ms * 1000, 9 * S))
        chosen = router.plan(Ask("m"), T + 30 * S).next(T + 30 * S)
        assert chosen is not None
        assert chosen.id == first


def test_who_failed_when_last_seen_is_looked_at_again() -> None:
    market = Market(endpoint("a", 0.9), endpoint("b", 1.0), exploration=0.2)
    for _ in range(30):
        market.see("a", times=5, gap_s=0.1)
        market.fail("a")
    market.see("b", times=200, gap_s=0.1)
    market.wait(900)
    market.see("b", times=200, gap_s=0.1)
    firsts = [market.walk()[0] for _ in range(500)]
    assert firsts.count("a") > 10


def test_load_is_balanced_within_the_best_class_and_no_further() -> None:
    market = Market(endpoint("a", 1.0), endpoint("b", 1.0), endpoint("c", 1.9))
    for name in ("a", "b", "c"):
        market.see(name, times=200)
    chosen = []
    for _ in range(200):
        taken = market.plan().next(market.now)
        assert taken is not None
        market.router.acquire(taken.id)
        chosen.append(taken.id)
    assert chosen.count("c/m") <= 12, "only exploring ever goes below the class"
    assert abs(chosen.count("a/m") - chosen.count("b/m")) <= 20


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


# ---- learned limits ---------------------------------------------------------------------------------------------


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


def test_named_sessions_are_shown_the_latest_first() -> None:
    market = Market(endpoint("a"), endpoint("b"))
    market.see("a", session="one")
    began = market.now
    market.wait(60)
    market.see("b", session="two")
    market.fail("a", session="one")
    market.see("b", session="one")
    one, two = market.router.sessions(10, market.now)
    assert (one.name, one.began_us, one.last_us, one.attempts) == ("one", began, market.now, 3)
    assert [cell.endpoint_id for cell in one.cells] == ["b/m", "a/m"]
    assert (two.name, two.attempts, [cell.endpoint_id for cell in two.cells]) == ("two", 1, ["b/m"])
    failed = one.cells[1]
    assert failed.task == "chat"
    assert 1.0 < failed.requests < 2.0
    assert 0.0 < failed.failures <= 1.0
    assert failed.belief > PARAMS.belief_floor
    assert one.cells[0].belief == PARAMS.belief_floor
    market.wait(120)
    later = market.router.sessions(1, market.now)
    assert [session.name for session in later] == ["one"]
    assert later[0].cells[1].failures == pytest.approx(failed.failures / 2, rel=0.02)


def test_a_crowd_without_figures_teaches_nothing() -> None:
    market = Market(endpoint("a"))
    for _ in range(20):
        market.router.acquire("a/m")
    market.see("a", Outcome.FAILURE)
    assert row(market, "a").concurrency_limit == PARAMS.concurrency_limit
