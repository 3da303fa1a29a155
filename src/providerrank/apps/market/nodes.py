"""One miner, one validator: engines put together, and run as tasks of the caller's event loop."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping

from providerrank.apps.admin.server import AdminServer
from providerrank.apps.market.web import DeskApp
from providerrank.engines.neurons_http import HttpNeurons
from providerrank.engines.prober_http import Clocks, HttpProber, Target
from providerrank.engines.queue_local import LocalQueue
from providerrank.market.asking import Checker, Market
from providerrank.market.desk import Desk
from providerrank.market.journal import Journal
from providerrank.market.miner import Miner, MinerSettings
from providerrank.market.neurons import Neurons
from providerrank.market.ports import Chain
from providerrank.market.replays import ReplayDesk, Worker
from providerrank.market.stats import ValidatorStats
from providerrank.market.tools import Tools
from providerrank.market.validator import Publisher, Validator, ValidatorSettings
from providerrank.wire.signature import Hotkey


def now_us() -> int:
    """The computer's clock."""
    return time.time_ns() // 1_000


@contextlib.asynccontextmanager
async def serving_desk(
    miner: Miner, chain: Chain, host: str, port: int, metagraph_us: int
) -> AsyncIterator[AdminServer]:
    """Serve a miner's bundles until the block ends. Raises ``OSError`` for an address that cannot be had."""
    desk = Desk(miner, chain, chain.hotkey, time.time_ns, metagraph_us)
    server = AdminServer(DeskApp(desk.answer), host, port)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


@contextlib.asynccontextmanager
async def probing(targets: Mapping[str, Target], clocks: Clocks, concurrency: int) -> AsyncIterator[HttpProber]:
    """Have a prober until the block ends."""
    prober = HttpProber(targets, clocks, concurrency)
    try:
        yield prober
    finally:
        await prober.close()


def build_miner(tools: Tools, market: Market, settings: MinerSettings, kind: type[Miner] = Miner) -> Miner:
    """Put a miner together."""
    return kind(tools, market, settings)


@contextlib.asynccontextmanager
async def validating(
    tools: Tools,
    market: Market,
    publisher: Publisher,
    settings: ValidatorSettings,
    *,
    concurrency: int,
    allow_private: bool,
    neurons: Neurons | None = None,
) -> AsyncIterator[Validator]:
    """Have a validator with its replay queue and workers until the block ends; ``neurons`` else over HTTP."""
    jobs, results = LocalQueue(), LocalQueue()
    neurons = neurons or HttpNeurons(tools.key, allow_private=allow_private)
    desk = ReplayDesk(
        tools, jobs, results, market.endpoints, settings.spend_per_day_nusd, ValidatorStats(), settings.challenge
    )
    worker = Worker(jobs, results, tools.prober, tools.checker, settings.challenge, concurrency)
    running = [
        asyncio.create_task(desk.run(), name="replay desk"),
        asyncio.create_task(worker.run(), name="replay worker"),
    ]
    try:
        yield Validator(tools, market, neurons, desk, publisher, settings)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await neurons.close()
        await jobs.close()
        await results.close()


def build_tools(chain: Chain, key: Hotkey, prober: HttpProber, checker: Checker, journal: Journal) -> Tools:
    """A neuron's engines, on the computer's clock."""
    return Tools(chain, key, prober, checker, journal, now_us)
