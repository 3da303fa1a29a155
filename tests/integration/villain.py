"""An endpoint in our hands to the byte: what it sends is a function of nothing but the test's script."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar

from tests.integration.gateway_bed import CHAT, STREAM, truth

HEAD: ContextVar[bytes] = ContextVar("HEAD")
"""Of the request that is being answered."""

Write = Callable[[bytes], Awaitable[None]]
Act = Callable[[Write], Awaitable[None]]

JSON_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"


class Villain:
    """Listens on a free port; ``act`` is what it does to each request once that has come whole."""

    def __init__(self, act: Act | bytes) -> None:
        self.act = act
        self.requests = 0
        self.url = ""
        self.tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write(data: bytes) -> None:
            writer.write(data)
            await writer.drain()

        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]))
                self.requests += 1
                HEAD.set(head)
                if isinstance(self.act, bytes):
                    await write(self.act)
                    break
                await self.act(write)
        except (OSError, EOFError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()


@asynccontextmanager
async def villain(act: Act | bytes) -> AsyncIterator[Villain]:
    """One, for the length of the block."""
    it = Villain(act)
    server = await asyncio.start_server(it.serve, "127.0.0.1", 0)
    it.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield it
    finally:
        server.close()
        for task in list(it.tasks):
            task.cancel()
        await asyncio.gather(*it.tasks, return_exceptions=True)


def answer(body: bytes, head: bytes = JSON_HEAD) -> bytes:
    """A whole answer with its length."""
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(payload: object) -> bytes:
    return b"data: " + (payload if isinstance(payload, bytes) else json.dumps(payload).encode()) + b"\n\n"


def piece(finish: str | None = None, **delta: object) -> bytes:
    """One event of a chat stream."""
    return event({"id": "v", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def reply(text: str, **more: object) -> bytes:
    """A whole chat answer's body."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 5, "total_tokens": 10}
    return json.dumps({"id": "v", "object": "chat.completion", "choices": [choice], "usage": usage, **more}).encode()


def bomb(unit: bytes, count: int) -> bytes:
    return gzip.compress(unit * count, 9)


SAID = truth(CHAT)
assert truth(STREAM) == SAID
