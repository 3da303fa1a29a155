"""Counters are counted once, under the right name."""

from __future__ import annotations

from providerrank.gateway.stats import TTFT_BOUNDS_S, Stats
from providerrank.rules.ask import Ask
from providerrank.rules.attempt import Attempt, Fault
from providerrank.rules.finished import Finished
from providerrank.rules.observation import Outcome
from providerrank.rules.sight import Lane
from tests.playbook import MS, endpoint


def test_requests_are_counted_by_api_and_class_of_status() -> None:
    stats = Stats()
    for status in (200, 200, 404, 429, 503):
        stats.count_request("chat", status)
    stats.count_request("models", 200)
    assert stats.requests == {("chat", "2xx"): 2, ("chat", "4xx"): 2, ("chat", "5xx"): 1, ("models", "2xx"): 1}


def test_attempts_are_counted_by_how_they_ended() -> None:
    stats = Stats()
    counters = stats.add("a/m")
    counters.in_flight += 2
    counters.count_end(Attempt(endpoint("a"), "m", 0, first_content_us=30 * MS), Outcome.SUCCESS, 1)
    counters.count_end(Attempt(endpoint("a"), "m", 0, fault=Fault.CUT), Outcome.FAILURE, 7)
    assert stats.attempts == {("a/m", "success"): 1, ("a/m", "failure"): 1}
    assert stats.in_flight == {"a/m": 0}
    assert stats.last_failures == {"a/m": (7, "cut")}
    assert stats.ttft_sum_us == {"a/m": 30 * MS}


def test_a_time_to_the_first_content_falls_into_one_bucket() -> None:
    stats = Stats()
    counters = stats.add("a/m")
    first = int(TTFT_BOUNDS_S[0] * 1_000_000)
    for ttft_us in (0, first, first + 1, 3_600_000_000):
        counters.count_end(Attempt(endpoint("a"), "m", 5, first_content_us=5 + ttft_us), Outcome.SUCCESS, 0)
    buckets = stats.ttft_buckets["a/m"]
    assert len(buckets) == len(stats.ttft_bounds_s) + 1
    assert (buckets[0], buckets[1], buckets[-1], sum(buckets)) == (2, 1, 1, 4)


def test_an_endpoint_added_again_keeps_its_counts() -> None:
    stats = Stats()
    counters = stats.add("a/m")
    counters.input_tokens, counters.output_tokens, counters.cost_nusd = 3, 4, 5
    assert stats.add("a/m") is counters
    assert (stats.input_tokens, stats.output_tokens, stats.cost_nusd) == ({"a/m": 3}, {"a/m": 4}, {"a/m": 5})


def test_what_a_scrape_holds_does_not_change_under_it() -> None:
    stats = Stats()
    counters = stats.add("a/m")
    before = stats.ttft_buckets
    counters.count_end(Attempt(endpoint("a"), "m", 0, first_content_us=1), Outcome.SUCCESS, 0)
    assert sum(before["a/m"]) == 0
    assert stats.last_failures == {}


def test_requests_are_counted_by_the_model_that_was_tried_first() -> None:
    stats = Stats()
    usual = Attempt(endpoint("a"), "m", 1_000, first_content_us=101 * MS, ended_us=201 * MS)
    stats.count_end(Finished(b"r", "chat", Ask("default"), False, 200, (usual,)))
    failed = Attempt(endpoint("a"), "m", 1_000, ended_us=301 * MS, fault=Fault.RATE_LIMITED)
    other = Attempt(endpoint("b", "n"), "n", 301 * MS, first_content_us=401 * MS, ended_us=601 * MS)
    stats.count_end(
        Finished(b"r", "chat", Ask("m"), True, 200, (failed, other), began_us=1_000, ended_us=1_000 + 600 * MS)
    )
    assert stats.duration_sum_us == {"m": 800 * MS}
    assert sum(stats.duration_buckets["m"]) == 2
    assert stats.duration_buckets["m"][stats.duration_bounds_s.index(0.25)] == 1
    assert stats.duration_buckets["m"][stats.duration_bounds_s.index(1.0)] == 1
    assert stats.first_sum_us == {"m": 500 * MS}
    assert sum(stats.first_buckets["m"]) == 2
    assert stats.fallback_reasons == {"rate_limited": 1}


def test_a_request_that_failed_has_no_first_content_and_its_last_failure_is_no_fallback() -> None:
    stats = Stats()
    log = tuple(Attempt(endpoint(name), "m", 1, ended_us=2, fault=Fault.SERVER_ERROR) for name in "ab")
    stats.count_end(Finished(b"r", "chat", Ask("m"), False, 502, log, began_us=1, ended_us=400 * 1_000_000))
    assert sum(stats.first_buckets["m"]) == 0
    assert stats.duration_buckets["m"][-1] == 1
    assert stats.fallback_reasons == {"server_error": 1}


def test_a_request_that_nobody_could_be_tried_for_counts_for_its_model() -> None:
    stats = Stats()
    stats.count_end(Finished(b"r", "chat", Ask("alias"), False, 503, (), (Lane("m"),), began_us=1, ended_us=2))
    assert stats.duration_sum_us == {"m": 1}
