"""Policies to compare with: how requests are routed where nobody ranks.

All of them go on to another endpoint when one fails, each in its own order, and none offers an endpoint above the cap.
Those that rank learn from the same observations the router gets. `Hindsight` is the odd one out: it is told the mean
behaviour of the whole world in advance, so it is the best that any fixed order could be.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from providerrank.sim.oracle import Oracle, compute_best_order, compute_value
from providerrank.sim.virtual import EPOCH_US, SECONDS_PER_HOUR, Walk
from providerrank.sim.worlds import TTFT_TARGET_S, World


class _OrderWalk:
    """Down a list."""

    __slots__ = ("_left",)

    def __init__(self, order: list[int]) -> None:
        self._left = order[::-1]

    def next(self, now_us: int) -> int | None:
        return self._left.pop() if self._left else None

    def more(self, now_us: int) -> bool:
        return bool(self._left)


class Baseline:
    """What the baselines share: the pool at the prices of the moment, and no first-token clock."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.prices: list[float] = []
        self.pool: list[int] = []
        self.reprice(world, 0.0)

    def reprice(self, world: World, hour: float) -> None:
        """Take the prices of ``hour``."""
        self.prices = [world.relative_price(track.price.at(hour)) for track in world.tracks]
        self.pool = [i for i, x in enumerate(self.prices) if x <= 1.0]

    def start(self, now_us: int) -> Walk:
        """Begin a request in the order of this policy."""
        return _OrderWalk(self.order(now_us))

    def order(self, now_us: int) -> list[int]:
        """The pool in the order to try it."""
        raise NotImplementedError

    def begun(self, endpoint: int) -> None:
        """Nothing to keep."""

    def ended(self, endpoint: int, *, is_success: bool, ttft_us: int | None, total_us: int, now_us: int) -> None:
        """Nothing to learn."""

    def first_token_us(self, endpoint: int) -> int | None:
        """No clock."""
        return None


class Random(Baseline):
    """Any endpoint, then any other."""

    def order(self, now_us: int) -> list[int]:
        """The pool shuffled."""
        return self.rng.sample(self.pool, len(self.pool))


class RoundRobin(Baseline):
    """Each in turn."""

    _turn = 0

    def order(self, now_us: int) -> list[int]:
        """The pool, one place further each time."""
        self._turn = (self._turn + 1) % len(self.pool)
        return self.pool[self._turn :] + self.pool[: self._turn]


class Cheapest(Baseline):
    """By price alone."""

    def order(self, now_us: int) -> list[int]:
        """The pool by price."""
        return sorted(self.pool, key=lambda i: (self.prices[i], i))


class Hindsight(Baseline):
    """The best fixed order, told in advance: by the index of each endpoint's mean over the whole world."""

    def __init__(self, oracle: Oracle, rng: random.Random) -> None:
        world = oracle.world
        moments = [oracle.moment(hour) for hour in _every(world.hours, 0.25)]
        count = range(len(world.tracks))
        success = [sum(moment.success[i] for moment in moments) / len(moments) for i in count]
        values = [sum(moment.values[i] for moment in moments) / len(moments) for i in count]
        best = compute_best_order(success, values)
        rest = sorted(set(count) - set(best), key=lambda i: -success[i])
        self._rank = {i: place for place, i in enumerate((*best, *rest))}
        super().__init__(world, rng)

    def order(self, now_us: int) -> list[int]:
        """The pool in the fixed order."""
        return sorted(self.pool, key=self._rank.__getitem__)


class LatencyFirst(Baseline):
    """By the moving average of TTFT; endpoints not yet heard of come first, so each gets tried."""

    def __init__(self, world: World, rng: random.Random) -> None:
        super().__init__(world, rng)
        self._ttft_s = [0.0] * len(world.tracks)

    def order(self, now_us: int) -> list[int]:
        """The pool by TTFT."""
        return sorted(self.pool, key=lambda i: (self._ttft_s[i], i))

    def ended(self, endpoint: int, *, is_success: bool, ttft_us: int | None, total_us: int, now_us: int) -> None:
        """Average in the TTFT, or for a failure the time it took."""
        seen_s = (total_us if ttft_us is None else ttft_us) / 1e6
        old_s = self._ttft_s[endpoint]
        self._ttft_s[endpoint] = 0.9 * old_s + 0.1 * seen_s if old_s else seen_s


class Halving(Baseline):
    """Composite of moving averages, halved for each failure in a row; a minute without failure forgives one halving."""

    FORGIVE_US = 60_000_000

    def __init__(self, world: World, rng: random.Random) -> None:
        super().__init__(world, rng)
        count = len(world.tracks)
        self._success = [1.0] * count
        self._ttft_score = [1.0] * count
        self._failures = [0.0] * count
        self._failed_us = [EPOCH_US] * count

    def order(self, now_us: int) -> list[int]:
        """The pool by halved score."""
        return sorted(self.pool, key=lambda i: (-self._score(i, now_us), i))

    def _score(self, i: int, now_us: int) -> float:
        forgiven = (now_us - self._failed_us[i]) / self.FORGIVE_US
        halvings = max(0.0, self._failures[i] - forgiven)
        return self._success[i] * compute_value(self._ttft_score[i], self.prices[i]) * math.exp2(-halvings)

    def ended(self, endpoint: int, *, is_success: bool, ttft_us: int | None, total_us: int, now_us: int) -> None:
        """Average in the outcome; count failures in a row."""
        self._success[endpoint] += 0.05 * (is_success - self._success[endpoint])
        if ttft_us is None:
            self._failures[endpoint] += 1.0
            self._failed_us[endpoint] = now_us
        else:
            self._failures[endpoint] = 0.0
            seen = min(1.0, TTFT_TARGET_S * 1e6 / max(1, ttft_us))
            self._ttft_score[endpoint] += 0.1 * (seen - self._ttft_score[endpoint])


class Perfect(Baseline):
    """The oracle's own order as a policy, never giving up: what the run itself costs beside the bound."""

    def __init__(self, oracle: Oracle, rng: random.Random) -> None:
        super().__init__(oracle.world, rng)
        self._oracle = oracle

    def order(self, now_us: int) -> list[int]:
        """The best order at this moment, then the rest of the pool."""
        best = self._oracle.moment((now_us - EPOCH_US) / 1e6 / SECONDS_PER_HOUR).order
        return [*best, *(i for i in self.pool if i not in best)]


def _every(hours: float, step: float) -> Iterator[float]:
    for number in range(int(hours / step)):
        yield number * step
