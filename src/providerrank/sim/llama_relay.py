"""Puts a provider's manners in front of a real inference server.

llama.cpp's server is as fast as the machine lets it be and never misbehaves. Sold inference is
slower, throttled and sometimes broken, so each real endpoint of the demo speaks to the world
through this relay: one request in, forwarded on a connection of its own, its answer passed on as
it comes, with the delays and the fault of the moment added. It lives in the endpoint's own
process, so that killing the process kills the endpoint and not a stand-in.

Invariants: bytes of an answer are never changed, only delayed or cut; an answer the server did not
finish is never made to look whole; a client that goes away cancels the request upstream, so the
model stops computing for nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import socket
import struct
from collections.abc import AsyncIterator

import httptools
import msgspec

from providerrank.sim.faults import ON_PLAIN_ANSWER, Fault, Play

FAULTS = frozenset({Fault.RATE_LIMIT, Fault.STATUS_500, Fault.STATUS_503, Fault.CUT_ABORT, Fault.STALL_MID_STREAM})
"""Those of ``sim.faults`` a relay can play; the rest need an answer of one's own making (``sim.provider``)."""

DEFAULT_AFTER = 6
"""Events of a stream that pass before a fault that does not say: enough that the client holds text by then."""
DEFAULT_RETRY_AFTER_S = 1.0
REASONS = {429: "Too Many Requests", 500: "Internal Server Error", 502: "Bad Gateway", 503: "Service Unavailable"}
KEEP_ALIVE_S = 5.0
"""What llama.cpp's own server announces (`Keep-Alive: timeout=5`): a gateway's pool meets stale connections."""
GONE_POLL_S = 0.05
"""How often a waiting request looks whether its client is still there; a twentieth of the second a cancel may take."""
STALL_S = 600.0
"""A stall is meant to outlast every clock of a gateway; it ends so that nothing waits for ever."""
MAX_BODY_BYTES = 8 * 1024 * 1024
READ_BYTES = 64 * 1024


class Manners(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint treats the requests it gets. Sent to its process as one line of JSON."""

    ttft_ms: int = 0
    """Added before the first byte of an answer."""
    token_ms: int = 0
    """Added before each further event of a stream; a token is one event."""
    play: Play | None = None
    """The fault every inference request meets; one of FAULTS."""


class _Answer:
    """Watches an answer go by: is it a stream, how many events so far, has it ended."""

    def __init__(self) -> None:
        self.events = 0
        self.is_stream = False
        self.is_whole = False
        self.keeps_alive = True
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self.is_stream = value.lower().startswith(b"text/event-stream")

    def on_headers_complete(self) -> None:
        self.keeps_alive = self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.events += body.count(b"data:")

    def on_message_complete(self) -> None:
        self.is_whole = True


class _ClientGoneError(Exception):
    """The client closed its connection before its answer was whole."""


class Relay:
    """Serves on ``port`` of loopback and forwards to ``upstream_port``, with the manners of the moment."""

    def __init__(self, upstream_port: int, manners: Manners) -> None:
        self.manners = manners
        self._upstream_port = upstream_port
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    async def start(self, port: int) -> int:
        """Listen on ``port`` (0: any free one) and return the port taken."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port, limit=READ_BYTES)
        taken: int = self._server.sockets[0].getsockname()[1]
        return taken

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            for writer in self._open:
                writer.transport.abort()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                async with asyncio.timeout(KEEP_ALIVE_S):
                    head = await reader.readuntil(b"\r\n\r\n")
                length = _content_length(head)
                if length > MAX_BODY_BYTES:
                    return
                body = await reader.readexactly(length)
                if not await self._answer(head, body, reader, writer):
                    return
        except (
            TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            ConnectionError,
            _ClientGoneError,
        ):
            return
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError, TimeoutError):
                await writer.wait_closed()

    async def _answer(
        self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Answer one request; True while the connection may carry another."""
        manners = self.manners  # of the moment the request came; a later change meets the next one
        is_inference = head.startswith(b"POST ")
        if is_inference and (refusal := _get_refusal(manners.play)) is not None:
            writer.write(refusal)
            await writer.drain()
            return True
        if is_inference:
            await _pause(manners.ttft_ms / 1000, reader)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._upstream_port, limit=READ_BYTES)
        except OSError:
            writer.write(_refusal(502))
            await writer.drain()
            return True
        try:
            up_writer.write(head + body)
            answer = _Answer()
            async for data in _chunks(up_reader, reader):
                before = answer.events
                answer.feed(data)
                if is_inference and manners.play is not None and _is_due(manners.play, answer):
                    await _break(manners.play, data, answer, reader, writer)
                    return False
                if answer.is_stream and before and is_inference:
                    await _pause(manners.token_ms / 1000, reader)
                writer.write(data)
                await writer.drain()
                if answer.is_whole:
                    return answer.keeps_alive
            writer.transport.abort()  # the server went away inside an answer: so do we, it must not look whole
            return False
        finally:
            up_writer.transport.abort()


def _is_due(play: Play, answer: _Answer) -> bool:
    """Whether the fault strikes now: a stream after some events, any other answer at once."""
    after = DEFAULT_AFTER if play.after is None else play.after
    return not answer.is_stream or answer.events >= after


async def _break(
    play: Play, data: bytes, answer: _Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Deliver what comes before the fault, then reset, stop short, or fall silent until the client leaves."""
    fault = play.fault if answer.is_stream else ON_PLAIN_ANSWER[play.fault]
    head_bytes = data.index(b"\r\n\r\n") + 4 if not answer.is_stream else 0
    match fault:
        case Fault.TRUNCATED_BODY:
            writer.write(data[: (head_bytes + len(data)) // 2])
        case Fault.HANG_AFTER_HEAD:
            writer.write(data[:head_bytes])
        case _:
            writer.write(data)
    with contextlib.suppress(ConnectionError):
        await writer.drain()
    if fault in (Fault.HANG_AFTER_HEAD, Fault.STALL_MID_STREAM):
        with contextlib.suppress(_ClientGoneError):
            await _pause(STALL_S, reader)
    if fault is Fault.CUT_ABORT:
        # No lingering: the close becomes a reset. What was written is in the client's kernel by now, this is loopback.
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _get_refusal(play: Play | None) -> bytes | None:
    """The answer that stands for the model's, where the fault is one."""
    match play.fault if play is not None else None:
        case Fault.RATE_LIMIT:
            assert play is not None  # a fault matched
            return _refusal(429, DEFAULT_RETRY_AFTER_S if play.seconds is None else play.seconds)
        case Fault.STATUS_500:
            return _refusal(500)
        case Fault.STATUS_503:
            return _refusal(503)
        case _:
            return None


async def _pause(seconds: float, client: asyncio.StreamReader) -> None:
    """Wait, unless the client goes away first."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while (left := until - loop.time()) > 0:
        if client.at_eof():
            raise _ClientGoneError
        await asyncio.sleep(min(left, GONE_POLL_S))


async def _chunks(upstream: asyncio.StreamReader, client: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """What the server sends, piece by piece, until it closes; `_ClientGoneError` as soon as nobody waits for it."""
    pending: asyncio.Task[bytes] | None = None
    try:
        while True:
            pending = pending or asyncio.ensure_future(upstream.read(READ_BYTES))
            done, _ = await asyncio.wait((pending,), timeout=GONE_POLL_S)
            if client.at_eof():
                raise _ClientGoneError
            if not done:
                continue
            data = pending.result()
            pending = None
            if not data:
                return
            yield data
    finally:
        if pending is not None:
            pending.cancel()


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            return int(value)
    return 0


def _refusal(status: int, retry_after_s: float | None = None) -> bytes:
    """A whole answer of ``status``; ``Retry-After`` is in whole seconds, rounded up, as HTTP wants it."""
    code = "rate_limit_exceeded" if status == 429 else "server_error"
    body = msgspec.json.encode({"error": {"message": REASONS[status], "type": code, "code": code}})
    extra = "" if retry_after_s is None else f"Retry-After: {math.ceil(retry_after_s)}\r\n"
    return (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\n{extra}"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body
