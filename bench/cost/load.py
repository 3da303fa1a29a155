"""Load on one route: closed loop, so many connections, for so long. By wrk where it is installed, else by our own.

Streams are always read by our own client, which takes the time of their first byte and counts their events.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from typing import cast

import httptools
import uvloop

from bench.cost.asking import HOST, PATH, Pace, Route, make_body, make_headers

GRACE = 30.0
"""Seconds a gateway has to end what is under way when the time is up."""

WRK_SCRIPT = """
wrk.method = "POST"
wrk.body = {body}
{headers}
function done(summary, latency)
  local e = summary.errors
  io.write(string.format("\\nseen %d %d %f %f\\n", summary.requests,
    e.status + e.connect + e.read + e.write + e.timeout, summary.duration / 1e6, latency:percentile(50) / 1e3))
end
"""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the client saw."""

    answers: int
    failed: int
    """Not answered, or not with a 200."""
    seconds: float
    median_ms: float
    """Of whole answers."""
    events: int = 0
    first_ms: float = 0.0
    """Median time to the first byte of a stream's body."""

    @property
    def units(self) -> int:
        """What a cost is counted by: events of streams, else answers."""
        return self.events or self.answers


def find_wrk() -> str | None:
    return shutil.which("wrk")


def ask(route: Route, key: str, connections: int, seconds: float, pace: Pace | None = None) -> Seen:
    """Ask again and again for ``seconds``."""
    wrk = find_wrk() if pace is None else None
    if wrk is not None:
        return _ask_by_wrk(wrk, route, key, connections, seconds)
    return uvloop.run(_ask_by_own(route, key, connections, seconds, pace))


def _ask_by_wrk(wrk: str, route: Route, key: str, connections: int, seconds: float) -> Seen:
    # A JSON string of ASCII is a Lua string too.
    headers = "\n".join(f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in make_headers(route, key).items())
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK_SCRIPT.format(body=json.dumps(make_body(route)), headers=headers))
        script.flush()
        options = ["-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "--timeout", "20s", "-s", script.name]
        command = [wrk, *options, f"http://{HOST}:{route.port}{PATH}"]
        run = subprocess.run(command, capture_output=True, text=True, timeout=seconds + GRACE, check=True)
    answers, failed, took, median = run.stdout.rpartition("seen ")[2].split()
    return Seen(int(answers), int(failed), float(took), float(median))


@dataclass
class _Tally:
    failed: int = 0
    events: int = 0
    whole: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)


class _Client(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self.events = 0
        self.first_at = 0.0
        self._transport: asyncio.Transport | None = None
        self._answered: asyncio.Future[bool] | None = None
        self._last = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._end(is_ok=False)

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> bool:
        """Whether the answer was a 200 and came whole."""
        assert self._transport is not None
        self._parser = httptools.HttpResponseParser(self)
        self._answered = asyncio.get_running_loop().create_future()
        self.events, self.first_at, self._last = 0, 0.0, b""
        self._transport.write(request)
        return await self._answered

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, body: bytes) -> None:
        if not self.first_at:
            self.first_at = time.perf_counter()
        # A blank line ends an event; its two bytes may come apart.
        text = self._last + body
        self.events += text.count(b"\n\n")
        self._last = b"\n" if text.endswith(b"\n") and not text.endswith(b"\n\n") else b""

    def on_message_complete(self) -> None:
        if not self._parser.should_keep_alive() and self._transport is not None:
            self._transport.close()
        self._end(is_ok=self._parser.get_status_code() == 200)

    def _end(self, is_ok: bool) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_result(is_ok)


async def _ask_by_own(route: Route, key: str, connections: int, seconds: float, pace: Pace | None) -> Seen:
    body = make_body(route, pace)
    lines = [f"POST {PATH} HTTP/1.1", f"Host: {HOST}:{route.port}", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in make_headers(route, key).items()]
    request = ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
    tally = _Tally()
    began = time.perf_counter()
    async with asyncio.timeout(seconds + GRACE), asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_ask_until(began + seconds, route.port, request, tally, pace))
    took = time.perf_counter() - began
    median_ms, first_ms = (statistics.median(times) * 1e3 if times else 0.0 for times in (tally.whole, tally.first))
    return Seen(len(tally.whole), tally.failed, took, median_ms, tally.events, first_ms)


async def _ask_until(end: float, port: int, request: bytes, tally: _Tally, pace: Pace | None) -> None:
    loop = asyncio.get_running_loop()
    client: _Client | None = None
    while (sent_at := time.perf_counter()) < end:
        if client is None or not client.is_open:
            _, client = await loop.create_connection(_Client, HOST, port)
            sent_at = time.perf_counter()
        is_ok = await client.ask(request)
        tally.whole.append(time.perf_counter() - sent_at)
        if not is_ok or (pace is not None and client.events < pace.events):
            tally.failed += 1
        elif pace is not None:
            tally.events += client.events
            tally.first.append(client.first_at - sent_at)
