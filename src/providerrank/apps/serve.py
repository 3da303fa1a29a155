"""The life of a gateway: start, run until told to stop, reload, drain.

The data port opens before anything a first request does not need is imported: the admin port
follows, its framework loaded on another thread. On SIGHUP the configuration is read again. On SIGTERM or SIGINT the
data port closes to new requests, those under way end, and what was learned is saved; a second signal ends the wait.
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
from dataclasses import replace
from typing import TYPE_CHECKING

from providerrank.apps import compose, config
from providerrank.apps.config import ConfigRefused, Loaded, format_mistake
from providerrank.apps.config.addresses import parse_address
from providerrank.apps.failures import CommandFailed
from providerrank.apps.keeper import Keeper, Watch
from providerrank.apps.notify import READY, STOPPING, get_reloading, keep_telling, notify
from providerrank.apps.plane import LocalPlane, Plane, Windows
from providerrank.apps.reload import Reloaded, ReloadRefused, compute_effective, compute_reloaded
from providerrank.apps.version import VERSION
from providerrank.engines.errors import StoreError
from providerrank.gateway.ports import LedgerLost, Store
from providerrank.rules.catalog import Catalog
from providerrank.rules.router import Router

if TYPE_CHECKING:
    from providerrank.apps.admin.gate import Gate, GatedApp

logger = logging.getLogger("providerrank.serve")


class CannotListen(CommandFailed):
    """An address cannot be had; the message is one sentence for the operator."""

    def __init__(self, key: str, address: str, reason: str) -> None:
        super().__init__(f"gateway.{key}: cannot listen on {address} ({reason}): free it, or choose another.")


class Service:
    """One running gateway, to be looked into; made by ``opened``."""

    def __init__(self, loaded: Loaded, router: Router, store: Store) -> None:
        self.loaded = loaded
        """What it runs by: as read last, but for what only a restart changes."""
        self.catalog: Catalog = compose.build_catalog(loaded.config)
        self.router = router
        """What is known, of all processes."""
        self.plane = _build_plane(loaded, router)
        self.url = ""
        """The data plane's address, without a path; empty until it listens."""
        self.admin_url = ""
        """Empty until the admin port is open."""
        self.store = store
        self._keeper = Keeper(router, store)
        self._watch = Watch(store, self.plane.verify)
        self._admin: GatedApp | None = None
        self._reloading = asyncio.Lock()

    async def listen(self) -> None:
        """Open the data port. Raises ``CannotListen``."""
        try:
            await self.plane.start()
        except OSError as error:
            raise CannotListen("listen", self.loaded.config.gateway.listen, _describe(error)) from None
        self.url = _format_url(*self.plane.address)

    async def drain(self) -> None:
        """Take no more requests and let those under way end; once."""
        await self.plane.drain()

    async def reload(self) -> Reloaded:
        """Read the configuration again and go on by it, without dropping a request.

        Raises ``ReloadRefused``: then nothing has changed.
        """
        async with self._reloading:
            running = self.loaded
            try:
                # Off the loop: a configuration of thousands takes longer to read than a request should wait.
                read = await asyncio.to_thread(config.load, running.path, running.environ)
                effective, needs_restart = compute_effective(running.config, read.config)
                loaded = replace(read, config=effective)
                gate = self._build_gate(loaded)
            except ConfigRefused as refused:
                raise self._refuse(str(refused).splitlines()) from None
            except ValueError as error:  # the admin port would be open to the network
                raise self._refuse([f"{running.path}: {error}"]) from None
            notes = [format_mistake(read.path, note) for note in read.notes]
            reloaded = compute_reloaded(running.config, effective, needs_restart, notes)
            windows = await self._find_windows(set(reloaded.added)) if reloaded.added else ()
            try:
                await self.plane.apply(loaded, windows)
            except (StoreError, LedgerLost) as error:
                raise self._refuse([str(error)]) from None
            self.loaded, self.catalog = loaded, compose.build_catalog(effective)
            if self._admin is not None and gate is not None:
                self._admin.gate = gate
            self.plane.count_reload("ok")
            for note in notes:
                logger.warning("%s", note)
            if needs_restart:
                logger.warning(
                    "changed, and takes effect when the gateway is started again: %s", " ".join(needs_restart)
                )
            logger.info(
                "reloaded: endpoints=%d added=%d removed=%d changed=%d",
                reloaded.endpoints,
                len(reloaded.added),
                len(reloaded.removed),
                len(reloaded.changed),
            )
            return reloaded

    def _refuse(self, reasons: list[str]) -> ReloadRefused:
        for reason in reasons:
            logger.error("%s", reason)
        logger.error("reload refused: the configuration in use stays as it was")
        self.plane.count_reload("refused")
        return ReloadRefused(reasons)

    def _build_gate(self, loaded: Loaded) -> Gate | None:
        """Who may read the admin port from now on. Raises ``ValueError`` where anybody could."""
        if self._admin is None:
            return None
        from providerrank.apps.admin.gate import Gate

        return Gate(self._admin.gate.host, compose.get_client_keys(loaded))

    async def _find_windows(self, endpoint_ids: set[str]) -> Windows:
        """What the store knows of endpoints that were here once and come back."""
        await self._keeper.save()
        try:
            kept = await self.store.load()
        except StoreError as error:
            logger.warning("what is known of new endpoints cannot be read: %s", error)
            return ()
        return [(cell, window) for cell, window in kept if cell.endpoint_id in endpoint_ids]

    @contextlib.asynccontextmanager
    async def administered(self) -> AsyncIterator[None]:
        """Have the admin port open until the block ends. Raises ``CannotListen``."""
        # The import takes longer than everything before it; on a thread, requests are served meanwhile.
        await asyncio.to_thread(_import_admin)
        from providerrank.apps.admin.app import build_admin
        from providerrank.apps.admin.gate import Gate
        from providerrank.apps.admin.reader import AdminSources
        from providerrank.apps.admin.server import AdminServer

        address = self.loaded.config.gateway.admin
        host, port = parse_address(address)
        plane = self.plane
        sources = AdminSources(
            catalog=self.catalog,
            get_catalog=lambda: self.catalog,
            router=self.router,
            stats=plane.stats,
            refresh=plane.refresh,
            is_listening=lambda: plane.is_ready,
            now_us=plane.now_us,
            version=VERSION,
            requests=plane.requests,
            keys=plane.read_keys,
            reload=self.reload,
        )
        self._admin = build_admin(sources, Gate(host, compose.get_client_keys(self.loaded)))
        server = AdminServer(self._admin, host, port)
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
    async def kept(self) -> AsyncIterator[None]:
        """Save what the router learns until the block ends, and then a last time."""
        saving = asyncio.create_task(self._keeper.run(), name="keeper")
        try:
            yield
        finally:
            self._keeper.end()
            await saving

    async def look_at_verified(self) -> None:
        """Rank by what the market has verified so far."""
        await self._watch.look()

    @contextlib.asynccontextmanager
    async def verified(self) -> AsyncIterator[None]:
        """Rank by what the market verifies, as it comes, until the block ends."""
        await self.look_at_verified()
        watching = asyncio.create_task(self._watch.run(), name="verified")
        try:
            yield
        finally:
            watching.cancel()
            await asyncio.wait([watching])


@contextlib.asynccontextmanager
async def opened(loaded: Loaded) -> AsyncIterator[Service]:
    """Run the gateway of a configuration until the block ends; both ports are open inside it.

    Raises ``CannotListen``, or ``engines.errors.StoreError`` for a store the configuration names or a ledger it needs.
    """
    store = await compose.open_windows(loaded)
    try:
        catalog = compose.build_catalog(loaded.config)
        router = Router(catalog, random.Random(), windows=await store.load(), looks=compose.build_looks(loaded.config))
        service = Service(loaded, router, store)
        try:
            await service.listen()
            logger.info("url=%s endpoints=%d", service.url, len(catalog.endpoints))
            async with service.administered(), service.kept(), service.verified():
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


async def run(loaded: Loaded) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopping, hangup = asyncio.Event(), asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    for note in loaded.notes:
        logger.warning("%s", format_mistake(loaded.path, note))
    async with opened(loaded) as service:
        tasks = [asyncio.create_task(_reload_at(hangup, service)), asyncio.create_task(keep_telling())]
        notify(READY)
        await stopping.wait()
        for signum in (signal.SIGTERM, signal.SIGINT):
            # Asked twice: no more waiting. What was learned in the last seconds is not worth anybody's.
            loop.add_signal_handler(signum, _end_now, service.plane)
        notify(STOPPING)
        logger.info("stopping: connections=%d", service.plane.stats.connections)
        tasks[0].cancel()
    tasks[1].cancel()
    logger.info("stopped")


async def _reload_at(hangup: asyncio.Event, service: Service) -> None:
    """Read the configuration again whenever asked by signal."""
    while True:
        await hangup.wait()
        hangup.clear()
        notify(get_reloading())
        with contextlib.suppress(ReloadRefused):  # it was logged
            await service.reload()
        notify(READY)


def _end_now(plane: Plane) -> None:
    plane.kill()
    os._exit(1)


def _build_plane(loaded: Loaded, router: Router) -> Plane:
    if loaded.config.gateway.workers == 1:
        return LocalPlane(loaded, router)
    from providerrank.apps.workers.crew import Crew

    return Crew(loaded, router)


def _import_admin() -> None:
    import providerrank.apps.admin
    import providerrank.apps.admin.server  # noqa: F401 - only loaded here, used by the caller


def _format_url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _describe(error: OSError) -> str:
    return (os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)).lower()
