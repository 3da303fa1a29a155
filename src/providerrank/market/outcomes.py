"""What an epoch comes to: each miner's verdict and score, the averages after it, the weights, and what is verified.

An outcome is decided in the journal before any of it is acted on: a validator that dies goes on with what it had found,
and sets the weights it would have set.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import median

import msgspec

from providerrank.market.judging import Case, Trial
from providerrank.market.ports import Metagraph
from providerrank.rules.cells import Cell
from providerrank.rules.duplicates import Submission as Times
from providerrank.rules.duplicates import find_originals
from providerrank.rules.emission import (
    Earnings,
    compute_averages,
    compute_earning,
    compute_emission,
    compute_weights,
    is_newsworthy,
)
from providerrank.rules.judging import NOTHING, BundleScore, Yardstick, build_yardstick, count_claims, score_bundle
from providerrank.rules.market_params import MarketParams
from providerrank.rules.observation import Outcome as Status
from providerrank.rules.outcomes import Outcomes, Sample
from providerrank.rules.public import compute_public, compute_trailing, update_history
from providerrank.rules.records import PPM, Forecast
from providerrank.rules.replay_test import Test
from providerrank.rules.scoring import Fingerprint, compute_utility
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
    """-1..1."""
    standby: float = 0.0
    """What the bundle is worth in an epoch without news, 0..1."""
    news: bool = False
    """Whether it knew more than the public, beyond luck."""
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
    verified: tuple[Forecast, ...] = ()
    """What was verified of each cell, the newest there is: public from now on, and so are"""
    history: tuple[Forecast, ...] = ()
    """the long-run forecasts."""
    news_epoch: int | None = None
    """The last one in which a bundle had news."""


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


class Scorer:
    """Scores bundles on what the validator measured."""

    def __init__(
        self,
        trial: Trial,
        trailing: Mapping[Cell, Sequence[Sample]],
        before: Outcome | None,
        tempo_us: int,
        seen: Mapping[str, Collection[bytes]],
        params: MarketParams,
    ) -> None:
        """``trailing`` is what this validator knew of each cell before the deadline.

        ``before`` is the outcome of the last epoch it judged, ``seen`` the fingerprints of earlier records by hotkey.
        """
        self.trial = trial
        self.params = params
        self._tempo_us = tempo_us
        self._seen = seen
        self._replayed_us = compute_replayed_us(trial)
        verified = () if before is None else before.verified
        history = {} if before is None else {forecast.cell: forecast for forecast in before.history}
        public = compute_public(compute_trailing(trailing), {one.cell: one for one in verified}, history)
        self.history = update_history(history, public, params)
        self._yardstick = self._build_yardstick(public)

    def score(self, case: Case) -> BundleScore:
        """Score one bundle."""
        bundle = case.submission.bundle
        assert bundle is not None
        digests = self._seen.get(case.hotkey, ())
        claims = count_claims(
            bundle.contents.records,
            bundle.contents.forecasts,
            bundle.contents.signals,
            replayed_us=self._replayed_us,
            tempo_us=self._tempo_us,
            get_seen=lambda cell: _Seen(cell, digests),
            params=self.params,
        )
        verdict = self.trial.get_verdict(case)
        return score_bundle(self._yardstick, claims, gate=verdict.gate, covered=verdict.covered, params=self.params)

    def _build_yardstick(self, public: Mapping[Cell, Sequence[Forecast]]) -> Yardstick:
        market = self.trial.market
        samples = {cell: self.trial.get_samples(cell) for cell in market.demand}
        utilities: dict[tuple[str, str], dict[str, float]] = defaultdict(dict)
        for cell, own in samples.items():
            if len(own) >= self.params.samples_min:
                model = market.endpoints[cell.endpoint_id].model
                utilities[model, cell.task][cell.endpoint_id] = compute_utility(own, cell.task)
        outcomes = {cell: Outcomes.count(own) for cell, own in samples.items()}
        return build_yardstick(outcomes, public, utilities, market.demand, self.params)


class _Seen(Collection[Fingerprint]):
    """Fingerprints of a cell of which only hashes were kept."""

    def __init__(self, cell: Cell, digests: Collection[bytes]) -> None:
        self._cell = cell
        self._digests = digests

    def __contains__(self, fingerprint: object) -> bool:
        return hash_fingerprint(self._cell, fingerprint) in self._digests

    def __iter__(self) -> Iterator[Fingerprint]:
        # Nothing walks it: hashes cannot be walked back.
        return iter(())

    def __len__(self) -> int:
        return len(self._digests)


def hash_fingerprint(cell: Cell, fingerprint: object) -> bytes:
    """Eight bytes that stand for a measurement: enough among a hundred thousand of one hotkey."""
    return hashlib.sha256(repr((cell, fingerprint)).encode()).digest()[:8]


def build_times(case: Case, place: int) -> Times:
    """What tells one bundle's measurements from another's."""
    bundle = case.submission.bundle
    assert bundle is not None
    times: dict[Cell, dict[int, tuple[int, int]]] = defaultdict(dict)
    for record in bundle.contents.records:
        if record.status is Status.SUCCESS and record.ttft_us is not None:
            times[record.cell][record.index] = record.ttft_us, record.total_us
    return Times(case.hotkey, (case.submission.commitment.block, place), times)


def find_duplicates(cases: Sequence[Case], params: MarketParams) -> dict[str, str]:
    """For each hotkey, whose allocation it shares."""
    return find_originals([build_times(case, at) for at, case in enumerate(cases)], params)


def build_judgement(case: Case, scorer: Scorer, originals: Mapping[str, str]) -> Judgement:
    """Put one miner's verdict and score together."""
    bundle = case.submission.bundle
    assert bundle is not None
    verdict = scorer.trial.get_verdict(case)
    score = scorer.score(case)
    code, reason = PASSED if verdict.covered else UNCOVERED, verdict.reason
    if not verdict.gate:
        code = TRIPPED
    elif originals[case.hotkey] != case.hotkey:
        code, score = DUPLICATE, NOTHING
        reason = f"It is the measurement of {originals[case.hotkey]}, who committed to it first."
    return Judgement(
        hotkey=case.hotkey,
        code=code,
        reason=reason,
        root=bundle.header.root,
        score=score.score,
        standby=score.standby,
        news=score.is_news,
        replays=case.test.replays,
        cells=len(score.counted),
    )


def compute_next_averages(
    before: Outcome | None, judgements: Sequence[Judgement], params: MarketParams
) -> dict[str, float]:
    """The averages after an epoch."""
    scores = {one.hotkey: one.score for one in judgements}
    tripped = {one.hotkey for one in judgements if one.code == TRIPPED}
    return compute_averages({} if before is None else before.averages, scores, tripped, params)


def find_news_epoch(epoch: int, before: Outcome | None, judgements: Sequence[Judgement]) -> int | None:
    """The last epoch, up to this one, in which a bundle had news."""
    if any(one.news for one in judgements):
        return epoch
    return None if before is None else before.news_epoch


def compute_earnings(outcome: Outcome, params: MarketParams) -> Earnings:
    """What each hotkey is paid in proportion to after an epoch."""
    standby = {one.hotkey: one.standby for one in outcome.judgements}
    is_news = is_newsworthy(outcome.epoch, outcome.news_epoch, params)
    return compute_earning(outcome.averages, standby, is_news=is_news, params=params)


def compute_row(earnings: Earnings, metagraph: Metagraph, own: str, params: MarketParams) -> dict[int, int]:
    """The weights to set: by uid, of the hotkeys that hold one now; a validator gives itself nothing.

    Raises ValueError where no uid is the owner's: what is not earned could not be burned, and would be shared out.
    """
    if metagraph.owner_uid is None:
        raise ValueError("the subnet's owner holds no uid: nothing can be burned, and the cap could not be kept")
    scores = {
        neuron.uid: earnings.amounts[neuron.hotkey]
        for neuron in metagraph.neurons
        if neuron.hotkey in earnings.amounts and neuron.hotkey != own
    }
    return compute_weights(compute_emission(scores, params, earnings.pool_ppm), metagraph.owner_uid, params)


def build_findings(
    trial: Trial, outcome: Outcome, validator: str, stake_rao: int, params: MarketParams
) -> list[Finding]:
    """What this validator now says of each cell: nothing of cells that were not verified.

    A forecast weighs what its miner is paid in proportion to.
    """
    earnings = compute_earnings(outcome, params).amounts
    passed = [one.hotkey for one in outcome.judgements if one.code == PASSED]
    scores = {hotkey: earnings[hotkey] for hotkey in passed if hotkey in earnings}
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
            Finding(
                cell, validator, stake_rao, trial.epoch, outcome.at_us, forecast, replays, tuple(backing[:MAX_ROOTS])
            )
        )
    return findings


def compute_replayed_us(trial: Trial) -> dict[Cell, int]:
    """When each cell was replayed: the middle of it."""
    return {
        cell: round(median(probe.started_us for probe in probes.values()))
        for cell, probes in trial.replays.items()
        if probes
    }
