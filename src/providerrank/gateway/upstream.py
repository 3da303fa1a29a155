"""Connections to endpoints: one pool each, kept alive, verified TLS, backpressure.

A ``Call`` is the wire side of one attempt. Its sink hears of it through four methods and is never
called again after ``drop``. A kept connection that the endpoint closed just as it was reused is no
fault of anybody: the call is made again, once, on a fresh connection.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Iterable
from typing import Protocol, cast
from urllib.parse import urlsplit

import msgspec
from typing_extensions import override

from providerrank.gateway.outbox import Outbox
from providerrank.gateway.pace import Pace
from providerrank.gateway.settings import Limits, Upstream
from providerrank.gateway.stats import EndpointStats
from providerrank.rules.attempt import Fault
from providerrank.wire.apis import DIALECTS, UPSTREAM_PATHS
from providerrank.wire.dialect import Dialect
from providerrank.wire.errors import BadHttp
from providerrank.wire.http1 import ResponseReader
from providerrank.wire.messages import MESSAGES

STRICT_HOST = "anthropic.com"
"""Takes a key in its own header or as a bearer token, not both; those who speak its API read one or the other."""

_encoder = msgspec.json.Encoder()

CUT_OFF = "…".encode()
"""How an endpoint's words end where they were cut (``wire.raw.shorten``)."""

MIN_KEY_PART = 4
"""Characters of a key that tell something of it; many keys begin with the same three."""

LINGER_S = 1.0
"""How long the end of an HTTP message may take after the API's own end of stream."""


class Sink(Protocol):
    """What hears of a call. Times are the sink's own business."""

    def on_connected(self) -> None:
        """The request is on its way on an open connection."""

    def on_head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The answer's status and headers."""

    def on_data(self, data: bytes) -> None:
        """Part of the answer's body."""

    def on_end(self) -> None:
        """The answer is complete as HTTP goes."""

    def on_lost(self, fault: Fault, detail: str) -> None:
        """No answer, or no more of it."""

    def on_crash(self) -> None:
        """One of these methods raised what it must not: called while the exception is handled, and the last call."""


class Target:
    """Where calls to one endpoint go, with everything about them that never changes."""

    __slots__ = (
        "_common",
        "_heads",
        "_path",
        "header",
        "host",
        "idle",
        "pace",
        "port",
        "server_name",
        "speaks_only",
        "stats",
        "tls",
        "upstream",
    )

    def __init__(self, upstream: Upstream, stats: EndpointStats) -> None:
        parts = urlsplit(upstream.base_url)
        self.upstream = upstream
        self.stats = stats
        self.pace = Pace()
        self.header = b"x-providerrank-endpoint: %b\r\n" % upstream.endpoint.id.encode()
        """Names this endpoint in an answer."""
        self.tls = parts.scheme == "https"
        self.host = parts.hostname or ""
        self.port = parts.port or (443 if self.tls else 80)
        self.server_name = self.host if self.tls else None
        self.idle: deque[UpstreamConnection] = deque()
        host = f"[{self.host}]" if ":" in self.host else self.host
        if parts.port is not None:
            host = f"{host}:{parts.port}"
        self._common = f"Host: {host}\r\nUser-Agent: providerrank\r\nContent-Type: application/json\r\n"
        self._path = parts.path.rstrip("/")
        self._heads: dict[tuple[str, bool], bytes] = {}
        self.speaks_only: Dialect | None = MESSAGES if upstream.dialect == "anthropic" else None
        """It knows this API and no other."""

    def get_dialect(self, api: str) -> Dialect | None:
        """What it is asked in when the client speaks ``api``; None: the same, or chat."""
        if self.speaks_only is not None:
            return self.speaks_only
        dialect = DIALECTS.get(api)
        return dialect if dialect is not None and api in self.upstream.endpoint.features else None

    def turn(self) -> bool:
        """It has no chat API: whether it is to be asked in another one from now on, since it is said to speak one."""
        upstream = self.upstream
        if self.speaks_only is None and upstream.dialect is None and MESSAGES.api in upstream.endpoint.features:
            self.speaks_only = MESSAGES
            return True
        return False

    def write_request(self, api: str, extra: bytes, body: bytes, stream: bool) -> bytes:
        """A whole request. ``extra`` is header lines, each ending in CRLF."""
        head = self._heads.get((api, stream)) or self._write_head(api, stream)
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (head, extra, len(body), body)

    def _write_head(self, api: str, stream: bool) -> bytes:
        lines = f"POST {self._path}{UPSTREAM_PATHS[api]} HTTP/1.1\r\n{self._common}"
        key = self.upstream.key
        if key is not None:
            if api == MESSAGES.api:
                lines += f"x-api-key: {key}\r\n"
            if api != MESSAGES.api or not self.host.endswith(STRICT_HOST):
                lines += f"Authorization: Bearer {key}\r\n"
        lines += f"Accept: {'text/event-stream' if stream else 'application/json'}\r\n"
        head = self._heads[api, stream] = lines.encode("latin-1")
        return head

    def redact(self, text: bytes) -> bytes:
        """This endpoint's own words without its key, which some endpoints quote."""
        key = self.upstream.key
        if key:
            # As it is, as JSON writers may write it, and in lower case, as codes are read.
            forms = (key.encode(), _encoder.encode(key)[1:-1], key.replace("/", "\\/").encode(), key.lower().encode())
            for form in forms:
                text = text.replace(form, b"[key]")
            if text.endswith(CUT_OFF):
                text = _redact_end(text.removesuffix(CUT_OFF), forms) + CUT_OFF
        return text


def _redact_end(text: bytes, secrets: tuple[bytes, ...]) -> bytes:
    """Words that were cut, without the beginning of a secret that was cut with them."""
    for secret in secrets:
        for size in range(len(secret) - 1, MIN_KEY_PART - 1, -1):
            if text.endswith(secret[:size]):
                return text[:-size] + b"[key]"
    return text


class Call:
    """One request to one endpoint and its answer."""

    # How it is at rest. Most calls never change most of these, so one begins with none of its own.
    _connection: UpstreamConnection | None = None
    _task: asyncio.Task[None] | None = None
    _fresh = False
    _paused = False

    def __init__(self, pool: Pool, target: Target, data: bytes, sink: Sink) -> None:
        self.target = target
        self._pool = pool
        self._data = data
        self._sink: Sink | None = sink

    def start(self) -> bool:
        """Send on a kept connection (True), or on a new one (False; the sink is told when)."""
        idle = self.target.idle
        while idle:
            # The most recently used one: the others may age and close.
            if self._send(idle.pop()):
                return True
        self._connect()
        return False

    def drop(self) -> None:
        """Stop caring: the connection is closed unless its answer is already complete."""
        self._sink = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.abort()

    def release(self) -> None:
        """Everything of use has arrived: let the HTTP message end by itself, so that the connection is kept."""
        self._sink = None
        if self._connection is not None:
            self._pool.linger(self._connection)

    def pause(self) -> None:
        """The client does not keep up: read no more for now."""
        self._paused = True
        if self._connection is not None:
            self._connection.pause()

    def resume(self) -> None:
        """The client keeps up again."""
        self._paused = False
        if self._connection is not None:
            self._connection.resume()

    def _connect(self) -> None:
        self._fresh = True
        self._task = self._pool.loop.create_task(self._open())

    async def _open(self) -> None:
        try:
            connection = await self._pool.connect(self.target)
        except ssl.SSLError as error:
            self._lost(Fault.UNREACHABLE, f"TLS: {error.reason or 'handshake failed'}")
        except OSError as error:
            self._lost(Fault.UNREACHABLE, error.strerror or type(error).__name__)
        except ValueError as error:  # a host name that can not be encoded
            self._lost(Fault.UNREACHABLE, type(error).__name__)
        else:
            self._task = None
            if self._sink is None:
                connection.abort()
            elif self._send(connection):
                self._sink.on_connected()
            else:
                self._lost(Fault.RESET, "connection closed before an answer")

    def _send(self, connection: UpstreamConnection) -> bool:
        """Send on this connection; False: it is closing."""
        sink = self._sink
        assert sink is not None
        if not connection.send(self, sink, self._data):
            return False
        self._connection = connection
        if self._paused:
            connection.pause()
        return True

    # the connection calls these

    def ended(self) -> None:
        """The answer is complete."""
        self._connection = None
        sink, self._sink = self._sink, None
        if sink is not None:
            try:
                sink.on_end()
            except Exception:  # noqa: BLE001  # the sink's to log, and to end
                sink.on_crash()

    def lost(self, fault: Fault, detail: str, started: bool) -> None:
        """The connection is gone; ``started``: some of the answer had arrived."""
        self._connection = None
        if self._sink is None:
            return
        if not started and not self._fresh:
            self._connect()
        else:
            self._lost(fault, detail)

    def _lost(self, fault: Fault, detail: str) -> None:
        self._task = None
        sink, self._sink = self._sink, None
        if sink is not None:
            try:
                sink.on_lost(fault, detail)
            except Exception:  # noqa: BLE001  # the sink's to log, and to end
                sink.on_crash()

    def crashed(self) -> None:
        """The sink raised while it took a part of the answer."""
        self._connection = None
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.on_crash()


class UpstreamConnection(asyncio.Protocol):
    """One connection to an endpoint; idle in its target's pool or serving one call."""

    __slots__ = ("_call", "_paused", "_pool", "_reader", "_transport", "idle_since_s", "target")

    def __init__(self, pool: Pool, target: Target) -> None:
        self.target = target
        self._pool = pool
        self._call: Call | None = None
        self._paused = False
        self._transport: asyncio.Transport | None = None
        self._reader = ResponseReader(_no_head, _no_data, self._ended, pool.limits.max_header_bytes)
        self.idle_since_s = 0.0

    @property
    def is_busy(self) -> bool:
        """Whether an answer is still under way."""
        return self._call is not None

    def ignore(self) -> None:
        """Nobody listens to the rest of this answer."""
        self._reader.on_head = _no_head
        self._reader.on_data = _no_data

    def send(self, call: Call, sink: Sink, data: bytes) -> bool:
        """Send one request; the answer goes to the call and its sink. False: it can not, since it is closing."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        self._call = call
        reader = self._reader
        reader.reset()
        reader.on_head = sink.on_head
        reader.on_data = sink.on_data
        self._pool.outbox.write(transport, data)
        return True

    def abort(self) -> None:
        """Close at once; nobody hears of it."""
        self._call = None
        self.ignore()
        if self._transport is not None:
            self._transport.abort()

    def pause(self) -> None:
        """Read no more for now."""
        if self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None and self._paused:
            self._paused = False
            self._transport.resume_reading()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._call is None:
            # Nobody asked: whatever this is, the connection is out of step.
            self.abort()
            return
        try:
            self._reader.feed(data)
        except BadHttp as error:
            call, self._call = self._call, None
            self.abort()
            if call is not None:
                call.lost(Fault.MALFORMED, str(error), started=True)
        except Exception:  # noqa: BLE001  # a mistake of ours, not the endpoint's: nobody is to wait for what is now lost
            call, self._call = self._call, None
            self.abort()
            if call is not None:
                call.crashed()

    def _ended(self) -> None:
        call, self._call = self._call, None
        if self._paused:
            self.resume()
        reader = self._reader
        reader.on_head = _no_head
        reader.on_data = _no_data
        if reader.keep_alive:
            self._pool.give(self)
        elif self._transport is not None:
            self._transport.close()
        if call is not None:
            call.ended()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        call, self._call = self._call, None
        if call is None:
            self._pool.forget(self)
        elif self._reader.eof() and exc is None:
            call.ended()
        elif self._reader.headers_seen:
            call.lost(Fault.CUT, "connection closed before the answer was whole", started=True)
        else:
            call.lost(Fault.RESET, "connection closed before an answer", started=self._reader.started)


class Pool:
    """All connections to all endpoints."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, limits: Limits, outbox: Outbox, tls: ssl.SSLContext | None = None
    ) -> None:
        self.loop = loop
        self.limits = limits
        self._tls = tls
        self._targets: list[Target] = []
        self._leaving: list[tuple[Target, float]] = []
        """Endpoints that are gone, and until when a connection of theirs may come back."""
        self._lingering: dict[UpstreamConnection, float] = {}
        self._now_s = loop.time()
        """As of the last sweep: fine enough for idle times."""
        self._closed = False
        self.outbox = outbox

    def add(self, upstream: Upstream, stats: EndpointStats) -> Target:
        """An endpoint to be called."""
        target = Target(upstream, stats)
        self._targets.append(target)
        return target

    def renew(self, target: Target, upstream: Upstream) -> Target:
        """The endpoint's place after its settings may have changed: what is known of it goes along.

        Its open connections do too, while they lead where the new settings say.
        """
        if upstream == target.upstream:
            return target
        renewed = self.add(upstream, target.stats)
        renewed.pace = target.pace
        if (renewed.tls, renewed.host, renewed.port) == (target.tls, target.host, target.port):
            renewed.idle = target.idle
        return renewed

    def retain(self, targets: Iterable[Target]) -> None:
        """Let go of every other target: no call to it is under way, and none will be made."""
        before, self._targets = self._targets, list(targets)
        kept = {id(target.idle) for target in self._targets}
        # A connection may still be at the end of its HTTP message: it comes back within the time that may take.
        until = self.loop.time() + 2 * LINGER_S
        self._leaving += [(target, until) for target in before if id(target.idle) not in kept]

    def give(self, connection: UpstreamConnection) -> None:
        """A connection whose answer is complete."""
        if self._lingering:
            self._lingering.pop(connection, None)
        idle = connection.target.idle
        if self._closed or len(idle) >= self.limits.max_idle_per_upstream:
            connection.abort()
            return
        connection.idle_since_s = self._now_s
        idle.append(connection)

    def linger(self, connection: UpstreamConnection) -> None:
        """A connection whose answer is complete but for the end of its HTTP message."""
        connection.ignore()
        if connection.is_busy:
            self._lingering[connection] = self.loop.time()

    def forget(self, connection: UpstreamConnection) -> None:
        """An idle connection was closed by the endpoint."""
        try:
            connection.target.idle.remove(connection)
        except ValueError:
            pass

    async def connect(self, target: Target) -> UpstreamConnection:
        """Open a connection. Raises OSError (of which ssl.SSLError is one)."""
        tls = self._get_tls() if target.tls else None
        _, protocol = await self.loop.create_connection(
            lambda: UpstreamConnection(self, target),
            target.host,
            target.port,
            ssl=tls,
            server_hostname=target.server_name,
        )
        return protocol

    def sweep(self) -> None:
        """Close connections that have been idle, or ending, for long; called about once a second."""
        late = self.loop.time() - LINGER_S
        for connection in [c for c, since in self._lingering.items() if since < late or not c.is_busy]:
            del self._lingering[connection]
            if connection.is_busy:
                connection.abort()
        self._now_s = self.loop.time()
        oldest = self._now_s - self.limits.upstream_keep_alive_us / 1e6
        for target in self._targets:
            idle = target.idle
            while idle and idle[0].idle_since_s < oldest:
                idle.popleft().abort()
        for target, _ in self._leaving:
            _empty(target)
        self._leaving = [(target, until) for target, until in self._leaving if until > self._now_s]

    def close(self) -> None:
        """Close every connection that no answer is awaited on, and keep none from now on."""
        self._closed = True
        for connection in list(self._lingering):
            connection.abort()
        self._lingering.clear()
        for target in (*self._targets, *(target for target, _ in self._leaving)):
            _empty(target)

    def _get_tls(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            if not self._tls.get_ca_certs() and not any(_system_store()):
                raise ssl.SSLError("no certificate authorities on this machine: install ca-certificates")
        return self._tls


def _empty(target: Target) -> None:
    while target.idle:
        target.idle.pop().abort()


def _system_store() -> list[str]:
    paths = ssl.get_default_verify_paths()
    return [p for p in (paths.cafile, paths.capath) if p]


def _no_head(status: int, headers: dict[bytes, bytes]) -> None:
    """An answer nobody waits for."""


def _no_data(data: bytes) -> None:
    """A body nobody waits for."""
