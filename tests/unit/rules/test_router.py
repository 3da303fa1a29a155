"""What a request is offered, and how what was seen changes it."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from providerrank.rules.ask import Ask, Preferences
from providerrank.rules.catalog import Buyer, Catalog, ModelRules, Tier
from providerrank.rules.cells import Cell, Price
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import Weights
from providerrank.rules.router import Router
from providerrank.rules.window import Window
from tests.unit.rules.market import CAP, Market, S, T, endpoint, row, three, tiered

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
