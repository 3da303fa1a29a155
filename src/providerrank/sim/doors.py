"""What a connection meets before there is any HTTP: a slammed door, another protocol, or TLS."""

from __future__ import annotations

import asyncio
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
    """Begins TLS on an accepted connection and hands it to a ``Connection``."""

    def __init__(self, context: ssl.SSLContext, inner: Connection, running: set[asyncio.Task[None]]) -> None:
        self._context = context
        self._inner = inner
        self._running = running

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Hold what the client sends until TLS is there to read it."""
        raw = cast("asyncio.Transport", transport)
        raw.pause_reading()
        task = asyncio.get_running_loop().create_task(self._begin(raw))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _begin(self, raw: asyncio.Transport) -> None:
        loop = asyncio.get_running_loop()
        made = None
        try:
            made = await loop.start_tls(raw, self._inner, self._context, server_side=True)
        except OSError:
            pass  # The client left, does not trust us or does not speak TLS: its own business.
        finally:
            if made is None:
                raw.abort()
        if made is not None:
            self._inner.connection_made(made)
