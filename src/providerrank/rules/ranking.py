"""Price against the buyer's cap, the composite score, and the ranking as a value to show.

``x`` is the request's expected cost over its cost at the cap; the price score is ``1 - x^2``: half the cap scores
0.75, 95 % of it 0.10. Above the cap an endpoint is not in the pool at all. Without a cap the pool's dearest
price stands in for it and nothing is excluded. The composite is 60 % reputation and 40 % price unless buyer or
tier weigh otherwise; the *effective* score is what routing compares: ``(1 - outage belief) * composite``.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from providerrank.rules.cells import Endpoint, Price
from providerrank.rules.params import PARAMS, Params, TaskParams
from providerrank.rules.verified import Verified

OFFERED = frozenset({"ok", "suspect"})
"""States of an endpoint that is offered to requests."""


@dataclass(frozen=True, slots=True)
class Weights:
    """How much reputation and price count; used relative to their sum, so any positive scale will do."""

    reputation: float = PARAMS.reputation_weight
    price: float = PARAMS.price_weight

    def __post_init__(self) -> None:
        if self.reputation < 0 or self.price < 0 or self.reputation + self.price <= 0:
            raise ValueError("weights must be zero or more, and not both zero")


DEFAULT_WEIGHTS = Weights()


def compute_expected_cost_nusd(price: Price, task: TaskParams) -> float:
    """What a request of this task is expected to cost, in nano-USD."""
    return price.cost_nusd(task.input_tokens, task.output_tokens, task.cached_tokens)


def compute_price_score(cost: float, cap_cost: float, params: Params = PARAMS) -> float:
    """0..1: ``1 - (cost / cap)^2``, and 0 above the cap. A cap of nothing is met only by a free endpoint."""
    if cap_cost <= 0:
        return 1.0 if cost <= 0 else 0.0
    share = cost / cap_cost
    return max(0.0, 1.0 - float(share**params.price_power))


def compute_composite(reputation: float, price_score: float, weights: Weights = DEFAULT_WEIGHTS) -> float:
    """0..1: the weighted mean of reputation and price score."""
    return (weights.reputation * reputation + weights.price * price_score) / (weights.reputation + weights.price)


@dataclass(frozen=True, slots=True)
class Ranked:
    """One endpoint's place in a ranking, with everything it came from."""

    endpoint: Endpoint
    rank: int | None
    """1 is best by effective score; None when the endpoint is not in the pool."""
    effective: float
    """``(1 - belief) * composite``, what routing compares."""
    composite: float
    reputation: float
    latency: float
    reliability: float
    uptime: float
    price_score: float
    cost_nusd: float
    """Expected cost of one request of this task."""
    ttft_us: float
    """Expected ``p50^0.7 * p95^0.3``, session included."""
    success: float
    """Expected share of requests that succeed, outages aside."""
    throughput: float | None
    """Completion tokens a second; None when never measured."""
    requests: float
    """Evidence of its own behind these figures, in decayed requests."""
    belief: float
    """Probability that it is out right now."""
    in_flight: int
    concurrency_limit: float
    billing_ratio: float
    """Tokens billed over tokens counted; 1.0 while too little is known."""
    state: str
    """``ok``, ``suspect`` (some belief of an outage), ``out`` (passed over), ``cooling`` or ``excluded``."""
    excluded: str | None = None
    """Which filters keep it out of the pool, comma-separated; None when in it."""
    cooling_until_us: int | None = None
    verified: Verified | None = None
    """What the market has found of it, where that still counts."""


@dataclass(frozen=True, slots=True)
class Ranking:
    """The endpoints of a model, best first; those not in the pool last."""

    model: str
    task: str
    tier: str | None
    at_us: int
    version: str
    """Of the parameters."""
    rows: tuple[Ranked, ...]
    left_out: int = 0
    """Further endpoints, where only the first so many were asked for."""
    left_out_offered: int = 0
    """Those of them that are ``ok`` or ``suspect``."""


class Glance(msgspec.Struct, frozen=True, gc=False):
    """What is seen of an endpoint at a glance; of thousands, so no dataclass. As in `Ranked`."""

    endpoint_id: str
    effective: float
    reputation: float
    belief: float
    state: str
