"""Connections: HTTP as clients speak it, clients that leave, stall or dribble, backpressure, and the end."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from contextlib import suppress

import pytest

from providerrank.gateway import server
from providerrank.gateway.settings import Clocks, Limits
from providerrank.sim.faults import Fault, Play
from providerrank.sim.spec import EndpointSpec, Ttft
from tests.integration.gateway_bed import (
    CHAT,
    CHAT_PATH,
    STREAM,
    TEXT,
    TEXT_PATH,
    WAIT_S,
    Bed,
    Body,
    Seller,
    Wire,
    assert_whole,
    bed,
    get,
    post,
    truth,
    until,
)

BOTH = pytest.mark.parametrize("body", [CHAT, STREAM], ids=["plain", "stream"])


def question(number: int, stream: bool = False) -> Body:
    return {**CHAT, "messages": [{"role": "user", "content": f"Question {number} [[tokens=8]]"}], "stream": stream}


# ---- HTTP ------------------------------------------------------------------------------------------------------------


async def test_a_connection_is_kept_for_many_requests() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        for number in range(10):
            body = question(number, stream=number % 2 == 1)
            assert_whole(await wire.ask(body), body)
        assert (await wire.ask({**CHAT, "model": "unknown"})).status == 404
        wire.send(get("/v1/models"))
        assert (await wire.answer()).status == 200
        assert it.gateway.stats.connections == 1
        assert it.sims["a"].log.connections == 1


async def test_pipelined_requests_are_answered_in_order() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        it.sims["a"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.2)])
        bodies = [question(number, stream=number % 3 == 0) for number in range(9)]
        wire.send(b"".join(post(body) for body in bodies[:5]))
        await until(lambda: it.sims["a"].log.in_flight == 1)
        wire.send(b"".join(post(body) for body in bodies[5:]))
        left = b""
        for body in bodies:
            left = await read_one(wire, left, body)
        assert left == b""


async def read_one(wire: Wire, data: bytes, body: Body) -> bytes:
    """Read one answer of several on a connection; returns what came after it."""
    while b"\r\n\r\n" not in data:
        data += await wire.read()
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 ")
    _, length, value = head.lower().partition(b"content-length: ")
    if length:
        size = int(value.partition(b"\r\n")[0])
        while len(rest) < size:
            rest += await wire.read()
        assert json.loads(rest[:size])["choices"][0]["message"]["content"] == truth(body)
        return rest[size:]
    while b"0\r\n\r\n" not in rest:
        rest += await wire.read()
    chunks, _, rest = rest.partition(b"0\r\n\r\n")
    # (Chunk sizes stand between the events: they are no part of any line that begins with "data: {".)
    events = [line[6:] for line in chunks.split(b"\n") if line.startswith(b"data: {")]
    said = [choice["delta"].get("content") or "" for event in events for choice in json.loads(event)["choices"]]
    assert "".join(said) == truth(body)
    return rest


@BOTH
async def test_connection_close_is_said_and_done(body: Body) -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        answer = await wire.ask(body, headers={"Connection": "close"})
        assert_whole(answer, body)
        assert answer.headers["connection"] == "close"
        assert await wire.is_closed()


@BOTH
async def test_an_http_1_0_client(body: Body) -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        wire.send(post(body).replace(b"HTTP/1.1", b"HTTP/1.0", 1))
        answer = await wire.answer()
        assert_whole(answer, body)
        assert "transfer-encoding" not in answer.headers
        assert await wire.is_closed()


async def test_expect_100_continue() -> None:
    data = post(CHAT, headers={"Expect": "100-continue"})
    head, body = data[: data.index(b"\r\n\r\n") + 4], data[data.index(b"\r\n\r\n") + 4 :]
    async with bed(Seller("a")) as it, it.wire() as wire:
        wire.send(head)
        assert await wire.read_until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        wire.send(body)
        assert_whole(await wire.answer(), CHAT)
        assert "expect" not in it.sims["a"].log.last.headers


async def test_expect_is_not_answered_where_the_body_is_refused() -> None:
    async with bed(Seller("a"), limits=Limits(max_body_bytes=10)) as it, it.wire() as wire:
        wire.send(post(CHAT, headers={"Expect": "100-continue"})[:150])
        answer = await wire.answer()
        assert (answer.status, answer.interim) == (413, [])


async def test_a_chunked_request() -> None:
    data = json.dumps(CHAT).encode()
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with bed(Seller("a")) as it, it.wire() as wire:
        for piece in (head, b"%x\r\n%b\r\n" % (20, data[:20]), b"%x\r\n%b\r\n0\r\n\r\n" % (len(data) - 20, data[20:])):
            wire.send(piece)
            await asyncio.sleep(0.01)
        assert_whole(await wire.answer(), CHAT)


async def test_a_request_byte_by_byte() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        for byte in post(CHAT):
            wire.send(bytes([byte]))
            await asyncio.sleep(0)
        assert_whole(await wire.answer(), CHAT)


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /v1/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nBad Name: x\r\n\r\n",
    ],
    ids=range(8),
)
async def test_what_is_not_http_is_refused_and_the_connection_closed(data: bytes) -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        wire.send(data)
        answer = await wire.answer()
        assert answer.status == 400
        assert answer.error["code"] == "bad_http"
        assert await wire.is_closed()
        assert it.sims["a"].log.requests == 0


async def test_a_head_too_large_is_refused() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nX-Long: " + b"x" * 100_000)
        answer = await wire.answer()
        assert answer.status == 431
        assert await wire.is_closed()


async def test_a_client_that_goes_on_sending_after_it_was_refused_is_closed_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "CLIENT_LINGER_US", 1_000_000)
    async with bed(Seller("a"), limits=Limits(max_body_bytes=1000)) as it, it.wire() as wire:
        wire.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nContent-Length: 100000000\r\n\r\n")
        assert (await wire.answer()).status == 413
        assert await wire.is_closed()
        assert it.gateway.stats.connections == 1
        for _ in range(100):
            if it.gateway.stats.connections == 0:
                break
            with suppress(RuntimeError):  # uvloop's word for a connection that was closed a moment ago
                wire.send(b"x" * 1000)
            await asyncio.sleep(0.01)
        await until(lambda: it.gateway.stats.connections == 0)


async def test_garbage_after_a_request_does_not_cost_that_request_its_answer() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        it.sims["a"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.3)])
        wire.send(post(CHAT))
        await until(lambda: it.sims["a"].log.in_flight == 1)
        wire.send(b"\x00\x01\x02 garbage\r\n\r\n")
        assert_whole(await wire.answer(), CHAT)
        assert await wire.is_closed()


# ---- clients that leave ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        (CHAT, Fault.HANG_BEFORE_HEAD),
        (CHAT, Fault.HANG_AFTER_HEAD),
        (STREAM, Fault.HANG_BEFORE_HEAD),
        (STREAM, Fault.STALL_BEFORE_CONTENT),
        (STREAM, Fault.STALL_MID_STREAM),
    ],
    ids=str,
)
async def test_a_client_that_leaves_takes_its_attempt_along_and_blames_nobody(body: Body, fault: Fault) -> None:
    async with bed(Seller("a"), Seller("b")) as it:
        it.sims["a"].script([fault])
        async with it.wire() as wire:
            wire.send(post(body))
            if fault is Fault.STALL_MID_STREAM:
                await wire.read_until(b'"content":"')
            await until(lambda: it.sims["a"].log.in_flight == 1)
            left = time.monotonic()
        await until(lambda: it.sims["a"].log.in_flight == 0)
        assert time.monotonic() - left < 1.0
        assert it.sims["a"].log.last.is_cancelled
        assert it.outcomes == [("a", "NOBODYS")]
        assert it.gateway.stats.client_cancels == 1
        assert it.row("a").belief < 0.02
        assert it.sims["b"].log.requests == 0


async def test_a_client_that_leaves_while_an_endpoint_is_connected_to() -> None:
    async with bed(Seller("a")) as it:
        await it.sims["a"].switch(Fault.CONNECT_HANG)
        async with it.wire() as wire:
            wire.send(post(CHAT))
            await until(lambda: it.gateway.stats.in_flight["a/m"] == 1)
        await until(lambda: it.gateway.stats.in_flight["a/m"] == 0)
        assert it.outcomes == [("a", "NOBODYS")]
        await it.sims["a"].switch(None)


async def test_a_client_that_leaves_while_a_rate_limit_is_waited_for() -> None:
    async with bed(Seller("a")) as it:
        it.sims["a"].script([Play(Fault.RATE_LIMIT, seconds=2)])
        async with it.wire() as wire:
            wire.send(post(CHAT))
            await until(lambda: len(it.ended) == 1)
        await until(lambda: not it.gateway._exchanges)
        assert it.outcomes == [("a", "RATE_LIMITED")]


async def test_a_client_that_leaves_during_the_pause_before_a_retry() -> None:
    async with bed(Seller("a")) as it:
        it.sims["a"].script([Fault.STATUS_500])
        async with it.wire() as wire:
            wire.send(post(CHAT))
            await until(lambda: len(it.ended) == 1)
        await until(lambda: not it.gateway._exchanges)
        await asyncio.sleep(0.2)  # longer than the pause
        assert it.sims["a"].log.requests == 1


async def test_a_client_that_closes_only_its_sending_side_is_gone_too() -> None:
    # As nearly every server has it: who half-closes can not be told from who left.
    async with bed(Seller("a")) as it, it.wire() as wire:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        wire.send(post(CHAT))
        await until(lambda: it.sims["a"].log.in_flight == 1)
        wire._writer.write_eof()
        await until(lambda: it.sims["a"].log.in_flight == 0)
        assert it.outcomes == [("a", "NOBODYS")]


async def test_a_client_that_leaves_with_a_further_request_half_sent() -> None:
    async with bed(Seller("a")) as it:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        async with it.wire() as wire:
            wire.send(post(CHAT) + post(CHAT)[:50])
            await until(lambda: it.sims["a"].log.in_flight == 1)
        await until(lambda: it.sims["a"].log.in_flight == 0)
        assert it.outcomes == [("a", "NOBODYS")]


async def test_a_client_that_leaves_after_sending_more_while_it_waited() -> None:
    async with bed(Seller("a")) as it:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        async with it.wire() as wire:
            wire.send(post(CHAT))
            await until(lambda: it.sims["a"].log.in_flight == 1)
            wire.send(post(CHAT))
            await asyncio.sleep(0.05)
        left = time.monotonic()
        await until(lambda: it.sims["a"].log.in_flight == 0)
        assert time.monotonic() - left < 1.0
        assert it.outcomes == [("a", "NOBODYS")]


# ---- clients that are slow -------------------------------------------------------------------------------------------

HUGE: Body = {**STREAM, "messages": [{"role": "user", "content": "Much [[tokens=100000]]"}]}
"""Some 20 MB of events."""


async def connect_narrow(it: Bed) -> socket.socket:
    """A client whose kernel takes little for it."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", it.gateway.port))
    return sock


async def test_a_client_that_reads_nothing_stops_the_endpoint_and_is_cut_off_in_the_end() -> None:
    async with bed(Seller("a"), limits=Limits(client_stall_us=1_500_000)) as it:
        with await connect_narrow(it) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, post(HUGE))
            await until(lambda: bool(it.gateway._connections) and next(iter(it.gateway._connections)).paused)
            await asyncio.sleep(0.3)
            [connection] = it.gateway._connections
            assert connection._transport is not None
            # What was read at once, and no more: the high-water mark and one read past it.
            assert connection._transport.get_write_buffer_size() < 1_500_000
            [upstream] = it.sims["a"]._connections
            assert upstream._transport is not None
            assert upstream._transport.get_write_buffer_size() > 5_000_000, "most of it waits where it was made"
            await until(lambda: it.outcomes == [("a", "NOBODYS")])
            assert it.gateway.stats.client_cancels == 1
            await until(lambda: not it.gateway._connections)


async def test_a_client_that_was_slow_for_a_while_receives_everything() -> None:
    body = {**HUGE, "messages": [{"role": "user", "content": "Much [[tokens=20000]]"}]}
    async with bed(Seller("a"), clocks=Clocks(first_token_us=1_000_000, idle_us=1_000_000)) as it, it.wire() as wire:
        wire.send(post(body))
        # Longer than the idle clock: the client's slowness is not the endpoint's.
        await asyncio.sleep(2.0)
        assert_whole(await wire.answer(), body)
        assert it.outcomes == [("a", "SUCCESS")]


async def test_a_client_that_reads_slowly_but_reads_is_not_cut_off() -> None:
    limits = Limits(client_stall_us=1_000_000)
    async with bed(Seller("a"), limits=limits) as it:
        with await connect_narrow(it) as sock:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(sock, post(HUGE))
            await until(lambda: bool(it.gateway._connections) and next(iter(it.gateway._connections)).paused)
            for _ in range(16):
                assert await loop.sock_recv(sock, 8 * 1024), "cut off"
                await asyncio.sleep(0.25)
            assert it.gateway._connections


async def test_a_large_plain_answer_to_a_client_that_reads_nothing_is_let_go_of() -> None:
    body = {**CHAT, "messages": HUGE["messages"]}
    async with bed(Seller("a"), limits=Limits(client_stall_us=1_000_000)) as it:
        it.sims["a"].script([Play(Fault.HUGE_BODY, size=20_000_000)])
        with await connect_narrow(it) as sock:
            await asyncio.get_running_loop().sock_sendall(sock, post(body))
            await until(lambda: it.outcomes == [("a", "SUCCESS")])
            await until(lambda: not it.gateway._connections)


@pytest.mark.parametrize(
    "sent", [b"POST /v1/chat/comp", post(CHAT)[:60], post(CHAT)[:-10]], ids=["line", "head", "body"]
)
async def test_a_client_that_never_finishes_its_request_is_closed(sent: bytes) -> None:
    async with bed(Seller("a"), limits=Limits(client_head_us=1_000_000)) as it, it.wire() as wire:
        wire.send(sent[:-1])
        await asyncio.sleep(0.3)
        wire.send(sent[-1:])
        assert await asyncio.wait_for(wire.is_closed(), 10)
        assert it.sims["a"].log.requests == 0


async def test_a_body_has_as_long_as_a_head_again() -> None:
    data = post(CHAT)
    at = data.index(b"\r\n\r\n") + 4
    async with bed(Seller("a"), limits=Limits(client_head_us=2_000_000)) as it, it.wire() as wire:
        wire.send(data[: at - 2])
        await asyncio.sleep(1.5)
        wire.send(data[at - 2 : at + 10])
        await asyncio.sleep(1.5)
        wire.send(data[at + 10 :])
        assert_whole(await wire.answer(), CHAT)


async def test_an_idle_connection_is_closed_in_the_end_and_one_at_work_is_not() -> None:
    slow = EndpointSpec(name="a", ttft=Ttft(median=2.5))
    limits = Limits(keep_alive_us=1_000_000)
    async with bed(Seller("a", spec=slow), limits=limits) as it, it.wire() as idle, it.wire() as busy:
        busy.send(post(CHAT))
        assert await idle.is_closed()
        assert_whole(await busy.answer(), CHAT)


async def test_past_the_most_connections_a_further_one_is_closed() -> None:
    async with bed(Seller("a"), limits=Limits(max_connections=2)) as it, it.wire() as one, it.wire():
        await until(lambda: it.gateway.stats.connections == 2)
        async with it.wire() as three:
            assert await three.is_closed()
        assert_whole(await one.ask(CHAT), CHAT)


# ---- towards endpoints -----------------------------------------------------------------------------------------------


@BOTH
async def test_connections_to_an_endpoint_are_reused(body: Body) -> None:
    async with bed(Seller("a")) as it:
        for _ in range(5):
            assert_whole(await it.ask(body), body)
        assert it.sims["a"].log.connections == 1


@BOTH
async def test_a_kept_connection_that_was_closed_meanwhile_is_nobodys_fault(body: Body) -> None:
    async with bed(Seller("a")) as it:
        it.sims["a"].script([Fault.STALE_KEEP_ALIVE])
        for _ in range(2):
            answer = await it.ask(body)
            assert_whole(answer, body)
            assert answer.attempts == 1
        assert it.sims["a"].log.connections == 2
        assert it.outcomes == [("a", "SUCCESS")] * 2


async def test_all_kept_connections_may_be_stale_at_once() -> None:
    async with bed(Seller("a")) as it:
        await asyncio.gather(*(it.ask(question(n)) for n in range(4)))
        it.sims["a"].drop_connections()
        answers = await asyncio.gather(*(it.ask(question(n)) for n in range(4)))
        assert [answer.attempts for answer in answers] == [1] * 4
        assert {outcome for _, outcome in it.outcomes} == {"SUCCESS"}


async def test_a_connection_idle_for_long_is_given_up() -> None:
    async with bed(Seller("a"), limits=Limits(upstream_keep_alive_us=100_000)) as it:
        assert_whole(await it.ask(CHAT), CHAT)
        await until(lambda: it.sims["a"].log.open_connections == 0)
        assert_whole(await it.ask(CHAT), CHAT)
        assert it.outcomes == [("a", "SUCCESS")] * 2


async def test_many_clients_at_once() -> None:
    async with bed(Seller("a"), Seller("b"), pinned=False) as it:

        async def one(number: int) -> None:
            body = question(number, stream=number % 2 == 0)
            assert_whole(await it.ask(body), body)

        await asyncio.gather(*(one(number) for number in range(100)))
        assert it.gateway.stats.requests == {("chat", "2xx"): 100}


# ---- the end ---------------------------------------------------------------------------------------------------------


async def test_a_drain_lets_what_is_under_way_finish_and_takes_no_more() -> None:
    slow = EndpointSpec(name="a", tokens_per_s=20.0)
    async with bed(Seller("a", spec=slow)) as it, it.wire() as busy, it.wire() as idle, it.wire() as plain:
        await idle.ask({**CHAT, "max_tokens": 1, "model": "unknown"})
        plain.send(post(TEXT, TEXT_PATH))
        busy.send(post(STREAM))
        begin = await busy.read_until(b'"content":"')
        port = it.gateway.port
        drained = asyncio.ensure_future(it.gateway.drain(20))
        await asyncio.sleep(0.05)
        assert not it.gateway.is_ready
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
        assert await idle.is_closed()
        answer = await busy.answer(begin)
        assert_whole(answer, STREAM)
        assert_whole(await plain.answer(), TEXT)
        assert await busy.is_closed()
        assert await plain.is_closed()
        await drained


async def test_a_drain_does_not_wait_for_ever() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        it.sims["a"].script([Fault.HANG_BEFORE_HEAD])
        wire.send(post(CHAT))
        await until(lambda: it.sims["a"].log.in_flight == 1)
        await it.gateway.drain(0.1)
        assert await wire.is_closed()
        await until(lambda: it.sims["a"].log.in_flight == 0)
        assert it.outcomes == [("a", "NOBODYS")]


async def test_a_request_that_arrives_on_a_busy_connection_during_a_drain_is_not_left_hanging() -> None:
    async with bed(Seller("a")) as it, it.wire() as wire:
        it.sims["a"].script([Play(Fault.SLOW_FIRST_TOKEN, seconds=0.3)])
        wire.send(post(CHAT))
        await until(lambda: it.sims["a"].log.in_flight == 1)
        drained = asyncio.ensure_future(it.gateway.drain(20))
        await asyncio.sleep(0)
        wire.send(post(CHAT, CHAT_PATH))
        assert_whole(await wire.answer(), CHAT)
        assert await wire.is_closed()
        await drained


async def test_a_drained_gateway_lets_go_of_connections_whose_answer_is_all_but_over() -> None:
    gone = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        event = b'data: {"id":"x","choices":[{"index":0,"delta":{"content":"Hi"},"finish_reason":"stop"}]}\n\n'
        data = event + b"data: [DONE]\n\n"
        # The stream is over, its HTTP message is not: the last chunk never comes.
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"%x\r\n%b\r\n" % (len(data), data))
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionError:
            pass  # closed at once, whatever was unread
        gone.set()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        async with bed(Seller("a", url=f"http://127.0.0.1:{port}/v1")) as it:
            assert (await it.ask(STREAM)).text == "Hi"
            assert not gone.is_set()
            await it.gateway.drain(0.1)
            await asyncio.wait_for(gone.wait(), WAIT_S)
