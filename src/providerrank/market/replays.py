"""Replays as jobs: who has them measured, and who measures.

The *desk* charges a job in the journal, publishes it, and settles it when its result comes; it keeps no more jobs under
way than a kill may cost. The *worker* measures what it pulls and publishes the result under the job's own id: one that
dies has its job given to another, and of two results of one job the desk keeps the first. Jobs and results are two
queues, so both ends may be anywhere.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from providerrank.market.asking import Checker, Probe, Prober, compute_most_nusd, compute_spent_nusd, measure
from providerrank.market.journal import Call, Charge, Purpose
from providerrank.market.notes import decode_probe, encode_probe
from providerrank.market.queue import Delivery, WorkQueue
from providerrank.market.stats import ValidatorStats
from providerrank.market.tools import Tools
from providerrank.rules.cells import Cell, Endpoint
from providerrank.rules.challenge import compute_challenge
from providerrank.rules.params import PARAMS, ChallengeParams
from providerrank.wire import canonical

logger = logging.getLogger("providerrank.replays")

UNDER_WAY: Final = 16
"""Jobs charged and not settled: what a kill leaves paid for and unknown."""
PULL_S: Final = 1.0
RETRY_S: Final = 1.0


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One challenge to be measured on one cell."""

    epoch: int
    purpose: Purpose
    endpoint_id: str
    task: str
    index: int
    beacon: str
    """Hex, of the epoch's challenges."""
    turn: int = 0
    """Tells measurements of one challenge from one another."""

    @property
    def id(self) -> str:
        """The same for the same measurement, whoever asks and however often."""
        return f"{self.epoch}/{self.purpose}/{self.endpoint_id}/{self.task}/{self.index}/{self.turn}"

    @property
    def cell(self) -> Cell:
        """What is measured."""
        return Cell(self.endpoint_id, self.task)


class _Result(msgspec.Struct, frozen=True, array_like=True):
    attempt: int
    note: bytes


_job = msgspec.json.Decoder(Job)
_result = msgspec.msgpack.Decoder(_Result)


class Worker:
    """Measures what it pulls, ``at_once`` jobs at a time."""

    def __init__(
        self,
        jobs: WorkQueue,
        results: WorkQueue,
        prober: Prober,
        checker: Checker,
        challenge: ChallengeParams = PARAMS.challenge,
        at_once: int = 4,
    ) -> None:
        self._jobs = jobs
        self._results = results
        self._prober = prober
        self._checker = checker
        self._challenge = challenge
        self._at_once = at_once

    async def run(self) -> None:
        """Work until cancelled; a job under way then is given to another after its deadline."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            for delivery in await self._jobs.pull(1, PULL_S):
                await self.process(delivery)

    async def process(self, delivery: Delivery) -> None:
        """Measure one job: the result is published before the job is acknowledged, or it could be lost."""
        try:
            job = _job.decode(delivery.payload)
        except msgspec.MsgspecError:
            logger.warning("a job that cannot be read is dropped: id=%s", delivery.id)
            await delivery.term()
            return
        challenge = compute_challenge(bytes.fromhex(job.beacon), job.cell, job.index, self._challenge)
        probe = await measure(self._prober, self._checker, job.cell, challenge)
        result = msgspec.msgpack.encode(_Result(delivery.attempt, encode_probe(probe)))
        await self._results.publish(delivery.id, result)
        await delivery.ack()


@dataclass(slots=True)
class ReplayDesk:
    """Has jobs measured within a limit, and knows every result."""

    tools: Tools
    jobs: WorkQueue
    results: WorkQueue
    endpoints: Mapping[str, Endpoint]
    limit_nusd: int | None
    stats: ValidatorStats
    challenge: ChallengeParams = PARAMS.challenge
    is_broke: bool = False
    """The day's limit left no room for a job."""
    _charged: dict[str, tuple[Endpoint, int]] = field(default_factory=dict)
    _waiting: dict[str, asyncio.Event] = field(default_factory=dict)
    _known: dict[str, Probe] = field(default_factory=dict)

    async def run(self) -> None:
        """Take results until cancelled."""
        while True:
            for delivery in await self.results.pull(64, PULL_S):
                self._take(delivery)
                await delivery.ack()

    def load(self, epochs: Iterable[int]) -> None:
        """Know again what the journal knows; what was paid for and never came is known to be nothing."""
        purposes = (Purpose.REFERENCE, Purpose.REPLAY, Purpose.DOUBLE)
        self._known = {
            call.id: decode_probe(call.note) for call in self.tools.journal.calls(epochs, purposes) if call.note
        }

    def get(self, job: Job) -> Probe | None:
        """What came of a job; None: it was not measured, or it tells only of ourselves."""
        probe = self._known.get(job.id)
        return None if probe is None or probe.own_fault else probe

    def get_nusd(self, job: Job) -> int:
        """The most a job costs."""
        challenge = compute_challenge(bytes.fromhex(job.beacon), job.cell, job.index, self.challenge)
        endpoint = self.endpoints[job.endpoint_id]
        return compute_most_nusd(endpoint, challenge, len(canonical.encode(challenge.body)))

    async def measure(self, jobs: Sequence[Job], until_us: int) -> None:
        """Have jobs measured, in their order, those known left out; returns when all are, or when time is up."""
        now_us = self.tools.now_us
        turns = asyncio.Semaphore(UNDER_WAY)

        async def one(job: Job, event: asyncio.Event) -> None:
            try:
                await event.wait()
            finally:
                self._waiting.pop(job.id, None)
                turns.release()

        try:
            async with asyncio.timeout(max(0.0, (until_us - now_us()) / 1_000_000)), asyncio.TaskGroup() as group:
                for job in jobs:
                    if job.id in self._known or job.id in self._waiting:
                        continue
                    await turns.acquire()
                    if not self._charge(job):
                        turns.release()
                        continue
                    event = self._waiting[job.id] = asyncio.Event()
                    await self.jobs.publish(job.id, msgspec.json.encode(job))
                    group.create_task(one(job, event))
        except TimeoutError:
            logger.warning("time is up: some replays were not made")
        self.stats.queue_waiting = await self.jobs.count()

    def _charge(self, job: Job) -> bool:
        most_nusd = self.get_nusd(job)
        call = Call(job.id, job.epoch, job.purpose, job.cell, job.index, most_nusd, self.tools.now_us())
        charged = self.tools.journal.charge(call, self.limit_nusd)
        if charged is Charge.BROKE:
            if not self.is_broke:
                logger.warning("the day's spending limit is reached: no more replays until tomorrow (UTC)")
            self.is_broke = True
        elif charged is Charge.TAKEN:
            self.is_broke = False
            self._charged[job.id] = self.endpoints[job.endpoint_id], most_nusd
        return charged is Charge.TAKEN

    def _take(self, delivery: Delivery) -> None:
        try:
            result = _result.decode(delivery.payload)
            probe = decode_probe(result.note)
        except msgspec.MsgspecError:
            logger.warning("a result that cannot be read is dropped: id=%s", delivery.id)
            return
        charged = self._charged.pop(delivery.id, None)
        if delivery.id not in self._known:
            self._known[delivery.id] = probe
            self._count(delivery.id, probe)
            if charged is not None:
                # Whoever began it before died with it, and may have been billed too.
                spent = result.attempt * compute_spent_nusd(charged[0], probe, charged[1])
                self.tools.journal.settle(delivery.id, spent, result.note)
        event = self._waiting.get(delivery.id)
        if event is not None:
            event.set()

    def _count(self, job_id: str, probe: Probe) -> None:
        counted = self.stats.references if f"/{Purpose.REFERENCE}/" in job_id else self.stats.replays
        counted["own-fault" if probe.own_fault else probe.outcome.name.lower()] += 1
