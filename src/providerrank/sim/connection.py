"""One connection of a client: bytes in, requests to the endpoint, performances out.

Requests that arrive while a reply is still being played wait their turn, as HTTP/1.1 wants. Reading is not
stopped meanwhile, since a client's going away is only seen by reading.

Two details of endings. A reset discards what has not arrived, so ``ABORT`` waits until neither this process
nor its kernel holds anything unacknowledged (``SIOCOUTQ``): a client meets the reset after the bytes that
precede it, not instead of them. And a reset is only a reset with ``SO_LINGER`` of 0 seconds: a plain close
would be an orderly end.
"""

from __future__ import annotations

import asyncio
import fcntl
import socket
import struct
import termios
from collections import deque
from typing import Protocol, cast

import httptools

from providerrank.sim import framing
from providerrank.sim.performance import Ending, Performance
from providerrank.sim.received import KEPT_BODY_BYTES, Received

MAX_BODY_BYTES = 64 * 1024 * 1024
_LINGER_0 = struct.pack("ii", 1, 0)
_POLL_S = 0.001
"""Between looks at whether everything has arrived; only where a reset waits for it."""
_RESET_PATIENCE_S = 5.0
"""A client that takes nothing for this long is reset all the same."""


class Stage(Protocol):
    """What a connection needs of its endpoint."""

    def on_connect(self, connection: Connection) -> None:
        """Note a new connection and number it."""
        ...

    def on_disconnect(self, connection: Connection) -> None:
        """Note the end of a connection."""
        ...

    def on_request(self, received: Received) -> Performance:
        """Return what is to be put on the wire."""
        ...

    def on_played(self, received: Received, left: bool) -> None:
        """Note the end of a reply; ``left``: the client went away before it."""
        ...

    def now_s(self) -> float:
        """Return seconds since the world's clock was started."""
        ...


class Connection(asyncio.Protocol):
    """One client's connection."""

    __slots__ = (
        "_body", "_doomed", "_headers", "_loop", "_parser", "_paused", "_polls",
        "_position", "_queue", "_size", "_started_s",
        "_timer", "_transport", "_url", "_writes", "number", "playing", "requests", "stage",
    )  # fmt: skip

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.number = 0
        self.requests = 0
        self.playing: tuple[Received, Performance] | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._loop = asyncio.get_running_loop()
        self._queue: deque[Received] = deque()
        self._timer: asyncio.Handle | None = None
        self._paused = False
        self._doomed = False
        self._polls = 0
        self._position = 0
        self._started_s = 0.0
        self._url = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._size = 0

    # --- asyncio -------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = cast("asyncio.Transport", transport)
        self.stage.on_connect(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Note who left first."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.playing is not None:
            received, _ = self.playing
            self.playing = None
            self.stage.on_played(received, left=True)
        self._queue.clear()
        self.stage.on_disconnect(self)

    def data_received(self, data: bytes) -> None:
        """Feed the parser; what is not HTTP is answered with 400 and the end."""
        if self._doomed:
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(501)
        except httptools.HttpParserError:
            self._refuse(400)

    def pause_writing(self) -> None:
        """The client reads slower than we write: later writes wait."""
        self._paused = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused = False
        if self.playing is not None and self._timer is None:
            self._continue()

    # --- httptools -----------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Start a request."""
        self._url = b""
        self._headers = []
        self._body = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        """Collect the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header."""
        self._headers.append((name, value))
        if name.lower() == b"expect" and value.lower() == b"100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to a limit."""
        self._size += len(body)
        if self._size <= MAX_BODY_BYTES:
            self._body.append(body)

    def on_message_complete(self) -> None:
        """Hand a whole request over, or queue it behind the reply being played."""
        if self._transport is None:
            return
        if self._size > MAX_BODY_BYTES:
            self._refuse(413)
            return
        self.requests += 1
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        received = Received(
            0,
            self.number,
            self.requests,
            self.stage.now_s(),
            self._parser.get_method().decode("ascii"),
            self._url.decode("latin1"),
            self._headers,
            body,
            self._size,
        )
        if self.playing is not None or self._queue:
            self._queue.append(received)
        else:
            self._play(received)

    # --- playing -------------------------------------------------------------------------------------------------

    def _play(self, received: Received) -> None:
        performance = self.stage.on_request(received)
        if len(received.body) > KEPT_BODY_BYTES:
            received.body = received.body[:KEPT_BODY_BYTES]
        if self._transport is None or self._transport.is_closing():
            self.stage.on_played(received, left=True)
            return
        self.playing = (received, performance)
        self._position = 0
        self._started_s = self._loop.time()
        self._continue()

    def _continue(self) -> None:
        """Write what is due, and come back for the rest."""
        self._timer = None
        if self.playing is None or self._transport is None:
            return
        received, performance = self.playing
        writes = performance.writes
        while self._position < len(writes):
            due_s, data = writes[self._position]
            if due_s > 0.0:
                wait_s = self._started_s + due_s - self._loop.time()
                if wait_s > 0.0:
                    self._timer = self._loop.call_later(wait_s, self._continue)
                    return
            if self._paused:
                return
            self._position += 1
            self._transport.write(data)
        if performance.ending is Ending.HOLD:
            return
        if performance.ending is Ending.ABORT:
            self._polls = 0
            self._reset_when_sent()
            return
        self.playing = None
        self.stage.on_played(received, left=False)
        if performance.ending is Ending.CLOSE:
            self.close()
        else:
            self._doomed = performance.ending is Ending.DOOM
            if self._queue:
                self._timer = self._loop.call_soon(self._next)

    def _next(self) -> None:
        self._timer = None
        if self._queue and self.playing is None and self._transport is not None:
            if self._doomed:
                self.close()
            else:
                self._play(self._queue.popleft())

    def _reset_when_sent(self) -> None:
        self._timer = None
        if self._transport is None:
            return
        if self._count_unsent() and self._polls * _POLL_S < _RESET_PATIENCE_S:
            self._polls += 1
            self._timer = self._loop.call_later(_POLL_S, self._reset_when_sent)
            return
        if self.playing is not None:
            received, _ = self.playing
            self.playing = None
            self.stage.on_played(received, left=False)
        self.reset()

    def _count_unsent(self) -> int:
        """Return how many bytes the peer's kernel has not acknowledged."""
        assert self._transport is not None
        waiting = self._transport.get_write_buffer_size()
        plug = self._transport.get_extra_info("socket")
        if waiting == 0 and plug is not None:
            waiting = struct.unpack("i", fcntl.ioctl(plug.fileno(), termios.TIOCOUTQ, bytes(4)))[0]
        return waiting

    def _refuse(self, status: int) -> None:
        if self._transport is not None:
            self._transport.write(framing.get_response(status, b"{}", fields=framing.CLOSING))
            self.close()

    # --- ends ----------------------------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Tell whether no request is being answered or waiting."""
        return self.playing is None and not self._queue

    def close(self) -> None:
        """End in order."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """End with a reset."""
        if self._transport is not None:
            plug = self._transport.get_extra_info("socket")
            if plug is not None:
                plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
            self._transport.abort()
