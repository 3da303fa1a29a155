"""The live state of endpoints, cells and models: what observations change and rankings read.

A *cell* has its window (history), its share of the gateway-wide session, and the *estimate* made from both:
expected log TTFT, healthy success rate, uptime, honesty. An *endpoint* holds what concerns all its cells: outage
belief, cooling, requests in flight and the concurrency limit learned from 429s. Its own window is the sum of its cells';
while it has a single cell the two are the same object, so the common case pays once.

Priors are empirical Bayes: what nobody has measured is assumed to be like the model's *other* endpoints (`Prior`), and
that in turn starts from the defaults in params. A cell without much of its own borrows from its endpoint's other tasks.
"""

from __future__ import annotations

import math

from providerrank.rules.belief import compute_belief
from providerrank.rules.cells import Endpoint
from providerrank.rules.metering import compute_honesty
from providerrank.rules.params import Params
from providerrank.rules.reputation import compute_success
from providerrank.rules.session import SessionCell, compute_blended_log, compute_blended_success, compute_session_decay
from providerrank.rules.window import Window


class Prior:
    """What the measured endpoints of one model are like at one task: sums over cells, weighted by their evidence."""

    __slots__ = ("log_sum", "params", "revision", "seen_log", "seen_success", "success_sum", "weight", "_log0")

    def __init__(self, params: Params, task: str) -> None:
        self.params = params
        self._log0 = math.log(params.get_task(task).prior_ttft_us)
        self.weight = 0.0
        self.success_sum = 0.0
        self.log_sum = 0.0
        self.revision = 0
        """Grows when the prior moved enough for unmeasured endpoints to be scored anew."""
        self.seen_log, self.seen_success = self.get_means(0.0, 0.0, 0.0)

    def get_means(self, weight: float, success: float, log: float) -> tuple[float, float]:
        """Prior mean of log TTFT and of the success rate, without the contribution given."""
        params = self.params
        pool = params.prior_pool_requests
        total = self.weight - weight + pool
        return (
            (self.log_sum - log + pool * self._log0) / total,
            (self.success_sum - success + pool * params.prior_success) / total,
        )

    def replace(self, cell: CellState, weight: float, success: float, log: float) -> None:
        """Put a cell's new contribution in place of its old one."""
        self.weight += weight - cell.prior_weight
        self.success_sum += success - cell.prior_success
        self.log_sum += log - cell.prior_log
        cell.prior_weight, cell.prior_success, cell.prior_log = weight, success, log
        now_log, now_success = self.get_means(0.0, 0.0, 0.0)
        if abs(now_log - self.seen_log) > 0.1 or abs(now_success - self.seen_success) > 0.005:
            self.seen_log, self.seen_success = now_log, now_success
            self.revision += 1


class EndpointState:
    """What is true of an endpoint now, whatever the task."""

    __slots__ = (
        "belief",
        "belief_us",
        "cells",
        "cooling_until_us",
        "endpoint",
        "hold_until_us",
        "id",
        "in_flight",
        "index",
        "limit",
        "names",
        "refusals",
        "refresh_due_us",
        "standings",
        "suspect",
        "trial_until_us",
        "window",
    )

    def __init__(self, endpoint: Endpoint, index: int, params: Params) -> None:
        self.endpoint = endpoint
        self.id = endpoint.id
        self.index = index
        self.names = (endpoint.id.lower(), endpoint.provider.lower())
        self.cells: dict[str, CellState] = {}
        self.window: Window | None = None
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
        self.in_flight = 0
        self.limit = params.concurrency_limit
        self.standings: list[Standing] = []
        self.refresh_due_us = 0
        """When its standings are revisited next; 0: not scheduled."""

    def get_belief(self, now_us: int, params: Params) -> float:
        """Probability that it is out at ``now_us``."""
        return compute_belief(self.belief, now_us - self.belief_us, params)

    def get_load(self) -> float:
        """Requests in flight over the learned concurrency limit."""
        return self.in_flight / self.limit


class CellState:
    """One endpoint at one task."""

    __slots__ = (
        "endpoint",
        "evidence",
        "fresh",
        "honesty",
        "log_ttft",
        "prior",
        "prior_log",
        "prior_success",
        "prior_weight",
        "session",
        "success",
        "task",
        "uptime",
        "window",
    )

    def __init__(self, endpoint: EndpointState, task: str, prior: Prior) -> None:
        self.endpoint = endpoint
        self.task = task
        self.prior = prior
        self.window: Window | None = None
        self.session: SessionCell | None = None
        self.prior_weight = self.prior_success = self.prior_log = 0.0
        self.fresh = False
        """The estimate below is of the newest observation."""
        self.log_ttft, self.success = prior.seen_log, prior.seen_success
        self.uptime = 1.0
        self.honesty = 1.0
        self.evidence = 0.0
        """Decayed requests of its own, or of the endpoint where it has none."""

    def estimate(self, now_us: int, params: Params) -> None:
        """Bring the estimate up to date with window, session and priors."""
        self.fresh = True
        log0, success0 = self.prior.get_means(self.prior_weight, self.prior_success, self.prior_log)
        history, history_mean, success, evidence = log0, log0, success0, 0.0
        prior_requests, prior_timed = params.prior_success_requests, params.prior_ttft_requests
        own, whole = self.window, self.endpoint.window
        if whole is not None and whole is not own:
            history, history_mean, success, evidence = _read(
                whole, now_us, history, success, prior_timed, prior_requests
            )
            prior_timed = min(params.borrowed_requests, prior_timed + evidence)
            prior_requests = min(params.borrowed_requests, prior_requests + evidence)
        if own is not None:
            history, history_mean, success, evidence = _read(own, now_us, history, success, prior_timed, prior_requests)
            weight = evidence / (evidence + 3.0)
            self.prior.replace(self, weight, weight * success, weight * history)
        session = self.session
        if session is not None:
            decay = compute_session_decay(now_us - session.at_us, params)
            worth = min(params.history_prior_requests, evidence + prior_requests)
            success = compute_blended_success(success, worth, session.requests * decay, session.failures * decay)
            if session.timed > 0:
                history = compute_blended_log(
                    history, history_mean, worth, session.log_sum / session.timed, session.timed * decay
                )
        self.log_ttft, self.success, self.evidence = history, success, evidence
        read = own or whole
        if read is not None:
            uptime = read.uptime
            self.uptime = 1.0 if uptime is None else uptime
            self.honesty = compute_honesty(read.counted_tokens, read.billed_tokens, params)


def _read(
    window: Window, now_us: int, log0: float, success0: float, prior_timed: float, prior_requests: float
) -> tuple[float, float, float, float]:
    """History's measure of log TTFT, its mean, the success rate and the evidence, each shrunk towards its prior."""
    successes, failures, timed = window.get_counts(now_us)
    success = compute_success(successes, failures, success0, prior_requests)
    measure, mean = window.log_ttft, window.log_mean
    if measure is None or mean is None:
        return log0, log0, success, successes + failures
    return (timed * measure + prior_timed * log0) / (timed + prior_timed), mean, success, successes + failures


class Standing:
    """One endpoint's place on one board (see `board`)."""

    __slots__ = (
        "cell",
        "composite",
        "cost_nusd",
        "key",
        "latency",
        "price_score",
        "queue",
        "queued",
        "reputation",
        "state",
    )

    def __init__(self, cell: CellState, cost_nusd: float, price_score: float, queue: list[Standing]) -> None:
        self.cell = cell
        self.state = cell.endpoint
        self.cost_nusd = cost_nusd
        self.price_score = price_score
        self.latency = self.reputation = self.composite = 0.0
        self.key = 0.0
        """Position on its board: the negated composite, made unique."""
        self.queue = queue
        """Where its board finds what to score anew."""
        self.queued = False
