"""What the gateway exports to Prometheus, read at scrape time.

The data plane keeps plain integers in plain dictionaries (``StatsSource``); nothing of
prometheus_client runs on its path. A scrape copies them into metric families and throws those
away. So counting costs a dictionary increment, and a gateway nobody scrapes pays nothing more.

A scrape of thousands of endpoints takes long to write as text, so it has two halves: ``get_snapshot``
on the data plane's loop, which only copies, and ``render``, which may run in another thread.

Labels are bounded: endpoint and model ids come from the configuration, outcomes, interfaces and
status classes from closed sets. Nothing a client sends ever becomes a label.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from typing_extensions import override

from providerrank.rules.cells import NUSD_PER_USD, Endpoint

US_PER_S = 1_000_000

BY_ENDPOINT = ("endpoint", "model")


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
    def duration_bounds_s(self) -> Sequence[float]:
        """Upper bounds of the buckets of requests' durations, as ``ttft_bounds_s``."""

    @property
    def duration_buckets(self) -> Mapping[str, Sequence[int]]:
        """Requests that could be routed, by model, as ``ttft_buckets``."""

    @property
    def duration_sum_us(self) -> Mapping[str, int]:
        """Sum of how long they took in microseconds, by model."""

    @property
    def first_buckets(self) -> Mapping[str, Sequence[int]]:
        """Requests whose client was sent content, by model, in buckets of ``ttft_bounds_s``."""

    @property
    def first_sum_us(self) -> Mapping[str, int]:
        """Sum of the times until then in microseconds, by model."""

    @property
    def fallback_reasons(self) -> Mapping[str, int]:
        """Attempts that failed and were followed by another, by fault: names of ``Fault`` in lower case."""

    @property
    def reloads(self) -> Mapping[str, int]:
        """Times the configuration was read anew, by result: ``ok`` or ``refused``."""

    @property
    def fallbacks(self) -> int:
        """Requests that needed a second endpoint or more."""

    @property
    def hedges(self) -> int:
        """Second attempts begun beside a slow one."""

    @property
    def hedges_won(self) -> int:
        """Those of them that had content first."""

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
    def probes(self) -> Mapping[tuple[str, str], int]:
        """Probes ended, as ``attempts``, which they are not among."""

    @property
    def probe_cost_nusd(self) -> Mapping[str, int]:
        """What they cost at list price in nano-USD, by endpoint."""

    @property
    def key_requests(self) -> Mapping[tuple[str, str], int]:
        """Requests ended, by the name of the key and class of status, or ``cancelled``."""

    @property
    def key_tokens(self) -> Mapping[tuple[str, str, str], int]:
        """Tokens used, by key, endpoint and direction."""

    @property
    def key_cost_nusd(self) -> Mapping[tuple[str, str], int]:
        """What those cost at list price in nano-USD, by key and endpoint."""

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


class EndpointHealth(msgspec.Struct, frozen=True, gc=False):
    """What the rules think of one endpoint at the moment of a scrape, for the chat task; made by the thousand."""

    endpoint_id: str
    score: float
    reputation: float
    outage_belief: float
    usable: bool
    """Not cooling, not believed out, not excluded."""
    state: str = "ok"
    """As in rankings."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything one scrape shows, copied at one moment: the data plane may go on counting."""

    version: str
    models: Mapping[str, str]
    """Endpoint id to model, for every endpoint of the configuration."""
    attempts: Mapping[tuple[str, str], int]
    in_flight: Mapping[str, int]
    ttft_bounds_s: Sequence[float]
    ttft_buckets: Mapping[str, Sequence[int]]
    ttft_sum_us: Mapping[str, int]
    requests: Mapping[tuple[str, str], int]
    duration_bounds_s: Sequence[float]
    duration_buckets: Mapping[str, Sequence[int]]
    duration_sum_us: Mapping[str, int]
    first_buckets: Mapping[str, Sequence[int]]
    first_sum_us: Mapping[str, int]
    fallback_reasons: Mapping[str, int]
    reloads: Mapping[str, int]
    fallbacks: int
    hedges: int
    hedges_won: int
    continuations: int
    client_cancels: int
    input_tokens: Mapping[str, int]
    output_tokens: Mapping[str, int]
    cost_nusd: Mapping[str, int]
    probes: Mapping[tuple[str, str], int]
    probe_cost_nusd: Mapping[str, int]
    key_requests: Mapping[tuple[str, str], int]
    key_tokens: Mapping[tuple[str, str, str], int]
    key_cost_nusd: Mapping[tuple[str, str], int]
    connections: int
    pending: int
    states: Sequence[EndpointHealth]


def get_snapshot(
    stats: StatsSource, endpoints: Iterable[Endpoint], states: Sequence[EndpointHealth], version: str
) -> Snapshot:
    """Copy the counters; to be called on the loop that changes them."""
    return Snapshot(
        version=version,
        models={endpoint.id: endpoint.model for endpoint in endpoints},
        attempts=dict(stats.attempts),
        in_flight=dict(stats.in_flight),
        ttft_bounds_s=tuple(stats.ttft_bounds_s),
        ttft_buckets={endpoint: tuple(counts) for endpoint, counts in stats.ttft_buckets.items()},
        ttft_sum_us=dict(stats.ttft_sum_us),
        requests=dict(stats.requests),
        duration_bounds_s=tuple(stats.duration_bounds_s),
        duration_buckets={model: tuple(counts) for model, counts in stats.duration_buckets.items()},
        duration_sum_us=dict(stats.duration_sum_us),
        first_buckets={model: tuple(counts) for model, counts in stats.first_buckets.items()},
        first_sum_us=dict(stats.first_sum_us),
        fallback_reasons=dict(stats.fallback_reasons),
        reloads=dict(stats.reloads),
        fallbacks=stats.fallbacks,
        hedges=stats.hedges,
        hedges_won=stats.hedges_won,
        continuations=stats.continuations,
        client_cancels=stats.client_cancels,
        input_tokens=dict(stats.input_tokens),
        output_tokens=dict(stats.output_tokens),
        cost_nusd=dict(stats.cost_nusd),
        probes=dict(stats.probes),
        probe_cost_nusd=dict(stats.probe_cost_nusd),
        key_requests=dict(stats.key_requests),
        key_tokens=dict(stats.key_tokens),
        key_cost_nusd=dict(stats.key_cost_nusd),
        connections=stats.connections,
        pending=stats.pending,
        states=tuple(states),
    )


def render(snapshot: Snapshot) -> bytes:
    """Write a snapshot, and this process's own figures, as Prometheus text (version 0.0.4)."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    registry.register(_SnapshotCollector(snapshot))
    return generate_latest(registry)


class _SnapshotCollector(Collector):
    """One snapshot as metric families; used for a single scrape."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    @override
    def collect(self) -> Iterator[Metric]:
        """Yield each family; docs/reference/metrics.md lists them, and a test compares."""
        yield from self._collect_requests()
        yield from self._collect_keys()
        yield from self._collect_attempts()
        yield from self._collect_states()
        yield self._collect_circuits()

    def _collect_requests(self) -> Iterator[Metric]:
        now = self._snapshot
        yield _gauge("build_info", "The version running; always 1.", ("version",), [((now.version,), 1)])
        yield _counter(
            "requests", "Requests answered, by API and class of HTTP status.", ("api", "status"), now.requests.items()
        )
        yield _counter("fallbacks", "Requests that needed more than one endpoint.", (), [((), now.fallbacks)])
        yield _counter(
            "fallback_reasons",
            "Attempts that failed and were followed by another, by what was wrong.",
            ("reason",),
            [((reason,), count) for reason, count in now.fallback_reasons.items()],
        )
        yield _histogram(
            "request_duration_seconds",
            "Requests, from their beginning to their end, by model.",
            ("model",),
            now.duration_bounds_s,
            [((model,), counts, now.duration_sum_us.get(model, 0)) for model, counts in now.duration_buckets.items()],
        )
        yield _histogram(
            "request_ttft_seconds",
            "Requests, from their beginning to the first content sent to the client, by model.",
            ("model",),
            now.ttft_bounds_s,
            [((model,), counts, now.first_sum_us.get(model, 0)) for model, counts in now.first_buckets.items()],
        )
        yield _counter(
            "config_reloads",
            "Times the configuration was read anew, by result.",
            ("result",),
            [((result,), count) for result, count in now.reloads.items()],
        )
        yield _counter("hedges", "Second attempts begun beside a slow one.", (), [((), now.hedges)])
        yield _counter("hedges_won", "Second attempts that had content first.", (), [((), now.hedges_won)])
        yield _counter(
            "continuations", "Streams cut after content and continued elsewhere.", (), [((), now.continuations)]
        )
        yield _counter(
            "client_cancels",
            "Requests whose client left before the answer was whole.",
            (),
            [((), now.client_cancels)],
        )
        yield _gauge("client_connections", "Client connections open.", (), [((), now.connections)])
        yield _gauge("requests_pending", "Requests under way.", (), [((), now.pending)])

    def _collect_keys(self) -> Iterator[Metric]:
        now = self._snapshot
        yield _counter(
            "key_requests",
            "Requests of keys with names, by class of HTTP status.",
            ("key", "status"),
            now.key_requests.items(),
        )
        yield _counter(
            "key_tokens",
            "Tokens used by keys with names, by endpoint and direction.",
            ("key", "endpoint", "direction"),
            now.key_tokens.items(),
        )
        yield _counter(
            "key_cost_usd",
            "Cost of those tokens at list price, in US dollars.",
            ("key", "endpoint"),
            [(labels, count / NUSD_PER_USD) for labels, count in now.key_cost_nusd.items()],
        )

    def _collect_attempts(self) -> Iterator[Metric]:
        now = self._snapshot
        yield _counter(
            "attempts",
            "Attempts ended, by endpoint and outcome.",
            (*BY_ENDPOINT, "outcome"),
            [((*self._labels(endpoint), outcome), count) for (endpoint, outcome), count in now.attempts.items()],
        )
        yield _gauge(
            "attempts_in_flight", "Attempts under way, by endpoint.", BY_ENDPOINT, self._labelled(now.in_flight)
        )
        yield self._collect_ttft()
        yield _counter(
            "tokens",
            "Tokens billed, by endpoint and direction.",
            (*BY_ENDPOINT, "direction"),
            [
                ((*labels, direction), count)
                for direction, counts in (("input", now.input_tokens), ("output", now.output_tokens))
                for labels, count in self._labelled(counts)
            ],
        )
        yield _counter(
            "cost_usd",
            "Cost of those tokens at list price, in US dollars.",
            BY_ENDPOINT,
            [(labels, count / NUSD_PER_USD) for labels, count in self._labelled(now.cost_nusd)],
        )
        yield _counter(
            "probes",
            "Probes of endpoints without traffic, by endpoint and outcome; no attempts of requests.",
            (*BY_ENDPOINT, "outcome"),
            [((*self._labels(endpoint), outcome), count) for (endpoint, outcome), count in now.probes.items()],
        )
        yield _counter(
            "probe_cost_usd",
            "Cost of those probes at list price, in US dollars.",
            BY_ENDPOINT,
            [(labels, count / NUSD_PER_USD) for labels, count in self._labelled(now.probe_cost_nusd)],
        )

    def _collect_ttft(self) -> Metric:
        now = self._snapshot
        return _histogram(
            "ttft_seconds",
            "Time to the first content of an attempt that brought any.",
            BY_ENDPOINT,
            now.ttft_bounds_s,
            [
                (self._labels(endpoint), counts, now.ttft_sum_us.get(endpoint, 0))
                for endpoint, counts in now.ttft_buckets.items()
            ],
        )

    def _collect_states(self) -> Iterator[Metric]:
        for name, documentation in (
            ("score", "Composite score of the endpoint for chat, 0 to 1."),
            ("reputation", "Reputation of the endpoint for chat, 0 to 1."),
            ("outage_belief", "How strongly the endpoint is believed out, 0 to 1."),
            ("usable", "1 when the endpoint is offered: not excluded, cooling or believed out."),
        ):
            yield _gauge(
                f"endpoint_{name}",
                documentation,
                BY_ENDPOINT,
                [(self._labels(state.endpoint_id), float(getattr(state, name))) for state in self._snapshot.states],
            )

    def _collect_circuits(self) -> Metric:
        return _gauge(
            "endpoint_state",
            "Always 1; the label says what is the matter with the endpoint: ok, suspect, cooling, out or excluded.",
            (*BY_ENDPOINT, "state"),
            [((*self._labels(one.endpoint_id), one.state), 1.0) for one in self._snapshot.states],
        )

    def _labels(self, endpoint: str) -> tuple[str, str]:
        return endpoint, self._snapshot.models.get(endpoint, "")

    def _labelled(self, values: Mapping[str, int]) -> list[tuple[tuple[str, str], int]]:
        return [(self._labels(endpoint), value) for endpoint, value in values.items()]


_Samples = Iterable[tuple[tuple[str, ...], float]]


def _counter(name: str, documentation: str, labels: Sequence[str], samples: _Samples) -> Metric:
    family = CounterMetricFamily(f"providerrank_{name}", documentation, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _gauge(name: str, documentation: str, labels: Sequence[str], samples: _Samples) -> Metric:
    family = GaugeMetricFamily(f"providerrank_{name}", documentation, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(
    name: str,
    documentation: str,
    labels: Sequence[str],
    bounds_s: Sequence[float],
    samples: Iterable[tuple[tuple[str, ...], Sequence[int], int]],
) -> Metric:
    """``samples`` are labels, counts that are not cumulative, and the sum in microseconds."""
    family = HistogramMetricFamily(f"providerrank_{name}", documentation, labels=labels)
    bounds = [*(repr(bound) for bound in bounds_s), "+Inf"]
    for values, counts, sum_us in samples:
        family.add_metric(values, list(zip(bounds, accumulate(counts), strict=True)), sum_us / US_PER_S)
    return family
