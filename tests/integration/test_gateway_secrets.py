"""What crosses the gateway and what must not: keys, headers, and who is spoken to under which certificate."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httptools
import pytest

from providerrank.gateway.settings import GatewaySettings
from providerrank.sim.certificates import make_certificate
from providerrank.sim.faults import Fault
from tests.integration.gateway_bed import CHAT, STREAM, TEXT, TEXT_PATH, Body, Seller, assert_whole, bed, post

CLIENT_KEY = "sk-client-7f3a9c"
OTHER_KEY = "sk-client-of-another-11d0"
ENDPOINT_KEY = "sk-endpoint-b81e52"
SECRETS = (CLIENT_KEY, OTHER_KEY, ENDPOINT_KEY)

BOTH = pytest.mark.parametrize("body", [CHAT, STREAM], ids=["plain", "stream"])


# ---- an endpoint that says what it should not ------------------------------------------------------------------------


class _Quoting:
    """An endpoint that quotes its caller's Authorization header in whatever it answers."""

    def __init__(self, template: bytes, status: bytes = b"400 Bad Request", kind: bytes = b"application/json") -> None:
        self.template = template
        self.status = status
        self.kind = kind

    def answer(self, authorization: bytes) -> bytes:
        body = self.template.replace(b"QUOTE", authorization)
        head = b"HTTP/1.1 %b\r\nX-Echo: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n"
        return head % (self.status, authorization, self.kind, len(body)) + body


@asynccontextmanager
async def quoting(endpoint: _Quoting) -> AsyncIterator[str]:
    """Serve it; its base URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found = b""
        done = False

        class Parsed:
            def on_header(self, name: bytes, value: bytes) -> None:
                nonlocal found
                if name.lower() == b"authorization":
                    found = value

            def on_message_complete(self) -> None:
                nonlocal done
                done = True

        parser = httptools.HttpRequestParser(Parsed())
        while data := await reader.read(65536):
            parser.feed_data(data)
            if done:
                done = False
                writer.write(endpoint.answer(found))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    "endpoint",
    [
        _Quoting(b'{"error":{"message":"Bad request by QUOTE","type":"invalid_request_error","code":null}}'),
        _Quoting(b'{"error":{"message":"Your key QUOTE may not","code":"content_policy_violation"}}'),
        _Quoting(b'{"error":{"message":"Incorrect API key provided: QUOTE","code":"invalid_api_key"}}', b"401 No"),
        _Quoting(b"Internal error, headers were: QUOTE", b"500 Oops", b"text/plain"),
        _Quoting(b'{"error":{"message":"QUOTE"}}', b"200 OK"),
        _Quoting(b'data: {"error":{"message":"QUOTE"}}\n\n', b"200 OK", b"text/event-stream"),
        _Quoting(
            b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\ndata: {"error":"QUOTE"}\n\n',
            b"200 OK",
            b"text/event-stream",
        ),
    ],
    ids=["400", "policy", "401", "500", "200-error", "stream-error", "stream-midway"],
)
@BOTH
async def test_an_endpoints_key_never_reaches_a_client_or_a_log_even_where_the_endpoint_quotes_it(
    endpoint: _Quoting, body: Body, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with quoting(endpoint) as url, bed(Seller("a", url=url, key=ENDPOINT_KEY), keys=(CLIENT_KEY,)) as it:
        answer = await it.ask(body, headers={"Authorization": f"Bearer {CLIENT_KEY}"})
        seen = f"{answer.raw_headers} {answer.body.decode()}"
        assert "error" in seen
        for secret in SECRETS:
            assert secret not in seen
            assert secret not in caplog.text
            assert all(secret not in attempt.detail for attempt, _ in it.ended)
        assert "x-echo" not in answer.headers


async def test_a_key_quoted_with_json_escapes_is_taken_out_as_well() -> None:
    key = 'sk-"quoted\\key/'
    said = json.dumps({"error": {"message": f"Bad key {key}", "type": "invalid_request_error"}}).encode()
    async with quoting(_Quoting(said)) as url, bed(Seller("a", url=url, key=key)) as it:
        answer = await it.ask(CHAT)
        assert answer.status == 400
        assert answer.json()["error"]["message"] == "Bad key [key]"


async def test_the_operator_is_told_once_that_an_endpoint_refuses_us(caplog: pytest.LogCaptureFixture) -> None:
    async with bed(Seller("a", price=0.1), Seller("b")) as it:
        it.sims["a"].script([Fault.STATUS_402, Fault.STATUS_402])
        for _ in range(2):
            await it.ask(CHAT)
    told = [record.getMessage() for record in caplog.records if "refuses us" in record.getMessage()]
    assert told == ["endpoint refuses us: endpoint=a/m status=402 check=the balance"]


async def test_settings_do_not_show_their_keys() -> None:
    async with bed(Seller("a", key=ENDPOINT_KEY), keys=(CLIENT_KEY,)) as it:
        shown = repr(it.gateway.settings)
        assert isinstance(it.gateway.settings, GatewaySettings)
        for secret in SECRETS:
            assert secret not in shown


# ---- headers ---------------------------------------------------------------------------------------------------------

ALWAYS = {"host", "user-agent", "content-type", "accept", "content-length", "x-request-id"}


@BOTH
async def test_a_clients_key_and_headers_never_reach_an_endpoint(body: Body) -> None:
    headers = {
        "Authorization": f"Bearer {CLIENT_KEY}",
        "x-api-key": OTHER_KEY,
        "Cookie": "session=1",
        "User-Agent": "my-app/1.0",
        "Accept-Encoding": "gzip, br",
        "Accept": "*/*",
        "OpenAI-Organization": "org-1",
        "X-Stainless-Lang": "python",
        "X-Forwarded-For": "203.0.113.9",
        "Forwarded": "for=203.0.113.9",
        "Connection": "keep-alive, X-Hop",
        "X-Hop": "1",
        "Keep-Alive": "timeout=5",
        "Proxy-Authorization": "Basic x",
        "TE": "trailers",
        "Referer": "https://example.com",
        "x-providerrank-session": "my-session",
        "x-providerrank-task": "code",
    }
    async with bed(Seller("a", key=ENDPOINT_KEY), keys=(CLIENT_KEY, OTHER_KEY)) as it:
        answer = await it.ask(body, headers=headers)
        assert_whole(answer, body)
        [received] = it.sims["a"].log
        names = [name.decode().lower() for name, _ in received.raw_headers]
        assert sorted(names) == sorted(ALWAYS | {"authorization"})
        assert received.headers["authorization"] == f"Bearer {ENDPOINT_KEY}"
        assert received.headers["user-agent"] == "providerrank"
        assert received.headers["host"].startswith("127.0.0.1:")
        everything = str(received.raw_headers) + received.body.decode()
        assert CLIENT_KEY not in everything
        assert OTHER_KEY not in everything


async def test_an_endpoint_without_a_key_is_sent_none() -> None:
    async with bed(Seller("a"), keys=(CLIENT_KEY,)) as it:
        await it.ask(CHAT, headers={"Authorization": f"Bearer {CLIENT_KEY}"})
        assert set(it.sims["a"].log.last.headers) == ALWAYS


async def test_each_endpoint_gets_its_own_key() -> None:
    async with bed(Seller("a", key="sk-for-a"), Seller("b", key="sk-for-b")) as it:
        it.sims["a"].script([Fault.STATUS_503])
        await it.ask(CHAT)
        assert it.sims["a"].log.last.headers["authorization"] == "Bearer sk-for-a"
        assert it.sims["b"].log.last.headers["authorization"] == "Bearer sk-for-b"


@BOTH
async def test_tracing_goes_through(body: Body) -> None:
    trace = {
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "tracestate": "vendor=1,other=2",
        "x-request-id": "my-request-17",
    }
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([Fault.STATUS_503])
        answer = await it.ask(body, headers=trace)
        assert answer.headers["x-request-id"] == "my-request-17"
        for name in "ab":
            received = it.sims[name].log.last.headers
            assert {header: received[header] for header in trace} == trace


async def test_a_request_without_an_id_is_given_one_of_its_own() -> None:
    async with bed(Seller("a")) as it:
        ids = [(await it.ask(CHAT)).headers["x-request-id"] for _ in range(3)]
        assert len(set(ids)) == 3
        assert [received.headers["x-request-id"] for received in it.sims["a"].log] == ids


@pytest.mark.parametrize("value", ["x" * 200, "café", "tab\there", ""])
async def test_an_id_that_can_not_stand_in_a_header_is_replaced(value: str) -> None:
    data = post(CHAT, headers={"x-request-id": "VALUE"}).replace(b"VALUE", value.encode())
    async with bed(Seller("a")) as it:
        answer = await it.fetch(data)
        assert_whole(answer, CHAT)
        assert answer.headers["x-request-id"].startswith("req-")


@BOTH
async def test_an_endpoints_headers_stay_with_the_gateway(body: Body) -> None:
    async with bed(Seller("a")) as it:
        answer = await it.ask(body)
        framing = {"transfer-encoding", "cache-control"} if body is STREAM else {"content-length"}
        ours = {"content-type", "x-providerrank-attempts", "x-providerrank-endpoint", "x-request-id"}
        assert set(answer.headers) == ours | framing


async def test_prompts_and_answers_are_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    body = {**CHAT, "messages": [{"role": "user", "content": "My secret is xyzzy-42"}]}
    async with bed(Seller("a", key=ENDPOINT_KEY), Seller("b")) as it:
        it.sims["a"].script([Fault.STATUS_500, Fault.MALFORMED_JSON, Fault.CONTENT_POLICY])
        for _ in range(4):
            await it.ask(body)
        await it.ask({**TEXT, "prompt": "My secret is xyzzy-42", "max_tokens": "no number"}, TEXT_PATH)
        await it.fetch(b"POST xyzzy-42 HTTP/9\r\n\r\n")
    assert "xyzzy" not in caplog.text
    assert ENDPOINT_KEY not in caplog.text


# ---- TLS, on the event loop that serves ------------------------------------------------------------------------------


@asynccontextmanager
async def terminating(context: ssl.SSLContext, port: int) -> AsyncIterator[str]:
    """TLS in front of a plain port; its base URL."""

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
        except OSError:
            pass
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pipe(reader, inner_writer), pipe(inner_reader, writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        await server.wait_closed()


@BOTH
async def test_tls_to_a_trusted_endpoint_and_not_to_another(body: Body) -> None:
    trusted, unknown = make_certificate(), make_certificate()
    async with (
        bed(Seller("x")) as behind,
        terminating(trusted.server, behind.sims["x"].port) as good_url,
        terminating(unknown.server, behind.sims["x"].port) as bad_url,
        bed(Seller("bad", url=bad_url), Seller("good", url=good_url), trust=trusted.client) as it,
    ):
        answer = await it.ask(body)
        assert_whole(answer, body)
        assert it.outcomes == [("bad", "FAILURE"), ("good", "SUCCESS")]
        assert it.ended[0][0].detail.startswith("TLS: ")
        assert behind.sims["x"].log.requests == 1
