"""The oracle: what a request was worth, and the most it could have been worth.

**Value of a request** (the composite score as realised, from the bars of the project)::

    success * (0.6 * (0.4 * min(1, 0.3 s / ttft) + 0.6) + 0.4 * (1 - x^2)) - 0.24 * extra attempts

``x`` is the request's cost over the same cost at the buyer's cap; extra attempts are those after the first, whether
or not any of them succeeds. TTFT is that of the successful attempt, from its own start: the time lost on failed
attempts is what the 0.24 stands for.

**The best order.** At one moment let endpoint i succeed with probability p_i, independently, and be worth v_i when
it does (the mean over its TTFT distribution); each attempt but the first costs c = 0.24. Whatever is tried, some
attempt is the first, so charge c for every attempt and give one c back: a constant, which no order can change. An
attempt is then worth ``p_i v_i - c = p_i g_i`` with the *index* ``g_i = v_i - c / p_i``, and is made only if those
before it failed.

Take an order in which j comes directly before i, and exchange the two. Both attempts are reached with the probability
all before them left, and what follows both is reached with the same probability either way, so the gain is in
proportion to ::

    [p_i g_i + (1 - p_i) p_j g_j] - [p_j g_j + (1 - p_j) p_i g_i]  =  p_i p_j (g_i - g_j)

which is positive exactly when g_i > g_j. So any order with an inversion is improved by removing it, and descending
index is optimal among all orders of a given set of endpoints. As to the set: an endpoint with g < 0 stands last in
its order and adds a non-positive term, so dropping it never hurts, while at least one attempt is always made. Hence
the optimum tries, by descending index, all endpoints whose index is not negative; where there is none it makes the one
attempt with the largest ``p v``. (An order fixed in advance is no restriction: all that is learned on the way is that
the earlier ones failed, which is already what "reached" means.)

The router is bound to try on until something answers, the oracle here may give up where trying on costs more than it
brings: so the regret reported is against a bound at least as high as any policy's value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from providerrank.sim.worlds import TTFT_TARGET_S, World

EXTRA_ATTEMPT_COST = 0.24
"""Value lost with each attempt after the first: the whole latency share of the composite (0.6 x 0.4)."""

STEPS_PER_HOUR = 60
"""The oracle's clock: states are held for one minute of record, well below the 5 minutes they were averaged over."""


def compute_value(ttft_score: float, relative_price: float) -> float:
    """Value of a request served at its first attempt; ``ttft_score`` is ``min(1, target / ttft)``, or its mean."""
    return 0.6 * (0.4 * ttft_score + 0.6) + 0.4 * (1.0 - relative_price * relative_price)


def compute_ttft_score(ttft_s: float) -> float:
    """``min(1, target / ttft)`` of one request."""
    return min(1.0, TTFT_TARGET_S / ttft_s) if ttft_s > 0.0 else 1.0


def compute_index(success: float, value: float) -> float:
    """The index by which the best order descends; see the module."""
    return value - EXTRA_ATTEMPT_COST / success if success > 0.0 else float("-inf")


def compute_best_order(success: Sequence[float], values: Sequence[float]) -> tuple[int, ...]:
    """Positions to try, in the order with the highest expected value; never empty unless there is no endpoint."""
    index = [compute_index(p, v) for p, v in zip(success, values, strict=True)]
    order = tuple(sorted((i for i, g in enumerate(index) if g >= 0.0), key=lambda i: (-index[i], i)))
    if order or not index:
        return order
    return (max(range(len(index)), key=lambda i: success[i] * values[i]),)


def compute_expected_value(order: Sequence[int], success: Sequence[float], values: Sequence[float]) -> float:
    """Expected value of trying ``order`` until one succeeds."""
    total, reached = EXTRA_ATTEMPT_COST if order else 0.0, 1.0
    for i in order:
        total += reached * (success[i] * values[i] - EXTRA_ATTEMPT_COST)
        reached *= 1.0 - success[i]
    return total


@dataclass(frozen=True, slots=True)
class Moment:
    """Everybody's true state at one moment; the tuples run with ``World.tracks``."""

    success: tuple[float, ...]
    """0 for an endpoint above the cap: it is not in the pool."""
    values: tuple[float, ...]
    relative_prices: tuple[float, ...]
    drifts: tuple[float, ...]
    order: tuple[int, ...]
    """The best order."""
    value: float
    """Expected value of it."""


class Oracle:
    """Knows a world at every moment. Moments are computed once and kept."""

    __slots__ = ("_moments", "_scores", "world")

    def __init__(self, world: World) -> None:
        self.world = world
        self._moments: dict[int, Moment] = {}
        self._scores: dict[tuple[int, float], float] = {}

    def moment(self, hour: float) -> Moment:
        """The state of the world at ``hour``, to the minute of record."""
        step = int(hour * STEPS_PER_HOUR)
        moment = self._moments.get(step)
        if moment is None:
            moment = self._moments[step] = self._compute_moment((step + 0.5) / STEPS_PER_HOUR)
        return moment

    def _compute_moment(self, hour: float) -> Moment:
        world = self.world
        prices = tuple(world.relative_price(track.price.at(hour)) for track in world.tracks)
        success = tuple(
            track.success.at(hour) if x <= 1.0 else 0.0 for track, x in zip(world.tracks, prices, strict=True)
        )
        drifts = tuple(track.drift.at(hour) for track in world.tracks)
        values = tuple(compute_value(self._score(i, drifts[i]), x) for i, x in enumerate(prices))
        order = compute_best_order(success, values)
        return Moment(success, values, prices, drifts, order, compute_expected_value(order, success, values))

    def _score(self, i: int, drift: float) -> float:
        score = self._scores.get((i, drift))
        if score is None:
            score = self._scores[i, drift] = self.world.tracks[i].ttft.expected_score(drift)
        return score
