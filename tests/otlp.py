"""A collector in this process: takes OTLP over HTTP and keeps what it was sent, decoded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint
from opentelemetry.proto.trace.v1.trace_pb2 import Span

Attributes = dict[str, Any]
"""``Any``: text, numbers and truth values, as they are in the message."""


class Collector:
    """What came."""

    def __init__(self) -> None:
        self.traces: list[ExportTraceServiceRequest] = []
        self.metrics: list[ExportMetricsServiceRequest] = []
        self.headers: list[dict[str, str]] = []
        self.status = 200
        self.port = 0
        self.changed = threading.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def take(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        with self.changed:
            self.headers.append(headers)
            if self.status == 200:
                if path == "/v1/traces":
                    self.traces.append(ExportTraceServiceRequest.FromString(body))
                else:
                    assert path == "/v1/metrics"
                    self.metrics.append(ExportMetricsServiceRequest.FromString(body))
            self.changed.notify_all()

    @property
    def spans(self) -> list[Span]:
        return [
            span
            for one in self.traces
            for resource in one.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    def get_points(self) -> dict[str, list[HistogramDataPoint]]:
        """The latest state of each histogram."""
        return {
            metric.name: list(metric.histogram.data_points)
            for resource in self.metrics[-1].resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def read_attributes(values: Any) -> Attributes:  # a repeated field of a message
    found: Attributes = {}
    for one in values:
        assert isinstance(one, KeyValue)
        kind = one.value.WhichOneof("value")
        assert kind is not None
        assert one.key not in found
        found[one.key] = getattr(one.value, kind)
    return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Serve one until the block ends."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            assert headers["content-type"] == "application/x-protobuf"
            collector.take(self.path, body, headers)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
