"""A neuron's life as a process: open what it needs, serve, run until told to stop, and say what it does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

from providerrank.apps import compose as gateway_compose
from providerrank.apps.admin.server import AdminServer
from providerrank.apps.config import Loaded
from providerrank.apps.config.addresses import parse_address
from providerrank.apps.failures import CommandFailed
from providerrank.apps.market import compose, metrics
from providerrank.apps.market.nodes import build_miner, build_tools, now_us, probing, serving_desk, validating
from providerrank.apps.market.publisher import StorePublisher
from providerrank.apps.market.web import StatusApp
from providerrank.engines.chain_local import open_chain
from providerrank.engines.checker import SandboxChecker
from providerrank.engines.journal_file import JournalFile
from providerrank.engines.prober_http import Clocks
from providerrank.market.errors import ChainError
from providerrank.market.journal import JournalBusy, JournalLost
from providerrank.market.miner import Miner
from providerrank.market.validator import Validator
from providerrank.rules.cells import NUSD_PER_USD, Cell

logger = logging.getLogger("providerrank.neuron")

PROGRESS_S = 10.0
METAGRAPH_US = 30_000_000


async def run_miner(loaded: Loaded, *, dry_run: bool, epochs: int | None) -> None:
    """Mine until told to stop, or so many epochs. Raises ``CommandFailed``."""
    table = loaded.config.miner
    key = compose.get_key(loaded, table.key, "miner")
    market = compose.build_market(loaded, await _count_requests(loaded))
    host, port = parse_address(table.listen)
    async with _translated(), contextlib.AsyncExitStack() as stack:
        chain = await open_chain(compose.get_path(loaded, loaded.config.chain.file), key.address)
        stack.push_async_callback(chain.close)
        journal = JournalFile(":memory:" if dry_run else compose.get_path(loaded, table.journal))
        stack.callback(journal.close)
        prober = await stack.enter_async_context(probing(compose.build_targets(loaded), Clocks(), table.concurrency))
        tools = build_tools(chain, key, prober, SandboxChecker(), journal)
        miner = build_miner(tools, market, compose.build_miner_settings(loaded, dry_run=dry_run))
        with _listening("miner.listen", table.listen):
            server = await stack.enter_async_context(serving_desk(miner, chain, host, port, METAGRAPH_US))
        miner.address = table.announce or f"{server.address[0]}:{server.address[1]}"
        await _serve_metrics(stack, table.metrics, "miner", lambda: metrics.write_miner(miner.stats, now_us()))
        await _run_until_told(miner.run(epochs), lambda: _tell_miner(miner))


async def run_validator(loaded: Loaded, *, dry_run: bool, epochs: int | None) -> None:
    """Validate until told to stop, or so many epochs. Raises ``CommandFailed``."""
    table = loaded.config.validator
    key = compose.get_key(loaded, table.key, "validator")
    market = compose.build_market(loaded, await _count_requests(loaded))
    async with _translated(), contextlib.AsyncExitStack() as stack:
        chain = await open_chain(compose.get_path(loaded, loaded.config.chain.file), key.address)
        stack.push_async_callback(chain.close)
        journal = JournalFile(":memory:" if dry_run else compose.get_path(loaded, table.journal))
        stack.callback(journal.close)
        store = await gateway_compose.open_windows(loaded)
        stack.push_async_callback(store.close)
        prober = await stack.enter_async_context(probing(compose.build_targets(loaded), Clocks(), table.concurrency))
        tools = build_tools(chain, key, prober, SandboxChecker(), journal)
        validator = await stack.enter_async_context(
            validating(
                tools,
                market,
                StorePublisher(store),
                compose.build_validator_settings(loaded, dry_run=dry_run),
                concurrency=table.concurrency,
                allow_private=table.private_addresses,
            )
        )
        stats = validator.stats
        await _serve_metrics(stack, table.metrics, "validator", lambda: metrics.write_validator(stats, now_us()))
        await _run_until_told(validator.run(epochs), lambda: _tell_validator(validator))


async def _count_requests(loaded: Loaded) -> dict[Cell, float]:
    """Requests of each cell, as this gateway has seen them lately: what demand there is here."""
    return {cell: window.requests for cell, window in await gateway_compose.read_windows(loaded)}


async def _serve_metrics(
    stack: contextlib.AsyncExitStack, address: str | None, table: str, get: Callable[[], str]
) -> None:
    if address is not None:
        server = AdminServer(StatusApp(get), *parse_address(address))
        with _listening(f"{table}.metrics", address):
            await server.start()
        stack.push_async_callback(server.stop)
        logger.info("metrics: url=http://%s:%d/metrics", *server.address)


@contextlib.contextmanager
def _listening(key: str, address: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CommandFailed(
            f"{key}: cannot listen on {address} ({error.strerror or error}): free it, or choose another."
        ) from None


async def _run_until_told(neuron: Coroutine[object, object, None], tell: Callable[[], None]) -> None:
    """Run until it ends, or SIGTERM or SIGINT; then stop at once: the journal knows where to go on."""
    # A line for each request, with its address, is not ours to log.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    loop = asyncio.get_running_loop()
    running = asyncio.ensure_future(neuron)
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, running.cancel)

    async def progress() -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            tell()

    telling = asyncio.create_task(progress(), name="progress")
    try:
        await running
    except asyncio.CancelledError:
        logger.info("stopped")
    finally:
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def _tell_miner(miner: Miner) -> None:
    stats = miner.stats
    logger.info(
        "progress: epoch=%d probes=%d planned=%d spent_today_usd=%.4f revealed=%d",
        stats.epoch,
        sum(stats.probes.values()),
        stats.planned,
        stats.spent_today_nusd / NUSD_PER_USD,
        stats.revealed,
    )


def _tell_validator(validator: Validator) -> None:
    stats = validator.stats
    logger.info(
        "progress: epoch=%d replays=%d references=%d trips=%d spent_today_usd=%.4f weights_set=%d",
        stats.epoch,
        sum(stats.replays.values()),
        sum(stats.references.values()),
        stats.trips,
        stats.spent_today_nusd / NUSD_PER_USD,
        stats.weights_set,
    )


@contextlib.asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Make what an operator has to mend one sentence."""
    try:
        yield
    except (ChainError, JournalBusy, JournalLost) as error:
        raise CommandFailed(str(error)) from None
