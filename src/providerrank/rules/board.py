"""A board: the endpoints of one model at one task in one tier, kept in order of composite score.

Nothing is recomputed for all endpoints on a request. An observation queues the standings of the one endpoint it
concerns; the next reader scores those anew and moves them to their place by bisection: O(log N) comparisons and
one memory move. Only when the model's prior has moved noticeably is the whole board scored again, and a large
board no more than once a second.

Invariants: ``keys`` is ascending and parallel to ``members``; a key is the negated composite plus a tiny multiple of
the endpoint's index, hence unique, so a member is found by its key; ties go to the endpoint named first.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from operator import attrgetter

from providerrank.rules.budget import compute_dearest
from providerrank.rules.cells import Price
from providerrank.rules.params import SECOND_US, Params
from providerrank.rules.ranking import Weights, compute_expected_cost_nusd, compute_price_score
from providerrank.rules.sight import Lane, Looks, Sight
from providerrank.rules.state import CellState, EndpointState, ModelState, Prior, Standing

TIE_BREAK = 1e-12
SMALL = 64
"""Boards up to this size are scored anew whenever their prior moves."""
REBUILD_US = SECOND_US
THIN = 50.0
"""Requests of its own past which a cell's estimate no longer feels the prior."""

_get_key = attrgetter("key")


@dataclass(frozen=True, slots=True)
class Terms:
    """What the buyer, or a tier in its place, ranks by."""

    price_cap: Price | None
    weights: Weights
    min_reputation: float | None
    exploration: float = 0.0
    verified_first: bool = False
    """Nothing that the market has not verified is tried before what it has."""


class Board:
    """See the module. ``excluded`` are the standings the price cap keeps out."""

    __slots__ = (
        "_dearest",
        "_latency_weight",
        "_log_target",
        "_params",
        "_price_weight",
        "_rebuilt_us",
        "_reliability_power",
        "_reliability_weight",
        "_reputation_weight",
        "_uptime_weight",
        "by_state",
        "common_features",
        "excluded",
        "exploration",
        "keys",
        "lanes",
        "looks",
        "members",
        "min_reputation",
        "model",
        "model_state",
        "prior",
        "queue",
        "revision",
        "sights",
        "smallest_context",
        "task",
        "tier",
        "verified_first",
        "warm_requests",
    )

    def __init__(
        self,
        model: ModelState,
        task: str,
        tier: str | None,
        cells: Iterable[CellState],
        prior: Prior,
        terms: Terms,
        params: Params,
        looks: Looks | None = None,
    ) -> None:
        self.model_state = model
        self.model = model.rules.id
        self.task = task
        self.tier = tier
        self.min_reputation = terms.min_reputation
        self.looks = looks or Looks(0, params)
        self.sights: tuple[Sight] = self.looks.none
        """The latest one taken of it (see `sight`)."""
        self.lanes = (Lane(self.model, model.rules.pin, terms.min_reputation, terms.price_cap),)
        """What is laid down for a request without wishes of its own."""
        self._params = params
        self.prior = prior
        self.revision = -1
        self._rebuilt_us = 0
        self.queue: list[Standing] = []
        self._log_target = math.log(params.get_task(task).target_ttft_us)
        weights, price_cap = terms.weights, terms.price_cap
        scale = weights.reputation / (weights.reputation + weights.price)
        self._price_weight = 1.0 - scale
        self._latency_weight = params.latency_weight
        self._reliability_weight = params.reliability_weight
        self._reliability_power = params.reliability_power
        self._uptime_weight = params.uptime_weight
        self._reputation_weight = scale
        costed = [
            (cell, compute_expected_cost_nusd(cell.endpoint.endpoint.price, params.get_task(task))) for cell in cells
        ]
        if price_cap is None:
            cap = max((cost for _, cost in costed), default=0.0)
        else:
            cap = compute_expected_cost_nusd(price_cap, params.get_task(task))
        self._dearest: Price | None = None
        self.members: list[Standing] = []
        self.excluded: list[Standing] = []
        for cell, cost in costed:
            tie = cell.endpoint.index * TIE_BREAK
            standing = Standing(cell, cost, compute_price_score(cost, cap, params), tie, self.queue)
            (self.members if cost <= cap else self.excluded).append(standing)
        self.warm_requests = params.cold_start_requests * min(len(self.members), params.sample_top + params.sample_rest)
        """Requests by which the cold-start share has fallen to a tenth."""
        self.verified_first = terms.verified_first
        explores = self.min_reputation is None and not self.verified_first and len(self.members) > 1
        self.exploration = terms.exploration if explores else 0.0
        """The share below which it does not fall; 0.0: nothing is ever sampled."""
        self.keys: list[float] = [0.0] * len(self.members)
        self.by_state: dict[EndpointState, Standing] = {s.state: s for s in self.members}
        for standing in self.members:
            standing.state.standings.append(standing)
        endpoints = [s.state.endpoint for s in self.members]
        self.common_features = frozenset.intersection(*(e.features for e in endpoints)) if endpoints else frozenset()
        self.smallest_context = min((e.context_window for e in endpoints if e.context_window is not None), default=None)

    def refresh(self, now_us: int) -> None:
        """Bring the order up to date with what was observed."""
        prior = self.prior
        if (prior.has_moved or self.revision != prior.revision) and (
            len(self.members) <= SMALL or self.revision < 0 or now_us - self._rebuilt_us >= REBUILD_US
        ):
            self.rebuild(now_us)
        elif self.queue:
            keys, members = self.keys, self.members
            for standing in self.queue:
                standing.queued = False
                at = bisect_left(keys, standing.key)
                self.score(standing, now_us)
                key = standing.key
                last = len(keys) - 1
                if (at == 0 or keys[at - 1] < key) and (at == last or key < keys[at + 1]):
                    keys[at] = key
                    continue
                del keys[at], members[at]
                at = bisect_left(keys, key)
                keys.insert(at, key)
                members.insert(at, standing)
            self.queue.clear()

    def rebuild(self, now_us: int, *, with_settled: bool = False) -> None:
        """Score every endpoint anew and sort; those whose own evidence outweighs the prior only ``with_settled``."""
        if with_settled:
            for standing in self.by_state.values():
                standing.cell.estimate(now_us, self._params)
        if self.prior.has_moved:
            self.prior.publish()
        self.revision = self.prior.revision
        self._rebuilt_us = now_us
        # In the order they were made in, not by rank: what lies side by side in memory is read at half the cost.
        for standing in self.by_state.values():
            standing.queued = False
            if with_settled or standing.cell.evidence < THIN:
                standing.cell.fresh = False
            self.score(standing, now_us)
        self.queue.clear()
        self.members.sort(key=_get_key)
        self.keys[:] = map(_get_key, self.members)

    def score(self, standing: Standing, now_us: int) -> None:
        """Compute one standing's scores from its cell's estimate."""
        cell = standing.cell
        if not cell.fresh:
            cell.estimate(now_us, self._params)
        # compute_latency, compute_reputation and compute_composite, written out: this is the hot path.
        excess = cell.log_ttft - self._log_target
        latency = 1.0 if excess <= 0.0 else math.exp(-excess)
        standing.reputation = reputation = (
            self._latency_weight * latency
            + self._reliability_weight * cell.success**self._reliability_power
            + self._uptime_weight * cell.uptime
        )
        standing.composite = composite = (
            self._reputation_weight * reputation + self._price_weight * standing.price_score
        ) * cell.honesty
        standing.key = standing.tie - composite

    def compute_latency(self, log_ttft: float) -> float:
        """As `reputation.compute_latency`, of a log TTFT."""
        return 1.0 if log_ttft <= self._log_target else math.exp(self._log_target - log_ttft)

    def compute_reputation(self, latency: float, success: float, uptime: float) -> float:
        """As `reputation.compute_reputation`, of a success rate."""
        return (
            self._latency_weight * latency
            + self._reliability_weight * success**self._reliability_power
            + self._uptime_weight * uptime
        )

    def compute_composite(self, standing: Standing, reputation: float) -> float:
        """As `ranking.compute_composite`, times the seller's honesty in billing."""
        return (
            self._reputation_weight * reputation + self._price_weight * standing.price_score
        ) * standing.cell.honesty

    def compute_gain(self, standing: Standing, price_gain: float) -> float:
        """What a higher price score would add to the composite."""
        return self._price_weight * price_gain * standing.cell.honesty

    def get_dearest(self) -> Price:
        """The highest price on each side that a member asks."""
        if self._dearest is None:
            # Prices do not change while a board lives: new ones make new boards.
            self._dearest = compute_dearest(s.state.endpoint.price for s in self.by_state.values())
        return self._dearest

    def count_within(self, composite: float) -> int:
        """How many members have at least this composite score."""
        return bisect_right(self.keys, TIE_BREAK * 1e5 - composite)
