"""Is an endpoint out right now? A two-state filter.

An endpoint is either *healthy* (fails at its own small rate ``h``) or *out* (fails 85 % of the time). The
belief ``b`` is the probability that it is out. An observation updates it by Bayes' rule on the odds:

    failure:  odds * 0.85 / h            success:  odds * 0.15 / (1 - h)

and between observations it returns to its floor of 0.01 with a half-life of 30 s, since outages end.

So one failure of an endpoint that never fails is alarming and one of an endpoint that fails now and then is not;
``h`` is capped so that three failures in a row put *any* endpoint past 0.5, and a success or two bring it back.
A refusal (401, 402, 403, 404) all but never comes from an endpoint that would serve us: one puts it out at once. A 429
is the odds of a failure to the power of its weight. A schema violation is an answer: as evidence of
an outage it counts as a success.
"""

from __future__ import annotations

from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS, Params


def compute_belief(belief: float, elapsed_us: int, params: Params = PARAMS) -> float:
    """The belief after ``elapsed_us`` without an observation."""
    floor = params.belief_floor
    if belief <= floor or elapsed_us <= 0:
        return belief
    return floor + (belief - floor) * float(2.0 ** (-elapsed_us / params.belief_half_life_us))


def compute_updated_belief(belief: float, outcome: Outcome, failure_rate: float, params: Params = PARAMS) -> float:
    """The belief after one observation of an endpoint whose healthy failure rate is ``failure_rate``."""
    if outcome is Outcome.NOBODYS:
        return belief
    healthy = min(max(failure_rate, params.healthy_failure_min), params.healthy_failure_cap)
    out = params.out_failure_rate
    if outcome is Outcome.FAILURE:
        ratio = out / healthy
    elif outcome is Outcome.RATE_LIMITED:
        ratio = (out / healthy) ** params.rate_limited_weight
    elif outcome is Outcome.REFUSED_US:
        ratio = out / params.refused_healthy_rate
    else:
        ratio = (1.0 - out) / (1.0 - healthy)
    odds = belief / (1.0 - belief) * ratio
    return min(max(odds / (1.0 + odds), params.belief_floor), params.belief_ceiling)
