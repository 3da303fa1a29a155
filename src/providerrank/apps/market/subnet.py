"""A whole subnet in one process: a local chain, miners and validators over given endpoints, reported epoch by epoch.

For the demo and for tests. Every neuron is the real one, on the real clock, over real sockets; they share an event loop
and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from providerrank.apps.market.nodes import build_miner, build_tools, probing, serving_desk, validating
from providerrank.apps.market.publisher import MemoryPublisher
from providerrank.engines.chain_ledger import create_ledger
from providerrank.engines.chain_local import LocalChain, open_chain
from providerrank.engines.chain_settings import ChainSettings
from providerrank.engines.checker import SandboxChecker
from providerrank.engines.journal_file import JournalFile
from providerrank.engines.prober_http import Clocks, Target
from providerrank.market.asking import Checker, Market
from providerrank.market.miner import Miner, MinerSettings
from providerrank.market.outcomes import Judgement
from providerrank.market.ports import RAO
from providerrank.market.validator import Publisher, Validator, ValidatorSettings
from providerrank.wire.signature import Hotkey

STAKE_RAO = 1_000 * RAO


@dataclass(frozen=True, slots=True)
class MinerSpec:
    """One miner of a subnet: its name, and what kind it is (a liar is a kind of miner)."""

    name: str
    kind: type[Miner] = Miner


@dataclass(frozen=True, slots=True)
class SubnetSpec:
    """What to run."""

    miners: Sequence[MinerSpec]
    validators: Sequence[str]
    """Their names."""
    targets: Mapping[str, Target]
    """By endpoint id, for every endpoint of the market."""
    market: Market
    chain: ChainSettings
    miner: MinerSettings = MinerSettings()
    validator: ValidatorSettings = ValidatorSettings()
    clocks: Clocks = Clocks()
    concurrency: int = 4


@dataclass(frozen=True, slots=True)
class MinerRow:
    """One miner's standing after an epoch."""

    name: str
    hotkey: str
    uid: int
    judgements: Mapping[str, Judgement]
    """By validator's name; empty for those who judged nothing of it."""
    emission_rao: int
    """Of that epoch."""


@dataclass(frozen=True, slots=True)
class EpochReport:
    """What one epoch came to."""

    epoch: int
    miners: tuple[MinerRow, ...]
    burned_rao: int
    verified_cells: int
    replays: int
    """Of all validators so far."""


@dataclass(slots=True)
class Subnet:
    """A running subnet; made by ``running``."""

    spec: SubnetSpec
    chain: LocalChain
    miners: dict[str, Miner] = field(default_factory=dict)
    validators: dict[str, Validator] = field(default_factory=dict)
    keys: dict[str, Hotkey] = field(default_factory=dict)

    async def report(self, epoch: int) -> EpochReport:
        """Wait until an epoch has ended, and report it."""
        past = await self.chain.epoch(epoch)
        while past is None:
            head = await self.chain.head()
            await self.chain.advance(head.ends)
            past = await self.chain.epoch(epoch)
        by_hotkey = {neuron.hotkey: neuron for neuron in past.neurons}
        outcomes = {name: validator.get_outcome(epoch) for name, validator in self.validators.items()}
        rows = []
        for name in self.miners:
            hotkey = self.keys[name].address
            neuron = by_hotkey.get(hotkey)
            judged = {
                validator: judgement
                for validator, outcome in outcomes.items()
                for judgement in (() if outcome is None else outcome.judgements)
                if judgement.hotkey == hotkey
            }
            uid, emission = (-1, 0) if neuron is None else (neuron.uid, neuron.emission_rao)
            rows.append(MinerRow(name, hotkey, uid, judged, emission))
        return EpochReport(
            epoch,
            tuple(rows),
            past.burned_rao,
            max((one.stats.verified_cells for one in self.validators.values()), default=0),
            sum(sum(one.stats.replays.values()) for one in self.validators.values()),
        )


@contextlib.asynccontextmanager
async def running(
    spec: SubnetSpec, folder: Path, publisher: Publisher | None = None, checker: Checker | None = None
) -> AsyncIterator[Subnet]:
    """Start a subnet in ``folder`` and run it until the block ends; its first epoch begins at once."""
    publisher, checker = publisher or MemoryPublisher(), checker or SandboxChecker()
    names = [*spec.validators, *(miner.name for miner in spec.miners)]
    keys = {name: derive_key(name) for name in names}
    path = folder / "chain.db"
    validators = [(keys[name].address, STAKE_RAO) for name in spec.validators]
    ledger = await asyncio.to_thread(create_ledger, path, spec.chain, validators=validators)
    await asyncio.to_thread(ledger.close)
    async with contextlib.AsyncExitStack() as stack:

        async def connect(name: str) -> LocalChain:
            chain = await open_chain(path, keys[name].address)
            stack.push_async_callback(chain.close)
            return chain

        subnet = Subnet(spec, await connect(spec.validators[0]), keys=keys)
        tasks: list[asyncio.Task[None]] = []
        for miner in spec.miners:
            chain = await connect(miner.name)
            await chain.fund(10 * RAO)
            journal = JournalFile(folder / f"{miner.name}.journal")
            stack.callback(journal.close)
            prober = await stack.enter_async_context(probing(spec.targets, spec.clocks, spec.concurrency))
            tools = build_tools(chain, keys[miner.name], prober, checker, journal)
            built = build_miner(tools, spec.market, spec.miner, miner.kind)
            server = await stack.enter_async_context(serving_desk(built, chain, "127.0.0.1", 0, 1_000_000))
            built.address = f"127.0.0.1:{server.address[1]}"
            subnet.miners[miner.name] = built
        for name in spec.validators:
            chain = await connect(name)
            journal = JournalFile(folder / f"{name}.journal")
            stack.callback(journal.close)
            prober = await stack.enter_async_context(probing(spec.targets, spec.clocks, spec.concurrency))
            tools = build_tools(chain, keys[name], prober, checker, journal)
            subnet.validators[name] = await stack.enter_async_context(
                validating(
                    tools,
                    spec.market,
                    publisher,
                    spec.validator,
                    concurrency=spec.concurrency,
                    allow_private=True,
                )
            )
        tasks += [asyncio.create_task(one.run(), name=name) for name, one in subnet.miners.items()]
        tasks += [asyncio.create_task(one.run(), name=name) for name, one in subnet.validators.items()]
        try:
            yield subnet
        finally:
            await _end(tasks)


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End these, and raise what one of them died of.

    One that is told to end in the very moment in which something of its own runs out of time may take the one for the
    other, and go on: it is told again.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1.0)
    for task in tasks:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            raise error


def derive_key(name: str) -> Hotkey:
    """A key for a neuron that exists on this machine only, by its name."""
    return Hotkey(hashlib.sha256(b"providerrank/subnet/" + name.encode()).digest())
