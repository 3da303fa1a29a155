"""The live state of endpoints, cells and models: what observations change and rankings read.

A *cell* has its window (history), its share of the gateway-wide session, and the *estimate* made from both:
expected log TTFT, healthy success rate, uptime, honesty. An *endpoint* holds what concerns all its cells: outage
belief, cooling, requests in flight and the concurrency limit learned from 429s. Its own window is the sum of its
cells'; while it has a single cell the two are the same object, so the common case pays once.

Priors are empirical Bayes: what nobody has measured is assumed to be like the measured endpoints of its model
(`Prior`), and that in turn starts from the defaults in params. A cell without much of its own borrows from its
endpoint's other tasks.
"""

from __future__ import annotations

import math

from providerrank.rules.belief import compute_belief
from providerrank.rules.catalog import ModelRules
from providerrank.rules.cells import Endpoint
from providerrank.rules.metering import compute_honesty, compute_usual_ratio
from providerrank.rules.params import Params
from providerrank.rules.session import SessionCell
from providerrank.rules.verified import Verified
from providerrank.rules.window import Window

PRIOR_LOG_STEP = 0.1
PRIOR_SUCCESS_STEP = 0.005
"""Moves of a prior too small to be worth scoring every endpoint anew: about 0.01 of a composite score each."""
PRIOR_LOG_SHARE = PRIOR_LOG_STEP / 5
PRIOR_SUCCESS_SHARE = PRIOR_SUCCESS_STEP / 5
"""Moves of one cell's contribution too small to be told to the prior."""
PRIOR_EVIDENCE = 3.0


class Prior:
    """What the measured endpoints of one model are like at one task: sums over cells, weighted by their evidence.

    A cell contributes ``n / (n + 3)`` of an endpoint, so that one busy endpoint does not speak for all.
    """

    __slots__ = ("has_moved", "log_sum", "log_ttft", "revision", "success", "success_sum", "weight")

    def __init__(self, params: Params, task: str) -> None:
        # The defaults count as a few endpoints of the pool.
        self.weight = params.prior_pool_requests
        self.success_sum = params.prior_pool_requests * params.prior_success
        self.log_sum = params.prior_pool_requests * math.log(params.get_task(task).prior_ttft_us)
        self.log_ttft = self.log_sum / self.weight
        self.success = self.success_sum / self.weight
        """Means as published last: all endpoints are held to the same, or a better one might rank lower."""
        self.revision = 0
        """Grows with each publication."""
        self.has_moved = False
        """The sums have left the published means far enough for unmeasured endpoints to be scored anew."""

    def replace(self, cell: CellState, weight: float, success: float, log_ttft: float) -> None:
        """Put a cell's new contribution in place of its old one."""
        self.weight += weight - cell.prior_weight
        self.success_sum += weight * success - cell.prior_success
        self.log_sum += weight * log_ttft - cell.prior_log
        cell.prior_weight, cell.prior_success, cell.prior_log = weight, weight * success, weight * log_ttft
        new_log, new_success = self.log_sum / self.weight, self.success_sum / self.weight
        if abs(new_log - self.log_ttft) > PRIOR_LOG_STEP or abs(new_success - self.success) > PRIOR_SUCCESS_STEP:
            self.has_moved = True

    def publish(self) -> None:
        """Let the means follow the sums."""
        self.log_ttft, self.success = self.log_sum / self.weight, self.success_sum / self.weight
        self.has_moved = False
        self.revision += 1


class ModelState:
    """One model: its rules, its endpoints, its priors per task."""

    __slots__ = ("_usual_ratio", "_usual_us", "endpoints", "observed", "priors", "rules")

    def __init__(self, rules: ModelRules) -> None:
        self.rules = rules
        self.endpoints: list[EndpointState] = []
        self.priors: dict[str, Prior] = {}
        self.observed = 0.0
        """Requests ever observed on it: what the cold-start share falls with."""
        self._usual_ratio = 1.0
        self._usual_us = 0

    def get_usual_ratio(self, now_us: int, params: Params) -> float:
        """What is usual of tokens billed over tokens counted (see `metering`); found anew now and then."""
        if now_us - self._usual_us >= params.usual_billing_us:
            self._usual_us = now_us
            windows = [endpoint.window for endpoint in self.endpoints]
            self._usual_ratio = compute_usual_ratio([(w.counted_tokens, w.billed_tokens) for w in windows], params)
        return self._usual_ratio


class EndpointState:
    """What is true of an endpoint now, whatever the task."""

    __slots__ = (
        "belief",
        "belief_us",
        "cache_hits",
        "cells",
        "cooling_until_us",
        "endpoint",
        "hold_until_us",
        "id",
        "in_flight",
        "index",
        "limit",
        "limited_us",
        "model",
        "names",
        "refusals",
        "refresh_due_us",
        "standings",
        "suspect",
        "trial_until_us",
        "window",
    )

    def __init__(self, endpoint: Endpoint, model: ModelState, index: int, params: Params) -> None:
        self.endpoint = endpoint
        self.model = model
        self.id = endpoint.id
        self.index = index
        self.names = (endpoint.id.lower(), endpoint.provider.lower())
        self.cells: dict[str, CellState] = {}
        self.window = Window()
        """The sum of its cells' windows; the very one of its only measured cell, where it has but one."""
        self.belief = params.belief_floor
        self.belief_us = 0
        self.suspect = False
        """The belief was above ``belief_suspect`` when last looked at."""
        self.trial_until_us = 0
        """A single try of this suspect is under way, or was, until then."""
        self.hold_until_us = 0
        """After a refusal: not due for a try before then."""
        self.refusals = 0
        self.cooling_until_us = 0
        self.cache_hits = 0.0 if endpoint.price.cached_input_nusd is None else 1.0
        """Share of a conversation's cached prompt that it finds again; learned, and 0 where caching saves nothing."""
        self.in_flight = 0
        self.limit = params.concurrency_limit
        """Requests in flight it is believed to take; at the default nothing was learned, and it takes any number."""
        self.limited_us = 0
        """When it was last asked whether slowness should lower it."""
        self.standings: list[Standing] = []
        self.refresh_due_us = 0
        """When its standings are revisited next; 0: not scheduled."""

    def has_room(self, params: Params) -> bool:
        """Whether it would take one more request, as far as is known: a limit is learned by being refused."""
        return self.limit == params.concurrency_limit or self.in_flight < self.limit

    def get_load(self, params: Params) -> float:
        """What a limit is lowered from: as much as is in flight, or a lower limit that was learned."""
        return self.in_flight if self.limit == params.concurrency_limit else min(self.limit, self.in_flight)

    def get_belief(self, now_us: int, params: Params) -> float:
        """Probability that it is out at ``now_us``."""
        return compute_belief(self.belief, now_us - self.belief_us, params)


class CellState:
    """One endpoint at one task."""

    __slots__ = (
        "endpoint",
        "estimated_us",
        "evidence",
        "fresh",
        "hedge_known_us",
        "hedge_us",
        "honesty",
        "log_ttft",
        "mean",
        "prior",
        "prior_log",
        "prior_success",
        "prior_weight",
        "session",
        "success",
        "task",
        "uptime",
        "verified",
        "window",
        "worth",
    )

    def __init__(self, endpoint: EndpointState, task: str, prior: Prior) -> None:
        self.endpoint = endpoint
        self.task = task
        self.prior = prior
        self.window: Window | None = None
        self.session: SessionCell | None = None
        self.verified: Verified | None = None
        """What the market has found of it."""
        self.worth = 0.0
        """What that counts for now, in requests."""
        self.prior_weight = self.prior_success = self.prior_log = 0.0
        self.estimated_us = 0
        """When the estimate was made."""
        self.fresh = False
        """The estimate below is of the newest observation."""
        self.log_ttft, self.success = prior.log_ttft, prior.success
        """Expected log TTFT (of microseconds) and healthy success rate, session included."""
        self.mean = prior.log_ttft
        """History's mean of log TTFT."""
        self.uptime = 1.0
        self.honesty = 1.0
        self.hedge_us: int | None = None
        """How long an attempt may be silent before a second one may begin, as found at"""
        self.hedge_known_us = 0
        """of its endpoint's observations."""
        self.evidence = 0.0
        """Decayed requests of its own, or of the endpoint where it has none."""

    def estimate(self, now_us: int, params: Params) -> None:
        """Bring the estimate up to date with window, session and priors."""
        # compute_success, compute_blended_success and compute_blended_log, written out: this is the hot path.
        self.fresh = True
        self.estimated_us = now_us
        prior = self.prior
        log_ttft = mean = prior.log_ttft
        success = prior.success
        worth, worth_timed, evidence = params.prior_success_requests, params.prior_ttft_requests, 0.0
        own, window = self.window, self.endpoint.window
        verified = self.verified
        while True:
            if verified is not None and (window is own or own is None):
                # Stronger than what is borrowed from other tasks, weaker than much of one's own.
                self.worth = held = verified.get_worth(now_us)
                success = (worth * success + held * verified.success) / (worth + held)
                log_ttft = (worth_timed * log_ttft + held * verified.log_ttft) / (worth_timed + held)
                worth += held
                worth_timed += held
            successes, failures, timed, measure, seen_mean, is_spotless = window.get_figures(now_us)
            evidence = successes + failures
            success = (worth * success + successes) / (worth + evidence)
            if timed:
                log_ttft = (timed * measure + worth_timed * log_ttft) / (timed + worth_timed)
                mean = seen_mean
            else:
                mean = log_ttft
            if window is own or own is None:
                break
            # Each level is shrunk towards the one before: model, endpoint, cell.
            window = own
            worth = min(worth + evidence, params.borrowed_requests)
            worth_timed = min(worth_timed + evidence, params.borrowed_requests)
        if is_spotless:
            self.uptime = self.honesty = 1.0
        else:
            up, down, counted, billed = window.get_conduct(now_us)
            up += params.prior_uptime_us
            self.uptime = up / (up + down)
            self.honesty = compute_honesty(counted, billed, self.endpoint.model.get_usual_ratio(now_us, params), params)
        if own is not None:
            weight = evidence / (evidence + PRIOR_EVIDENCE)
            if not (
                -PRIOR_LOG_SHARE <= weight * log_ttft - self.prior_log <= PRIOR_LOG_SHARE
                and -PRIOR_SUCCESS_SHARE <= weight * success - self.prior_success <= PRIOR_SUCCESS_SHARE
            ):
                prior.replace(self, weight, success, log_ttft)
        session = self.session
        if session is not None:
            elapsed_us = now_us - session.at_us
            decay = 2.0 ** (-elapsed_us / params.session_half_life_us) if elapsed_us > 0 else 1.0
            worth += evidence
            if worth > params.history_prior_requests:
                worth = params.history_prior_requests
            seen = session.requests * decay
            success = (worth * success + seen - session.failures * decay) / (worth + seen)
            timed = session.timed
            if timed:
                weight = timed * decay
                log_ttft += weight / (weight + worth) * (session.log_sum / timed - mean)
        self.log_ttft = log_ttft
        self.mean = mean
        self.success = success
        self.evidence = evidence


class Standing:
    """One endpoint's place on one board (see `board`)."""

    __slots__ = (
        "cell",
        "composite",
        "cost_nusd",
        "key",
        "price_score",
        "queue",
        "queued",
        "reputation",
        "state",
        "tie",
    )

    def __init__(
        self, cell: CellState, cost_nusd: float, price_score: float, tie: float, queue: list[Standing]
    ) -> None:
        self.cell = cell
        self.state = cell.endpoint
        self.cost_nusd = cost_nusd
        self.price_score = price_score
        self.reputation = self.composite = 0.0
        self.key = 0.0
        """Position on its board: the negated composite, made unique."""
        self.tie = tie
        """What makes it so."""
        self.queue = queue
        """Where its board finds what to score anew."""
        self.queued = False
