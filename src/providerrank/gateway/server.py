"""The data plane: listens, admits, routes, relays, drains.

One ``Gateway`` is one process's event loop, one router and all connections. It reads no files and builds
no engines: whoever composes it (``apps.compose``) hands it settings and a router.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from urllib.parse import unquote

import msgspec

from providerrank.gateway.client import ClientConnection
from providerrank.gateway.exchange import Exchange
from providerrank.gateway.keys import Header, Key, KeyRefused, Keyring, get_presented
from providerrank.gateway.listening import Listening
from providerrank.gateway.outbox import Outbox
from providerrank.gateway.ports import Ledger, LedgerLost
from providerrank.gateway.ring import Ring
from providerrank.gateway.settings import Clocks, GatewaySettings, Limits
from providerrank.gateway.stats import Stats
from providerrank.gateway.tracing import Sampler
from providerrank.gateway.upstream import Pool, Target
from providerrank.rules.ask import Ask, EmptyPool, RoutingError, UnknownModel
from providerrank.rules.attempts import Attempt, Timing
from providerrank.rules.finished import Finished, get_cut_ask
from providerrank.rules.hedging import HedgeBudget
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.router import Router
from providerrank.wire.apis import DIALECTS, PATHS, read_any
from providerrank.wire.errors import BadRequest
from providerrank.wire.http1 import Request, clean_value
from providerrank.wire.intake import Intake
from providerrank.wire.refusal import write_error

TICK_S = 0.02
"""How often the clocks of live exchanges are looked at; finer than any of them needs."""

MARKS = frozenset(
    {b"x-request-id", b"traceparent", b"tracestate"}
    | {b"x-providerrank-session", b"x-providerrank-task", b"x-providerrank-tier"}
)
"""Headers that say something of how a request is to be served, or of what it belongs to."""

CLIENT_LINGER_US = 10_000_000
"""A client that was refused half way has this long to send the rest of its request, unread."""

TELL_EVERY_US = 60_000_000
"""The operator is told once a minute, not at each request."""

_CHECKS = {401: "the key", 402: "the balance", 403: "the key's rights", 404: "upstream_model and base_url"}

DRAIN_IDLE_S = 0.1
"""An idle connection stays this long once draining: what its client sent before it could know is on its way."""

DRAIN_RECEIVE_S = 5.0
"""And one whose request has begun to arrive this long, for the rest of it."""

SWEEP_S = 1.0
"""How often idle connections are looked at."""

log = logging.getLogger(__name__)

_encoder = msgspec.json.Encoder()

_NO_ASK = Ask("")

MAX_NAME = 128
"""Characters of a session, task or tier that are looked at: what a client names is kept, and so is bounded."""


class Gateway:
    """The data plane of one process."""

    def __init__(
        self,
        settings: GatewaySettings,
        router: Router,
        *,
        tls: ssl.SSLContext | None = None,
        jitter: Callable[[], float] = random.random,
        on_attempt: Callable[[Attempt, Observation], None] | None = None,
        epoch_ns: int | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """``epoch_ns``, when the machine's monotonic clock was 0, is given where several processes share a clock."""
        self.settings = settings
        self.router = router
        self.clocks: Clocks = settings.clocks
        self.limits: Limits = settings.limits
        self.timing = _get_timing(settings.clocks)
        self.jitter = jitter
        self.stats = Stats()
        self.ring: Ring | None = None
        """The latest requests, to be explained."""
        self._watchers: tuple[Callable[[Finished], object], ...] = ()
        """Told of each request that is over."""
        self.sampler: Sampler | None = None
        """Which requests are traced; None: none are, and what a caller says of its trace is passed on."""
        if settings.explain:
            self.ring = Ring(settings.explain)
            self.watch(self.ring.keep)
        self.hedges = HedgeBudget(settings.hedge)
        self.draining = False
        self.streamed_models: set[str] = set()
        self.targets: dict[str, Target] = {}
        self.loop: asyncio.AbstractEventLoop
        self._tls = tls
        self._on_attempt = on_attempt
        self.outbox: Outbox
        self.pool: Pool
        self._listening = Listening(lambda: ClientConnection(self))
        self._exchanges: set[Exchange] = set()
        self._connections: set[ClientConnection] = set()
        self._ticker: asyncio.TimerHandle | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._outgoing: set[Exchange] = set()
        """Requests that began before the last change of settings."""
        self.ledger = ledger
        """What keys with names have used; needed where there are any."""
        self.is_open = False
        """No keys are configured: whoever is on loopback may call."""
        self.keyring: Keyring | None = None
        """Keys with names; None: there are none."""
        self._take_keys(settings)
        self._epoch_ns = time.time_ns() - time.monotonic_ns() if epoch_ns is None else epoch_ns
        self._id_prefix = b"req-%b-" % os.urandom(4).hex().encode()
        self._id_count = 0

    # ---- life ----------------------------------------------------------------------------------------------------

    async def start(self, sockets: Sequence[socket.socket] = (), own: int = 0) -> None:
        """Listen: on the address of the settings, or on the ``own`` one of sockets that listen already.

        Raises OSError where the address can not be had.
        """
        self.loop = asyncio.get_running_loop()
        self.outbox = Outbox(self.loop)
        self.pool = Pool(self.loop, self.limits, self.outbox, self._tls)
        for upstream in self.settings.upstreams:
            endpoint_id = upstream.endpoint.id
            self.targets[endpoint_id] = self.pool.add(upstream, self.stats.add(endpoint_id))
        if sockets:
            await self._listening.take(sockets, own)
        else:
            await self._listening.bind(self.settings.host, self.settings.port)
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)

    @property
    def port(self) -> int:
        """The port that is listened on; of use where the settings say 0."""
        return self._listening.port

    @property
    def listening(self) -> Listening:
        """Where clients connect."""
        return self._listening

    @property
    def is_ready(self) -> bool:
        """Listening and not on the way out."""
        return self._listening.is_open and not self.draining

    def reconfigure(self, settings: GatewaySettings) -> None:
        """Take other settings for what begins from now on; the router is to be reconfigured in the same turn.

        A request under way keeps its candidates and its time limits, an attempt under way its address and key. What
        stays keeps its connections and counts; endpoints that are gone are let go of after the last request that may
        still ask for them. The address listened on does not change. Raises ``LedgerLost``, nothing being changed.
        """
        self._take_keys(settings)
        self.settings = replace(settings, host=self.settings.host, port=self.settings.port)
        self.clocks, self.limits, self.timing = settings.clocks, settings.limits, _get_timing(settings.clocks)
        self.pool.limits = settings.limits
        self.hedges.change(settings.hedge)
        targets = dict(self.targets)
        for upstream in settings.upstreams:
            endpoint_id = upstream.endpoint.id
            target = targets.get(endpoint_id)
            if target is None:
                targets[endpoint_id] = self.pool.add(upstream, self.stats.add(endpoint_id))
            else:
                targets[endpoint_id] = self.pool.renew(target, upstream)
        self.targets = targets
        for connection in self._connections:
            connection.reconfigure()
        self._outgoing = set(self._exchanges)
        if not self._outgoing:
            self._forget_retired()

    def _forget_retired(self) -> None:
        """Nothing under way began with other settings than these."""
        self.router.forget_retired()
        current = {upstream.endpoint.id for upstream in self.settings.upstreams}
        self.targets = {name: target for name, target in self.targets.items() if name in current}
        self.pool.retain(self.targets.values())

    async def drain(self, within_s: float | None = None) -> None:
        """Take no more requests, let those under way end and be read, then close. What is left past the limit is cut.

        Clients learn that their connection ends by its answer's ``Connection: close``. One that sent a request before
        it could know is served, so idle connections stay for a moment.
        """
        self.draining = True
        self._listening.close()
        limit_s = self.limits.drain_us / 1e6 if within_s is None else within_s
        began_s = self.loop.time()
        for connection in self._connections:
            connection.close_after_answer()
        while (passed_s := self.loop.time() - began_s) < limit_s:
            for connection in [c for c in self._connections if _is_over(c, passed_s)]:
                connection.close()
            self.outbox.flush()
            if not self._connections:
                break
            await asyncio.sleep(TICK_S)
        for connection in list(self._connections):
            connection.close()
        self.outbox.flush()
        await asyncio.sleep(0)
        for connection in list(self._connections):
            connection.abort()
        self.pool.close()
        if self._ticker is not None:
            self._ticker.cancel()
        if self._sweeper is not None:
            self._sweeper.cancel()

    def watch(self, watcher: Callable[[Finished], object]) -> None:
        """Have ``watcher`` told of each request that is over, in the loop: it is to be quick, and to change nothing."""
        self._watchers = (*self._watchers, watcher)

    def _take_keys(self, settings: GatewaySettings) -> None:
        """Accept the keys of these settings and no others. Raises ``LedgerLost``."""
        keyring = None
        if settings.buyer_keys:
            if self.ledger is None:
                raise LedgerLost("keys with names need a ledger, and this gateway has none")
            keyring = Keyring(settings.buyer_keys, self.ledger, self.stats)
        self.keyring = keyring
        self._unnamed = frozenset(key.encode() for key in settings.keys)
        self._keys = self._unnamed if keyring is None else self._unnamed | keyring.secrets
        self._accepted = frozenset(b"Bearer " + key for key in self._keys)
        self.is_open = not self._keys

    # ---- time and ids --------------------------------------------------------------------------------------------

    def now_us(self) -> int:
        """Unix time in microseconds that never goes back while this process lives."""
        return (time.monotonic_ns() + self._epoch_ns) // 1000

    # ---- requests ------------------------------------------------------------------------------------------------

    def serve(self, client: ClientConnection, request: Request) -> None:
        """Answer one request, now or through an exchange."""
        headers = request.headers
        api = PATHS.get(request.path) or PATHS.get(request.path.partition(b"?")[0])
        known = headers.get(b"authorization") in self._accepted or (client.is_trusted and b"origin" not in headers)
        if (
            api is None
            or request.method != b"POST"
            or len(self._exchanges) >= self.limits.max_pending
            or not (known or self._refuse(client, request) is None)
        ):
            self._serve_other(client, request, api)
            return
        now = self.now_us()
        if not MARKS.isdisjoint(headers):
            request_id, session, task, tier, extra = self._read_marks(headers)
        else:
            request_id, session, task, tier = self._make_request_id(), None, None, None
            extra = b"x-request-id: %b\r\n" % request_id
        key = None if self.keyring is None else self.keyring.find(headers, self._unnamed)
        try:
            intake = read_any(api, request.body)
        except BadRequest as error:
            if key is not None:
                key.stats.count_request(error.status)
            if self._watchers:
                self._tell_refused(request_id, api, error.status, error.code or "invalid_request")
            self._reply_error(client, request_id, api, error.status, str(error), error.code, error.param)
            return
        if task is not None:
            intake.task = task
        ask = Ask(
            intake.model,
            intake.models,
            intake.task,
            tier,
            session,
            intake.features,
            intake.input_tokens,
            intake.output_tokens,
            intake.preferences,
        )
        claim = None
        try:
            if key is None:
                plan = self.router.plan(ask, now, intake.prefix)
            else:
                ask = key.narrow(ask, self.router)
                plan = self.router.plan(ask, now, intake.prefix)
                claim = key.admit(plan, intake)
        except (RoutingError, KeyRefused) as error:
            self._refuse_ask(client, request_id, intake, ask, error, key)
            return
        exchange = Exchange(self, client, intake, plan, request_id, session, extra)
        if self.sampler is not None and (trace := self.sampler.begin(headers.get(b"traceparent"))) is not None:
            exchange.join(trace, _write_extra(request_id, headers, (b"tracestate",)))
        if claim is not None:
            exchange.claim = claim
        if intake.dialect is not None:
            exchange.native_lines = intake.dialect.write_headers(headers)
            if intake.dialect.id_header is not None:
                exchange.more_lines = b"%b: %b\r\n" % (intake.dialect.id_header, request_id)
        self._exchanges.add(exchange)
        if self._ticker is None:
            self._ticker = self.loop.call_later(TICK_S, self._tick)
        self.hedges.requests += 1
        client.attach(exchange)
        exchange.begin(now)

    def _read_marks(self, headers: dict[bytes, bytes]) -> tuple[bytes, str | None, str | None, str | None, bytes]:
        """Request id, session, task, tier, and the header lines that an endpoint gets beside its own.

        Tracing is passed on; nothing is that identifies the caller.
        """
        given = headers.get(b"x-request-id")
        request_id = None if given is None else clean_value(given)
        if request_id is None:
            request_id = self._make_request_id()
        extra = _write_extra(request_id, headers, (b"traceparent", b"tracestate"))
        session = _get_text(headers, b"x-providerrank-session")
        return (
            request_id,
            session,
            _get_text(headers, b"x-providerrank-task"),
            _get_text(headers, b"x-providerrank-tier"),
            extra,
        )

    def _make_request_id(self) -> bytes:
        self._id_count += 1
        return b"%b%x" % (self._id_prefix, self._id_count)

    def _serve_other(self, client: ClientConnection, request: Request, api: str | None) -> None:
        """Everything but a request that can be routed."""
        path = request.path.partition(b"?")[0]
        if path == b"/health":
            client.send_simple(200, b'{"status":"ok"}')
            return
        refusal = self._refuse(client, request)
        if refusal is None and path == b"/v1/models" and request.method == b"GET":
            client.send_simple(200, _list_models(self._get_models(request)))
            self.stats.count_request("models", 200)
            return
        if refusal is None and path.startswith(b"/v1/models/") and request.method == b"GET":
            name = unquote(path.removeprefix(b"/v1/models/").decode("latin-1"))
            models = self._get_models(request)
            if self.router.resolve(name) in models:
                client.send_simple(200, _encoder.encode(_describe_model(name)))
                self.stats.count_request("models", 200)
                return
            refusal = (404, str(UnknownModel(name, models)), "model_not_found")
        headers: list[Header] = []
        if refusal is None:
            shown = (clean_value(path) or b"this path").decode()
            if path == b"/v1/models":
                refusal, headers = (405, f"{shown} takes GET", "method_not_allowed"), [(b"Allow", b"GET")]
            elif api is None:
                refusal = (404, f"nothing at {shown}; POST /v1/chat/completions is the usual place", "not_found")
            elif request.method != b"POST":
                refusal, headers = (405, f"{shown} takes POST", "method_not_allowed"), [(b"Allow", b"POST")]
            else:
                refusal = (503, f"{self.limits.max_pending} requests are under way; try again shortly", "overloaded")
        request_id = self._read_marks(request.headers)[0]
        if self._watchers:
            self._tell_refused(request_id, api or "other", refusal[0], refusal[2], is_kept=False)
        self._reply_error(client, request_id, api or "other", *refusal, headers=headers)

    def _get_models(self, request: Request) -> list[str]:
        """The models its caller may ask for."""
        key = None if self.keyring is None else self.keyring.find(request.headers, self._unnamed)
        models = self.router.models()
        return models if key is None else [name for name in models if key.may_use(name)]

    def _refuse(self, client: ClientConnection, request: Request) -> tuple[int, str, str] | None:
        """Why this caller is not served; None: it is. Never says what a right key would look like."""
        headers = request.headers
        if headers.get(b"authorization") in self._accepted:
            return None
        if not self._keys:
            if not client.is_loopback:
                return 401, "without configured keys only loopback may call: set gateway.keys", "invalid_api_key"
            origin = headers.get(b"origin")
            if origin is not None and not _is_loopback_origin(origin):
                # A page of some site in a browser on this machine is not the operator.
                return 403, "without configured keys, web pages of other sites are refused", "origin_refused"
            return None
        if not self._keys.isdisjoint(get_presented(headers)):
            return None
        return 401, "Incorrect API key provided.", "invalid_api_key"

    def _reply_error(
        self,
        client: ClientConnection,
        request_id: bytes,
        api: str,
        status: int,
        message: str,
        code: str | None,
        param: str | None = None,
        headers: Iterable[Header] = (),
    ) -> None:
        self.stats.count_request(api, status)
        lines = [(b"x-request-id", request_id), *headers]
        if status == 503:
            lines.append((b"Retry-After", b"1"))
        dialect = DIALECTS.get(api)
        write = write_error if dialect is None else dialect.write_error
        if dialect is not None and dialect.id_header is not None:
            lines.append((dialect.id_header, request_id))
        client.send_simple(status, write(status, message, code=code, param=param), lines)

    def _refuse_ask(
        self,
        client: ClientConnection,
        request_id: bytes,
        intake: Intake,
        ask: Ask,
        error: RoutingError | KeyRefused,
        key: Key | None,
    ) -> None:
        """A request that could be read, and is not even tried."""
        status, message, code, param = _get_refusal(error)
        headers: Iterable[Header] = ()
        if isinstance(error, KeyRefused):
            headers = error.headers
        elif intake.lost and not intake.may_lose:
            message += _explain_lost(intake.api, intake.lost)
        if key is not None:
            key.stats.count_request(status)
        if self._watchers:
            routing_error = error if isinstance(error, RoutingError) else None
            # A client without a budget may ask often; it would push out who has one.
            self._tell_refused(
                request_id, intake.api, status, code, get_cut_ask(ask), routing_error, is_kept=status != 429
            )
        self._reply_error(client, request_id, intake.api, status, message, code, param, headers)

    def _tell_refused(
        self,
        request_id: bytes,
        api: str,
        status: int,
        code: str,
        ask: Ask = _NO_ASK,
        error: RoutingError | None = None,
        *,
        is_kept: bool = True,
    ) -> None:
        """Have the watchers told of a request that was never tried.

        Who may not call is not kept to be explained: it would push out those who may.
        """
        now = self.now_us()
        finished = Finished(request_id, api, ask, False, status, (), began_us=now, ended_us=now, code=code)
        if isinstance(error, EmptyPool):
            finished.lanes, finished.sights = error.lanes, error.sights
        for watcher in self._watchers:
            if is_kept or self.ring is None or watcher is not self.ring.keep:
                watcher(finished)

    # ---- for exchanges -------------------------------------------------------------------------------------------

    def start_attempt(self, attempt: Attempt) -> Target:
        """An attempt is under way."""
        endpoint_id = attempt.endpoint.id
        target = self.targets[endpoint_id]
        target.stats.in_flight += 1
        self.router.acquire(endpoint_id)
        return target

    def end_attempt(self, attempt: Attempt, observation: Observation, session: str | None) -> None:
        """An attempt is over: release its place, learn from it, count it."""
        endpoint_id = attempt.endpoint.id
        self.router.release(endpoint_id)
        self.targets[endpoint_id].stats.count_end(attempt, observation.outcome, observation.at_us)
        self.router.observe(observation, session)
        if observation.outcome is Outcome.REFUSED_US:
            self.tell_operator(attempt, observation.at_us)
        if self._on_attempt is not None:
            self._on_attempt(attempt, observation)

    def tell_operator(self, attempt: Attempt, now_us: int) -> None:
        """An endpoint refuses our key, balance or model name: say so, once a minute, since only a person mends it."""
        stats = self.targets[attempt.endpoint.id].stats
        if now_us - stats.told_us >= TELL_EVERY_US:
            stats.told_us = now_us
            log.warning(
                "endpoint refuses us: endpoint=%s status=%s check=%s",
                attempt.endpoint.id,
                attempt.status,
                _CHECKS.get(attempt.status or 0, "key, balance and model name"),
            )

    def is_live(self, exchange: Exchange) -> bool:
        """Whether the exchange has not ended."""
        return exchange in self._exchanges

    def close_exchange(self, exchange: Exchange) -> None:
        """The exchange has ended."""
        self._exchanges.discard(exchange)
        if exchange.claim is not None:
            exchange.claim.settle()
        finished = exchange.tell()
        self.stats.count_end(finished)
        for watcher in self._watchers:
            watcher(finished)
        attempts = exchange.attempts
        if len(attempts) > 1 and (attempts[0].fault is not None or sum(not one.hedge for one in attempts) > 1):
            self.stats.fallbacks += 1

    # ---- connections ---------------------------------------------------------------------------------------------

    def open_connection(self, connection: ClientConnection) -> None:
        """A client connected."""
        self._connections.add(connection)
        self.stats.connections = len(self._connections)
        if len(self._connections) > self.limits.max_connections:
            connection.abort()

    def lose_connection(self, connection: ClientConnection) -> None:
        """A client is gone."""
        self._connections.discard(connection)
        self.stats.connections = len(self._connections)

    def _tick(self) -> None:
        self._ticker = None
        if not self._exchanges:
            return
        self._ticker = self.loop.call_later(TICK_S, self._tick)
        now = self.now_us()
        for exchange in list(self._exchanges):
            try:
                exchange.tick(now)
            except Exception:  # noqa: BLE001  # a mistake of ours in one exchange is not to stop the clocks of the others
                exchange.on_crash()

    def _sweep(self) -> None:
        self._sweeper = self.loop.call_later(SWEEP_S, self._sweep)
        self.pool.sweep()
        self.stats.pending = len(self._exchanges)
        if self._outgoing:
            self._outgoing &= self._exchanges
            if not self._outgoing:
                self._forget_retired()
        now = self.now_us()
        limits = self.limits
        for connection in list(self._connections):
            age = now - connection.since_us
            if connection.is_lingering:
                if age > CLIENT_LINGER_US:
                    connection.abort()
            elif connection.is_stalled(now, limits.client_stall_us) or (
                connection.is_receiving and age > limits.client_head_us
            ):
                connection.abort()
            elif connection.is_idle and age > limits.keep_alive_us:
                connection.close()


def _get_timing(clocks: Clocks) -> Timing:
    return Timing(clocks.connect_us, clocks.idle_us, clocks.total_us, clocks.patience_us)


def _is_over(connection: ClientConnection, passed_s: float) -> bool:
    """Whether a connection may be closed this long after draining began."""
    if connection.is_lingering:
        return True
    if connection.is_receiving:
        return passed_s > DRAIN_RECEIVE_S
    return connection.is_idle and passed_s > DRAIN_IDLE_S


def _list_models(names: list[str]) -> bytes:
    data = [_describe_model(name) for name in names]
    ends = {"first_id": names[0], "last_id": names[-1]} if names else {"first_id": None, "last_id": None}
    return _encoder.encode({"object": "list", "data": data, "has_more": False, **ends})


def _write_extra(request_id: bytes, headers: dict[bytes, bytes], names: tuple[bytes, ...]) -> bytes:
    """Header lines that an endpoint gets beside its own; those in ``names`` as the client sent them."""
    extra = b"x-request-id: %b\r\n" % request_id
    for name in names:
        value = headers.get(name)
        if value is not None and (clean := clean_value(value, 512)) is not None:
            extra += b"%b: %b\r\n" % (name, clean)
    return extra


def _describe_model(name: str) -> dict[str, object]:
    """A model in OpenAI's shape, and in Anthropic's: neither's clients mind the other's fields."""
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "providerrank",
        "type": "model",
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
    }


def _get_text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else value[:MAX_NAME].decode("latin-1").strip() or None


def _get_refusal(error: RoutingError | KeyRefused) -> tuple[int, str, str, str | None]:
    """Status, message, code and parameter of a request that is not even tried."""
    if isinstance(error, KeyRefused):
        return error.status, str(error), error.code, error.param
    if isinstance(error, UnknownModel):
        return 404, str(error), "model_not_found", "model"
    if isinstance(error, EmptyPool):
        return 400, str(error), "no_endpoint_fits", "model"
    return 400, str(error), "invalid_value", None


def _explain_lost(api: str, lost: tuple[str, ...]) -> str:
    """What to do about a request that only endpoints of its own API can serve."""
    return (
        f" Only endpoints with the feature {api!r} can take {', '.join(lost)}: leave that out, "
        'or send "provider": {"require_parameters": false} to have it dropped.'
    )


def _is_loopback_origin(origin: bytes) -> bool:
    host = origin.partition(b"://")[2]
    name = host.rpartition(b":")[0] if b":" in host and not host.endswith(b"]") else host
    return name in (b"localhost", b"127.0.0.1", b"[::1]")
