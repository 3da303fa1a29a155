"""The data plane: listens, admits, routes, relays, drains.

One ``Gateway`` is one process's event loop, one router and all connections. It reads no files and builds
no engines: whoever composes it (``apps.compose``) hands it settings and a router.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from providerrank.gateway.client import ClientConnection
from providerrank.gateway.door import Door
from providerrank.gateway.exchange import Exchange
from providerrank.gateway.homes import Homes
from providerrank.gateway.listening import Listening
from providerrank.gateway.outbox import Outbox
from providerrank.gateway.ports import Ledger
from providerrank.gateway.priority import NORMAL
from providerrank.gateway.prober import Prober
from providerrank.gateway.ring import Ring
from providerrank.gateway.settings import Clocks, GatewaySettings, Limits, Priority
from providerrank.gateway.stats import Stats
from providerrank.gateway.upstream import Pool, Target
from providerrank.rules.attempt import Attempt
from providerrank.rules.attempts import Timing
from providerrank.rules.finished import Finished
from providerrank.rules.hedging import HedgeBudget
from providerrank.rules.observation import Observation, Outcome
from providerrank.rules.router import Router

TICK_S = 0.02
"""How often the clocks of live exchanges are looked at; finer than any of them needs."""

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

_REFUSED_US: Final = Outcome.REFUSED_US


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
        if settings.explain:
            self.ring = Ring(settings.explain)
            self.watch(self.ring.keep)
        self.hedges = HedgeBudget(settings.hedge)
        self.homes = Homes()
        """Who keeps the conversations that answers belong to."""
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
        self.door = Door(self)
        """Takes requests; what it lets in is begun here."""
        self.prober = Prober(self, random.Random())
        """Asks endpoints that nobody asks; of several processes at one address one is to start it."""
        self._epoch_ns = time.time_ns() - time.monotonic_ns() if epoch_ns is None else epoch_ns

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
        self.door.take(settings)
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
        self.prober.take()

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
        self.prober.stop()
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

    # ---- time and ids --------------------------------------------------------------------------------------------

    def now_us(self) -> int:
        """Unix time in microseconds that never goes back while this process lives."""
        return (time.monotonic_ns() + self._epoch_ns) // 1000

    # ---- exchanges -----------------------------------------------------------------------------------------------

    @property
    def pending(self) -> int:
        """Requests under way."""
        return len(self._exchanges) - self.prober.live

    @property
    def is_full(self) -> bool:
        """As many requests are under way as there may be."""
        return len(self._exchanges) >= self.limits.max_pending

    def begin_probe(self, probe: Exchange) -> None:
        """Ask an endpoint something of our own."""
        self._exchanges.add(probe)
        if self._ticker is None:
            self._ticker = self.loop.call_later(TICK_S, self._tick)
        probe.begin(self.now_us())

    def begin(self, exchange: Exchange, client: ClientConnection, priority: Priority, now_us: int) -> None:
        """Serve a request that was let in."""
        self._exchanges.add(exchange)
        if self._ticker is None:
            self._ticker = self.loop.call_later(TICK_S, self._tick)
        self.hedges.requests += 1
        client.attach(exchange)
        if priority is NORMAL:
            exchange.begin(now_us)
        else:
            exchange.take_turn(now_us, priority)

    def tell(self, finished: Finished, *, is_kept: bool = True) -> None:
        """Have the watchers told of a request that is over; ``is_kept``: to be explained, too."""
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
        if observation.outcome is _REFUSED_US:
            self.tell_operator(attempt, observation.at_us)
        if self._on_attempt is not None:
            self._on_attempt(attempt, observation)

    def end_probe(self, attempt: Attempt, observation: Observation, cost_nusd: int) -> None:
        """A probe's attempt is over: release its place, learn from it, count it apart from requests."""
        endpoint_id = attempt.endpoint.id
        self.router.release(endpoint_id)
        self.targets[endpoint_id].stats.count_probe(attempt, observation.outcome, cost_nusd, observation.at_us)
        self.router.observe(observation)
        if observation.outcome is Outcome.REFUSED_US:
            self.tell_operator(attempt, observation.at_us)

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
        if exchange.is_probe:
            self.prober.end(exchange)
            self.tell(finished, is_kept=False)
            if self.ring is not None:
                self.ring.keep_probe(finished)
            return
        self.stats.count_end(finished)
        for watcher in self._watchers:
            watcher(finished)
        if len(finished.log) > 1:
            attempts = exchange.attempts
            if attempts[0].fault is not None or sum(not one.hedge for one in attempts) > 1:
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
        self.stats.pending = self.pending
        if self._outgoing:
            self._outgoing &= self._exchanges
            if not self._outgoing:
                self._forget_retired()
        now = self.now_us()
        limits = self.limits
        for connection in list(self._connections):
            since = connection.since_us
            if since is None:
                connection.since_us = since = now
            age = now - since
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
