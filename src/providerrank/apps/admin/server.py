"""The admin app on uvicorn, in the event loop of the data plane.

uvicorn is told not to touch signals (the gateway drains on them) or logging, and gets a socket that is
already bound: a taken port is an ``OSError`` to whoever starts us, not an exit of the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

import uvicorn
from typing_extensions import override

from providerrank.apps.admin.gate import App

MAX_CONNECTIONS: Final = 64
"""Open at once, 503 past it: a few scrapers and browsers; the data plane's memory is not theirs to take."""

STOP_S: Final = 2
"""How long answers under way may take once stopping; none takes longer than a scrape."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the gateway."""
        yield


class AdminServer:
    """Serves one ASGI application until stopped; ``port`` 0 lets the system choose."""

    def __init__(self, app: App, host: str = "127.0.0.1", port: int = 8081) -> None:
        self._host = host
        self._port = port
        self._server = _Server(
            uvicorn.Config(
                app,
                http="httptools",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_graceful_shutdown=STOP_S,
            )
        )
        self._socket: socket.socket | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def address(self) -> tuple[str, int]:
        """Host and port it is bound to; for port 0 the one the system chose, once started."""
        return self._host, self._port

    async def start(self) -> None:
        """Bind and begin to serve; raises ``OSError`` when the address cannot be had."""
        self._socket = _bind(self._host, self._port)
        self._port = self._socket.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="admin server")
        while not self._server.started:
            await asyncio.sleep(0)
            if self._task.done():
                await self._task

    async def stop(self) -> None:
        """Finish what is under way, within seconds, and close."""
        self._server.should_exit = True
        if self._task is not None:
            await self._task
            self._task = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _bind(host: str, port: int) -> socket.socket:
    infos = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = infos[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.setblocking(False)
    except OSError:
        bound.close()
        raise
    return bound
