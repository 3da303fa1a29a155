"""What the gateway exports to Prometheus, read at scrape time.

The data plane keeps plain integers in plain dictionaries (``StatsSource``); nothing of
prometheus_client runs on its path. A scrape copies them into metric families and throws those
away. So counting costs a dictionary increment, and a gateway nobody scrapes pays nothing more.

Labels are bounded: endpoint and model ids come from the configuration, outcomes, interfaces and
status classes from closed sets. Nothing a client sends ever becomes a label.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol


class StatsSource(Protocol):
    """The data plane's counters: integers that only its own event loop changes, so reading needs no lock.

    Keys named ``endpoint`` are endpoint ids of the configuration. A missing key reads as zero.
    """

    @property
    def attempts(self) -> Mapping[tuple[str, str], int]:
        """Attempts ended, by (endpoint, outcome label); labels are ``Outcome`` names in lower case."""

    @property
    def in_flight(self) -> Mapping[str, int]:
        """Attempts under way, by endpoint."""

    @property
    def ttft_bounds_s(self) -> Sequence[float]:
        """Upper bounds of the TTFT buckets in seconds, rising, without infinity; fixed for the process's life."""

    @property
    def ttft_buckets(self) -> Mapping[str, Sequence[int]]:
        """Attempts that brought content, by endpoint: one count per bound and one more past the last.

        Not cumulative: an attempt is counted in the first bucket whose bound is not below its TTFT.
        """

    @property
    def ttft_sum_us(self) -> Mapping[str, int]:
        """Sum of those TTFTs in microseconds, by endpoint."""

    @property
    def requests(self) -> Mapping[tuple[str, str], int]:
        """Requests answered, by (API, status class): ("chat", "2xx"); from closed sets."""

    @property
    def fallbacks(self) -> int:
        """Requests that needed a second endpoint or more."""

    @property
    def continuations(self) -> int:
        """Streams cut after content and continued elsewhere."""

    @property
    def client_cancels(self) -> int:
        """Requests whose client left before the answer was whole."""

    @property
    def input_tokens(self) -> Mapping[str, int]:
        """Prompt tokens billed, by endpoint."""

    @property
    def output_tokens(self) -> Mapping[str, int]:
        """Completion tokens billed, by endpoint."""

    @property
    def cost_nusd(self) -> Mapping[str, int]:
        """What those tokens cost at list price in nano-USD, by endpoint."""

    @property
    def connections(self) -> int:
        """Client connections open now."""

    @property
    def pending(self) -> int:
        """Requests under way now."""

    @property
    def last_failures(self) -> Mapping[str, tuple[int, str]]:
        """Latest failed attempt by endpoint: Unix time in microseconds, and one short label from a closed set.

        For the page; never a body, a URL or a header of the endpoint.
        """
