"""Counters of several processes add up to what one would have counted, and never go back."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from providerrank.gateway.stats import Stats
from providerrank.gateway.tally import Figures, drop_gauges, refill, write_figures
from providerrank.rules.attempt import Attempt, Fault
from providerrank.rules.observation import Outcome
from tests.unit.rules.market import endpoint

ENDPOINTS = {name: endpoint(name) for name in "abc"}
events = st.lists(
    st.one_of(
        st.tuples(st.just("request"), st.sampled_from(["chat", "models"]), st.sampled_from([200, 404, 503])),
        st.tuples(st.just("attempt"), st.sampled_from("abc"), st.sampled_from(Outcome), st.integers(1, 10_000_000)),
        st.tuples(st.just("fallback")),
    ),
    max_size=20,
)
Script = list[tuple[Any, ...]]


def count(stats: Stats, script: Script) -> None:
    for at, event in enumerate(script, start=1):
        match event:
            case ("request", api, status):
                stats.count_request(api, status)
            case ("attempt", name, outcome, ttft_us):
                counters = stats.add(f"{name}/m")
                counters.in_flight += 1
                attempt = Attempt(ENDPOINTS[name], "m", 0)
                if outcome is Outcome.SUCCESS:
                    attempt.first_content_us = ttft_us
                    counters.cost_nusd += ttft_us
                else:
                    attempt.fault = Fault.RESET
                counters.count_end(attempt, outcome, ttft_us + at)
            case _:
                stats.fallbacks += 1


def send(stats: Stats) -> Figures:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(write_figures(stats)), type=Figures)


def read(stats: Stats) -> dict[str, object]:
    names = [
        "requests",
        "attempts",
        "fallbacks",
        "ttft_sum_us",
        "ttft_buckets",
        "cost_nusd",
        "connections",
        "in_flight",
    ]
    return {name: getattr(stats, name) for name in names}


@given(st.lists(events, min_size=1, max_size=4))
def test_the_sum_of_the_parts_is_the_whole(scripts: list[Script]) -> None:
    whole, total, parts = Stats(), Stats(), []
    for script in scripts:
        part = Stats()
        count(part, script)
        count(whole, script)
        parts.append(send(part))
    total.fallbacks = 1_000
    for _ in range(2):
        refill(total, parts)
    assert read(total) == read(whole)
    moments = [one.last_failure for script in scripts for one in [_count_alone(script)] if one.last_failure]
    assert total.last_failures.get("a/m") == max((m for m in moments if m), default=None)


def _count_alone(script: Script) -> Any:
    stats = Stats()
    count(stats, script)
    return stats.add("a/m")


@given(events, events)
def test_one_that_is_gone_leaves_its_counters_and_no_gauges(gone: Script, living: Script) -> None:
    dead, alive, before, after = Stats(), Stats(), Stats(), Stats()
    count(dead, gone)
    count(alive, living)
    dead.connections, alive.connections, dead.pending = 7, 2, 3
    if "a/m" in dead.endpoints:
        dead.endpoints["a/m"].in_flight = 4
    refill(before, [send(dead), send(alive)])
    refill(after, [drop_gauges(send(dead)), send(alive)])

    assert (after.connections, after.pending) == (2, 0)
    assert not any(after.in_flight.values())
    assert after.requests == before.requests
    assert after.attempts == before.attempts
    assert after.last_failures == before.last_failures
    # And so it stays when what is left is written again.
    again = Stats()
    refill(again, [write_figures(after)])
    assert read(again) == read(after)


def test_endpoints_nothing_was_tried_on_are_not_sent() -> None:
    stats = Stats()
    for number in range(1_000):
        stats.add(f"e{number}/m")
    assert len(msgspec.msgpack.encode(write_figures(stats))) < 500
