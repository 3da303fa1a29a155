"""The window's figures, its decay and its record."""

from __future__ import annotations

import math

import pytest

from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.window import HALF_LIFE_US, MAX_TTFT_US, MIN_TTFT_US, Window

T = 1_790_000_000_000_000


def obs(at_us: int = T, outcome: Outcome = Outcome.SUCCESS, ttft_us: int | None = 500_000, **more: int) -> Observation:
    total = None if ttft_us is None else ttft_us + 2_000_000
    return Observation("a/m", "chat", at_us, outcome, ttft_us, total, **more)


def filled(*observations: Observation) -> Window:
    window = Window()
    for observation in observations:
        window.observe(observation)
    return window


def test_an_empty_window_knows_nothing() -> None:
    window = Window()
    assert window.requests == window.timed == 0.0
    assert window.quantile_us(0.5) is None
    assert window.log_ttft is window.p99_us is window.log_mean is window.log_sd is None
    assert window.uptime is window.throughput is None
    assert Window.merged(window, Window()).to_record() == window.to_record()


def test_each_outcome_is_counted_as_what_it_says_of_the_endpoint() -> None:
    window = filled(*(obs(outcome=outcome) for outcome in Outcome))
    assert window.successes == pytest.approx(1.0)
    assert window.failures == pytest.approx(1.0 + 1.0 + 1.0 + PARAMS.rate_limited_weight)
    assert window.requests == pytest.approx(4.0 + PARAMS.rate_limited_weight)
    assert window.timed == pytest.approx(2.0)


def test_what_an_outage_explains_is_kept_apart() -> None:
    window = Window()
    window.observe(obs(outcome=Outcome.FAILURE, ttft_us=None), blame=0.25)
    assert window.failures == pytest.approx(0.25)
    assert window.explained == pytest.approx(0.75)


def test_evidence_halves_in_six_hours() -> None:
    window = filled(obs(T), obs(T + HALF_LIFE_US))
    assert window.requests == pytest.approx(1.5)
    assert window.at_us == T + HALF_LIFE_US
    assert window.get_figures(T + 2 * HALF_LIFE_US)[0] == pytest.approx(0.75)


def test_observations_may_come_late() -> None:
    late, ordered = filled(obs(T + HALF_LIFE_US), obs(T)), filled(obs(T), obs(T + HALF_LIFE_US))
    assert late.requests == pytest.approx(ordered.requests)
    assert late.at_us == ordered.at_us


def test_the_landmark_moves_without_a_trace() -> None:
    window = filled(obs(T, ttft_us=100_000))
    window.elapse(T, up=True)
    for day in range(1, 60):
        window.observe(obs(T + day * 4 * HALF_LIFE_US, ttft_us=900_000))
    assert window.requests == pytest.approx(1 / (1 - 2**-4), rel=1e-6)
    assert window.quantile_us(0.0) == pytest.approx(900_000, rel=0.02)
    fresh = Window()
    fresh.elapse(T, up=True)
    fresh.elapse(T + 300 * HALF_LIFE_US, up=True)
    fresh.elapse(T + 301 * HALF_LIFE_US, up=False)
    assert fresh.uptime == pytest.approx(0.5, rel=1e-6)


def test_quantiles_are_within_two_percent() -> None:
    window = filled(*(obs(ttft_us=1_000 * i) for i in range(1, 1_001)))
    for q in (0.01, 0.25, 0.5, 0.95, 0.99, 1.0):
        assert window.quantile_us(q) == pytest.approx(1e6 * q, rel=0.0201)
    assert window.p99_us == window.quantile_us(0.99)
    p50, p95 = window.quantile_us(0.5), window.quantile_us(0.95)
    assert p50 is not None
    assert p95 is not None
    assert window.log_ttft == pytest.approx(0.7 * math.log(p50) + 0.3 * math.log(p95), abs=1e-5)


def test_ttft_is_clamped_to_what_can_be() -> None:
    assert filled(obs(ttft_us=0)).quantile_us(0.5) == pytest.approx(MIN_TTFT_US, rel=0.02)
    assert filled(obs(ttft_us=MAX_TTFT_US * 9)).quantile_us(0.5) == pytest.approx(MAX_TTFT_US, rel=0.02)


def test_mean_and_spread_of_log_ttft() -> None:
    window = filled(obs(ttft_us=100_000), obs(ttft_us=400_000))
    assert window.log_mean == pytest.approx(math.log(200_000))
    assert window.log_sd == pytest.approx(math.log(2))


def test_uptime_is_the_share_of_accounted_time() -> None:
    window = Window()
    window.elapse(T, up=False)
    assert window.uptime is None
    window.elapse(T + 3_000_000, up=True)
    window.elapse(T + 4_000_000, up=False)
    window.elapse(T + 1, up=False)
    assert window.uptime == pytest.approx(0.75, rel=1e-4)


def test_throughput_is_tokens_after_the_first_over_the_time_they_took() -> None:
    window = filled(obs(output_tokens_counted=300), obs(output_tokens_counted=100), obs())
    assert window.throughput == pytest.approx(100.0)


def test_tokens_are_metered_only_where_both_sides_are_known() -> None:
    window = filled(
        obs(output_tokens_counted=100, output_tokens_billed=120),
        obs(output_tokens_counted=100),
        obs(output_tokens_billed=100),
        obs(ttft_us=None, output_tokens_counted=10, output_tokens_billed=10),
    )
    assert window.counted_tokens == pytest.approx(110)
    assert window.billed_tokens == pytest.approx(130)


def test_a_generation_without_its_length_or_time_is_no_throughput() -> None:
    instant = Observation("a/m", "chat", T, Outcome.SUCCESS, 1_000, 1_000, None, 50)
    untimed = Observation("a/m", "chat", T, Outcome.SUCCESS, 1_000, None, None, 50)
    assert filled(instant, untimed).throughput is None


def test_a_record_brings_the_window_back() -> None:
    window = filled(*(obs(T + i * 1_000_000, ttft_us=10_000 * i, output_tokens_counted=5) for i in range(1, 50)))
    window.elapse(T, up=True)
    window.elapse(T + 9_000_000, up=True)
    record = window.to_record()
    again = Window.from_record(record)
    assert again.to_record() == record
    assert again.requests == pytest.approx(window.requests, rel=1e-6)
    assert again.log_ttft == window.log_ttft
    assert again.p99_us == window.p99_us
    assert again.uptime == 1.0
    assert Window.from_record(Window().to_record()).to_record() == Window().to_record()


GOOD = filled(obs()).to_record()


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1},
        {"at_us": -1},
        {"at_us": True},
        {"at_us": 1.5},
        {"at_us": 2**63},
        {"at_us": 0},
        {"version": 2},
        {"ttft": 3},
        {"ttft": [3]},
        {"ttft": [[3]]},
        {"ttft": [[3, 1]]},
        {"ttft": [[9_999, 1]]},
        {"ttft": [[300, 0]]},
        {"ttft": [[300, 1], [300, 1]]},
        {"ttft": [["300", 1]]},
        {"at_us": 0, "successes": 1, "ttft": []},
    ],
)
def test_nonsense_is_no_record(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="window record"):
        Window.from_record({**GOOD, **change})
    with pytest.raises(ValueError, match="keys must be"):
        Window.from_record({"version": 1})
