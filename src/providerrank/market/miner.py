"""The miner: measures cells, forecasts them, commits, reveals; epoch after epoch.

::

    epoch begins ── probe what was planned, charged before it is sent
        before commit_until ── decide bundle and salt (journal), commit the hash
        before reveal_until ── reveal the salt; from now on the bundle is served

Each step is decided in the journal before it is done, and everything that is done may be repeated: after a kill at any
instant the miner goes on where the journal says it was. A bundle that was decided is the one that is committed,
whatever happens in between.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeVar

from providerrank.market.asking import Market, Probe, compute_most_nusd, compute_spent_nusd, measure
from providerrank.market.errors import Refused
from providerrank.market.journal import Call, Charge, Purpose
from providerrank.market.notes import build_record, decode_probe, encode_probe
from providerrank.market.patience import patiently
from providerrank.market.ports import Head
from providerrank.market.stats import MinerStats
from providerrank.market.timing import Clock
from providerrank.market.tools import Tools
from providerrank.rules.cells import Cell
from providerrank.rules.challenge import compute_challenge
from providerrank.rules.challenges.shape import Challenge
from providerrank.rules.forecasting import Seen, compute_forecast, compute_promise, compute_signal, compute_spread
from providerrank.rules.market_params import MARKET, MarketParams
from providerrank.rules.params import PARAMS, ChallengeParams
from providerrank.rules.probing import UNKNOWN_SPREAD, Prospect, order_probes, plan_probes
from providerrank.rules.records import Forecast, Record, Signal
from providerrank.rules.schedule import Phases
from providerrank.wire import canonical
from providerrank.wire.bundle import SALT_BYTES, Bundle, Contents, build_bundle, compute_commitment, read_bundle
from providerrank.wire.bundle_errors import BundleRefused
from providerrank.wire.merkle import Tree
from providerrank.wire.opening import Opening, encode_opening

logger = logging.getLogger("providerrank.miner")

BUNDLE: Final = "bundle"
SALT: Final = "salt"
REVEALED: Final = "revealed"
BEACON: Final = "beacon"
SEED: Final = "seed"
HISTORY_EPOCHS: Final = 8
"""Whose measurements a forecast looks at."""
KEEP_EPOCHS: Final = 10

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class MinerSettings:
    """What the operator decides."""

    spend_per_day_nusd: int | None = None
    """None: no limit."""
    spend_per_epoch_nusd: int | None = None
    most_probes: int = 2_000
    """Of one epoch."""
    concurrency: int = 8
    """Requests charged and under way at a time."""
    half_life_epochs: float = 2.0
    """Of a measurement's weight in a forecast."""
    dry_run: bool = False
    """Ask nobody, submit nothing; say what would be done."""
    challenge: ChallengeParams = PARAMS.challenge
    params: MarketParams = MARKET


class Miner:
    """One hotkey's miner; over ports."""

    def __init__(self, tools: Tools, market: Market, settings: MinerSettings) -> None:
        self.market = market
        self.settings = settings
        self._tools = tools
        self._chain = tools.chain
        self._key = tools.key
        self._journal = tools.journal
        self._now_us = tools.now_us
        self.address: str | None = None
        """Where validators reach it, to be announced."""
        self._challenges: dict[tuple[int, Cell, int], Challenge] = {}
        self._bundles: dict[int, Bundle] = {}
        self.stats = MinerStats()

    async def run(self, epochs: int | None = None) -> None:
        """Mine so many epochs, or until cancelled. Raises ``Refused`` for what an operator must mend (no funds)."""
        await self.enter()
        while epochs is None or epochs > 0:
            head = await self._patiently(self._chain.head)
            await self.run_epoch(head)
            await self._patiently(partial(self._chain.advance, head.ends))
            epochs = None if epochs is None else epochs - 1

    async def enter(self) -> None:
        """Take a uid, and say where this miner is."""
        if self.settings.dry_run:
            logger.info("dry run: would register as hotkey=%s and announce address=%s", *self._get_identity())
            return
        uid = await self._patiently(self._chain.register)
        if self.address is not None:
            try:
                await self._patiently(partial(self._chain.announce, self.address))
            except Refused as error:
                logger.warning("the address is not announced: reason=%s", error)
        logger.info("registered: uid=%d hotkey=%s", uid, self._key.address)

    async def run_epoch(self, head: Head) -> None:
        """Do what is left to do of the present epoch."""
        phases = head.phases
        self.stats.epoch = phases.epoch
        try:
            if self._journal.get(phases.epoch, BUNDLE) is None and phases.may_commit(head.block):
                await self._measure(head, phases)
            if not self.settings.dry_run:
                await self._submit(phases)
        except Refused as error:
            self.stats.missed[type(error).__name__] += 1
            logger.warning("epoch missed: epoch=%d reason=%s", phases.epoch, error)
        self._journal.forget(phases.epoch - KEEP_EPOCHS)
        self._challenges = {key: one for key, one in self._challenges.items() if key[0] >= phases.epoch - 1}
        self._bundles = {epoch: one for epoch, one in self._bundles.items() if epoch >= phases.epoch - 1}

    # ---- measuring -----------------------------------------------------------------------------------------------

    async def _measure(self, head: Head, phases: Phases) -> None:
        hyperparameters = await self._patiently(self._chain.hyperparameters)
        clock = Clock.at(head, hyperparameters.block_time_us)
        beacon = await self._patiently(lambda: self._chain.beacon(phases.challenge_block))
        counts = self.plan(phases.epoch, beacon)
        # An order of one's own: miners that ask in step would be one load, and one vantage in time.
        self._journal.decide(phases.epoch, BEACON, beacon)
        seed = self._journal.decide(phases.epoch, SEED, secrets.token_bytes(SALT_BYTES))
        order = order_probes(counts, seed)
        self.stats.planned = len(order)
        logger.info(
            "probing: epoch=%d probes=%d cells=%d until_block=%d", phases.epoch, len(order), len(counts),
            phases.commit_until,
        )  # fmt: skip
        if self.settings.dry_run:
            for cell, count in counts.items():
                logger.info("dry run: would ask endpoint=%s task=%s times=%d", cell.endpoint_id, cell.task, count)
            return
        latest_us = clock.compute_latest_us(phases.begins, phases.commit_until)
        await self._probe_all(phases.epoch, beacon, order, latest_us)
        created_us = self._now_us()
        contents = self.build_contents(phases.epoch, beacon, created_us)
        if not contents.records:
            logger.warning("nothing was measured, and nothing is committed: epoch=%d", phases.epoch)
            self.stats.missed["nothing-measured"] += 1
            return
        netuid = hyperparameters.netuid
        bundle = await asyncio.to_thread(
            build_bundle, contents, self._key, netuid=netuid, epoch=phases.epoch, created_us=created_us
        )
        self._journal.decide(phases.epoch, SALT, secrets.token_bytes(SALT_BYTES))
        self._journal.decide(phases.epoch, BUNDLE, bundle.encode())

    def plan(self, epoch: int, beacon: bytes) -> dict[Cell, int]:
        """How often to ask each cell this epoch, within the purse."""
        history = self._load_history(epoch)
        prospects = []
        for cell, demand in self.market.demand.items():
            challenge = self._get_challenge(epoch, beacon, cell, 0)
            seen = history.get(cell, [])
            cost = compute_most_nusd(self.market.endpoints[cell.endpoint_id], challenge, _get_bytes(challenge))
            spread = compute_spread(seen)
            prospects.append(
                Prospect(cell, demand, cost, UNKNOWN_SPREAD if spread is None else spread, known=len(seen))
            )
        return plan_probes(prospects, self._get_purse(epoch), self.settings.most_probes, self.settings.params)

    def _get_purse(self, epoch: int) -> int:
        """What may be spent in this epoch still."""
        settings, spent = self.settings, self._journal.get_spent_nusd(self._now_us())
        self.stats.spent_today_nusd = spent
        unlimited = 1 << 62
        of_day = unlimited if settings.spend_per_day_nusd is None else settings.spend_per_day_nusd - spent
        of_epoch = unlimited
        if settings.spend_per_epoch_nusd is not None:
            charged = sum(call.nusd for call in self._journal.calls([epoch], [Purpose.PROBE]))
            of_epoch = settings.spend_per_epoch_nusd - charged
        return max(0, min(of_day, of_epoch))

    async def _probe_all(self, epoch: int, beacon: bytes, order: list[tuple[Cell, int]], latest_us: int) -> None:
        """Ask in order, spread over the time there is; what is still under way at the end is given up."""
        start_us = self._now_us()
        left_us = latest_us - start_us
        # The last tenth is for those under way to come home.
        gap_us = 0.9 * left_us / max(1, len(order))
        # Charged only when its turn has come: what waits when time is up has cost nothing.
        turns = asyncio.Semaphore(self.settings.concurrency)

        async def probe(cell: Cell, index: int) -> None:
            async with turns:
                await self._probe(epoch, beacon, cell, index)

        try:
            async with asyncio.timeout(max(0.0, left_us / 1_000_000)), asyncio.TaskGroup() as group:
                for at, (cell, index) in enumerate(order):
                    pause_us = start_us + at * gap_us - self._now_us()
                    if pause_us > 0:
                        await self._tools.sleep(pause_us / 1_000_000)
                    group.create_task(probe(cell, index))
        except TimeoutError:
            logger.warning("time is up: what is under way is given up: epoch=%d", epoch)
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _probe(self, epoch: int, beacon: bytes, cell: Cell, index: int) -> None:
        challenge = self._get_challenge(epoch, beacon, cell, index)
        endpoint = self.market.endpoints[cell.endpoint_id]
        most_nusd = compute_most_nusd(endpoint, challenge, _get_bytes(challenge))
        call_id = f"{epoch}/{cell.endpoint_id}/{cell.task}/{index}"
        call = Call(call_id, epoch, Purpose.PROBE, cell, index, most_nusd, self._now_us())
        charged = self._journal.charge(call, self.settings.spend_per_day_nusd)
        if charged is not Charge.TAKEN:
            if charged is Charge.BROKE:
                self.stats.probes["no-money"] += 1
            return
        probe = await measure(self._tools.prober, self._tools.checker, cell, challenge)
        self._journal.settle(call_id, compute_spent_nusd(endpoint, probe, most_nusd), encode_probe(probe))
        self.stats.probes["own-fault" if probe.own_fault else probe.outcome.name.lower()] += 1

    # ---- what it has to say --------------------------------------------------------------------------------------

    def build_contents(self, epoch: int, beacon: bytes, now_us: int) -> Contents:
        """Records, forecasts and signals, from what was measured."""
        records = tuple(
            build_record(cell, self._get_challenge(epoch, beacon, cell, index), probe)
            for cell, index, probe in self._load_probes(epoch)
        )
        forecasts = self.build_forecasts(epoch, now_us)
        return Contents(records, forecasts, self.build_signals(forecasts))

    def build_forecasts(self, epoch: int, now_us: int) -> tuple[Forecast, ...]:
        """A forecast for each cell of which anything is known."""
        half_life_us = round(self.settings.half_life_epochs * self._get_epoch_us(epoch, now_us))
        found = (
            compute_forecast(cell, seen, now_us, half_life_us) for cell, seen in self._load_history(epoch + 1).items()
        )
        return tuple(forecast for forecast in found if forecast is not None)

    def build_signals(self, forecasts: Iterable[Forecast]) -> tuple[Signal, ...]:
        """Where traffic should go, for each model and task."""
        promises: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for forecast in forecasts:
            cell = forecast.cell
            endpoint = self.market.endpoints.get(cell.endpoint_id)
            if endpoint is not None:
                promises[endpoint.model, cell.task][cell.endpoint_id] = compute_promise(forecast)
        return tuple(compute_signal(model, task, promise) for (model, task), promise in sorted(promises.items()))

    def _get_epoch_us(self, epoch: int, now_us: int) -> float:
        """How long epochs take, by what the journal holds of the last two; an hour where it holds less."""
        calls = self._journal.calls(range(epoch - 1, epoch + 1), [Purpose.PROBE])
        before = [call.at_us for call in calls if call.epoch == epoch - 1]
        return max(1.0, now_us - min(before)) if before else 3_600_000_000.0

    def _load_probes(self, epoch: int) -> list[tuple[Cell, int, Probe]]:
        """What was measured in an epoch, but for what tells only of ourselves."""
        calls = self._journal.calls([epoch], [Purpose.PROBE])
        found = [(call.cell, call.index, decode_probe(call.note)) for call in calls if call.note is not None]
        return [one for one in found if not one[2].own_fault]

    def _load_history(self, before_epoch: int) -> dict[Cell, list[Seen]]:
        history: dict[Cell, list[Seen]] = defaultdict(list)
        for epoch in range(max(0, before_epoch - HISTORY_EPOCHS), before_epoch):
            for cell, _, probe in self._load_probes(epoch):
                history[cell].append(Seen(probe.started_us, probe.outcome, probe.ttft_us, probe.total_us))
        return history

    def _get_challenge(self, epoch: int, beacon: bytes, cell: Cell, index: int) -> Challenge:
        found = self._challenges.get((epoch, cell, index))
        if found is None:
            found = compute_challenge(beacon, cell, index, self.settings.challenge)
            self._challenges[epoch, cell, index] = found
        return found

    # ---- submitting ----------------------------------------------------------------------------------------------

    async def _submit(self, phases: Phases) -> None:
        """Commit and reveal what was decided; each as often as it takes."""
        salt, bundle = self._journal.get(phases.epoch, SALT), self.load_bundle(phases.epoch)
        if bundle is None or salt is None:
            return
        digest = compute_commitment(bundle.header, salt)
        if self._journal.get(phases.epoch, REVEALED) is None:
            receipt = await self._patiently(lambda: self._chain.commit(phases.epoch, digest))
            self.stats.committed += 1
            logger.info(
                "committed: epoch=%d block=%d records=%d root=%s", phases.epoch, receipt.block, bundle.header.records,
                bundle.header.root,
            )  # fmt: skip
            await self._patiently(lambda: self._chain.advance(phases.commit_until))
            receipt = await self._patiently(lambda: self._chain.reveal(phases.epoch, salt))
            self._journal.decide(phases.epoch, REVEALED, b"%d" % receipt.block)
            self.stats.revealed += 1
            self.stats.last_reveal_us = self._now_us()
            logger.info("revealed: epoch=%d block=%d", phases.epoch, receipt.block)

    # ---- what is shown -------------------------------------------------------------------------------------------

    def load_bundle(self, epoch: int) -> Bundle | None:
        """The bundle decided for an epoch."""
        found = self._bundles.get(epoch)
        if found is None:
            kept = self._journal.get(epoch, BUNDLE)
            if kept is None:
                return None
            try:
                found = read_bundle([kept])
            except BundleRefused as error:
                # Of another version of the rules: whoever decided it ran before an upgrade.
                logger.warning("the bundle in the journal is no longer valid: epoch=%d reason=%s", epoch, error)
                return None
            self._bundles[epoch] = found
        return found

    def is_shown(self, epoch: int) -> bool:
        """Whether an epoch's bundle may be seen: not before its salt is on the chain."""
        return self._journal.get(epoch, REVEALED) is not None

    def open_leaves(self, epoch: int, leaves: Iterable[int]) -> list[bytes]:
        """Openings of records of a shown bundle. Raises ``KeyError`` for what is no record of it."""
        bundle = self.load_bundle(epoch)
        if bundle is None or not self.is_shown(epoch):
            raise KeyError(epoch)
        beacon = self._journal.get(epoch, BEACON) or b""
        probes = {(cell, index): probe for cell, index, probe in self._load_probes(epoch)}
        tree = Tree(bundle.lines)
        return [self._open(epoch, beacon, bundle, tree, leaf, probes) for leaf in leaves]

    def _open(
        self, epoch: int, beacon: bytes, bundle: Bundle, tree: Tree, leaf: int, probes: dict[tuple[Cell, int], Probe]
    ) -> bytes:
        if not 0 <= leaf < bundle.header.records:
            raise KeyError(leaf)
        record: Record = bundle.contents.records[leaf]
        challenge = self._get_challenge(epoch, beacon, record.cell, record.index)
        answer = probes[record.cell, record.index].answer
        return encode_opening(Opening(leaf, bundle.lines[leaf], tree.prove(leaf), challenge.body, answer))

    def _get_identity(self) -> tuple[str, str]:
        return self._key.address, self.address or "none"

    async def _patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        return await patiently(act, self._tools.sleep)


def _get_bytes(challenge: Challenge) -> int:
    return len(canonical.encode(challenge.body))
