"""An upstream that costs little: one process, one port for each role.

    python -m bench.cost.upstream 21001=ok 21002=dead 21003=flaky

*ok* answers, *dead* answers every request with a 500, *flaky* every third one. ``GET /counts`` on any of the ports
says how many of each were given: that is how failed attempts are counted, whoever made them.
"""

from __future__ import annotations

import asyncio
import json
import sys
from functools import partial
from typing import cast

import httptools
import uvloop

from bench.cost.asking import HOST, Pace, read_pace

OK, DEAD, FLAKY = "ok", "dead", "flaky"

FLAKY_PERIOD = 3
"""Every second would be too much: answers overtake each other, and a few failures in a row put an endpoint out."""

COMMON = {"id": "chatcmpl-bench", "created": 1790000000, "model": "gpt-4o-mini"}
ANSWER = {
    **COMMON,
    "object": "chat.completion",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Foxes sleep through most of the day. " * 8},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 48, "completion_tokens": 64, "total_tokens": 112},
}
ERROR = {"error": {"message": "broken on purpose", "type": "server_error", "param": None, "code": "broken"}}


def make_answer(status: str, content: object) -> bytes:
    body = json.dumps(content).encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def make_event(text: str) -> bytes:
    data = f"data: {text}\n\n"
    return f"{len(data):x}\r\n{data}\r\n".encode()


def make_chunk(delta: dict[str, str], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return make_event(json.dumps({**COMMON, "object": "chat.completion.chunk", "choices": [choice]}))


ANSWERED = make_answer("200 OK", ANSWER)
FAILED = make_answer("500 Internal Server Error", ERROR)
STREAM_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM_BEGIN = STREAM_HEAD + make_chunk({"role": "assistant", "content": ""})
STREAM_EVENT = make_chunk({"content": " fox"})
STREAM_END = make_chunk({}, "stop") + make_event("[DONE]") + b"0\r\n\r\n"


class Counts:
    """Requests answered and failed, over all ports."""

    def __init__(self) -> None:
        self.ok = 0
        self.failed = 0


class Connection(asyncio.Protocol):
    """One connection of a gateway's."""

    def __init__(self, role: str, counts: Counts, loop: asyncio.AbstractEventLoop) -> None:
        self._role = role
        self._counts = counts
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._url = b""
        self._body = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        self._url = self._body = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        if self._transport is None:
            return
        if self._url == b"/counts":
            self._transport.write(make_answer("200 OK", vars(self._counts)))
        elif self._must_fail():
            self._counts.failed += 1
            self._transport.write(FAILED)
        else:
            self._counts.ok += 1
            pace = read_pace(self._body)
            if pace is None:
                self._transport.write(ANSWERED)
            else:
                self._transport.write(STREAM_BEGIN)
                self._go_on(pace, pace.events)

    def _must_fail(self) -> bool:
        if self._role == FLAKY:
            Connection.turn += 1
            return Connection.turn % FLAKY_PERIOD == 0
        return self._role == DEAD

    turn = 0
    """Of the flaky port: it counts over all its connections."""

    def _go_on(self, pace: Pace, left: int) -> None:
        if self._transport is None:
            return
        if left == 0:
            self._transport.write(STREAM_END)
        else:
            self._transport.write(STREAM_EVENT)
            # What is written within one turn of the loop leaves together: each event waits for a turn of its own.
            if pace.gap_ms:
                self._loop.call_later(pace.gap_ms / 1000, self._go_on, pace, left - 1)
            else:
                self._loop.call_soon(self._go_on, pace, left - 1)


async def main(roles: dict[int, str]) -> None:
    loop = asyncio.get_running_loop()
    counts = Counts()
    for port, role in roles.items():
        await loop.create_server(partial(Connection, role, counts, loop), HOST, port, backlog=1024)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main({int(port): role for port, _, role in (argument.partition("=") for argument in sys.argv[1:])}))
