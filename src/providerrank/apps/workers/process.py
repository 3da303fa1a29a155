"""A worker: a data plane in a process of its own, begun and minded by the crew.

It is a fresh interpreter, not a fork: a fork of a process with threads (the admin port, the store) may hang on a lock
nobody holds. It is handed its end of a socket pair and the listening sockets of all workers, and everything else
through the pair, so that all work from the same configuration. When the other end is gone it drains and leaves: no
worker outlives what it reports to.

    python -P -m providerrank.apps.workers.process INDEX LINK SOCKET,SOCKET,...
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec
import uvloop

from providerrank.apps import compose, config, logs
from providerrank.apps.plane import LocalPlane
from providerrank.apps.workers import messages
from providerrank.apps.workers.link import Link
from providerrank.apps.workers.messages import Terms
from providerrank.apps.workers.sharing import SharingRouter
from providerrank.gateway.tally import write_figures

BATCH_S = 0.025
"""What is seen is sent this often: soon enough for all to rank alike, seldom enough to cost little."""

COUNTS_EVERY_S = 1.0
"""What a kill may take from the counters."""

BATCH_AT_MOST = 10_000
"""Attempts in one message."""


class Worker:
    """One worker's life."""

    def __init__(self, index: int, sockets: Sequence[socket.socket]) -> None:
        self._index = index
        self._sockets = sockets
        self._link = Link()
        self._stopping = asyncio.Event()
        self._router: SharingRouter
        self._plane: LocalPlane | None = None
        self._ticks = 0
        self._adopting: set[asyncio.Future[None]] = set()
        link = self._link
        link.on_ask = {
            messages.BEGIN: self._begin,
            messages.RELOAD: self._reload,
            messages.COUNTS: self._count,
            messages.EXPLAIN: self._explain,
            messages.LATEST: self._get_latest,
        }
        link.on_tell = {
            messages.SEEN: lambda body: self._router.learn(messages.decode_seen(body)),
            messages.COOLED: self._cool,
            messages.ADOPT: self._adopt,
            messages.HAND_BACK: self._hand_back,
            messages.VERIFIED: lambda body: self._router.verify(messages.read_verified(body)),
            messages.PROBE: lambda _: self._running.gateway.prober.start(),
            messages.DRAIN: lambda _: self._stopping.set(),
        }

    async def run(self, plug: socket.socket) -> None:
        """Serve until told to stop, or until nobody is there to tell."""
        loop = asyncio.get_running_loop()
        # The crew is told to end by the terminal's Ctrl-C too, and tells us when.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGHUP, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        await self._link.connect(plug)
        waits = [asyncio.create_task(event.wait()) for event in (self._link.lost, self._stopping)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        plane = self._plane
        if plane is not None:
            self._link.tell(messages.LEAVING)
            await plane.drain()
            self._send_seen()
            self._link.tell(messages.COUNTS, _write_counts(plane))
        self._link.close()
        await asyncio.wait([asyncio.create_task(self._link.lost.wait())], timeout=1.0)

    # ---- asked and told ------------------------------------------------------------------------------------------

    async def _begin(self, body: bytes) -> bytes:
        begin = messages.decode_begin(body)
        loaded = _load(begin.terms)
        logs.configure(loaded.config.gateway.log, loaded.config.gateway.log_level)
        self._router = SharingRouter(
            compose.build_catalog(loaded.config),
            random.Random(),
            windows=messages.read_windows(begin.windows),
            looks=compose.build_looks(loaded.config),
        )
        self._router.resume(begin.conditions)
        self._router.share(
            lambda endpoint_id, until_us: self._link.tell(
                messages.COOLED, messages.encode(messages.Cooled(endpoint_id, until_us))
            )
        )
        plane = LocalPlane(loaded, self._router, epoch_ns=begin.epoch_ns, sockets=self._sockets, own=self._index)
        await plane.start()
        self._plane = plane
        del begin, loaded, body
        gc.collect()
        gc.freeze()
        self._tick()
        return b""

    async def _reload(self, body: bytes) -> bytes:
        reload = messages.decode_reload(body)
        # Off the loop: a configuration of thousands takes longer to read than a request should wait.
        loaded = await asyncio.to_thread(_load, reload.terms)
        await self._running.apply(loaded, messages.read_windows(reload.windows))
        return b""

    async def _count(self, _: bytes) -> bytes:
        self._send_seen()
        return _write_counts(self._running)

    async def _explain(self, body: bytes) -> bytes:
        return messages.encode(await self._running.requests.find(body.decode()))

    async def _get_latest(self, body: bytes) -> bytes:
        return messages.encode(await self._running.requests.get_latest(messages.decode_index(body)))

    def _cool(self, body: bytes) -> None:
        cooled = messages.decode_cooled(body)
        self._router.cool_too(cooled.endpoint_id, cooled.until_us)

    def _adopt(self, body: bytes) -> None:
        adopting = asyncio.ensure_future(self._running.gateway.listening.adopt(messages.decode_index(body)))
        self._adopting.add(adopting)
        adopting.add_done_callback(self._adopting.discard)

    def _hand_back(self, body: bytes) -> None:
        self._running.gateway.listening.hand_back(messages.decode_index(body))

    @property
    def _running(self) -> LocalPlane:
        """What nobody asks for before it has begun."""
        assert self._plane is not None
        return self._plane

    # ---- telling -------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        self._send_seen()
        self._ticks += 1
        if self._ticks * BATCH_S >= COUNTS_EVERY_S:
            self._ticks = 0
            self._link.tell(messages.COUNTS, _write_counts(self._running), may_miss=True)
        if not self._link.lost.is_set():
            asyncio.get_running_loop().call_later(BATCH_S, self._tick)

    def _send_seen(self) -> None:
        seen = self._router.take_seen()
        for at in range(0, len(seen), BATCH_AT_MOST):
            self._link.tell(messages.SEEN, messages.encode(seen[at : at + BATCH_AT_MOST]), may_miss=True)


def _write_counts(plane: LocalPlane) -> bytes:
    return msgspec.msgpack.encode(write_figures(plane.stats))


def _load(terms: Terms) -> config.Loaded:
    return config.parse(terms.text, Path(terms.path), terms.environ)


def main(arguments: Sequence[str]) -> int:
    """Be the worker that the arguments say."""
    index, link, *_ = arguments
    sockets = [socket.socket(fileno=int(number)) for number in arguments[2].split(",")]
    plug = socket.socket(fileno=int(link))

    async def run() -> None:
        await Worker(int(index), sockets).run(plug)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())
    return 0


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # What is left is the interpreter's own end, which takes longer than all of the above.
    os._exit(code)
