"""The data plane as whoever runs the gateway sees it: one process or several; started, changed, asked and drained.

``LocalPlane`` is a gateway in this process, with everything that hears of its requests; ``workers.crew.Crew`` minds
several others, each with a ``LocalPlane`` of its own.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from providerrank.apps import compose
from providerrank.apps.admin.requests import RequestSource, RingRequests
from providerrank.apps.config import Loaded
from providerrank.apps.memory import keep_large_blocks_apart
from providerrank.apps.observing import observing
from providerrank.gateway.server import Gateway
from providerrank.gateway.stats import Stats
from providerrank.rules.cells import Cell
from providerrank.rules.router import Router
from providerrank.rules.verified import Verified
from providerrank.rules.window import Window

if TYPE_CHECKING:
    from providerrank.apps.admin.usage import KeyReading

Windows = Sequence[tuple[Cell, Window]]


class Plane(Protocol):
    """See the module."""

    stats: Stats
    """Counters of all processes; brought up to date by ``refresh``."""

    async def start(self) -> None:
        """Listen. Raises OSError where the address cannot be had, ``CommandFailed`` where nobody can serve it."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that are listened on, once started."""

    @property
    def is_ready(self) -> bool:
        """Whether connections are accepted."""

    @property
    def requests(self) -> RequestSource:
        """The requests that were served."""

    def read_keys(self) -> list[KeyReading]:
        """Every key with a name. Raises ``gateway.ports.LedgerLost``."""

    def now_us(self) -> int:
        """Unix time in microseconds, the same in all processes."""

    async def refresh(self) -> None:
        """Bring ``stats`` up to date."""

    async def apply(self, loaded: Loaded, windows: Windows) -> None:
        """Take another configuration, and what is known of endpoints that are new in it; drops no request.

        Raises ``engines.errors.StoreError`` or ``gateway.ports.LedgerLost``, and has changed nothing then.
        """

    def verify(self, verified: Mapping[Cell, Verified]) -> None:
        """Rank by what the market has found."""

    def count_reload(self, result: str) -> None:
        """The configuration was read anew: ``ok``, or ``refused``."""

    async def drain(self) -> None:
        """Take no more requests and let those under way end; once."""

    def kill(self) -> None:
        """End at once whatever would outlive this process."""


class LocalPlane(Plane):
    """One gateway in this process, which learns with the router it is given.

    As one of several it is given the clock all share, and ``sockets`` that listen already, its ``own`` among them.
    """

    def __init__(
        self,
        loaded: Loaded,
        router: Router,
        *,
        epoch_ns: int | None = None,
        sockets: Sequence[socket.socket] = (),
        own: int = 0,
    ) -> None:
        self._open = AsyncExitStack()
        """What ends with the last request."""
        self._ledger = compose.build_ledger(loaded)
        self._open.callback(self._ledger.close)
        self.gateway = Gateway(compose.build_settings(loaded), router, epoch_ns=epoch_ns, ledger=self._ledger)
        self.stats = self.gateway.stats
        self._loaded = loaded
        self._router = router
        self._sockets = sockets
        self._own = own

    @override
    async def start(self) -> None:
        keep_large_blocks_apart()
        await self.gateway.start(self._sockets, self._own)
        await self._open.enter_async_context(observing(self.gateway, self._loaded))
        if not self._sockets:
            # Of several the crew says who does.
            self.gateway.prober.start()

    @property
    @override
    def address(self) -> tuple[str, int]:
        return self.gateway.settings.host, self.gateway.port

    @property
    @override
    def is_ready(self) -> bool:
        return self.gateway.is_ready

    @property
    @override
    def requests(self) -> RequestSource:
        return RingRequests(self.gateway.ring)

    @override
    def read_keys(self) -> list[KeyReading]:
        from providerrank.apps.admin.usage import read_keys

        return read_keys(self.gateway)

    @override
    def now_us(self) -> int:
        return self.gateway.now_us()

    @override
    async def refresh(self) -> None:
        """The counters are the gateway's own."""

    @override
    async def apply(self, loaded: Loaded, windows: Windows) -> None:
        catalog, settings = compose.build_catalog(loaded.config), compose.build_settings(loaded)
        for key in settings.buyer_keys:
            # Whatever may fail fails before anything has changed.
            self._ledger.open(key.name)
        # In one turn of the loop: no request sees half of it.
        self._router.reconfigure(catalog, windows)
        self.gateway.reconfigure(settings)

    @override
    def verify(self, verified: Mapping[Cell, Verified]) -> None:
        self._router.verify(verified)

    @override
    def count_reload(self, result: str) -> None:
        self.stats.count_reload(result)

    @override
    async def drain(self) -> None:
        if not self.gateway.draining:
            try:
                await self.gateway.drain()
            finally:
                await self._open.aclose()

    @override
    def kill(self) -> None:
        """Nothing does."""
