"""From bundles that passed the gate, and one validator's measurements, to scores: the one place where both meet.

A validator's service and the attack arena both call this, so that what is simulated is what is done. Per epoch one
`Yardstick` holds what the validator measured and what the public would have said; per bundle `Claims` are counted once,
and `score_bundle` holds the one against the other.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from providerrank.rules.cells import Cell
from providerrank.rules.market_params import MARKET, MarketParams
from providerrank.rules.outcomes import Outcomes
from providerrank.rules.records import Forecast, Record, Signal
from providerrank.rules.replay_test import COMPLETED
from providerrank.rules.scoring import (
    Fingerprint,
    compute_freshness,
    compute_gain,
    compute_loss,
    compute_score,
    compute_usefulness,
    is_counted,
)


@dataclass(frozen=True, slots=True)
class Yardstick:
    """What one validator holds an epoch's bundles against; cells are those it has enough samples of."""

    outcomes: Mapping[Cell, Outcomes]
    public: Mapping[Cell, tuple[float, ...]]
    """The losses of the public forecasts."""
    utilities: Mapping[tuple[str, str], Mapping[str, float]]
    """Of each endpoint measured, by model and task."""
    demand: Mapping[Cell, float]


@dataclass(frozen=True, slots=True)
class Claims:
    """What of a bundle is scored."""

    forecasts: Mapping[Cell, Forecast]
    signals: Mapping[tuple[str, str], Signal]
    records: Mapping[Cell, int]
    """How many; none where the indices show picking."""
    answered: Mapping[Cell, int]
    """How many have an answer."""
    freshness: Mapping[Cell, float]


@dataclass(frozen=True, slots=True)
class BundleScore:
    """A score and what it is made of."""

    score: float
    """-1..1."""
    standby: float
    """0..1: what the bundle is worth where nobody has news."""
    gain: float
    is_news: bool
    """Whether the gain is beyond luck."""
    coverage: float
    freshness: float
    usefulness: float
    counted: frozenset[Cell]


NOTHING = BundleScore(0.0, 0.0, 0.0, False, 0.0, 0.0, 0.0, frozenset())
"""The score of a bundle that the gate stopped or could not verify."""


def build_yardstick(
    outcomes: Mapping[Cell, Outcomes],
    public: Mapping[Cell, Sequence[Forecast]],
    utilities: Mapping[tuple[str, str], Mapping[str, float]],
    demand: Mapping[Cell, float],
    params: MarketParams = MARKET,
) -> Yardstick:
    """Judge the public forecasts; cells with too few samples, or of which the public knows nothing, are left out."""
    enough = {cell: seen for cell, seen in outcomes.items() if seen.requests >= params.samples_min and public.get(cell)}
    losses = {cell: tuple(compute_loss(told, seen) for told in public[cell]) for cell, seen in enough.items()}
    return Yardstick(enough, losses, utilities, {cell: demand.get(cell, 0.0) for cell in enough})


def count_claims(
    records: Iterable[Record],
    forecasts: Iterable[Forecast],
    signals: Iterable[Signal],
    *,
    replayed_us: Mapping[Cell, int],
    tempo_us: int,
    get_seen: Callable[[Cell], Collection[Fingerprint]] = lambda _: (),
    params: MarketParams = MARKET,
) -> Claims:
    """Count a bundle.

    ``replayed_us`` says when each cell was replayed, Unix microseconds (one that was not is not fresh), ``get_seen``
    which fingerprints of it earlier epochs' records had.
    """
    by_cell: dict[Cell, list[Record]] = {}
    cell, own = None, list[Record]()
    for record in records:
        if record.cell is not cell:  # most bundles have a cell's records together
            cell = record.cell
            own = by_cell.setdefault(cell, [])
        own.append(record)
    return Claims(
        forecasts={forecast.cell: forecast for forecast in forecasts},
        signals={(signal.model, signal.task): signal for signal in signals},
        records={cell: 0 if _is_picked(own, params) else len(own) for cell, own in by_cell.items()},
        answered={cell: sum(record.status in COMPLETED for record in own) for cell, own in by_cell.items()},
        freshness={
            cell: compute_freshness(own, replayed_us[cell], tempo_us, get_seen(cell)) if cell in replayed_us else 0.0
            for cell, own in by_cell.items()
        },
    )


def _is_picked(records: Sequence[Record], params: MarketParams) -> bool:
    return max(record.index for record in records) >= params.index_slack * len(records)


def score_bundle(
    yardstick: Yardstick, claims: Claims, *, gate: int, covered: bool, params: MarketParams = MARKET
) -> BundleScore:
    """What a bundle is worth to one validator; ``gate`` and ``covered`` are its verdict's."""
    if not gate or not covered:
        return NOTHING
    counted = frozenset(
        cell
        for cell, seen in yardstick.outcomes.items()
        if cell in claims.forecasts
        and is_counted(seen.requests, claims.records.get(cell, 0), claims.answered.get(cell, 0), params)
    )
    wanted = sum(yardstick.demand.values())
    in_cells = sum(yardstick.demand[cell] for cell in counted)
    if in_cells <= 0.0:
        return NOTHING
    coverage = in_cells / wanted
    freshness = sum(yardstick.demand[cell] * claims.freshness[cell] for cell in counted) / in_cells
    usefulness = _compute_usefulness(yardstick, claims)
    losses = {cell: compute_loss(claims.forecasts[cell], yardstick.outcomes[cell]) for cell in counted}
    gain = compute_gain(losses, yardstick.public, yardstick.demand, params)
    score = compute_score(
        gate=gate, coverage=coverage, freshness=freshness, gain=gain.share, usefulness=usefulness, params=params
    )
    watched = coverage >= params.coverage_min and gain.share >= params.standby_gain_min
    worth = params.accuracy_weight + params.usefulness_weight * usefulness
    standby = coverage * freshness * worth if watched else 0.0
    is_news = score > 0.0 and gain.sigmas >= params.news_sigmas
    return BundleScore(score, standby, gain.share, is_news, coverage, freshness, usefulness, counted)


def _compute_usefulness(yardstick: Yardstick, claims: Claims) -> float:
    """The demand-weighted mean over models and tasks where endpoints differ; a signal not given is worth nothing."""
    useful = wanted = 0.0
    for group, utilities in yardstick.utilities.items():
        if len(set(utilities.values())) > 1:
            demand = sum(yardstick.demand.get(Cell(name, group[1]), 0.0) for name in utilities)
            signal = claims.signals.get(group)
            wanted += demand
            useful += demand * (compute_usefulness(signal, utilities) if signal is not None else 0.0)
    return useful / wanted if wanted > 0.0 else 0.0
