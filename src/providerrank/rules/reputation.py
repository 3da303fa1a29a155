"""From a cell's figures to its reputation: 40 % latency, 40 % reliability, 20 % uptime, each 0..1.

Latency judges the time to first token against the task's target; faster than the target earns no more.
Reliability is the chance that three requests in a row succeed, ``s^3``, with ``s`` the mean of a Beta posterior: so
one failure in ten costs more than a price difference of a tenth of the cap.
Each function is monotone in each argument: better in one figure and equal in the rest is never a lower reputation.
"""

from __future__ import annotations

from providerrank.rules.params import PARAMS, Params


def compute_ttft_us(p50_us: float, p95_us: float, params: Params = PARAMS) -> float:
    """The one figure latency is judged by, in microseconds: ``p50^0.7 * p95^0.3``."""
    return float(p50_us**params.ttft_median_power * p95_us**params.ttft_tail_power)


def compute_latency(ttft_us: float, target_us: float) -> float:
    """0..1: ``min(1, target / ttft)``."""
    return 1.0 if ttft_us <= target_us else target_us / ttft_us


def compute_success(successes: float, failures: float, prior: float, prior_requests: float) -> float:
    """Posterior mean of the success rate under a Beta prior of mean ``prior`` worth ``prior_requests``."""
    return (prior * prior_requests + successes) / (prior_requests + successes + failures)


def compute_reliability(success: float, params: Params = PARAMS) -> float:
    """0..1: the chance of three successes in a row."""
    return float(success**params.reliability_power)


def compute_reputation(latency: float, reliability: float, uptime: float, params: Params = PARAMS) -> float:
    """0..1: the weighted mean of the three."""
    return params.latency_weight * latency + params.reliability_weight * reliability + params.uptime_weight * uptime
