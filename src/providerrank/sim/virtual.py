"""Virtual time: a policy lives through a world, request by request, in seconds instead of hours.

The load is the bars': 10 requests a second of the policy's clock, with an hour of record compressed to 10 s of it, so
a policy sees 100 requests of each recorded hour, and its own half-lives run on its own clock. Requests overlap as they
would over sockets: an attempt ends (and is observed) when its answer or its failure has come, and other requests
start meanwhile.

An attempt made at a moment succeeds with the endpoint's probability at that moment. TTFT is drawn from its
distribution; a failure takes as long to show as an answer would have taken; an answer is complete `GENERATION_S` after
its first token. Where the policy has a first-token clock and another endpoint to go to, a first token later than the
clock fails the attempt, as in the gateway.

Each request has one uniform draw per endpoint for success and one for TTFT, the same for every policy and for
the oracle: two that choose alike get the same, so differences between them are differences of choice.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Protocol

from providerrank.sim.oracle import EXTRA_ATTEMPT_COST, Moment, Oracle, compute_ttft_score, compute_value
from providerrank.sim.worlds import World

REQUESTS_PER_S = 10
SECONDS_PER_HOUR = 10.0
"""Seconds of the policy's clock in which an hour of record passes."""

GENERATION_S = 0.2
"""From first token to the end of the answer: short, since an hour passes in ten seconds."""

EPOCH_US = 1_780_000_000_000_000
"""Unix time at which every world starts."""


class Walk(Protocol):
    """One request's way through the endpoints."""

    def next(self, now_us: int) -> int | None:
        """Position in ``World.tracks`` to try now; None when there is nothing left to try."""
        ...

    def more(self, now_us: int) -> bool:
        """Whether another would be offered."""
        ...


class Policy(Protocol):
    """Anything that can route."""

    def start(self, now_us: int) -> Walk:
        """A request has come."""
        ...

    def begun(self, endpoint: int) -> None:
        """An attempt is in flight."""
        ...

    def ended(self, endpoint: int, *, is_success: bool, ttft_us: int | None, total_us: int, now_us: int) -> None:
        """The attempt has ended; ``ttft_us`` is None when no content came."""
        ...

    def first_token_us(self, endpoint: int) -> int | None:
        """The first-token clock of an attempt on it; None for no clock."""
        ...

    def reprice(self, world: World, hour: float) -> None:
        """Prices have changed: ``hour`` of the world has the new ones."""
        ...


@dataclass(slots=True)
class Score:
    """What a run was worth."""

    requests: int = 0
    successes: int = 0
    extra_attempts: int = 0
    value: float = 0.0
    oracle_value: float = 0.0
    oracle_successes: int = 0
    oracle_extra_attempts: int = 0
    choice_loss: float = 0.0
    """Expected value lost by the first choices alone, had all gone on from there as the oracle would."""
    served: Counter[int] = field(default_factory=Counter)
    """Requests answered by each endpoint."""
    first: Counter[int] = field(default_factory=Counter)
    best: Counter[int] = field(default_factory=Counter)
    """The oracle's first choices."""

    @property
    def regret(self) -> float:
        """1 - value / oracle's value."""
        return 1.0 - self.value / self.oracle_value if self.oracle_value else 0.0

    @property
    def success_share(self) -> float:
        """Share of requests answered."""
        return self.successes / self.requests if self.requests else 1.0

    @property
    def extra_per_request(self) -> float:
        """Attempts beyond the first, per request."""
        return self.extra_attempts / self.requests if self.requests else 0.0

    def add(self, other: Score) -> None:
        """Pool another run of the same world into this one."""
        self.requests += other.requests
        self.successes += other.successes
        self.extra_attempts += other.extra_attempts
        self.value += other.value
        self.oracle_value += other.oracle_value
        self.oracle_successes += other.oracle_successes
        self.oracle_extra_attempts += other.oracle_extra_attempts
        self.choice_loss += other.choice_loss
        self.served.update(other.served)
        self.first.update(other.first)
        self.best.update(other.best)


class _Request:
    __slots__ = ("attempts", "draws", "walk")

    def __init__(self, walk: Walk, draws: list[float]) -> None:
        self.walk = walk
        self.draws = draws
        self.attempts = 0


@dataclass(frozen=True, slots=True)
class _Attempt:
    endpoint: int
    start_us: int
    is_success: bool
    ttft_us: int | None
    moment: Moment


class Run:
    """One policy in one world with one seed; `run` is the usual way in."""

    def __init__(self, oracle: Oracle, policy: Policy, seed: int, hours: float | None = None) -> None:
        self.world = oracle.world
        self.hours = self.world.hours if hours is None else min(hours, self.world.hours)
        self.score = Score()
        self._oracle = oracle
        self._policy = policy
        self._rng = random.Random(f"{seed} {self.world.name}")
        self._ends: list[tuple[int, int, _Request, _Attempt]] = []
        self._serial = 0
        self._reprices = sorted({hour for t in self.world.tracks for hour in t.price.hours if 0.0 < hour < self.hours})

    def run(self) -> Score:
        """Live through the whole world."""
        step_us = 1_000_000 // REQUESTS_PER_S
        count = round(self.hours * SECONDS_PER_HOUR * REQUESTS_PER_S)
        width = 2 * len(self.world.tracks)
        for number in range(count):
            now_us = EPOCH_US + number * step_us
            self._end_until(now_us)
            hour = self._hour(now_us)
            while self._reprices and self._reprices[0] <= hour:
                self._reprices.pop(0)
                self._policy.reprice(self.world, hour)
            draws = [self._rng.random() for _ in range(width)]
            self._consult_oracle(draws, self._oracle.moment(hour))
            self._try_next(_Request(self._policy.start(now_us), draws), now_us)
        self._end_until(None)
        return self.score

    def _hour(self, now_us: int) -> float:
        return min((now_us - EPOCH_US) / 1e6 / SECONDS_PER_HOUR, self.world.hours)

    def _consult_oracle(self, draws: list[float], moment: Moment) -> None:
        score = self.score
        score.requests += 1
        score.best[moment.order[0]] += 1
        score.oracle_extra_attempts -= 1
        score.oracle_value += EXTRA_ATTEMPT_COST
        for i in moment.order:
            score.oracle_extra_attempts += 1
            score.oracle_value -= EXTRA_ATTEMPT_COST
            if draws[2 * i] < moment.success[i]:
                score.oracle_successes += 1
                score.oracle_value += self._value(i, self._draw_ttft_s(i, draws, moment), moment)
                break

    def _draw_ttft_s(self, i: int, draws: list[float], moment: Moment) -> float:
        return self.world.tracks[i].ttft.quantile_s(draws[2 * i + 1], moment.drifts[i])

    def _value(self, i: int, ttft_s: float, moment: Moment) -> float:
        return compute_value(compute_ttft_score(ttft_s), moment.relative_prices[i])

    def _try_next(self, request: _Request, now_us: int) -> None:
        endpoint = request.walk.next(now_us)
        if endpoint is None:
            return
        moment = self._oracle.moment(self._hour(now_us))
        score = self.score
        if request.attempts:
            score.extra_attempts += 1
            score.value -= EXTRA_ATTEMPT_COST
        else:
            score.first[endpoint] += 1
            rest = [i for i in moment.order if i != endpoint]
            p = moment.success[endpoint]
            score.choice_loss += moment.value - (p * moment.values[endpoint] + (1.0 - p) * _go_on(rest, moment))
        request.attempts += 1
        ttft_us = round(self._draw_ttft_s(endpoint, request.draws, moment) * 1e6)
        is_success = request.draws[2 * endpoint] < moment.success[endpoint]
        end_us = now_us + ttft_us
        clock_us = self._policy.first_token_us(endpoint)
        if clock_us is not None and ttft_us > clock_us and request.walk.more(now_us):
            is_success, end_us = False, now_us + clock_us
        elif is_success:
            end_us += round(GENERATION_S * 1e6)
        self._policy.begun(endpoint)
        self._serial += 1
        attempt = _Attempt(endpoint, now_us, is_success, ttft_us if is_success else None, moment)
        heapq.heappush(self._ends, (end_us, self._serial, request, attempt))

    def _end_until(self, until_us: int | None) -> None:
        while self._ends and (until_us is None or self._ends[0][0] <= until_us):
            end_us, _, request, attempt = heapq.heappop(self._ends)
            self._policy.ended(
                attempt.endpoint,
                is_success=attempt.is_success,
                ttft_us=attempt.ttft_us,
                total_us=end_us - attempt.start_us,
                now_us=end_us,
            )
            if attempt.ttft_us is None:
                self._try_next(request, end_us)
                continue
            self.score.successes += 1
            self.score.served[attempt.endpoint] += 1
            self.score.value += self._value(attempt.endpoint, attempt.ttft_us / 1e6, attempt.moment)


def _go_on(rest: list[int], moment: Moment) -> float:
    """Expected value of what follows a failed first attempt: every attempt of it is an extra one."""
    total, reached = 0.0, 1.0
    for i in rest:
        total += reached * (moment.success[i] * moment.values[i] - EXTRA_ATTEMPT_COST)
        reached *= 1.0 - moment.success[i]
    return total


def run(oracle: Oracle, policy: Policy, seed: int, hours: float | None = None) -> Score:
    """Let ``policy`` live through the oracle's world, or its first ``hours``; draws depend on ``seed`` alone."""
    return Run(oracle, policy, seed, hours).run()
