"""One end of the socket pair between a worker and its crew: tells, asks and answers."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable
from itertools import count
from typing import cast

from typing_extensions import override

from providerrank.apps.workers.frames import Ask, BrokenLink, Frame, FrameReader, Reply, Tell, write_frame

logger = logging.getLogger("providerrank.workers")

MAX_UNREAD_BYTES = 8 << 20
"""Held for a peer that does not read; past it what may be missed is not sent."""


class Link(asyncio.Protocol):
    """See the module. Handlers are set before it is connected."""

    def __init__(self) -> None:
        self.on_tell: dict[str, Callable[[bytes], object]] = {}
        """By kind; what has no handler is ignored."""
        self.on_ask: dict[str, Callable[[bytes], Awaitable[bytes]]] = {}
        """By kind; what has no handler, or whose handler fails, is answered by nothing."""
        self.lost = asyncio.Event()
        """The other end is gone."""
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader()
        self._numbers = count()
        self._asked: dict[int, asyncio.Future[bytes | None]] = {}
        self._answering: set[asyncio.Task[None]] = set()

    async def connect(self, plug: socket.socket) -> None:
        """Begin to speak over one end of a socket pair."""
        plug.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=plug)

    def tell(self, kind: str, body: bytes = b"", *, may_miss: bool = False) -> None:
        """Say something; ``may_miss``: rather not at all than to a peer that does not keep up."""
        transport = self._transport
        if transport is None or (may_miss and transport.get_write_buffer_size() > MAX_UNREAD_BYTES):
            return
        transport.write(write_frame(Tell(kind, body)))

    async def ask(self, kind: str, body: bytes = b"", *, within_s: float) -> bytes | None:
        """Ask something; None where no answer comes in time, or ever."""
        if self._transport is None:
            return None
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._transport.write(write_frame(Ask(number, kind, body)))
        try:
            return await asyncio.wait_for(answer, within_s)
        except TimeoutError:
            return None
        finally:
            self._asked.pop(number, None)

    def close(self) -> None:
        """Say no more; what was said is sent."""
        if self._transport is not None:
            self._transport.close()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        try:
            frames = self._reader.feed(data)
        except BrokenLink:
            logger.exception("the link between processes broke")
            if self._transport is not None:
                self._transport.abort()
            return
        for frame in frames:
            self._take(frame)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for answer in self._asked.values():
            if not answer.done():
                answer.set_result(None)
        self.lost.set()

    def _take(self, frame: Frame) -> None:
        if isinstance(frame, Tell):
            handler = self.on_tell.get(frame.kind)
            if handler is not None:
                try:
                    handler(frame.body)
                except Exception:
                    logger.exception("what another process told could not be taken: kind=%s", frame.kind)
        elif isinstance(frame, Ask):
            task = asyncio.get_running_loop().create_task(self._answer(frame))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        else:
            answer = self._asked.get(frame.number)
            if answer is not None and not answer.done():
                answer.set_result(frame.body)

    async def _answer(self, ask: Ask) -> None:
        body: bytes | None = None
        handler = self.on_ask.get(ask.kind)
        if handler is not None:
            try:
                body = await handler(ask.body)
            except Exception:
                logger.exception("what another process asked could not be answered: kind=%s", ask.kind)
        if self._transport is not None:
            self._transport.write(write_frame(Reply(ask.number, body)))
