"""OpenTelemetry: traces and metrics of finished requests, sent to a collector as OTLP over HTTP.

Nothing of it is on the path of a request: what a request costs is an append to a bounded queue. A thread makes spans
and records metrics; a collector that is slow or dead fills the queue and what does not fit is dropped. The operator
is told of that, and of failed exports, once a minute.

The packages are an extra, ``providerrank[otel]``, and imported here alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from typing_extensions import override

from providerrank.engines.batches import Batches
from providerrank.engines.spans import Attributes, GetUpstream, SpanData, describe_attempt, describe_request, make_spans
from providerrank.rules.finished import Finished
from providerrank.rules.params import SECOND_US

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

logger = logging.getLogger("providerrank.telemetry")

QUEUE: Final = 8_192
"""Requests that may wait: seconds of a busy gateway."""
SEND_EVERY_S: Final = 1.0
METRICS_EVERY_S: Final = 15.0
TELL_EVERY_S: Final = 60.0
TIMEOUT_S: Final = 5.0
"""Of one export, retries included."""
CLOSE_S: Final = 3.0
SPANS_AT_ONCE: Final = 256

DURATION_BOUNDS_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_BOUNDS_S: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75),
    *(1.0, 2.5, 5.0, 7.5, 10.0),
)
TOKEN_BOUNDS: Final = tuple(4.0**power for power in range(14))
"""All three as the conventions give them."""

US_TO_NS: Final = 1_000


class TelemetryMissingError(Exception):
    """The extra is not installed; the message says what to do."""

    def __init__(self) -> None:
        super().__init__(
            "telemetry.otlp needs OpenTelemetry's packages: install providerrank[otel], or leave [telemetry] out."
        )


@dataclass(frozen=True, slots=True)
class OtlpSettings:
    """Where to send what, and as whom."""

    address: str
    """The collector's URL, without a path."""
    service: str = "providerrank"
    version: str = ""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    traces: bool = True
    metrics: bool = True
    metrics_every_s: float = METRICS_EVERY_S
    send_every_s: float = SEND_EVERY_S
    timeout_s: float = TIMEOUT_S


class Complaints:
    """Tells the operator once a minute that something is wrong with the collector."""

    def __init__(self, address: str, now_s: Callable[[], float] = time.monotonic) -> None:
        self._address = address
        self._now_s = now_s
        self._told_s: float | None = None
        self.failed = 0

    def note(self, what: str, dropped: int) -> None:
        """An export failed, or the queue was full."""
        self.failed += 1
        now_s = self._now_s()
        if self._told_s is None or now_s - self._told_s >= TELL_EVERY_S:
            self._told_s = now_s
            logger.warning(
                "telemetry is not taken: collector=%s what=%s failed_exports=%s dropped_requests=%s",
                self._address,
                what,
                self.failed,
                dropped,
            )


class OtlpTelemetry:
    """See the module. Raises ``TelemetryMissingError``."""

    def __init__(self, settings: OtlpSettings, get_upstream: GetUpstream) -> None:
        try:
            from opentelemetry.sdk.resources import Resource
        except ImportError:
            raise TelemetryMissingError from None
        # Its own words about a dead collector are many, and may hold headers: what there is to tell is told here.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        self._get_upstream = get_upstream
        self._complaints = Complaints(settings.address)
        resource = Resource.create({"service.name": settings.service, "service.version": settings.version})
        self._spans = _Spans(_make_span_exporter(settings), resource, settings.version) if settings.traces else None
        self._metrics: _Metrics | None = None
        if settings.metrics:
            self._metrics = _Metrics(_make_metric_exporter(settings, self._note_metrics), resource, settings)
        self._batches = Batches(self._handle, name="telemetry", most=QUEUE, every_s=settings.send_every_s)
        self.watch = self._batches.put
        """Take one finished request; costs an append."""

    def close(self) -> None:
        """Send what is left, for seconds at most."""
        self._batches.close(CLOSE_S)
        if self._spans is not None:
            self._send()
            self._spans.close()
        if self._metrics is not None:
            self._metrics.close()

    def _note_metrics(self) -> None:
        self._complaints.note("metrics", self._batches.dropped)

    def _handle(self, batch: list[Finished]) -> None:
        for finished in batch:
            if self._metrics is not None:
                self._metrics.record(finished, self._get_upstream)
            if self._spans is not None:
                self._spans.add(make_spans(finished, self._get_upstream))
            # The event loop wants the interpreter too.
            time.sleep(0)
        if self._spans is not None and (len(self._spans.waiting) >= SPANS_AT_ONCE or self._batches.is_empty):
            self._send()

    def _send(self) -> None:
        assert self._spans is not None
        if self._spans.waiting and not self._spans.send():
            self._complaints.note("traces", self._batches.dropped)


class _Spans:
    """Makes the SDK's spans and exports them."""

    def __init__(self, exporter: SpanExporter, resource: Resource, version: str) -> None:
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        self._exporter = exporter
        self._resource = resource
        self._scope = InstrumentationScope("providerrank", version)
        self.waiting: list[ReadableSpan] = []

    def add(self, spans: list[SpanData]) -> None:
        self.waiting += [self._make(span) for span in spans]

    def send(self) -> bool:
        from opentelemetry.sdk.trace.export import SpanExportResult

        spans, self.waiting = self.waiting, []
        return self._exporter.export(spans) is SpanExportResult.SUCCESS

    def close(self) -> None:
        self._exporter.shutdown()

    def _make(self, span: SpanData) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan
        from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

        flags = TraceFlags(TraceFlags.SAMPLED)
        parent = None
        if span.parent_id is not None:
            parent = SpanContext(span.trace_id, span.parent_id, span.is_parent_remote, flags)
        return ReadableSpan(
            span.name,
            context=SpanContext(span.trace_id, span.span_id, is_remote=False, trace_flags=flags),
            parent=parent,
            resource=self._resource,
            attributes=span.attributes,
            kind=SpanKind.SERVER if span.is_server else SpanKind.CLIENT,
            status=Status(StatusCode.UNSET) if span.error is None else Status(StatusCode.ERROR, span.error),
            start_time=span.start_us * US_TO_NS,
            end_time=span.end_us * US_TO_NS,
            instrumentation_scope=self._scope,
        )


class _Metrics:
    """The conventions' histograms: of us as a server, and of each endpoint as its client."""

    def __init__(self, exporter: MetricExporter, resource: Resource, settings: OtlpSettings) -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        reader = PeriodicExportingMetricReader(exporter, settings.metrics_every_s * 1000, settings.timeout_s * 1000)
        self._provider: MeterProvider = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = self._provider.get_meter("providerrank", settings.version)

        def make(name: str, unit: str, description: str, bounds: tuple[float, ...]) -> Histogram:
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=bounds)

        self._server_duration = make("gen_ai.server.request.duration", "s", "Requests, whole.", DURATION_BOUNDS_S)
        self._server_first = make(
            "gen_ai.server.time_to_first_token", "s", "Requests, to their first content.", FIRST_BOUNDS_S
        )
        self._duration = make("gen_ai.client.operation.duration", "s", "Attempts, whole.", DURATION_BOUNDS_S)
        self._first = make(
            "gen_ai.client.operation.time_to_first_chunk", "s", "Streamed attempts, to content.", FIRST_BOUNDS_S
        )
        self._tokens = make("gen_ai.client.token.usage", "{token}", "Tokens billed.", TOKEN_BOUNDS)

    def record(self, finished: Finished, get_upstream: GetUpstream) -> None:
        """Count one request and its attempts."""
        if not finished.log or finished.is_probe:
            # Refused: whatever it named was nobody's, and is no label. Or nobody's request.
            return
        request = describe_request(finished)
        self._server_duration.record(finished.total_us / SECOND_US, request)
        ttft_us = finished.ttft_us
        if ttft_us is not None:
            self._server_first.record(ttft_us / SECOND_US, request)
        for attempt in finished.log:
            if attempt.ended_us is None:
                continue
            attributes = describe_attempt(finished, attempt, get_upstream)
            self._duration.record((attempt.ended_us - attempt.started_us) / SECOND_US, attributes)
            if finished.stream and attempt.first_content_us is not None:
                self._first.record((attempt.first_content_us - attempt.started_us) / SECOND_US, attributes)
            if attempt is finished.answered:
                self._count(finished.usage[0], "input", attributes)
                self._count(finished.usage[1], "output", attributes)

    def _count(self, tokens: int, kind: str, attributes: Attributes) -> None:
        self._tokens.record(tokens, {**attributes, "gen_ai.token.type": kind})

    def close(self) -> None:
        self._provider.shutdown(timeout_millis=CLOSE_S * 1000)


def _make_span_exporter(settings: OtlpSettings) -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError:
        raise TelemetryMissingError from None
    return OTLPSpanExporter(_get_url(settings, "traces"), headers=dict(settings.headers), timeout=settings.timeout_s)


def _make_metric_exporter(settings: OtlpSettings, on_failure: Callable[[], None]) -> MetricExporter:
    try:
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.sdk.metrics.export import MetricExportResult, MetricsData
    except ImportError:
        raise TelemetryMissingError from None

    class Watched(OTLPMetricExporter):
        """Tells when an export fails: the SDK's reader keeps that to itself."""

        @override
        def export(
            self, metrics_data: MetricsData, timeout_millis: float | None = None, **kwargs: Any
        ) -> MetricExportResult:
            result = super().export(metrics_data, timeout_millis, **kwargs)
            if result is not MetricExportResult.SUCCESS:
                on_failure()
            return result

    return Watched(_get_url(settings, "metrics"), headers=dict(settings.headers), timeout=settings.timeout_s)


def _get_url(settings: OtlpSettings, signal: str) -> str:
    return f"{settings.address.rstrip('/')}/v1/{signal}"
