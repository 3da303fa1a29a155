"""What the data plane counts: plain integers, read when somebody asks (``apps.admin.metrics.StatsSource``).

Counting happens on the path of every request, so each endpoint has one object of counters that its attempts
increment in place; the mappings that a scrape wants are made when it comes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

from providerrank.rules.attempt import Attempt, Fault
from providerrank.rules.finished import Finished
from providerrank.rules.observation import Outcome

TTFT_BOUNDS_S = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
"""Dense around the latency target of 0.3 s, sparse where only "too slow" matters."""

DURATION_BOUNDS_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0)
"""Of whole requests: from the shortest answer to the usual total deadline."""

_DURATIONS_US = tuple(int(b * 1_000_000) for b in DURATION_BOUNDS_S)
_BOUNDS_US = tuple(int(b * 1_000_000) for b in TTFT_BOUNDS_S)
_OUTCOMES = tuple(outcome.name.lower() for outcome in Outcome)
_FAULTS = {fault: fault.name.lower() for fault in Fault}
_STATUS_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")


class EndpointStats:
    """Counters of one endpoint."""

    __slots__ = (
        "cost_nusd",
        "in_flight",
        "input_tokens",
        "last_failure",
        "outcomes",
        "output_tokens",
        "probe_cost_nusd",
        "probes",
        "told_us",
        "ttft_buckets",
        "ttft_sum_us",
    )

    def __init__(self) -> None:
        self.in_flight = 0
        self.outcomes = [0] * len(_OUTCOMES)
        self.ttft_buckets = [0] * (len(_BOUNDS_US) + 1)
        self.ttft_sum_us = 0
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_nusd = 0
        self.probes = [0] * len(_OUTCOMES)
        """Ended, by outcome; neither they nor what they cost are among the rest."""
        self.probe_cost_nusd = 0
        self.last_failure: tuple[int, str] | None = None
        self.told_us = 0
        """When the operator was last told that the endpoint refuses us."""

    def count_end(self, attempt: Attempt, outcome: Outcome, now_us: int) -> None:
        """An attempt on this endpoint is over."""
        self.in_flight -= 1
        self.outcomes[outcome] += 1
        if attempt.fault is not None:
            self.last_failure = (now_us, _FAULTS[attempt.fault])
        if attempt.first_content_us is not None:
            ttft = attempt.first_content_us - attempt.started_us
            self.ttft_buckets[bisect_left(_BOUNDS_US, ttft)] += 1
            self.ttft_sum_us += ttft

    def count_probe(self, attempt: Attempt, outcome: Outcome, cost_nusd: int, now_us: int) -> None:
        """A probe of this endpoint is over."""
        self.in_flight -= 1
        self.probes[outcome] += 1
        self.probe_cost_nusd += cost_nusd
        if attempt.fault is not None:
            self.last_failure = (now_us, attempt.fault.name.lower())


class ModelStats:
    """Requests of one model, from their beginning to their end, whatever was tried on the way."""

    __slots__ = ("buckets", "sum_us", "ttft_buckets", "ttft_sum_us")

    def __init__(self) -> None:
        self.buckets = [0] * (len(_DURATIONS_US) + 1)
        self.sum_us = 0
        self.ttft_buckets = [0] * (len(_BOUNDS_US) + 1)
        self.ttft_sum_us = 0

    def count_end(self, total_us: int, ttft_us: int | None) -> None:
        """A request is over; ``ttft_us`` None: its client was sent no content."""
        self.buckets[bisect_left(_DURATIONS_US, total_us)] += 1
        self.sum_us += total_us
        if ttft_us is not None:
            self.ttft_buckets[bisect_left(_BOUNDS_US, ttft_us)] += 1
            self.ttft_sum_us += ttft_us


class KeyStats:
    """Counters of one key with a name."""

    __slots__ = ("endpoints", "requests")

    def __init__(self) -> None:
        self.requests: dict[str, int] = {}
        """Ended, by class of status; ``cancelled``: the client left before the answer was whole."""
        self.endpoints: dict[str, list[int]] = {}
        """Input tokens, output tokens and nano-USD, by endpoint."""

    def count_request(self, status: int) -> None:
        """One request has ended; ``status`` 0: without an answer, since its client left."""
        label = _STATUS_CLASSES[status // 100] or "cancelled"
        self.requests[label] = self.requests.get(label, 0) + 1

    def count_use(self, endpoint_id: str, input_tokens: int, output_tokens: int, cost_nusd: int) -> None:
        """An attempt used this much of an endpoint."""
        used = self.endpoints.get(endpoint_id)
        if used is None:
            used = self.endpoints[endpoint_id] = [0, 0, 0]
        used[0] += input_tokens
        used[1] += output_tokens
        used[2] += cost_nusd


class Stats:
    """Counters of one data plane. Only its own event loop writes them."""

    def __init__(self) -> None:
        self.ttft_bounds_s = TTFT_BOUNDS_S
        self.endpoints: dict[str, EndpointStats] = {}
        self.fallbacks = 0
        """Requests that went on to another attempt because one failed."""
        self.hedges = 0
        """Second attempts begun beside a slow one, and"""
        self.hedges_won = 0
        """those of them that had content first."""
        self.continuations = 0
        self.client_cancels = 0
        self.connections = 0
        self.pending = 0
        self.keys: dict[str, KeyStats] = {}
        self.duration_bounds_s = DURATION_BOUNDS_S
        self.models: dict[str, ModelStats] = {}
        self.fallback_reasons: dict[str, int] = {}
        """Attempts that failed and were followed by another, by fault."""
        self.reloads: dict[str, int] = {}
        """Of the configuration, by result: ``ok`` or ``refused``."""
        self._requests: defaultdict[tuple[str, int], int] = defaultdict(int)

    def add(self, endpoint_id: str) -> EndpointStats:
        """An endpoint to count for; one that was there before keeps its counts."""
        return self.endpoints.setdefault(endpoint_id, EndpointStats())

    def add_key(self, name: str) -> KeyStats:
        """A key to count for; one that was there before keeps its counts."""
        return self.keys.setdefault(name, KeyStats())

    def count_reload(self, result: str) -> None:
        """The configuration was read anew."""
        self.reloads[result] = self.reloads.get(result, 0) + 1

    def count_end(self, finished: Finished) -> None:
        """One request that could be routed is over."""
        log = finished.log
        model = log[0].model if log else finished.lanes[-1].model
        of_model = self.models.get(model)
        if of_model is None:
            of_model = self.models[model] = ModelStats()
        if not finished.began_us:
            # The usual case: one attempt, which answered.
            attempt = log[0]
            started, first = attempt.started_us, attempt.first_content_us
            of_model.count_end((attempt.ended_us or started) - started, None if first is None else first - started)
            return
        of_model.count_end(finished.total_us, finished.ttft_us)
        for attempt in log[:-1]:
            if attempt.fault is not None:
                reason = _FAULTS[attempt.fault]
                self.fallback_reasons[reason] = self.fallback_reasons.get(reason, 0) + 1

    def count_request(self, api: str, status: int) -> None:
        """One request was answered with ``status``."""
        self._requests[api, status // 100] += 1

    @property
    def requests(self) -> dict[tuple[str, str], int]:
        """Requests answered, by API and status class."""
        return {(api, _STATUS_CLASSES[hundred]): count for (api, hundred), count in self._requests.items()}

    @property
    def attempts(self) -> dict[tuple[str, str], int]:
        """Attempts ended, by endpoint and outcome."""
        return {
            (name, _OUTCOMES[outcome]): count
            for name, endpoint in self.endpoints.items()
            for outcome, count in enumerate(endpoint.outcomes)
            if count
        }

    @property
    def in_flight(self) -> dict[str, int]:
        """Attempts under way, by endpoint."""
        return {name: endpoint.in_flight for name, endpoint in self.endpoints.items()}

    @property
    def ttft_buckets(self) -> dict[str, list[int]]:
        """Attempts that brought content, by endpoint and TTFT bucket, not cumulative."""
        return {name: list(endpoint.ttft_buckets) for name, endpoint in self.endpoints.items()}

    @property
    def ttft_sum_us(self) -> dict[str, int]:
        """Sum of their TTFTs, by endpoint."""
        return {name: endpoint.ttft_sum_us for name, endpoint in self.endpoints.items()}

    @property
    def duration_buckets(self) -> dict[str, list[int]]:
        """Requests, by model and bucket of how long they took, not cumulative."""
        return {name: list(model.buckets) for name, model in self.models.items()}

    @property
    def duration_sum_us(self) -> dict[str, int]:
        """Sum of how long they took, by model."""
        return {name: model.sum_us for name, model in self.models.items()}

    @property
    def first_buckets(self) -> dict[str, list[int]]:
        """Requests whose client was sent content, by model and bucket of TTFT, not cumulative."""
        return {name: list(model.ttft_buckets) for name, model in self.models.items()}

    @property
    def first_sum_us(self) -> dict[str, int]:
        """Sum of their TTFTs, by model."""
        return {name: model.ttft_sum_us for name, model in self.models.items()}

    @property
    def input_tokens(self) -> dict[str, int]:
        """Prompt tokens used, by endpoint."""
        return {name: endpoint.input_tokens for name, endpoint in self.endpoints.items()}

    @property
    def output_tokens(self) -> dict[str, int]:
        """Completion tokens used, by endpoint."""
        return {name: endpoint.output_tokens for name, endpoint in self.endpoints.items()}

    @property
    def cost_nusd(self) -> dict[str, int]:
        """What they cost at list price, by endpoint."""
        return {name: endpoint.cost_nusd for name, endpoint in self.endpoints.items()}

    @property
    def probes(self) -> dict[tuple[str, str], int]:
        """Probes ended, by endpoint and outcome."""
        return {
            (name, _OUTCOMES[outcome]): count
            for name, endpoint in self.endpoints.items()
            for outcome, count in enumerate(endpoint.probes)
            if count
        }

    @property
    def probe_cost_nusd(self) -> dict[str, int]:
        """What they cost at list price, by endpoint."""
        return {name: endpoint.probe_cost_nusd for name, endpoint in self.endpoints.items() if any(endpoint.probes)}

    @property
    def last_failures(self) -> dict[str, tuple[int, str]]:
        """Latest failed attempt by endpoint: when, and what kind of failure."""
        return {name: e.last_failure for name, e in self.endpoints.items() if e.last_failure is not None}

    @property
    def key_requests(self) -> dict[tuple[str, str], int]:
        """Requests ended, by key and class of status."""
        return {(name, label): count for name, key in self.keys.items() for label, count in key.requests.items()}

    @property
    def key_tokens(self) -> dict[tuple[str, str, str], int]:
        """Tokens used, by key, endpoint and direction."""
        return {
            (name, endpoint, direction): used[at]
            for name, key in self.keys.items()
            for endpoint, used in key.endpoints.items()
            for at, direction in enumerate(("input", "output"))
        }

    @property
    def key_cost_nusd(self) -> dict[tuple[str, str], int]:
        """What they cost at list price, by key and endpoint."""
        return {
            (name, endpoint): used[2] for name, key in self.keys.items() for endpoint, used in key.endpoints.items()
        }
