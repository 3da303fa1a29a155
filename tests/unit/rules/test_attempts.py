"""What the fallback machine does beside the table: its clocks, its accounts, its one error."""

from __future__ import annotations

import pytest

from providerrank.rules.attempt import Attempt, Fault, get_status_fault
from providerrank.rules.attempts import State, compute_failure, describe
from providerrank.rules.observation import Outcome
from tests.playbook import FIRST_TOKEN_US, MS, TIMING, S, endpoint, play


def test_nothing_happens_before_it_begins() -> None:
    request = play("a").passes(1 * S).carries_on()
    assert request.machine.state is State.IDLE


def test_events_of_an_attempt_that_is_over_are_ignored() -> None:
    request = play("a").begin().tries("a").rate_limited(1 * S).waits(1 * S)
    request.connects().first_byte().progress().content().carries_on().ends().carries_on()
    request.fails(Fault.CUT).carries_on().runs_out().tries("a")


def test_the_clock_may_be_read_at_any_time() -> None:
    request = play("a", "b").begin().tries("a")
    for _ in range(10):
        request.passes(TIMING.connect_us // 10 - 1).carries_on()
    request.passes(10).tries("b")


def test_the_first_token_clock_runs_from_the_start_of_the_attempt() -> None:
    request = play("a", "b").begin().tries("a").passes(TIMING.connect_us - 1).carries_on().connects()
    request.passes(FIRST_TOKEN_US - TIMING.connect_us).carries_on().passes(1).tries("b")


def test_an_endpoint_that_becomes_the_last_while_it_is_silent_is_given_all_the_time() -> None:
    request = play("a", "b").begin().tries("a").connects().passes(1 * S).carries_on()
    request.pool.cooling["b/m"] = request.now_us + 60 * S
    request.passes(FIRST_TOKEN_US).carries_on().content().commits()


def test_progress_before_an_answer_does_not_stop_the_first_token_clock() -> None:
    request = play("a", "b").begin().tries("a").connects()
    request.passes(FIRST_TOKEN_US - 1).carries_on().progress().passes(1).tries("b")


def test_a_second_first_byte_is_just_a_byte() -> None:
    request = play("a").begin().tries("a").connects().first_byte().passes(1 * S).carries_on().first_byte()
    assert request.log[0].first_content_us == request.now_us - 1 * S
    request.content().commits()
    assert request.log[0].first_content_us == request.now_us - 1 * S


def test_the_total_time_bounds_every_clock() -> None:
    request = play("a", "b", total_us=1 * S).begin().tries("a").connects().content().commits()
    request.progress().runs_out().gives_up(504, "upstream_timeout")
    assert request.now_us - request.log[0].started_us == 1 * S


def test_the_total_time_bounds_the_wait_for_a_rate_limit() -> None:
    request = play("a", total_us=1 * S, jitter=0.5).begin().tries("a").rate_limited(990 * MS).waits(1 * S)
    request.runs_out().gives_up(429, "rate_limit_exceeded", retry_after_us=0)


def test_a_failure_at_the_very_end_starts_nothing() -> None:
    request = play("a", "b", total_us=1 * S).begin().tries("a").connects()
    request.now_us += 1 * S
    request.fails(Fault.CUT).gives_up(504, "upstream_timeout")


def test_no_retry_of_another_model_for_the_failure_of_this_one() -> None:
    request = play("a", fallback=("c",)).begin().tries("a").fails(Fault.UNAVAILABLE).tries("c")
    request.fails(Fault.SERVER_ERROR).tries("c", pause_us=50 * MS)


def test_the_wait_of_one_model_does_not_spend_the_patience_of_the_next() -> None:
    request = play("a", fallback=("c",)).begin().tries("a").rate_limited(3 * S).waits(3 * S).runs_out().tries("a")
    request.rate_limited(9 * S).tries("c").rate_limited(3 * S).waits(3 * S)


def test_the_client_is_told_of_the_first_rate_limit_that_still_holds() -> None:
    request = play("a", "b").begin().tries("a").rate_limited(5 * S).tries("b").connects().passes(1 * S).carries_on()
    request.rate_limited(9 * S).gives_up(429, "rate_limit_exceeded", retry_after_us=4 * S)


def test_a_rate_limit_without_an_end_is_just_a_failure() -> None:
    request = play("a").begin().tries("a").fails(Fault.RATE_LIMITED, status=429)
    request.gives_up(502, "all_endpoints_failed")


def test_an_attempt_says_what_it_means_for_its_endpoint() -> None:
    assert Attempt(endpoint("a"), "m", 0).outcome is Outcome.NOBODYS
    assert Attempt(endpoint("a"), "m", 0, ended_us=1).outcome is Outcome.SUCCESS
    assert Attempt(endpoint("a"), "m", 0, ended_us=1, fault=Fault.RATE_LIMITED).outcome is Outcome.RATE_LIMITED


def test_a_driver_may_end_a_request_before_its_time() -> None:
    play("a", "b").begin().tries("a").fails(Fault.TOTAL_TIMEOUT).gives_up(504, "upstream_timeout")


def test_an_attempt_keeps_what_was_seen() -> None:
    request = play("a").begin().tries("a").passes(1 * MS).carries_on().connects()
    request.passes(1 * MS).carries_on().fails(Fault.UNAVAILABLE, status=503, detail="busy")
    request.gives_up(502, "all_endpoints_failed")
    (attempt,) = request.log
    start = attempt.started_us
    assert (attempt.connected_us, attempt.first_content_us, attempt.ended_us) == (start + 1 * MS, None, start + 2 * MS)
    assert (attempt.status, attempt.detail, attempt.resuming) == (503, "busy", False)


@pytest.mark.parametrize(
    ("faults", "out_of_time", "rate_limited", "expected"),
    [
        ([], False, False, (503, "no_endpoint_available")),
        ([], False, True, (429, "rate_limit_exceeded")),
        ([Fault.RATE_LIMITED, Fault.RATE_LIMITED], False, True, (429, "rate_limit_exceeded")),
        ([Fault.RATE_LIMITED], True, True, (429, "rate_limit_exceeded")),
        ([Fault.RATE_LIMITED, Fault.CUT], False, True, (502, "all_endpoints_failed")),
        ([Fault.CONNECT_TIMEOUT, Fault.FIRST_TOKEN_TIMEOUT], False, False, (504, "upstream_timeout")),
        ([Fault.IDLE_TIMEOUT, Fault.TOTAL_TIMEOUT], False, False, (504, "upstream_timeout")),
        ([Fault.CONNECT_TIMEOUT, Fault.RESET], False, False, (502, "all_endpoints_failed")),
        ([Fault.RESET], True, False, (504, "upstream_timeout")),
    ],
)
def test_one_error_stands_for_all_attempts(
    faults: list[Fault], out_of_time: bool, rate_limited: bool, expected: tuple[int, str]
) -> None:
    assert compute_failure(faults, out_of_time, rate_limited) == expected


def test_the_error_names_each_attempt_and_why() -> None:
    log = [
        Attempt(endpoint("a"), "m", 0, ended_us=1, fault=Fault.UNAVAILABLE, status=503),
        Attempt(endpoint("b"), "m", 0, ended_us=1, fault=Fault.CONNECT_TIMEOUT),
        Attempt(endpoint("c"), "m", 0),
    ]
    assert describe(log, "m", None) == (
        "Every endpoint failed after 3 attempts: "
        "a/m: unavailable (HTTP 503); b/m: no connection in time; c/m: abandoned."
    )
    assert describe(log[:1], "m", 1_500_000) == (
        "Every endpoint failed after 1 attempt: a/m: unavailable (HTTP 503). The first rate limit ends in 1.5 s."
    )
    assert describe([], "m", None) == "No endpoint of m can be tried now."


def test_every_status_means_something() -> None:
    assert get_status_fault(500) is get_status_fault(502) is Fault.SERVER_ERROR
    assert get_status_fault(429) is Fault.RATE_LIMITED
    assert {get_status_fault(status) for status in (501, 503, 504, 520, 529, 598)} == {Fault.UNAVAILABLE}
