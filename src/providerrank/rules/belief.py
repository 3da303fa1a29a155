"""Is an endpoint out right now? A two-state filter.

An endpoint is either *healthy* (fails at its own small rate ``h``) or *out* (fails 85 % of the time). The
belief ``b`` is the probability that it is out. An observation updates it by Bayes' rule on the odds:

    failure:  odds * 0.85 / h            success:  odds * 0.15 / (1 - h)

and between observations it returns to its floor of 0.01 with a half-life of 30 s, since outages end. It is kept at
0.8 or below: more failures tell more about now, nothing about how long it lasts, and from 0.8 an endpoint is due for a
try after 20 s, whether three failures sent it away or thirty.

So one failure of an endpoint that never fails is alarming and one of an endpoint that fails now and then is not;
``h`` is capped so that three failures in a row put *any* endpoint past 0.5, and a success or two bring it back.
A refusal (401, 402, 403, 404) all but never comes from an endpoint that would serve us: one puts it out at once. A 429
is the odds of a failure to the power of its weight. A schema violation is an answer: as evidence of
an outage it counts as a success.

An attempt that was dropped because another was faster had been silent for so long: out, it would have been (or had
failed outright); healthy, it is as often as TTFTs are longer than that, ``s``, taken for no less than a half, since
slow answers come in runs:

    silence:  odds * (0.85 + 0.15 * s) / s

So a silence that is usual says nothing, and eight unusual ones in a row put an endpoint past 0.5: one that hangs is not
kept first for ever by second attempts that save each request.
"""

from __future__ import annotations

import math

from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS, Params


def compute_belief(belief: float, elapsed_us: int, params: Params = PARAMS) -> float:
    """The belief after ``elapsed_us`` without an observation."""
    floor = params.belief_floor
    if belief <= floor or elapsed_us <= 0:
        return belief
    return floor + (belief - floor) * float(2.0 ** (-elapsed_us / params.belief_half_life_us))


def compute_out_until_us(belief: float, belief_us: int, params: Params = PARAMS) -> int:
    """When an endpoint nobody hears of again stops being believed out; 0 for one that is not."""
    if belief <= params.belief_out:
        return 0
    halvings = math.log2((belief - params.belief_floor) / (params.belief_out - params.belief_floor))
    return belief_us + round(halvings * params.belief_half_life_us)


def compute_posterior(belief: float, outcome: Outcome, failure_rate: float, params: Params = PARAMS) -> float:
    """How likely this outcome makes it that the endpoint is out: of a failure, the share that an outage explains."""
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
    return odds / (1.0 + odds)


def compute_silence_posterior(belief: float, longer: float, params: Params = PARAMS) -> float:
    """How likely a silence makes it that the endpoint is out; ``longer`` is the share of its TTFTs that are longer."""
    healthy = max(longer, params.silent_healthy_rate)
    out = params.out_failure_rate + (1.0 - params.out_failure_rate) * healthy
    odds = belief / (1.0 - belief) * out / healthy
    return odds / (1.0 + odds)


def compute_bounded_belief(posterior: float, params: Params = PARAMS) -> float:
    """The posterior as it is kept: between the floor and the ceiling."""
    return min(max(posterior, params.belief_floor), params.belief_ceiling)


def compute_updated_belief(belief: float, outcome: Outcome, failure_rate: float, params: Params = PARAMS) -> float:
    """The belief after one observation of an endpoint whose healthy failure rate is ``failure_rate``."""
    if outcome is Outcome.NOBODYS:
        return belief
    return compute_bounded_belief(compute_posterior(belief, outcome, failure_rate, params), params)
