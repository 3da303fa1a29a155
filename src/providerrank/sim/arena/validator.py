"""The arena's honest validator: its measurements are simulated, everything it decides is decided by the rules."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from providerrank.rules import emission, public
from providerrank.rules.cells import Cell
from providerrank.rules.duplicates import Submission, find_originals
from providerrank.rules.gate import Opened, Transcript, Verdict, judge, plan_openings, plan_replays
from providerrank.rules.judging import NOTHING, BundleScore, Claims, build_yardstick, count_claims, score_bundle
from providerrank.rules.nulls import Nulls, Timing
from providerrank.rules.observation import Outcome
from providerrank.rules.outcomes import Outcomes, Sample
from providerrank.rules.records import Forecast, Record
from providerrank.rules.replay_test import COMPLETED, Claimed, Decision, Measured, Replay, ReplayTest, Test
from providerrank.rules.scoring import Fingerprint, compute_utility, get_fingerprint
from providerrank.sim.arena.players import INDICES, MINUTE_US, NOT_SHOWN, SUBSTITUTE, Bundle
from providerrank.sim.arena.world import Draws, Floats, World
from providerrank.sim.gate_world import EPOCH

CALIBRATED = 8
"""Doubled and tripled measurements of each cell before the first epoch."""
REPLAYED_WITHIN = 20.0
"""Minutes after the deadline in which replays are made."""
TEMPO_US = round(EPOCH * MINUTE_US)


@dataclass(slots=True)
class Case:
    """What every validator finds in a bundle alike: same bytes, same beacon."""

    bundle: Bundle
    opened: list[Opened]
    plan: list[int]
    claimed: Claimed
    claims: Claims


class Docket:
    """An epoch's bundles, prepared once for all validators."""

    def __init__(
        self, bundles: list[Bundle], epoch: int, seen: dict[Cell, set[Fingerprint]], prompts: dict[Cell, list[str]]
    ) -> None:
        self.epoch = epoch
        end_us = round((epoch + 2) * EPOCH * MINUTE_US)
        beacon = b"beacon %d" % epoch
        self.cases = []
        for bundle in bundles:
            records = bundle.records
            mine = beacon + bundle.hotkey.encode()
            opened = [self._open(records[i], prompts) for i in plan_openings(len(records), mine)]
            claims = count_claims(
                records,
                bundle.forecasts,
                bundle.signals,
                replayed_us=dict.fromkeys(prompts, end_us),
                tempo_us=TEMPO_US,
                get_seen=lambda cell: seen.get(cell, ()),
            )
            claimed = Claimed.count(records)
            self.cases.append(Case(bundle, opened, plan_replays(records, mine, claimed=claimed), claimed, claims))
        self.originals = find_originals([self._submit(bundle) for bundle in bundles if bundle.fault is None])

    def _open(self, record: Record, prompts: dict[Cell, list[str]]) -> Opened:
        shown = None
        if record.status in COMPLETED and not record.response_hash.startswith(NOT_SHOWN):
            is_of_now = record.response_hash.startswith(SUBSTITUTE) or record.response_hash.endswith(f"@{self.epoch}")
            shown = Transcript(record.response_hash, 100, record.check if is_of_now else "wrong")
        return Opened(record, None, prompts[record.cell][record.index], record.params_hash, 200, shown)

    def _submit(self, bundle: Bundle) -> Submission:
        times: dict[Cell, dict[int, tuple[int, int]]] = {}
        cell, of_cell = None, {}
        for r in bundle.records:
            if r.ttft_us is not None and r.status in COMPLETED:
                if r.cell is not cell:
                    cell = r.cell
                    of_cell = times.setdefault(cell, {})
                of_cell[r.index] = (r.ttft_us, r.total_us)
        return Submission(bundle.hotkey, (bundle.committed, 0), times)


@dataclass(slots=True)
class Finding:
    """What a validator decided of one bundle."""

    verdict: Verdict
    score: BundleScore
    replays: int


@dataclass(slots=True)
class Validator:
    """One honest validator: calibration, public forecasts, averages."""

    world: World
    rng: np.random.Generator
    nulls: Nulls = field(default_factory=Nulls)
    carried: dict[str, dict[Test, float]] = field(default_factory=dict)
    averages: dict[str, float] = field(default_factory=dict)
    trailing: dict[Cell, Forecast] = field(default_factory=dict)
    history: dict[Cell, Forecast] = field(default_factory=dict)
    news_epoch: int | None = None
    standby_epochs: int = 0
    """In which those who watched were paid, as nobody had news."""
    during: list[list[Measured]] = field(default_factory=list)
    after: list[list[Measured]] = field(default_factory=list)

    def calibrate(self) -> None:
        """Measure in the epoch before the first: nulls, and the first trailing samples."""
        n = len(self.world.cells)
        at = np.sort(self.rng.uniform(0, EPOCH, (n, 3 * CALIBRATED)), axis=1)
        prompts = self.rng.normal(0, 0.1, (n, CALIBRATED))
        at = at.reshape(n, 3, CALIBRATED)
        thirds = [self.world.draw(at[:, i], prompts) for i in range(3)]
        for c, cell in enumerate(self.world.cells):
            for i in range(CALIBRATED):
                if not any(d.failed[c, i] for d in thirds):
                    before, between, after = (Timing(int(d.ttft_us[c, i]), int(d.total_us[c, i])) for d in thirds)
                    self.nulls.add_timings(cell.endpoint_id, before, between, after)
                    differ = thirds[0].answer[c, i] != thirds[2].answer[c, i]
                    self.nulls.add_answers(cell.endpoint_id, differ=bool(differ))
        last = self.world.draw(
            EPOCH + self.rng.uniform(0, REPLAYED_WITHIN, (n, INDICES)), self.rng.normal(0, 0.1, (n, INDICES))
        )
        self.trailing |= public.compute_trailing(self._sample(last))

    def measure(self, epoch: int, prompts: Floats) -> None:
        """Measure every cell's challenges twice: during the epoch, and after its deadline."""
        n, start = len(self.world.cells), (epoch + 1) * EPOCH
        self.during = self._read(self.world.draw(start + self.rng.uniform(0, EPOCH, (n, INDICES)), prompts), epoch)
        later = start + EPOCH + self.rng.uniform(0, REPLAYED_WITHIN, (n, INDICES))
        self.after = self._read(self.world.draw(later, prompts), epoch)

    def judge(self, docket: Docket, verified: dict[Cell, Forecast], demand: dict[Cell, float]) -> dict[str, Finding]:
        """Replay, gate and score an epoch's bundles; then move the averages."""
        told = public.compute_public(self.trailing, verified, self.history)
        samples = {
            cell: [Sample(m.status, *_get_times(m)) for m in self.after[c]] for c, cell in enumerate(self.world.cells)
        }
        outcomes = {cell: Outcomes.count(own) for cell, own in samples.items()}
        utilities: dict[tuple[str, str], dict[str, float]] = {}
        for c, cell in enumerate(self.world.cells):
            group = utilities.setdefault((self.world.models[self.world.owner[c]], cell.task), {})
            group[cell.endpoint_id] = compute_utility(samples[cell], cell.task)
        yardstick = build_yardstick(outcomes, told, utilities, demand)
        number = {cell: c for c, cell in enumerate(self.world.cells)}
        findings = {}
        for case in docket.cases:
            verdict, replays = self._gate(case, number)
            score = score_bundle(yardstick, case.claims, gate=verdict.gate, covered=verdict.covered)
            if docket.originals.get(case.bundle.hotkey, case.bundle.hotkey) != case.bundle.hotkey:
                score = NOTHING
            findings[case.bundle.hotkey] = Finding(verdict, score, replays)
        self.averages = emission.compute_averages(
            self.averages,
            {hotkey: finding.score.score for hotkey, finding in findings.items()},
            [hotkey for hotkey, finding in findings.items() if not finding.verdict.gate],
        )
        self.history = public.update_history(self.history, told)
        self.trailing |= public.compute_trailing(samples)
        return findings

    def weigh(self, epoch: int, findings: dict[str, Finding], uids: dict[str, int], owner_uid: int) -> dict[int, int]:
        """The row it sets."""
        standby = {hotkey: finding.score.standby for hotkey, finding in findings.items()}
        if any(finding.score.is_news for finding in findings.values()):
            self.news_epoch = epoch
        is_news = emission.is_newsworthy(epoch, self.news_epoch)
        self.standby_epochs += not is_news
        earnings = emission.compute_earning(self.averages, standby, is_news=is_news)
        shares = emission.compute_emission(
            {uids[hotkey]: amount for hotkey, amount in earnings.amounts.items()}, pool_ppm=earnings.pool_ppm
        )
        return emission.compute_weights(shares, owner_uid)

    def _gate(self, case: Case, number: dict[Cell, int]) -> tuple[Verdict, int]:
        hotkey, records = case.bundle.hotkey, case.bundle.records
        test = ReplayTest(case.claimed, self.nulls, self.carried.get(hotkey))
        verdict = judge(case.bundle.fault, case.opened, test)
        if verdict.gate:
            for i in case.plan:
                record = records[i]
                c, column = number[record.cell], record.index % INDICES
                if test.add(Replay(record, self.after[c][column], self.during[c][column])) is not Decision.MORE:
                    break
            verdict = judge(case.bundle.fault, case.opened, test)
        self.carried[hotkey] = dict(verdict.carried)
        return verdict, test.replays

    def _read(self, draws: Draws, epoch: int) -> list[list[Measured]]:
        read = []
        failed, violated = draws.failed.tolist(), draws.violated.tolist()
        ttft, total, answers = draws.ttft_us.tolist(), draws.total_us.tolist(), draws.answer.tolist()
        for c in range(len(failed)):
            row = []
            for i in range(len(failed[c])):
                if failed[c][i]:
                    row.append(Measured(Outcome.FAILURE, None, ""))
                    continue
                status = Outcome.SCHEMA_VIOLATION if violated[c][i] else Outcome.SUCCESS
                other = answers[c][i]
                response = f"{other}@{epoch}" if other else f"{c}/{i}@{epoch}"
                row.append(Measured(status, Timing(ttft[c][i], total[c][i]), response))
            read.append(row)
        return read

    def _sample(self, draws: Draws) -> dict[Cell, list[Sample]]:
        return {
            cell: [Sample(m.status, *_get_times(m)) for m in row]
            for cell, row in zip(self.world.cells, self._read(draws, -1), strict=True)
        }


def _get_times(measured: Measured) -> tuple[int | None, int | None]:
    return (None, None) if measured.timing is None else (measured.timing.ttft_us, measured.timing.total_us)


def get_fingerprints(bundles: list[Bundle]) -> dict[Cell, set[Fingerprint]]:
    """Of all the records of an epoch that show an answer, by cell."""
    found: dict[Cell, set[Fingerprint]] = {}
    for bundle in bundles:
        cell, of_cell = None, set[Fingerprint]()
        for record in bundle.records:
            if record.cell is not cell:
                cell = record.cell
                of_cell = found.setdefault(cell, set())
            if record.ttft_us is not None:
                of_cell.add(get_fingerprint(record))
    return found
