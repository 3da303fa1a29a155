"""A finished request in the words of OpenTelemetry's GenAI semantic conventions, as plain values.

One SERVER span for the request, one CLIENT span for each of its attempts below it. Names are those of the conventions
at 1.37 and later (``gen_ai.provider.name`` was ``gen_ai.system`` before). What the conventions have no word for is
named ``providerrank.*``. No prompt, answer or key is in any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from urllib.parse import urlsplit

from providerrank.gateway.settings import Upstream
from providerrank.gateway.tracing import get_attempt_span_id
from providerrank.rules.attempt import Attempt
from providerrank.rules.cells import NUSD_PER_USD
from providerrank.rules.explain import get_why
from providerrank.rules.finished import CLIENT_LEFT, MAX_ATTEMPTS, Finished, Trace
from providerrank.rules.params import SECOND_US

Attributes = dict[str, str | int | float | bool]

GetUpstream = Callable[[str], Upstream | None]
"""An endpoint by its id; None where it is no longer configured."""

OPERATIONS: Mapping[str, str] = MappingProxyType(
    {
        "chat": "chat",
        "completions": "text_completion",
        "embeddings": "embeddings",
        "messages": "chat",
        "responses": "chat",
    }
)
"""``gen_ai.operation.name`` by API."""

ROUTES: Mapping[str, str] = MappingProxyType(
    {
        "chat": "/v1/chat/completions",
        "completions": "/v1/completions",
        "embeddings": "/v1/embeddings",
        "messages": "/v1/messages",
        "responses": "/v1/responses",
    }
)

PROVIDERS: Mapping[str, str] = MappingProxyType(
    {
        "azure": "azure.ai.openai",
        "bedrock": "aws.bedrock",
        "gemini": "gcp.gemini",
        "google": "gcp.gemini",
        "mistral": "mistral_ai",
        "vertex": "gcp.vertex_ai",
        "watsonx": "ibm.watsonx.ai",
        "x-ai": "x_ai",
        "xai": "x_ai",
    }
)
"""``gen_ai.provider.name`` where the conventions call a provider otherwise than people do."""

SERVICE = "providerrank"
"""The provider, as far as our own clients go."""


@dataclass(frozen=True, slots=True)
class SpanData:
    """One span. Times are Unix microseconds; ``error`` is a sentence, None: no error."""

    name: str
    is_server: bool
    trace_id: int
    span_id: int
    parent_id: int | None
    is_parent_remote: bool
    start_us: int
    end_us: int
    attributes: Attributes
    error: str | None = None


def make_spans(finished: Finished, get_upstream: GetUpstream) -> list[SpanData]:
    """The spans of a traced request: its own, then those of its attempts; none of one that is not traced."""
    trace = finished.trace
    if trace is None:
        return []
    operation, route = OPERATIONS.get(finished.api, finished.api), ROUTES.get(finished.api, "/")
    attributes: Attributes = {
        **describe_request(finished),
        "http.request.method": "POST",
        "http.route": route,
        "gen_ai.request.stream": finished.stream,
        "providerrank.request_id": finished.request_id.decode("ascii", "replace"),
        "providerrank.attempts": max(finished.attempts, len(finished.log)),
        "providerrank.task": finished.ask.task,
    }
    if not _has_left(finished):
        attributes["http.response.status_code"] = 200 if finished.is_broken_off else finished.status
    for name, value in (("tier", finished.ask.tier), ("key", finished.key), ("endpoint", _get_answered(finished))):
        if value is not None:
            attributes[f"providerrank.{name}"] = value
    if finished.ask.session is not None:
        attributes["gen_ai.conversation.id"] = finished.ask.session
    if finished.answered is not None:
        attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"] = finished.usage[:2]
        attributes["providerrank.cost_usd"] = finished.usage[2] / NUSD_PER_USD
    if finished.stream and finished.ttft_us is not None:
        attributes["gen_ai.response.time_to_first_chunk"] = finished.ttft_us / SECOND_US
    error = None
    if finished.status >= 500:
        # (Of a server span only what the server is to blame for is an error.)
        error = "broken off" if finished.is_broken_off else finished.code or "failed"
    spans = [
        SpanData(
            f"POST {route}",
            True,
            trace.trace_id,
            trace.span_id,
            trace.parent_id,
            True,
            finished.at_us,
            finished.at_us + finished.total_us,
            attributes,
            error,
        )
    ]
    return spans + [
        _make_attempt_span(finished, trace, number, attempt, operation, get_upstream)
        for number, attempt in _number_attempts(finished)
    ]


def _number_attempts(finished: Finished) -> list[tuple[int, Attempt]]:
    """Each attempt with its place in the whole log, of which the middle may be left out."""
    log = finished.log
    left_out = max(0, finished.attempts - len(log))
    return [(at if at < MAX_ATTEMPTS // 2 else at + left_out, attempt) for at, attempt in enumerate(log)]


def _make_attempt_span(
    finished: Finished, trace: Trace, number: int, attempt: Attempt, operation: str, get_upstream: GetUpstream
) -> SpanData:
    attributes = describe_attempt(finished, attempt, get_upstream)
    attributes["providerrank.endpoint"] = attempt.endpoint.id
    attributes["providerrank.attempt"] = number + 1
    attributes["providerrank.why"] = get_why(attempt, finished.lanes)
    attributes["providerrank.outcome"] = finished.get_outcome(attempt)
    if attempt.status is not None:
        attributes["http.response.status_code"] = attempt.status
    elif attempt is finished.answered:
        attributes["http.response.status_code"] = 200
    if attempt is finished.answered:
        attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"] = finished.usage[:2]
    if finished.stream and attempt.first_content_us is not None:
        first_s = (attempt.first_content_us - attempt.started_us) / SECOND_US
        attributes["gen_ai.response.time_to_first_chunk"] = first_s
    error = None
    if attempt.fault is not None:
        error = attempt.fault.value + (f" ({attempt.note})" if attempt.note else "")
    ended_us = attempt.ended_us or finished.at_us + finished.total_us
    return SpanData(
        f"{operation} {attributes['gen_ai.request.model']}",
        False,
        trace.trace_id,
        get_attempt_span_id(trace, number),
        trace.span_id,
        False,
        attempt.started_us,
        max(ended_us, attempt.started_us),
        attributes,
        error,
    )


def describe_request(finished: Finished) -> Attributes:
    """What a request was, for spans and metrics: bounded values but for the model of one that was refused."""
    attributes: Attributes = {
        "gen_ai.operation.name": OPERATIONS.get(finished.api, finished.api),
        "gen_ai.provider.name": SERVICE,
    }
    if finished.ask.model:
        attributes["gen_ai.request.model"] = finished.ask.model
    if finished.log and finished.answered is not None:
        attributes["gen_ai.response.model"] = finished.answered.model
    if _has_left(finished):
        attributes["error.type"] = "client_left"
    elif finished.status != 200:
        attributes["error.type"] = finished.code or str(finished.status)
    return attributes


def describe_attempt(finished: Finished, attempt: Attempt, get_upstream: GetUpstream) -> Attributes:
    """What an attempt was, for spans and metrics: bounded values."""
    provider = attempt.endpoint.provider.lower()
    attributes: Attributes = {
        "gen_ai.operation.name": OPERATIONS.get(finished.api, finished.api),
        "gen_ai.provider.name": PROVIDERS.get(provider, provider),
        "gen_ai.request.model": attempt.model,
    }
    upstream = get_upstream(attempt.endpoint.id)
    if upstream is not None:
        attributes["gen_ai.request.model"] = upstream.upstream_model
        url = urlsplit(upstream.base_url)
        attributes["server.address"] = url.hostname or ""
        attributes["server.port"] = url.port or (443 if url.scheme == "https" else 80)
    if attempt.fault is not None:
        attributes["error.type"] = finished.get_outcome(attempt)
    return attributes


def _has_left(finished: Finished) -> bool:
    return finished.status == CLIENT_LEFT


def _get_answered(finished: Finished) -> str | None:
    return None if finished.answered is None else finished.answered.endpoint.id
