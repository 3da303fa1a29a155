"""Where clients connect: the gateway's own sockets, and those of others it stands in for.

A process of its own binds its address. One of several workers is given sockets that are bound and listening already,
all of them to one address (SO_REUSEPORT): the kernel spreads connections over the sockets, and each worker accepts from
its own. When a worker dies its socket lives on in the others, with whatever connections wait in it; one of them
*adopts* it until the worker is back. So nothing that was not being served is lost with a worker.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence

BACKLOG = 1024
"""Connections that may wait to be accepted; the kernel's own bound (net.core.somaxconn) holds too."""


class Listening:
    """The open sockets of one gateway."""

    def __init__(self, connection: Callable[[], asyncio.Protocol]) -> None:
        self._connection = connection
        self._own: asyncio.Server | None = None
        self._adopted: dict[int, asyncio.Server] = {}
        self._sockets: Sequence[socket.socket] = ()

    @property
    def is_open(self) -> bool:
        """Whether connections are accepted."""
        return self._own is not None

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._own is not None
        bound: socket.socket = self._own.sockets[0]
        port: int = bound.getsockname()[1]
        return port

    async def bind(self, host: str, port: int) -> None:
        """Listen on an address. Raises OSError where it can not be had."""
        loop = asyncio.get_running_loop()
        self._own = await loop.create_server(self._connection, host, port, backlog=BACKLOG)

    async def take(self, sockets: Sequence[socket.socket], own: int) -> None:
        """Accept from the one of these listening sockets that is ours; the others may be adopted."""
        self._sockets = sockets
        self._own = await self._accept(own)

    async def adopt(self, index: int) -> None:
        """Accept from another's socket too, until it is handed back."""
        if self.is_open and index not in self._adopted:
            self._adopted[index] = await self._accept(index)

    def hand_back(self, index: int) -> None:
        """Its own worker accepts again."""
        server = self._adopted.pop(index, None)
        if server is not None:
            server.close()

    def close(self) -> None:
        """Accept no more."""
        for server in (self._own, *self._adopted.values()):
            if server is not None:
                server.close()
        self._own = None
        self._adopted.clear()
        for kept in self._sockets:
            kept.close()
        self._sockets = ()

    async def _accept(self, index: int) -> asyncio.Server:
        # A server closes its socket when it ends: it gets a handle of its own, so that ours may be used again.
        handle = self._sockets[index].dup()
        return await asyncio.get_running_loop().create_server(self._connection, sock=handle, backlog=BACKLOG)
