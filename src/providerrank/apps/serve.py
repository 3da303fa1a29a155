"""The life of a gateway: start, run until told to stop, drain.

The data port opens before anything a first request does not need is imported: the admin port
follows, its framework loaded on another thread. On SIGTERM or SIGINT the data port closes to new requests,
those under way end, and what was learned is saved; a second signal ends the wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import random
import signal
from collections.abc import AsyncIterator

from providerrank.apps import compose
from providerrank.apps.config import Loaded, format_mistake
from providerrank.apps.config_rules import parse_address
from providerrank.apps.failures import CommandFailed
from providerrank.apps.keeper import Keeper
from providerrank.apps.observing import observing
from providerrank.apps.version import VERSION
from providerrank.gateway.ports import Ledger, WindowStore
from providerrank.gateway.server import Gateway
from providerrank.rules.catalog import Catalog
from providerrank.rules.router import Router

logger = logging.getLogger("providerrank.serve")


class CannotListen(CommandFailed):
    """An address cannot be had; the message is one sentence for the operator."""

    def __init__(self, key: str, address: str, reason: str) -> None:
        super().__init__(f"gateway.{key}: cannot listen on {address} ({reason}): free it, or choose another.")


class Service:
    """One running gateway, to be looked into; made by ``opened``."""

    def __init__(self, loaded: Loaded, catalog: Catalog, router: Router, ledger: Ledger) -> None:
        self.loaded = loaded
        self.catalog = catalog
        self.router = router
        self.gateway = Gateway(compose.build_settings(loaded), router, ledger=ledger)
        self.url = ""
        """The data plane's address, without a path; empty until it listens."""
        self.admin_url = ""
        """Empty until the admin port is open."""

    async def listen(self) -> None:
        """Open the data port. Raises ``CannotListen``."""
        try:
            await self.gateway.start()
        except OSError as error:
            raise CannotListen("listen", self.loaded.config.gateway.listen, _describe(error)) from None
        self.url = _format_url(self.gateway.settings.host, self.gateway.port)

    async def drain(self) -> None:
        """Take no more requests and let those under way end; once."""
        if not self.gateway.draining:
            await self.gateway.drain()

    @contextlib.asynccontextmanager
    async def administered(self) -> AsyncIterator[None]:
        """Have the admin port open until the block ends. Raises ``CannotListen``."""
        # The import takes longer than everything before it; on a thread, requests are served meanwhile.
        await asyncio.to_thread(_import_admin)
        from providerrank.apps.admin.app import build_admin
        from providerrank.apps.admin.gate import Gate
        from providerrank.apps.admin.reader import AdminSources
        from providerrank.apps.admin.requests import RingRequests
        from providerrank.apps.admin.server import AdminServer
        from providerrank.apps.admin.usage import read_keys

        address = self.loaded.config.gateway.admin
        host, port = parse_address(address)
        sources = AdminSources(
            catalog=self.catalog,
            router=self.router,
            stats=self.gateway.stats,
            is_listening=lambda: self.gateway.is_ready,
            now_us=self.gateway.now_us,
            version=VERSION,
            requests=RingRequests(self.gateway.ring),
            keys=lambda: read_keys(self.gateway),
        )
        server = AdminServer(build_admin(sources, Gate(host, compose.get_client_keys(self.loaded))), host, port)
        try:
            await server.start()
        except OSError as error:
            raise CannotListen("admin", address, _describe(error)) from None
        self.admin_url = _format_url(*server.address)
        try:
            yield
        finally:
            await server.stop()


@contextlib.asynccontextmanager
async def opened(loaded: Loaded) -> AsyncIterator[Service]:
    """Run the gateway of a configuration until the block ends; both ports are open inside it.

    Raises ``CannotListen``, or ``engines.errors.StoreError`` for a store the configuration names or a ledger it needs.
    """
    store = await compose.open_windows(loaded)
    ledger = compose.build_ledger(loaded)
    try:
        catalog = compose.build_catalog(loaded.config)
        router = Router(catalog, random.Random(), windows=await store.load(), looks=compose.build_looks(loaded.config))
        service = Service(loaded, catalog, router, ledger)
        await service.listen()
        try:
            logger.info("url=%s endpoints=%d", service.url, len(catalog.endpoints))
            async with service.administered(), observing(service.gateway, loaded), _kept(router, store):
                logger.info("admin=%s", service.admin_url)
                # What was made so far lasts as long as the process: collections need not look at it again.
                gc.collect()
                gc.freeze()
                try:
                    yield service
                finally:
                    # Before the admin port closes: readiness shows the end while requests still finish.
                    await service.drain()
        finally:
            await service.drain()
    finally:
        await store.close()
        ledger.close()


@contextlib.asynccontextmanager
async def _kept(router: Router, store: WindowStore) -> AsyncIterator[None]:
    """Save what the router learns until the block ends, and then a last time."""
    keeper = Keeper(router, store)
    saving = asyncio.create_task(keeper.run(), name="keeper")
    try:
        yield
    finally:
        keeper.end()
        await saving


async def run(loaded: Loaded) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    for note in loaded.notes:
        logger.warning("%s", format_mistake(loaded.path, note))
    async with opened(loaded) as service:
        await stopping.wait()
        for signum in (signal.SIGTERM, signal.SIGINT):
            # Asked twice: no more waiting. What was learned in the last seconds is not worth anybody's.
            loop.add_signal_handler(signum, os._exit, 1)
        logger.info("stopping: connections=%d", service.gateway.stats.connections)
    logger.info("stopped")


def _import_admin() -> None:
    import providerrank.apps.admin
    import providerrank.apps.admin.server  # noqa: F401 - only loaded here, used by the caller


def _format_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _describe(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)).lower()
