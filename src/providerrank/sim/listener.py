"""A port that can be open, refusing or hanging, and keeps its number throughout.

*Refusing* is a port nobody listens on. To keep it ours meanwhile, a second socket stays bound to it and
never listens: both have ``SO_REUSEADDR``, with which Linux lets a listening socket and a bound one share
an address, and the kernel answers a connection to the silent one with a reset.

*Hanging* is a listening socket whose queue of accepted connections is full. With a backlog of 0 the queue
holds one; a connection of our own fills it, and from then on Linux drops the first packet of every
handshake, so that the peer's ``connect`` neither fails nor succeeds until its own clock runs out. The
server's process does nothing for that, and needs no privilege. After reopening, a peer that is still
trying gets in with its next retransmission (1 s, 3 s, 7 s after its first packet).
"""

from __future__ import annotations

import asyncio
import enum
import errno
import socket
from collections.abc import Callable

BACKLOG = 1024
_FILLERS = 8
"""More than enough connections to fill a queue of one; those past it stay half made and cost nothing."""


class Mode(enum.Enum):
    """What becomes of a connection attempt."""

    OPEN = "open"
    REFUSING = "refusing"
    HANGING = "hanging"


class Listener:
    """One loopback port."""

    def __init__(self, port: int = 0, host: str = "127.0.0.1") -> None:
        self._holder = _bound(host, port)
        self.host = host
        self.port: int = self._holder.getsockname()[1]
        self.mode = Mode.REFUSING
        self._server: asyncio.Server | None = None
        self._turn = 0
        """Counts changes of mode: one that comes while the port is being opened wins."""
        self._hanging: list[socket.socket] = []

    async def open(self, factory: Callable[[], asyncio.BaseProtocol]) -> None:
        """Listen, and serve every connection with a protocol of ``factory``."""
        self._leave()
        turn = self._turn
        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, sock=_bound(self.host, self.port), backlog=BACKLOG)
        if turn != self._turn:
            server.close()
            return
        self._server = server
        self.mode = Mode.OPEN

    def refuse(self) -> None:
        """Stop listening; connections already made are not touched."""
        self._leave()

    def hang(self) -> None:
        """Leave connection attempts unanswered; connections already made are not touched."""
        self._leave()
        queue = _bound(self.host, self.port)
        queue.listen(0)
        self._hanging.append(queue)
        for _ in range(_FILLERS):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
            self._hanging.append(filler)
        self.mode = Mode.HANGING

    def close(self) -> None:
        """Give the port back."""
        self._leave()
        self._holder.close()

    def _leave(self) -> None:
        self._turn += 1
        if self._server is not None:
            self._server.close()
            self._server = None
        for one in self._hanging:
            one.close()
        self._hanging.clear()
        self.mode = Mode.REFUSING


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket bound to an address it may share with another bound one."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setblocking(False)
    try:
        made.bind((host, port))
    except OSError as error:
        made.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"port {port} is in use") from error
        raise
    return made
