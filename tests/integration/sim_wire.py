"""A client that hides nothing: sockets read raw, so that resets, silence and chunks are seen as they come."""

from __future__ import annotations

import asyncio
import enum
import json
import socket
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

import httptools

QUIET_S = 0.15
"""Nothing for this long, where more could have come at once, is taken for silence."""

CHAT: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "question 1 [[tokens=24]]"}]}
STREAM: dict[str, Any] = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}


class End(enum.Enum):
    """How a reply ended on the wire."""

    COMPLETE = "complete"
    """Whole, as its framing says; the connection is open."""
    EOF = "eof"
    RESET = "reset"
    QUIET = "quiet"
    """Not whole, and nothing more comes."""


@dataclass
class Reply:
    """What came back. ``pieces`` are what single reads returned; ``chunks`` those of a chunked body."""

    end: End = End.QUIET
    raw: bytes = b""
    pieces: list[bytes] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    whole: bool = False
    """The framing was satisfied."""

    @property
    def status(self) -> int | None:
        return self.statuses[-1] if self.statuses else None

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[str]:
        """Payloads of complete events."""
        text = self.body.decode("utf-8").replace("\r\n", "\n")
        blocks = text.split("\n\n")[:-1]
        return [block.removeprefix("data: ") for block in blocks if block.startswith("data: ")]

    @property
    def objects(self) -> list[Any]:
        return [json.loads(event) for event in self.events if event != "[DONE]"]

    @property
    def text(self) -> str:
        """The answer's content, streamed or not."""
        if "event-stream" in self.headers.get("content-type", ""):
            choices = [choice for one in self.objects for choice in one.get("choices", ())]
            return "".join(choice["delta"].get("content") or "" for choice in choices)
        content: str = self.json()["choices"][0]["message"]["content"]
        return content

    @property
    def finish(self) -> str | None:
        reasons = [choice["finish_reason"] for one in self.objects for choice in one.get("choices", ())]
        return next((reason for reason in reasons if reason), None)


class _Parsed:
    """httptools' callbacks, kept in a reply."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.parser = httptools.HttpResponseParser(self)
        self.body: list[bytes] = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.reply.headers[name.decode().lower()] = value.decode()

    def on_headers_complete(self) -> None:
        self.reply.statuses.append(self.parser.get_status_code())

    def on_chunk_header(self) -> None:
        self.reply.chunks.append(b"")

    def on_body(self, body: bytes) -> None:
        self.body.append(body)
        if self.reply.chunks:
            self.reply.chunks[-1] += body

    def on_message_complete(self) -> None:
        if self.reply.statuses[-1] >= 200:
            self.reply.whole = True
            if self.reply.chunks:
                self.reply.chunks.pop()  # The one of no bytes that ends the body.


class Wire:
    """One connection to a port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._socket = socket.socket()
        self._socket.setblocking(False)

    async def connect(self, patience_s: float = 5.0) -> None:
        """Raises what the socket raises, ``TimeoutError`` included (which is an ``OSError``)."""
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(loop.sock_connect(self._socket, ("127.0.0.1", self.port)), patience_s)
        except OSError:
            self.close()
            raise

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def read(self, quiet_s: float | None = QUIET_S) -> bytes | End:
        """One read: bytes, or how it ended."""
        loop = asyncio.get_running_loop()
        try:
            data = await asyncio.wait_for(loop.sock_recv(self._socket, 1 << 20), quiet_s)
        except TimeoutError:
            return End.QUIET
        except ConnectionResetError:
            return End.RESET
        return data or End.EOF

    async def reply(self, first_s: float = 5.0) -> Reply:
        """Read one reply to its end. ``first_s``: how long its first byte may take before it counts as silence."""
        reply = Reply()
        parsed = _Parsed(reply)
        patience_s = first_s
        while not reply.whole:
            data = await self.read(patience_s)
            if isinstance(data, End):
                reply.end = data
                break
            patience_s = QUIET_S
            reply.pieces.append(data)
            parsed.parser.feed_data(data)
        else:
            reply.end = End.COMPLETE
        reply.raw = b"".join(reply.pieces)
        reply.body = b"".join(parsed.body)
        return reply

    async def ask(self, body: dict[str, Any], path: str = "/v1/chat/completions", first_s: float = 5.0) -> Reply:
        await self.send(request(body, path))
        return await self.reply(first_s)


def request(body: dict[str, Any], path: str = "/v1/chat/completions", head: str = "") -> bytes:
    data = json.dumps(body).encode()
    lines = (
        f"POST {path} HTTP/1.1\r\nhost: sim\r\ncontent-type: application/json\r\n{head}content-length: {len(data)}\r\n"
    )
    return lines.encode() + b"\r\n" + data


async def ask(port: int, body: dict[str, Any], path: str = "/v1/chat/completions", first_s: float = 5.0) -> Reply:
    """Ask on a connection of its own."""
    async with Wire(port) as wire:
        return await wire.ask(body, path, first_s)
