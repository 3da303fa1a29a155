"""Traces and metrics of requests through a real gateway, as a collector receives them."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from providerrank.engines.otlp import Complaints, OtlpSettings, OtlpTelemetry
from providerrank.gateway.settings import Upstream
from providerrank.gateway.tracing import Sampler
from providerrank.sim.faults import Fault
from providerrank.wire.trace_context import read_traceparent, write_traceparent
from tests.integration.gateway_bed import (
    CHAT,
    CHAT_PATH,
    PREFILL,
    STREAM,
    TEXT,
    TEXT_PATH,
    Bed,
    Seller,
    bed,
    post,
    until,
)
from tests.otlp import Collector, collecting, read_attributes

PARENT = write_traceparent(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, is_sampled=True)
SECRET = "xyzzy-42"


@pytest.fixture
def collector() -> Iterator[Collector]:
    level = logging.getLogger("opentelemetry").level
    with collecting() as it:
        yield it
    logging.getLogger("opentelemetry").setLevel(level)


@asynccontextmanager
async def traced(
    collector: Collector, *sellers: Seller, share: float = 1.0, metrics: bool = False, traces: bool = True
) -> AsyncIterator[Bed]:
    """A bed whose requests are told to the collector; all of it has been sent when the block ends."""
    async with bed(*sellers) as it:

        def get_upstream(endpoint_id: str) -> Upstream | None:
            return it.gateway.targets[endpoint_id].upstream if endpoint_id in it.gateway.targets else None

        settings = OtlpSettings(
            collector.url,
            version="1.2.3",
            headers={"authorization": "Bearer otlp"},
            traces=traces,
            metrics=metrics,
            metrics_every_s=60,
        )
        telemetry = OtlpTelemetry(settings, get_upstream)
        it.gateway.watch(telemetry.watch)
        if traces:
            it.gateway.door.sampler = Sampler(share, Random(3))
        yield it
        await until(lambda: not it.gateway._exchanges)
        telemetry.close()


def get_family(collector: Collector) -> tuple[Span, list[Span]]:
    """The only request's span and its attempts', in order."""
    servers = [span for span in collector.spans if span.kind == Span.SPAN_KIND_SERVER]
    clients = [span for span in collector.spans if span.kind == Span.SPAN_KIND_CLIENT]
    [server] = servers
    assert len(collector.spans) == 1 + len(clients)
    for client in clients:
        assert client.trace_id == server.trace_id
        assert client.parent_span_id == server.span_id
        assert server.start_time_unix_nano <= client.start_time_unix_nano <= client.end_time_unix_nano
        assert client.end_time_unix_nano <= server.end_time_unix_nano
    assert len({span.span_id for span in collector.spans}) == len(collector.spans)
    return server, clients


async def test_a_request_and_its_attempts(collector: Collector) -> None:
    async with traced(collector, Seller("openai"), Seller("mistral")) as it:
        it.sims["openai"].script([Fault.STATUS_503])
        headers = {
            "traceparent": PARENT.decode(),
            "tracestate": "vendor=1",
            "x-request-id": "mine",
            "x-providerrank-session": "s1",
        }
        answer = await it.ask(STREAM, headers=headers)
        assert answer.status == 200
        sent = {name: it.sims[name].log.last.headers for name in ("openai", "mistral")}
    server, (first, second) = get_family(collector)
    parent = read_traceparent(PARENT)
    assert parent is not None
    assert (server.name, server.trace_id.hex()) == ("POST /v1/chat/completions", f"{parent.trace_id:032x}")
    assert server.parent_span_id.hex() == f"{parent.span_id:016x}"
    assert server.status.code == Status.STATUS_CODE_UNSET
    attributes = read_attributes(server.attributes)
    assert attributes.pop("gen_ai.response.time_to_first_chunk") > 0
    assert attributes.pop("gen_ai.usage.input_tokens") > 0
    assert attributes.pop("providerrank.cost_usd") > 0
    assert attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "providerrank",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m",
        "gen_ai.request.stream": True,
        "gen_ai.conversation.id": "s1",
        "gen_ai.usage.output_tokens": 24,
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "providerrank.request_id": "mine",
        "providerrank.attempts": 2,
        "providerrank.task": "chat",
        "providerrank.endpoint": "mistral/m",
    }
    assert [span.name for span in (first, second)] == ["chat upstream-m", "chat upstream-m"]
    assert first.status.code == Status.STATUS_CODE_ERROR
    assert first.status.message == "unavailable (overloaded)"
    failed, answered = read_attributes(first.attributes), read_attributes(second.attributes)
    assert failed == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "upstream-m",
        "server.address": "127.0.0.1",
        "server.port": it.sims["openai"].port,
        "error.type": "unavailable",
        "http.response.status_code": 503,
        "providerrank.endpoint": "openai/m",
        "providerrank.attempt": 1,
        "providerrank.why": "pin",
        "providerrank.outcome": "unavailable",
    }
    assert second.status.code == Status.STATUS_CODE_UNSET
    assert answered["gen_ai.provider.name"] == "mistral_ai"
    assert (answered["providerrank.attempt"], answered["providerrank.outcome"]) == (2, "answered")
    assert answered["gen_ai.usage.output_tokens"] == 24
    assert answered["gen_ai.response.time_to_first_chunk"] > 0
    for name, span in (("openai", first), ("mistral", second)):
        told = read_traceparent(sent[name]["traceparent"].encode())
        assert told is not None
        assert (f"{told.trace_id:032x}", f"{told.span_id:016x}") == (span.trace_id.hex(), span.span_id.hex())
        assert told.is_sampled
        assert sent[name]["tracestate"] == "vendor=1"
    [resource] = {json.dumps(read_attributes(one.resource_spans[0].resource.attributes)) for one in collector.traces}
    assert json.loads(resource)["service.name"] == "providerrank"
    assert json.loads(resource)["service.version"] == "1.2.3"
    assert collector.headers[0]["authorization"] == "Bearer otlp"


async def test_a_trace_that_begins_here(collector: Collector) -> None:
    async with traced(collector, Seller("a")) as it:
        await it.ask(TEXT, TEXT_PATH)
        sent = it.sims["a"].log.last.headers["traceparent"]
    server, [client] = get_family(collector)
    assert server.parent_span_id == b""
    assert server.name == "POST /v1/completions"
    assert client.name == "text_completion upstream-m"
    assert sent == f"00-{server.trace_id.hex()}-{client.span_id.hex()}-01"


async def test_what_the_caller_does_not_trace_is_passed_on_and_not_traced(collector: Collector) -> None:
    parent = write_traceparent(1, 2, is_sampled=False).decode()
    async with traced(collector, Seller("a")) as it:
        await it.ask(CHAT, headers={"traceparent": parent})
        assert it.sims["a"].log.last.headers["traceparent"] == parent
    assert collector.spans == []


async def test_a_share_of_nothing_traces_nothing(collector: Collector) -> None:
    async with traced(collector, Seller("a"), share=0.0) as it:
        await it.ask(CHAT)
        assert "traceparent" not in it.sims["a"].log.last.headers
    assert collector.spans == []


async def test_errors_of_requests(collector: Collector) -> None:
    async with traced(collector, Seller("a")) as it:
        it.sims["a"].script([Fault.STATUS_503])
        assert (await it.ask(CHAT)).status == 502
    server, [client] = get_family(collector)
    assert (server.status.code, server.status.message) == (Status.STATUS_CODE_ERROR, "all_endpoints_failed")
    attributes = read_attributes(server.attributes)
    assert (attributes["error.type"], attributes["http.response.status_code"]) == ("all_endpoints_failed", 502)
    assert "providerrank.endpoint" not in attributes
    assert client.status.code == Status.STATUS_CODE_ERROR


async def test_a_callers_own_error_is_not_the_servers(collector: Collector) -> None:
    async with traced(collector, Seller("a")) as it:
        it.sims["a"].script([Fault.CONTENT_POLICY])
        assert (await it.ask(CHAT)).status == 400
    server, [client] = get_family(collector)
    assert server.status.code == Status.STATUS_CODE_UNSET
    assert read_attributes(server.attributes)["error.type"] == "400"
    assert read_attributes(client.attributes)["error.type"] == "content_policy"


async def test_a_stream_that_is_broken_off_and_one_that_is_continued(collector: Collector) -> None:
    async with traced(collector, Seller("a")) as it:
        it.sims["a"].script([Fault.CUT_ABORT, Fault.STATUS_503])
        await it.ask(STREAM)
    server, clients = get_family(collector)
    assert (server.status.code, server.status.message) == (Status.STATUS_CODE_ERROR, "broken off")
    assert read_attributes(server.attributes)["http.response.status_code"] == 200
    assert len(clients) == 2
    collector.traces.clear()
    async with traced(collector, Seller("a", features=PREFILL), Seller("b", features=PREFILL)) as it:
        it.sims["a"].script([Fault.CUT_ABORT])
        await it.ask(STREAM)
    server, clients = get_family(collector)
    assert server.status.code == Status.STATUS_CODE_UNSET
    assert [read_attributes(one.attributes)["providerrank.outcome"] for one in clients] == ["cut", "answered"]


async def test_a_client_that_leaves(collector: Collector) -> None:
    async with traced(collector, Seller("a")) as it:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        async with it.wire() as wire:
            wire.send(post(CHAT))
            await until(lambda: it.gateway.stats.in_flight["a/m"])
    server, [client] = get_family(collector)
    attributes = read_attributes(server.attributes)
    assert attributes["error.type"] == "client_left"
    assert "http.response.status_code" not in attributes
    assert server.status.code == client.status.code == Status.STATUS_CODE_UNSET
    assert read_attributes(client.attributes)["providerrank.outcome"] == "abandoned"


async def test_metrics(collector: Collector) -> None:
    async with traced(collector, Seller("a"), Seller("b"), metrics=True, traces=False) as it:
        it.sims["a"].script([Fault.STATUS_503])
        for body in (CHAT, STREAM):
            assert (await it.ask(body)).status == 200
        assert (await it.ask({**CHAT, "model": "unheard-of"})).status == 404
        port = it.sims["b"].port
    assert collector.spans == []
    points = collector.get_points()
    assert set(points) == {
        "gen_ai.server.request.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.client.operation.duration",
        "gen_ai.client.operation.time_to_first_chunk",
        "gen_ai.client.token.usage",
    }
    [duration] = points["gen_ai.server.request.duration"]
    assert duration.count == 2
    assert duration.explicit_bounds[:3] == [0.01, 0.02, 0.04]
    assert read_attributes(duration.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "providerrank",
        "gen_ai.request.model": "m",
        "gen_ai.response.model": "m",
    }
    [first] = points["gen_ai.server.time_to_first_token"]
    assert first.count == 2
    attempts = {
        (
            read_attributes(one.attributes)["gen_ai.provider.name"],
            read_attributes(one.attributes).get("error.type"),
        ): one.count
        for one in points["gen_ai.client.operation.duration"]
    }
    assert attempts[("a", "unavailable")] == 1
    assert sum(attempts.values()) == 3
    tokens: dict[str, float] = {}
    for one in points["gen_ai.client.token.usage"]:
        kind = read_attributes(one.attributes)["gen_ai.token.type"]
        tokens[kind] = tokens.get(kind, 0) + one.sum
    assert tokens["output"] == 48
    assert tokens["input"] > 0
    [answered] = [
        read_attributes(one.attributes)
        for one in points["gen_ai.client.operation.duration"]
        if read_attributes(one.attributes)["gen_ai.provider.name"] == "b"
    ]
    assert (answered["server.address"], answered["server.port"]) == ("127.0.0.1", port)


async def test_nothing_that_was_said_is_sent(collector: Collector) -> None:
    said = {**CHAT, "messages": [{"role": "user", "content": f"My secret is {SECRET}"}]}
    async with traced(collector, Seller("a", key="sk-endpoint"), Seller("b"), metrics=True) as it:
        it.sims["a"].script([Fault.CONTENT_POLICY, Fault.STATUS_500, Fault.ERROR_OBJECT])
        texts = [(await it.ask(said)).body.decode() for _ in range(4)]
    sent = f"{collector.traces} {collector.metrics}"
    assert "content_policy" in sent
    assert SECRET not in sent
    assert "sk-endpoint" not in sent
    answers = [json.loads(text)["choices"][0]["message"]["content"] for text in texts if "choices" in text]
    assert answers
    assert not any(answer in sent for answer in answers)


async def test_a_dead_collector_slows_nothing_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with bed(Seller("a")) as it:
            settings = OtlpSettings(dead, metrics=False, send_every_s=0.01, timeout_s=0.1)
            telemetry = OtlpTelemetry(settings, lambda _: None)
            it.gateway.watch(telemetry.watch)
            it.gateway.door.sampler = Sampler(1.0, Random(3))
            for _ in range(20):
                assert (await it.ask(CHAT)).status == 200
            assert it.gateway.is_ready
            telemetry.close()
    told = [record.getMessage() for record in caplog.records if record.name == "providerrank.telemetry"]
    assert len(told) == 1
    assert dead in told[0]
    assert all(record.name.startswith("providerrank") for record in caplog.records if record.levelno >= logging.WARNING)


def test_complaints_come_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    times = iter((0.0, 1.0, 59.9, 60.0, 61.0, 121.0))
    complaints = Complaints("http://collector:4318", lambda: next(times))
    for _ in range(6):
        complaints.note("traces", 7)
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert told[-1] == (
        "telemetry is not taken: collector=http://collector:4318 what=traces failed_exports=6 dropped_requests=7"
    )


async def test_a_collector_that_refuses_is_told_of(collector: Collector, caplog: pytest.LogCaptureFixture) -> None:
    collector.status = 400
    async with traced(collector, Seller("a"), metrics=True) as it:
        await it.ask(CHAT, CHAT_PATH)
    told = [record.getMessage() for record in caplog.records if record.name == "providerrank.telemetry"]
    assert len(told) == 1
    assert "telemetry is not taken" in told[0]


async def test_an_endpoint_no_longer_configured_is_still_told(collector: Collector) -> None:
    async with traced(collector, Seller("azure")) as it:
        await it.ask(CHAT)
        await until(lambda: not it.gateway._exchanges)
        it.gateway.targets.clear()
    _, [client] = get_family(collector)
    attributes = read_attributes(client.attributes)
    assert attributes["gen_ai.provider.name"] == "azure.ai.openai"
    assert attributes["gen_ai.request.model"] == "m"
    assert "server.address" not in attributes
