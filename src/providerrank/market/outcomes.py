"""What an epoch comes to: each miner's verdict and score, the averages after it, the weights, and what is verified.

An outcome is decided in the journal before any of it is acted on: a validator that dies goes on with what it had found,
and sets the weights it would have set.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from providerrank.market.judging import Case, Trial
from providerrank.market.ports import Metagraph
from providerrank.rules.cells import Cell
from providerrank.rules.duplicates import Submission as Times
from providerrank.rules.duplicates import find_originals
from providerrank.rules.emission import compute_averages, compute_emission, compute_weights
from providerrank.rules.market_params import MarketParams
from providerrank.rules.observation import Outcome as Status
from providerrank.rules.records import PPM, Record
from providerrank.rules.replay_test import Test
from providerrank.rules.scoring import (
    CellScore,
    Fingerprint,
    Sample,
    compute_accuracy,
    compute_baseline,
    compute_coverage,
    compute_freshness,
    compute_score,
    compute_usefulness,
    compute_utility,
    is_counted,
)
from providerrank.rules.verified import MAX_ROOTS, Backing, Finding, combine_forecasts

PASSED = "passed"
UNCOVERED = "uncovered"
"""Passed, with too few replays for its cells to count."""
TRIPPED = "tripped"
DUPLICATE = "duplicate"
"""Passed, and is another's measurement: that one is paid."""


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one miner."""

    hotkey: str
    code: str
    """``passed``, ``uncovered``, ``tripped``, ``duplicate``, or the code its bundle was refused with."""
    reason: str = ""
    root: str = ""
    score: float = 0.0
    replays: int = 0
    cells: int = 0
    """That count."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an epoch, and what the next begins with."""

    epoch: int
    judgements: tuple[Judgement, ...]
    averages: dict[str, float]
    """By hotkey."""
    carried: dict[str, dict[str, float]]
    """Log-wealth of the replay tests by hotkey and test, for its next bundle."""
    at_us: int = 0


_outcome = msgspec.json.Decoder(Outcome)


def encode_outcome(outcome: Outcome) -> bytes:
    """Write an outcome."""
    return msgspec.json.encode(outcome)


def decode_outcome(data: bytes) -> Outcome:
    """Read an outcome back."""
    return _outcome.decode(data)


def get_carried(outcome: Outcome | None, hotkey: str) -> dict[Test, float]:
    """What a hotkey's next bundle starts with."""
    kept = {} if outcome is None else outcome.carried.get(hotkey, {})
    return {Test(name): wealth for name, wealth in kept.items()}


@dataclass(frozen=True, slots=True)
class Scorer:
    """Scores bundles on what the validator measured."""

    trial: Trial
    trailing: Mapping[Cell, Sequence[Sample]]
    """What this validator knew of each cell before the deadline."""
    replayed_us: Mapping[Cell, int]
    tempo_us: int
    seen: Mapping[str, Collection[bytes]]
    """Fingerprints of earlier records, by hotkey."""
    params: MarketParams

    def score(self, case: Case) -> tuple[float, frozenset[Cell]]:
        """Score one bundle, and say which of its cells count."""
        bundle = case.submission.bundle
        assert bundle is not None
        by_cell: dict[Cell, list[Record]] = defaultdict(list)
        for record in bundle.contents.records:
            by_cell[record.cell].append(record)
        usefulness = self._compute_usefulness(case)
        scores: dict[Cell, CellScore] = {}
        for forecast in bundle.contents.forecasts:
            cell = forecast.cell
            endpoint = self.trial.market.endpoints.get(cell.endpoint_id)
            samples = self.trial.get_samples(cell)
            records = by_cell.get(cell, [])
            if endpoint is None or not is_counted(len(samples), len(records), self.params):
                continue
            try:
                baseline = compute_baseline(cell, self.trailing.get(cell, ()))
            except ValueError:
                continue
            scores[cell] = CellScore(
                accuracy=compute_accuracy(forecast, baseline, samples, self.params),
                usefulness=usefulness.get((endpoint.model, cell.task), 0.0),
                freshness=self._compute_freshness(case.hotkey, cell, records),
            )
        coverage = compute_coverage(scores.keys(), self.trial.market.demand)
        verdict = self.trial.get_verdict(case)
        gate = verdict.gate if verdict.covered else 0
        return compute_score(gate=gate, coverage=coverage, cells=scores.values(), params=self.params), frozenset(scores)

    def _compute_usefulness(self, case: Case) -> dict[tuple[str, str], float]:
        """By model and task, over the endpoints measured often enough."""
        bundle = case.submission.bundle
        assert bundle is not None
        utilities: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for cell in self.trial.market.demand:
            samples = self.trial.get_samples(cell)
            if len(samples) >= self.params.samples_min:
                model = self.trial.market.endpoints[cell.endpoint_id].model
                utilities[model, cell.task][cell.endpoint_id] = compute_utility(samples, cell.task)
        return {
            (signal.model, signal.task): compute_usefulness(signal, utilities[signal.model, signal.task])
            for signal in bundle.contents.signals
            if (signal.model, signal.task) in utilities
        }

    def _compute_freshness(self, hotkey: str, cell: Cell, records: list[Record]) -> float:
        digests = self.seen.get(hotkey, ())
        seen = _Seen(digests)
        at_us = self.replayed_us.get(cell, max(record.started_us for record in records))
        return compute_freshness(records, at_us, self.tempo_us, seen)


class _Seen(Collection[Fingerprint]):
    """Fingerprints of which only hashes were kept."""

    def __init__(self, digests: Collection[bytes]) -> None:
        self._digests = digests

    def __contains__(self, fingerprint: object) -> bool:
        return hash_fingerprint(fingerprint) in self._digests

    def __iter__(self) -> Iterator[Fingerprint]:
        # Nothing walks it: hashes cannot be walked back.
        return iter(())

    def __len__(self) -> int:
        return len(self._digests)


def hash_fingerprint(fingerprint: object) -> bytes:
    """Eight bytes that stand for a measurement: enough among a hundred thousand of one hotkey."""
    return hashlib.sha256(repr(fingerprint).encode()).digest()[:8]


def build_times(case: Case, place: int) -> Times:
    """What tells one bundle's measurements from another's."""
    bundle = case.submission.bundle
    assert bundle is not None
    times = {
        (record.cell, record.index): (record.ttft_us, record.total_us)
        for record in bundle.contents.records
        if record.status is Status.SUCCESS and record.ttft_us is not None
    }
    return Times(case.hotkey, (case.submission.commitment.block, place), times)


def find_duplicates(cases: Sequence[Case], params: MarketParams) -> dict[str, str]:
    """For each hotkey, whose allocation it shares."""
    return find_originals([build_times(case, at) for at, case in enumerate(cases)], params)


def build_judgement(case: Case, scorer: Scorer, originals: Mapping[str, str]) -> Judgement:
    """Put one miner's verdict and score together."""
    bundle = case.submission.bundle
    assert bundle is not None
    verdict = scorer.trial.get_verdict(case)
    score, cells = scorer.score(case) if verdict.gate else (0.0, frozenset[Cell]())
    code, reason = PASSED if verdict.covered else UNCOVERED, verdict.reason
    if not verdict.gate:
        code = TRIPPED
    elif originals[case.hotkey] != case.hotkey:
        code, score = DUPLICATE, 0.0
        reason = f"It is the measurement of {originals[case.hotkey]}, who committed to it first."
    return Judgement(
        hotkey=case.hotkey,
        code=code,
        reason=reason,
        root=bundle.header.root,
        score=score,
        replays=case.test.replays,
        cells=len(cells),
    )


def compute_next_averages(
    before: Outcome | None, judgements: Sequence[Judgement], params: MarketParams
) -> dict[str, float]:
    """The averages after an epoch."""
    scores = {one.hotkey: one.score for one in judgements}
    tripped = {one.hotkey for one in judgements if one.code == TRIPPED}
    return compute_averages({} if before is None else before.averages, scores, tripped, params)


def compute_row(averages: Mapping[str, float], metagraph: Metagraph, own: str, params: MarketParams) -> dict[int, int]:
    """The weights to set: by uid, of the hotkeys that hold one now; a validator gives itself nothing.

    Raises ValueError where no uid is the owner's: what is not earned could not be burned, and would be shared out.
    """
    if metagraph.owner_uid is None:
        raise ValueError("the subnet's owner holds no uid: nothing can be burned, and the cap could not be kept")
    scores = {
        neuron.uid: averages[neuron.hotkey]
        for neuron in metagraph.neurons
        if neuron.hotkey in averages and neuron.hotkey != own
    }
    return compute_weights(compute_emission(scores, params), metagraph.owner_uid, params)


def build_findings(
    trial: Trial, judgements: Sequence[Judgement], validator: str, stake_rao: int, at_us: int, params: MarketParams
) -> list[Finding]:
    """What this validator now says of each cell: nothing of cells that were not verified."""
    scores = {one.hotkey: one.score for one in judgements if one.code == PASSED and one.score > 0}
    findings: list[Finding] = []
    for cell in trial.market.demand:
        replays = len(trial.replays.get(cell, {}))
        if replays < params.samples_min:
            continue
        said = [
            (case, forecast)
            for case in trial.cases
            if case.hotkey in scores and case.submission.bundle is not None
            for forecast in case.submission.bundle.contents.forecasts
            if forecast.cell == cell
        ]
        if not said:
            continue
        forecast = combine_forecasts(cell, [(forecast, scores[case.hotkey]) for case, forecast in said])
        backing = sorted(
            (
                Backing(case.hotkey, case.submission.bundle.header.root, round(PPM * scores[case.hotkey]))
                for case, _ in said
                if case.submission.bundle is not None
            ),
            key=lambda one: (-one.score_ppm, one.hotkey),
        )
        findings.append(
            Finding(cell, validator, stake_rao, trial.epoch, at_us, forecast, replays, tuple(backing[:MAX_ROOTS]))
        )
    return findings


def compute_replayed_us(trial: Trial) -> dict[Cell, int]:
    """When each cell was replayed: the middle of it."""
    return {
        cell: round(median(probe.started_us for probe in probes.values()))
        for cell, probes in trial.replays.items()
        if probes
    }
