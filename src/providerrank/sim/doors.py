"""What a connection meets before there is any HTTP: a slammed door, another protocol, or TLS."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import struct
from typing import cast

from providerrank.sim.connection import Connection
from providerrank.sim.faulty import TLS_GARBAGE


class Slammed(asyncio.Protocol):
    """``Fault.RESET_ON_ACCEPT``: reset before a byte is read."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Reset."""
        plug = transport.get_extra_info("socket")
        if plug is not None:
            plug.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        cast("asyncio.Transport", transport).abort()


class Garbled(asyncio.Protocol):
    """``Fault.TLS_GARBAGE``: another protocol's greeting in answer to the client's first bytes."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client's hello."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Say something else, and leave."""
        self._transport.write(TLS_GARBAGE)
        self._transport.close()


class TlsDoor(asyncio.Protocol):
    """Begins TLS on an accepted connection and hands it to a ``Connection``.

    ``loop.start_tls`` would do, but that uvloop begins to read once ``connection_made`` returns, whatever was paused in
    it: the client's hello may then come here before TLS is there to read it, and both sides wait for ever. So the
    socket changes hands before anything is read: the plain transport closes its descriptor, TLS begins on a copy.
    """

    def __init__(self, context: ssl.SSLContext, inner: Connection, running: set[asyncio.Task[None]]) -> None:
        self._context = context
        self._inner = inner
        self._running = running

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        raw = cast("asyncio.Transport", transport)
        plug = socket.socket(fileno=os.dup(raw.get_extra_info("socket").fileno()))
        raw.abort()
        task = asyncio.get_running_loop().create_task(self._begin(plug))
        self._running.add(task)
        task.add_done_callback(lambda task: self._end(task, plug))

    def _end(self, task: asyncio.Task[None], plug: socket.socket) -> None:
        self._running.discard(task)
        if task.cancelled():
            plug.close()

    async def _begin(self, plug: socket.socket) -> None:
        plug.setblocking(False)
        loop = asyncio.get_running_loop()
        # The client may leave, not trust us or not speak TLS: its own business.
        with contextlib.suppress(OSError):
            await loop.connect_accepted_socket(lambda: self._inner, plug, ssl=self._context)
