"""Writes of one turn of the event loop, made together at its end.

A send on a socket wakes whoever waits at the other end. Made one by one between the handling of two requests, each
send wakes a peer that has had time to fall asleep again, which costs more than the request itself; made in a row, the
first wakes the peer and the rest find it awake. Nothing waits longer for it than the turn of the loop takes.
"""

from __future__ import annotations

import asyncio

CLOSE = b""
"""In place of data: close once what came before has been sent."""

LARGE_BYTES = 32 * 1024
"""A write of this size is not put off: one turn of the loop may read megabytes from an endpoint, and only a transport
that was written to can say that its client does not keep up."""


class Outbox:
    """Everything to be sent when the current turn of the loop is over, in order."""

    __slots__ = ("_entries", "_loop")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._entries: list[tuple[asyncio.Transport, bytes]] = []

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Send ``data`` (or ``CLOSE``) on ``transport`` at the end of this turn."""
        entries = self._entries
        if not entries:
            self._loop.call_soon(self.flush)
        entries.append((transport, data))
        if len(data) >= LARGE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send everything now."""
        entries, self._entries = self._entries, []
        for transport, data in entries:
            if data is CLOSE:
                transport.close()
            elif not transport.is_closing():
                transport.write(data)
