"""Worlds: what every endpoint of one model really did, hour by hour.

A world is the ground truth a router is judged against. For each endpoint it holds, as functions of the hour,
the share of requests it serves, how its time to first token (TTFT) is distributed, and its list price. Nothing
here decides anything: `oracle` knows a world, `virtual` and the socket bench let a router live in one.

TTFT is a log-normal body with, for some endpoints, a share of slow requests drawn from a second, wider
log-normal. That is what 2,845 raw requests to 19 provider x model pairs look like (llmperf_leaderboard, December
2023 to January 2024): log-sigma of the body 0.08 to 0.58 (quartiles 0.12, 0.20, 0.32), a share of requests
beyond 2.5 times the median of 0 for half of the pairs and up to 0.15, and those 4.1 times the median at the middle
with a log-sigma of 1.2. Hour to hour the body moves by a log-sigma of about 0.1 (deepseek_2025_outage: standard
deviation of 65 hourly medians of short prompts).

Prices a buyer would never pay are part of a world too: the cap of a world is 1.5 times the median price of its
endpoints, so the dearest are out of the pool, for the router and for the oracle alike.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Generic, TypeVar

from providerrank.rules.cells import Endpoint, Price

NORMAL = NormalDist()

TTFT_TARGET_S = 0.3
"""Faster than this earns no more: the target of `chat`, as the value of a request is defined."""

CAP_FACTOR = 1.5
"""Cap of a world over the median price of its endpoints."""

TAIL_FACTOR = 4.1
TAIL_SIGMA = 1.2
"""Slow requests over the median of the body: middle and log-sigma (llmperf_leaderboard, 47 slow requests)."""

TTFT_LIMIT_S = 60.0
"""No TTFT is longer: the longest recorded cold start (llmperf_leaderboard, replicate 70B)."""

DRIFT_SIGMA = 0.1
"""Log-sigma of an endpoint's hourly median TTFT around its own (deepseek_2025_outage)."""

INPUT_TOKENS = 1200
OUTPUT_TOKENS = 200
"""The request all worlds are priced with: what the rules expect of a chat request (azure_llm_2023: 1243 and 217)."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Steps(Generic[T]):
    """A step function of the hour: ``values[k]`` holds from ``hours[k]`` until the next; the first also before it."""

    hours: tuple[float, ...]
    values: tuple[T, ...]

    def __post_init__(self) -> None:
        if not self.values or len(self.hours) != len(self.values):
            raise ValueError("a step function needs one value per step, and at least one")
        if any(b < a for a, b in zip(self.hours, self.hours[1:], strict=False)):
            raise ValueError("steps must be in order of time")

    @classmethod
    def constant(cls, value: T) -> Steps[T]:
        """The function that is ``value`` at all times."""
        return cls((0.0,), (value,))

    def at(self, hour: float) -> T:
        """Value at ``hour``."""
        return self.values[max(0, bisect.bisect_right(self.hours, hour) - 1)]


@dataclass(frozen=True, slots=True)
class Ttft:
    """Distribution of the time to first token of an endpoint, in seconds."""

    median_s: float
    sigma: float
    """Log-sigma of the body."""
    tail_share: float = 0.0
    """Share of requests drawn from the slow component."""

    def quantile_s(self, u: float, factor: float = 1.0) -> float:
        """TTFT of the request whose uniform draw is ``u`` in (0, 1); ``factor`` scales the moment's median.

        The draw first says body or tail, then where in it, so that one number decides a request's TTFT.
        """
        if u < self.tail_share:
            z = NORMAL.inv_cdf(_open(u / self.tail_share))
            ttft_s = self.median_s * factor * TAIL_FACTOR * math.exp(TAIL_SIGMA * z)
        else:
            z = NORMAL.inv_cdf(_open((u - self.tail_share) / (1.0 - self.tail_share)))
            ttft_s = self.median_s * factor * math.exp(self.sigma * z)
        return min(ttft_s, TTFT_LIMIT_S)

    def expected_score(self, factor: float = 1.0) -> float:
        """Mean of ``min(1, target / ttft)``, in closed form (see `compute_expected_score`)."""
        body = compute_expected_score(self.median_s * factor, self.sigma)
        if not self.tail_share:
            return body
        tail = compute_expected_score(self.median_s * factor * TAIL_FACTOR, TAIL_SIGMA)
        return (1.0 - self.tail_share) * body + self.tail_share * tail


def compute_expected_score(median_s: float, sigma: float) -> float:
    """Mean of ``min(1, t / X)`` for a log-normal X, t the TTFT target.

    With ln X ~ N(m, s2) and a = (ln t - m) / s: P(X <= t) = Phi(a), and E[t / X; X > t] is
    ``t exp(-m + s2 / 2) Phi(-a - s)``, since weighing a normal by exp(-y) shifts its mean by -s2.
    """
    if sigma <= 0.0:
        return min(1.0, TTFT_TARGET_S / median_s)
    a = math.log(TTFT_TARGET_S / median_s) / sigma
    slow = TTFT_TARGET_S / median_s * math.exp(sigma * sigma / 2.0) * NORMAL.cdf(-a - sigma)
    return NORMAL.cdf(a) + slow


def _open(u: float) -> float:
    return min(max(u, 1e-12), 1.0 - 1e-12)


@dataclass(frozen=True, slots=True)
class Track:
    """What one endpoint did over a world's hours."""

    endpoint_id: str
    success: Steps[float]
    """Probability that a request sent at that hour is served, 0..1."""
    price: Steps[Price]
    ttft: Ttft
    drift: Steps[float] = field(default_factory=lambda: Steps.constant(1.0))
    """Factor on the median TTFT."""


@dataclass(frozen=True, slots=True)
class World:
    """One model's endpoints over some hours of record, and the buyer who lives there."""

    name: str
    source: str
    """Where the figures come from, for the report."""
    model: str
    hours: float
    tracks: tuple[Track, ...]
    cap: Price
    input_tokens: int = INPUT_TOKENS
    output_tokens: int = OUTPUT_TOKENS
    is_for_tuning: bool = False
    """Parameters may be chosen by looking at this world; all others only judge."""

    def __post_init__(self) -> None:
        if not self.tracks:
            raise ValueError(f"world {self.name!r} has no endpoints")
        if len({track.endpoint_id for track in self.tracks}) != len(self.tracks):
            raise ValueError(f"world {self.name!r} names an endpoint twice")

    def relative_price(self, price: Price) -> float:
        """Expected cost of a request at ``price`` over the same at the cap; above 1 is out of the pool."""
        cap = self.cap.cost_nusd(self.input_tokens, self.output_tokens)
        return price.cost_nusd(self.input_tokens, self.output_tokens) / cap

    def endpoints(self, hour: float = 0.0) -> tuple[Endpoint, ...]:
        """The endpoints as the rules see them, at the prices of ``hour``."""
        return tuple(Endpoint(t.endpoint_id, self.model, t.price.at(hour)) for t in self.tracks)


def compute_cap(prices: Sequence[Price], factor: float = CAP_FACTOR) -> Price:
    """The cap of a world: ``factor`` times the median input price and the median output price."""
    inputs = sorted(price.input_nusd for price in prices)
    outputs = sorted(price.output_nusd for price in prices)
    middle = len(prices) // 2
    return Price(round(inputs[middle] * factor), round(outputs[middle] * factor))
