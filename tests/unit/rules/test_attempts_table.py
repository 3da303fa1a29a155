"""The fault table, row by row, as transcripts. The rows and their order are those of ``docs/reference/faults.md``."""

from __future__ import annotations

import pytest

from providerrank.rules.attempt import STATUS_FAULTS, TABLE, Fault, get_status_fault
from providerrank.rules.attempts import State
from providerrank.rules.observation import Outcome
from tests.playbook import FIRST_TOKEN_US, MS, TIMING, S, endpoint, play, prefiller

TOOLS = frozenset({"tools"})

NEVER_RETRIED = sorted(
    (
        fault
        for fault, rule in TABLE.items()
        if rule.next_endpoint and not rule.retry_last and fault is not Fault.RATE_LIMITED
    ),
    key=lambda fault: fault.name,
)


# ---- refused, reset, DNS or TLS failure before any byte ---------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.UNREACHABLE, Fault.RESET])
def test_refused_or_reset_before_any_byte_goes_to_the_next_endpoint_at_once(fault: Fault) -> None:
    play("a", "b").begin().tries("a").fails(fault).tries("b").connects().content().commits().ends().finishes()


def test_an_endpoint_that_cannot_be_reached_is_not_retried() -> None:
    play("a").begin().tries("a").fails(Fault.UNREACHABLE).gives_up(502, "all_endpoints_failed")


# ---- connect, first-token, idle or total clock runs out ---------------------------------------------------------


def test_no_connection_in_time_goes_to_the_next_endpoint() -> None:
    request = play("a", "b").begin().tries("a").passes(TIMING.connect_us - 1).carries_on()
    request.passes(1).tries("b")
    assert request.log[0].fault is Fault.CONNECT_TIMEOUT


def test_no_answer_in_time_goes_to_the_next_endpoint() -> None:
    request = play("a", "b").begin().tries("a").passes(1 * S).carries_on().connects()
    request.passes(FIRST_TOKEN_US - 1 * S - 1).carries_on().passes(1).tries("b")
    assert request.log[0].fault is Fault.FIRST_TOKEN_TIMEOUT


def test_an_answer_that_stalls_before_it_is_whole_goes_to_the_next_endpoint() -> None:
    request = play("a", "b").begin().tries("a").connects().first_byte()
    request.passes(TIMING.idle_us - 1).carries_on().progress()
    request.passes(TIMING.idle_us).tries("b")
    assert request.log[0].fault is Fault.IDLE_TIMEOUT


def test_the_total_time_running_out_ends_the_request() -> None:
    request = play("a", "b", first_token_us=400 * S).begin().tries("a").connects()
    request.passes(TIMING.total_us).gives_up(504, "upstream_timeout")
    assert request.log[0].fault is Fault.TOTAL_TIMEOUT


@pytest.mark.parametrize("connects", [False, True])
def test_a_silent_route_is_not_retried(connects: bool) -> None:
    request = play("a", "b").begin().tries("a").fails(Fault.UNREACHABLE).tries("b")
    if connects:
        request.connects()
    request.runs_out().gives_up(*((504, "upstream_timeout") if connects else (502, "all_endpoints_failed")))


def test_the_first_token_clock_is_not_applied_to_the_last_candidate() -> None:
    request = play("a").begin().tries("a").connects().passes(FIRST_TOKEN_US * 10).carries_on()
    request.content().commits().ends().finishes()


# ---- 429 --------------------------------------------------------------------------------------------------------


def test_429_goes_to_the_next_endpoint() -> None:
    play("a", "b").begin().tries("a").rate_limited(1 * S).tries("b").content().commits().ends().finishes()


def test_429_of_the_last_endpoint_is_waited_for_within_patience_before_a_fallback_model() -> None:
    request = play("a", fallback=("c",)).begin().tries("a").rate_limited(2 * S).waits(2 * S)
    request.runs_out().tries("a").content().commits().ends().finishes()


def test_429_beyond_patience_goes_to_the_fallback_model() -> None:
    play("a", fallback=("c",)).begin().tries("a").rate_limited(TIMING.patience_us + 1).tries("c")


def test_429_beyond_patience_without_a_fallback_tells_the_client_when_to_come_back() -> None:
    request = play("a", "b").begin().tries("a").rate_limited(9 * S).tries("b").rate_limited(7 * S)
    request.gives_up(429, "rate_limit_exceeded", retry_after_us=7 * S)


def test_patience_is_spent_once_a_model_not_once_an_answer() -> None:
    request = play("a").begin().tries("a").rate_limited(2 * S).waits(2 * S).runs_out().tries("a")
    request.rate_limited(1 * S).waits(1 * S).runs_out().tries("a")
    request.rate_limited(1 * MS).gives_up(429, "rate_limit_exceeded", retry_after_us=1 * MS)


def test_the_endpoint_that_frees_first_is_waited_for() -> None:
    request = play("a", "b").begin().tries("a").rate_limited(2 * S).tries("b").rate_limited(1 * S)
    request.waits(1 * S).runs_out().tries("b")


def test_an_endpoint_cooling_for_others_is_waited_for_untried() -> None:
    request = play("a")
    request.pool.cooling["a/m"] = request.now_us + 1 * S
    request.begin().waits(1 * S).runs_out().tries("a").content().commits().ends().finishes()


def test_those_who_wait_wake_up_spread_out() -> None:
    play("a", jitter=0.5).begin().tries("a").rate_limited(1 * S).waits(1 * S + 25 * MS)


def test_an_endpoint_that_failed_otherwise_is_not_waited_for_when_others_made_it_cool() -> None:
    request = play("a").begin().tries("a")
    request.pool.cooling["a/m"] = request.now_us + 1 * S
    request.fails(Fault.UNAVAILABLE, status=503).gives_up(502, "all_endpoints_failed", retry_after_us=1 * S)


def test_the_next_to_free_is_waited_for_where_the_first_failed_otherwise() -> None:
    request = play("a", "b")
    request.pool.cooling["b/m"] = request.now_us + 2 * S
    request.begin().tries("a")
    request.pool.cooling["a/m"] = request.now_us + 1 * S
    request.fails(Fault.UNAVAILABLE, status=503).waits(2 * S).passes(2 * S).tries("b")


# ---- 500, 502, reset, on the model's last endpoint --------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.SERVER_ERROR, Fault.RESET, Fault.CUT])
def test_500_502_and_reset_on_the_last_endpoint_are_retried_once_after_a_pause(fault: Fault) -> None:
    request = play("a", "b").begin().tries("a").fails(fault).tries("b").fails(fault).tries("b", pause_us=50 * MS)
    request.fails(fault).gives_up(502, "all_endpoints_failed")


def test_the_pause_before_the_retry_is_jittered() -> None:
    request = play("a", jitter=0.5).begin().tries("a").fails(Fault.SERVER_ERROR)
    request.tries("a", pause_us=100 * MS)


def test_fallback_models_follow_the_retry() -> None:
    request = play("a", fallback=("c",)).begin().tries("a").fails(Fault.SERVER_ERROR).tries("a", pause_us=50 * MS)
    request.fails(Fault.SERVER_ERROR).tries("c").fails(Fault.SERVER_ERROR).tries("c", pause_us=50 * MS)
    request.fails(Fault.SERVER_ERROR).gives_up(502, "all_endpoints_failed")


def test_no_retry_starts_past_the_total_time() -> None:
    request = play("a", total_us=100 * MS).begin().tries("a").passes(50 * MS).carries_on()
    request.fails(Fault.SERVER_ERROR).gives_up(502, "all_endpoints_failed")


# ---- 503, 504, 529 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [503, 504, 529, 507, 599])
def test_503_504_and_529_go_to_the_next_endpoint_and_never_hammer(status: int) -> None:
    fault = get_status_fault(status)
    request = play("a", "b").begin().tries("a").fails(fault, status=status).tries("b").fails(fault, status=status)
    request.gives_up(502, "all_endpoints_failed")


# ---- 401, 402, 403, 404 from the endpoint -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 402, 403, 404])
def test_a_wrong_key_balance_or_name_goes_to_the_next_endpoint_and_is_told_to_the_operator(status: int) -> None:
    request = play("a", "b").begin().tries("a").fails(get_status_fault(status), status=status).tries("b")
    assert request.log[0].outcome is Outcome.REFUSED_US
    request.fails(Fault.REFUSED_US, status=status).gives_up(502, "all_endpoints_failed")


# ---- 408, 409, 425 ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 409, 425])
def test_408_409_and_425_go_to_the_next_endpoint(status: int) -> None:
    play("a", "b").begin().tries("a").fails(get_status_fault(status), status=status).tries("b")


# ---- context length ---------------------------------------------------------------------------------------------


def test_context_length_goes_to_an_endpoint_with_a_larger_window() -> None:
    small, same, large = (endpoint(n, context_window=w) for n, w in (("s", 8_192), ("t", 8_192), ("l", 32_768)))
    request = play(small, same, large).begin().tries("s").fails(Fault.CONTEXT_LENGTH, status=400).tries("l")
    assert request.log[0].outcome is Outcome.NOBODYS


def test_context_length_goes_to_a_fallback_model_with_a_larger_window() -> None:
    small = endpoint("s", context_window=8_192)
    fallback = (endpoint("t", "n", context_window=4_096), endpoint("l", "n", context_window=32_768))
    play(small, fallback=fallback).begin().tries("s").fails(Fault.CONTEXT_LENGTH).tries("l")


def test_context_length_everywhere_is_the_clients_to_know() -> None:
    small = endpoint("s", context_window=8_192)
    play(small).begin().tries("s").fails(Fault.CONTEXT_LENGTH, status=400).answers("s")


# ---- content policy ---------------------------------------------------------------------------------------------


def test_content_policy_goes_to_the_client_with_the_providers_reason() -> None:
    play("a", "b", fallback=("c",)).begin().tries("a").fails(Fault.CONTENT_POLICY, status=400).answers("a")


# ---- unsupported parameter or feature ---------------------------------------------------------------------------


def test_unsupported_goes_to_the_next_endpoint_that_has_it() -> None:
    able = endpoint("c", features=TOOLS)
    request = play("a", "b", able).begin().tries("a").fails(Fault.UNSUPPORTED, status=400, features=TOOLS)
    request.tries("c")


def test_unsupported_without_a_name_goes_to_the_next_endpoint() -> None:
    play("a", "b").begin().tries("a").fails(Fault.UNSUPPORTED, status=400).tries("b")


def test_unsupported_everywhere_goes_to_the_client_and_to_no_other_model() -> None:
    request = play("a", "b", fallback=("c",)).begin().tries("a").fails(Fault.UNSUPPORTED).tries("b")
    request.fails(Fault.UNSUPPORTED).answers("b")


# ---- other 4xx --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 405, 406, 410, 413, 415, 418, 422, 451])
def test_other_4xx_go_to_the_client_as_they_are(status: int) -> None:
    play("a", "b", fallback=("c",)).begin().tries("a").fails(get_status_fault(status), status=status).answers("a")


# ---- 200 that is no answer --------------------------------------------------------------------------------------


def test_200_with_a_malformed_body_goes_to_the_next_endpoint_and_is_a_failure() -> None:
    request = play("a", "b").begin().tries("a").connects().first_byte().fails(Fault.MALFORMED).tries("b")
    assert request.log[0].outcome is Outcome.FAILURE


@pytest.mark.parametrize("status", [100, 201, 204, 206, 302, 304])
def test_other_answers_than_200_below_400_are_malformed(status: int) -> None:
    assert get_status_fault(status) is Fault.MALFORMED


def test_an_answer_that_breaks_the_schema_goes_to_the_next_endpoint() -> None:
    request = play("a", "b").begin().tries("a").fails(Fault.SCHEMA).tries("b").content().commits().ends().finishes()
    assert request.log[0].outcome is Outcome.SCHEMA_VIOLATION


def test_where_every_answer_breaks_the_schema_the_last_one_is_given() -> None:
    play("a", "b").begin().tries("a").fails(Fault.SCHEMA).tries("b").fails(Fault.SCHEMA).answers("b")


def test_an_answer_that_breaks_the_schema_is_still_given_when_the_others_fail() -> None:
    play("a", "b").begin().tries("a").fails(Fault.SCHEMA).tries("b").fails(Fault.UNAVAILABLE).answers("a")


def test_an_answer_that_breaks_the_schema_is_worth_more_than_a_later_refusal() -> None:
    play("a", "b").begin().tries("a").fails(Fault.SCHEMA).tries("b").fails(Fault.CONTEXT_LENGTH).answers("a")


# ---- streams ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.RESET, Fault.MALFORMED])
def test_a_stream_cut_before_content_goes_to_the_next_endpoint(fault: Fault) -> None:
    play("a", "b").begin().tries("a").connects().fails(fault).tries("b", resuming=False)


def test_a_stream_stalled_before_content_goes_to_the_next_endpoint() -> None:
    play("a", "b").begin().tries("a").connects().runs_out().tries("b", resuming=False)


def test_a_stream_cut_after_content_is_continued_by_an_endpoint_that_can_be_prefilled() -> None:
    request = play("a", "b", prefiller("p")).begin().tries("a").connects().content().commits()
    request.fails(Fault.CUT).tries("p", resuming=True).content().commits().ends().finishes()


def test_a_stream_cut_after_content_is_else_restarted_elsewhere() -> None:
    request = play("a", "b", prefiller("p")).begin().tries("a").connects().content().commits().fails(Fault.CUT)
    request.tries("p", resuming=True).fails(Fault.UNREACHABLE).tries("b", resuming=True)
    request.content().commits().ends().finishes()


def test_a_stream_stalled_after_content_is_continued_elsewhere() -> None:
    request = play("a", "b").begin().tries("a").connects().content().commits().passes(TIMING.idle_us - 1).carries_on()
    request.progress().passes(TIMING.idle_us - 1).carries_on().passes(1).tries("b", resuming=True)
    assert request.log[0].fault is Fault.IDLE_TIMEOUT


def test_an_answer_that_does_not_continue_the_delivered_one_counts_against_nobody() -> None:
    request = (
        play("a", "b", "c").begin().tries("a").connects().content().commits().fails(Fault.CUT).tries("b", resuming=True)
    )
    request.fails(Fault.DIVERGED).tries("c", resuming=True)
    assert request.log[1].outcome is Outcome.NOBODYS


def test_a_stream_cut_after_content_on_the_last_endpoint_is_continued_there_once() -> None:
    request = play("a").begin().tries("a").connects().content().commits().fails(Fault.CUT)
    request.tries("a", resuming=True, pause_us=50 * MS).content().commits().fails(Fault.CUT)
    request.gives_up(502, "all_endpoints_failed")


def test_a_stream_cut_after_content_is_never_continued_by_another_model() -> None:
    request = play("a", fallback=(prefiller("c", "n"),)).begin().tries("a").connects().content().commits()
    request.fails(Fault.IDLE_TIMEOUT).gives_up(504, "upstream_timeout")


def test_a_stream_cut_after_tool_call_deltas_ends_in_an_explicit_error() -> None:
    request = play("a", prefiller("p")).begin().tries("a").connects().content().commits().tool_call()
    request.fails(Fault.CUT).gives_up(502, "all_endpoints_failed")


def test_a_refusal_of_the_continuing_endpoint_is_not_shown_amid_an_answer() -> None:
    request = play("a", "b", "c").begin().tries("a").connects().content().commits().fails(Fault.CUT)
    request.tries("b", resuming=True).fails(Fault.CLIENT_ERROR, status=400)
    request.tries("c", resuming=True).fails(Fault.CONTENT_POLICY, status=400)
    request.gives_up(502, "all_endpoints_failed")


def test_a_continuing_stream_waits_for_a_cooling_endpoint() -> None:
    request = play("a", "b").begin().tries("a").rate_limited(1 * S).tries("b").content().commits()
    request.fails(Fault.IDLE_TIMEOUT).waits(1 * S).runs_out().tries("a", resuming=True)
    request.content().commits().ends().finishes()


def test_the_last_endpoint_that_can_continue_is_not_hurried_by_a_fallback_model_that_can_not() -> None:
    request = play("a", "b", fallback=("c",)).begin().tries("a").connects().content().commits().fails(Fault.CUT)
    request.tries("b", resuming=True).connects().passes(FIRST_TOKEN_US * 2).carries_on()
    request.content().commits().ends().finishes()


def test_a_continuing_endpoint_is_hurried_by_one_kept_for_later() -> None:
    request = play("a", "b", prefiller("p")).begin().tries("a").connects().content().commits().fails(Fault.CUT)
    request.tries("p", resuming=True).connects().passes(FIRST_TOKEN_US).tries("b", resuming=True)


def test_an_endpoint_of_the_same_model_believed_out_is_asked_before_a_stream_is_given_up() -> None:
    request = play("a", "b", fallback=("c",), out=("b",)).begin().tries("a").connects().content().commits()
    request.fails(Fault.IDLE_TIMEOUT).tries("b", resuming=True).fails(Fault.UNREACHABLE)
    request.gives_up(502, "all_endpoints_failed")


# ---- client goes away -------------------------------------------------------------------------------------------


def test_a_client_that_leaves_counts_against_nobody() -> None:
    request = play("a", "b").begin().tries("a").connects().client_leaves()
    assert request.log[0].outcome is Outcome.NOBODYS
    assert request.machine.state is State.DONE
    request.passes(TIMING.total_us).carries_on().fails(Fault.CUT).carries_on()


# ---- everything exhausted ---------------------------------------------------------------------------------------


def test_everything_exhausted_is_one_error_that_names_each_attempt_and_why() -> None:
    request = play("a", "b").begin().tries("a").fails(Fault.SERVER_ERROR, status=500).tries("b")
    request.fails(Fault.UNAVAILABLE, status=503).gives_up(502, "all_endpoints_failed")


def test_one_believed_out_is_the_last_resort_after_fallback_models() -> None:
    request = play("a", "b", fallback=("c",), out=("b",)).begin().tries("a").fails(Fault.UNAVAILABLE)
    request.tries("c").fails(Fault.UNAVAILABLE).tries("b").content().commits().ends().finishes()


def test_nothing_to_try_says_so() -> None:
    play().begin().gives_up(503, "no_endpoint_available")


# ---- the table itself -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", NEVER_RETRIED)
def test_no_other_fault_is_retried_on_the_last_endpoint(fault: Fault) -> None:
    request = play("a").begin().tries("a").fails(fault)
    if TABLE[fault].to_client:
        request.answers("a")
    else:
        silent = fault in {Fault.FIRST_TOKEN_TIMEOUT, Fault.CONNECT_TIMEOUT, Fault.IDLE_TIMEOUT}
        request.gives_up(*((504, "upstream_timeout") if silent else (502, "all_endpoints_failed")))


def test_every_fault_has_a_row_and_its_own_words() -> None:
    assert set(TABLE) == set(Fault)
    assert len({fault.value for fault in Fault}) == len(Fault)


def test_what_is_kept_for_the_client_is_nobodys_fault_or_a_whole_answer() -> None:
    for fault, rule in TABLE.items():
        assert not rule.to_client or rule.outcome in (Outcome.NOBODYS, Outcome.SCHEMA_VIOLATION), fault


def test_a_fault_that_no_other_endpoint_may_answer_no_other_model_may_either() -> None:
    assert all(rule.next_endpoint or not rule.next_model for rule in TABLE.values())


def test_statuses_of_their_own_are_errors() -> None:
    assert all(status >= 400 for status in STATUS_FAULTS)
