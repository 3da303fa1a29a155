"""What a bundle is worth: what its forecasts knew that the public did not, on what the validator measured afterwards.

    score = gate * coverage * freshness * gain * (0.7 + 0.3 * usefulness)

* *gain*: the share of the public forecast's loss that the miner's forecasts removed,
  ``sum over its cells of demand * (public loss - loss) / sum over all cells of demand * public loss``. Loss is the
  mean of twice the pinball loss over the quantiles (about the CRPS, in units of log time) for time to first token and
  for total time, plus the Brier scores of success and of the check. Each is proper: the expected loss is least for the
  forecast one believes. The public forecast is the best, over the bundle's cells, of what anybody could say without
  measuring (`rules.public`): whoever says it again gains nothing, copied from whomever. Losses are summed before they
  are divided, and nothing is clipped at zero per cell or per epoch: a gamble that loses is paid for with what others
  won, so believing is best.
* *usefulness* of a model and task: ``clip(1 - regret / regret of uniform routing, 0, 1)``, regret being what
  traffic routed by the miner's weights misses of the best measured endpoint's utility; the demand-weighted mean over
  those where endpoints differ. It multiplies: the order of last epoch is known to all.
* *coverage*: the demand in the cells that count, over all demand measured; nothing below a quarter. As gains are summed
  over cells too, a bundle of half the cells earns about a quarter: work is not worth splitting up.
* *freshness*: the mean of ``2^(-age / tempo)`` over a cell's records, age from measurement to replay, and of that the
  demand-weighted mean over cells. A record seen in an earlier epoch and stamped anew counts as nothing.

No term looks at another miner of the epoch: a miner's score depends on its bundle, on the validator's measurements and
on what was public before, so sinking others gains nothing. A negative gain is kept, undiminished, and counts in the
average that is paid (`rules.emission`): one does not lose less for having covered less.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from statistics import fmean
from typing import TypeAlias

from providerrank.rules.cells import Cell
from providerrank.rules.market_params import MARKET, MarketParams
from providerrank.rules.observation import Outcome
from providerrank.rules.outcomes import Outcomes, Sample, compute_brier
from providerrank.rules.params import PARAMS, Params
from providerrank.rules.records import PPM, QUANTILES_PPM, Forecast, Record, Signal, compute_microlog
from providerrank.rules.replay_test import COMPLETED

Fingerprint: TypeAlias = tuple[str, int | None, int]
"""What a measurement of a cell keeps when it is stamped anew: its answer and times."""


def compute_score(
    *, gate: int, coverage: float, freshness: float, gain: float, usefulness: float, params: MarketParams = MARKET
) -> float:
    """The bundle's score, -1..1; 0 behind a closed gate. ``gain`` is at most 1, the others 0..1."""
    if gain <= 0.0:
        return gate * max(-1.0, gain)
    if coverage < params.coverage_min:
        return 0.0
    return gate * coverage * freshness * gain * (params.accuracy_weight + params.usefulness_weight * usefulness)


@dataclass(frozen=True, slots=True)
class Gain:
    """What a bundle's forecasts knew beyond the public's."""

    share: float
    """Of the public's loss over all cells measured, at most 1."""
    sigmas: float
    """How many standard errors above luck, by the signed ranks of cells' gains; 0 with too few cells to say."""


def compute_gain(
    own: Mapping[Cell, float],
    public: Mapping[Cell, Sequence[float]],
    demand: Mapping[Cell, float],
    params: MarketParams = MARKET,
) -> Gain:
    """How much of the public's loss a bundle's forecasts removed.

    ``own`` has the losses on the cells that count, ``public`` on all measured cells those of each public forecast, in
    one order. The public forecast that did best on the bundle's own cells is the one to beat.
    """
    if not own:
        return Gain(0.0, 0.0)
    kinds = range(min(len(losses) for losses in public.values()))
    best = min(kinds, key=lambda kind: fsum(demand[cell] * public[cell][kind] for cell in own))
    removed = [demand[cell] * (public[cell][best] - loss) for cell, loss in own.items()]
    total = fsum(demand[cell] * max(losses[best], params.baseline_loss_min) for cell, losses in public.items())
    if total <= 0.0:
        return Gain(0.0, 0.0)
    return Gain(fsum(removed) / total, compute_sigmas(removed, params))


def compute_sigmas(gains: Sequence[float], params: MarketParams = MARKET) -> float:
    """Wilcoxon's signed-rank statistic of cells' gains, in its standard errors under luck; 0 with too few cells.

    By ranks, as one endpoint that went down or came back would else outweigh all that is known of the others.
    """
    ranked = sorted((one for one in gains if one), key=abs)
    if len(ranked) < params.news_cells_min:
        return 0.0
    signed = sum(math.copysign(rank, one) for rank, one in enumerate(ranked, 1))
    return signed / math.sqrt(sum(rank * rank for rank in range(1, len(ranked) + 1)))


def is_counted(samples: int, records: int, answered: int, params: MarketParams = MARKET) -> bool:
    """Whether a cell counts: enough samples of the validator's, and records of the miner's, most with answers."""
    is_shown = answered >= params.answered_share * params.records_min
    return samples >= params.samples_min and records >= params.records_min and is_shown


def compute_loss(forecast: Forecast, outcomes: Outcomes) -> float:
    """Mean loss of a forecast over a cell's outcomes: half the two times' pinball losses, plus two Brier scores."""
    return (
        compute_brier(forecast.success_ppm, outcomes.completed, outcomes.requests)
        + compute_brier(forecast.schema_ppm, outcomes.passed, outcomes.completed)
        + outcomes.ttft.compute_pinball(forecast.ttft_micrologs) / 2
        + outcomes.total.compute_pinball(forecast.total_micrologs) / 2
    )


def compute_baseline(
    cell: Cell, trailing: Sequence[Sample], *, usual: float = 0.5, usual_schema: float = 0.5
) -> Forecast:
    """The forecast that says again what was: the trailing samples' own quantiles and shares.

    Shares lean by two requests on what is ``usual``, 0..1, of all cells: few samples say little of rare failures, and a
    prior that expects too many would leave a gain to whoever says that nothing ever fails.

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
        round(PPM * (len(completed) + 2 * usual) / (len(trailing) + 2)),
        round(PPM * (passed + 2 * usual_schema) / (len(completed) + 2)),
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


def get_fingerprint(record: Record) -> Fingerprint:
    """What of a record a new stamp does not change."""
    return record.response_hash, record.ttft_us, record.total_us


def compute_freshness(
    records: Sequence[Record], replayed_us: int, tempo_us: int, seen: Collection[Fingerprint] = ()
) -> float:
    """Freshness of one cell's records, 0..1; ``seen`` holds the fingerprints of its records of earlier epochs."""
    if not records:
        return 0.0
    return fmean(
        0.0 if get_fingerprint(record) in seen else 2.0 ** (-max(0, replayed_us - record.started_us) / tempo_us)
        for record in records
    )
