"""Merging is associative and order-free; quantiles hold their error; records are faithful."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import HOUR_US
from providerrank.rules.window import MAX_TTFT_US, MIN_TTFT_US, Window

T = 1_790_000_000_000_000

observations = st.builds(
    Observation,
    endpoint_id=st.just("a/m"),
    task=st.just("chat"),
    at_us=st.integers(T, T + 400 * HOUR_US),
    outcome=st.sampled_from(Outcome),
    ttft_us=st.none() | st.integers(0, 2 * MAX_TTFT_US),
    total_us=st.none() | st.integers(0, 2 * MAX_TTFT_US),
    output_tokens_counted=st.none() | st.integers(0, 10_000),
    output_tokens_billed=st.none() | st.integers(0, 10_000),
)
batches = st.lists(observations, max_size=40)


def make(batch: list[Observation]) -> Window:
    window = Window()
    for obs in batch:
        window.observe(obs)
    return window


def get_figures(window: Window) -> list[float]:
    return [*window.get_figures(window.at_us)[:3], window.requests, window.explained, float(window.at_us)]


def assert_same(a: Window, b: Window) -> None:
    assert get_figures(a) == pytest.approx(get_figures(b), rel=1e-9, abs=1e-9)
    assert a.counted_tokens == pytest.approx(b.counted_tokens, abs=1e-6)
    assert a.throughput == pytest.approx(b.throughput)


@given(batches, batches, batches)
def test_merging_is_associative_and_order_free(
    a: list[Observation], b: list[Observation], c: list[Observation]
) -> None:
    merged = Window.merged
    parts = [make(a), make(b), make(c)]
    first = merged(merged(parts[0], parts[1]), parts[2])
    for x, y, z in itertools.permutations(parts):
        assert_same(first, merged(merged(x, y), z))
        assert_same(first, merged(x, merged(y, z)))


@given(batches, batches)
def test_the_window_of_two_halves_is_the_window_of_the_whole(a: list[Observation], b: list[Observation]) -> None:
    assert_same(Window.merged(make(a), make(b)), make(a + b))


@given(st.lists(st.integers(MIN_TTFT_US, MAX_TTFT_US), min_size=1, max_size=60), st.sampled_from((0.5, 0.95, 0.99)))
def test_quantiles_are_within_two_percent_of_a_sample_there(ttfts: list[int], q: float) -> None:
    window = make([Observation("a/m", "chat", T, Outcome.SUCCESS, ttft) for ttft in ttfts])
    exact = sorted(ttfts)
    # The smallest sample with at least q of the mass at or below it.
    rank = next(i for i in range(len(exact)) if (i + 1) >= q * len(exact) * (1 - 1e-9))
    assert window.quantile_us(q) == pytest.approx(exact[rank], rel=0.0201, abs=1)


@given(batches)
def test_the_kept_percentile_is_the_one_found_from_scratch(batch: list[Observation]) -> None:
    window = Window()
    for obs in batch:
        window.observe(obs)
        assert window.p99_us == window.quantile_us(0.99)


@given(batches)
def test_a_record_is_canonical_and_faithful(batch: list[Observation]) -> None:
    window = make(batch)
    record = window.to_record()
    again = Window.from_record(record)
    assert again.to_record() == record
    assert again.requests == pytest.approx(window.requests, abs=1e-5)
    assert again.at_us == window.at_us


@given(batches, st.integers(0, 100 * HOUR_US))
def test_time_alone_only_fades_evidence(batch: list[Observation], later_us: int) -> None:
    window = make(batch)
    now, later = window.get_figures(window.at_us), window.get_figures(window.at_us + later_us)
    assert later[0] <= now[0]
    assert later[3:5] == now[3:5]
