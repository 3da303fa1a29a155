"""Judging an epoch's bundles: replays in waves until each has its verdict, then what each is worth.

All bundles are replayed together, shuffled over miners and cells, so neither an endpoint nor anyone watching can tell
whose claim is being looked at. A challenge several miners measured is replayed once for all of them: each bundle's
error rate is its own, and the validator pays once. Between waves every bundle is judged as far as it has come, and one
that has its verdict is replayed no more.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from providerrank.market.asking import Market, Probe
from providerrank.market.journal import Purpose
from providerrank.market.replays import Job, ReplayDesk
from providerrank.market.submissions import Submission
from providerrank.rules.cells import Cell
from providerrank.rules.gate import Opened, Verdict, judge, plan_replays
from providerrank.rules.market_params import MarketParams
from providerrank.rules.nulls import Nulls, Timing
from providerrank.rules.observation import Outcome
from providerrank.rules.outcomes import Sample
from providerrank.rules.records import Record
from providerrank.rules.replay_test import COMPLETED, Claimed, Decision, Measured, Replay, ReplayTest, Test
from providerrank.wire.opening import hash_answer

WAVE: Final = 8
"""Replays of one bundle between two looks: a verdict that is clear early costs few more."""
DOUBLE_SHARE: Final = 5
"""One replay in so many is made twice, to see how an endpoint agrees with itself."""


def build_measured(probe: Probe) -> Measured:
    """Turn a probe into what the gate compares."""
    timing = None
    if probe.outcome in COMPLETED and probe.ttft_us is not None:
        timing = Timing(probe.ttft_us, probe.total_us)
    return Measured(probe.outcome, timing, hash_answer(probe.answer))


def build_sample(probe: Probe) -> Sample:
    """Turn a probe into what forecasts are held to."""
    completed = probe.outcome in COMPLETED
    return Sample(probe.outcome, probe.ttft_us if completed else None, probe.total_us if completed else None)


@dataclass(slots=True)
class Case:
    """One bundle on trial."""

    submission: Submission
    opened: Sequence[Opened]
    test: ReplayTest
    plan: list[Record]
    """Claims in the order they are replayed."""
    at: int = 0
    fault: str | None = None
    """One of its own, found before any replay."""

    @property
    def hotkey(self) -> str:
        """Whose it is."""
        return self.submission.neuron.hotkey

    @property
    def is_open(self) -> bool:
        """Whether more replays could change anything."""
        return self.at < len(self.plan) and self.test.decide() is Decision.MORE


@dataclass(slots=True)
class Trial:
    """All bundles of an epoch, the replays they share, and the validator's calibration."""

    epoch: int
    challenge_beacon: bytes
    sample_beacon: bytes
    market: Market
    desk: ReplayDesk
    nulls: Nulls
    params: MarketParams
    references: Mapping[Cell, Sequence[Probe]]
    """The validator's own, of this epoch, before the deadline."""
    cases: list[Case] = field(default_factory=list)
    replays: dict[Cell, dict[int, Probe]] = field(default_factory=lambda: defaultdict(dict))
    """By challenge index."""
    _doubled: set[str] = field(default_factory=set)

    def add(
        self, submission: Submission, opened: Sequence[Opened], beacon: bytes, carried: Mapping[Test, float]
    ) -> None:
        """Put a bundle on trial; one whose opened leaves are untrue is judged without a replay."""
        assert submission.bundle is not None
        records = submission.bundle.contents.records
        test = ReplayTest(Claimed.count(records), self.nulls, carried, self.params)
        known = self.market.demand
        plan = [records[at] for at in plan_replays(records, beacon, self.params)]
        case = Case(submission, opened, test, [record for record in plan if record.cell in known])
        if judge(None, opened, test, self.params).gate == 0:
            case.plan.clear()
        self.cases.append(case)

    async def run(self, until_us: int, cells: Sequence[Cell], samples: int) -> None:
        """Replay until every bundle has its verdict and the cells their samples, or until time or money is out."""
        fills = self._plan_fills(cells, samples)
        while True:
            waves = [(case, case.plan[case.at : case.at + WAVE]) for case in self.cases if case.is_open]
            jobs = {job.id: job for _, wave in waves for job in self._plan_jobs(wave)}
            for _ in range(max(WAVE, len(jobs) // 2)):
                if fills:
                    job = fills.pop()
                    jobs.setdefault(job.id, job)
            if not jobs or self.desk.is_broke or self.desk.tools.now_us() >= until_us:
                break
            await self.desk.measure(self._shuffle(list(jobs.values())), until_us)
            self._calibrate(jobs.values())
            for case, wave in waves:
                self._judge(case, wave)

    def get_verdict(self, case: Case) -> Verdict:
        """What becomes of a bundle, by what is known."""
        return judge(case.fault, case.opened, case.test, self.params)

    def get_samples(self, cell: Cell) -> list[Sample]:
        """What was measured of a cell after the deadline."""
        return [build_sample(probe) for _, probe in sorted(self.replays.get(cell, {}).items())]

    # ---- one wave ------------------------------------------------------------------------------------------------

    def _plan_jobs(self, wave: Sequence[Record]) -> list[Job]:
        jobs = [self._build_job(Purpose.REPLAY, record.cell, record.index) for record in wave]
        doubles = [
            self._build_job(Purpose.DOUBLE, record.cell, record.index)
            for record in wave
            if self._draw(b"double", record.cell, record.index) % DOUBLE_SHARE == 0
        ]
        return jobs + doubles

    def _plan_fills(self, cells: Sequence[Cell], samples: int) -> list[Job]:
        """Further challenges of each cell, so that there are samples enough; those wanted first at the end."""
        fills: list[Job] = []
        for cell in cells:
            indices = sorted(range(samples * 2), key=lambda index: self._draw(b"fill", cell, index))
            fills += [self._build_job(Purpose.REPLAY, cell, index) for index in indices[:samples]]
        fills.reverse()
        return fills

    def _judge(self, case: Case, wave: Sequence[Record]) -> None:
        """Show a wave's results to its bundle, in the order they were planned."""
        for record in wave:
            case.at += 1
            second = self.replays.get(record.cell, {}).get(record.index)
            if second is None:
                continue
            known = self.references.get(record.cell, ())
            first = known[record.index % len(known)] if known else None
            replay = Replay(record, build_measured(second), None if first is None else build_measured(first))
            if case.test.add(replay) is not Decision.MORE:
                return

    def _calibrate(self, jobs: Collection[Job]) -> None:
        """Note what came, and learn from it how often honesty looks like cheating."""
        for job in jobs:
            probe = self.desk.get(job)
            if probe is None:
                continue
            if job.purpose is Purpose.DOUBLE:
                self._compare(job, probe)
            elif job.index not in self.replays[job.cell]:
                self.replays[job.cell][job.index] = probe
                known = self.references.get(job.cell, ())
                if len(known) > 1:
                    at = len(self.replays[job.cell]) % (len(known) - 1)
                    add_triple(self.nulls, job.endpoint_id, known[at], known[at + 1], probe)

    def _compare(self, job: Job, probe: Probe) -> None:
        once = self.replays[job.cell].get(job.index) or self.desk.get(
            self._build_job(Purpose.REPLAY, job.cell, job.index)
        )
        if job.id not in self._doubled and once is not None:
            self._doubled.add(job.id)
            if once.outcome in COMPLETED and probe.outcome in COMPLETED:
                differ = hash_answer(once.answer) != hash_answer(probe.answer)
                self.nulls.add_answers(job.endpoint_id, differ=differ)

    def _build_job(self, purpose: Purpose, cell: Cell, index: int) -> Job:
        return Job(
            epoch=self.epoch,
            purpose=purpose,
            endpoint_id=cell.endpoint_id,
            task=cell.task,
            index=index,
            beacon=self.challenge_beacon.hex(),
        )

    def _shuffle(self, jobs: list[Job]) -> list[Job]:
        return sorted(jobs, key=lambda job: hashlib.sha256(self.sample_beacon + job.id.encode()).digest())

    def _draw(self, purpose: bytes, cell: Cell, index: int) -> int:
        parts = (self.sample_beacon, purpose, cell.endpoint_id.encode(), cell.task.encode(), b"%d" % index)
        return int.from_bytes(hashlib.sha256(b"\0".join(parts)).digest()[:8])


def add_triple(nulls: Nulls, endpoint_id: str, before: Probe, between: Probe, after: Probe) -> None:
    """Let three of the validator's own measurements, in the order of time, play an honest miner judged."""
    first, claim, second = build_measured(before), build_measured(between), build_measured(after)
    if first.timing is not None and claim.timing is not None and second.timing is not None:
        nulls.add_timings(endpoint_id, first.timing, claim.timing, second.timing)


def is_success(probe: Probe) -> bool:
    """Whether it completed and met its schema."""
    return probe.outcome is Outcome.SUCCESS
