"""The validator: measures references, replays what the later beacon picks, judges, scores, sets weights; every epoch.

::

    epoch begins ── references: its own measurements of the cells, unpredictable, before the deadline
        reveal_until ── the sample's beacon: fetch, open, replay, judge, score; decide the outcome (journal)
        before ends ── set weights once, publish what is verified

After a kill at any instant it goes on where the journal says it was: what was measured is not paid twice, an outcome
that was decided stands, and weights are set once, as the chain's own record of them shows.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol, TypeVar

import msgspec

from providerrank.market.asking import Market, Probe
from providerrank.market.errors import DeadlinePassed, RateLimited, Refused
from providerrank.market.journal import Purpose
from providerrank.market.judging import Trial, add_triple, build_sample
from providerrank.market.neurons import Neurons, NotShown
from providerrank.market.notes import decode_probe
from providerrank.market.outcomes import (
    Judgement,
    Outcome,
    Scorer,
    build_findings,
    build_judgement,
    compute_earnings,
    compute_next_averages,
    compute_row,
    decode_outcome,
    encode_outcome,
    find_duplicates,
    find_news_epoch,
    get_carried,
    hash_fingerprint,
)
from providerrank.market.patience import patiently
from providerrank.market.ports import Head, Hyperparameters, Receipt
from providerrank.market.replays import Job, ReplayDesk
from providerrank.market.stats import ValidatorStats
from providerrank.market.submissions import Inspector, Reading, Submission, fetch_submissions, is_own_network
from providerrank.market.timing import Clock
from providerrank.market.tools import Tools
from providerrank.rules.cells import Cell
from providerrank.rules.market_params import MARKET, MarketParams
from providerrank.rules.nulls import Nulls
from providerrank.rules.outcomes import Sample
from providerrank.rules.params import PARAMS, ChallengeParams
from providerrank.rules.probing import Prospect, plan_cells
from providerrank.rules.schedule import Phases
from providerrank.rules.scoring import get_fingerprint
from providerrank.rules.verified import Finding

logger = logging.getLogger("providerrank.validator")

OUTCOME: Final = "outcome"
ROW: Final = "weights"
SET: Final = "weights-set"
SEED: Final = "seed"
SEEN: Final = "seen:"
TRAILING_EPOCHS: Final = 6
"""Whose measurements the baseline and the calibration look at."""
SEEN_EPOCHS: Final = 3
KEEP_EPOCHS: Final = 10
FINGERPRINT_BYTES: Final = 8

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ValidatorSettings:
    """What the operator decides."""

    spend_per_day_nusd: int | None = None
    """None: no limit."""
    references: int = 4
    """Of each cell and epoch."""
    most_cells: int = 1_000
    """Looked at in one epoch."""
    dry_run: bool = False
    """Ask no endpoint, submit nothing; say what would be done."""
    challenge: ChallengeParams = PARAMS.challenge
    params: MarketParams = MARKET


class Publisher(Protocol):
    """Where verified reputations go."""

    async def publish(self, findings: Sequence[Finding]) -> None:
        """Keep findings, each in the place of the same validator's earlier one; may be repeated."""
        ...


class Validator:
    """One hotkey's validator; over ports. ``desk`` has its replays measured."""

    def __init__(
        self,
        tools: Tools,
        market: Market,
        neurons: Neurons,
        desk: ReplayDesk,
        publisher: Publisher,
        settings: ValidatorSettings,
    ) -> None:
        self.market = market
        self.settings = settings
        self.desk = desk
        self._tools = tools
        self._chain = tools.chain
        self._journal = tools.journal
        self._neurons = neurons
        self._publisher = publisher
        self.stats: ValidatorStats = desk.stats

    async def run(self, epochs: int | None = None) -> None:
        """Validate so many epochs, or until cancelled."""
        while epochs is None or epochs > 0:
            head = await self._patiently(self._chain.head)
            await self.run_epoch(head)
            await self._patiently(partial(self._chain.advance, head.ends))
            epochs = None if epochs is None else epochs - 1

    async def run_epoch(self, head: Head) -> None:
        """Do what is left to do of the present epoch."""
        phases = head.phases
        self.stats.epoch = phases.epoch
        hyperparameters = await self._patiently(self._chain.hyperparameters)
        clock = Clock.at(head, hyperparameters.block_time_us)
        self.desk.load(range(max(0, phases.epoch - TRAILING_EPOCHS), phases.epoch + 1))
        try:
            beacon = await self._patiently(partial(self._chain.beacon, phases.challenge_block))
            if self.settings.dry_run:
                await self._rehearse(phases, beacon)
                return
            if self._journal.get(phases.epoch, OUTCOME) is None:
                if phases.may_commit(head.block):
                    await self._measure_references(phases, clock, beacon)
                await self._patiently(partial(self._chain.advance, phases.sample_block))
                outcome = await self._judge(phases, clock, hyperparameters, beacon)
                if outcome is None:
                    return
                self._journal.decide(phases.epoch, OUTCOME, encode_outcome(outcome))
            await self._set_weights(phases)
        except Refused as error:
            self.stats.missed[type(error).__name__] += 1
            logger.warning("no weights this epoch: epoch=%d reason=%s", phases.epoch, error)
        finally:
            self._journal.forget(phases.epoch - KEEP_EPOCHS)
            self.stats.spent_today_nusd = self._journal.get_spent_nusd(self._tools.now_us())

    def get_outcome(self, epoch: int) -> Outcome | None:
        """What became of an epoch; None where it was not judged, or too long ago."""
        kept = self._journal.get(epoch, OUTCOME)
        return None if kept is None else decode_outcome(kept)

    # ---- before the deadline -------------------------------------------------------------------------------------

    def plan_cells(self, beacon: bytes) -> list[Cell]:
        """The cells to look at this epoch, in their order."""
        prospects = [Prospect(cell, demand, 0) for cell, demand in self.market.demand.items()]
        return plan_cells(prospects, beacon)[: self.settings.most_cells]

    def _plan_references(self, epoch: int, beacon: bytes) -> list[Job]:
        """Which challenges of each cell, and in which order, is this validator's secret until it is done."""
        seed = self._journal.decide(epoch, SEED, secrets.token_bytes(32))
        draw = random.Random(seed)
        cells = self.plan_cells(seed)
        rounds: list[list[Job]] = []
        for turn in range(self.settings.references):
            row = [
                Job(
                    epoch=epoch,
                    purpose=Purpose.REFERENCE,
                    endpoint_id=cell.endpoint_id,
                    task=cell.task,
                    index=draw.randrange(4 * self.settings.params.records_min),
                    beacon=beacon.hex(),
                    turn=turn,
                )
                for cell in cells
            ]
            draw.shuffle(row)
            rounds.append(row)
        return [job for row in rounds for job in row]

    async def _measure_references(self, phases: Phases, clock: Clock, beacon: bytes) -> None:
        jobs = self._plan_references(phases.epoch, beacon)
        until_us = clock.compute_latest_us(phases.begins, phases.commit_until)
        logger.info("references: epoch=%d requests=%d", phases.epoch, len(jobs))
        now_us = self._tools.now_us()
        rounds = max(1, self.settings.references)
        gap_us = 0.8 * (until_us - now_us) / rounds
        for turn in range(rounds):
            # Spread over the phase: an endpoint is not the same at its end as at its beginning.
            pause_us = now_us + turn * gap_us - self._tools.now_us()
            if pause_us > 0:
                await self._tools.sleep(pause_us / 1_000_000)
            await self.desk.measure([job for job in jobs if job.turn == turn], until_us)

    def _load(self, epochs: range, purposes: Sequence[Purpose]) -> dict[int, dict[Cell, list[Probe]]]:
        """One's own measurements by epoch and cell, in the order of time; faults of one's own left out."""
        found: dict[int, dict[Cell, list[Probe]]] = defaultdict(lambda: defaultdict(list))
        for call in self._journal.calls(epochs, purposes):
            if call.note is not None:
                probe = decode_probe(call.note)
                if not probe.own_fault:
                    found[call.epoch][call.cell].append(probe)
        for cells in found.values():
            for probes in cells.values():
                probes.sort(key=lambda probe: probe.started_us)
        return found

    def build_nulls(self, epoch: int) -> Nulls:
        """The calibration, from one's own references and replays of the last epochs."""
        nulls = Nulls(self.settings.params)
        epochs = range(max(0, epoch - TRAILING_EPOCHS), epoch + 1)
        references = self._load(epochs, [Purpose.REFERENCE])
        for cells in references.values():
            for cell, probes in cells.items():
                for at in range(0, len(probes) - 2, 2):
                    add_triple(nulls, cell.endpoint_id, *probes[at : at + 3])
        return nulls

    def build_trailing(self, epoch: int) -> dict[Cell, list[Sample]]:
        """What was known of each cell before this epoch's deadline."""
        trailing: dict[Cell, list[Sample]] = defaultdict(list)
        before = self._load(range(max(0, epoch - TRAILING_EPOCHS), epoch), [Purpose.REFERENCE, Purpose.REPLAY])
        now = self._load(range(epoch, epoch + 1), [Purpose.REFERENCE])
        for cells in (*before.values(), *now.values()):
            for cell, probes in cells.items():
                trailing[cell] += [build_sample(probe) for probe in probes]
        return trailing

    # ---- after the deadline --------------------------------------------------------------------------------------

    async def _judge(
        self, phases: Phases, clock: Clock, hyperparameters: Hyperparameters, beacon: bytes
    ) -> Outcome | None:
        """Judge the epoch; None where nothing can be said of anybody, and nobody is to suffer for it."""
        epoch, settings = phases.epoch, self.settings
        sample_beacon = await self._patiently(partial(self._chain.beacon, phases.sample_block))
        commitments = await self._patiently(partial(self._chain.commitments, phases))
        metagraph = await self._patiently(self._chain.metagraph)
        own = metagraph.find(self._chain.hotkey)
        reading = Reading(hyperparameters.netuid, epoch, clock.compute_window(phases))
        submissions = await fetch_submissions(self._neurons, metagraph, commitments, reading)
        if is_own_network(submissions):
            self.stats.missed["own-network"] += 1
            logger.warning("no miner can be reached, so none is judged: our own network may be down: epoch=%d", epoch)
            return None
        latest = self._journal.get_latest(OUTCOME, epoch)
        before = None if latest is None else decode_outcome(latest[1])
        references = self._load(range(epoch, epoch + 1), [Purpose.REFERENCE]).get(epoch, {})
        trial = Trial(
            epoch, beacon, sample_beacon, self.market, self.desk, self.build_nulls(epoch), settings.params, references
        )
        refused = await self._open_all(trial, submissions, before)
        until_us = clock.compute_latest_us(phases.reveal_until, phases.ends)
        await trial.run(until_us, self.plan_cells(sample_beacon), settings.params.samples_min)
        self.stats.abstained_cells = sum(not trial.replays.get(cell) for cell in self.market.demand)
        scorer = self._build_scorer(trial, before, hyperparameters)
        judgements = (*refused, *self._score(trial, scorer))
        outcome = Outcome(
            epoch=epoch,
            judgements=judgements,
            averages=compute_next_averages(before, judgements, settings.params),
            carried={
                case.hotkey: {str(name): wealth for name, wealth in trial.get_verdict(case).carried.items()}
                for case in trial.cases
            },
            at_us=self._tools.now_us(),
            history=tuple(scorer.history.values()),
            news_epoch=find_news_epoch(epoch, before, judgements),
        )
        self._note(trial, judgements)
        stake_rao = 0 if own is None else own.stake_rao
        findings = build_findings(trial, outcome, self._chain.hotkey, stake_rao, settings.params)
        verified = {one.cell: one for one in (() if before is None else before.verified)}
        verified |= {finding.cell: finding.forecast for finding in findings}
        await self._publisher.publish(findings)
        self.stats.verified_cells = len(findings)
        logger.info("judged: epoch=%d bundles=%d verified_cells=%d", epoch, len(submissions), len(findings))
        return msgspec.structs.replace(outcome, verified=tuple(verified.values()))

    async def _open_all(
        self, trial: Trial, submissions: Sequence[Submission], before: Outcome | None
    ) -> list[Judgement]:
        """Have every bundle's leaves opened and put it on trial; returns what becomes of those that cannot be."""
        inspector = Inspector(
            self._neurons,
            self._tools.checker,
            trial.epoch,
            trial.challenge_beacon,
            trial.sample_beacon,
            self.settings.challenge,
            self.settings.params,
        )

        async def open_one(submission: Submission) -> Judgement | None:
            hotkey = submission.neuron.hotkey
            if submission.bundle is None:
                return Judgement(hotkey=hotkey, code=submission.code, reason=submission.reason)
            try:
                opened = await inspector.open(submission)
            except NotShown as error:
                return Judgement(hotkey=hotkey, code=error.code, reason=f"{error}.", root=submission.bundle.header.root)
            trial.add(submission, opened, inspector.compute_beacon(hotkey), get_carried(before, hotkey))
            return None

        found = await asyncio.gather(*map(open_one, submissions))
        return [one for one in found if one is not None]

    def _build_scorer(self, trial: Trial, before: Outcome | None, hyperparameters: Hyperparameters) -> Scorer:
        return Scorer(
            trial,
            self.build_trailing(trial.epoch),
            before,
            hyperparameters.tempo_blocks * hyperparameters.block_time_us,
            {case.hotkey: self._load_seen(trial.epoch, case.hotkey) for case in trial.cases},
            self.settings.params,
        )

    def _score(self, trial: Trial, scorer: Scorer) -> list[Judgement]:
        params = self.settings.params
        # In the order they were committed in: of duplicates the first is paid.
        trial.cases.sort(key=lambda case: (case.submission.commitment.block, case.hotkey))
        originals = find_duplicates(trial.cases, params)
        return [build_judgement(case, scorer, originals) for case in trial.cases]

    def _note(self, trial: Trial, judgements: Sequence[Judgement]) -> None:
        """Remember what was submitted, and count and tell what became of it."""
        for case in trial.cases:
            bundle = case.submission.bundle
            assert bundle is not None
            digests = b"".join(
                hash_fingerprint(record.cell, get_fingerprint(record)) for record in bundle.contents.records
            )
            self._journal.decide(trial.epoch, SEEN + case.hotkey, digests)
        for one in judgements:
            self.stats.bundles[one.code] += 1
            self.stats.trips += one.code == "tripped"
            logger.info(
                "bundle: epoch=%d hotkey=%s code=%s score=%.4f replays=%d cells=%d reason=%s",
                trial.epoch, one.hotkey, one.code, one.score, one.replays, one.cells, one.reason or "-",
            )  # fmt: skip

    def _load_seen(self, epoch: int, hotkey: str) -> set[bytes]:
        seen: set[bytes] = set()
        for earlier in range(max(0, epoch - SEEN_EPOCHS), epoch):
            kept = self._journal.get(earlier, SEEN + hotkey) or b""
            seen |= {kept[at : at + FINGERPRINT_BYTES] for at in range(0, len(kept), FINGERPRINT_BYTES)}
        return seen

    # ---- weights -------------------------------------------------------------------------------------------------

    async def _set_weights(self, phases: Phases) -> None:
        """Set what the outcome says, once."""
        epoch = phases.epoch
        outcome = self.get_outcome(epoch)
        if outcome is None or self._journal.get(epoch, SET) is not None:
            return
        metagraph = await self._patiently(self._chain.metagraph)
        own = metagraph.find(self._chain.hotkey)
        decided = self._journal.get(epoch, ROW)
        if decided is None:
            try:
                earnings = compute_earnings(outcome, self.settings.params)
                row = compute_row(earnings, metagraph, self._chain.hotkey, self.settings.params)
            except ValueError as error:
                self.stats.missed["no-burn"] += 1
                logger.warning("no weights are set: epoch=%d reason=%s", epoch, error)
                return
            since = metagraph.block
            decided = self._journal.decide(epoch, ROW, msgspec.json.encode((since, sorted(row.items()))))
        elif own is not None and own.last_update >= msgspec.json.decode(decided)[0]:
            # Set before a restart that came before it was noted.
            self._journal.decide(epoch, SET, b"%d" % own.last_update)
            return
        _, pairs = msgspec.json.decode(decided)
        receipt = await self._send(phases, dict(pairs))
        self._journal.decide(epoch, SET, b"%d" % receipt.block)
        self.stats.weights_set += 1
        self.stats.last_weights_us = self._tools.now_us()
        logger.info("weights set: epoch=%d block=%d uids=%d", epoch, receipt.block, len(pairs))

    async def _send(self, phases: Phases, row: dict[int, int]) -> Receipt:
        """Set weights as soon as the chain takes them, within the epoch. Raises ``Refused``."""
        while True:
            try:
                return await self._patiently(partial(self._chain.set_weights, row))
            except RateLimited as error:
                if error.until_block >= phases.ends:
                    raise
                head = await self._patiently(partial(self._chain.advance, error.until_block))
            if head.block >= phases.ends:
                raise DeadlinePassed(f"setting weights for epoch {phases.epoch}", phases.ends, head.block)

    # ---- dry run -------------------------------------------------------------------------------------------------

    async def _rehearse(self, phases: Phases, beacon: bytes) -> None:
        """Say what would be done."""
        jobs = self._plan_references(phases.epoch, beacon)
        most_nusd = sum(self.desk.get_nusd(job) for job in jobs)
        logger.info(
            "dry run: would make references=%d of cells=%d for at most nusd=%d, then at most replays=%d a bundle",
            len(jobs), len({job.cell for job in jobs}), most_nusd, self.settings.params.replays_max,
        )  # fmt: skip

    async def _patiently(self, act: Callable[[], Awaitable[T]]) -> T:
        return await patiently(act, self._tools.sleep)
