"""A second attempt beside a slow one: one transcript for each thing that can happen to the two."""

from __future__ import annotations

import pytest

from providerrank.rules.attempt import Fault
from providerrank.rules.attempts import FIRST_LOOK_US, HEDGE_STEPS
from providerrank.rules.hedging import HedgeBudget
from providerrank.rules.observation import Outcome
from tests.playbook import FIRST_TOKEN_US, MS, Playbook, S, endpoint, play

HEDGE_US = 800 * MS


def slow(*more: str) -> Playbook:
    """``a`` is slow and ``b`` was asked too."""
    request = play("a", "b", *more, hedge_us=HEDGE_US).begin().tries("a").connects()
    return request.runs_out().hedges_on("b").connects("b")


def outcomes(request: Playbook) -> list[tuple[str, Outcome]]:
    return [(attempt.endpoint.provider, attempt.outcome) for attempt in request.log]


def test_it_begins_when_the_first_is_slower_than_usual() -> None:
    request = play("a", "b", hedge_us=HEDGE_US).begin().tries("a").connects()
    began_us = request.now_us
    request.passes(HEDGE_US - 1).carries_on().passes(1).hedges_on("b")
    assert request.now_us - began_us == HEDGE_US
    assert [attempt.hedge for attempt in request.log] == [False, True]


def test_the_second_has_content_first() -> None:
    request = slow().passes(200 * MS).carries_on()
    request.content("b").commits().ends().finishes()
    assert outcomes(request) == [("a", Outcome.NOBODYS), ("b", Outcome.SUCCESS)]
    first, second = request.log
    assert first.beaten
    assert first.ended_us == second.first_content_us
    assert not second.beaten


def test_the_first_has_content_first() -> None:
    request = slow().passes(200 * MS).carries_on()
    request.content("a").commits().ends().finishes()
    assert outcomes(request) == [("a", Outcome.SUCCESS), ("b", Outcome.NOBODYS)]
    assert request.log[1].beaten


def test_the_loser_is_heard_of_no_more() -> None:
    request = slow().content("b").commits()
    request.connects("a").first_byte("a").progress("a").content("a").carries_on()
    request.ends("a").carries_on().fails(Fault.CUT, of="a").carries_on()
    assert request.log[0].outcome is Outcome.NOBODYS
    request.ends("b").finishes()


def test_one_that_failed_before_the_race_has_no_part_in_it() -> None:
    request = play("a", "b", "c", hedge_us=HEDGE_US).begin().tries("a").fails(Fault.RESET).tries("b").connects()
    request.runs_out().hedges_on("c").content("a").carries_on().ends("a").carries_on()
    assert [attempt.endpoint.provider for attempt in request.live] == ["b", "c"]


@pytest.mark.parametrize("winner", ["a", "b"])
def test_a_whole_answer_ends_the_race_too(winner: str) -> None:
    request = slow().ends(winner).finishes()
    assert {attempt.endpoint.provider: attempt.beaten for attempt in request.log} == {
        "a": winner != "a",
        "b": winner != "b",
    }


@pytest.mark.parametrize(("failed", "other"), [("a", "b"), ("b", "a")])
def test_where_one_fails_the_other_goes_on_and_nothing_else_is_tried(failed: str, other: str) -> None:
    request = slow("c").fails(Fault.SERVER_ERROR, of=failed, status=500).carries_on()
    assert [attempt.endpoint.provider for attempt in request.live] == [other]
    request.content().commits().ends().finishes()
    assert dict(outcomes(request)) == {failed: Outcome.FAILURE, other: Outcome.SUCCESS}


@pytest.mark.parametrize("order", ["ab", "ba"])
def test_where_both_fail_the_next_is_tried(order: str) -> None:
    request = slow("c")
    request.fails(Fault.RESET, of=order[0]).carries_on().fails(Fault.UNAVAILABLE, of=order[1])
    request.tries("c").connects().content().commits().ends().finishes()


def test_where_all_fail_each_is_named() -> None:
    request = slow().fails(Fault.UNAVAILABLE, of="a").carries_on().fails(Fault.UNAVAILABLE, of="b")
    request.gives_up(502, "all_endpoints_failed")


def test_only_the_last_to_fail_is_retried() -> None:
    request = slow().fails(Fault.SERVER_ERROR, of="a").carries_on().fails(Fault.SERVER_ERROR, of="b")
    request.tries("b", pause_us=50 * MS).connects().content().commits().ends().finishes()


def test_a_rate_limit_is_waited_for_only_when_the_other_has_failed() -> None:
    request = slow().rate_limited(1 * S, of="a").carries_on().fails(Fault.UNAVAILABLE, of="b").waits(1 * S)
    request.runs_out().tries("a").connects().content().commits().ends().finishes()


def test_what_nobody_else_would_answer_differently_is_the_answer_at_once() -> None:
    request = slow("c").fails(Fault.CONTENT_POLICY, of="b", status=400).answers("b")
    assert request.log[0].beaten


def test_a_refusal_is_kept_while_the_other_goes_on() -> None:
    request = slow().fails(Fault.UNSUPPORTED, of="a", status=400).carries_on()
    request.fails(Fault.UNAVAILABLE, of="b").answers("a")


def test_what_a_failure_asks_for_is_asked_of_those_that_follow() -> None:
    request = play("a", "b", endpoint("c"), endpoint("d", context_window=1 << 20), hedge_us=HEDGE_US)
    request.pool.models[0][1][0] = endpoint("a", context_window=8_192)
    request.begin().tries("a").connects().runs_out().hedges_on("b")
    request.fails(Fault.CONTEXT_LENGTH, of="a").carries_on()
    assert request.pool.context_over == 8_192


def test_the_first_clock_to_run_out_leaves_the_other() -> None:
    request = slow("c")
    request.runs_out().drops("a", Fault.FIRST_TOKEN_TIMEOUT)
    assert request.now_us - request.log[0].started_us == FIRST_TOKEN_US
    request.content("b").commits().ends().finishes()
    assert outcomes(request) == [("a", Outcome.FAILURE), ("b", Outcome.SUCCESS)]


def test_each_has_clocks_of_its_own() -> None:
    request = play("a", "b", "c", hedge_us=HEDGE_US).begin().tries("a").connects().runs_out().hedges_on("b")
    request.runs_out().drops("b", Fault.CONNECT_TIMEOUT)
    assert request.now_us - request.log[1].started_us == 2 * S
    request.runs_out().tries("c")
    assert request.log[0].fault is Fault.FIRST_TOKEN_TIMEOUT
    assert request.now_us - request.log[0].started_us == FIRST_TOKEN_US


def test_while_nobody_else_is_left_neither_of_the_two_is_late() -> None:
    request = slow()
    request.passes(100 * S).carries_on()
    assert len(request.live) == 2
    request.content("a").commits().ends().finishes()


def test_the_total_time_ends_both() -> None:
    request = play("a", "b", "c", hedge_us=HEDGE_US, total_us=2 * S).begin().tries("a").connects()
    request.runs_out().hedges_on("b").connects("b").passes(2 * S).gives_up(504, "upstream_timeout")
    assert outcomes(request) == [("a", Outcome.FAILURE), ("b", Outcome.FAILURE)]
    assert {attempt.fault for attempt in request.log} == {Fault.TOTAL_TIMEOUT}


def test_an_answer_that_has_begun_may_stall_beside_one_that_has_not() -> None:
    """Of what is not streamed the first byte is not content: nothing is decided by it."""
    request = slow("c").first_byte("b")
    began_us = request.now_us
    request.runs_out().drops("a", Fault.FIRST_TOKEN_TIMEOUT)
    request.passes(1 * S).carries_on().progress("b")
    moved_us = request.now_us
    request.runs_out().tries("c")
    assert request.log[1].fault is Fault.IDLE_TIMEOUT
    assert request.now_us - moved_us == 15 * S > began_us - moved_us


def test_the_client_leaves_both() -> None:
    request = slow().client_leaves()
    assert not request.live
    assert outcomes(request) == [("a", Outcome.NOBODYS), ("b", Outcome.NOBODYS)]


def test_a_winner_that_is_cut_is_continued_elsewhere() -> None:
    request = slow("c").content("b").commits().fails(Fault.CUT)
    request.tries("c", resuming=True).connects().content().commits().ends().finishes()


def test_a_loser_does_not_continue_the_winner() -> None:
    request = slow().content("b").commits().fails(Fault.IDLE_TIMEOUT).gives_up(504, "upstream_timeout")
    assert outcomes(request) == [("a", Outcome.NOBODYS), ("b", Outcome.FAILURE)]


# ---- when there is none ----------------------------------------------------------------------------------------------


def waits_alone(request: Playbook) -> None:
    """However long it takes, nobody else is asked before it is late."""
    request.passes(HEDGE_US).carries_on()
    request.passes(FIRST_TOKEN_US - HEDGE_US - 1).carries_on()
    assert len(request.log) == 1


def test_none_where_the_request_has_none() -> None:
    waits_alone(play("a", "b").begin().tries("a").connects())


def test_none_where_nothing_pays_for_it() -> None:
    request = play("a", "b", hedge_us=HEDGE_US)
    request.hedges.requests = 0
    waits_alone(request.begin().tries("a").connects())


def test_none_where_nobody_else_is_left() -> None:
    waits_alone(play("a", hedge_us=HEDGE_US).begin().tries("a").connects())


def test_none_on_a_fallback_model() -> None:
    waits_alone(play("a", fallback=("b",), hedge_us=HEDGE_US).begin().tries("a").connects())


def test_none_on_an_endpoint_believed_out() -> None:
    waits_alone(play("a", "b", out=("b",), hedge_us=HEDGE_US).begin().tries("a").connects())


def test_none_on_an_endpoint_that_is_full() -> None:
    request = play("a", "b", hedge_us=HEDGE_US)
    request.pool.full.add("b/m")
    waits_alone(request.begin().tries("a").connects())
    assert "b/m" not in request.pool.tried
    assert request.hedges.has_one(), "what was not done is not paid for"


def test_none_once_something_was_delivered() -> None:
    request = play("a", "b", "c", hedge_us=HEDGE_US).begin().tries("a").connects().content().commits()
    request.passes(10 * S).carries_on().fails(Fault.CUT).tries("b", resuming=True).connects()
    request.passes(HEDGE_US).carries_on()


def test_none_for_a_whole_answer_that_is_arriving() -> None:
    request = play("a", "b", hedge_us=HEDGE_US).begin().tries("a").connects().first_byte()
    request.passes(10 * S).carries_on()


def test_only_one_for_each_request() -> None:
    request = slow("c", "d").fails(Fault.RESET, of="a").carries_on().fails(Fault.RESET, of="b").tries("c").connects()
    request.hedges.requests += 10
    request.passes(HEDGE_US).carries_on().passes(HEDGE_US).carries_on()


def test_one_that_was_tried_after_a_failure_may_have_it() -> None:
    request = play("a", "b", "c", hedge_us=HEDGE_US).begin().tries("a").fails(Fault.RESET).tries("b").connects()
    request.passes(HEDGE_US).hedges_on("c").content("c").commits().ends().finishes()


def test_one_that_does_not_even_connect_may_have_it() -> None:
    request = play("a", "b", hedge_us=HEDGE_US).begin().tries("a").runs_out().hedges_on("b")
    assert request.now_us - request.log[0].started_us == HEDGE_US


def test_none_sooner_than_the_first_look() -> None:
    request = play("a", "b", hedge_us=0).begin().tries("a").runs_out().hedges_on("b")
    assert request.now_us - request.log[0].started_us == FIRST_LOOK_US


def test_who_was_refused_asks_again_a_tenth_later() -> None:
    request = play("a", "b", hedge_us=HEDGE_US)
    request.hedges.requests = 0
    request.begin().tries("a").connects().passes(HEDGE_US).carries_on()
    request.hedges = HedgeBudget(1.0)
    request.hedges.requests = 1_000
    request.passes(HEDGE_US // HEDGE_STEPS - 1).carries_on().passes(1).hedges_on("b")


def test_the_last_of_the_budget_is_for_who_comes_first() -> None:
    request = play("a", "b", hedge_us=HEDGE_US)
    request.hedges = HedgeBudget(0.05)
    request.hedges.requests = 20
    request.begin().tries("a").connects().passes(HEDGE_US).hedges_on("b")
    assert not request.hedges.has_one()
