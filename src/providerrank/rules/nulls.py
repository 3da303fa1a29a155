"""How often honesty looks like cheating, per endpoint: calibrated on the validator's own doubled replays.

Nothing here comes from a miner. A validator that measures a cell three times in a row (before, between, after) plays an
honest miner to itself: the middle one is a claim, the other two judge it, and how often they exceed it by the factor of
the test *less the vantage allowance* bounds how often they exceed an honest miner's claim, wherever it stands. Whatever
the endpoint does between measurements (noise, bursts, changes of regime) is in that rate, as it is in the claims'.
Two answers to one challenge likewise say how often a deterministic endpoint disagrees with itself.

An endpoint's rate leans on all endpoints' while it has few measurements, is taken a standard error above its
estimate, and never below a floor: a lucky calibration must not convict.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field

from providerrank.rules.market_params import MARKET, MarketParams


@dataclass(frozen=True, slots=True)
class Timing:
    """One completed request's times, microseconds."""

    ttft_us: int
    total_us: int


def is_exceeded(claim: Timing, first: Timing, second: Timing, factor: float) -> bool:
    """Whether both measurements are more than ``factor`` times the claim, in time to first token or in total time."""
    return (
        min(first.ttft_us, second.ttft_us) > factor * claim.ttft_us
        or min(first.total_us, second.total_us) > factor * claim.total_us
    )


@dataclass(slots=True)
class Rate:
    """How often something happened in how many trials."""

    happened: float = 0.0
    trials: float = 0.0

    def add(self, *, happened: bool) -> None:
        """Count one trial."""
        self.happened += happened
        self.trials += 1.0


@dataclass(slots=True)
class Nulls:
    """A validator's calibration: rates by endpoint id, and over all endpoints."""

    params: MarketParams = MARKET
    slow: dict[str, Rate] = field(default_factory=lambda: defaultdict(Rate))
    differ: dict[str, Rate] = field(default_factory=lambda: defaultdict(Rate))
    _all_slow: Rate = field(default_factory=Rate)

    def add_timings(self, endpoint_id: str, before: Timing, between: Timing, after: Timing) -> None:
        """Count three of the validator's own measurements of one cell, in the order of time."""
        exceeded = is_exceeded(between, before, after, self.params.understatement * self.params.vantage)
        self.slow[endpoint_id].add(happened=exceeded)
        self._all_slow.add(happened=exceeded)

    def add_answers(self, endpoint_id: str, *, differ: bool) -> None:
        """Count two of the validator's own answers to one challenge."""
        self.differ[endpoint_id].add(happened=differ)

    def get_slow(self, endpoint_id: str) -> float:
        """Bound on how often an honest claim is exceeded on an endpoint."""
        prior = self.params.null_prior_replays
        pooled = (self._all_slow.happened + 1.0) / (self._all_slow.trials + 2.0)
        own = self.slow.get(endpoint_id, Rate())
        trials = own.trials + prior
        rate = (own.happened + prior * pooled) / trials
        return max(self.params.latency_null_floor, rate + math.sqrt(rate * (1 - rate) / trials))

    def get_differ(self, endpoint_id: str) -> float | None:
        """Bound on how often an endpoint's answer differs from its own; None where answers cannot be compared."""
        own = self.differ.get(endpoint_id, Rate())
        if own.trials < self.params.null_doubles_min:
            return None
        rate = (own.happened + 0.5) / (own.trials + 1.0)
        bound = max(self.params.answer_null_floor, rate + math.sqrt(rate * (1 - rate) / own.trials))
        return bound if bound <= self.params.answer_null_ceiling else None
