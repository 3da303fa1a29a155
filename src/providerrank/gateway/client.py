"""One client's connection: requests in, answers out, one at a time and in order.

Requests that arrive while one is being answered wait (pipelining), and reading pauses, so a client can not
make us hold more than it is owed. Everything it may do slowly has a clock.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import struct
import termios
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from providerrank.gateway.outbox import CLOSE
from providerrank.wire.errors import TooLarge, WireError
from providerrank.wire.http1 import CONTINUE, LAST_CHUNK, RequestReader, write_chunk, write_head
from providerrank.wire.incoming import Request
from providerrank.wire.refusal import write_error

if TYPE_CHECKING:
    from providerrank.gateway.exchange import Exchange
    from providerrank.gateway.server import Gateway

log = logging.getLogger(__name__)

WRITE_HIGH_BYTES = 256 * 1024
"""Past this much unsent, the endpoint is not read from until the client has caught up."""

AHEAD_BYTES = 64 * 1024
"""Of requests a client sends before its current one is answered; past it, no more is read meanwhile."""

AHEAD_REQUESTS = 16
"""Of one large read; the rest of it waits, as bytes, for these."""

SLICE_BYTES = 16 * 1024
"""Of a large read, taken apart at once: some hundred of the smallest requests, two milliseconds."""

_JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nCache-Control: no-cache\r\n"
_CLOSE = b"Connection: close\r\n"
_CHUNKED = b"Transfer-Encoding: chunked\r\n"


class ClientConnection(asyncio.Protocol):
    """Reads requests, hands them to the gateway, writes what comes back."""

    __slots__ = (
        "_ahead_bytes",
        "_chunked",
        "_exchange",
        "_gateway",
        "_in_body",
        "_keep_alive",
        "_reader",
        "_reading",
        "_request",
        "_transport",
        "_unparsed",
        "_unread_bytes",
        "is_lingering",
        "is_loopback",
        "is_trusted",
        "paused",
        "since_us",
        "stalled_us",
    )

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._reader = RequestReader(gateway.limits.max_header_bytes, gateway.limits.max_body_bytes)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._request: Request | None = None
        self._keep_alive = True
        self._chunked = True
        self._reading = True
        self._ahead_bytes = 0
        """Of further requests, sent while one is being answered."""
        self._in_body = False
        self._unread_bytes = 0
        self._unparsed = b""
        """What came with more requests than are looked at ahead; reading has stopped until they are served."""
        self.is_lingering = False
        """Answered for good; what it still sends is read and thrown away, for a while."""
        self.is_loopback = False
        self.is_trusted = False
        """May call without a key (unless it is a web page)."""
        self.paused = False
        self.since_us: int | None = None
        """Since when it has been idle, or sending a request; None: since the last sweep, which reads the clock for all.

        (The next one notes it: limits of many seconds need no reading of the clock at each request.)
        """
        self.stalled_us: int | None = None
        """Since when it has read nothing while we hold bytes for it."""

    # ---- asyncio -------------------------------------------------------------------------------------------------

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = transport.get_extra_info("peername")
        self.is_loopback = isinstance(peer, tuple) and (
            peer[0].startswith("127.") or peer[0] in ("::1", "::ffff:127.0.0.1")
        )
        self.is_trusted = self.is_loopback and self._gateway.door.is_open
        self._gateway.open_connection(self)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._gateway.lose_connection(self)
        if self._exchange is not None:
            exchange, self._exchange = self._exchange, None
            try:
                exchange.abandon()
            except Exception:  # noqa: BLE001  # of ours: what is live must be let go of all the same
                exchange.on_crash()

    @override
    def data_received(self, data: bytes) -> None:
        if len(data) > SLICE_BYTES:
            self._take_slices(data)
        else:
            self._take(data)

    def _take_slices(self, data: bytes) -> None:
        """Take a large read bit by bit: it may be thousands of requests, not all to be read before one is served."""
        for at in range(0, len(data), SLICE_BYTES):
            if self._transport is None or self.is_lingering:
                return
            if len(self._reader.requests) >= AHEAD_REQUESTS:
                self._unparsed = data[at:]
                self._stop_reading()
                return
            self._take(data[at : at + SLICE_BYTES])

    def _take(self, data: bytes) -> None:
        reader = self._reader
        if not reader.busy and self._request is None:
            self.since_us = None
            self._in_body = False
        try:
            reader.feed(data)
        except WireError as error:
            if self._request is None and reader.requests:
                # What came whole before it is answered, as it would have been had it come in a read of its own.
                self._serve_last(reader.requests)
            elif isinstance(error, TooLarge):
                self._reject(error.status, str(error), "request_too_large")
            else:
                self._reject(400, str(error), "bad_http")
            return
        if self._request is None:
            if reader.requests:
                self._serve(reader.requests.popleft())
                return
            if reader.wants_continue:
                reader.wants_continue = False
                self._write(CONTINUE)
            if reader.in_body and not self._in_body:
                self._in_body = True
                self.since_us = None
        elif reader.requests or reader.busy:
            # Reading goes on for a while: a client's going away is seen by nothing else.
            self._ahead_bytes += len(data)
            if self._ahead_bytes > AHEAD_BYTES:
                self._stop_reading()

    @override
    def pause_writing(self) -> None:
        self.paused = True
        self.stalled_us = self._gateway.now_us()
        self._unread_bytes = self._count_unread()
        if self._exchange is not None:
            self._exchange.pause()

    @override
    def resume_writing(self) -> None:
        self.paused = False
        self.stalled_us = None
        if self._exchange is not None:
            self._exchange.resume()
        elif self._request is None:
            self._go_on()

    # ---- serving -------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Between requests, with nothing half received."""
        return self._request is None and not self._reader.busy

    @property
    def is_receiving(self) -> bool:
        """Part of a request has arrived and the rest has not."""
        return self._request is None and self._reader.busy

    def is_stalled(self, now_us: int, limit_us: int) -> bool:
        """We hold bytes for it, and for longer than the limit it has taken none of them; asked about once a second."""
        if self.stalled_us is None:
            return False
        unread = self._count_unread()
        if unread < self._unread_bytes:
            self.stalled_us = now_us
        self._unread_bytes = unread
        return now_us - self.stalled_us > limit_us

    def _count_unread(self) -> int:
        """Bytes the client's machine has not taken yet: those here, and those in our kernel, which holds megabytes."""
        if self._transport is None:
            return 0
        waiting = self._transport.get_write_buffer_size()
        plug = self._transport.get_extra_info("socket")
        try:
            waiting += struct.unpack("i", fcntl.ioctl(plug.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        except OSError:
            pass  # no such question on this system
        return waiting

    def attach(self, exchange: Exchange) -> None:
        """The exchange that answers the current request."""
        self._exchange = exchange
        if self.paused:
            exchange.pause()

    def close(self) -> None:
        """Close once what was written has been sent."""
        if self._transport is not None:
            self._gateway.outbox.write(self._transport, CLOSE)

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def close_after_answer(self) -> None:
        """Draining: this answer is the connection's last, and so is that of a request that is on its way."""
        self._keep_alive = False

    def reconfigure(self) -> None:
        """The gateway's keys or limits have changed: what was granted when the client connected may not be any more."""
        self.is_trusted = self.is_loopback and self._gateway.door.is_open
        self._reader.max_body = self._gateway.limits.max_body_bytes

    def _serve(self, request: Request) -> None:
        self._request = request
        self._chunked = request.version != "1.0"
        # An older client's connection ends with its answer: it would have to be told that it is kept.
        self._keep_alive = request.keep_alive and self._chunked and not self._gateway.draining
        try:
            self._gateway.door.serve(self, request)
        except Exception:
            # A mistake of ours must not look like a network fault. What was asked stays out of the log.
            if self._exchange is not None:
                self._exchange.on_crash()
                return
            log.exception("request crashed")
            if self._request is request:
                self._keep_alive = False
                self.send_simple(500, write_error(500, "the gateway failed on this request", code="internal_error"))
            else:
                self.abort()

    def _reject(self, status: int, message: str, code: str) -> None:
        """What can not be read can not be followed by anything: answer and close."""
        if self._request is None:
            self._keep_alive = False
            self.is_lingering = True
            self.send_simple(status, write_error(status, message, code=code))
        elif self._exchange is None:
            self.close()
        else:
            self._keep_alive = False

    def _serve_last(self, requests: deque[Request]) -> None:
        """Serve the oldest of these, and then close."""
        request = requests.popleft()
        requests.clear()
        request.keep_alive = False
        self._serve(request)

    def _stop_reading(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def _done(self) -> None:
        """The answer is written: on to the next request, or the end."""
        self._request = None
        self._exchange = None
        transport = self._transport
        if transport is None:
            return
        if not self._keep_alive:
            if self.is_lingering:
                self._linger(transport)
            else:
                self._gateway.outbox.write(transport, CLOSE)
        elif self.paused:
            # It asks for more without taking what it has: nothing is read or answered until it has caught up.
            self._stop_reading()
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Nothing is being answered: take the next request, or read on."""
        if self._reader.requests:
            # Not from within this call: a long pipeline must not nest.
            self._gateway.loop.call_soon(self._serve_next)
            self._request = self._reader.requests[0]
            return
        if self._unparsed:
            self._gateway.loop.call_soon(self._parse_on)
            return
        self.since_us = None
        self._ahead_bytes = 0
        if not self._reading and self._transport is not None:
            self._reading = True
            self._transport.resume_reading()

    def _parse_on(self) -> None:
        """Take what was left of a large read."""
        data, self._unparsed = self._unparsed, b""
        if self._transport is not None and data:
            self.data_received(data)

    def _linger(self, transport: asyncio.Transport) -> None:
        """Say that this was all, and let the client finish what it is sending.

        A connection closed with bytes unread is reset, and the reset overtakes the answer: most clients read
        nothing before they have sent everything, and would never learn why they were refused.
        """
        self._gateway.outbox.flush()
        self.since_us = None
        if not transport.is_closing():
            transport.set_protocol(Discard(self))
            transport.write_eof()

    def _serve_next(self) -> None:
        if self._transport is not None and self._reader.requests:
            self._serve(self._reader.requests.popleft())

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._gateway.outbox.write(self._transport, data)

    # ---- answers -------------------------------------------------------------------------------------------------

    def send_simple(
        self, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (), lines: bytes = b""
    ) -> None:
        """An answer of our own, JSON; ``lines`` are header lines as they are written, each with its end."""
        lines += b"Content-Length: %d\r\n%b" % (len(body), b"" if self._keep_alive else _CLOSE)
        head = write_head(status, [(b"Content-Type", b"application/json"), *headers], lines)
        if self._request is not None and self._request.method == b"HEAD":
            body = b""  # its length is told all the same
        self._write(head + body)
        self._done()

    def send_answer(self, exchange: Exchange, status: int, body: bytes, retry_after_us: int | None = None) -> None:
        """An endpoint's whole answer, or the one error that stands for all of them."""
        self._gateway.stats.count_request(exchange.intake.api, status)
        claim = exchange.claim
        if claim is not None:
            claim.status = status
        if status == 200:
            self._write(
                b"%b%b%bx-providerrank-attempts: %d\r\nx-request-id: %b\r\n%b%bContent-Length: %d\r\n\r\n%b"
                % (
                    _JSON_HEAD,
                    b"" if claim is None else claim.head,
                    exchange.endpoint_header,
                    len(exchange.attempts),
                    exchange.request_id,
                    exchange.more_lines,
                    b"" if self._keep_alive else _CLOSE,
                    len(body),
                    body,
                )
            )
            self._done()
            return
        lines = b"x-providerrank-attempts: %d\r\nx-request-id: %b\r\n%b%b%b" % (
            len(exchange.attempts),
            exchange.request_id,
            exchange.endpoint_header,
            exchange.more_lines,
            b"" if claim is None else claim.head,
        )
        if retry_after_us is not None:
            lines += b"Retry-After: %d\r\n" % max(1, -(-retry_after_us // 1_000_000))
        self.send_simple(status, body, lines=lines)

    def begin_stream(self, exchange: Exchange, data: bytes) -> None:
        """The head of a stream and its first events."""
        if not self._chunked:
            self._keep_alive = False  # HTTP/1.0 knows no chunks: the end of the connection is the end of the body
        claim = exchange.claim
        self._write(
            b"%b%b%b%bx-providerrank-attempts: %d\r\nx-request-id: %b\r\n%b%b\r\n%b"
            % (
                _STREAM_HEAD,
                _CHUNKED if self._chunked else b"",
                b"" if claim is None else claim.head,
                exchange.endpoint_header,
                len(exchange.attempts),
                exchange.request_id,
                exchange.more_lines,
                b"" if self._keep_alive else _CLOSE,
                write_chunk(data) if self._chunked else data,
            )
        )

    def send_stream(self, data: bytes) -> None:
        """More events."""
        if self._transport is not None:
            line = b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data
            self._gateway.outbox.write(self._transport, line)

    def end_stream(self, exchange: Exchange, data: bytes) -> None:
        """The last events; none where the endpoint's own, passed on, have ended it."""
        self._gateway.stats.count_request(exchange.api, 200)
        if exchange.claim is not None:
            exchange.claim.status = 200
        if self._chunked:
            # (A chunk of nothing would end the body, and a second end would begin the next answer.)
            data = write_chunk(data) + LAST_CHUNK if data else LAST_CHUNK
        self._write(data)
        self._done()


class Discard(asyncio.Protocol):
    """Reads what nobody wants to know, until the client closes."""

    __slots__ = ("_connection",)

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._connection.connection_lost(exc)
