"""A market without sockets: a chain in memory on a clock the test moves, endpoints that answer at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from providerrank.apps.market.nodes import validating
from providerrank.apps.market.publisher import MemoryPublisher
from providerrank.engines.chain_ledger import Ledger, create_memory_ledger
from providerrank.engines.chain_local import LocalChain
from providerrank.engines.journal_file import JournalFile
from providerrank.market.asking import Market, Probe
from providerrank.market.desk import Desk, Request, write_leaves
from providerrank.market.journal import Journal
from providerrank.market.miner import Miner, MinerSettings
from providerrank.market.neurons import Unreachable, Withheld
from providerrank.market.ports import RAO, Neuron
from providerrank.market.tools import Tools
from providerrank.market.validator import Validator, ValidatorSettings
from providerrank.rules.cells import CHAT, Cell, Endpoint, Price
from providerrank.rules.challenges.shape import Answer, Challenge, Verdict
from providerrank.rules.market_params import MARKET
from providerrank.rules.observation import Outcome
from providerrank.wire.auth import sign_request
from tests.chains import SETTINGS, STAKE, Time, make_key

SMALL = replace(MARKET, samples_min=4, records_min=4, replays_min=4, replays_max=16)
PRICE = Price.from_usd(1, 1)
ENDPOINTS = {f"{name}/m": Endpoint(f"{name}/m", "m", PRICE) for name in ("alpha", "beta")}
MARKET_ = Market(ENDPOINTS, {Cell(id_, CHAT): 1.0 for id_ in ENDPOINTS})
TTFT_US = 100_000


@dataclass(slots=True)
class FakeProber:
    """Endpoints that answer rightly, each time as fast; ``spoil`` changes what is seen."""

    time: Time
    asked: list[tuple[Cell, int]] = field(default_factory=list)
    spoil: Callable[[Cell, Probe], Probe] = lambda _, probe: probe

    async def ask(self, cell: Cell, challenge: Challenge) -> Probe:
        self.asked.append((cell, challenge.index))
        jitter = len(self.asked) % 7
        answer = Answer(challenge.solution.text)
        ttft_us = TTFT_US + 911 * jitter
        started_us = self.time.now_us() - 400_000
        probe = Probe(started_us, Outcome.SUCCESS, ttft_us, ttft_us + 50_000 + jitter, 40, 60, answer)
        return self.spoil(cell, probe)

    async def close(self) -> None:
        pass


class FakeChecker:
    """Judges what needs no code."""

    async def check(self, challenge: Challenge, answer: Answer) -> str | None:
        found = challenge.check(answer)
        return str(found.reason) if isinstance(found, Verdict) else None


@dataclass(slots=True)
class FakeNeurons:
    """Asks miners' desks without a network; ``change`` is what a hostile one shows."""

    key_name: str
    time: Time
    desks: dict[str, Desk] = field(default_factory=dict)
    change: Callable[[bytes], bytes] = lambda data: data
    change_openings: Callable[[list[bytes]], list[bytes]] = lambda shown: shown
    unreachable: set[str] = field(default_factory=set)

    async def fetch_bundle(self, neuron: Neuron, epoch: int) -> bytes:
        return self.change(await self._ask(neuron, "GET", f"/v1/bundles/{epoch}", b""))

    async def fetch_openings(self, neuron: Neuron, epoch: int, leaves: Sequence[int]) -> list[bytes]:
        body = write_leaves(list(leaves))
        answer = await self._ask(neuron, "POST", f"/v1/bundles/{epoch}/openings", body)
        return self.change_openings(answer.splitlines())

    async def close(self) -> None:
        pass

    async def _ask(self, neuron: Neuron, method: str, target: str, body: bytes) -> bytes:
        if neuron.hotkey in self.unreachable:
            raise Unreachable("it cannot be reached")
        self.time.at_us += 1
        headers = sign_request(
            make_key(self.key_name),
            method=method,
            target=target,
            body=body,
            receiver=neuron.hotkey,
            nonce_ns=self.time.now_us() * 1_000,
        )
        reply = await self.desks[neuron.hotkey].answer(Request(method, target, headers, body))
        if reply.status != 200:
            raise Withheld(f"it answers with status {reply.status}")
        return reply.body


@dataclass(slots=True)
class Bed:
    """One chain, one validator's view of it, and whatever miners a test makes."""

    time: Time
    ledger: Ledger
    neurons: FakeNeurons
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)

    def connect(self, name: str) -> LocalChain:
        return LocalChain(self.ledger, make_key(name).address, self.time.sleep)

    async def make_miner(
        self,
        name: str = "miner",
        kind: type[Miner] = Miner,
        *,
        journal: Journal | None = None,
        prober: FakeProber | None = None,
        chain: LocalChain | None = None,
        settings: MinerSettings | None = None,
    ) -> Miner:
        """A registered miner whose desk the validator can ask."""
        chain = chain or self.connect(name)
        await self.connect(name).fund(RAO)
        tools = Tools(
            chain,
            make_key(name),
            prober or FakeProber(self.time),
            FakeChecker(),
            journal or JournalFile(":memory:"),
            self.time.now_us,
            self.time.sleep,
        )
        miner = kind(tools, MARKET_, settings or MinerSettings(params=SMALL, most_probes=16))
        await miner.enter()
        self.neurons.desks[chain.hotkey] = Desk(miner, chain, chain.hotkey, lambda: self.time.now_us() * 1_000, 0)
        return miner

    @asynccontextmanager
    async def validator(
        self, journal: Journal, prober: FakeProber | None = None, settings: ValidatorSettings | None = None
    ) -> AsyncIterator[Validator]:
        """The validator, on a journal that may be another life's."""
        tools = Tools(
            self.connect("validator"),
            make_key("validator"),
            prober or FakeProber(self.time),
            FakeChecker(),
            journal,
            self.time.now_us,
            self.time.sleep,
        )
        settings = settings or ValidatorSettings(params=SMALL)
        async with validating(
            tools, MARKET_, self.publisher, settings, concurrency=4, allow_private=True, neurons=self.neurons
        ) as validator:
            yield validator


def make_bed() -> Bed:
    time = Time()
    ledger = create_memory_ledger(SETTINGS, validators=[(make_key("validator").address, STAKE)], clock=time.now_us)
    return Bed(time, ledger, FakeNeurons("validator", time))


__all__ = ["Bed", "FakeProber", "make_bed"]
