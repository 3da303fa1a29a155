"""What a bundle is worth: how well its forecasts and its routing turned out, on what the validator measured afterwards.

    score = gate * coverage * mean over cells of freshness * (0.7 * accuracy + 0.3 * usefulness)

No term looks at another miner: a miner's score depends on its bundle and on the validator's measurements, so sinking
others gains nothing.

* *accuracy* of a cell: ``clip(1 - loss / baseline loss, 0, 1)``. Loss is the mean of twice the pinball loss over the
  quantiles (about the CRPS, in units of log time) for time to first token and for total time, plus the Brier scores of
  success and of the check. Each is proper: the expected loss is least for the forecast one believes. The baseline is
  the validator's own trailing distribution of that cell: forecasting what everyone knew earns nothing. A cell counts
  from 30 verified samples.
* *usefulness* of a model and task: ``clip(1 - regret / regret of uniform routing, 0, 1)``, regret being what
  traffic routed by the miner's weights misses of the best measured endpoint's utility. Where all endpoints are
  equally good there is nothing to be useful for, and it is 0.
* *coverage*: the demand in the cells that count, over all demand. It multiplies: scale without truth earns nothing.
* *freshness*: the mean of ``2^(-age / tempo)`` over the cell's records, age from measurement to replay. A record seen
  in an earlier epoch and stamped anew counts as nothing.

Clipping at 0 bounds what a bad cell can cost, so a forecast with no hope to beat the baseline has nothing to lose by
gambling on that cell; its gain from it is bounded by luck at 30 samples and more, and the tests measure that truth
pays best.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeAlias

from providerrank.rules.cells import Cell
from providerrank.rules.market_params import MARKET, MarketParams
from providerrank.rules.observation import Outcome
from providerrank.rules.params import PARAMS, Params
from providerrank.rules.records import (
    MICROLOG,
    PPM,
    QUANTILES_PPM,
    Forecast,
    Record,
    Signal,
    compute_microlog,
)
from providerrank.rules.replay_test import COMPLETED

Fingerprint: TypeAlias = tuple[Cell, str, int | None, int]
"""What a measurement keeps when it is stamped anew: its cell, answer and times."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One of the validator's own measurements of a cell, made after the commitment."""

    status: Outcome
    ttft_us: int | None
    total_us: int | None
    """Both None where it did not complete."""


@dataclass(frozen=True, slots=True)
class CellScore:
    """The parts of one cell's score, each 0..1."""

    accuracy: float
    usefulness: float
    freshness: float


def compute_score(*, gate: int, coverage: float, cells: Iterable[CellScore], params: MarketParams = MARKET) -> float:
    """The bundle's score, 0..1; 0 without cells."""
    worths = [
        cell.freshness * (params.accuracy_weight * cell.accuracy + params.usefulness_weight * cell.usefulness)
        for cell in cells
    ]
    return gate * coverage * fmean(worths) if worths else 0.0


def compute_accuracy(
    forecast: Forecast, baseline: Forecast, samples: Sequence[Sample], params: MarketParams = MARKET
) -> float:
    """How much better than the baseline a forecast did, 0..1."""
    least = max(compute_loss(baseline, samples), params.baseline_loss_min)
    return min(1.0, max(0.0, 1.0 - compute_loss(forecast, samples) / least))


def is_counted(samples: int, records: int, params: MarketParams = MARKET) -> bool:
    """Whether a cell counts: enough verified samples of the validator's, and enough records of the miner's."""
    return samples >= params.samples_min and records >= params.records_min


def compute_loss(forecast: Forecast, samples: Sequence[Sample]) -> float:
    """Mean loss of a forecast over at least one sample: half the two times' pinball losses, plus two Brier scores."""
    completed = [sample for sample in samples if sample.status in COMPLETED]
    loss = fmean(_compute_brier(forecast.success_ppm, sample.status in COMPLETED) for sample in samples)
    if completed:
        loss += fmean(_compute_brier(forecast.schema_ppm, sample.status is Outcome.SUCCESS) for sample in completed)
    ttfts = [compute_microlog(s.ttft_us) for s in completed if s.ttft_us is not None]
    totals = [compute_microlog(s.total_us) for s in completed if s.total_us is not None]
    for quantiles, outcomes in ((forecast.ttft_micrologs, ttfts), (forecast.total_micrologs, totals)):
        if outcomes:
            loss += fmean(compute_pinball(quantiles, outcome) for outcome in outcomes) / 2
    return loss


def compute_pinball(quantiles: Sequence[int], outcome: int) -> float:
    """Twice the mean pinball loss of a forecast's quantiles, micro-logs, in units of log time."""
    total = 0.0
    for level, quantile in zip(QUANTILES_PPM, quantiles, strict=True):
        error = outcome - quantile
        total += error * level if error >= 0 else -error * (PPM - level)
    return 2 * total / len(QUANTILES_PPM) / PPM / MICROLOG


def _compute_brier(probability_ppm: int, happened: bool) -> float:
    return float((probability_ppm / PPM - happened) ** 2)


def compute_baseline(cell: Cell, trailing: Sequence[Sample]) -> Forecast:
    """The forecast that says again what was: the trailing samples' own quantiles and shares.

    Raises ValueError where no trailing sample completed: then there is no baseline, and the cell cannot be scored yet.
    """
    completed = [sample for sample in trailing if sample.status in COMPLETED]
    ttfts = sorted(compute_microlog(s.ttft_us) for s in completed if s.ttft_us is not None)
    totals = sorted(compute_microlog(s.total_us) for s in completed if s.total_us is not None)
    if not ttfts or not totals:
        raise ValueError(
            f"no completed sample of {cell.endpoint_id} {cell.task} to make a baseline of: replay it first"
        )
    passed = sum(sample.status is Outcome.SUCCESS for sample in completed)
    return Forecast(
        cell,
        tuple(_get_quantile(ttfts, level) for level in QUANTILES_PPM),
        tuple(_get_quantile(totals, level) for level in QUANTILES_PPM),
        round(PPM * (len(completed) + 1) / (len(trailing) + 2)),
        round(PPM * (passed + 1) / (len(completed) + 2)),
    )


def _get_quantile(ordered: Sequence[int], level_ppm: int) -> int:
    return ordered[min(len(ordered) - 1, len(ordered) * level_ppm // PPM)]


def compute_utility(samples: Sequence[Sample], task: str, params: Params = PARAMS) -> float:
    """What a request to an endpoint is worth, 0..1: the share that pass, each by how soon it begins."""
    target_us = params.get_task(task).target_ttft_us
    return fmean(
        min(1.0, target_us / max(sample.ttft_us, 1)) if sample.status is Outcome.SUCCESS and sample.ttft_us else 0.0
        for sample in samples
    )


def compute_usefulness(signal: Signal, utilities: Mapping[str, float]) -> float:
    """How much of what routing can gain a signal gains, 0..1, over the endpoints that were measured.

    The signal's weights are taken over those endpoints; one that gives them none routes as badly as one can.
    """
    if not utilities:
        return 0.0
    best = max(utilities.values())
    uniform = best - fmean(utilities.values())
    if uniform <= 0.0:
        return 0.0
    weights = {r.endpoint_id: r.weight_ppm for r in signal.routes if r.endpoint_id in utilities}
    total = sum(weights.values())
    if total == 0:
        return 0.0
    regret = best - sum(weight * utilities[endpoint_id] for endpoint_id, weight in weights.items()) / total
    return min(1.0, max(0.0, 1.0 - regret / uniform))


def compute_coverage(counted: Collection[Cell], demand: Mapping[Cell, float]) -> float:
    """The share of demand, 0..1, that lies in the cells that count."""
    total = sum(demand.values())
    return sum(amount for cell, amount in demand.items() if cell in counted) / total if total > 0 else 0.0


def get_fingerprint(record: Record) -> Fingerprint:
    """What of a record a new stamp does not change."""
    return record.cell, record.response_hash, record.ttft_us, record.total_us


def compute_freshness(
    records: Sequence[Record], replayed_us: int, tempo_us: int, seen: Collection[Fingerprint] = ()
) -> float:
    """Freshness of one cell's records, 0..1; ``seen`` holds the fingerprints of earlier epochs' records."""
    if not records:
        return 0.0
    return fmean(
        0.0 if get_fingerprint(record) in seen else 2.0 ** (-max(0, replayed_us - record.started_us) / tempo_us)
        for record in records
    )
