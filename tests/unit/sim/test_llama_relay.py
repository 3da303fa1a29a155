"""The relay before a real server, with a fake server behind it: bytes pass unchanged, faults strike where they say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from providerrank.sim.faults import ON_PLAIN_ANSWER, Fault, Play
from providerrank.sim.llama_relay import FAULTS, Manners, Relay

PLAIN = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"answer":"yes"}'
EVENTS = [b'data: {"n":%d}\n\n' % n for n in range(10)] + [b"data: [DONE]\n\n"]
REQUEST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def answer_plain(writer: asyncio.StreamWriter) -> None:
    writer.write(PLAIN)
    await writer.drain()


async def answer_stream(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    for event in EVENTS:
        writer.write(chunk(event))
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(b"0\r\n\r\n")
    await writer.drain()


async def answer_half(writer: asyncio.StreamWriter) -> None:
    writer.write(PLAIN[:-4])
    await writer.drain()


@asynccontextmanager
async def relayed(
    answer: Callable[[asyncio.StreamWriter], Awaitable[None]], manners: Manners
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to a relay with ``manners`` before a server that answers every request with ``answer``."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(2)
            await answer(writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    relay = Relay(server.sockets[0].getsockname()[1], manners)
    reader, writer = await asyncio.open_connection("127.0.0.1", await relay.start(0))
    try:
        yield reader, writer
    finally:
        writer.transport.abort()
        await relay.close()
        server.close()


async def test_a_plain_answer_passes_unchanged_and_the_connection_carries_another() -> None:
    async with relayed(answer_plain, Manners()) as (reader, writer):
        for _ in range(2):
            writer.write(REQUEST)
            assert await reader.readexactly(len(PLAIN)) == PLAIN


async def test_a_stream_passes_unchanged() -> None:
    async with relayed(answer_stream, Manners(token_ms=1)) as (reader, writer):
        writer.write(REQUEST)
        seen = await reader.readuntil(b"0\r\n\r\n")
        assert seen.endswith(b"".join(map(chunk, EVENTS)) + b"0\r\n\r\n")


async def test_a_rate_limit_names_its_wait_and_reaches_no_server() -> None:
    play = Play(Fault.RATE_LIMIT, seconds=1.2)
    async with relayed(answer_plain, Manners(play=play)) as (reader, writer):
        writer.write(REQUEST)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 429 ")
        assert b"Retry-After: 2\r\n" in head


async def test_questions_about_models_are_answered_during_a_fault() -> None:
    async with relayed(answer_plain, Manners(play=Play(Fault.STATUS_503))) as (reader, writer):
        writer.write(REQUEST.replace(b"POST", b"GET"))
        assert await reader.readexactly(len(PLAIN)) == PLAIN


async def test_a_cut_stream_delivers_some_events_and_then_resets() -> None:
    async with relayed(answer_stream, Manners(play=Play(Fault.CUT_ABORT, after=4))) as (reader, writer):
        writer.write(REQUEST)
        seen = await reader.readuntil(EVENTS[3])
        assert EVENTS[0] in seen
        with pytest.raises(ConnectionError):
            await reader.readuntil(b"[DONE]")


async def test_a_cut_plain_answer_is_shorter_than_it_said() -> None:
    async with relayed(answer_plain, Manners(play=Play(Fault.CUT_ABORT))) as (reader, writer):
        writer.write(REQUEST)
        seen = await reader.read()
        assert PLAIN.startswith(seen)
        assert len(seen) < len(PLAIN)


async def test_an_answer_its_server_did_not_finish_does_not_look_whole() -> None:
    async with relayed(answer_half, Manners()) as (reader, writer):
        writer.write(REQUEST)
        assert await reader.read() == PLAIN[:-4]


async def test_a_stall_sends_no_more_and_keeps_the_connection() -> None:
    async with relayed(answer_stream, Manners(play=Play(Fault.STALL_MID_STREAM, after=2))) as (reader, writer):
        writer.write(REQUEST)
        await reader.readuntil(EVENTS[1])
        more = asyncio.ensure_future(reader.readuntil(b"[DONE]"))
        done, _ = await asyncio.wait((more,), timeout=0.05)
        assert not done
        more.cancel()


async def test_without_a_server_behind_it_the_relay_says_bad_gateway() -> None:
    async def nobody(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(nobody, "127.0.0.1", 0)
    dead_port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    relay = Relay(dead_port, Manners())
    reader, writer = await asyncio.open_connection("127.0.0.1", await relay.start(0))
    writer.write(REQUEST)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 502 ")
    writer.close()
    await relay.close()


async def test_a_client_that_leaves_cancels_the_request_upstream() -> None:
    left = asyncio.Event()

    async def answer_slowly(writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(PLAIN[:20])
            for _ in range(1000):
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.01)
        except ConnectionError:
            left.set()
            raise

    async with relayed(answer_slowly, Manners()) as (reader, writer):
        writer.write(REQUEST)
        await reader.read(10)
        writer.close()
        async with asyncio.timeout(5):
            await left.wait()


def test_every_fault_a_relay_plays_has_a_form_for_plain_answers() -> None:
    refusals = {Fault.RATE_LIMIT, Fault.STATUS_500, Fault.STATUS_503}
    assert {ON_PLAIN_ANSWER[fault] for fault in FAULTS - refusals} == {Fault.TRUNCATED_BODY, Fault.HANG_AFTER_HEAD}
