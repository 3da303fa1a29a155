"""What the data plane counts: plain integers, read when somebody asks (``apps.metrics.StatsSource``)."""

from __future__ import annotations

from bisect import bisect_left

from providerrank.rules.attempts import Attempt
from providerrank.rules.observation import Outcome

TTFT_BOUNDS_S = (0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 60.0)
"""Dense around the latency target of 0.3 s, sparse where only "too slow" matters."""

_BOUNDS_US = tuple(int(b * 1_000_000) for b in TTFT_BOUNDS_S)

OUTCOMES = {outcome: outcome.name.lower() for outcome in Outcome}


class Stats:
    """Counters of one data plane. Only its own event loop writes them."""

    __slots__ = ("attempts", "client_cancels", "connections", "continuations", "cost_nusd", "fallbacks", "in_flight", "input_tokens",
                 "last_failures", "output_tokens", "pending", "requests", "ttft_bounds_s", "ttft_buckets", "ttft_sum_us")  # fmt: skip

    def __init__(self) -> None:
        self.attempts: dict[tuple[str, str], int] = {}
        self.in_flight: dict[str, int] = {}
        self.ttft_bounds_s = TTFT_BOUNDS_S
        self.ttft_buckets: dict[str, list[int]] = {}
        self.ttft_sum_us: dict[str, int] = {}
        self.requests: dict[tuple[str, str], int] = {}
        self.fallbacks = 0
        self.continuations = 0
        self.client_cancels = 0
        self.input_tokens: dict[str, int] = {}
        self.output_tokens: dict[str, int] = {}
        self.cost_nusd: dict[str, int] = {}
        self.connections = 0
        self.pending = 0
        self.last_failures: dict[str, tuple[int, str]] = {}

    def count_request(self, api: str, status: int) -> None:
        """One request was answered with ``status``."""
        key = (api, STATUS_CLASSES[status // 100])
        self.requests[key] = self.requests.get(key, 0) + 1

    def count_start(self, endpoint_id: str) -> None:
        """An attempt is under way."""
        self.in_flight[endpoint_id] = self.in_flight.get(endpoint_id, 0) + 1

    def count_end(self, attempt: Attempt, outcome: Outcome, now_us: int) -> None:
        """An attempt is over."""
        endpoint_id = attempt.endpoint.id
        self.in_flight[endpoint_id] -= 1
        key = (endpoint_id, OUTCOMES[outcome])
        self.attempts[key] = self.attempts.get(key, 0) + 1
        if attempt.fault is not None:
            self.last_failures[endpoint_id] = (now_us, attempt.fault.name.lower())
        if attempt.first_content_us is not None:
            ttft = attempt.first_content_us - attempt.started_us
            buckets = self.ttft_buckets.get(endpoint_id)
            if buckets is None:
                buckets = self.ttft_buckets[endpoint_id] = [0] * (len(_BOUNDS_US) + 1)
            buckets[bisect_left(_BOUNDS_US, ttft)] += 1
            self.ttft_sum_us[endpoint_id] = self.ttft_sum_us.get(endpoint_id, 0) + ttft

    def count_usage(self, endpoint_id: str, input_tokens: int, output_tokens: int, cost_nusd: int) -> None:
        """What an answer used and cost at list price."""
        self.input_tokens[endpoint_id] = self.input_tokens.get(endpoint_id, 0) + input_tokens
        self.output_tokens[endpoint_id] = self.output_tokens.get(endpoint_id, 0) + output_tokens
        self.cost_nusd[endpoint_id] = self.cost_nusd.get(endpoint_id, 0) + cost_nusd


STATUS_CLASSES = ("", "1xx", "2xx", "3xx", "4xx", "5xx")
