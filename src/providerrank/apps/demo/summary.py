"""What the demo adds up to: arithmetic only, no printing and no clock.

Costs are compared on the same tokens: what the gateway was billed for, priced at what it paid, at the
dearest and at the cheapest list price. The cheapest comparison is a floor, not an alternative: no
single endpoint stayed up for the whole show.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from providerrank.apps.demo.market import MarketSummary
from providerrank.rules.cells import NUSD_PER_USD, Price


class Failure(msgspec.Struct, frozen=True):
    """One answer the client did not get, or did not get whole."""

    at_s: float
    kind: str
    reason: str


@dataclass(slots=True)
class Tally:
    """What the client saw, added to as answers come."""

    requests: int = 0
    streamed: int = 0
    failures: list[Failure] = field(default_factory=list)
    ttfts_us: list[int] = field(default_factory=list)
    """Of streamed answers: from sending the request to the first content, as the client measured it."""
    answered_by: dict[str, int] = field(default_factory=dict)
    """Answers by the endpoint named in ``x-providerrank-endpoint``: where the answer began."""

    def add_answer(self, endpoint_id: str, ttft_us: int | None) -> None:
        """Count a whole answer; ``ttft_us`` None when it was not streamed."""
        self.requests += 1
        self.answered_by[endpoint_id] = self.answered_by.get(endpoint_id, 0) + 1
        if ttft_us is not None:
            self.streamed += 1
            self.ttfts_us.append(ttft_us)

    def add_failure(self, failure: Failure) -> None:
        """Count an answer that did not come whole."""
        self.requests += 1
        self.failures.append(failure)


@dataclass(frozen=True, slots=True)
class Counters:
    """What the gateway counted."""

    attempts: int = 0
    fallbacks: int = 0
    continuations: int = 0
    input_tokens: Mapping[str, int] = field(default_factory=dict)
    """Billed prompt tokens by endpoint id."""
    output_tokens: Mapping[str, int] = field(default_factory=dict)
    """Billed completion tokens by endpoint id."""


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The demo's result; what ``--json`` prints."""

    real_model: bool
    seconds: float
    requests: int
    client_visible_failures: int
    attempts: int
    fallbacks: int
    continuations: int
    streamed: int
    ttft_p50_ms: float | None
    ttft_p95_ms: float | None
    input_tokens: int
    output_tokens: int
    cost_usd: float
    cost_dearest_usd: float
    cost_cheapest_usd: float
    answered_by: dict[str, int]
    events: list[str]
    failures: list[Failure]
    market: MarketSummary | None = None
    """Of the second act, where it was played."""


def compute_quantile(values: Sequence[float], q: float) -> float | None:
    """The smallest value that at least a share ``q`` (0 < q <= 1) of the values do not exceed; None of none."""
    if not values:
        return None
    return sorted(values)[math.ceil(q * len(values)) - 1]


def compute_cost_usd(counters: Counters, prices: Mapping[str, Price]) -> float:
    """What the counted tokens cost with each endpoint's own price."""
    nusd = sum(
        price.cost_nusd(counters.input_tokens.get(name, 0), counters.output_tokens.get(name, 0))
        for name, price in prices.items()
    )
    return nusd / NUSD_PER_USD


def compute_summary(
    *,
    real_model: bool,
    seconds: float,
    tally: Tally,
    counters: Counters,
    prices: Mapping[str, Price],
    events: Sequence[str],
) -> Summary:
    """Add everything up; ``prices`` holds every endpoint of the show."""
    input_tokens = sum(counters.input_tokens.values())
    output_tokens = sum(counters.output_tokens.values())
    at_each = [price.cost_nusd(input_tokens, output_tokens) / NUSD_PER_USD for price in prices.values()]
    ttfts_ms = [us / 1000 for us in tally.ttfts_us]
    return Summary(
        real_model=real_model,
        seconds=round(seconds, 1),
        requests=tally.requests,
        client_visible_failures=len(tally.failures),
        attempts=counters.attempts,
        fallbacks=counters.fallbacks,
        continuations=counters.continuations,
        streamed=tally.streamed,
        ttft_p50_ms=compute_quantile(ttfts_ms, 0.50),
        ttft_p95_ms=compute_quantile(ttfts_ms, 0.95),
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost_usd=compute_cost_usd(counters, prices),
        cost_dearest_usd=max(at_each),
        cost_cheapest_usd=min(at_each),
        answered_by=dict(sorted(tally.answered_by.items(), key=lambda item: -item[1])),
        events=list(events),
        failures=list(tally.failures),
    )
