"""Better in one dimension and equal in the rest never ranks lower; scores stay within 0..1."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from providerrank.rules.belief import compute_belief, compute_updated_belief
from providerrank.rules.metering import compute_honesty
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS
from providerrank.rules.ranking import Weights, compute_composite, compute_price_score
from providerrank.rules.reputation import compute_latency, compute_reliability, compute_reputation, compute_ttft_us
from providerrank.rules.session import compute_blended_log, compute_blended_success
from tests.unit.rules.market import Market, endpoint

shares = st.floats(0, 1)
us = st.integers(100, 3_600_000_000)


@given(us, us, us, shares, shares, shares, shares, shares, shares)
def test_better_in_one_dimension_never_scores_lower(
    p50: int, p95: int, other: int, s: float, t: float, up: float, upper: float, x: float, y: float
) -> None:
    p95 = max(p50, p95)
    slower, faster = max(p50, other), min(p50, other)
    target = 300_000

    def score(ttft_us: float, success: float, uptime: float, share: float) -> float:
        latency = compute_latency(ttft_us, target)
        reputation = compute_reputation(latency, compute_reliability(success), uptime)
        return compute_composite(reputation, compute_price_score(share, 1.0))

    base = score(compute_ttft_us(slower, p95), min(s, t), min(up, upper), max(x, y))
    assert 0.0 <= base <= 1.0 + 1e-12
    assert score(compute_ttft_us(faster, p95), min(s, t), min(up, upper), max(x, y)) >= base
    assert score(compute_ttft_us(slower, p95), max(s, t), min(up, upper), max(x, y)) >= base
    assert score(compute_ttft_us(slower, p95), min(s, t), max(up, upper), max(x, y)) >= base
    assert score(compute_ttft_us(slower, p95), min(s, t), min(up, upper), min(x, y)) >= base


histories = st.lists(st.tuples(st.integers(100, 5_000), st.booleans()), min_size=1, max_size=25)


@given(histories, st.sampled_from(["price", "latency", "reliability"]), st.floats(0.05, 0.9))
def test_a_better_endpoint_never_ranks_lower(history: list[tuple[int, bool]], dimension: str, usd: float) -> None:
    market = Market(endpoint("worse", usd), endpoint("better", usd * 0.7 if dimension == "price" else usd))
    for ms, is_success in history:
        worse = Outcome.SUCCESS if is_success and dimension != "reliability" else Outcome.SCHEMA_VIOLATION
        better = Outcome.SUCCESS if is_success else Outcome.SCHEMA_VIOLATION
        market.see("worse", worse, ms=ms)
        market.see("better", better, ms=ms // 2 if dimension == "latency" else ms, gap_s=0)
    rows = {row.endpoint.provider: row for row in market.router.ranking("m", market.now).rows}
    assert rows["better"].composite >= rows["worse"].composite - 1e-12
    assert rows["better"].effective >= rows["worse"].effective - 1e-12


beliefs = st.floats(PARAMS.belief_floor, PARAMS.belief_ceiling)


@given(beliefs, shares, st.sampled_from(Outcome), st.integers(0, 10**12))
def test_beliefs_stay_within_bounds_and_move_the_right_way(
    belief: float, rate: float, outcome: Outcome, elapsed_us: int
) -> None:
    after = compute_updated_belief(belief, outcome, rate)
    assert PARAMS.belief_floor <= after <= PARAMS.belief_ceiling
    if outcome in {Outcome.SUCCESS, Outcome.SCHEMA_VIOLATION}:
        assert after <= belief + 1e-12
    else:
        assert after >= belief - 1e-12
    assert PARAMS.belief_floor <= compute_belief(belief, elapsed_us) <= belief


@given(st.floats(5, 20), st.floats(5, 20), st.floats(1, 20), st.floats(5, 20), st.floats(0, 500))
def test_the_session_moves_latency_towards_what_it_saw(
    history: float, mean: float, prior: float, seen: float, count: float
) -> None:
    blended = compute_blended_log(history, mean, prior, seen, count)
    assert (blended - history) * (seen - mean) >= 0.0
    assert abs(blended - history) <= abs(seen - mean) + 1e-12


@given(shares, st.floats(1, 20), st.floats(0, 500), shares)
def test_the_session_moves_success_between_history_and_what_it_saw(
    history: float, prior: float, count: float, failed: float
) -> None:
    blended = compute_blended_success(history, prior, count, failed * count)
    assert min(history, 1 - failed) - 1e-9 <= blended <= max(history, 1 - failed) + 1e-9


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_billing_more_never_ranks_higher(counted: float, billed: float, more: float) -> None:
    honest, greedy = compute_honesty(counted, billed), compute_honesty(counted, billed + more)
    assert 0.0 < greedy <= honest <= 1.0


@given(st.floats(0.01, 10), st.floats(0.01, 10), st.floats(0.1, 100), shares, shares)
def test_only_the_ratio_of_weights_counts(a: float, b: float, k: float, reputation: float, price: float) -> None:
    one = compute_composite(reputation, price, Weights(a, b))
    scaled = compute_composite(reputation, price, Weights(a * k, b * k))
    assert abs(one - scaled) < 1e-9
